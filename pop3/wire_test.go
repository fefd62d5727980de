package pop3

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/test/transcript"
)

// odd makes a message of what is hard: dots, CR, LF, NUL, 8-bit.
func odd(r *rand.Rand, n int) string {
	pieces := []string{".", "..", "\r", "\n", "\r\n", "\r\n.", "\x00", "a", "é", "\xff", "\n.\n", "\r\n.\r", "\r.\r\n", "\r\n.\r\n"}
	var b strings.Builder
	for range n {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// onTheWire is the message that a client gets: with CRLF at its end.
func onTheWire(m string) string {
	if m != "" && !strings.HasSuffix(m, "\r\n") {
		m += "\r\n"
	}
	return m
}

// TestStuffing: whatever the message, and wherever it is cut into pieces, the
// client gets it back, and no line of it ends the response early.
func TestStuffing(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var out bytes.Buffer
	for i := range 1_000_000 {
		if testing.Short() && i == 50_000 {
			break
		}
		m := odd(r, r.IntN(9))
		out.Reset()
		s := stuffer{w: &out}
		for rest := m; rest != ""; {
			n := 1 + r.IntN(len(rest))
			s.write([]byte(rest[:n]))
			rest = rest[n:]
		}
		s.end()
		wire := out.String()
		if got := unstuff(wire); got != onTheWire(m) {
			t.Fatalf("%q: got %q by %q", m, got, wire)
		}
		if strings.Count("\r\n"+wire, "\r\n.\r\n") != 1 || !strings.HasSuffix("\r\n"+wire, "\r\n.\r\n") {
			t.Fatalf("%q: %q", m, wire)
		}
	}
}

// TestTop compares with a plain reading of the definition.
func TestTop(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20_000 {
		m, lines := "A: b\r\n"+odd(r, r.IntN(12)), r.IntN(4)
		want, body, left := "", false, lines
		for line := range strings.Lines(m) {
			if body && left == 0 {
				break
			}
			want += line
			if !strings.HasSuffix(line, "\n") {
				break
			}
			if body {
				left--
			} else {
				body = strings.TrimRight(line, "\n") == "" || line == "\r\n"
			}
		}
		end := topEnd{lines: lines}
		got := ""
		for rest := m; rest != "" && !end.done; {
			n := 1 + r.IntN(len(rest))
			got += string(end.cut([]byte(rest[:n])))
			rest = rest[n:]
		}
		if got != want {
			t.Fatalf("TOP %d of %q: %q, want %q", lines, m, got, want)
		}
	}
}

// TestRetrieve over the network: small and large, odd and ordinary.
func TestRetrieve(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	all := []string{"", ".", "\r\n", ".\r\n.\r\n", strings.Repeat(".\r\n", 100_000), strings.Repeat("x", 300_000)}
	for range 40 {
		all = append(all, odd(r, r.IntN(20_000)))
	}
	f := newFixture(t, all...)
	p := f.login()
	go func() { // pipelined
		for i := range all {
			fmt.Fprintf(p.Conn, "RETR %d\r\n", i+1)
		}
	}()
	for i, m := range all {
		p.want(fmt.Sprintf("+OK %d octets", len(m)))
		if got := p.multi(); got != strings.ReplaceAll(onTheWire(m), "\x00", "\x80") {
			t.Fatalf("message %d: %d bytes, want %d", i+1, len(got), len(onTheWire(m)))
		}
	}
}

// TestLargeMaildrop: LIST and UIDL of many messages, and all deleted at once.
func TestLargeMaildrop(t *testing.T) {
	f := newFixture(t)
	const n = 5000
	f.inbox("alice", func(a *store.Account, _ *store.Mailbox) {
		one := f.store.Prepare([]byte("Subject: x\r\n\r\n"))
		arrivals := make([]store.Arrival, n)
		for i := range arrivals {
			arrivals[i].Prepared = one
		}
		if _, err := a.Append(context.Background(), store.Inbox, arrivals...); err != nil {
			t.Fatal(err)
		}
	})
	p := f.login()
	p.ask("UIDL", "+OK")
	ids := map[string]bool{}
	for line := range strings.Lines(p.multi()) {
		_, id, _ := strings.Cut(strings.TrimSpace(line), " ")
		if len(id) == 0 || len(id) > 70 {
			t.Fatal(id)
		}
		ids[id] = true
	}
	if len(ids) != n {
		t.Error(len(ids))
	}
	go func() {
		for i := range n {
			fmt.Fprintf(p.Conn, "DELE %d\r\n", i+1)
		}
		io.WriteString(p.Conn, "QUIT\r\n")
	}()
	for range n + 1 {
		p.want("+OK")
	}
	if got := f.holds(); got != "" {
		t.Errorf("%.100s", got)
	}
}

// TestInjection sends bytes behind STLS, cut into two segments at every point:
// what was sent in the clear is never obeyed.
func TestInjection(t *testing.T) {
	f := newFixture(t, messages...)
	hello := clientHello(t)
	for _, behind := range []string{"USER alice\r\nPASS " + password + "\r\n", "\r\n", hello[:20]} {
		text := "STLS\r\n" + behind
		for cut := 1; cut < len(text); cut++ {
			p := f.pop()
			io.WriteString(p.Conn, text[:cut])
			time.Sleep(300 * time.Microsecond)
			io.WriteString(p.Conn, text[cut:])
			p.Conn.(*net.TCPConn).CloseWrite()
			all, _ := io.ReadAll(p.r)
			said := strings.TrimPrefix(string(all), "+OK Begin TLS negotiation\r\n")
			if strings.Contains(said, "+OK") || strings.Contains(said, "-ERR") {
				t.Fatalf("cut at %d: %q", cut, all)
			}
			p.Close()
		}
	}
	// The whole ClientHello in the segment of the command, too.
	p := f.pop()
	io.WriteString(p.Conn, "STLS\r\n"+hello)
	if all, _ := io.ReadAll(p.r); len(all) != 0 {
		t.Errorf("%q", all)
	}
}

// clientHello gives the first bytes of a TLS client.
func clientHello(t *testing.T) string {
	a, b := net.Pipe()
	defer b.Close()
	go tls.Client(a, &tls.Config{ServerName: "localhost"}).Handshake()
	buf := make([]byte, 4096)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// TestDrain: a session that the server ends removes nothing.
func TestDrain(t *testing.T) {
	f := newFixture(t, messages...)
	p := f.login()
	p.ask("DELE 1", "+OK")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f.service.Stop(ctx); err != nil {
		t.Error(err)
	}
	p.want("-ERR [SYS/TEMP] The server is shutting down.")
	if got := f.holds(); got != "1 2 3" {
		t.Error(got)
	}
}

func TestSCRAM(t *testing.T) {
	f := newFixture(t, messages...)
	f.set(settings.LoginType.With(f.values.Load(), mail.PlainTextAuthentication))
	client, err := scram.SHA256.NewClient("alice", password, "")
	if err != nil {
		t.Fatal(err)
	}
	c := client.NewConversation()
	first, err := c.Step("")
	if err != nil {
		t.Fatal(err)
	}
	p := f.pop()
	line := p.ask("AUTH SCRAM-SHA-256 "+base64.StdEncoding.EncodeToString([]byte(first)), "+ ")
	for !c.Done() {
		challenge, err := base64.StdEncoding.DecodeString(line[2:])
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Step(string(challenge))
		if err != nil {
			t.Fatal(err)
		}
		line = p.ask(base64.StdEncoding.EncodeToString([]byte(answer)), "+")
	}
	if !c.Valid() || !strings.HasPrefix(line, "+OK") {
		t.Error(line)
	}
}

// TestSASLLineIsBounded: a response of megabytes is refused in bounded memory.
func TestSASLLineIsBounded(t *testing.T) {
	f := newFixture(t)
	p := f.pop()
	p.ask("AUTH PLAIN", "+ ")
	go io.WriteString(p.Conn, strings.Repeat("QUFB", 100_000)+"\r\n")
	p.want("-ERR")
	// A Kerberos ticket, or a token, of 8 KiB.
	p.ask("AUTH PLAIN "+strings.Repeat("QUFB", 8<<10/3), "-ERR [AUTH]")
	p.ask("USER "+strings.Repeat("x", 2000), "-ERR The command is too long")
}

// TestPipelining: what comes in one piece is answered in one piece, or nearly.
func TestPipelining(t *testing.T) {
	f := newFixture(t, messages...)
	say := "USER alice\r\nPASS " + password + "\r\n" + strings.Repeat("NOOP\r\nSTAT\r\n", 200) + "QUIT\r\n"
	nc := &script{in: bytes.NewReader([]byte(say))}
	f.service.ServeConn(nc, false)
	if n := strings.Count(nc.out.String(), "+OK"); n != 404 || nc.writes > 4 {
		t.Errorf("%d answers in %d writes", n, nc.writes)
	}
}

// FuzzLine plays arbitrary bytes as a session, before and after login: it ends,
// and every response is made of lines that begin as they must.
func FuzzLine(f *testing.F) {
	for _, file := range []string{"maildrop", "faults", "sasl", "policy"} {
		lines, err := transcript.ClientLines("testdata/" + file + ".txt")
		if err != nil {
			f.Fatal(err)
		}
		for _, l := range lines {
			f.Add([]byte(l))
		}
	}
	fix := newFixture(f)
	id := fix.account["bob"]
	fix.deliver("bob", "x\r\n", "y")
	var service *listener.Service
	server := &Server{Store: fix.store, Settings: fix.values.Load, Auth: fix.auth}
	service = &listener.Service{Name: "POP3", Settings: fix.values.Load, Log: slog.New(slog.DiscardHandler)}
	service.Handle = func(ctx context.Context, c *listener.Conn) {
		// What Serve does behind a login.
		x := &session{Server: server, conn: c, lines: listener.NewLines(c), state: transaction}
		var err error
		if x.drop, err = server.openDrop(ctx, id); err != nil {
			f.Error(err)
			return
		}
		defer x.closeDrop(ctx)
		for !x.over {
			line, err := x.read()
			if err == listener.ErrLineTooLong {
				x.fault("too long")
			} else if err != nil {
				return
			} else if !strings.EqualFold(strings.TrimSpace(line), "QUIT") {
				x.command(ctx, line)
			}
		}
		x.lines.Flush()
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, s := range []*listener.Service{service, fix.service} {
			nc := &script{in: bytes.NewReader(in)}
			s.ServeConn(nc, false)
			multi := false
			for line := range strings.Lines(nc.out.String()) {
				if !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(line[:len(line)-2], "\r\n\x00") || len(line) > 512 {
					t.Fatalf("%q to %q", line, in)
				}
				switch {
				case strings.HasPrefix(line, "+OK"), strings.HasPrefix(line, "+ "), strings.HasPrefix(line, "-ERR"):
					multi = strings.HasPrefix(line, "+OK")
				case !multi:
					t.Fatalf("%q to %q", nc.out.String(), in)
				}
			}
			if s.Panics() > 0 {
				t.Fatalf("panic: %q", in)
			}
		}
	})
}

// script is a connection whose client says in and then closes.
type script struct {
	net.Conn
	in     *bytes.Reader
	out    bytes.Buffer
	writes int
}

func (s *script) Read(p []byte) (int, error) { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) {
	s.writes++
	return s.out.Write(p)
}
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }

// BenchmarkStuffing is the cost of sending an ordinary message.
func BenchmarkStuffing(b *testing.B) {
	m := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 1000))
	b.SetBytes(int64(len(m)))
	for b.Loop() {
		s := stuffer{w: io.Discard}
		s.write(m)
		s.end()
	}
}
