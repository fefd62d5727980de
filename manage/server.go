package manage

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/seal"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
)

// Mail is what cmdlets need of the mail store. Its methods obey their context and
// give *mail.Error.
type Mail interface {
	// CreateAccount makes an empty account. Limits of 0 mean unlimited.
	CreateAccount(ctx context.Context, quotaBytes, quotaMessages int64) (mail.AccountID, error)
	// RemoveAccount deletes an account with all its mail.
	RemoveAccount(ctx context.Context, id mail.AccountID) error
	// Usage tells what the account holds and may hold.
	Usage(ctx context.Context, id mail.AccountID) (Usage, error)
	// SetQuota sets both limits; 0 means unlimited.
	SetQuota(ctx context.Context, id mail.AccountID, quotaBytes, quotaMessages int64) error
}

// Usage is what an account holds and may hold. Limits of 0 mean unlimited.
type Usage struct {
	Bytes, Messages           int64
	QuotaBytes, QuotaMessages int64
}

// State is a service's state.
type State string

// The states.
const (
	Running  State = "Running"
	Stopped  State = "Stopped"
	Starting State = "Starting"
	Stopping State = "Stopping"
)

// ServiceStatus is a service as it is now.
type ServiceStatus struct {
	State       State
	Connections int      // open now
	Listening   []string // addresses that accept connections now
	// SSL are those of Listening that speak TLS from the first byte.
	SSL     []netip.AddrPort
	Problem string // why it does not run or not as configured, "" when all is well
}

// Services starts and stops services. Its methods obey their context and give
// *mail.Error.
type Services interface {
	Status(s settings.Service) ServiceStatus
	// Start opens the bindings. Starting what runs is no error.
	Start(ctx context.Context, s settings.Service) error
	// Stop closes the bindings and ends the sessions. Stopping what stands still is
	// no error.
	Stop(ctx context.Context, s settings.Service) error
}

// Certificates says which certificates there are.
type Certificates interface {
	// Names lists the host names of the certificates present, wildcards included.
	Names() []string
	// Usable gives nil when a certificate that is valid now covers the host name,
	// else an error whose text says what is wrong.
	Usable(hostName string) error
}

// Connection says how a client is connected.
type Connection string

// The kinds of connection.
const (
	Plaintext Connection = "Plaintext" // unencrypted
	TLS       Connection = "Tls"       // after STLS or STARTTLS
	SSL       Connection = "Ssl"       // encrypted from the first byte
)

// Login is a log-in to be explained.
type Login struct {
	Identity  string // prepared
	For       string // for whom it acts, prepared; "" for itself
	Mechanism string // of SASL; "" is any
	// Certificates are those that the client shows, its own first.
	Certificates []*x509.Certificate
	Service      settings.Service
	Connection   Connection
	From         netip.Addr // the client's; the zero Addr when it is not said
	At           time.Time  // zero is now
	// Entry is Identity's and ForEntry For's, for Matrix, with their Groups; nil is
	// nobody in particular.
	Entry, ForEntry *directory.Entry
}

// Access is the way that mail programs take to this server.
type Access interface {
	// Address gives an address of a service that a program on this host can connect
	// to; KindUnavailable when the service does not listen for such connections.
	Address(s settings.Service, k Connection) (netip.AddrPort, error)
	// Deliver puts a message into the INBOX of a mailbox on this server;
	// KindNotFound when it is on none here.
	Deliver(ctx context.Context, name string, message []byte) error
}

// Step is one rule on a log-in's way.
type Step struct {
	Step   string // which rule: "LoginType", "Mailbox", "PopEnabled", …
	Result string // "Pass", "Fail" or "Note"
	Detail string // why, in a sentence
}

