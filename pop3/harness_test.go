package pop3

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/seal"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/test/transcript"
)

var update = flag.Bool("update", false, "write what the server says into the transcripts")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broken is an engine whose Commit can be made to fail.
type broken struct {
	store.Engine
	now atomic.Bool
}

func (b *broken) Commit(ctx context.Context, batch *store.Batch) (func() error, error) {
	if b.now.Load() {
		return nil, mail.Errorf(mail.KindUnavailable, "The disk is full.")
	}
	return b.Engine.Commit(ctx, batch)
}

type fixture struct {
	t       testing.TB
	store   *store.Store
	broken  *broken
	account map[string]mail.AccountID
	auth    *auth.Authenticator
	people  directory.Writable
	service *listener.Service
	values  atomic.Pointer[settings.Values]
	client  *tls.Config
	later   atomic.Int64 // seconds
}

const password = "correct horse"

var (
	pair     tls.Certificate
	pairRoot *x509.CertPool
)

// makePair makes a certificate for all tests.
func makePair(t testing.TB) {
	if pairRoot != nil {
		return
	}
	dir, err := os.MkdirTemp("", "pop3")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if pair, err = certificate.SelfSigned([]string{"localhost"}, dir); err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pairRoot = x509.NewCertPool()
	pairRoot.AddCert(leaf)
}

// reader is an app password of everybody's for reading only.
const reader = "abcd-efgh-jkmn-pqrs-tuvw-xyz2"

type readers struct{}

// AppPassword implements auth.AppPasswords.
func (readers) AppPassword(_ context.Context, _ mail.AccountID, secret string, _ auth.Wanted) (*auth.AppPassword, error) {
	if secret != auth.AppPasswordSecret(reader) {
		return nil, nil
	}
	return &auth.AppPassword{Name: "reader", ReadOnly: true}, nil
}

func (readers) AppPasswordsOf(context.Context, mail.AccountID) ([]auth.AppPassword, error) {
	return nil, nil
}

// newFixture serves POP3 for alice, with messages in her INBOX, and bob, without.
func newFixture(t testing.TB, messages ...string) *fixture {
	t.Helper()
	makePair(t)
	ctx := context.Background()
	f := &fixture{t: t, broken: &broken{Engine: memory.New()}, account: map[string]mail.AccountID{}}
	var err error
	if f.store, err = store.Open(f.broken, store.Options{Clock: func() time.Time { return time.Unix(1_800_000_000+f.later.Load(), 0) }}); err != nil {
		t.Fatal(err)
	}
	people, err := embedded.Open(ctx, f.store, embedded.Options{Argon2: embedded.Argon2{Memory: 64, Time: 1, Threads: 1}, ScramIterations: 4096, Key: seal.At(filepath.Join(t.TempDir(), "key"))})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob", "nopop", "zoë"} {
		id, err := f.store.CreateAccount(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.account[name] = id
		e := directory.Entry{Name: name, Account: id, Enabled: true, PopEnabled: name != "nopop", ImapEnabled: true}
		if err := people.Create(ctx, e, password); err != nil {
			t.Fatal(err)
		}
	}
	f.deliver("alice", messages...)
	f.set(settings.LoginType.With(settings.Defaults(settings.POP3, "localhost"), mail.PlainTextLogin))
	var certs listener.Certificates
	if err := certs.Set(pair); err != nil {
		t.Fatal(err)
	}
	f.client = &tls.Config{RootCAs: pairRoot, ServerName: "localhost", NextProtos: []string{"pop3"}}
	f.people = people
	f.auth = auth.New(auth.Options{Directory: people, Host: "mail.example.org", AppPasswords: readers{}, Limits: auth.Limits{FirstDelay: -1}})
	server := &Server{Store: f.store, Settings: f.values.Load, Auth: f.auth}
	f.service = &listener.Service{
		Name: "POP3", Handle: server.Serve, Refuse: Refuse, ALPN: ALPN,
		Certificates: &certs, Settings: f.values.Load, Log: slog.New(slog.DiscardHandler),
		ParkAfter: 5 * time.Millisecond, // many sessions of these tests are parked and go on
	}
	any := netip.MustParseAddrPort("127.0.0.1:0")
	if err := f.service.Start(listener.Bindings{Clear: []netip.AddrPort{any}, SSL: []netip.AddrPort{any}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := f.service.Stop(stop); err != nil {
			t.Error(err)
		}
		if n := f.service.Panics(); n > 0 {
			t.Error(n, "panics")
		}
		f.store.Close()
	})
	return f
}

