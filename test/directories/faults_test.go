package directories

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/mitkdc"
	"github.com/postern-mail/postern/test/openid"
	"github.com/postern-mail/postern/test/postgresql"
	"github.com/postern-mail/postern/test/saslauthd"
	"github.com/postern-mail/postern/test/server"
	"github.com/postern-mail/postern/test/slapd"
	"github.com/postern-mail/postern/test/toxiproxy"
)

// What an answer may take: the time-out of every directory here, and what a busy
// machine adds. Our own directory waits for nobody.
const (
	faultTimeout = `"00:00:02"`
	faultBound   = 12 * time.Second
	ownBound     = 8 * time.Second
)

// failing is a directory behind a network that fails.
type failing struct {
	name  string
	table string // of the settings file
	proxy *toxiproxy.Proxy
	// right and wrong give a sign-in that nobody made before: the IMAP command without
	// its tag.
	right, wrong func(i int) string
	// yes answers "right" to whatever is asked, about somebody else where the protocol
	// says about whom; nil: the protocol says nothing but yes.
	yes func(c net.Conn)
}

// person is the sign-in name of people of the test; there are faultPeople.
func person(i int) string { return fmt.Sprintf("u%02d@example.org", i) }

const faultPeople = 64

// ownAccounts are people of our own directory, one for each fault: what was proved is
// remembered for a while.
func ownAccounts() []server.Account {
	var list []server.Account
	for i := range faults {
		list = append(list, server.Account{Name: fmt.Sprintf("own%d@local.example", i), Password: "local"})
	}
	return list
}

func login(user, password string) string { return fmt.Sprintf("LOGIN %s %q", user, password) }

// faults is what happens to the network, or to who is behind it.
var faults = []struct {
	name  string
	begin func(f *failing, lie func(answer func(net.Conn)))
}{
	{"down", func(f *failing, _ func(func(net.Conn))) { f.proxy.Down() }},
	{"reset_peer", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("reset_peer", "downstream", map[string]any{"timeout": 0})
	}},
	{"reset_peer after 300 ms", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("reset_peer", "upstream", map[string]any{"timeout": 300})
	}},
	{"latency 30 s", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("latency", "downstream", map[string]any{"latency": 30000})
	}},
	{"latency 100 ms", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("latency", "downstream", map[string]any{"latency": 100, "jitter": 50})
	}},
	{"timeout, answers lost", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("timeout", "downstream", map[string]any{"timeout": 0})
	}},
	{"timeout, half open", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("timeout", "upstream", map[string]any{"timeout": 0})
		f.proxy.Poison("timeout", "downstream", map[string]any{"timeout": 0})
	}},
	{"slicer, 1 B", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("slicer", "downstream", map[string]any{"average_size": 1, "size_variation": 0, "delay": 0})
	}},
	{"bandwidth 1 B/s", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("slicer", "downstream", map[string]any{"average_size": 1, "size_variation": 0, "delay": 1000000})
	}},
	{"bandwidth 1 KB/s", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("bandwidth", "downstream", map[string]any{"rate": 1})
	}},
	{"limit_data 1 B", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("limit_data", "downstream", map[string]any{"bytes": 1})
	}},
	{"limit_data 100 B", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("limit_data", "downstream", map[string]any{"bytes": 100})
	}},
	{"slow_close 30 s", func(f *failing, _ func(func(net.Conn))) {
		f.proxy.Poison("slow_close", "downstream", map[string]any{"delay": 30000})
	}},
	{"accepts, says nothing", func(f *failing, lie func(func(net.Conn))) { lie(func(c net.Conn) { io.Copy(io.Discard, c) }) }},
	{"hangs up", func(f *failing, lie func(func(net.Conn))) { lie(func(net.Conn) {}) }},
	{"lies: garbage", func(f *failing, lie func(func(net.Conn))) {
		lie(func(c net.Conn) { answerEach(c, []byte("\x00\x03\xff\x17garbage\r\n\x80\x84\x7f\xff\xff\xff")) })
	}},
	{"lies: HTML", func(f *failing, lie func(func(net.Conn))) {
		lie(func(c net.Conn) {
			answerEach(c, []byte("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<h1>Sign in</h1"))
		})
	}},
	{"lies: without an end", func(f *failing, lie func(func(net.Conn))) {
		lie(func(c net.Conn) {
			for {
				if _, err := c.Write(bytes.Repeat([]byte("HTTP/1.1 200 OK "), 4096)); err != nil {
					return
				}
			}
		})
	}},
	{"lies: yes", func(f *failing, lie func(func(net.Conn))) {
		if f.yes != nil {
			lie(f.yes)
		}
	}},
}

