// Package managetest gives a management server on parts that live in memory, for
// the tests of package manage and its faces.
package managetest

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/seal"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// ServerName is the name of the server that New makes.
const ServerName = "mail.example.org"

// Now is the time that it tells at first.
var Now = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

// Fake is a management server and the parts that it is made of. The parts may be
// looked at when no cmdlet runs.
type Fake struct {
	*manage.Server
	Keeper    *settings.MemoryKeeper
	Directory *Directory
	Mail      *Mail
	Services  *Services
	Certs     *Certificates
	Audit     *Audit
	Events    *Events
	Host      *Host
	Records   *Records
	Access    *Access
	Store     *Store
	Backups   *Backups
	Sessions  *Sessions
	Auth      *auth.Authenticator
	Logs      map[settings.Service]*protolog.Log // nil until a test makes one

	passed atomic.Int64 // since Now
}

// Host gives Now.
type Host struct{ Now manage.Facts }

// Facts implements manage.Host.
func (h *Host) Facts(context.Context) (manage.Facts, error) { return h.Now, nil }

// Events are events that a test has put there, the newest first.
type Events []event.Entry

// Search implements manage.Events: it gives those that q.Source and q.IDs want.
func (e *Events) Search(q event.Query) (found []event.Entry, more bool) {
	for _, entry := range *e {
		if (q.Source == nil || q.Source(entry.Source)) && (len(q.IDs) == 0 || slices.Contains(q.IDs, entry.ID)) {
			found = append(found, entry)
		}
	}
	return found, false
}

// Serve serves New's server on a management socket until the test ends, and gives a
// client of it and the socket's path, in a folder that the server made.
func Serve(t testing.TB) (*Fake, *manage.Client, string) {
	t.Helper()
	f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "run", "s")
	l, err := f.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.Serve(ctx, l) }()
	c := manage.Dial(path)
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f, c, path
}

// Close ends what the parts have going on: where a test looks for that.
func (f *Fake) Close() error { return f.Folders.(*store.Store).Close() }

