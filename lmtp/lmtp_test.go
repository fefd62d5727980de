package lmtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/test/transcript"
)

var update = flag.Bool("update", false, "write what the server says into the transcripts")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people is a Directory of few people, who cannot sign in.
type people struct {
	mu   sync.Mutex
	all  map[string]directory.Entry
	down bool
}

func (p *people) Lookup(_ context.Context, name string) (*directory.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return nil, mail.Errorf(mail.KindUnavailable, "The directory does not answer.")
	}
	for _, e := range p.all {
		for _, a := range append(e.Aliases, e.Name) {
			if a == name {
				return &e, nil
			}
		}
	}
	return nil, mail.Errorf(mail.KindNotFound, "There is no such user.")
}

func (p *people) CheckPassword(context.Context, string, string) (*directory.Entry, error) {
	return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
}

func (p *people) ScramKeys(context.Context, string, directory.Hash) (*directory.Entry, directory.ScramKeys, error) {
	return nil, directory.ScramKeys{}, mail.Errorf(mail.KindAuthenticationFailed, "")
}

// broken is an engine that refuses the changes of one account, or panics at them.
type broken struct {
	store.Engine
	account atomic.Uint64
	panics  atomic.Bool
}

func (b *broken) Commit(ctx context.Context, batch *store.Batch) (func() error, error) {
	if id := b.account.Load(); id != 0 && id == uint64(batch.Account.ID) {
		if b.panics.Load() {
			panic("on demand")
		}
		return nil, mail.Errorf(mail.KindUnavailable, "The disk is full.")
	}
	return b.Engine.Commit(ctx, batch)
}

type fixture struct {
	t      testing.TB
	store  *store.Store
	broken *broken
	people *people
	addr   netip.AddrPort
}

// newFixture serves LMTP for alice (aliases, folders), bob, carol (switched off)
// and dora (no room).
func newFixture(t testing.TB, maxMessage int64) *fixture {
	t.Helper()
	ctx := context.Background()
	engine := &broken{Engine: memory.New()}
	st, err := store.Open(engine, store.Options{MaxMessage: maxMessage})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, store: st, broken: engine, people: &people{all: map[string]directory.Entry{}}}
	for name, quota := range map[string]int64{"alice": 0, "bob": 0, "carol": 0, "dora": 10, "emil": 1000, "zoë": 0} {
		id, err := st.CreateAccount(ctx, quota)
		if err != nil {
			t.Fatal(err)
		}
		e := directory.Entry{Name: name + "@test.example", Account: id, Enabled: name != "carol"}
		if name == "alice" {
			e.Aliases = []string{"a+b@test.example", "sales@test.example"}
		}
		f.people.all[name] = e
	}
	f.people.all["ghost"] = directory.Entry{Name: "ghost@test.example", Account: 12345, Enabled: true}
	a := f.account("alice")
	defer a.Close()
	for _, m := range []string{"Lists", "Lists/Go", "News", "news"} {
		if _, err := a.CreateMailbox(ctx, m, ""); err != nil {
			t.Fatal(err)
		}
	}
	server := &Server{
		Store: st, Directory: f.people, Hostname: "mx.test.example",
		Now: func() time.Time { return time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC) },
	}
	service := &listener.Service{
		Name: "LMTP", Handle: server.Serve, Refuse: Refuse, NoLogin: true, Log: slog.New(slog.DiscardHandler),
		ParkAfter: 5 * time.Millisecond, // many sessions of these tests are parked and go on
	}
	if err := service.Start(listener.Bindings{Clear: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := service.Stop(stop); err != nil {
			t.Error(err)
		}
		st.Close()
	})
	f.addr = service.Addrs().Clear[0]
	return f
}