func (f *fixture) set(v *settings.Values) { f.values.Store(v) }

func (f *fixture) inbox(name string, do func(*store.Account, *store.Mailbox)) {
	f.t.Helper()
	ctx := context.Background()
	a, err := f.store.Account(ctx, f.account[name])
	if err != nil {
		f.t.Fatal(err)
	}
	defer a.Close()
	m, err := a.Select(ctx, store.Inbox, true)
	if err != nil {
		f.t.Fatal(err)
	}
	defer m.Close()
	do(a, m)
}

func (f *fixture) deliver(name string, messages ...string) {
	f.t.Helper()
	f.inbox(name, func(a *store.Account, _ *store.Mailbox) {
		for _, m := range messages {
			if _, err := a.Append(context.Background(), store.Inbox, store.Arrival{Prepared: f.store.Prepare([]byte(m))}); err != nil {
				f.t.Fatal(err)
			}
		}
	})
}

// holds describes alice's INBOX: UIDs, with "s" for \Seen.
func (f *fixture) holds() string {
	var b strings.Builder
	f.inbox("alice", func(_ *store.Account, m *store.Mailbox) {
		for seq := range m.View().Len() {
			msg := m.View().At(uint32(seq + 1))
			fmt.Fprintf(&b, "%d", msg.UID)
			if msg.Flags.Has(mail.Seen) {
				b.WriteByte('s')
			}
			b.WriteByte(' ')
		}
	})
	return strings.TrimSpace(b.String())
}

func (f *fixture) dial(mode string) (net.Conn, error) {
	addr := f.service.Addrs().Clear[0]
	if mode == "ssl" {
		addr = f.service.Addrs().SSL[0]
	}
	c, err := net.Dial("tcp", addr.String())
	if err != nil || mode != "ssl" {
		return c, err
	}
	return tls.Client(c, f.client), nil
}

// patience bounds what a client says and every wait for what is to happen, on a busy machine, too.
const patience = 60 * time.Second

// pop is a client in a test that is not a transcript.
type pop struct {
	net.Conn
	r *bufio.Reader
	t testing.TB
}

func (f *fixture) pop() *pop {
	f.t.Helper()
	c, err := f.dial("")
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	p := &pop{c, bufio.NewReaderSize(c, 64<<10), f.t}
	p.want("+OK")
	return p
}

func (f *fixture) login() *pop {
	p := f.pop()
	p.ask("USER alice", "+OK")
	p.ask("PASS "+password, "+OK")
	return p
}

// want reads a line that begins so.
func (p *pop) want(prefix string) string {
	p.t.Helper()
	line, err := p.r.ReadString('\n')
	if !strings.HasPrefix(line, prefix) {
		p.t.Fatalf("want %q, got %q (%v)", prefix, line, err)
	}
	return strings.TrimSuffix(line, "\r\n")
}

func (p *pop) ask(line, prefix string) string {
	p.t.Helper()
	io.WriteString(p.Conn, line+"\r\n")
	return p.want(prefix)
}

// multi reads the rest of a multi-line response and undoes the stuffing.
func (p *pop) multi() string {
	p.t.Helper()
	var raw strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatal(err)
		}
		raw.WriteString(line)
		if s := raw.String(); s == ".\r\n" || line == ".\r\n" && strings.HasSuffix(s, "\r\n.\r\n") {
			return unstuff(s)
		}
	}
}

// unstuff undoes RFC 1939, 3 for a whole multi-line response.
func unstuff(wire string) string {
	body := strings.TrimSuffix(wire, ".\r\n")
	body = strings.TrimPrefix(body, ".")
	return strings.ReplaceAll(body, "\r\n.", "\r\n")
}

