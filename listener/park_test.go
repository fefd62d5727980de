package listener

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// parking is a session that answers each byte with it, says "w" when it is woken and why it ends,
// and counts how often it was parked.
type parking struct {
	c      *Conn
	parked *atomic.Int64
	known  *atomic.Pointer[Conn]
}

func (p parking) serve(context.Context, *Conn) {
	p.c.SetUser(1, "alice")
	p.c.Parks()
	p.c.Phase(Idle)
	p.known.Store(p.c)
	p.goOn()
}

func (p parking) goOn() {
	var b [1]byte
	for {
		_, err := p.c.Read(b[:])
		var known *mail.Error
		switch {
		case errors.Is(err, ErrPark):
			p.parked.Add(1)
			p.c.Park(p.goOn)
			return
		case errors.Is(err, ErrWoken):
			b[0] = 'w'
		case errors.As(err, &known):
			io.WriteString(p.c, "bye "+known.Text+"\r\n")
			return
		case err != nil:
			return
		case b[0] == 'p':
			panic("on demand")
		default:
			p.c.Phase(Idle)
		}
		p.c.Write(b[:])
	}
}

func newParking(t *testing.T) (s *Service, parked *atomic.Int64, known *atomic.Pointer[Conn]) {
	t.Helper()
	parked, known = new(atomic.Int64), new(atomic.Pointer[Conn])
	s = newService(t, options{})
	s.ParkAfter = 10 * time.Millisecond
	s.Handle = func(ctx context.Context, c *Conn) { parking{c, parked, known}.serve(ctx, c) }
	return s, parked, known
}

func (p *peer) byte(want byte) {
	p.t.Helper()
	p.SetDeadline(time.Now().Add(5 * time.Second))
	if b, err := p.ReadByte(); err != nil || b != want {
		p.t.Fatalf("%q, %v; want %q", b, err, want)
	}
}

func TestPark(t *testing.T) {
	s, parked, known := newParking(t)
	at := open(t, s)
	p := dial(t, at)
	for n := range int64(3) {
		eventually(t, "parked", func() bool { return parked.Load() == 2*n+1 })
		io.WriteString(p.Conn, "a")
		p.byte('a')
		eventually(t, "parked again", func() bool { return parked.Load() == 2*n+2 })
		known.Load().Wake()
		p.byte('w')
	}
	eventually(t, "parked", func() bool { return parked.Load() == 7 })
	known.Load().End(ErrEnded)
	p.want("bye The administrator ended this session.")

	for _, name := range []string{"p", ""} { // a panic, the client's end
		before := parked.Load()
		p = dial(t, at)
		eventually(t, "parked", func() bool { return parked.Load() > before })
		io.WriteString(p.Conn, name)
		if name == "" {
			p.Close()
		} else {
			p.wantEnd()
		}
		eventually(t, "ended", func() bool { return len(s.Conns()) == 0 })
	}
	if s.Panics() != 1 {
		t.Error(s.Panics(), "panics")
	}

	before := parked.Load()
	p = dial(t, at)
	eventually(t, "parked", func() bool { return parked.Load() > before })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	p.want("bye The server is shutting down.")
}

// TestParkedTimeout: the time of the phase goes on, also when it was woken.
func TestParkedTimeout(t *testing.T) {
	s, parked, known := newParking(t)
	v := settings.AuthenticatedConnectionTimeout.With(values(t), 300*time.Millisecond)
	s.Settings = func() *settings.Values { return v }
	began := time.Now()
	p := dial(t, open(t, s))
	eventually(t, "parked", func() bool { return parked.Load() > 0 })
	known.Load().Wake()
	p.byte('w')
	p.want("bye " + ErrTimeout.Text)
	if took := time.Since(began); took < 300*time.Millisecond || took > 2*time.Second {
		t.Error(took)
	}
}

// TestParkedMemory: a parked session has one goroutine, on the least stack.
func TestParkedMemory(t *testing.T) {
	const n = 200
	s, parked, _ := newParking(t)
	at := open(t, s)
	memory := func() (stack, goroutines int) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.StackInuse), runtime.NumGoroutine()
	}
	stack, goroutines := memory()
	for range n {
		dial(t, at)
	}
	eventually(t, "parked", func() bool { return parked.Load() >= n })
	time.Sleep(50 * time.Millisecond)
	stackNow, goroutinesNow := memory()
	if each := (goroutinesNow - goroutines) / n; each > 1 {
		t.Errorf("a parked session has %d goroutines", each)
	}
	// 2 KiB, with the race detector twice as much.
	if each := (stackNow - stack) / n; each > 6<<10 {
		t.Errorf("a parked session has a stack of %d bytes", each)
	}
}
