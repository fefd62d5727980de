package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/role"
)

// Ready is the ready file: where a server serves.
type Ready struct {
	POP3        string    `json:"pop3"`
	POP3S       string    `json:"pop3s"`
	IMAP        string    `json:"imap"`
	IMAPS       string    `json:"imaps"`
	LMTP        string    `json:"lmtp"`
	LMTPSocket  string    `json:"lmtp_socket"`
	Socket      string    `json:"socket"`
	Certificate string    `json:"certificate"`
	Console     string    `json:"console"`      // URL; "" while there is none
	ConsoleLink string    `json:"console_link"` // signs in once, of a demonstration
	Accounts    []Account `json:"accounts"`
}

// Account is who can log in.
type Account struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

// Server is a running Postern.
type Server struct {
	Ready
	// Folder is a folder of the server's own that is removed with the test: the
	// parent of Data, of the sockets and of what a demonstration makes.
	Folder string
	// Data is the data folder; "" for a demonstration.
	Data string

	t       testing.TB
	process *Process
	program string // "" is Binary
	args    []string
	env     []string
	file    string // the ready file
}

// Demo starts `postern demo`. The test ends it with Ctrl-C, unless it did itself,
// and fails when it does not end cleanly.
func Demo(t testing.TB) *Server {
	t.Helper()
	s := &Server{Folder: folder(t), t: t}
	s.file = filepath.Join(s.Folder, "ready.json")
	s.env = []string{"TMPDIR=" + s.Folder}
	s.args = []string{"demo", "--ready-file", s.file}
	defer LockDemo(t)()
	s.start()
	t.Cleanup(s.end)
	return s
}

// LockDemo waits until no other test, in whatever process, starts a demonstration,
// and keeps others from it until unlock is called: two that start at the same
// time may choose the same port.
func LockDemo(t testing.TB) (unlock func()) {
	t.Helper()
	path := filepath.Join(os.TempDir(), fmt.Sprintf("postern-test-demo-%d.lock", os.Getuid()))
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { lock.Close() }
}

// Options say how Serve starts a server.
type Options struct {
	// Data is the data folder; a new one when it is empty. A folder that exists
	// keeps its mail; its bindings are set anew.
	Data string
	// Engine is the store's engine; "embedded" when it is empty.
	Engine string
	// Accounts are made before the start, unless they exist.
	Accounts []Account
	// CheapPasswords has the accounts' passwords proved for next to nothing, for tests that
	// start the server again and again.
	CheapPasswords bool
	// Cmdlets run before the start, as "Set-PopSettings", {"LoginType": …}.
	Cmdlets []Cmdlet
	// Env is added to the environment, as NAME=VALUE.
	Env []string
	// Args are added to `postern serve`.
	Args []string
	// Program is what is started; Binary when it is empty.
	Program string
	// MaxMessageSize in bytes; the default when it is 0.
	MaxMessageSize int64
	// Sandbox are lines of the table [sandbox] of the settings file.
	Sandbox string
	// User is whom the server becomes, which root starts; it is given Folder.
	User string
	// Directories are the [[directories]] tables of the settings file; our own
	// directory alone when it is empty. Accounts are made in our own.
	Directories string
}

// Cmdlet is one cmdlet with its parameters by name.
type Cmdlet struct {
	Name       string
	Parameters map[string]any
}

// Serve starts `postern serve` with a settings file of the harness's making. Before
// that its bindings are put on free ports of loopback, where they stay. The test
// ends it with Ctrl-C, unless it did itself, and fails when it does not end cleanly.
func Serve(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{Folder: folder(t), Data: o.Data, t: t, env: o.Env, program: o.Program}
	if s.Data == "" {
		s.Data = filepath.Join(s.Folder, "data")
	}
	if o.Engine == "" {
		o.Engine = "embedded"
	}
	s.file = filepath.Join(s.Folder, "ready.json")
	config := role.DefaultConfig()
	config.Data, config.Name, config.Engine, config.MaxMessageSize = s.Data, "localhost", o.Engine, o.MaxMessageSize
	config.Socket = filepath.Join(s.Folder, "postern.sock")
	config.LMTP = []string{filepath.Join(s.Folder, "lmtp.sock"), FreeAddress(t)}
	tables := o.Directories
	if o.Sandbox != "" {
		tables += "\n[sandbox]\n" + o.Sandbox + "\n"
	}
	path := s.writeConfig(config, tables)
	s.args = append([]string{"serve", "--config", path, "--ready-file", s.file}, o.Args...)
	prepare(t, config, o)
	if o.User != "" {
		s.args = append(s.args, "--user", o.User)
		give(t, s.Folder, o.User)
	}
	s.start()
	s.Accounts = o.Accounts
	t.Cleanup(s.end)
	return s
}