// New makes a server with the mailboxes alice and bob, one certificate for
// ServerName, all services running, and a few sign-ins: two of alice at POP3 with a
// password in the clear, one of bob at IMAP4, two refused.
func New() (*Fake, error) {
	f := &Fake{
		Keeper:    &settings.MemoryKeeper{},
		Directory: &Directory{passwords: map[string]string{}},
		Mail:      &Mail{Accounts: map[mail.AccountID]manage.Usage{1: {Bytes: 1 << 20, Messages: 12}, 2: {Bytes: 3 << 30, Messages: 40123, QuotaBytes: 5 << 30}}, next: 3},
		Services:  &Services{states: map[settings.Service]manage.State{}},
		Certs:     &Certificates{Present: []string{ServerName}},
		Audit:     &Audit{},
		Events:    &Events{},
		Host: &Host{manage.Facts{
			Roles: []string{manage.ClientAccess, manage.MailboxRole}, Version: "v1.0.0", Started: Now.Add(-26 * time.Hour),
			Engine: "memory", Directory: "embedded", DataFolder: "/var/lib/postern", DataSize: 5 << 20, DiskFree: 50 << 30, DiskSize: 100 << 30,
		}},
		Records:  &Records{},
		Access:   &Access{},
		Store:    &Store{IDs: []mail.AccountID{1, 2, 9}},
		Backups:  &Backups{},
		Sessions: &Sessions{},
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	folders, err := openFolders(1, 2)
	if err != nil {
		return nil, err
	}
	live, err := settings.Open(context.Background(), ServerName, f.Keeper, log)
	if err != nil {
		return nil, err
	}
	f.Services.live = live
	for _, s := range settings.Services {
		f.Services.states[s] = manage.Running
	}
	f.Directory.entries = []directory.Entry{
		{Name: "alice@example.org", Aliases: []string{"a.example@example.org"}, Account: 1, DisplayName: "Alice Example", Enabled: true, PopEnabled: true, ImapEnabled: true, Created: Now.Add(-48 * time.Hour), PasswordChanged: Now.Add(-48 * time.Hour)},
		{Name: "bob@example.org", Account: 2, DisplayName: "Bob Example", Enabled: true, ImapEnabled: true, Created: Now.Add(-24 * time.Hour)},
	}
	figures := statistics.Open(statistics.Options{Now: func() time.Time { return Now }})
	for _, a := range []auth.Attempt{
		{Service: settings.POP3, Mechanism: "USER command", Class: sasl.Password, User: "alice@example.org", Remote: netip.MustParseAddrPort("10.0.0.5:1")},
		{Service: settings.POP3, Mechanism: "USER command", Class: sasl.Password, User: "alice@example.org", Remote: netip.MustParseAddrPort("10.0.0.5:2")},
		{Service: settings.IMAP4, Mechanism: "SCRAM-SHA-256", Class: sasl.Challenge, TLS: true, User: "bob@example.org", Remote: netip.MustParseAddrPort("[2001:db8::1]:3")},
		{Service: settings.IMAP4, Mechanism: "PLAIN", Class: sasl.Password, TLS: true, Name: "a.example@example.org", Err: mail.Errorf(mail.KindAuthenticationFailed, ""), Remote: netip.MustParseAddrPort("10.0.0.66:4")},
		{Service: settings.IMAP4, Mechanism: "PLAIN", Class: sasl.Password, TLS: true, Name: "nobody\x1b", Err: mail.Errorf(mail.KindAuthenticationFailed, ""), Remote: netip.MustParseAddrPort("10.0.0.66:5")},
	} {
		figures.Observe(a)
	}
	figures.Identify(netip.MustParseAddrPort("[2001:db8::1]:3"), "Thunderbird")
	f.Auth = auth.New(auth.Options{Directory: f.Directory, Records: f.Records, Now: func() time.Time { return Now.Add(time.Duration(f.passed.Load())) }})
	f.Server = manage.New(manage.Parts{
		Statistics: figures,
		Settings:   live, Directory: f.Directory, Mail: f.Mail, Folders: folders, Store: f.Store, Backups: f.Backups, Services: f.Services, Certificates: f.Certs,
		Explain: f.explain, Matrix: f.matrix, Usable: f.usable, SetLoginPolicy: f.Auth.SetPolicy, Access: f.Access, Log: log, Audit: f.Audit, Events: f.Events, Host: f.Host, Records: f.Records, Authenticate: f.authenticate, AuthenticateOwner: f.authenticateOwner, Sealed: seal.Random(),
		Auth:     f.Auth,
		Sessions: f.Sessions, ProtocolLog: func(s settings.Service) *protolog.Log { return f.Logs[s] },
		Now: func() time.Time { return Now.Add(time.Duration(f.passed.Load())) },
	})
	return f, nil
}

// Advance lets time pass.
func (f *Fake) Advance(d time.Duration) { f.passed.Add(int64(d)) }

func (f *Fake) matrix(l manage.Login) []auth.Cell {
	c := auth.Imagined(f.Server.Settings.Current(l.Service), false)
	c.At = l.At
	if l.From.IsValid() {
		c.Remote = netip.AddrPortFrom(l.From, 0)
	}
	return f.Auth.Matrix(c, l.Entry, l.ForEntry)
}

func (f *Fake) usable(s settings.Service) []string {
	return f.Auth.Usable(auth.Imagined(f.Server.Settings.Current(s), true))
}

func (f *Fake) explain(ctx context.Context, l manage.Login) ([]manage.Step, error) {
	kind := f.Server.Settings.Current(l.Service)
	policy := manage.Step{Step: "LoginType", Result: "Pass", Detail: settings.LoginType.Of(kind).String() + " allows it over " + string(l.Connection) + "."}
	if l.Connection == manage.Plaintext && settings.LoginType.Of(kind) == mail.SecureLogin {
		policy.Result, policy.Detail = "Fail", "SecureLogin permits no authentication before TLS."
	}
	box := manage.Step{Step: "Mailbox", Result: "Pass", Detail: "There is a mailbox."}
	if _, err := f.Directory.Lookup(ctx, l.Identity); err != nil {
		box.Result, box.Detail = "Fail", "There is no such mailbox."
	}
	return []manage.Step{policy, box}, nil
}

// authenticate knows the passwords that were set.
func (f *Fake) authenticate(ctx context.Context, name, password string, remote netip.AddrPort) (*directory.Entry, error) {
	e, err := f.authenticateOwner(ctx, name, password, remote)
	if err == nil && e.ResetPassword {
		return nil, mail.Errorf(mail.KindExpired, "")
	}
	return e, err
}

func (f *Fake) authenticateOwner(ctx context.Context, name, password string, _ netip.AddrPort) (*directory.Entry, error) {
	e, err := f.Directory.CheckPassword(ctx, name, password)
	if err == nil && !e.Enabled {
		return nil, mail.Errorf(mail.KindDisabled, "This account is switched off.")
	}
	return e, err
}

// Sessions are connections that are only told of.
type Sessions struct {
	mu    sync.Mutex
	Open  []manage.LiveSession
	Ended []string
}

// Sessions implements manage.Sessions.
func (s *Sessions) Sessions(name settings.Service) []manage.LiveSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []manage.LiveSession
	for _, l := range s.Open {
		if l.Service == name {
			list = append(list, l)
		}
	}
	return list
}

