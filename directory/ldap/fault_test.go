package ldap

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/test/slapd"
	"github.com/postern-mail/postern/test/stopwatch"
)

// proxy stands between us and a server and spoils what comes back.
type proxy struct {
	net.Listener
	mu    sync.Mutex
	spoil func(w io.Writer, r io.Reader) // nil passes all on
	all   sync.WaitGroup
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l}
	p.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.all.Go(func() {
				defer c.Close()
				s, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer s.Close()
				go func() {
					io.Copy(s, c)
					s.Close()
				}()
				p.mu.Lock()
				spoil := p.spoil
				p.mu.Unlock()
				if spoil == nil {
					io.Copy(c, s)
					return
				}
				spoil(c, s)
			})
		}
	})
	t.Cleanup(func() { l.Close(); p.all.Wait() })
	return p
}

func (p *proxy) set(spoil func(io.Writer, io.Reader)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoil = spoil
}

// within runs a question, which must end in time.
func within(t *testing.T, d time.Duration, ask func(ctx context.Context) error) (err error) {
	t.Helper()
	stopwatch.Within(t, d, "a question", func() { err = ask(t.Context()) })
	return err
}

func TestFaults(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	add(s, "anna", person("anna@example.org"))
	for _, encrypted := range []bool{true, false} {
		p := newProxy(t, s.Clear)
		o := options(s)
		o.Servers, o.Timeout = []string{"ldap://" + p.Addr().String()}, "00:00:01"
		if !encrypted {
			o.Encryption = "none"
		}
		for name, spoil := range map[string]func(w io.Writer, r io.Reader){
			"silent":        func(_ io.Writer, r io.Reader) { io.Copy(io.Discard, r) },
			"closed":        func(io.Writer, io.Reader) {},
			"a byte a time": slowly,
			"turned bits":   turned,
			"garbage": func(w io.Writer, r io.Reader) {
				w.Write(bytes.Repeat([]byte{0x30, 0x84, 0xff, 0xff}, 1000))
				io.Copy(io.Discard, r)
			},
			"endless": func(w io.Writer, r io.Reader) {
				for {
					if _, err := w.Write(bytes.Repeat([]byte{0x30, 0x03, 0x02, 0x01, 0x01}, 1000)); err != nil {
						return
					}
				}
			},
		} {
			t.Run(fmt.Sprint(name, ", encrypted ", encrypted), func(t *testing.T) {
				p.set(spoil)
				d := open(t, o)
				wantKind(t, "Find", within(t, 3*time.Second, func(ctx context.Context) error { _, err := d.Find(ctx, "anna@example.org"); return err }), mail.KindUnavailable)
				wantKind(t, "CheckPassword", within(t, 3*time.Second, func(ctx context.Context) error {
					_, err := d.CheckPassword(ctx, "anna@example.org", "wrong")
					return err
				}), mail.KindUnavailable)
				p.set(nil)
				_, err := d.CheckPassword(t.Context(), "anna@example.org", password)
				for try := 0; err != nil && try < 3; try++ { // a busy machine stands still for longer than the time-out
					_, err = d.CheckPassword(t.Context(), "anna@example.org", password)
				}
				if err != nil {
					t.Errorf("it does not recover: %v", err)
				}
			})
		}
	}
}