// give makes a folder, and all that is in it, a user's. It needs root; without it the test
// is NotTested.
func give(t testing.TB, folder, name string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil || os.Getuid() != 0 {
		NotTested(t, "only root starts a server as another user: %v", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	err = filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *Server) writeConfig(c role.Config, tables string) string {
	s.t.Helper()
	path := filepath.Join(s.Folder, "postern.toml")
	text := fmt.Sprintf("data = %q\nname = %q\nengine = %q\nsocket = %q\nlmtp = [%q, %q]\nmax_message_size = %d\n",
		c.Data, c.Name, c.Engine, c.Socket, c.LMTP[0], c.LMTP[1], c.MaxMessageSize) + tables
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// prepare makes accounts and chooses ports in the store itself, so that the process
// never opens a port to the network.
func prepare(t testing.TB, config role.Config, o Options) {
	t.Helper()
	ctx := context.Background()
	var options role.Options
	if o.CheapPasswords {
		// What is set here keeps its price in the process that is started.
		options.Directory = embedded.Options{Argon2: embedded.Argon2{Memory: 8, Time: 1, Threads: 1}, ScramIterations: 4096}
	}
	server, err := role.Open(ctx, config, options, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatalf("preparing the data folder: %v", err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Fatalf("preparing the data folder: %v", err)
		}
	}()
	caller := manage.Caller{Name: "test", From: "test", Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
	run := func(name string, parameters map[string]any) error {
		args, err := json.Marshal(parameters)
		if err == nil {
			_, err = server.Manage().Run(ctx, caller, name, args)
		}
		return err
	}
	list := []Cmdlet{{"Set-ConsoleSettings", map[string]any{"SSLBindings": []string{FreeAddress(t)}}}}
	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		list = append(list, Cmdlet{set, map[string]any{
			"UnencryptedOrTLSBindings": []string{FreeAddress(t)}, "SSLBindings": []string{FreeAddress(t)},
		}})
	}
	for _, a := range o.Accounts {
		if run("Get-Mailbox", map[string]any{"Identity": a.Name}) == nil {
			continue
		}
		list = append(list, Cmdlet{"New-Mailbox", map[string]any{"Name": a.Name, "Password": a.Password}})
	}
	for _, c := range append(list, o.Cmdlets...) {
		if err := run(c.Name, c.Parameters); err != nil {
			t.Fatalf("preparing the data folder: %s: %v", c.Name, err)
		}
	}
}

// FreeAddress gives an address on loopback where nothing listens, and that no other
// test of whatever process gets before this one ends. Its port is below those that
// the system hands out to clients.
func FreeAddress(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("postern-test-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		lock, err := os.OpenFile(filepath.Join(dir, port), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			if l, err := net.Listen("tcp4", "127.0.0.1:"+port); err == nil {
				l.Close()
				t.Cleanup(func() { lock.Close() }) // after the server has ended: cleanups run backwards
				return "127.0.0.1:" + port
			}
		}
		lock.Close()
	}
	t.Fatal("no free port on loopback")
	return ""
}

// start starts the process and waits until it serves.
func (s *Server) start() {
	s.t.Helper()
	os.Remove(s.file)
	if s.program == "" {
		s.program = Binary(s.t)
	}
	s.process = Begin(s.t, s.Folder, s.env, s.program, s.args...)
	s.process.Within(s.t, startTime, "waiting for the ready file", func() bool {
		text, err := os.ReadFile(s.file)
		if err != nil {
			return false
		}
		accounts := s.Accounts
		if err := json.Unmarshal(text, &s.Ready); err != nil {
			s.t.Fatalf("the ready file is not JSON: %v\n%s", err, text)
		}
		if len(s.Accounts) == 0 {
			s.Accounts = accounts
		}
		return true
	})
	for name, addr := range map[string]string{"pop3": s.POP3, "pop3s": s.POP3S, "imap": s.IMAP, "imaps": s.IMAPS, "lmtp": s.LMTP, "socket": s.Socket, "certificate": s.Certificate} {
		if addr == "" {
			s.t.Fatalf("the ready file has no %q; the server's output:\n%s", name, s.Output())
		}
	}
}

// end ends a server that still runs, at the end of the test.
func (s *Server) end() {
	if s.t.Failed() {
		if err := os.WriteFile(filepath.Join(s.t.ArtifactDir(), "server.log"), []byte(s.Output()), 0o600); err != nil {
			s.t.Error(err)
		}
		s.t.Logf("of the server's output, all of which go test -artifacts keeps:\n%s", excerpt(s.Output()))
	}
	if s.Running() {
		s.Stop()
	}
}

// excerpt gives of a log the warnings and errors, as far as they are not many, and the last
// lines: where a test failed the reason is not to drown in it.
func excerpt(text string) string {
	const most = 20
	lines := strings.SplitAfter(text, "\n")
	end := max(0, len(lines)-most)
	var out []string
	for _, l := range lines[:end] {
		if !strings.Contains(l, " level=INFO ") && !strings.Contains(l, " level=DEBUG ") && len(out) < most {
			out = append(out, l)
		}
	}
	if left := end - len(out); left > 0 {
		out = append(out, fmt.Sprintf("(%d lines more)\n", left))
	}
	return strings.Join(append(out, lines[end:]...), "")
}

// Running tells whether the process lives.
func (s *Server) Running() bool {
	select {
	case <-s.process.exited:
		return false
	default:
		return true
	}
}

// PID is the number of the server's process.
func (s *Server) PID() int { return s.process.PID() }

// Output gives what the server wrote to its standard outputs since it was started.
func (s *Server) Output() string { return s.process.Output() }

// Stop presses Ctrl-C and waits. The test fails when the exit code is not 0 or
// something is left: a process, a socket, a demonstration's folder.
func (s *Server) Stop() {
	s.t.Helper()
	code, err := s.process.Interrupt()
	if err != nil {
		s.t.Error(err)
		return
	}
	if code != 0 {
		s.t.Errorf("exit code %d after SIGINT; its output:\n%s", code, s.Output())
	}
	for _, path := range []string{s.Socket, s.LMTPSocket} {
		if _, err := os.Stat(path); path != "" && !errors.Is(err, os.ErrNotExist) {
			s.t.Errorf("the socket %s is left after the end", path)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.Folder, "postern-demo-*")); len(left) > 0 {
		s.t.Errorf("left after the end: %s", strings.Join(left, ", "))
	}
	for _, addr := range []string{s.POP3, s.POP3S, s.IMAP, s.IMAPS, s.LMTP} {
		if c, err := net.DialTimeout("tcp", addr, 5*time.Second); err == nil {
			c.Close()
			s.t.Errorf("something listens on %s after the end", addr)
		}
	}
}

// Kill ends the process at once, without giving it a chance to do anything.
func (s *Server) Kill() {
	s.t.Helper()
	s.process.kill()
}

// Restart starts the server anew on the same data folder and addresses and waits
// until it serves; one that still runs is stopped first. Not for a demonstration.
func (s *Server) Restart() {
	s.t.Helper()
	if s.Data == "" {
		s.t.Fatal("a demonstration cannot be started again")
	}
	if s.Running() {
		s.Stop()
	}
	s.start()
}

// Shell runs one cmdlet as `postern --socket PATH ARGS…` and gives its output,
// both streams together, and its exit code.
func (s *Server) Shell(args ...string) (string, int) {
	s.t.Helper()
	return Run(s.t, 60*time.Second, s.Folder, nil, "", Binary(s.t), append([]string{"--socket", s.Socket}, args...)...)
}

// MustShell is Shell for what must succeed.
func (s *Server) MustShell(args ...string) string {
	s.t.Helper()
	out, code := s.Shell(args...)
	if code != 0 {
		s.t.Fatalf("postern %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// Objects runs one cmdlet as MustShell does and gives the objects that it shows.
func (s *Server) Objects(args ...string) []map[string]any {
	s.t.Helper()
	out := s.MustShell(append(args, "|", "ConvertTo-Json")...)
	text := out
	if i := strings.IndexAny(text, "[{"); i > 0 {
		text = text[i:] // warnings stand before or behind
	}
	d := json.NewDecoder(strings.NewReader(text))
	var list []map[string]any
	var err error
	if strings.HasPrefix(text, "{") { // one object stands alone
		list = make([]map[string]any, 1)
		err = d.Decode(&list[0])
	} else {
		err = d.Decode(&list)
	}
	if err != nil {
		s.t.Fatalf("postern %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return list
}

// SetLoginType changes the policy of both services.
func (s *Server) SetLoginType(loginType string) {
	s.t.Helper()
	s.MustShell("Set-PopSettings", "-LoginType", loginType)
	s.MustShell("Set-ImapSettings", "-LoginType", loginType)
}

// TLS gives a client's configuration that trusts the server's certificate, for
// the name localhost.
func (s *Server) TLS() *tls.Config {
	s.t.Helper()
	text, err := os.ReadFile(s.Certificate)
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		s.t.Fatalf("%s has no certificate", s.Certificate)
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// Port gives the port of an address.
func Port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}