// EndSession implements manage.Sessions.
func (s *Sessions) EndSession(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.Open)
	s.Open = slices.DeleteFunc(s.Open, func(l manage.LiveSession) bool { return l.ID == id })
	s.Ended = append(s.Ended, id)
	return len(s.Open) < n
}

// Records keeps small things in memory.
type Records struct {
	mu   sync.Mutex
	rows map[[2]string]store.Record
	Err  error // given instead of anything when it is not nil
	// Read is told of each read before it is done; nil is nobody. It may read and write.
	Read func(kind string)
}

// Records implements manage.Records.
func (r *Records) Records(_ context.Context, kind, prefix string) ([]store.Record, error) {
	if r.Read != nil {
		r.Read(kind)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []store.Record
	for _, row := range r.rows {
		if row.Kind == kind && strings.HasPrefix(row.Key, prefix) {
			list = append(list, row)
		}
	}
	slices.SortFunc(list, func(a, b store.Record) int { return cmp.Compare(a.Key, b.Key) })
	return list, r.Err
}

// PutRecords implements manage.Records.
func (r *Records) PutRecords(_ context.Context, records []store.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Err != nil {
		return r.Err
	}
	for _, n := range records {
		if r.rows[[2]string{n.Kind, n.Key}].Revision != n.Revision {
			return mail.Errorf(mail.KindConflict, "")
		}
	}
	if r.rows == nil {
		r.rows = map[[2]string]store.Record{}
	}
	for _, n := range records {
		key := [2]string{n.Kind, n.Key}
		n.Revision++
		if r.rows[key] = n; n.Value == nil {
			delete(r.rows, key)
		}
	}
	return nil
}

// Access is a server that listens at one address.
type Access struct{ Addr netip.AddrPort }

// Address implements manage.Access.
func (a *Access) Address(s settings.Service, _ manage.Connection) (netip.AddrPort, error) {
	if !a.Addr.IsValid() {
		return a.Addr, mail.Errorf(mail.KindUnavailable, "%s does not listen", s)
	}
	return a.Addr, nil
}

// Deliver implements manage.Access; there is no mail.
func (a *Access) Deliver(context.Context, string, []byte) error {
	return mail.Errorf(mail.KindNotFound, "no mailbox")
}

// Audit keeps audit records.
type Audit struct {
	mu      sync.Mutex
	records []manage.Record
	Err     error // given instead of keeping
	Fault   *audit.Fault
}

// Record implements manage.Audit.
func (a *Audit) Record(_ context.Context, r manage.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.Err != nil {
		return a.Err
	}
	a.records = append(a.records, r)
	return nil
}

// Records gives what was kept.
func (a *Audit) Records() []manage.Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.records)
}

// Head implements manage.Audit.
func (a *Audit) Head() audit.Head {
	return audit.Head{Sequence: uint64(len(a.Records())), Hash: strings.Repeat("f", 64)}
}

