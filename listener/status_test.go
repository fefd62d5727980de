package listener

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// TestStatus: what a session says of itself, and whether it is waited for.
func TestStatus(t *testing.T) {
	name := "SELECT"
	step := make(chan struct{})
	conns := make(chan *Conn)
	s := &Service{Name: "TEST", Handle: func(_ context.Context, c *Conn) {
		conns <- c
		<-step
		c.SetState("Selected", "INBOX")
		c.SetMechanism("PLAIN", "phone")
		c.SetClient("Thunder", "1")
		c.Doing(&name)
		conns <- c
		<-step
		c.Doing(nil)
		c.Phase(Idle)
		io.ReadFull(c, make([]byte, 1))
		conns <- c
		<-step
		c.ClearUser()
		conns <- c
		<-step
	}}
	client, server := net.Pipe()
	defer client.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(server, false)
	}()
	c := <-conns
	if st := c.Status(); st != (Status{}) || c.Name() != "TEST-1" {
		t.Errorf("%+v %s", st, c.Name())
	}
	step <- struct{}{}
	<-conns
	if st := c.Status(); st != (Status{Mechanism: "PLAIN", AppPassword: "phone", State: "Selected", Mailbox: "INBOX", Client: "Thunder", Version: "1", Command: "SELECT"}) {
		t.Errorf("%+v", st)
	}
	step <- struct{}{}
	for began := time.Now(); c.Status().Idle.IsZero(); time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatal("it never waits")
		}
	}
	if st := c.Status(); st.Command != "" || time.Since(st.Idle) > patience {
		t.Errorf("%+v", st)
	}
	client.Write([]byte("x"))
	<-conns
	if st := c.Status(); !st.Idle.IsZero() {
		t.Errorf("%+v", st)
	}
	step <- struct{}{}
	<-conns
	if st := c.Status(); st.Mechanism != "" {
		t.Errorf("%+v", st)
	}
	step <- struct{}{}
	client.Close()
	<-done
}
