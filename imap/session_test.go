package imap

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/test/transcript"
)

// testClient speaks IMAP in the plainest way and checks what every client relies
// on: sequence numbers in range, EXISTS that only grows, no EXPUNGE while they are
// in use (RFC 3501, 7.3.1, 7.4.1).
type testClient struct {
	t      testing.TB
	conn   net.Conn
	r      *bufio.Reader
	below  *bufio.Reader // of the connection, once r decompresses
	tag    int
	exists int
	holds  bool     // no EXPUNGE may come
	lines  []string // untagged responses of the last command
}

func newClient(t testing.TB, conn net.Conn) *testClient {
	c := &testClient{t: t, conn: conn, r: bufio.NewReader(conn)}
	conn.SetDeadline(time.Now().Add(patience))
	if greeting := c.line(); !strings.HasPrefix(greeting, "* OK ") {
		t.Errorf("greeting %q", greeting)
	}
	return c
}

func (c *testClient) line() string {
	s, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Errorf("reading: %v", err)
		return ""
	}
	return strings.TrimSuffix(s, "\r\n")
}

var numbered = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE|RECENT|FETCH)`)

// untagged follows an untagged response.
func (c *testClient) untagged(line string) {
	c.lines = append(c.lines, line)
	m := numbered.FindStringSubmatch(line)
	if m == nil {
		return
	}
	n, _ := strconv.Atoi(m[1])
	switch m[2] {
	case "EXISTS":
		if n < c.exists {
			c.t.Errorf("EXISTS went from %d to %d", c.exists, n)
		}
		c.exists = n
	case "EXPUNGE":
		if c.holds || n < 1 || n > c.exists {
			c.t.Errorf("%q with %d messages, held %v", line, c.exists, c.holds)
		}
		c.exists--
	case "RECENT":
		if n > c.exists {
			c.t.Errorf("%q with %d messages", line, c.exists)
		}
	case "FETCH":
		if n < 1 || n > c.exists {
			c.t.Errorf("%q with %d messages", line, c.exists)
		}
	}
}

// do sends a command and gives the tagged answer without its tag. Where the server
// asks for more, more is sent.
func (c *testClient) do(command string, more ...string) string {
	c.tag++
	tag := fmt.Sprintf("t%d", c.tag)
	c.lines = nil
	verb, _, _ := strings.Cut(command, " ")
	c.holds = verb == "FETCH" || verb == "STORE" || verb == "SEARCH"
	if verb == "SELECT" {
		c.exists = 0
	}
	if _, err := io.WriteString(c.conn, tag+" "+command+"\r\n"); err != nil {
		c.t.Errorf("writing: %v", err)
		return ""
	}
	for {
		line := c.line()
		switch {
		case line == "":
			return ""
		case strings.HasPrefix(line, "+"):
			if len(more) == 0 {
				c.t.Errorf("%s: unexpected %q", command, line)
				return ""
			}
			io.WriteString(c.conn, more[0])
			more = more[1:]
		case strings.HasPrefix(line, tag+" "):
			return line[len(tag)+1:]
		default:
			c.untagged(line)
		}
	}
}

func (c *testClient) must(command string, more ...string) {
	c.t.Helper()
	if a := c.do(command, more...); !strings.HasPrefix(a, "OK") {
		c.t.Errorf("%s: %s", command, a)
	}
}

// store is a STORE whose message another session may have removed (RFC 2180, 4.2).
func (c *testClient) store(command string) {
	if a := c.do(command); !strings.HasPrefix(a, "OK") && !strings.HasPrefix(a, "NO [EXPUNGEISSUED]") {
		c.t.Errorf("%s: %s", command, a)
	}
}

// TestManySessions lets sessions work at once on one mailbox; each must be able to
// follow what it is told, and all must see the same in the end.
func TestManySessions(t *testing.T) {
	const sessions, commands = 4, 120
	ts := newServer(t, memory.New())
	ts.listen(t)
	clients := make([]*testClient, sessions)
	for i := range clients {
		conn, err := ts.dial("")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		clients[i] = newClient(t, conn)
		clients[i].must("LOGIN alice secret")
		clients[i].must("SELECT INBOX")
	}
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			seq := func() int { return 1 + rnd.IntN(max(c.exists, 1)) }
			for range commands {
				switch n := rnd.IntN(10); {
				case n < 4 || c.exists == 0:
					c.must("APPEND INBOX {14}", "Subject: one\r\n\r\n")
				case n < 6:
					c.store(fmt.Sprintf("STORE %d +FLAGS (\\Deleted)", seq()))
				case n == 6:
					c.store(fmt.Sprintf("STORE %d -FLAGS (\\Deleted $K%d)", seq(), rnd.IntN(8)))
				case n == 7:
					c.must("EXPUNGE")
				case n == 8:
					c.must("IDLE", "DONE\r\n")
				default:
					c.do(fmt.Sprintf("FETCH %d (UID FLAGS)", seq()))
				}
			}
		})
	}
	all.Wait()
	var first []string
	for i, c := range clients {
		c.must("NOOP")
		c.must("UID FETCH 1:* (FLAGS)")
		if len(c.lines) != c.exists {
			t.Errorf("session %d: %d messages, %d FETCH responses", i, c.exists, len(c.lines))
		}
		for j, line := range c.lines {
			c.lines[j] = strings.NewReplacer(` \Recent`, "", `\Recent `, "", `\Recent`, "").Replace(line)
		}
		if i == 0 {
			first = c.lines
		} else if strings.Join(first, "\n") != strings.Join(c.lines, "\n") {
			t.Errorf("session %d sees\n%s\nsession 0\n%s", i, strings.Join(c.lines, "\n"), strings.Join(first, "\n"))
		}
	}
}

// TestSTARTTLSInjection cuts what an attacker may put behind STARTTLS at every
// place (CVE-2011-0411): nothing of it is ever executed.
func TestSTARTTLSInjection(t *testing.T) {
	const bytes = "a1 STARTTLS\r\na2 CAPABILITY\r\na3 LOGIN alice secret\r\n"
	end := strings.Index(bytes, "\n") + 1
	ts := newServer(t, memory.New())
	for cut := 1; cut <= len(bytes); cut++ {
		conn, done := ts.pipe()
		conn.SetDeadline(time.Now().Add(patience))
		go func() {
			defer conn.Close()
			for _, part := range []string{bytes[:cut], bytes[cut:]} {
				if _, err := io.WriteString(conn, part); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		said, _ := io.ReadAll(conn)
		<-done
		_, rest, _ := strings.Cut(string(said), "\r\n")
		if strings.Contains(rest, "a2 ") || strings.Contains(rest, "a3 ") || strings.Contains(rest, "CAPABILITY") {
			t.Errorf("cut at %d: %q", cut, rest)
		}
		if begun := strings.HasPrefix(rest, "a1 OK"); begun && cut > end {
			t.Errorf("cut at %d: TLS begins though something was buffered: %q", cut, rest)
		}
	}
}

// TestTimeOuts: a client that does not log in, and one that is silent after it.
func TestTimeOuts(t *testing.T) {
	for _, login := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ts := newServer(t, memory.New())
			began := time.Now()
			conn, done := ts.pipe()
			r := bufio.NewReader(conn)
			r.ReadString('\n')
			want := time.Minute
			if login {
				io.WriteString(conn, "a1 LOGIN alice secret\r\n")
				r.ReadString('\n')
				want = 30 * time.Minute
			}
			line, _ := r.ReadString('\n')
			if line != "* BYE The connection was idle or slow for too long.\r\n" {
				t.Errorf("said %q", line)
			}
			if took := time.Since(began); took != want {
				t.Errorf("after %v, not %v", took, want)
			}
			conn.Close()
			<-done
		})
	}
}

// FuzzSession plays a client's half of a conversation, which begins before login, behind
// it, or with a mailbox selected: the session must neither panic nor outlive its client, and
// what it says is bounded.
func FuzzSession(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal("no transcripts", err)
	}
	for _, file := range files {
		lines, err := transcript.ClientLines(file)
		if err != nil {
			f.Fatal(err)
		}
		// What few commands lead to is found faster by itself.
		for few := range slices.Chunk(lines, 5) {
			if said := strings.Join(few, ""); len(said) <= most {
				f.Add([]byte(said), uint8(behindSelect))
			}
		}
		said := strings.Join(lines, "")
		f.Add([]byte(said[:min(len(said), most)]), uint8(beforeAll))
	}
	values := settings.LoginType.With(settings.Defaults(settings.IMAP4, "test"), mail.PlainTextLogin)
	certificate, err := testCertificate()
	if err != nil {
		f.Fatal(err)
	}
	certificates := new(listener.Certificates)
	if err := certificates.Set(certificate); err != nil {
		f.Fatal(err)
	}
	prepared := newServer(f, memory.New()).Store.Prepare([]byte("Subject: a\r\nFrom: b@c\r\n\r\nd\r\n"))
	f.Fuzz(func(t *testing.T, said []byte, where uint8) {
		if len(said) > most {
			return
		}
		// A hang would not be told otherwise.
		watch := time.AfterFunc(20*time.Second, func() { panic(fmt.Sprintf("the session does not end: %d, %q", where, said)) })
		defer watch.Stop()
		st, err := store.Open(memory.New(), store.Options{Clock: func() time.Time { return testClock }})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		dir := &people{entries: map[string]*directory.Entry{}}
		for _, name := range []string{"alice", "bob"} {
			id, err := st.CreateAccount(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			dir.entries[name] = &directory.Entry{Name: name, Account: id, Enabled: true, PopEnabled: true, ImapEnabled: true}
		}
		server := &Server{
			Store: st, Settings: func() *settings.Values { return values },
			Auth: auth.New(auth.Options{Directory: dir, AppPasswords: dir, Limits: auth.Limits{FirstDelay: -1}}),
		}
		where %= 3
		handle := server.Serve
		if where != beforeAll {
			alice := dir.entries["alice"]
			a, err := st.Account(t.Context(), alice.Account)
			if err == nil {
				_, err = a.Append(t.Context(), store.Inbox, store.Arrival{Prepared: prepared})
				a.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			handle = func(ctx context.Context, c *listener.Conn) {
				s := newSession(ctx, server, c)
				if err := s.loggedIn(new(request), &auth.Identity{Entry: *alice}); err != nil {
					panic(err)
				}
				s.converse()
			}
		}
		if where == behindSelect {
			said = append([]byte("s SELECT INBOX\r\n"), said...)
		}
		var log strings.Builder
		service := &listener.Service{
			Name: "IMAP4", Handle: handle, Refuse: Refuse, Settings: server.Settings, Certificates: certificates, ALPN: ALPN,
			Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError})),
		}
		nc := &script{in: bytes.NewReader(said)}
		service.ServeConn(nc, false)
		if nc.said > 16<<20 {
			t.Errorf("%d bytes said to %d", nc.said, len(said))
		}
		if service.Panics() > 0 {
			t.Error(log.String())
		}
	})
}

// most bounds what FuzzSession says.
const most = 2 << 10

// Where a conversation of FuzzSession begins.
const (
	beforeAll = iota
	behindLogin
	behindSelect
)

// script is a connection whose client says in and then closes; what the server says is
// counted.
type script struct {
	net.Conn
	in   *bytes.Reader
	said int
}

func (s *script) Read(p []byte) (int, error) { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) {
	s.said += len(p)
	return len(p), nil
}
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