// Parts are what a management server is made of. All but Now are needed.
type Parts struct {
	Settings  *settings.Live
	Directory directory.Writable
	// Directories are several directories in the order in which they are asked; nil for
	// Postern's own alone.
	Directories []DirectoryRow
	Mail        Mail
	// Folders keeps the permissions of folders, and the entries of the server.
	Folders Folders
	// Store is what the mail is checked in, and mended.
	Store Store
	// Backups are copies of the store.
	Backups      Backups
	Services     Services
	Certificates Certificates
	// Pairs keeps the certificates; nil for a server that keeps none.
	Pairs *certificate.Store
	// Issuer gets certificates from an ACME server; nil for a server that cannot.
	Issuer Issuer
	// Access is what the connectivity tests begin with.
	Access Access
	// Explain tells which rule decides about a log-in, step by step.
	Explain func(ctx context.Context, l Login) ([]Step, error)
	// Matrix gives every way to sign in, with what decides about l's user, address and
	// moment; l.Connection is not looked at.
	Matrix func(l Login) []auth.Cell
	// Usable lists the SASL mechanisms that somebody can use under TLS at a service now.
	Usable func(s settings.Service) []string
	// RevocationProblem says what is wrong with a service's lists of revoked client
	// certificates, "" when nothing is; nil is nothing.
	RevocationProblem func(s settings.Service) string
	// Auth tells what is slowed down, and from where accounts signed in.
	Auth *auth.Authenticator
	// SetLoginPolicy makes login policies hold.
	SetLoginPolicy func(*auth.Policy)
	Log            *slog.Logger
	// Records keeps administrators, local administrators and API tokens.
	Records Records
	// Authenticate checks name and password of a sign-in at the console, which is
	// always encrypted, and gives whose they are. Errors: KindAuthenticationFailed,
	// KindDisabled only after a right password, KindUnavailable.
	Authenticate Authenticate
	// AuthenticateOwner is the same for the pages of people's own accounts, where a
	// password that must be changed is right, too.
	AuthenticateOwner Authenticate
	// Sealed keeps the secrets of second factors.
	Sealed *seal.Key
	// Statistics is who signed in how; nil: nothing is kept.
	Statistics *statistics.History
	// Observe is told of each run of a cmdlet of the table, and how it ended; nil is
	// nobody.
	Observe func(cmdlet string, began time.Time, err error)
	// Administrators is the operating-system group whose members are local
	// administrators, beside root and the server's own user; "" is none.
	Administrators string
	Audit          Audit
	Events         Events
	// Host tells of the computer and the process.
	Host Host
	// Sessions are the connections of the services.
	Sessions Sessions
	// ProtocolLog gives the protocol log of a service, nil for one that has none.
	ProtocolLog func(s settings.Service) *protolog.Log
	Now         func() time.Time // nil: time.Now
}

// Authenticate checks a name and a password that came from remote, and gives whose they
// are.
type Authenticate func(ctx context.Context, name, password string, remote netip.AddrPort) (*directory.Entry, error)

// Server runs cmdlets. Its methods may be called from any goroutine.
type Server struct {
	Parts
	cmdlets   []*Cmdlet
	sessions  sessions // of administrators
	owners    sessions // of people at their own accounts
	pace      ownerPace
	following following
	long      following
	guesses   guesses
	refusals  refusals
	policies  sync.Mutex // held from reading the login policies until they hold
}

// New makes a server of its parts.
func New(parts Parts) *Server {
	if parts.Now == nil {
		parts.Now = time.Now
	}
	return &Server{
		Parts: parts, cmdlets: Cmdlets(),
		sessions: sessions{way: WaySession, rows: map[secretSum]*session{}, links: map[secretSum]link{}},
		owners:   sessions{way: WayAccount, rows: map[secretSum]*session{}},
	}
}

// Cmdlet finds a cmdlet by its name or alias in any case, or nil.
func (s *Server) Cmdlet(name string) *Cmdlet {
	for _, c := range s.cmdlets {
		if strings.EqualFold(c.Name, name) {
			return c
		}
		for _, alias := range c.Aliases {
			if strings.EqualFold(alias, name) {
				return c
			}
		}
	}
	return nil
}

// Run runs one cmdlet for a caller. arguments is a JSON object of parameters;
// nil is none. A refused call has changed nothing, but for a mailbox whose
// several parts could not all be changed: then the error says so.
func (s *Server) Run(ctx context.Context, caller Caller, name string, arguments []byte) (*Result, error) {
	return s.RunTold(ctx, caller, name, arguments, nil)
}

