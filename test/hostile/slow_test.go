package hostile

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// slow is somebody who is slow, or silent, at one point.
type slow struct {
	what  string
	place string
	// begin goes as far as that point; c is a connection as place.greeted gives it, or, where
	// the service speaks TLS from the first byte, one without TLS.
	begin func(c net.Conn) (net.Conn, error)
	drip  string // is sent a byte every second; "" is silence
	least time.Duration
	most  time.Duration // the time-out; soon after it (lateness) the connection must be gone
	long  bool          // in the long form alone
	total bool          // the time is that since it connected, not since the point
}

// lateness is what a busy machine adds to a time-out. Where each byte would begin it anew, or none
// held, the connection would be open for far longer.
const lateness = 15 * time.Second

func silence(c net.Conn) (net.Conn, error) { return c, nil }

// after says lines, each with the beginning of its answer.
func after(lines ...string) func(net.Conn) (net.Conn, error) {
	return func(c net.Conn) (net.Conn, error) {
		for i := 0; i < len(lines); i += 2 {
			if err := say(c, lines[i], lines[i+1]); err != nil {
				return c, err
			}
		}
		return c, nil
	}
}

// within begins TLS and goes on.
func within(then func(net.Conn) (net.Conn, error)) func(net.Conn) (net.Conn, error) {
	return func(c net.Conn) (net.Conn, error) {
		session := tls.Client(c, anyone())
		if err := session.Handshake(); err != nil {
			return c, err
		}
		return then(session)
	}
}

// TestDeadlines has the slow and the silent wait at every point of every protocol at once, by
// the thousand in the long form: each is gone when its time is up, in total and not since the
// last byte, and nobody who comes meanwhile waits for it.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	s := serve(t)
	login := 10 * time.Second
	s.MustShell("Set-ImapSettings", "-LoginType", "PlainTextLogin", "-PreAuthenticatedConnectionTimeout", "00:00:10", "-MaxConnectionsPerUser", "20000")
	s.MustShell("Set-PopSettings", "-LoginType", "PlainTextLogin")
	healthy(t, s) // the first proof of a password is dear, and few are taken at once
	hello := helloOf(t, anyone())
	loggedIn := []string{fmt.Sprintf("a1 LOGIN %q %q", alice.Name, alice.Password), "a1 OK"}
	envelope := []string{"MAIL FROM:<a@test.example>", "250", "RCPT TO:<" + alice.Name + ">", "250"}
	const handshake, step = 10 * time.Second, 30 * time.Second
	rows := []slow{
		{"no handshake", "IMAP4 SSL", silence, "", handshake, handshake, false, false},
		{"a handshake byte by byte", "POP3 SSL", silence, hello, handshake, handshake, false, false},
		{"no handshake behind STLS", "POP3 STLS", after("STLS", "+OK"), "", handshake, handshake, false, false},
		{"no handshake behind STARTTLS", "LMTP STARTTLS", after("STARTTLS", "220"), "", handshake, handshake, false, false},
		{"no handshake", "Console SSL", silence, "", handshake, handshake, false, false},
		{"no request", "Console SSL", within(silence), "", handshake, handshake + time.Second, false, false},
		{"a request byte by byte", "Console SSL", within(silence), "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + strings.Repeat("x", 100), handshake, handshake + time.Second, false, false},
		{"no login", "IMAP4 STARTTLS", silence, "", login, login, false, true},
		{"commands and no login", "IMAP4 STARTTLS", silence, strings.Repeat("a\r\n", 100), login - 5*time.Second, login, false, true},
		{"TLS and no login", "IMAP4 STARTTLS", func(c net.Conn) (net.Conn, error) {
			time.Sleep(6 * time.Second)
			if err := say(c, "s1 STARTTLS", "s1 OK"); err != nil {
				return c, err
			}
			return within(silence)(c)
		}, "", login, login, false, true},
		{"no login", "POP3 STLS", silence, "", time.Minute, time.Minute, true, true},
		{"no answer in a SASL exchange", "POP3 STLS", after("AUTH PLAIN", "+ "), "", step, step, false, false},
		{"an answer in a SASL exchange byte by byte", "POP3 STLS", after("AUTH PLAIN", "+ "), strings.Repeat("A", 100), step, step + time.Second, false, false},
		{"a command byte by byte", "POP3 STLS", silence, "NOOP" + strings.Repeat(" ", 100), step, step + time.Second, false, false},
		{"a command byte by byte, logged in", "IMAP4 STARTTLS", after(loggedIn...), "a2 NOOP" + strings.Repeat(" ", 100), step, step + time.Second, false, false},
		{"no end of IDLE", "IMAP4 STARTTLS", after(append(loggedIn, "a2 IDLE", "+")...), "D" + strings.Repeat("O", 100), 10 * time.Second, step + time.Second, false, false},
		{"a literal byte by byte", "IMAP4 STARTTLS", after(append(loggedIn, "a2 APPEND INBOX {100000}", "+")...), strings.Repeat("slow ", 100), step, step + time.Second, false, false},
		{"a message byte by byte", "LMTP STARTTLS", after(append(envelope, "DATA", "354")...), strings.Repeat("slow ", 100), step, step + time.Second, false, false},
		{"a chunk byte by byte", "LMTP STARTTLS", func(c net.Conn) (net.Conn, error) {
			c, err := after(envelope...)(c)
			if err == nil {
				_, err = io.WriteString(c, "BDAT 100000 LAST\r\n")
			}
			return c, err
		}, strings.Repeat("slow ", 100), step, step + time.Second, false, false},
	}
	coming := probe(100*time.Millisecond, mailPlaces(t, s)...)
	var wg sync.WaitGroup
	count := 0
	for _, r := range rows {
		if r.long && !hours {
			continue
		}
		each := sized(8, 600)
		if r.place == "Console SSL" {
			each = sized(8, 300) // 1,024 strangers are let in there
		}
		count += each
		at := placeOf(t, s, r.place)
		wg.Go(func() { r.wait(t, at, each) })
	}
	wg.Wait()
	quick(t, "beside slow and silent ones", coming.end(t))
	t.Logf("prove: slow and silent connections, ended in time: %d", count)
	look := s.Login(t, alice)
	if got := look.MustIMAP("STATUS INBOX (MESSAGES)"); !strings.HasSuffix(got[0], "(MESSAGES 1)") {
		t.Errorf("half a message arrived: %q", got)
	}
	unharmed(t, s)
}

