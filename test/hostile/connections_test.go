package hostile

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
	"github.com/postern-mail/postern/test/stopwatch"
)

// silent opens n connections that never say anything.
func silent(t *testing.T, addr string, n int) []net.Conn {
	t.Helper()
	var list []net.Conn
	for range n {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			t.Fatalf("connection %d to %s: %v", len(list)+1, addr, err)
		}
		t.Cleanup(func() { c.Close() })
		list = append(list, c)
	}
	return list
}

// dripTime is when a slow writer must be gone, with time to spare on a slow machine.
const dripTime = 60 * time.Second

// drip writes text a byte at a time, slowly, until the connection ends, and gives
// how long that took; it is an error when it does not end.
func drip(c net.Conn, text string) (time.Duration, error) {
	begin := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.SetReadDeadline(begin.Add(dripTime))
		io.Copy(io.Discard, c)
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ended:
			took := time.Since(begin)
			if took >= dripTime {
				return took, fmt.Errorf("the connection is still open after %v", took)
			}
			return took, nil
		case <-tick.C:
			c.Write([]byte{text[i%len(text)]}) // an error shows as the end
		}
	}
}

// TestSilence opens 1,000 connections to each protocol that never speak, and some
// that speak very slowly: a new client is served at once, memory stays small, and
// all are gone when their time before login is up, in total and not a byte.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		s.MustShell(set, "-PreAuthenticatedConnectionTimeout", "00:00:10")
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	bounded(t, s, 128, func() {
		var all []net.Conn
		for _, addr := range []string{s.IMAP, s.POP3, s.IMAPS, s.POP3S} {
			n := 1000
			if addr == s.IMAPS || addr == s.POP3S {
				n = 250
			}
			all = append(all, silent(t, addr, n)...)
		}
		for what, text := range map[string]string{s.IMAP: "a1 NOOP\r\n", s.POP3: "CAPA\r\n", s.IMAPS: "\x16\x03\x01\x40\x00\x01", s.POP3S: "\x16\x03\x01\x40\x00\x01"} {
			c := silent(t, what, 1)[0]
			wg.Go(func() {
				if _, err := drip(c, text+strings.Repeat("x", 1000)); err != nil {
					t.Errorf("a slow writer to %s: %v", what, err)
				}
			})
		}
		healthy(t, s)
		stopwatch.Within(t, 5*time.Second, "to greet new clients", func() {
			pop(t, s, nil)
			lmtp(t, s)
		})
		deadline := time.Now().Add(patience)
		for i, c := range all {
			c.SetReadDeadline(deadline)
			said, err := io.ReadAll(c)
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Fatalf("connection %d of %d that never speaks is still open; it heard %q", i, len(all), said)
			}
			if i == 0 && !strings.Contains(string(said), "\r\n* BYE ") {
				t.Errorf("IMAP ends a silent connection with %q", said)
			}
		}
	})
	healthy(t, s)
}

// TestSlowMessage sends messages much slower than any network is: the connection
// ends, though something came all the time, and nothing is kept.
func TestSlowMessage(t *testing.T) {
	t.Parallel()
	s := serve(t)
	literal := s.Login(t, alice)
	literal.Write("a1 APPEND INBOX {100000}\r\n")
	literal.Want("+")
	data := lmtp(t, s)
	data.Send("MAIL FROM:<a@test.example>", "RCPT TO:<"+alice.Name+">", "DATA")
	data.Want("250")
	data.Want("250")
	data.Want("354")
	chunk := lmtp(t, s)
	chunk.Send("MAIL FROM:<a@test.example>", "RCPT TO:<"+alice.Name+">", "BDAT 100000 LAST")
	chunk.Want("250")
	chunk.Want("250")
	var wg sync.WaitGroup
	for name, c := range map[string]*server.Talk{"APPEND": literal, "DATA": data, "BDAT": chunk} {
		wg.Go(func() {
			if took, err := drip(c.Conn, "slow "); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if took < 10*time.Second {
				t.Errorf("%s: the connection ended after %v: that is not slow", name, took)
			}
		})
	}
	wg.Wait()
	look := s.Login(t, alice)
	if got := look.MustIMAP("STATUS INBOX (MESSAGES)"); !strings.HasSuffix(got[0], "(MESSAGES 1)") {
		t.Errorf("half a message arrived: %q", got)
	}
	healthy(t, s)
}