// Search implements manage.Audit.
func (a *Audit) Search(_ context.Context, q audit.Query) (found []audit.Entry, more bool, err error) {
	for i, r := range slices.Backward(a.Records()) {
		e := audit.Entry{Sequence: uint64(i + 1), Record: r, Hash: strings.Repeat("f", 64)}
		switch {
		case !q.Wants(&e):
		case len(found) == q.Limit:
			return found, true, nil
		default:
			found = append(found, e)
		}
	}
	return found, false, nil
}

// Verify implements manage.Audit: it finds Fault.
func (a *Audit) Verify(context.Context, audit.Head) (audit.Verdict, error) {
	return audit.Verdict{Records: uint64(len(a.Records())), Files: 1, Last: a.Head(), Fault: a.Fault}, nil
}

// Follow implements manage.Audit: nothing comes.
func (a *Audit) Follow(int) (<-chan audit.Entry, func()) { return nil, func() {} }

// openFolders gives a store with these accounts, each with INBOX and Projects/Plans.
func openFolders(ids ...mail.AccountID) (*store.Store, error) {
	engine := memory.New()
	for _, id := range ids {
		b := &store.Batch{Create: true, Account: store.AccountRecord{ID: id, ModSeq: 1, NextMailbox: 3, NextEmail: 1, NextUIDValidity: 3}}
		for i, name := range []string{store.Inbox, "Projects/Plans"} {
			b.Mailboxes = append(b.Mailboxes, store.MailboxRecord{ID: mail.MailboxID(i + 1), Name: name, UIDValidity: mail.UIDValidity(i + 1), UIDNext: 1, RecentFrom: 1, HighestModSeq: 1})
		}
		if _, err := engine.Commit(context.Background(), b); err != nil {
			return nil, err
		}
	}
	return store.Open(engine, store.Options{Recovery: store.Recovery{Retention: 14 * 24 * time.Hour}})
}

// Mail is a store of accounts without mail.
type Mail struct {
	mu       sync.Mutex
	Accounts map[mail.AccountID]manage.Usage
	next     mail.AccountID
	Err      error // given by every method when it is not nil
}

// CreateAccount implements manage.Mail.
func (m *Mail) CreateAccount(_ context.Context, bytes, messages int64) (mail.AccountID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Err != nil {
		return 0, m.Err
	}
	id := m.next
	m.next++
	m.Accounts[id] = manage.Usage{QuotaBytes: bytes, QuotaMessages: messages}
	return id, nil
}

// RemoveAccount implements manage.Mail.
func (m *Mail) RemoveAccount(_ context.Context, id mail.AccountID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.Accounts, id)
	return m.Err
}

// Usage implements manage.Mail.
func (m *Mail) Usage(_ context.Context, id mail.AccountID) (manage.Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, ok := m.Accounts[id]
	if !ok && m.Err == nil {
		return u, mail.Errorf(mail.KindNotFound, "no account %s", id)
	}
	return u, m.Err
}

// SetQuota implements manage.Mail.
func (m *Mail) SetQuota(_ context.Context, id mail.AccountID, bytes, messages int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.Accounts[id]
	u.QuotaBytes, u.QuotaMessages = bytes, messages
	m.Accounts[id] = u
	return m.Err
}

// Services are services that only say that they run.
type Services struct {
	mu     sync.Mutex
	states map[settings.Service]manage.State
	live   *settings.Live
	// Problems are told of services; set them when no cmdlet runs.
	Problems map[settings.Service]string
}

// Status implements manage.Services.
func (s *Services) Status(which settings.Service) manage.ServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := manage.ServiceStatus{State: s.states[which], Problem: s.Problems[which]}
	if status.State != manage.Running {
		return status
	}
	status.Connections = 3
	for _, list := range []settings.Setting[[]netip.AddrPort]{settings.UnencryptedOrTLSBindings, settings.SSLBindings} {
		for _, a := range list.Of(s.live.Current(which)) {
			status.Listening = append(status.Listening, a.String())
		}
	}
	status.SSL = settings.SSLBindings.Of(s.live.Current(which))
	return status
}

// Start implements manage.Services.
func (s *Services) Start(_ context.Context, which settings.Service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[which] = manage.Running
	return nil
}