// answerEach answers the same to whatever comes.
func answerEach(c net.Conn, answer []byte) {
	b := make([]byte, 64<<10)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// TestFaults has every directory's network and server fail in every way: nobody gets in
// with a wrong secret, nobody who is right hears that it is wrong, every answer comes in
// time, people of our own directory sign in as ever, and without a restart all is well
// afterwards.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	for name, begin := range map[string]func(t *testing.T, toxics *toxiproxy.Server) *failing{
		"ldap": failingLDAP, "oidc": failingOIDC, "sql": failingSQL, "saslauthd": failingPAM, "kerberos": failingKerberos,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := begin(t, toxiproxy.Start(t))
			f.name = name
			f.run(t)
		})
	}
}

func (f *failing) run(t *testing.T) {
	s := server.Serve(t, server.Options{
		Accounts:    ownAccounts(),
		Directories: "[[directories]]\nkind = \"embedded\"\ndomains = [\"local.example\", \"\"]\n" + f.table,
	})
	tries := newTries(t, s)
	own := func(i int) string { return login(ownAccounts()[i%len(faults)].Name, "local") }
	n := 0
	next := func() int { n++; return n - 1 }
	// Whatever opens at the first use is open.
	for range 2 {
		if a := tries.from("127.9.0.1", f.right(next())); a.text != "OK" {
			t.Fatalf("%s: before any fault: %s", f.name, a)
		}
	}
	if a := tries.from("127.9.0.2", f.wrong(next())); a.text != "NO [AUTHENTICATIONFAILED]" {
		t.Fatalf("%s: a wrong secret before any fault: %s", f.name, a)
	}
	before := sockets(t, s)

	var table strings.Builder
	fmt.Fprintf(&table, "%s:\n%-26s %-24s %-32s %-10s %s\n", f.name, "fault", "right", "wrong", "own", "well again after")
	for i, c := range faults {
		if c.name == "lies: yes" && f.yes == nil {
			continue
		}
		ended := func() {}
		c.begin(f, func(answer func(net.Conn)) {
			var addr string
			addr, ended = liar(t, answer)
			f.proxy.Lead(addr)
		})
		// All at once, and a crowd: others must not wait for them.
		var wait sync.WaitGroup
		var right, wrong, local answer
		rightOne, wrongOne := f.right(next()), f.wrong(next())
		wait.Go(func() { right = tries.from("127.9.0.1", rightOne) })
		wait.Go(func() { wrong = tries.from(fmt.Sprintf("127.9.%d.3", i+1), wrongOne) })
		crowd := make([]answer, 12)
		for j := range crowd {
			command := f.wrong(next())
			wait.Go(func() { crowd[j] = tries.from(fmt.Sprintf("127.9.%d.%d", i+1, j+10), command) })
		}
		time.Sleep(200 * time.Millisecond)
		wait.Go(func() { local = tries.from("127.9.0.1", own(i)) })
		wait.Wait()
		f.proxy.Cure()
		ended()

		// Who says yes to all says of who is right, too, that they are somebody else.
		refused := c.name == "lies: yes" && right.text == "NO [AUTHORIZATIONFAILED]"
		if right.text != "OK" && !refused && right.text != "NO [UNAVAILABLE]" {
			t.Errorf("%s, %s: who is right hears %s", f.name, c.name, right)
		}
		for _, a := range append(crowd, wrong) {
			if a.text != "NO [AUTHENTICATIONFAILED]" && a.text != "NO [UNAVAILABLE]" && (a.text != "NO [AUTHORIZATIONFAILED]" || c.name != "lies: yes") {
				t.Errorf("%s, %s: who is wrong hears %s", f.name, c.name, a)
			}
			if a.took > faultBound {
				t.Errorf("%s, %s: who is wrong hears it after %s", f.name, c.name, a)
			}
		}
		if right.took > faultBound {
			t.Errorf("%s, %s: who is right hears it after %s", f.name, c.name, right)
		}
		if local.text != "OK" || local.took > ownBound {
			t.Errorf("%s, %s: our own directory: %s", f.name, c.name, local)
		}
		began := time.Now()
		server.Eventually(t, 60*time.Second, f.name+", "+c.name+": well again", func() bool {
			a := tries.from("127.9.0.1", f.right(next()))
			if a.text != "OK" && a.text != "NO [UNAVAILABLE]" {
				t.Fatalf("%s, after %s: who is right hears %s", f.name, c.name, a)
			}
			return a.text == "OK"
		})
		well := time.Since(began)
		if a := tries.from(fmt.Sprintf("127.9.%d.4", i+1), f.wrong(next())); a.text != "NO [AUTHENTICATIONFAILED]" {
			t.Errorf("%s, after %s: who is wrong hears %s", f.name, c.name, a)
		}
		fmt.Fprintf(&table, "%-26s %-24s %-32s %-10s %s\n", c.name, right, wrong, local.took.Round(10*time.Millisecond), well.Round(10*time.Millisecond))
	}
	server.Eventually(t, 60*time.Second, f.name+": as many sockets as before", func() bool { return sockets(t, s) <= before })
	fmt.Fprintf(&table, "sockets before %d, after %d\n", before, sockets(t, s))
	t.Log("\n" + table.String())
	f.noGoroutinesLeft(t, s)
}

