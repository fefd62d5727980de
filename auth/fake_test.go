package auth

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// people is a directory that counts what it is asked and fails when it shall.
type people struct {
	mu        sync.Mutex
	entries   map[string]*directory.Entry // by name and alias
	passwords map[string]string           // by name
	err       error
	took      time.Duration // of CheckPassword and CheckTicket

	until                       time.Time         // of tokens
	shown                       *x509.Certificate // what the client of the last token showed
	mistrusts                   bool              // a token is good for its own name alone
	keyless, tokenless, tickets bool
	unreadable                  bool

	checks, running, most int
	asked                 []string // names, in the order in which they were checked
	preferred             bool     // whether the last one was
}

// newPeople knows anna (with an alias), the disabled off, popless and imapless, and
// none, who has no password.
func newPeople() *people {
	p := &people{entries: map[string]*directory.Entry{}, passwords: map[string]string{}}
	for i, e := range []directory.Entry{
		{Name: "anna@example.org", Aliases: []string{"post@example.org"}, LegacyMechanisms: sasl.Legacy(), ReadablePassword: true, Enabled: true, PopEnabled: true, ImapEnabled: true},
		{Name: "off", PopEnabled: true, ImapEnabled: true},
		{Name: "popless", Enabled: true, ImapEnabled: true},
		{Name: "imapless", Enabled: true, PopEnabled: true},
		{Name: "none", Enabled: true, PopEnabled: true, ImapEnabled: true},
	} {
		e.Account = mail.AccountID(i + 1)
		if e.Name != "none" {
			p.passwords[e.Name] = "secret"
			e.PasswordChanged = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		}
		for _, name := range append(e.Aliases, e.Name) {
			p.entries[name] = &e
		}
	}
	return p
}

func (p *people) Lookup(_ context.Context, name string) (*directory.Entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	e, ok := p.entries[name]
	if !ok {
		return nil, mail.Errorf(mail.KindNotFound, "There is no such mailbox.")
	}
	copied := *e
	return &copied, nil
}

