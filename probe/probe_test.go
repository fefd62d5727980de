package probe

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// elsewhere is a connection to another host.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 143} }

// against runs a probe against a server that says the greeting, and then for each
// line that it reads the next of the answers, in which TAG is the line's first
// word; "" closes the connection. It gives the last step that was tried, and all that the server read.
func against(t *testing.T, p Probe, greeting string, answers ...string) (last Step, read string) {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan string, 1)
	go func() {
		defer server.Close()
		var heard strings.Builder
		defer func() { done <- heard.String() }()
		if _, err := io.WriteString(server, greeting); err != nil {
			return
		}
		in := bufio.NewReader(server)
		for _, a := range answers {
			line, err := in.ReadString('\n')
			heard.WriteString(line)
			if err != nil {
				return
			}
			if a == "" {
				return
			}
			tag, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if _, err := io.WriteString(server, strings.ReplaceAll(a, "TAG", tag)); err != nil {
				return
			}
		}
		rest, _ := io.ReadAll(in)
		heard.Write(rest)
	}()
	p.Dial = func(context.Context, string, string) (net.Conn, error) { return elsewhere{client}, nil }
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, s := range p.Run(ctx) {
		if s.Outcome != Skipped {
			last = s
		}
	}
	return last, <-done
}

const (
	caps = "* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=SCRAM-SHA-256 STARTTLS\r\nTAG OK done\r\n"
	capa = "+OK\r\nUSER\r\nSASL PLAIN\r\nSTLS\r\n.\r\n"
)

// TestHostile: what a server may say that is not what it should.
func TestHostile(t *testing.T) {
	im := Probe{Service: settings.IMAP4, Name: "alice", Password: "s3cret"}
	pop := Probe{Service: settings.POP3, Name: "alice", Password: "s3cret"}
	with := func(p Probe, e Encryption) Probe { p.Encryption = e; return p }
	for _, c := range []struct {
		name     string
		p        Probe
		greeting string
		answers  []string
		scenario string
		err      string
	}{
		{"refused", im, "* BYE go away\r\n", nil, "Greeting", "go away"},
		{"another protocol", im, "220 SMTP\r\n", nil, "Greeting", "220"},
		{"a long line", im, "* OK " + strings.Repeat("x", maxLine), nil, "Greeting", "too long"},
		{"closed", im, "* OK\r\n", []string{""}, "Capabilities", "closed the connection"},
		{"no capabilities", im, "* OK\r\n", []string{"TAG OK\r\n"}, "Capabilities", "no capabilities"},
		{"a large literal", im, "* OK\r\n", []string{"* X {4000000000}\r\n"}, "Capabilities", "literal"},
		{"many literals", im, "* OK\r\n", []string{"* X " + strings.Repeat("{0}\r\n", 11000)}, "Capabilities", "too long"},
		{"no STARTTLS", with(im, StartTLS), "* OK\r\n", []string{"* CAPABILITY IMAP4rev1\r\nTAG OK\r\n"}, "TLS", "does not offer"},
		{"injected", with(im, StartTLS), "* OK\r\n", []string{caps, "TAG OK\r\n* CAPABILITY AUTH=PLAIN\r\n"}, "TLS", "more before TLS"},
		{"readable password", im, "* OK\r\n", []string{"* CAPABILITY AUTH=PLAIN\r\nTAG OK\r\n"}, "SignIn", "not sent unencrypted"},
		{"LOGINDISABLED", im, "* OK\r\n", []string{"* CAPABILITY LOGINDISABLED\r\nTAG OK\r\n"}, "SignIn", "wants TLS"},
		{"no proof", im, "* OK\r\n", []string{caps, "TAG OK welcome\r\n"}, "SignIn", "did not prove"},
		{"no base64", im, "* OK\r\n", []string{caps, "+ ***\r\n"}, "SignIn", "not base64"},
		{"a wrong nonce", im, "* OK\r\n", []string{caps, "+ \r\n", "+ cj14eCxzPUFBQUEsaT00MDk2\r\n"}, "SignIn", "nonce"},
		{"iterations", im, "* OK\r\n", []string{caps, "+ \r\n", "+ cj14eCxzPUFBQUEsaT05OTk5OTk5OTk5\r\n"}, "SignIn", "iterations"},
		{"POP3 refused", pop, "-ERR go away\r\n", nil, "Greeting", "go away"},
		{"POP3 without STLS", with(pop, StartTLS), "+OK\r\n", []string{"+OK\r\n.\r\n"}, "TLS", "does not offer"},
		{"POP3 injected", with(pop, StartTLS), "+OK\r\n", []string{capa, "+OK\r\nUSER\r\n"}, "TLS", "more before TLS"},
		{"POP3 readable password", pop, "+OK\r\n", []string{capa}, "SignIn", "not sent unencrypted"},
		{"POP3 endless", pop, "+OK\r\n", []string{"+OK\r\n" + strings.Repeat("X\r\n", maxLines)}, "Capabilities", "too many lines"},
	} {
		t.Run(c.name, func(t *testing.T) {
			last, read := against(t, c.p, c.greeting, c.answers...)
			if last.Scenario != c.scenario || last.Outcome != Failure || !strings.Contains(last.Error, c.err) {
				t.Errorf("%+v", last)
			}
			if strings.Contains(read, "s3cret") || strings.Contains(read, "AGFsaWNlAHMzY3JldA") {
				t.Errorf("the password went out: %q", read)
			}
		})
	}
}