// TestFileFaults has a passwd file be damaged in every way.
func TestFileFaults(t *testing.T) {
	folder := t.TempDir()
	users := filepath.Join(folder, "users")
	var b strings.Builder
	for i := range faultPeople {
		fmt.Fprintf(&b, "%s:{PLAIN}geheim\n", person(i))
	}
	good := b.String()
	replace(t, users, good, time.Hour)
	s := server.Serve(t, server.Options{
		Accounts:    ownAccounts(),
		Directories: fmt.Sprintf("[[directories]]\nkind = \"embedded\"\ndomains = [\"local.example\", \"\"]\n[[directories]]\nkind = \"passwd\"\ndomains = [\"example.org\"]\nfile = %q\n", users),
	})
	f, tries, n := byPassword("geheim"), newTries(t, s), 0
	next := func() int { n++; return n - 1 }
	text := func(text string) func() error {
		return func() error { replace(t, users, text, 2*time.Hour+time.Duration(next())*time.Second); return nil }
	}
	var table strings.Builder
	for i, c := range []struct {
		name  string
		begin func() error
		right string
	}{
		{"gone", func() error { return os.Remove(users) }, "NO [UNAVAILABLE]"},
		{"a folder", func() error { os.Remove(users); return os.Mkdir(users, 0o700) }, "NO [UNAVAILABLE]"},
		{"a pipe that nobody writes", func() error { os.Remove(users); return syscall.Mkfifo(users, 0o600) }, "NO [UNAVAILABLE]"},
		{"/dev/zero", func() error { os.Remove(users); return os.Symlink("/dev/zero", users) }, "NO [UNAVAILABLE]"},
		{"a link to itself", func() error { os.Remove(users); return os.Symlink(users, users) }, "NO [UNAVAILABLE]"},
		{"300 MiB", func() error { os.Remove(users); os.WriteFile(users, nil, 0o600); return os.Truncate(users, 300<<20) }, "NO [UNAVAILABLE]"},
		{"cut in the middle of a line", text(good[:len(good)/2+5]), "OK"},
		{"every name twice", text(good + strings.ReplaceAll(good, "geheim", "other")), "NO [UNAVAILABLE]"},
		{"other passwords", text(strings.ReplaceAll(good, "geheim", "other")), "NO [AUTHENTICATIONFAILED]"},
		{"empty", text(""), "NO [AUTHENTICATIONFAILED]"},
		{"garbage", text(strings.Repeat("\x00\xff:\n:::\x17{", 5000)), "NO [AUTHENTICATIONFAILED]"},
		{"being written", func() error {
			replace(t, users, good, 3*time.Hour)
			tries.from("127.8.0.1", f.right(0))
			return os.WriteFile(users, []byte("u00"), 0o600)
		}, "OK"},
	} {
		if err := c.begin(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if old := time.Now().Add(-2 * time.Hour); c.name != "being written" && c.name != "/dev/zero" {
			os.Chtimes(users, old, old) // it is not being written
		}
		right, local := tries.from("127.8.0.1", f.right(i)), tries.from("127.8.0.1", login(ownAccounts()[i].Name, "local"))
		wrong := tries.from(fmt.Sprintf("127.8.%d.3", i+1), f.wrong(next()))
		if right.text != c.right || right.took > faultBound {
			t.Errorf("%s: who is right hears %s", c.name, right)
		}
		if wrong.text != "NO [AUTHENTICATIONFAILED]" && wrong.text != "NO [UNAVAILABLE]" || wrong.took > faultBound {
			t.Errorf("%s: who is wrong hears %s", c.name, wrong)
		}
		if local.text != "OK" || local.took > ownBound {
			t.Errorf("%s: our own directory: %s", c.name, local)
		}
		os.RemoveAll(users)
		text(good)()
		if a := tries.from("127.8.0.1", f.right(i)); a.text != "OK" {
			t.Errorf("after %s: %s", c.name, a)
		}
		fmt.Fprintf(&table, "%-28s %-32s %-32s %s\n", c.name, right, wrong, local.took.Round(10*time.Millisecond))
	}
	t.Logf("\npasswd:\n%-28s %-32s %-32s %s\n%s", "fault", "right", "wrong", "own", table.String())
}

// answer is what a sign-in hears, OK or NO and its code, and when.
type answer struct {
	text string
	took time.Duration
}

func (a answer) String() string { return fmt.Sprintf("%s %.1fs", a.text, a.took.Seconds()) }

// tries signs in from addresses of loopback.
type tries struct {
	addr string
	tls  *tls.Config
}

func newTries(t *testing.T, s *server.Server) *tries { return &tries{s.IMAPS, s.TLS()} }

// from makes one attempt from an address over a connection of its own.
func (y *tries) from(addr, command string) answer {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}, Timeout: time.Minute}
	began := time.Now()
	c, err := tls.DialWithDialer(d, "tcp", y.addr, y.tls)
	if err != nil {
		return answer{err.Error(), time.Since(began)}
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(c)
	if _, err := in.ReadString('\n'); err != nil {
		return answer{err.Error(), time.Since(began)}
	}
	began = time.Now()
	fmt.Fprintf(c, "a %s\r\n", command)
	for {
		line, err := in.ReadString('\n')
		switch {
		case err != nil:
			return answer{err.Error(), time.Since(began)}
		case strings.HasPrefix(line, "+"):
			fmt.Fprint(c, "AQ==\r\n") // after the refusal of a token
		case strings.HasPrefix(line, "a "):
			words := strings.Fields(line)
			if words[1] == "OK" {
				return answer{"OK", time.Since(began)}
			}
			return answer{strings.Join(words[1:min(3, len(words))], " "), time.Since(began)}
		}
	}
}