func slowly(w io.Writer, r io.Reader) {
	b := make([]byte, 1)
	for {
		if _, err := r.Read(b); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

func turned(w io.Writer, r io.Reader) {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		if err != nil {
			return
		}
		for i := range b[:n] {
			b[i] ^= 0x55
		}
		if _, err := w.Write(b[:n]); err != nil {
			return
		}
	}
}

// Cut at every place of what the server says: nobody gets in with a wrong password,
// nobody is told that a right one is wrong, and nothing hangs.
func TestCutAnywhere(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	add(s, "anna", person("anna@example.org"))
	p := newProxy(t, s.Clear)
	o := options(s)
	o.Servers, o.Encryption, o.Timeout = []string{"ldap://" + p.Addr().String()}, "none", "00:00:02"
	whole := 0
	for n := 0; whole < 3 && n < 3000; n += 7 {
		p.set(func(w io.Writer, r io.Reader) { io.CopyN(w, r, int64(n)) })
		d := open(t, o)
		_, err := d.CheckPassword(t.Context(), "anna@example.org", password)
		if err == nil {
			whole++
		} else if mail.KindOf(err) != mail.KindUnavailable {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
		if _, err := d.CheckPassword(t.Context(), "anna@example.org", "wrong"); err == nil {
			t.Errorf("cut after %d bytes: a wrong password is right", n)
		}
		d.Close()
	}
	if whole == 0 {
		t.Error("it never succeeded")
	}
}

// Connections that a server closed while they were idle are no fault.
func TestRestart(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	add(s, "anna", person("anna@example.org"))
	d := open(t, options(s))
	for range 2 {
		if _, err := d.CheckPassword(t.Context(), "anna@example.org", password); err != nil {
			t.Fatal(err)
		}
		s.Stop()
		_, err := d.CheckPassword(t.Context(), "anna@example.org", password)
		wantKind(t, "stopped", err, mail.KindUnavailable)
		s.Run()
	}
}

func TestFailover(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	add(s, "anna", person("anna@example.org"))
	closed := newProxy(t, "127.0.0.1:1")
	silent := newProxy(t, s.SSL)
	silent.set(func(_ io.Writer, r io.Reader) { io.Copy(io.Discard, r) })
	o := options(s)
	o.Timeout = "00:00:04"
	o.Servers = []string{"ldaps://" + closed.Addr().String(), "ldaps://" + silent.Addr().String(), "ldaps://" + s.SSL}
	d := open(t, o)
	_, err := d.CheckPassword(t.Context(), "anna@example.org", password)
	for try := 0; err != nil && try < 3; try++ { // a busy machine stands still for longer than the time-out
		d = open(t, o)
		_, err = d.CheckPassword(t.Context(), "anna@example.org", password)
	}
	if err != nil {
		t.Error(err)
	}
	// The ones that failed wait their turn.
	if err := within(t, time.Second, func(ctx context.Context) error { _, err := d.Find(ctx, "anna@example.org"); return err }); err != nil {
		t.Error(err)
	}
}

// Connections are bounded, and all are over after Close.
func TestPool(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := slapd.Start(t, slapd.Options{})
	add(s, "anna", person("anna@example.org"))
	o := options(s)
	o.Connections = 2
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := d.CheckPassword(t.Context(), "anna@example.org", password); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if len(d.search.idle) > 2 || len(d.bind.idle) > 2 || len(d.search.idle) == 0 {
		t.Errorf("%d and %d connections", len(d.search.idle), len(d.bind.idle))
	}
	d.Close()
	s.Stop()
}

// liar is a server that says what a test has it say.
type liar struct {
	net.Listener
	all sync.WaitGroup
}

// lie answers every message; op is the tag of the request (0 bind, 3 search).
func newLiar(t *testing.T, answer func(w io.Writer, id int64, op ber.Tag)) *liar {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &liar{Listener: l}
	x.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			x.all.Go(func() {
				defer c.Close()
				for {
					p, err := ber.ReadPacket(c)
					if err != nil || len(p.Children) < 2 {
						return
					}
					id, _ := p.Children[0].Value.(int64)
					answer(c, id, p.Children[1].Tag)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); x.all.Wait() })
	return x
}

func message(id int64, op *ber.Packet) []byte {
	p := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	p.AppendChild(op)
	return p.Bytes()
}

func result(tag ber.Tag, code int64) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""))
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
	return p
}

func entry(dn string, attributes ...string) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultEntry, nil, "")
	p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, dn, ""))
	list := ber.NewSequence("")
	for i := 0; i+1 < len(attributes); i += 2 {
		a := ber.NewSequence("")
		a.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, attributes[i], ""))
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		set.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, attributes[i+1], ""))
		a.AppendChild(set)
		list.AppendChild(a)
	}
	p.AppendChild(list)
	return p
}

