package imap

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/test/transcript"
)

var updateFlag = flag.Bool("update", false, "write what the server says into the transcripts")

// engines are what every transcript is played on.
var engines = map[string]func(t testing.TB) store.Engine{
	"memory": func(testing.TB) store.Engine { return memory.New() },
	"embedded": func(t testing.TB) store.Engine {
		e, err := embedded.Open(t.TempDir(), embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return e
	},
}

// people is a directory of alice, bob and carol, whose password is "secret".
type people struct {
	entries map[string]*directory.Entry
	tickets bool // Kerberos is offered
}

func (p *people) Lookup(_ context.Context, name string) (*directory.Entry, error) {
	if e := p.entries[name]; e != nil {
		return e, nil
	}
	return nil, mail.Errorf(mail.KindNotFound, "There is nobody of that name.")
}

func (p *people) CheckPassword(ctx context.Context, name, password string) (*directory.Entry, error) {
	e, err := p.Lookup(ctx, name)
	if err != nil || password != "secret" {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "Authentication failed.")
	}
	return e, nil
}

func (p *people) ScramKeys(ctx context.Context, name string, hash directory.Hash) (*directory.Entry, directory.ScramKeys, error) {
	e, err := p.Lookup(ctx, name)
	if err != nil {
		k, err := directory.UnmatchableScramKeys(hash, name, []byte("x"), 4096)
		return nil, k, err
	}
	k, err := directory.NewScramKeys(hash, "secret", []byte("0123456789abcdef"), 4096)
	return e, k, err
}

// NameOf implements directory.Named.
func (p *people) NameOf(_ context.Context, account mail.AccountID) (string, error) {
	for name, e := range p.entries {
		if e.Account == account {
			return name, nil
		}
	}
	return "", nil
}