// sockets counts the server's.
func sockets(t *testing.T, s *server.Server) int {
	t.Helper()
	folder := fmt.Sprintf("/proc/%d/fd", s.PID())
	list, err := os.ReadDir(folder)
	if err != nil {
		t.Skip("no /proc")
	}
	n := 0
	for _, fd := range list {
		if to, err := os.Readlink(filepath.Join(folder, fd.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// noGoroutinesLeft compares the goroutines of the server with those of one that saw no
// faults. It ends both.
func (f *failing) noGoroutinesLeft(t *testing.T, s *server.Server) {
	t.Helper()
	fresh := server.Serve(t, server.Options{
		Accounts:    ownAccounts(),
		Directories: "[[directories]]\nkind = \"embedded\"\ndomains = [\"local.example\", \"\"]\n" + f.table,
	})
	for _, command := range []string{f.right(0), login(ownAccounts()[0].Name, "local")} {
		if a := newTries(t, fresh).from("127.9.0.1", command); a.text != "OK" {
			t.Fatalf("%s: a fresh server: %s", f.name, a)
		}
	}
	time.Sleep(time.Second)
	count := func(s *server.Server) (int, string) {
		syscall.Kill(s.PID(), syscall.SIGQUIT)
		server.Eventually(t, 60*time.Second, "the goroutines are told", func() bool { return !s.Running() })
		return strings.Count(s.Output(), "\ngoroutine "), s.Output()
	}
	want, _ := count(fresh)
	got, stacks := count(s)
	t.Logf("%s: %d goroutines after the faults, %d in a fresh server", f.name, got, want)
	// A connection that is kept has a goroutine or two.
	if got > want+8 {
		t.Errorf("%s: goroutines are left:\n%s", f.name, stacks)
	}
}

// liar listens at an address of its own and answers every connection until it is ended.
func liar(t *testing.T, answer func(net.Conn)) (addr string, end func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(l, func(ctx context.Context, c net.Conn) {
		defer context.AfterFunc(ctx, func() { c.Close() })()
		answer(c)
	})
	return l.Addr().String(), stop
}

// serve handles each connection of l in a goroutine of its own, until it is stopped.
func serve(l net.Listener, handle func(ctx context.Context, c net.Conn)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				handle(ctx, c)
			})
		}
	})
	return func() {
		cancel()
		l.Close()
		work.Wait()
	}
}