func (p *people) CheckPassword(ctx context.Context, name, password string) (*directory.Entry, error) {
	p.mu.Lock()
	p.checks++
	p.asked = append(p.asked, name)
	p.preferred = directory.Preferred(ctx)
	p.running++
	p.most = max(p.most, p.running)
	err := p.err
	p.mu.Unlock()
	time.Sleep(p.took)
	p.mu.Lock()
	p.running--
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	e, err := p.Lookup(ctx, name)
	if err != nil || p.passwords[e.Name] == "" || p.passwords[e.Name] != password {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return e, nil
}

func (p *people) ScramKeys(ctx context.Context, name string, hash directory.Hash) (*directory.Entry, directory.ScramKeys, error) {
	p.mu.Lock()
	p.checks++
	failure := p.err
	p.mu.Unlock()
	if failure != nil {
		return nil, directory.ScramKeys{}, failure
	}
	if e, err := p.Lookup(ctx, name); err == nil && p.passwords[e.Name] != "" {
		k, err := directory.NewScramKeys(hash, p.passwords[e.Name], []byte("0123456789abcdef"), 4096)
		return e, k, err
	}
	k, err := directory.UnmatchableScramKeys(hash, name, []byte("secret"), 4096)
	return nil, k, err
}

// CheckToken takes "NAME", with "~" for "@", as NAME's token until p.until.
func (p *people) CheckToken(ctx context.Context, name, token string) (*directory.Entry, time.Time, error) {
	p.mu.Lock()
	p.shown = directory.CertificateOf(ctx)
	p.checks++
	failure, until := p.err, p.until
	p.mu.Unlock()
	if failure != nil {
		return nil, time.Time{}, failure
	}
	e, err := p.Lookup(ctx, strings.ReplaceAll(token, "~", "@"))
	if err != nil || name != "" && p.mistrusts && name != e.Name {
		return nil, time.Time{}, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return e, until, nil
}

func (p *people) Provide(_ context.Context, e *directory.Entry) (*directory.Entry, error) {
	return e, nil
}
func (p *people) Proved(ctx context.Context, _ string, who *directory.Person) (*directory.Entry, error) {
	return p.Lookup(ctx, who.Name)
}

func (p *people) Issuer(name string) (string, string) { return "https://login.example/" + name, "mail" }

// CheckTicket takes "NAME" as NAME's ticket until p.until.
func (p *people) CheckTicket(ctx context.Context, service string, token []byte) (*directory.Entry, *krb5.Context, error) {
	p.mu.Lock()
	p.checks++
	failure, until := p.err, p.until
	p.mu.Unlock()
	time.Sleep(p.took)
	if failure != nil {
		return nil, nil, failure
	}
	e, err := p.Lookup(ctx, string(token))
	if err != nil || service == "" {
		return nil, nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return e, &krb5.Context{Until: until, Binding: krb5.Bind([]byte("n,,")), Reply: []byte("proof")}, nil
}

func (p *people) HasTickets(service string) bool                   { return p.tickets && service != "" }
func (p *people) HasKeys() bool                                    { return !p.keyless }
func (p *people) HasTokens() bool                                  { return !p.tokenless }
func (p *people) Asked(context.Context, string) []directory.Answer { return nil }

// CheckAnswer: the directory can read everybody's password.
func (p *people) CheckAnswer(ctx context.Context, name string, right func([]byte) bool) (*directory.Entry, error) {
	p.mu.Lock()
	p.checks++
	failure := p.err
	p.mu.Unlock()
	if failure != nil {
		return nil, failure
	}
	e, err := p.Lookup(ctx, name)
	known := err == nil && p.passwords[e.Name] != ""
	password := "a password that nobody has"
	if known {
		password = p.passwords[e.Name]
	}
	if !right([]byte(password)) || !known {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return e, nil
}

func (p *people) HasReadable() bool { return !p.unreadable }

// domain is a helper for NTLM that takes EXAMPLE's people's word for their names: the
// proof is whatever is no "wrong".
type domain struct {
	err   error  // of every question
	open  int    // conversations
	proof string // what the second message proves
}

func (d *domain) Begin(context.Context) (NTLMConversation, error) {
	if d.err != nil {
		return nil, d.err
	}
	d.open++
	return &talk{domain: d}, nil
}

func (d *domain) Name(account string) (string, error) {
	user, ok := strings.CutPrefix(account, `EXAMPLE\`)
	if !ok {
		return "", mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return user + "@example.org", nil
}

type talk struct {
	domain *domain
	closed bool
}

func (t *talk) Challenge(context.Context, []byte) ([]byte, error) {
	return []byte("NTLMSSP\x00\x02"), t.domain.err
}

func (t *talk) Prove(context.Context, []byte) (string, error) {
	if t.domain.err != nil || t.domain.proof == "" {
		return "", cmp.Or(t.domain.err, error(mail.Errorf(mail.KindAuthenticationFailed, "")))
	}
	return t.domain.proof, nil
}

func (t *talk) Close() {
	if !t.closed {
		t.closed = true
		t.domain.open--
	}
}

// everyMechanism names every one of the table.
func everyMechanism() []string {
	var names []string
	for _, m := range sasl.Mechanisms {
		names = append(names, m.Name)
	}
	return names
}

var _ directory.Chained = (*people)(nil)

func (p *people) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// setup gives an Authenticator over newPeople that notes its attempts.
func setup(l Limits) (*Authenticator, *people, *[]Attempt) {
	p := newPeople()
	var mu sync.Mutex
	attempts := &[]Attempt{}
	return New(Options{Directory: p, NTLM: &domain{}, Limits: l, Observe: func(t Attempt) {
		mu.Lock()
		defer mu.Unlock()
		*attempts = append(*attempts, t)
	}}), p, attempts
}

var noDelay = Limits{FirstDelay: -1}

func from(remote string) netip.AddrPort { return netip.MustParseAddrPort(remote) }

// clear is a connection on which everything readable is permitted.
func clear(remote string) Conn {
	return Conn{Service: settings.IMAP4, LoginType: mail.PlainTextLogin, Remote: from(remote)}
}

// handshake gives both ends of a real TLS connection and the server's certificate.
func handshake(t *testing.T) (server, client tls.ConnectionState, certificate *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true})
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	fault := make(chan error, 1)
	go func() { fault <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-fault; err != nil {
		t.Fatal(err)
	}
	return s.ConnectionState(), c.ConnectionState(), certificate
}

// clientCertificate is anna's.
var clientCertificate = &x509.Certificate{EmailAddresses: []string{"anna@example.org"}, NotAfter: time.Now().Add(time.Hour)}

func wantKind(t *testing.T, what string, err error, kind mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != kind {
		t.Errorf("%s: got %v, want %v", what, err, kind)
	}
}
