package listener

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/settings"
)

// pipe serves handle on one end of a pipe, in virtual time. wait waits for the
// session's end and tells how long it took.
func pipe(t *testing.T, s *Service, handle func(context.Context, *Conn)) (client net.Conn, wait func() time.Duration) {
	t.Helper()
	began := time.Now()
	a, b := net.Pipe()
	s.Handle = handle
	done := make(chan time.Duration, 1)
	go func() {
		s.ServeConn(a, false)
		done <- time.Since(began)
	}()
	t.Cleanup(func() { b.Close() })
	return b, func() time.Duration {
		took := <-done
		time.Sleep(time.Hour) // for the goroutines that write
		return took
	}
}

// readAll reads in the phases that step chooses until an error.
func readAll(c *Conn, step func(n int)) error {
	b := make([]byte, 512)
	for n := 0; ; n++ {
		step(n)
		if _, err := c.Read(b); err != nil {
			return err
		}
	}
}

// drip writes a byte every so often until the connection is closed.
func drip(c net.Conn, every time.Duration, bytes int) {
	b := make([]byte, bytes)
	for {
		time.Sleep(every)
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

func TestTimeouts(t *testing.T) {
	v := settings.Defaults(settings.POP3, "test")
	for name, c := range map[string]struct {
		login bool
		step  func(*Conn, int)
		drip  time.Duration // 0: the client is silent
		bytes int
		want  time.Duration
		slack time.Duration
	}{
		"a silent client before login":            {false, func(c *Conn, _ int) { c.Phase(Idle) }, 0, 0, time.Minute, 0},
		"one that sends commands and no login":    {false, func(c *Conn, _ int) { c.Phase(Idle) }, 7 * time.Second, 1, time.Minute, 0},
		"a begun line before login":               {false, func(*Conn, int) {}, time.Second, 1, 31 * time.Second, 0},
		"a silent client after login":             {true, func(c *Conn, _ int) { c.Phase(Idle) }, 0, 0, 30 * time.Minute, 0},
		"a begun line after login":                {true, func(*Conn, int) {}, 10 * time.Second, 1, 40 * time.Second, 0},
		"a SASL step":                             {false, func(c *Conn, n int) { c.Phase(SASL) }, 0, 0, 30 * time.Second, 0},
		"a literal that does not come":            {true, func(c *Conn, n int) { phaseOnce(c, n) }, 0, 0, 30 * time.Second, 0},
		"a literal at half the rate":              {true, func(c *Conn, n int) { phaseOnce(c, n) }, time.Second, 512, time.Minute, 2 * time.Second},
		"SASL steps in endless number":            {false, func(c *Conn, n int) { c.Phase(SASL) }, 20 * time.Second, 1, time.Minute, 0},
		"a literal before login ends with all":    {false, func(c *Conn, n int) { phaseOnce(c, n) }, time.Second, 4096, time.Minute, 0},
		"idle again and again after login is not": {true, func(c *Conn, n int) { idleFor(c, n, 5) }, 29 * time.Minute, 1, 5*29*time.Minute + 30*time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t, options{values: v})
				client, wait := pipe(t, s, func(_ context.Context, conn *Conn) {
					if c.login {
						if err := conn.SetUser(1, "alice"); err != nil {
							t.Error(err)
						}
					}
					if err := readAll(conn, func(n int) { c.step(conn, n) }); !errors.Is(err, ErrTimeout) {
						t.Error(err)
					}
				})
				if c.drip > 0 {
					go drip(client, c.drip, c.bytes)
				}
				if took := wait(); took < c.want-c.slack || took > c.want+c.slack+lingerTimeout {
					t.Errorf("it took %v, not %v", took, c.want)
				}
			})
		})
	}
}

// TestBegunBehind: a line of which the beginning came with the line before is begun.
func TestBegunBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, options{values: values(t)})
		client, wait := pipe(t, s, func(_ context.Context, conn *Conn) {
			if err := conn.SetUser(1, "alice"); err != nil {
				t.Error(err)
			}
			l := NewLines(conn)
			for {
				l.Next()
				if _, err := l.Line(100); err != nil {
					return
				}
			}
		})
		go client.Write([]byte("one\r\ntw"))
		if took := wait(); took < CommandTimeout || took > CommandTimeout+lingerTimeout {
			t.Errorf("it took %v", took)
		}
	})
}

func phaseOnce(c *Conn, n int) {
	if n == 0 {
		c.Phase(Literal)
	}
}

// idleFor is idle for the first few reads, and then silent within a line.
func idleFor(c *Conn, n, idle int) {
	if n < idle {
		c.Phase(Idle)
	}
}

func TestLiteralAtTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, options{values: settings.Defaults(settings.POP3, "test")})
		client, wait := pipe(t, s, func(_ context.Context, c *Conn) {
			c.SetUser(1, "alice")
			c.Phase(Literal)
			if _, err := io.CopyN(io.Discard, c, 1<<20); err != nil {
				t.Error(err)
			}
		})
		go drip(client, time.Second, 1100)
		if took := wait(); took < 15*time.Minute {
			t.Error(took)
		}
	})
}

// TestFastThenSilent: what came fast does not buy hours of silence.
func TestFastThenSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, options{values: settings.Defaults(settings.POP3, "test")})
		client, wait := pipe(t, s, func(_ context.Context, c *Conn) {
			c.SetUser(1, "alice")
			if err := readAll(c, func(n int) { phaseOnce(c, n) }); !errors.Is(err, ErrTimeout) {
				t.Error(err)
			}
		})
		client.Write(make([]byte, 10<<20))
		if took := wait(); took < maxSilence || took > maxSilence+lingerTimeout {
			t.Error(took)
		}
	})
}

func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, options{values: settings.Defaults(settings.POP3, "test")})
		_, wait := pipe(t, s, func(_ context.Context, c *Conn) {
			if _, err := c.Write(make([]byte, 100)); !errors.Is(err, ErrTimeout) {
				t.Error(err)
			}
		})
		if took := wait(); took < WriteTimeout || took > WriteTimeout+lingerTimeout {
			t.Error(took)
		}
	})
}

// TestSlowReaderGoesOn: a client that takes 64 KiB in less than a minute is served.
func TestSlowReaderGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, options{values: settings.Defaults(settings.POP3, "test")})
		client, wait := pipe(t, s, func(_ context.Context, c *Conn) {
			if n, err := c.Write(make([]byte, 10*writeChunk)); err != nil {
				t.Error(n, err)
			}
		})
		go func() {
			b := make([]byte, writeChunk)
			for {
				time.Sleep(50 * time.Second)
				if _, err := io.ReadFull(client, b); err != nil {
					return
				}
			}
		}()
		if took := wait(); took < 8*time.Minute {
			t.Error(took)
		}
	})
}

// TestSettingsActOnNewPhases: a shorter time-out acts on the next wait.
func TestSettingsActOnNewPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options{values: settings.Defaults(settings.POP3, "test")}
		s := newService(t, o)
		v := o.values
		s.Settings = func() *settings.Values { return v }
		client, wait := pipe(t, s, func(_ context.Context, c *Conn) {
			c.SetUser(1, "alice")
			readAll(c, func(n int) {
				if n == 1 {
					v = settings.AuthenticatedConnectionTimeout.With(v, 2*time.Minute)
				}
				c.Phase(Idle)
			})
		})
		time.Sleep(10 * time.Minute)
		client.Write([]byte("x"))
		if took := wait(); took < 12*time.Minute || took > 12*time.Minute+lingerTimeout {
			t.Error(took)
		}
	})
}

// TestHandshakeTimeout: a client of an SSL binding that says nothing.
func TestHandshakeTimeout(t *testing.T) {
	certs, _ := newCertificates(t, "mail.test")
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, options{values: settings.Defaults(settings.POP3, "test"), certs: certs})
		a, b := net.Pipe()
		defer b.Close()
		began := time.Now()
		s.ServeConn(a, true)
		if took := time.Since(began); took < HandshakeTimeout || took > HandshakeTimeout+lingerTimeout {
			t.Error(took)
		}
	})
}

func TestNoLoginHasNoTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, options{})
		s.NoLogin = true
		_, wait := pipe(t, s, func(_ context.Context, c *Conn) {
			readAll(c, func(int) { c.Phase(Idle) })
		})
		if took := wait(); took < 30*time.Minute {
			t.Error(took)
		}
	})
}

// BenchmarkRead is the cost of deadlines for one command.
func BenchmarkRead(b *testing.B) {
	s := &Service{Name: "BENCH"}
	c := s.newConn(endless{}, false)
	c.deadlines.loggedIn()
	p := make([]byte, 16)
	for b.Loop() {
		c.Phase(Idle)
		if _, err := c.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}

// endless always has bytes.
type endless struct{ net.Conn }

func (endless) Read(p []byte) (int, error)       { return len(p), nil }
func (endless) LocalAddr() net.Addr              { return nil }
func (endless) RemoteAddr() net.Addr             { return nil }
func (endless) SetReadDeadline(time.Time) error  { return nil }
func (endless) SetWriteDeadline(time.Time) error { return nil }