func (s *Server) run(ctx context.Context, caller Caller, cmdlet *Cmdlet, arguments []byte, told func(Progress)) (*Result, error) {
	err := s.permit(caller, cmdlet)
	cmdlet = cmdlet.as(caller)
	c := &Call{Server: s, Caller: caller, Cmdlet: cmdlet, told: told, result: &Result{View: cmdlet.View, Columns: cmdlet.Columns, Objects: []Object{}}}
	given, fault := readArguments(cmdlet, arguments)
	c.arguments = given // also of a call that is refused: the audit record has them
	if err == nil {
		err = cmp.Or(c.paced(), fault)
	}
	var do func(context.Context) error
	if err == nil {
		err = c.common()
	}
	if err == nil {
		err = c.notExpired(ctx)
	}
	if err == nil && cmdlet.Follow != nil && c.Bool(FollowSwitch) {
		err = wrong(FollowSwitch, "this call gives one answer; GET /follow/%s goes on", cmdlet.Name)
	}
	if err == nil {
		do, err = cmdlet.Run(ctx, c)
	}
	if err == nil && cmdlet.Changes {
		if c.Bool("WhatIf") {
			c.result.WhatIf = true
			c.result.Objects = []Object{}
			return c.result, nil
		}
		asks := cmdlet.Asks
		if c.Given("Confirm") {
			asks = c.Bool("Confirm")
		}
		if asks && do != nil {
			return &Result{View: cmdlet.View, Objects: []Object{}, Changes: c.result.Changes, Units: c.result.Units, Confirm: c.question()}, nil
		}
	}
	if err == nil && do != nil {
		err = do(ctx)
	}
	// A trial whose values are not acceptable was not to change anything.
	if cmdlet.Changes && (!c.Bool("WhatIf") || mail.KindOf(err) == mail.KindNoPermission) {
		s.audit(ctx, c, err)
	}
	if err != nil {
		if kind := mail.KindOf(err); kind == mail.KindServerBug || kind == mail.KindUnavailable && !errors.Is(err, context.Canceled) { // who went knows
			s.Log.ErrorContext(ctx, "cmdlet failed", "cmdlet", cmdlet.Name, "who", caller.Name, "error", err)
		}
		return nil, err
	}
	return c.result, nil
}

// common does what all cmdlets have in common: -Server and -DomainController.
func (c *Call) common() error {
	if name := c.Text("Server"); name != "" && !strings.EqualFold(name, c.Settings.Server()) && !strings.EqualFold(name, "localhost") {
		return about("Server", hinted(mail.Errorf(mail.KindCannot, "this server is %q; it does not manage %q", c.Settings.Server(), name),
			"Leave -Server out, or run the cmdlet on that host."))
	}
	if c.Given("DomainController") {
		c.Note("DomainController is accepted and ignored: settings are kept by the server itself.")
	}
	return nil
}

// question asks what -Confirm asks.
func (c *Call) question() string {
	var targets []string
	for _, change := range c.result.Changes {
		if !slices.Contains(targets, change.Target) {
			targets = append(targets, change.Target)
		}
	}
	return fmt.Sprintf("%s: %s. Are you sure?", c.Cmdlet.Name, strings.Join(targets, ", "))
}

// readArguments reads a JSON object of parameters, each by its type.
func readArguments(cmdlet *Cmdlet, raw []byte) (map[string]any, error) {
	arguments := map[string]any{}
	if len(bytes.TrimSpace(raw)) > 0 {
		d := json.NewDecoder(bytes.NewReader(raw))
		if token, err := d.Token(); err != nil || token != json.Delim('{') {
			return nil, mail.Errorf(mail.KindBadArgument, "the body is a JSON object of parameters")
		}
		for d.More() {
			name, err := d.Token()
			var value json.RawMessage
			if err == nil {
				err = d.Decode(&value)
			}
			if err != nil {
				return nil, mail.Errorf(mail.KindBadArgument, "the body is not valid JSON")
			}
			p := cmdlet.parameter(name.(string)) // the decoder gives only strings as keys
			if p == nil {
				return nil, about(name.(string), hinted(mail.Errorf(mail.KindBadArgument, "%s has no parameter %q", cmdlet.Name, name),
					"Get-Help "+cmdlet.Name+" lists its parameters."))
			}
			if _, twice := arguments[p.Name]; twice {
				return nil, wrong(p.Name, "%s is given twice", p.Name)
			}
			if arguments[p.Name], err = p.read(value); err != nil {
				return nil, about(p.Name, err)
			}
		}
		if _, err := d.Token(); err != nil {
			return nil, mail.Errorf(mail.KindBadArgument, "the body is not valid JSON")
		}
		if _, err := d.Token(); err != io.EOF {
			return nil, mail.Errorf(mail.KindBadArgument, "the body is one JSON object and nothing after it")
		}
	}
	for _, p := range cmdlet.Parameters {
		if _, ok := arguments[p.Name]; p.Mandatory && !ok {
			return nil, wrong(p.Name, "%s needs -%s", cmdlet.Name, p.Name)
		}
	}
	return arguments, nil
}