func (f *fixture) account(name string) *store.Account {
	f.t.Helper()
	a, err := f.store.Account(context.Background(), f.people.all[name].Account)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// messages gives what a mailbox holds, oldest first.
func (f *fixture) messages(name, mailbox string) []string {
	f.t.Helper()
	ctx := context.Background()
	a := f.account(name)
	defer a.Close()
	m, err := a.Select(ctx, mailbox, true)
	if err != nil {
		f.t.Fatal(err)
	}
	defer m.Close()
	var all []string
	for seq := range m.View().Len() {
		body, err := m.Body(ctx, m.View().At(uint32(seq+1)).Email)
		if err != nil {
			f.t.Fatal(err)
		}
		p := make([]byte, body.Size())
		if _, err := body.ReadAt(p, 0); err != nil && err != io.EOF {
			f.t.Fatal(err)
		}
		body.Close()
		all = append(all, string(p))
	}
	return all
}

// patience is what a client of the tests has for all that it says, on a busy machine, too.
const patience = 60 * time.Second

func (f *fixture) dial() net.Conn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr.String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// converse says all at once and gives what the server says until it closes.
func (f *fixture) converse(say string) string {
	f.t.Helper()
	c := f.dial()
	go io.WriteString(c, say)
	all, err := io.ReadAll(c)
	if err != nil {
		f.t.Error(err)
	}
	c.Close()
	return string(all)
}

// content cuts the trace off.
func content(message string) string {
	_, rest, _ := strings.Cut(message, "+0000\r\n")
	return rest
}

func TestTranscripts(t *testing.T) {
	transcript.Dir(t, "testdata/*.txt", func(t *testing.T) *transcript.Player {
		f := newFixture(t, 64<<10)
		return &transcript.Player{
			Update: *update,
			Dial: func(int, string) (net.Conn, error) {
				return net.Dial("tcp", f.addr.String())
			},
			Do: map[string]func(string) error{
				// [holds alice INBOX 2]: a mailbox has so many messages.
				"holds": func(args string) error {
					var name, mailbox string
					var n int
					if _, err := fmt.Sscan(args, &name, &mailbox, &n); err != nil {
						return err
					}
					if got := len(f.messages(name, mailbox)); got != n {
						return fmt.Errorf("%s of %s holds %d", mailbox, name, got)
					}
					return nil
				},
				// [disk full alice] and [disk good]: alice's changes fail.
				"disk": func(args string) error {
					_, name, _ := strings.Cut(args, " ")
					f.broken.account.Store(uint64(f.people.all[name].Account))
					return nil
				},
				// [delete alice Lists]: the mailbox goes.
				"delete": func(args string) error {
					name, mailbox, _ := strings.Cut(args, " ")
					a := f.account(name)
					defer a.Close()
					return a.DeleteMailbox(context.Background(), mailbox)
				},
				"directory": func(args string) error {
					f.people.mu.Lock()
					defer f.people.mu.Unlock()
					f.people.down = args == "down"
					return nil
				},
			},
		}
	})
}

const begin = "LHLO client.test\r\nMAIL FROM:<sender@else.example>\r\n"

func TestTrace(t *testing.T) {
	f := newFixture(t, 64<<10)
	f.converse(begin + "RCPT TO:<alice@test.example>\r\nDATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n")
	want := "Return-Path: <sender@else.example>\r\n" +
		"Received: from client.test ([127.0.0.1])\r\n\tby mx.test.example with LMTP id 1.1;\r\n\tMon, 23 Nov 2026 09:30:00 +0000\r\n" +
		"Subject: x\r\n\r\nhello\r\n"
	if got := f.messages("alice", "INBOX"); len(got) != 1 || got[0] != want {
		t.Errorf("%q", got)
	}
}

// stuff is what a client does (RFC 5321, 4.5.2).
func stuff(s string) string {
	s = strings.ReplaceAll(s, "\r\n.", "\r\n..")
	if strings.HasPrefix(s, ".") {
		s = "." + s
	}
	return s + ".\r\n"
}

// odd makes a message of what is hard: dots, CR, LF, NUL, 8-bit.
func odd(r *rand.Rand, n int) string {
	pieces := []string{".", "..", "\r", "\n", "\r\n", "\r\n.", "\x00", "a", "é", "\xff", "\n.\n", "\r\n.\r", "\r.\r\n"}
	var b strings.Builder
	for range n {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// TestSocketAndTLS: a Unix socket, and STARTTLS on it: what was said before is
// forgotten, and what was sent behind the command ends the connection.
func TestSocketAndTLS(t *testing.T) {
	f := newFixture(t, 64<<10)
	pair, err := certificate.SelfSigned([]string{"localhost"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var certs listener.Certificates
	if err := certs.Set(pair); err != nil {
		t.Fatal(err)
	}
	server := &Server{Store: f.store, Directory: f.people, Hostname: "mx.test.example"}
	service := &listener.Service{
		Name: "LMTP", Handle: server.Serve, Refuse: Refuse, NoLogin: true,
		Certificates: &certs, Log: slog.New(slog.DiscardHandler),
	}
	path := filepath.Join(t.TempDir(), "lmtp")
	if err := service.Start(listener.Bindings{Unix: []string{path}}); err != nil {
		t.Fatal(err)
	}
	defer service.Stop(context.Background())
	dial := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c
	}
	read := func(c io.Reader, until string) string {
		var b strings.Builder
		for p := make([]byte, 1); !strings.HasSuffix(b.String(), until); {
			if _, err := io.ReadFull(c, p); err != nil {
				t.Fatalf("%v after %q", err, b.String())
			}
			b.Write(p)
		}
		return b.String()
	}

	c := dial()
	io.WriteString(c, begin+"STARTTLS\r\n")
	read(c, "STARTTLS\r\n")
	read(c, "220 2.0.0 Begin TLS\r\n")
	session := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	io.WriteString(session, "RCPT TO:<bob@test.example>\r\n"+begin+"RCPT TO:<bob@test.example>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
	if out := read(session, "Goodbye\r\n"); !strings.HasPrefix(out, "503 5.5.1 Say MAIL first\r\n") || strings.Contains(out, "STARTTLS") {
		t.Error(out)
	}
	got := f.messages("bob", "INBOX")
	if len(got) != 1 || !strings.Contains(got[0], "from client.test\r\n") || !strings.Contains(got[0], "with LMTPS id") {
		t.Errorf("%q", got)
	}

	c = dial()
	io.WriteString(c, "LHLO x\r\nSTARTTLS\r\nNOOP\r\n")
	if out, _ := io.ReadAll(c); !strings.HasSuffix(string(out), "STARTTLS\r\n") {
		t.Errorf("%q", out)
	}
}

// TestUnstuffing: whatever the message and wherever the network cuts it, it is
// kept as it was, and what follows is read as commands.
func TestUnstuffing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		// Content before the end mark ends in CRLF, or is empty.
		want := strings.TrimSuffix(odd(r, r.IntN(12)), "\r") + "\r\n"
		if strings.Contains("\r\n"+want, "\r\n.\r\n") && r.IntN(2) == 0 {
			want = ".\r\n" + want
		}
		wire := stuff(want) + "NOOP\r\n"
		u := unstuffer{start: true}
		buf := make([]byte, 4096)
		var rest []byte
		end := false
		for at := 0; at < len(wire); {
			n := 1 + r.IntN(5)
			chunk := wire[at:min(at+n, len(wire))]
			at += len(chunk)
			if end {
				rest = append(rest, chunk...)
				continue
			}
			u.raw += copy(buf[u.raw:], chunk)
			rest, end = u.scan(buf)
			rest = bytes.Clone(rest)
			if !end && u.raw-u.done > 2 {
				t.Fatalf("%q: %d bytes wait", wire, u.raw-u.done)
			}
		}
		if got := string(buf[:u.done]); !end || got != want || string(rest) != "NOOP\r\n" {
			t.Fatalf("%q: got %q, %v, rest %q", wire, got, end, rest)
		}
	}
}

// TestBytesAreKept over the network, by DATA and by BDAT.
func TestBytesAreKept(t *testing.T) {
	f := newFixture(t, 1<<20)
	r := rand.New(rand.NewPCG(3, 4))
	var want []string
	var say strings.Builder
	say.WriteString("LHLO client.test\r\n")
	for i := range 30 {
		m := odd(r, r.IntN(5000))
		say.WriteString("MAIL FROM:<>\r\nRCPT TO:<bob@test.example>\r\n")
		if i%2 == 0 {
			m = strings.TrimSuffix(m, "\r") + "\r\n"
			say.WriteString("DATA\r\n" + stuff(m))
		} else {
			cut := r.IntN(len(m) + 1)
			fmt.Fprintf(&say, "BDAT %d\r\n%sBDAT %d LAST\r\n%s", cut, m[:cut], len(m)-cut, m[cut:])
		}
		want = append(want, m)
	}
	out := f.converse(say.String() + "QUIT\r\n")
	got := f.messages("bob", "INBOX")
	if len(got) != len(want) {
		t.Fatalf("%d of %d: %s", len(got), len(want), out)
	}
	for i := range want {
		if content(got[i]) != want[i] {
			t.Errorf("message %d: %d bytes, want %d", i, len(content(got[i])), len(want[i]))
		}
	}
}

// TestTooBig: a message over the limit is refused, its end is found, memory is
// given back, and the session goes on.
func TestTooBig(t *testing.T) {
	f := newFixture(t, 64<<10)
	limit := 64<<10 - traceRoom
	rcpt := "RCPT TO:<bob@test.example>\r\n"
	line := strings.Repeat("x", 1022) + "\r\n"
	for _, c := range []struct {
		say  string
		want string
	}{
		{fmt.Sprintf("MAIL FROM:<> SIZE=%d\r\n", limit+1), "552 5.3.4"},
		{"MAIL FROM:<>\r\n" + rcpt + "DATA\r\n" + strings.Repeat(line, 100) + ".\r\n", "552 5.3.4"},
		{"MAIL FROM:<>\r\n" + rcpt + "DATA\r\n" + strings.Repeat(line, 60) + ".\r\n", "250 2.0.0 <bob"},
		{"MAIL FROM:<>\r\n" + rcpt + "DATA\r\n" + strings.Repeat(line, 60) + ".\r\n", "250 2.0.0 <bob"},
		{"MAIL FROM:<>\r\n" + rcpt + "DATA\r\n" + strings.Repeat(line, 60) + "y\r\n.\r\n", "552 5.3.4"},
		{"MAIL FROM:<>\r\n" + rcpt + "BDAT 99999\r\n" + strings.Repeat("z", 99999) + "BDAT 1 LAST\r\nz", "552 5.3.4 <bob"},
		{"MAIL FROM:<>\r\n" + rcpt + fmt.Sprintf("BDAT %d LAST\r\n", limit) + strings.Repeat("z", limit), "250 2.0.0 <bob"},
		{"MAIL FROM:<>\r\n" + rcpt + fmt.Sprintf("BDAT %d\r\nzzBDAT %d LAST\r\n", 2, limit-1) + strings.Repeat("z", limit-1), "552 5.3.4 <bob"},
	} {
		out := f.converse("LHLO x\r\n" + c.say + "RSET\r\nNOOP\r\nQUIT\r\n")
		if !strings.Contains(out, c.want) || !strings.HasSuffix(out, "250 2.0.0 OK\r\n250 2.0.0 OK\r\n221 2.0.0 Goodbye\r\n") {
			t.Errorf("%.80q: want %q in\n%s", c.say, c.want, out)
		}
	}
	release, err := f.store.Reserve(context.Background(), 64<<10)
	if err != nil {
		t.Fatal("memory leaked", err)
	}
	release()
}

// TestSmuggling: nothing but CRLF "." CRLF ends a message.
func TestSmuggling(t *testing.T) {
	f := newFixture(t, 64<<10)
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\n\x00.\r\n"} {
		inner := "x" + end + "MAIL FROM:<evil@else.example>\r\n"
		out := f.converse(begin + "RCPT TO:<alice@test.example>\r\nDATA\r\n" + inner + ".\r\nQUIT\r\n")
		if strings.Count(out, "2.1.0") != 1 {
			t.Errorf("%q: %s", end, out)
		}
	}
	if n := len(f.messages("alice", "INBOX")); n != 6 {
		t.Error(n)
	}
}

// TestLostConnection: what was not ended is not kept, and its memory and accounts
// are let go.
func TestLostConnection(t *testing.T) {
	f := newFixture(t, 64<<10)
	for _, say := range []string{"DATA\r\nhalf a mess", "BDAT 100\r\nhalf", "BDAT 4\r\nhalf"} {
		c := f.dial()
		io.WriteString(c, begin+"RCPT TO:<alice@test.example>\r\n"+say)
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c)
	}
	if n := len(f.messages("alice", "INBOX")); n != 0 {
		t.Error(n)
	}
}

func TestConcurrentSessions(t *testing.T) {
	f := newFixture(t, 64<<10)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			var say strings.Builder
			say.WriteString("LHLO client.test\r\n")
			for j := range 5 {
				fmt.Fprintf(&say, "MAIL FROM:<s@else.example>\r\nRCPT TO:<alice@test.example>\r\nRCPT TO:<bob@test.example>\r\nDATA\r\nSubject: %d %d\r\n\r\nx\r\n.\r\n", i, j)
			}
			if out := f.converse(say.String() + "QUIT\r\n"); strings.Count(out, "delivered") != 10 {
				t.Error(out)
			}
		})
	}
	wg.Wait()
	if a, b := len(f.messages("alice", "INBOX")), len(f.messages("bob", "INBOX")); a != 100 || b != 100 {
		t.Error(a, b)
	}
}