// CheckAnswer: the server can read everybody's password; who may use that is bob.
func (p *people) CheckAnswer(ctx context.Context, name string, right func([]byte) bool) (*directory.Entry, error) {
	e, err := p.Lookup(ctx, name)
	if !right([]byte("secret")) || err != nil {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return e, nil
}

func (p *people) HasReadable() bool { return true }

// reader is an app password of alice for reading only.
const reader = "abcd-efgh-jkmn-pqrs-tuvw-xyz2"

// AppPassword implements auth.AppPasswords.
func (p *people) AppPassword(_ context.Context, account mail.AccountID, secret string, _ auth.Wanted) (*auth.AppPassword, error) {
	if account != p.entries["alice"].Account || secret != auth.AppPasswordSecret(reader) {
		return nil, nil
	}
	return &auth.AppPassword{Name: "reader", ReadOnly: true}, nil
}

func (p *people) AppPasswordsOf(context.Context, mail.AccountID) ([]auth.AppPassword, error) {
	return nil, nil
}

// CheckToken: alice has one.
func (p *people) CheckToken(_ context.Context, name, token string) (*directory.Entry, time.Time, error) {
	if token != "alice-token" || name != "" && name != "alice" {
		return nil, time.Time{}, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return p.entries["alice"], time.Now().Add(time.Hour), nil
}

func (p *people) Provide(_ context.Context, e *directory.Entry) (*directory.Entry, error) {
	return e, nil
}
func (p *people) Issuer(string) (string, string) { return "", "" }

func (p *people) Proved(context.Context, string, *directory.Person) (*directory.Entry, error) {
	return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
}

// CheckTicket: nobody has one.
func (p *people) CheckTicket(context.Context, string, []byte) (*directory.Entry, *krb5.Context, error) {
	return nil, nil, mail.Errorf(mail.KindAuthenticationFailed, "")
}
func (p *people) HasTickets(string) bool                           { return p.tickets }
func (p *people) HasKeys() bool                                    { return true }
func (p *people) HasTokens() bool                                  { return true }
func (p *people) Asked(context.Context, string) []directory.Answer { return nil }

var _ directory.Chained = (*people)(nil)

// testServer is a whole IMAP service for alice and bob.
type testServer struct {
	*Server
	service *listener.Service
	people  *people
	alice   mail.AccountID
	values  atomic.Pointer[settings.Values]
	later   atomic.Int64 // nanoseconds that the store's clock is after testClock
}

// testCertificate is made once.
var testCertificate = sync.OnceValues(func() (tls.Certificate, error) {
	dir, err := os.MkdirTemp("", "imap")
	if err != nil {
		return tls.Certificate{}, err
	}
	defer os.RemoveAll(dir)
	return certificate.SelfSigned([]string{"localhost"}, dir)
})

// testClock is what the store takes for now.
var testClock = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// setQuota: carol is the administrator.
func (ts *testServer) setQuota(ctx context.Context, by Administrator, user string, bytes, messages int64) error {
	if by.Name != "carol" || by.Account != ts.people.entries["carol"].Account || !by.Remote.IsValid() {
		return mail.Errorf(mail.KindNoPermission, "Set-Mailbox needs the role Recipient Administrator.")
	}
	e, err := ts.people.Lookup(ctx, user)
	if err != nil {
		return err
	}
	a, err := ts.Store.Account(ctx, e.Account)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.SetQuota(ctx, bytes, messages)
}

// newServer starts a server whose LoginType is PlainTextLogin.
func newServer(t testing.TB, engine store.Engine) *testServer {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	ts := &testServer{}
	st, err := store.Open(engine, store.Options{Clock: func() time.Time { return testClock.Add(time.Duration(ts.later.Load())) }, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	dir := &people{entries: map[string]*directory.Entry{}}
	ts.people = dir
	for _, name := range []string{"alice", "bob", "carol"} {
		id, err := st.CreateAccount(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		dir.entries[name] = &directory.Entry{Name: name, Account: id, Enabled: true, PopEnabled: true, ImapEnabled: true}
	}
	ts.alice = dir.entries["alice"].Account
	dir.entries["bob"].LegacyMechanisms = []string{"CRAM-MD5"}
	ts.values.Store(settings.LoginType.With(settings.Defaults(settings.IMAP4, "test"), mail.PlainTextLogin))
	certificate, err := testCertificate()
	if err != nil {
		t.Fatal(err)
	}
	certificates := new(listener.Certificates)
	if err := certificates.Set(certificate); err != nil {
		t.Fatal(err)
	}
	ts.Server = &Server{
		Store:    st,
		Auth:     auth.New(auth.Options{Directory: dir, AppPasswords: dir, Limits: auth.Limits{FirstDelay: -1}}),
		Settings: ts.values.Load,
		SetQuota: ts.setQuota,
	}
	ts.service = &listener.Service{
		Name: "IMAP4", Handle: ts.Serve, Refuse: Refuse, Settings: ts.values.Load,
		Certificates: certificates, ALPN: ALPN, Log: log,
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := ts.service.Stop(ctx); err != nil {
			t.Error(err)
		}
		if n := ts.service.Panics(); n > 0 {
			t.Errorf("%d sessions panicked", n)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return ts
}

// patience is what a client of the tests has for all that it says, on a busy machine, too.
const patience = 60 * time.Second

var clientTLS = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{ALPN}}

// listen opens a port on loopback.
func (ts *testServer) listen(t testing.TB) {
	t.Helper()
	any := netip.MustParseAddrPort("127.0.0.1:0")
	err := ts.service.Start(listener.Bindings{Clear: []netip.AddrPort{any}, SSL: []netip.AddrPort{any}})
	if err != nil {
		t.Fatal(err)
	}
}

// dial connects; mode "ssl" is TLS from the first byte.
func (ts *testServer) dial(mode string) (net.Conn, error) {
	addrs := ts.service.Addrs()
	if mode == "ssl" {
		return tls.Dial("tcp", addrs.SSL[0].String(), clientTLS)
	}
	return net.Dial("tcp", addrs.Clear[0].String())
}

// pipe gives a client's end of a connection without a network; done is closed
// when the session has ended.
func (ts *testServer) pipe() (client net.Conn, done <-chan struct{}) {
	client, server := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ts.service.ServeConn(server, false)
	}()
	return client, ended
}

// set changes a setting as an administrator does.
func (ts *testServer) set(name, value string) error {
	raw := []byte(strconv.Quote(value))
	if strings.Contains(value, "|") {
		raw, _ = json.Marshal(strings.Split(value, "|"))
	}
	v, err := ts.values.Load().Edit(settings.Edit{Name: name, Value: raw})
	if err == nil {
		ts.values.Store(v)
	}
	return err
}

// player plays a transcript. Its directives: [set NAME VALUE] a setting, VALUE a text, or several with | between,
// [notes N] delivers so many messages to alice, [quota BYTES MESSAGES] alice's quota, [later DURATION] lets time pass for the store, [group NAME MEMBERS…] makes that the one
// group, [shared NAME] makes an account one that belongs to nobody, [server NAME VALUE] gives the server an
// entry that all see, or takes it away, [drain] stops the service.
func (ts *testServer) player(t *testing.T) *transcript.Player {
	ts.listen(t)
	return &transcript.Player{
		Dial:   func(_ int, mode string) (net.Conn, error) { return ts.dial(mode) },
		TLS:    clientTLS,
		Update: *updateFlag,
		Do: map[string]func(string) error{
			"set": func(args string) error {
				name, value, _ := strings.Cut(args, " ")
				return ts.set(name, value)
			},
			"later": func(args string) error {
				d, err := time.ParseDuration(args)
				ts.later.Add(int64(d))
				return err
			},
			"group": func(args string) error {
				members := strings.Fields(args)
				ts.Auth.SetPolicy(&auth.Policy{Groups: map[string][]string{members[0]: members[1:]}})
				return nil
			},
			"moved": func(args string) error {
				name, url, _ := strings.Cut(args, " ")
				e := *ts.people.entries[name]
				e.ImapReferralURL = url
				ts.people.entries[name] = &e
				return nil
			},
			"shared": func(name string) error {
				a, err := ts.Store.Account(t.Context(), ts.people.entries[name].Account)
				if err != nil {
					return err
				}
				defer a.Close()
				return a.SetShared(t.Context(), true)
			},
			"quota": func(args string) error {
				var bytes, messages int64
				if _, err := fmt.Sscan(args+" 0", &bytes, &messages); err != nil {
					return err
				}
				a, err := ts.Store.Account(t.Context(), ts.alice)
				if err != nil {
					return err
				}
				defer a.Close()
				return a.SetQuota(t.Context(), bytes, messages)
			},
			"notes": func(n string) error {
				many, err := strconv.Atoi(n)
				var arrivals []store.Arrival
				for i := range many {
					arrivals = append(arrivals, ts.note(i))
				}
				ts.deliver(t, arrivals...)
				return err
			},
			"server": func(args string) error {
				name, value, given := strings.Cut(args, " ")
				e := store.MetadataEntry{Name: name}
				if given {
					e.Value = []byte(value)
				}
				return ts.Store.SetServerMetadata(t.Context(), []store.MetadataEntry{e})
			},
			"drain": func(string) error {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				if err := ts.service.Stop(ctx); err != nil {
					return fmt.Errorf("the service did not stop: %w", err)
				}
				return nil
			},
		},
	}
}

func TestTranscripts(t *testing.T) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			transcript.Dir(t, "testdata/*.txt", func(t *testing.T) *transcript.Player {
				return newServer(t, open(t)).player(t)
			})
		})
	}
}
