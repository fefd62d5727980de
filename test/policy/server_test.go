package policy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/ntlm"
	"github.com/postern-mail/postern/role"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/test/server"
)

// password is everybody's.
const password = "correct-horse-battery"

// The accounts that every worker has for itself, each as NAME.wN@example.org.
const (
	anna   = "anna"   // may do everything
	off    = "off"    // is switched off
	noPOP  = "nopop"  // may not use POP3
	noIMAP = "noimap" // may not use IMAP4
	other  = "other"  // may do everything; has another password
	nobody = "nobody" // does not exist
)

// address is a worker's own copy of a name.
func address(name string, worker int) string { return fmt.Sprintf("%s.w%d@example.org", name, worker) }

// running is a server in this process, on loopback, with a directory that counts.
type running struct {
	*role.Server
	asked   *asked
	journal *journal
	ntlm    string            // the file of what the helper for NTLM is asked
	addr    map[string]string // "POP3 clear", "POP3 ssl", "IMAP4 clear", "IMAP4 ssl"
}

// start runs a server with accounts for so many workers.
func start(t testing.TB, workers int) *running {
	t.Helper()
	return startWith(t, workers, embedded.Argon2{Memory: 8, Time: 1, Threads: 1})
}

// startWith is start with a price of passwords.
func startWith(t testing.TB, workers int, price embedded.Argon2) *running {
	t.Helper()
	for range 5 {
		if r := try(t, workers, price); r != nil {
			return r
		}
	}
	t.Fatal("no free ports on loopback")
	return nil
}