// maxText bounds a text parameter, in bytes.
const maxText = 4096

// read reads a parameter's JSON value by its type.
func (p *Parameter) read(raw json.RawMessage) (any, error) {
	if p.Type == TypeValue || p.Type == TypeValues {
		return slices.Clone(raw), nil
	}
	if p.Type == TypeList {
		edit, err := settings.ReadListEdit(raw)
		if err != nil {
			return nil, wrong(p.Name, "%s %s", p.Name, mail.TextOf(err))
		}
		return edit, nil
	}
	switch p.Type {
	case TypeFile:
		return p.readFile(raw)
	case TypeSave:
		return nil, wrong(p.Name, "%s is for clients that write the result's file themselves; leave it out", p.Name)
	case TypeObject:
		return p.readObject(raw)
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, wrong(p.Name, "%s is not valid JSON", p.Name)
	}
	text, isText := v.(string)
	if n, ok := v.(json.Number); ok {
		text, isText = n.String(), true
	}
	switch p.Type {
	case TypeText, TypeSecret:
		if !isText || len(text) > maxText || strings.ContainsAny(text, "\x00\r\n") {
			return nil, wrong(p.Name, "%s is a text of one line, at most %d bytes", p.Name, maxText)
		}
		if p.Type == TypeSecret {
			return Secret(text), nil
		}
		return text, nil
	case TypeTime:
		if w, ok := parseWhen(text); isText && ok {
			return w, nil
		}
		return nil, wrong(p.Name, "%s is a time such as 2026-11-23, '2026-11-23 14:30' or 2026-11-23T14:30:00+01:00, or how long ago as a time span such as 01:00:00", p.Name)
	case TypeBool, TypeSwitch:
		if b, ok := v.(bool); ok {
			return b, nil
		}
		if b, ok := settings.ParseBool(text); isText && ok {
			return b, nil
		}
		return nil, wrong(p.Name, "%s is $true or $false", p.Name)
	case TypeNumber, TypeSize:
		if isText && strings.EqualFold(text, "unlimited") {
			return int64(0), nil
		}
		if n, ok := settings.ParseNumber(text); isText && ok && n > 0 {
			return n, nil
		}
		if p.Type == TypeSize {
			return nil, wrong(p.Name, "%s is a size such as 500MB or 2GB, or unlimited", p.Name)
		}
		return nil, wrong(p.Name, "%s is a whole number above zero, or unlimited", p.Name)
	}
	return nil, mail.Errorf(mail.KindServerBug, "parameter type %q", p.Type)
}

// readFile reads a file's content: FileContent, or a string.
func (p *Parameter) readFile(raw json.RawMessage) ([]byte, error) {
	var content []byte
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		content = []byte(text)
	} else {
		var sent FileContent
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&sent); err != nil {
			return nil, wrong(p.Name, `%s is a file's content: a text, or {"base64": "…"}`, p.Name)
		}
		content = sent.Base64
	}
	if len(content) > MaxFile {
		return nil, about(p.Name, mail.Errorf(mail.KindTooBig, "%s is a file of at most %d bytes", p.Name, MaxFile))
	}
	if len(content) == 0 {
		return nil, wrong(p.Name, "%s is an empty file", p.Name)
	}
	return content, nil
}