// wait opens connections and waits for their ends.
func (r slow) wait(t *testing.T, p place, each int) {
	type end struct {
		took, all time.Duration // since it was there, and since it came
		err       error
	}
	ends := make(chan end, each)
	turns := make(chan struct{}, 8)
	for range each {
		go func() {
			turns <- struct{}{}
			begin := time.Now()
			c, err := p.greeted()
			<-turns
			if err == nil {
				c, err = r.begin(c)
			}
			if err != nil {
				ends <- end{err: fmt.Errorf("never came there: %w", err)}
				return
			}
			defer c.Close()
			there := time.Now()
			if r.total {
				there = begin
			}
			limit := there.Add(r.most + patience)
			c.SetDeadline(limit)
			over := make(chan struct{})
			go func() {
				defer close(over)
				io.Copy(io.Discard, c)
			}()
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for i := 0; ; {
				select {
				case <-over:
					ends <- end{time.Since(there), time.Since(begin), nil}
					return
				case <-tick.C:
					if i < len(r.drip) {
						io.WriteString(c, r.drip[i:i+1])
						i++
					}
				}
			}
		}()
	}
	least, most, wrong := time.Hour, time.Duration(0), 0
	for range each {
		e := <-ends
		if e.err != nil {
			if wrong++; wrong < 3 {
				t.Errorf("%s, %s: %v", r.place, r.what, e.err)
			}
			continue
		}
		// The server's time runs from before it is known here that it does, which may be long before
		// on a busy machine.
		least, most = min(least, e.all), max(most, e.took)
	}
	t.Logf("%s, %s: %d ended after %v to %v", r.place, r.what, each-wrong, least.Round(time.Millisecond), most.Round(time.Millisecond))
	if late := r.most + lateness; wrong == 0 && (least < r.least-time.Second || most > late) {
		t.Errorf("%s, %s: they ended after %v to %v, not from %v to %v", r.place, r.what, least, most, r.least, late)
	}
}

// TestDeafThousand has a thousand sessions ask for bodies of 100 MB, as they are, decoded and
// compressed, and read nothing of the answers: no answer is collected in memory, others are
// served at once, and in the long form the sessions are ended when 64 KiB have not been taken
// for 60 s.
func TestDeafThousand(t *testing.T) {
	long(t)
	n, size := sized(90, 1000), sized(8, 100)<<20
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice}, MaxMessageSize: 128 << 20})
	s.MustDeliver(t, "Subject: kept\r\n\r\nkept\r\n", alice.Name)
	lines := strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n", size/78)
	s.MustDeliver(t, "Subject: large\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"+lines, alice.Name)
	s.MustShell("Set-ImapSettings", "-LoginType", "PlainTextLogin", "-MaxConnectionsPerUser", "20000")
	healthy(t, s)
	at := placeOf(t, s, "IMAP4 STARTTLS")
	asked := []string{
		"f1 FETCH 2 BODY.PEEK[]", "f1 FETCH 2 BODY.PEEK[1]", "f1 FETCH 2 BINARY.PEEK[1]", "f1 FETCH 2 (BODY.PEEK[TEXT] BODY.PEEK[1] BODY.PEEK[])",
		"f1 FETCH 2 BODY.PEEK[]<1000.90000000>",
	}
	before := peak(t, s)
	coming := probe(50*time.Millisecond, at, placeOf(t, s, "POP3 STLS"))
	sessions := make([]*sitter, n)
	defer func() {
		for _, c := range sessions {
			if c != nil {
				c.Close()
			}
		}
	}()
	var numbers []int
	for i := range n {
		numbers = append(numbers, i)
	}
	together(t, 8, numbers, func(i int) error {
		c, err := sit(at, alice, false)
		if err != nil {
			return err
		}
		sessions[i] = c
		c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		commands := strings.Repeat(asked[i%len(asked)]+"\r\n", 3)
		if i%6 == 5 {
			if err := c.ask("f0 COMPRESS DEFLATE", "f0 OK"); err != nil {
				return err
			}
			commands = string(deflated(commands))
		}
		_, err = io.WriteString(c, commands)
		return err
	})
	healthy(t, s)
	time.Sleep(time.Duration(sized(1, 10)) * time.Second)
	healthy(t, s)
	quick(t, fmt.Sprintf("beside %d sessions that read nothing of %d MB each", n, size>>20), coming.end(t))
	grown := peak(t, s) - before
	t.Logf("prove: KiB of a session that reads nothing of the %d MB it asked for, at most: %d", size>>20, grown<<10/n)
	if limit := 64 + n*192>>10; grown > limit {
		t.Errorf("the server's memory grew by %d MiB, more than %d", grown, limit)
	}
	if hours {
		time.Sleep(75 * time.Second)
		open := 0
		for _, c := range sessions {
			if c != nil && !gone(c.Conn) {
				open++
			}
		}
		// What gone reads lets some of them go on.
		if open > n/10 {
			t.Errorf("%d of %d that read nothing are still served after more than 60 s", open, n)
		}
	}
	unharmed(t, s)
}