func TestLies(t *testing.T) {
	const done, bound, asked = ber.Tag(ldap.ApplicationSearchResultDone), ber.Tag(ldap.ApplicationBindResponse), ber.Tag(ldap.ApplicationSearchRequest)
	anna := func() *ber.Packet { return entry("uid=anna,dc=x", "entryUUID", "1", "mail", "anna@example.org") }
	say := func(w io.Writer, messages ...[]byte) { w.Write(bytes.Join(messages, nil)) }
	honest := func(w io.Writer, id int64) { say(w, message(id, anna()), message(id, result(done, 0))) }
	for _, c := range []struct {
		name   string
		answer func(w io.Writer, id int64, op ber.Tag)
		kind   mail.Kind
	}{
		{"wrong message ids", func(w io.Writer, id int64, op ber.Tag) {
			say(w, message(id+1, anna()), message(id+1, result(done, 0)), message(id+1, result(bound, 0)))
		}, mail.KindUnavailable},
		{"the bind's success has another id", func(w io.Writer, id int64, op ber.Tag) {
			if op == asked {
				honest(w, id)
				return
			}
			say(w, message(id+1, result(bound, 0)), message(0, result(bound, 0)))
		}, mail.KindUnavailable},
		{"endless entries", func(w io.Writer, id int64, op ber.Tag) {
			for {
				if _, err := w.Write(message(id, entry("uid=x,dc=x", "mail", "x@example.org"))); err != nil {
					return
				}
			}
		}, mail.KindUnavailable},
		{"endless referrals", func(w io.Writer, id int64, op ber.Tag) {
			p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultReference, nil, "")
			p.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "ldap://127.0.0.1:1/", ""))
			for {
				if _, err := w.Write(message(id, p)); err != nil {
					return
				}
			}
		}, mail.KindUnavailable},
		{"somebody else", func(w io.Writer, id int64, op ber.Tag) {
			if op == asked {
				say(w, message(id, entry("uid=bert,dc=x", "entryUUID", "2", "mail", "bert@example.org")), message(id, result(done, 0)))
				return
			}
			say(w, message(id, result(bound, 0)))
		}, mail.KindNotFound},
		{"two who claim the name", func(w io.Writer, id int64, op ber.Tag) {
			if op == asked {
				say(w, message(id, anna()), message(id, entry("uid=bert,dc=x", "entryUUID", "2", "mail", "anna@example.org")), message(id, result(done, 0)))
				return
			}
			say(w, message(id, result(bound, 0)))
		}, mail.KindUnavailable},
		{"no distinguished name", func(w io.Writer, id int64, op ber.Tag) {
			if op == asked {
				say(w, message(id, entry("", "entryUUID", "1", "mail", "anna@example.org")), message(id, result(done, 0)))
				return
			}
			say(w, message(id, result(bound, 0))) // as a server does to an anonymous bind
		}, mail.KindUnavailable},
		{"a referral for the bind", func(w io.Writer, id int64, op ber.Tag) {
			if op == asked {
				honest(w, id)
				return
			}
			say(w, message(id, result(bound, ldap.LDAPResultReferral)))
		}, mail.KindUnavailable},
		{"a SASL challenge for the bind", func(w io.Writer, id int64, op ber.Tag) {
			if op == asked {
				honest(w, id)
				return
			}
			say(w, message(id, result(bound, ldap.LDAPResultSaslBindInProgress)))
		}, mail.KindUnavailable},
		{"an entry for the bind", func(w io.Writer, id int64, op ber.Tag) {
			if op == asked {
				honest(w, id)
				return
			}
			say(w, message(id, anna()))
		}, mail.KindUnavailable},
		{"a reference without a result", func(w io.Writer, id int64, op ber.Tag) {
			say(w, message(id, result(done, ldap.LDAPResultReferral)))
		}, mail.KindUnavailable},
		{"a control that nobody can read", func(w io.Writer, id int64, op ber.Tag) {
			if op == asked {
				honest(w, id)
				return
			}
			p := ber.NewSequence("")
			p.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
			p.AppendChild(result(bound, ldap.LDAPResultInvalidCredentials))
			controls := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
			controls.AppendChild(ber.NewSequence(""))
			p.AppendChild(controls)
			say(w, p.Bytes())
		}, mail.KindUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t, c.answer)
			d := open(t, Options{Servers: []string{"ldap://" + l.Addr().String()}, Encryption: "none", Base: "dc=x", Timeout: "00:00:01"})
			var err error
			within(t, 5*time.Second, func(ctx context.Context) error {
				_, err = d.CheckPassword(ctx, "anna@example.org", "wrong")
				return nil
			})
			wantKind(t, "CheckPassword", err, c.kind)
			if err != nil && strings.Contains(err.Error(), "panic") {
				t.Error(err)
			}
		})
	}
}

// FuzzAnswer is whatever a server may send: it makes nobody of nothing, and the
// question ends.
func FuzzAnswer(f *testing.F) {
	f.Add(append(message(1, entry("uid=anna,dc=x", "entryUUID", "1", "mail", "anna@example.org")), message(1, result(5, 0))...))
	f.Add(message(1, result(5, 32)))
	f.Add(message(1, result(1, 49)))
	f.Add([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0x30, 0x0c, 0x02, 0x01, 0x01})
	f.Fuzz(func(t *testing.T, answer []byte) {
		client, server := net.Pipe()
		go func() {
			b := make([]byte, 4096)
			server.Read(b)
			server.SetWriteDeadline(time.Now().Add(time.Second))
			server.Write(answer)
			server.Close()
		}()
		d, err := Open(Options{Servers: []string{"ldap://127.0.0.1:1"}, Encryption: "none", Base: "dc=x", Timeout: "00:00:01"})
		if err != nil {
			t.Fatal(err)
		}
		w := &wire{Conn: client}
		c := &conn{Conn: ldap.NewConn(w, false), wire: w, since: time.Now()}
		c.SetTimeout(time.Second)
		c.Start()
		d.search.idle = append(d.search.idle, c)
		p, err := d.Find(t.Context(), "anna@example.org")
		if err == nil && (p.Name != "anna@example.org" && !strings.Contains(strings.Join(p.Aliases, " "), "anna@example.org") || p.ID == "") {
			t.Errorf("%q made %+v", answer, p)
		}
		d.Close()
	})
}