// bridge leads every connection of l to another address.
func bridge(t *testing.T, l net.Listener, network, addr string) {
	t.Cleanup(serve(l, func(ctx context.Context, c net.Conn) {
		to, err := net.DialTimeout(network, addr, 10*time.Second)
		if err != nil {
			return
		}
		defer to.Close()
		defer context.AfterFunc(ctx, func() { c.Close(); to.Close() })()
		var back sync.WaitGroup
		back.Go(func() {
			io.Copy(c, to)
			c.Close()
		})
		io.Copy(to, c)
		to.(interface{ CloseWrite() error }).CloseWrite()
		back.Wait()
	}))
}

func failingLDAP(t *testing.T, toxics *toxiproxy.Server) *failing {
	ldap := slapd.Start(t, slapd.Options{})
	for i := range faultPeople {
		addPerson(ldap, strings.TrimSuffix(person(i), "@example.org"), "userPassword", "geheim")
	}
	f := byPassword("geheim")
	f.proxy = toxics.Proxy("ldap", "", ldap.Clear)
	f.table = fmt.Sprintf("[[directories]]\nkind = \"ldap\"\ndomains = [\"example.org\"]\nservers = [\"ldap://%s\"]\nca_file = %q\nserver_name = \"localhost\"\nbase = %q\nbind_dn = %q\nbind_password = %q\ntimeout = %s\n",
		f.proxy.Addr, ldap.CAFile, slapd.PeopleBase, slapd.Reader, slapd.ReaderPassword, faultTimeout)
	// Success to every request: StartTLS, bind, search.
	f.yes = func(c net.Conn) {
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if n < 7 || b[0] != 0x30 {
				b[4], b[5] = 1, 0x77
			}
			answer := []byte{0x30, 0x0c, 0x02, 0x01, b[4], b[5] + 1, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}
	return f
}

// byPassword is a directory whose people have all the same password.
func byPassword(right string) *failing {
	return &failing{
		right: func(i int) string { return login(person(i%faultPeople), right) },
		wrong: func(i int) string { return login(person(i%faultPeople), fmt.Sprint("wrong ", i)) },
	}
}

func failingSQL(t *testing.T, toxics *toxiproxy.Server) *failing {
	db := postgresql.Start(t)
	db.Exec(t, `CREATE TABLE people (id serial PRIMARY KEY, name text UNIQUE, password text)`)
	db.Exec(t, `INSERT INTO people (name, password) SELECT 'u' || lpad(n::text, 2, '0') || '@example.org', '{PLAIN}geheim' FROM generate_series(0, $1) n`, faultPeople-1)
	f := byPassword("geheim")
	f.proxy = toxics.Proxy("sql", "", db.Addr)
	f.table = fmt.Sprintf("[[directories]]\nkind = \"sql\"\ndomains = [\"example.org\"]\ndatabase = %q\nquery = \"SELECT id, name, password FROM people WHERE name = $1\"\ntimeout = %s\n",
		db.URL(f.proxy.Addr), faultTimeout)
	// Everybody may come in, and every query has an answer.
	f.yes = func(c net.Conn) {
		message := func(kind byte, body string) []byte {
			return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
		}
		b := make([]byte, 4096)
		if _, err := c.Read(b); err != nil {
			return
		}
		c.Write(append(message('R', "\x00\x00\x00\x00"), message('Z', "I")...))
		columns := "\x00\x03"
		for _, name := range []string{"id", "name", "password"} {
			columns += name + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00"
		}
		row := "\x00\x03\x00\x00\x00\x011\x00\x00\x00\x11mallory@evil.test\x00\x00\x00\x0e{PLAIN}geheim\x00"[:2+5+4+17+4+13]
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			var said []byte
			for _, m := range [][]byte{message('1', ""), message('t', "\x00\x01\x00\x00\x00\x19"), message('T', columns), message('2', ""), message('D', row), message('C', "SELECT 1\x00"), message('Z', "I")} {
				said = append(said, m...)
			}
			if _, err := c.Write(said); err != nil {
				return
			}
		}
	}
	return f
}