// Stop implements manage.Services.
func (s *Services) Stop(_ context.Context, which settings.Service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[which] = manage.Stopped
	return nil
}

// Certificates are names without certificates.
type Certificates struct {
	mu      sync.Mutex
	Present []string
}

// Names implements manage.Certificates.
func (c *Certificates) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.Present)
}

// Set replaces the names.
func (c *Certificates) Set(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Present = names
}

// Usable implements manage.Certificates.
func (c *Certificates) Usable(name string) error {
	if slices.Contains(c.Names(), name) {
		return nil
	}
	return mail.Errorf(mail.KindNotFound, "there is no certificate for %s", name)
}

// Directory is a directory in memory.
type Directory struct {
	mu        sync.Mutex
	entries   []directory.Entry
	passwords map[string]string
	changes   int   // of passwords
	CreateErr error // given by Create when it is not nil
	// BeforeChange is what somebody else changes just before Change, when it is not
	// nil.
	BeforeChange func(*directory.Entry)
}

// find gives the index of the entry that a name or alias means; mu is held.
func (d *Directory) find(name string) int {
	return slices.IndexFunc(d.entries, func(e directory.Entry) bool { return e.Name == name || slices.Contains(e.Aliases, name) })
}

// Lookup implements directory.Directory.
func (d *Directory) Lookup(_ context.Context, name string) (*directory.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.find(name)
	if i < 0 {
		return nil, mail.Errorf(mail.KindNotFound, "no entry")
	}
	e := d.entries[i]
	e.Aliases = slices.Clone(e.Aliases)
	return &e, nil
}

// CheckPassword implements directory.Directory.
func (d *Directory) CheckPassword(ctx context.Context, name, password string) (*directory.Entry, error) {
	e, err := d.Lookup(ctx, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || password == "" || d.passwords[e.Name] != password {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "no")
	}
	return e, nil
}

// ScramKeys implements directory.Directory; nobody has keys.
func (d *Directory) ScramKeys(context.Context, string, directory.Hash) (*directory.Entry, directory.ScramKeys, error) {
	return nil, directory.ScramKeys{}, nil
}

// List implements directory.Writable.
func (d *Directory) List(context.Context) ([]directory.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.Clone(d.entries)
	slices.SortFunc(list, func(a, b directory.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Create implements directory.Writable.
func (d *Directory) Create(_ context.Context, e directory.Entry, password string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.CreateErr != nil {
		return d.CreateErr
	}
	if d.find(e.Name) >= 0 {
		return mail.Errorf(mail.KindAlreadyExists, "it exists")
	}
	d.entries = append(d.entries, e)
	d.passwords[e.Name] = password
	return nil
}

// Change implements directory.Writable.
func (d *Directory) Change(_ context.Context, name string, change func(*directory.Entry) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.find(name)
	if i < 0 {
		return mail.Errorf(mail.KindNotFound, "no entry")
	}
	e := d.entries[i]
	if d.BeforeChange != nil {
		d.BeforeChange(&e)
	}
	if err := change(&e); err != nil {
		return err
	}
	d.entries[i] = e
	return nil
}

// SetPassword implements directory.Writable.
func (d *Directory) SetPassword(_ context.Context, name, password string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.find(name)
	if i < 0 {
		return mail.Errorf(mail.KindNotFound, "no entry")
	}
	d.passwords[d.entries[i].Name] = password
	d.changes++
	d.entries[i].PasswordChanged = Now.Add(time.Duration(d.changes) * time.Second)
	return nil
}

// Remove implements directory.Writable.
func (d *Directory) Remove(_ context.Context, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.find(name)
	if i < 0 {
		return mail.Errorf(mail.KindNotFound, "no entry")
	}
	d.entries = slices.Delete(d.entries, i, i+1)
	return nil
}

// NameOf implements directory.Named.
func (d *Directory) NameOf(ctx context.Context, account mail.AccountID) (string, error) {
	list, err := d.List(ctx)
	for _, e := range list {
		if e.Account == account {
			return e.Name, nil
		}
	}
	return "", err
}