// try is start, and nil when another process was faster to take a port.
func try(t testing.TB, workers int, price embedded.Argon2) *running {
	t.Helper()
	ctx := context.Background()
	folder := t.TempDir()
	t.Cleanup(func() { noPasswords(t, filepath.Join(folder, "data", "log")) }) // after the server has ended
	config := role.DefaultConfig()
	config.Name, config.Engine = "localhost", "memory"
	config.Data = filepath.Join(folder, "data")
	config.Socket = filepath.Join(folder, "s")
	// NTLM is there once it is named; nobody is let in by it here.
	config.NTLM = &ntlm.Options{Helper: "/bin/false", Domains: map[string]string{"EXAMPLE": "example.org"}}
	config.LMTP = []string{filepath.Join(folder, "l")}
	r := &running{asked: &asked{t: t, times: map[int]int{}}, journal: &journal{t: t, records: map[string][]record{}, clients: map[string]bool{}}, addr: map[string]string{}}
	config.NTLM, r.ntlm = helperNTLM(t, folder)
	var err error
	r.Server, err = role.Open(ctx, config, role.Options{
		Limits:    auth.Limits{FirstDelay: -1, Verified: -1},
		LogAll:    true,
		Directory: embedded.Options{Argon2: price, ScramIterations: 4096},
		WrapDirectory: func(d directory.Directory) directory.Directory {
			r.asked.Directory = d
			return r.asked
		},
	}, slog.New(slog.NewJSONHandler(r.journal, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	var ports []string
	for len(ports) < 5 {
		if a := server.FreeAddress(t); !slices.Contains(ports, a) {
			ports = append(ports, a)
		}
	}
	for i, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		r.run(t, set, map[string]any{
			"UnencryptedOrTLSBindings": ports[i : i+1], "SSLBindings": ports[2+i : 3+i],
			"PreAuthenticatedConnectionTimeout": "01:00:00", "ProtocolLogEnabled": true, "LogPerFileSizeQuota": "1GB",
		})
	}
	r.run(t, "Set-ConsoleSettings", map[string]any{"SSLBindings": ports[4:]})
	for w := range workers {
		for _, name := range []string{anna, off, noPOP, noIMAP, other} {
			account, err := r.Store().CreateAccount(ctx, 0)
			password := password
			if name == other {
				password = "another-" + password
			}
			if err == nil {
				err = r.Directory().Create(ctx, directory.Entry{
					Name: address(name, w), Account: account,
					LegacyMechanisms: []string{"CRAM-MD5", "APOP", "NTLM"},
					Enabled:          name != off, PopEnabled: name != noPOP, ImapEnabled: name != noIMAP,
				}, password)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, name := range []settings.Service{settings.POP3, settings.IMAP4} {
		b := r.Addrs(name)
		if len(b.Clear) != 1 || len(b.SSL) != 1 {
			return nil
		}
		r.addr[string(name)+" clear"], r.addr[string(name)+" ssl"] = b.Clear[0].String(), b.SSL[0].String()
	}
	return r
}

// noPasswords: whatever was attempted, and however, no password is in the protocol
// logs.
func noPasswords(t testing.TB, folder string) {
	files, _ := filepath.Glob(filepath.Join(folder, "*", "*"))
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		for line := range bytes.Lines(text) {
			if server.Holds(line, password) {
				t.Errorf("a password is in the protocol log: %s", line)
			}
		}
	}
	if _, fuzz := t.(*testing.F); len(files) < 2 && !fuzz {
		t.Errorf("the protocol logs are %q", files)
	}
}

// run runs a cmdlet.
func (r *running) run(t testing.TB, cmdlet string, parameters map[string]any) *manage.Result {
	t.Helper()
	arguments, err := json.Marshal(parameters)
	var result *manage.Result
	if err == nil {
		caller := manage.Caller{Name: "test", From: "test", Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
		result, err = r.Manage().Run(context.Background(), caller, cmdlet, arguments)
	}
	if err != nil {
		t.Fatalf("%s: %v", cmdlet, err)
	}
	return result
}

// login sets the LoginType of both services.
func (r *running) login(t testing.TB, l mail.LoginType) {
	t.Helper()
	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		r.run(t, set, map[string]any{"LoginType": l.String()})
	}
}

// asked counts how often the directory is asked about a worker's names.
type asked struct {
	directory.Directory
	t testing.TB

	mu    sync.Mutex
	times map[int]int // by worker; -1 for a name of nobody's
	until time.Time   // of tokens
	// tickets are accepted, unless nil.
	tickets *tickets
	total   int
	what    []string    // since takeWhat, in its order
	panics  atomic.Bool // CheckPassword does
}

var (
	_ directory.Chained  = (*asked)(nil)
	_ directory.Readable = (*asked)(nil)
)

func (a *asked) count(name, what string) {
	worker := -1
	if _, rest, ok := strings.Cut(name, ".w"); ok {
		fmt.Sscanf(rest, "%d@example.org", &worker)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.times[worker]++
	a.total++
	a.what = append(a.what, what)
}

// takeWhat gives what was asked for, and begins a new list.
func (a *asked) takeWhat() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	what := a.what
	a.what = nil
	return what
}

// take gives a worker's count and begins a new one.
func (a *asked) take(worker int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.times[worker]
	delete(a.times, worker)
	return n
}

// sum is the count of everybody since the start.
func (a *asked) sum() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}

func (a *asked) Lookup(ctx context.Context, name string) (*directory.Entry, error) {
	a.count(name, "Lookup")
	return a.Directory.Lookup(ctx, name)
}

func (a *asked) CheckPassword(ctx context.Context, name, password string) (*directory.Entry, error) {
	if password == "" {
		a.t.Errorf("an empty password of %s reached the directory", name)
	}
	a.count(name, "CheckPassword")
	if a.panics.Load() {
		_ = []byte(password)[len(password)]
	}
	return a.Directory.CheckPassword(ctx, name, password)
}

func (a *asked) ScramKeys(ctx context.Context, name string, hash directory.Hash) (*directory.Entry, directory.ScramKeys, error) {
	a.count(name, "ScramKeys")
	return a.Directory.ScramKeys(ctx, name, hash)
}

// CheckAnswer is part of directory.Readable.
func (a *asked) CheckAnswer(ctx context.Context, name string, right func([]byte) bool) (*directory.Entry, error) {
	a.count(name, "CheckAnswer")
	return a.Directory.(directory.Readable).CheckAnswer(ctx, name, right)
}

// HasReadable is part of directory.Readable.
func (a *asked) HasReadable() bool { return true }

// CheckToken takes what tokenOf makes. It stands for an OpenID provider.
func (a *asked) CheckToken(ctx context.Context, _, token string) (*directory.Entry, time.Time, error) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	name, secret, _ := strings.Cut(string(text), " ")
	if err != nil || secret != password {
		name = nobody + ".w0@example.org"
		if _, rest, ok := strings.Cut(string(text), ".w"); ok {
			name = nobody + ".w" + strings.ToLower(strings.SplitN(rest, " ", 2)[0])
		}
	}
	if name, err = directory.PrepareName(name); err != nil {
		return nil, time.Time{}, err
	}
	e, err := a.Lookup(ctx, name)
	a.mu.Lock()
	defer a.mu.Unlock()
	return e, a.until, err
}

// tokenOf is a token of somebody who knows a password.
func tokenOf(name, pass string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(name + " " + pass))
}

func (a *asked) Provide(_ context.Context, e *directory.Entry) (*directory.Entry, error) {
	return e, nil
}

// Proved looks the person up whom another directory proved.
func (a *asked) Proved(ctx context.Context, _ string, p *directory.Person) (*directory.Entry, error) {
	return a.Lookup(ctx, p.Name)
}

func (a *asked) HasKeys() bool                  { return true }
func (a *asked) Issuer(string) (string, string) { return "", "" }

func (a *asked) HasTokens() bool                                  { return true }
func (a *asked) Asked(context.Context, string) []directory.Answer { return nil }

// way is a way of connecting.
type way struct {
	name    string // as in testdata: clear, starttls, ssl
	version uint16 // of TLS; 0 without
}

func (w way) String() string {
	if w.version == 0 {
		return w.name
	}
	return w.name + " " + tls.VersionName(w.version)
}

var ways = []way{
	{"clear", 0},
	{"starttls", tls.VersionTLS12}, {"starttls", tls.VersionTLS13},
	{"ssl", tls.VersionTLS12}, {"ssl", tls.VersionTLS13},
}

// protocols are the services as testdata names them.
var protocols = []string{"POP3", "IMAP4"}