func failingPAM(t *testing.T, toxics *toxiproxy.Server) *failing {
	people := map[string]string{}
	for i := range faultPeople {
		people[strings.TrimSuffix(person(i), "@example.org")] = "geheim"
	}
	daemon := saslauthd.Start(t, people)
	// toxiproxy knows TCP alone: socket, TCP, toxiproxy, TCP, the daemon's socket.
	folder, err := os.MkdirTemp("", "postern-faults-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	socket := filepath.Join(folder, "mux")
	front, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	behind, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bridge(t, behind, "unix", daemon.Socket)
	f := byPassword("geheim")
	f.proxy = toxics.Proxy("saslauthd", "", behind.Addr().String())
	bridge(t, front, "tcp", f.proxy.Addr)
	f.table = fmt.Sprintf("[[directories]]\nkind = \"saslauthd\"\ndomains = [\"example.org\"]\nsocket = %q\ndomain = \"example.org\"\ntimeout = %s\n", socket, faultTimeout)
	// Something like yes. Yes itself it says of nobody else.
	f.yes = func(c net.Conn) { answerEach(c, []byte("\x00\x04OKAY")) }
	return f
}

// failingKerberos is a KDC behind a network that fails. Who says yes in its place knows
// everybody's name, and the password that is wrong at the real one; it gives everybody a
// ticket, as its word alone that a password is wrong nobody could tell from the KDC's.
func failingKerberos(t *testing.T, toxics *toxiproxy.Server) *failing {
	kdc, evil := mitkdc.Start(t), mitkdc.Start(t)
	var people, impostors strings.Builder
	for i := range faultPeople {
		name := strings.TrimSuffix(person(i), "@example.org")
		fmt.Fprintf(&people, "addprinc -pw geheim %s\n", name)
		fmt.Fprintf(&impostors, "addprinc -requires_preauth -pw false-%d %s\n", i, name)
	}
	kdc.Script(people.String())
	evil.Script(impostors.String())
	keytab := kdc.Services("imap/localhost")
	evil.Services("imap/localhost")
	f := byPassword("geheim")
	f.wrong = func(i int) string { return login(person(i%faultPeople), fmt.Sprint("false-", i%faultPeople)) }
	f.proxy = toxics.Proxy("kerberos", "", kdc.Address)
	f.table = fmt.Sprintf("[[directories]]\nkind = \"kerberos\"\ndomains = [\"example.org\"]\nkeytab = %q\nrealms = { %q = \"example.org\" }\nkdcs = [%q]\ntimeout = %s\n",
		keytab, mitkdc.Realm, f.proxy.Addr, faultTimeout)
	f.yes = func(c net.Conn) {
		behind, err := net.Dial("tcp", evil.Address)
		if err != nil {
			return
		}
		defer behind.Close()
		go io.Copy(behind, c)
		io.Copy(c, behind)
	}
	return f
}

func failingOIDC(t *testing.T, toxics *toxiproxy.Server) *failing {
	p := openid.Start(t)
	tokens := make([]string, 3*faultPeople)
	for i := range tokens {
		tokens[i] = p.Token(openid.Anna, openid.Opaque, "ttl", "3600")
	}
	bearer := func(user, token string) string { return "AUTHENTICATE OAUTHBEARER " + oauthBearer(user, token) }
	invented := func(i int) string {
		return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "a token that was never made, %d", i))
	}
	f := &failing{
		right: func(i int) string { return bearer("anna@example.org", tokens[i%len(tokens)]) },
		wrong: func(i int) string { return bearer(person(i), invented(i)) },
	}
	table := openidTable(t, p, faultTimeout)
	f.table = table[:strings.LastIndex(table, "[[directories]]")]
	addr := strings.TrimPrefix(p.Issuer, "http://")
	p.Down()
	f.proxy = toxics.Proxy("oidc", addr, p.Back)
	f.yes = func(c net.Conn) {
		said := fmt.Sprintf(`{"active":true,"iss":%q,"sub":%q,"aud":%q,"email":"bert@example.org","email_verified":true,"token_type":"Bearer","client_id":%q,"scope":"mail","exp":%d}`,
			p.Issuer, openid.Bert, openid.Opaque, openid.Program, time.Now().Add(time.Hour).Unix())
		answerEach(c, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(said), said))
	}
	return f
}
