package listener

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// seen notes what an Observer is told.
type seen struct {
	mu  sync.Mutex
	all []string
}

func (s *seen) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, what)
}

func (s *seen) Opened(*Conn) { s.note("opened") }
func (s *seen) Closed(*Conn) { s.note("closed") }
func (s *seen) Command(_ *Conn, name string, _ time.Time, ok bool) {
	if !ok {
		name += " failed"
	}
	s.note(name)
}

// TestObserver: everything is told once and in order, also when the session ends
// by a fault of ours, and the bytes of ended connections stay counted.
func TestObserver(t *testing.T) {
	told := &seen{}
	s := &Service{Name: "TEST", Observer: told, Handle: func(_ context.Context, c *Conn) {
		c.Write([]byte("hello"))
		c.Command("NOOP", time.Now(), true)
		c.Command("", time.Now(), false)
		panic("on purpose")
	}}
	for range 2 {
		a, b := net.Pipe()
		go s.ServeConn(a, false)
		buf := make([]byte, 100)
		for {
			if _, err := b.Read(buf); err != nil {
				break
			}
		}
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	told.mu.Lock()
	defer told.mu.Unlock()
	want := []string{"opened", "NOOP", " failed", "closed"}
	if len(told.all) != 2*len(want) {
		t.Fatal(told.all)
	}
	if _, out := s.Bytes(); out != 10 {
		t.Error("bytes out:", out)
	}
	if open, loggedIn := s.Open(); s.Accepted() != 2 || open != 0 || loggedIn != 0 || s.Panics() != 2 {
		t.Error(s.Accepted(), open, loggedIn, s.Panics())
	}
}