func TestReadPath(t *testing.T) {
	for in, want := range map[string]string{
		"<a@b.c>": "a@b.c", " <a@b.c> SIZE=1": "a@b.c", "<>": "", "<@x,@y:a@b>": "a@b", `<"a b"@c>`: "a b@c",
		`<"a\"b"@c>`: `a"b@c`, "<Postmaster>": "Postmaster", "<a@[127.0.0.1]>": "a@[127.0.0.1]", "<a@[IPv6:::1]>": "a@[IPv6:::1]",
		"<u+d/e@b>": "u+d/e@b", "<é@ü.example>": "é@ü.example",
	} {
		if got, _, ok := readPath(in); !ok || got != want {
			t.Errorf("%q: %q %v", in, got, ok)
		}
	}
	for _, bad := range []string{"", "a@b", "<a@b", "<a b@c>", "<a@b c>", "<a@b>x", "<@b>", "<a@>", "<a@b..c>", "<a@[x]>", `<"a@b>`, `<""@b>`,
		"<a@b> =x", "<a<b@c>", "<\xff@b>", "<" + strings.Repeat("a", 2000) + "@b>"} {
		if got, _, ok := readPath(bad); ok {
			t.Errorf("%q: %q", bad, got)
		}
	}
	for _, a := range []string{"a@b.c", "a b@c", `a"b@c`, `a\b@c`, "plain"} {
		if got, _, ok := readPath(angle(a)); !ok || got != a {
			t.Errorf("%q: %q", a, got)
		}
	}
}

