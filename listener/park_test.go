package listener

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
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
	p.SetDeadline(time.Now().Add(patience))
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
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	p.want("bye The server is shutting down.")
}

// inTime has try do something within a time that is longer each time, until it says that it could:
// a busy machine may stand still for longer than the first.
func inTime(t *testing.T, try func(limit time.Duration) bool) {
	t.Helper()
	for limit := 300 * time.Millisecond; limit < patience; limit *= 4 {
		if try(limit) {
			return
		}
	}
	t.Error("the time was up too early, or too late, each time")
}

// endsIn reads what a session says, which is to end when its time is up, and not before.
func (p *peer) endsIn(limit time.Duration, began time.Time) (said string, took time.Duration) {
	p.t.Helper()
	said, err := p.ReadString('\n')
	took = time.Since(began)
	if err != nil || !strings.HasSuffix(said, "bye "+ErrTimeout.Text+"\r\n") || took < limit {
		p.t.Errorf("%q, %v after %v of %v", said, err, took, limit)
	}
	return strings.TrimSuffix(said, "bye "+ErrTimeout.Text+"\r\n"), took
}

// TestParkedTimeout: the time of the phase goes on, also when it was woken.
func TestParkedTimeout(t *testing.T) {
	inTime(t, func(limit time.Duration) bool {
		s, parked, known := newParking(t)
		v := settings.AuthenticatedConnectionTimeout.With(values(t), limit)
		s.Settings = func() *settings.Values { return v }
		began := time.Now()
		p := dial(t, open(t, s))
		for parked.Load() == 0 && time.Since(began) < limit {
			time.Sleep(time.Millisecond)
		}
		if c := known.Load(); c != nil {
			c.Wake()
		}
		said, took := p.endsIn(limit, began)
		return said == "w" && parked.Load() > 0 && took < 7*limit
	})
}

// TestParkedStranger: who has not logged in is parked, too, and the time before the login
// goes on.
func TestParkedStranger(t *testing.T) {
	inTime(t, func(limit time.Duration) bool {
		s, parked, known := newParking(t)
		s.Handle = func(_ context.Context, c *Conn) {
			c.Parks()
			c.Phase(Idle)
			parking{c, parked, known}.goOn()
		}
		v := settings.PreAuthenticatedConnectionTimeout.With(values(t), limit)
		s.Settings = func() *settings.Values { return v }
		began := time.Now()
		p := dial(t, open(t, s))
		for parked.Load() == 0 && time.Since(began) < limit {
			time.Sleep(time.Millisecond)
		}
		io.WriteString(p.Conn, "a")
		said, took := p.endsIn(limit, began)
		return said == "a" && parked.Load() == 2 && took < 7*limit
	})
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
	t.Logf("%d bytes of stack each", (stackNow-stack)/n)
	if each := (stackNow - stack) / n; each > 6<<10 {
		t.Errorf("a parked session has a stack of %d bytes", each)
	}
}

// TestRenew: sessions that were parked on stacks larger than needed, as after many sign-ins,
// go on on the least; they hear what they would have heard.
func TestRenew(t *testing.T) {
	const n = 300
	s, parked, known := newParking(t)
	at := open(t, s)
	// Most goroutines are deep when the garbage collector looks.
	release := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 * n {
		wg.Go(func() {
			var deep [6 << 10]byte
			<-release
			runtime.KeepAlive(&deep)
		})
	}
	stackOf := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.StackInuse)
	}
	stackOf()
	for range n - 1 {
		dial(t, at)
	}
	eventually(t, "parked", func() bool { return parked.Load() == n-1 })
	p := dial(t, at) // the one that is known
	eventually(t, "parked", func() bool { return parked.Load() == n })
	time.Sleep(50 * time.Millisecond)
	close(release)
	wg.Wait()
	before := stackOf()
	renewed, after := 0, before
	eventually(t, "all are renewed", func() bool { renewed += s.Renew(); return renewed >= n })
	eventually(t, "the stacks are smaller", func() bool { after = stackOf(); return before-after >= n<<11/2 })
	t.Logf("stacks have %d KiB, had %d KiB", after>>10, before>>10)
	if again := s.Renew(); again != 0 {
		t.Errorf("%d were renewed again", again)
	}
	if now := parked.Load(); now != n {
		t.Errorf("the sessions went on: parked %d times", now)
	}
	io.WriteString(p.Conn, "a")
	p.byte('a')
	eventually(t, "parked again", func() bool { return parked.Load() == n+1 })
	known.Load().Wake()
	p.byte('w')
	if s.Renew() > 1 {
		t.Error("many were renewed again")
	}
	known.Load().End(ErrEnded)
	p.want("bye The administrator ended this session.")
}