var messages = []string{
	"Subject: one\r\nTo: alice\r\n\r\nThe first line\r\n.a line with a dot\r\n..and two\r\nthe last\r\n",
	"Subject: two\r\n\r\nshort",
	"Subject: three\r\n\r\n.\r\n",
}

func TestTranscripts(t *testing.T) {
	transcript.Dir(t, "testdata/*.txt", func(t *testing.T) *transcript.Player {
		f := newFixture(t, messages...)
		return &transcript.Player{
			Update: *update,
			TLS:    f.client,
			Dial:   func(_ int, mode string) (net.Conn, error) { return f.dial(mode) },
			Do: map[string]func(string) error{
				"logintype": func(args string) error {
					lt, err := mail.ParseLoginType(args)
					f.set(settings.LoginType.With(f.values.Load(), lt))
					return err
				},
				"mechanisms": func(args string) error {
					f.set(settings.AuthMechanisms.With(f.values.Load(), strings.Fields(args)))
					return nil
				},
				// [legacy alice APOP]: what is switched on for alice, whose password is set anew.
				"legacy": func(args string) error {
					words := strings.Fields(args)
					err := f.people.Change(context.Background(), words[0], func(e *directory.Entry) error {
						e.LegacyMechanisms = words[1:]
						return nil
					})
					return errors.Join(err, f.people.SetPassword(context.Background(), words[0], password))
				},
				"sort": func(args string) error {
					order := settings.Ascending
					if args == "Descending" {
						order = settings.Descending
					}
					f.set(settings.MessageRetrievalSortOrder.With(f.values.Load(), order))
					return nil
				},
				"maxcommandsize": func(args string) error {
					n, err := strconv.Atoi(args)
					f.set(settings.MaxCommandSize.With(f.values.Load(), n))
					return err
				},
				"logindelay": func(args string) error {
					d, err := time.ParseDuration(args)
					f.set(settings.LoginDelay.With(f.values.Load(), d))
					return err
				},
				"later": func(args string) error {
					d, err := time.ParseDuration(args)
					f.later.Add(int64(d / time.Second))
					return err
				},
				"disable": func(args string) error {
					f.set(settings.DisabledCapabilities.With(f.values.Load(), strings.Fields(args)))
					return nil
				},
				"maxconnectionsperuser": func(args string) error {
					n, err := strconv.Atoi(args)
					f.set(settings.MaxConnectionsPerUser.With(f.values.Load(), n))
					return err
				},
				// [holds 1s 2]: what alice's INBOX holds; waits for a session to end.
				"holds": func(args string) error {
					for end := time.Now().Add(patience); f.holds() != args; time.Sleep(2 * time.Millisecond) {
						if time.Now().After(end) {
							return fmt.Errorf("it holds %s", f.holds())
						}
					}
					return nil
				},
				// [unlocked]: nobody has alice's maildrop open any more.
				"unlocked": func(string) error {
					var err error
					for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
						f.inbox("alice", func(a *store.Account, _ *store.Mailbox) {
							var unlock func()
							if unlock, err = a.LockMaildrop(); err == nil {
								unlock()
							}
						})
						if err == nil {
							break
						}
					}
					return err
				},
				"disk": func(args string) error {
					f.broken.now.Store(args == "full")
					return nil
				},
				"expunge": func(args string) error {
					n, err := strconv.Atoi(args)
					f.inbox("alice", func(_ *store.Account, m *store.Mailbox) {
						_, _, err = m.Remove(context.Background(), mail.UIDSet(mail.UID(n)))
					})
					return err
				},
				// [message "…"]: delivers a Go string literal.
				"message": func(args string) error {
					text, err := strconv.Unquote(args)
					f.deliver("alice", text)
					return err
				},
				"downgrade": func(string) error {
					f.set(settings.MessageDowngradeEnabled.With(f.values.Load(), true))
					return nil
				},
				"deliver": func(args string) error {
					f.deliver("alice", args+"\r\n")
					return nil
				},
			},
		}
	})
}