// FuzzLMTP plays arbitrary bytes as a session: it ends, and answers are lines
// that begin with a code.
func FuzzLMTP(f *testing.F) {
	lines, err := transcript.ClientLines("testdata/delivery.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(strings.Join(lines, "")))
	for _, l := range lines {
		f.Add([]byte(begin + l))
	}
	f.Add([]byte(begin + "RCPT TO:<alice@test.example>\r\nDATA\r\n..x\r\n.\r\nBDAT 5 LAST\r\nhello"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 4<<10 {
			return
		}
		// A store that grew with what was delivered before would not be the same twice.
		st, err := store.Open(memory.New(), store.Options{MaxMessage: 16 << 10})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		who := &people{all: map[string]directory.Entry{}}
		for name, quota := range map[string]int64{"alice": 0, "dora": 10} {
			id, err := st.CreateAccount(t.Context(), quota)
			if err != nil {
				t.Fatal(err)
			}
			who.all[name] = directory.Entry{Name: name + "@test.example", Account: id, Enabled: true}
		}
		server := &Server{Store: st, Directory: who, Hostname: "mx.test"}
		service := &listener.Service{Name: "LMTP", Handle: server.Serve, NoLogin: true, Log: slog.New(slog.DiscardHandler)}
		nc := &script{in: bytes.NewReader(in)}
		service.ServeConn(nc, false)
		for line := range strings.Lines(nc.out.String()) {
			if len(line) < 6 || line[0] < '2' || line[0] > '5' || !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(line[:len(line)-2], "\r\n\x00") {
				t.Fatalf("%q to %q", line, in)
			}
		}
		if service.Panics() > 0 {
			t.Fatalf("panic: %q", in)
		}
		// Who is named twice gets the message once, and two answers.
		answers, messages := strings.Count(nc.out.String(), "> delivered\r\n"), int64(0)
		for _, e := range who.all {
			a, err := st.Account(t.Context(), e.Account)
			if err != nil {
				t.Fatal(err)
			}
			messages += a.Usage().Messages
			a.Close()
		}
		if messages > int64(answers) || messages == 0 && answers > 0 {
			t.Fatalf("%d deliveries were answered, and %d messages are there: %q to %q", answers, messages, nc.out.String(), in)
		}
	})
}

// script is a connection whose client says in and then closes.
type script struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