// TestSame: lines before the message are the servers' affair, anything else is not.
func TestSame(t *testing.T) {
	m := (&run{Probe: &Probe{Now: time.Now}}).message()
	if err := m.same(append([]byte("Received: x\r\n"), m.raw...)); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]byte{nil, m.raw[:len(m.raw)-1], append(m.raw[:len(m.raw):len(m.raw)], '\n')} {
		if m.same(bad) == nil {
			t.Errorf("%q is taken for the message", bad)
		}
	}
}

// deaf is a connection whose other side has said all that it will.
type deaf struct {
	net.Conn
	in io.Reader
}

func (d deaf) Read(b []byte) (int, error)  { return d.in.Read(b) }
func (d deaf) Write(b []byte) (int, error) { return len(b), nil }
func (d deaf) SetDeadline(time.Time) error { return nil }
func (d deaf) Close() error                { return nil }
func (d deaf) LocalAddr() net.Addr         { return nil }
func (d deaf) RemoteAddr() net.Addr        { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func FuzzProbe(f *testing.F) {
	f.Add(false, "* OK\r\n* CAPABILITY AUTH=PLAIN UIDPLUS\r\np1 OK\r\n+ \r\np2 OK\r\n* CAPABILITY UIDPLUS\r\np3 OK\r\n* 1 EXISTS\r\np4 OK\r\n+ \r\np5 OK\r\np6 OK\r\n* SEARCH 7\r\np7 OK\r\n* 1 FETCH (UID 7 BODY[] {3}\r\nabc)\r\np8 OK\r\np9 OK\r\np10 OK\r\n* BYE\r\np11 OK\r\n")
	f.Add(true, "+OK\r\n+OK\r\nUSER\r\n.\r\n+OK\r\n+OK\r\n+OK 1 10\r\n+OK\r\n")
	f.Fuzz(func(t *testing.T, isPOP3 bool, says string) {
		p := Probe{Service: settings.IMAP4, Name: "alice", Password: "x", Deliver: func(context.Context, []byte) error { return nil }}
		if isPOP3 {
			p.Service = settings.POP3
		}
		in := strings.NewReader(says)
		dials := 0
		p.Dial = func(context.Context, string, string) (net.Conn, error) {
			if dials++; dials > 2 {
				return nil, errors.New("no more")
			}
			return deaf{in: in}, nil
		}
		for _, s := range p.Run(t.Context()) {
			if s.Scenario == "Fetch" && s.Outcome == Success {
				t.Error("a message that nobody can have came back")
			}
		}
	})
}
