package hostile

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// settled gives what the process has written itself, in bytes: no file backs it, and what the
// kernel keeps for sockets is not among it. It is asked when the server has collected what work
// left behind, which it does at rest: when no more is done, from 14 s on, when it has stayed the same for 2 s, and after 24 s in any case.
func settled(t *testing.T, s *server.Server) int64 {
	t.Helper()
	for calm, last, tries := 0, time.Duration(0), 0; calm < 3 && tries < 80; tries++ {
		time.Sleep(500 * time.Millisecond)
		if now := s.ProcessorTime(); now-last > 50*time.Millisecond {
			calm, last = 0, now
		} else {
			calm++
		}
	}
	begin := time.Now()
	var last []int64
	for {
		last = append(last, s.Memory("Pss_Anon"))
		last = last[max(0, len(last)-5):]
		took := time.Since(begin)
		if took > 24*time.Second || took > 14*time.Second && slices.Max(last)-slices.Min(last) < slices.Max(last)/200 {
			return last[len(last)-1]
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// holding is a way to hold a connection that has not logged in.
type holding struct {
	what   string
	goal   int // KiB
	short  bool
	place  string
	within bool   // TLS
	text   string // what is sent and has no end; "" is nothing
	// deaf: text is sent again and again as long as the server takes it, and no answer read.
	deaf bool
	// raw: text is sent past TLS.
	raw bool
	// handshake: text is sent in place of the handshake, which has 10 s.
	handshake bool
}

func holdings() []holding {
	literals := `a1 ID ("k0" {1000+}` + "\r\n" + strings.Repeat("v", 1000)
	for i := range 6 {
		literals += fmt.Sprintf(` "k%d" {1000+}`, i+1) + "\r\n" + strings.Repeat("v", 1000)
	}
	list := `a1 ID (`
	for i := range 20 {
		list += fmt.Sprintf(`"k%d" "%s" `, i, strings.Repeat("v", 300))
	}
	return []holding{
		{what: "idle, in the clear", goal: 8, short: true, place: "IMAP4 STARTTLS"},
		{what: "idle, in the clear", goal: 8, place: "POP3 STLS"},
		{what: "idle, in the clear", goal: 8, place: "LMTP STARTTLS"},
		{what: "idle, over TLS", goal: 24, short: true, place: "IMAP4 SSL", within: true},
		{what: "idle, over TLS", goal: 24, place: "POP3 SSL", within: true},
		{what: "idle, after STARTTLS", goal: 24, place: "IMAP4 STARTTLS", within: true},
		{what: "a line without an end", goal: 64, place: "IMAP4 STARTTLS", text: "a1 NOOP " + strings.Repeat("x", 8100)},
		{what: "a line without an end", goal: 64, place: "POP3 STLS", text: "AUTH " + strings.Repeat("x", 8100)},
		{what: "a line without an end", goal: 64, place: "LMTP STARTTLS", text: "NOOP " + strings.Repeat("x", 4000)},
		{what: "a line without an end, over TLS", goal: 64, place: "IMAP4 SSL", within: true, text: "a1 NOOP " + strings.Repeat("x", 8100)},
		{what: "literals", goal: 64, place: "IMAP4 STARTTLS", text: literals + ` "k7" {1000+}` + "\r\n" + strings.Repeat("v", 900)},
		{what: "a list and a literal", goal: 64, place: "IMAP4 STARTTLS", text: list + "\"k\" {1000+}\r\n" + strings.Repeat("v", 900)},
		{what: "parentheses", goal: 64, place: "IMAP4 STARTTLS", text: "a1 ID " + strings.Repeat("(", 8000)},
		{what: "a SASL line", goal: 64, short: true, place: "IMAP4 STARTTLS", text: "a1 AUTHENTICATE SCRAM-SHA-256\r\n" + strings.Repeat("A", 12_000)},
		{what: "a SASL line", goal: 64, place: "POP3 STLS", text: "AUTH SCRAM-SHA-256\r\n" + strings.Repeat("A", 8000)},
		{what: "commands, and no answer read", goal: 64, place: "IMAP4 STARTTLS", text: strings.Repeat("a1 CAPABILITY\r\n", 1000), deaf: true},
		{what: "commands, and no answer read", goal: 64, place: "POP3 STLS", text: strings.Repeat("CAPA\r\n", 2000), deaf: true},
		{what: "commands, and no answer read, over TLS", goal: 64, place: "IMAP4 SSL", within: true, text: strings.Repeat("a1 CAPABILITY\r\n", 1000), deaf: true},
		{what: "a record without an end", goal: 64, place: "IMAP4 SSL", within: true, text: "\x17\x03\x03\x40\x00" + strings.Repeat("r", 16_000), raw: true},
		{what: "a handshake without an end", goal: 64, place: "IMAP4 SSL", text: records("\x01\x00\xff\xff" + strings.Repeat("h", 15_000)), handshake: true},
	}
}

// TestMemoryBeforeLogin holds connections that never log in, by every means to make each of
// them dear, and measures what one costs the server's process when it has come to rest.
func TestMemoryBeforeLogin(t *testing.T) {
	long(t)
	t.Parallel()
	var wg sync.WaitGroup
	gate := make(chan struct{}, sized(8, 6))
	for _, h := range holdings() {
		if !h.short && !hours {
			continue
		}
		gate <- struct{}{}
		s := server.Serve(t, server.Options{Accounts: []server.Account{alice}})
		for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
			s.MustShell(set, "-LoginType", "PlainTextLogin", "-PreAuthenticatedConnectionTimeout", "01:00:00")
		}
		wg.Go(func() {
			defer func() { <-gate }()
			h.measure(t, s)
			s.Stop()
		})
	}
	wg.Wait()
}

// measure opens connections and says what one of them takes.
func (h holding) measure(t *testing.T, s *server.Server) {
	p := placeOf(t, s, h.place)
	n := sized(1000, 3000)
	if h.deaf {
		n = sized(60, 300) // the kernel keeps much more for each than the server
	}
	conns := make([]net.Conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	fill := func(from, to int) bool {
		var group sync.WaitGroup
		faults := make(chan error, to)
		const workers = 16
		for w := range workers {
			group.Go(func() {
				for i := from + w; i < to; i += workers {
					var err error
					if conns[i], err = h.hold(p); err != nil {
						faults <- err
						return
					}
				}
			})
		}
		group.Wait()
		// What it leaves behind is enough that the server finds it worth while to collect it.
		for range 1500 {
			if c, err := p.greeted(); err == nil {
				c.Close()
			}
		}
		select {
		case err := <-faults:
			t.Errorf("%s, %s: %v", h.what, h.place, err)
			return false
		default:
			return true
		}
	}
	// What idles is measured from one quarter to all, so that what is had once, however many
	// come, does not count; the others would be ended before.
	counted, before := n, int64(0)
	switch {
	case h.handshake:
		before = s.Memory("Pss_Anon")
		if !fill(0, n) {
			return
		}
	case h.text != "":
		before = settled(t, s)
		if !fill(0, n) {
			return
		}
	default:
		if !fill(0, n/4) {
			return
		}
		before = settled(t, s)
		if !fill(n/4, n) {
			return
		}
		counted = n - n/4
	}
	after := int64(0)
	if h.handshake {
		after = s.Memory("Pss_Anon") // it ends in a few seconds
	} else {
		after = settled(t, s)
	}
	each := float64(after-before) / 1024 / float64(counted)
	t.Logf("prove: KiB of a connection before login, %s, %s (goal %d): %.1f", h.what, p.service, h.goal, each)
	if each > 1.5*float64(h.goal) {
		t.Errorf("%s, %s: a connection takes %.1f KiB, not %d", h.what, h.place, each, h.goal)
	}
	lost := 0
	for _, c := range conns {
		if gone(c) {
			lost++
		}
	}
	if lost > n/50 {
		t.Errorf("%s, %s: %d of %d connections were ended meanwhile: nothing was measured", h.what, h.place, lost, n)
	}
}

// gone tells whether the server has ended a connection from which nothing is read.
func gone(c net.Conn) bool {
	if session, ok := c.(*tls.Conn); ok {
		c = session.NetConn()
	}
	var b [64 << 10]byte
	for {
		c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := c.Read(b[:]); err != nil {
			e, ok := err.(net.Error)
			return !ok || !e.Timeout()
		}
	}
}

// hold opens one connection.
func (h holding) hold(p place) (net.Conn, error) {
	if h.handshake {
		c, err := p.dial()
		if err == nil {
			_, err = io.WriteString(c, h.text)
		}
		return c, err
	}
	var raw net.Conn
	var err error
	if h.within {
		raw, err = p.open(anyone())
	} else {
		raw, err = p.greeted()
	}
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(time.Time{})
	switch {
	case h.deaf:
		under := raw
		if session, ok := raw.(*tls.Conn); ok {
			under = session.NetConn()
		}
		under.(*net.TCPConn).SetReadBuffer(4 << 10)
		// Of what the server does not take any more, half has been written.
		for sent := 0; sent < 4<<20; {
			under.SetWriteDeadline(time.Now().Add(150 * time.Millisecond))
			n, err := raw.Write([]byte(h.text))
			if sent += n; err != nil {
				break
			}
		}
	case h.raw:
		_, err = io.WriteString(raw.(*tls.Conn).NetConn(), h.text)
	case h.text != "":
		_, err = io.WriteString(raw, h.text)
	}
	return raw, err
}