// TestDeafReader asks for much and reads nothing: the answer is not collected in
// memory, and others are served.
func TestDeafReader(t *testing.T) {
	s := serve(t)
	c := s.Login(t, alice)
	c.Append("INBOX", "", "Subject: large\r\n\r\n"+strings.Repeat("a line of seventy and more bytes, so that it is one like many others\r\n", 60_000))
	bounded(t, s, 96, func() {
		for range 8 {
			d := s.Login(t, alice)
			d.MustIMAP("EXAMINE INBOX")
			var commands strings.Builder
			for i := range 50 {
				fmt.Fprintf(&commands, "d%d FETCH 2 BODY.PEEK[]\r\n", i)
			}
			d.Write(commands.String())
			// The first bytes have come: it is under way.
			d.Want("* 2 FETCH")
		}
		healthy(t, s)
	})
	c.MustIMAP("NOOP")
}

// TestBindings asks for bindings that cannot be opened: the cmdlet says why, and
// nothing is changed, not even what else it was to change.
func TestBindings(t *testing.T) {
	s := serve(t)
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := server.FreeAddress(t)
	before := s.MustShell("Get-PopSettings")
	wants := map[string]string{
		"in use": "in use", "one in use": "in use", "added": "in use", "SSL": "in use", "with another setting": "in use", "another service's": "IMAP4",
	}
	for name, args := range map[string][]string{
		"in use":                {"-UnencryptedOrTLSBindings", taken.Addr().String()},
		"one in use":            {"-UnencryptedOrTLSBindings", free + "," + taken.Addr().String()},
		"added":                 {"-UnencryptedOrTLSBindings", "@{Add='" + taken.Addr().String() + "'}"},
		"SSL":                   {"-SSLBindings", taken.Addr().String()},
		"with another setting":  {"-LoginType", "PlainTextLogin", "-SSLBindings", taken.Addr().String()},
		"another service's":     {"-UnencryptedOrTLSBindings", s.IMAP},
		"an address of nobody":  {"-UnencryptedOrTLSBindings", "192.0.2.1:1110"},
		"not an address at all": {"-UnencryptedOrTLSBindings", "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := s.Shell(append([]string{"Set-PopSettings"}, args...)...)
			if code == 0 {
				t.Errorf("exit code 0:\n%s", out)
			}
			binding := args[len(args)-1]
			binding = strings.TrimSuffix(strings.TrimPrefix(binding[strings.LastIndexByte(binding, ',')+1:], "@{Add='"), "'}")
			if !strings.Contains(out, binding) || !strings.Contains(out, wants[name]) {
				t.Errorf("the reason does not name %s and why:\n%s", binding, out)
			}
			if after := s.MustShell("Get-PopSettings"); after != before {
				t.Errorf("something was changed; before:\n%s\nafter:\n%s", before, after)
			}
			if c, err := net.Dial("tcp", free); err == nil {
				c.Close()
				t.Error("the other binding is open")
			}
			pop(t, s, nil).Send("QUIT")
		})
	}
	// And one that can be opened: the old one closes, who is connected stays.
	stays := pop(t, s, nil)
	s.MustShell("Set-PopSettings", "-UnencryptedOrTLSBindings", free)
	c := server.Dial(t, free)
	c.Want("+OK")
	server.Eventually(t, patience, "the old binding is closed", func() bool {
		c, err := net.Dial("tcp", s.POP3)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	stays.Send("NOOP")
	stays.Line()
	s.MustShell("Set-PopSettings", "-UnencryptedOrTLSBindings", s.POP3)
	healthy(t, s)
}
