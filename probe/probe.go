// Package probe is a mail client that goes the way of one message, to tell whether
// POP3 or IMAP4 can be reached: connect, TLS, sign in, put a message there, find
// it, fetch it, compare it, remove it.
package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Encryption says when TLS begins.
type Encryption int

// The kinds of connection.
const (
	None     Encryption = iota
	StartTLS            // after STLS or STARTTLS
	Implicit            // from the first byte
)

// Probe says what is tried, and how.
type Probe struct {
	Service    settings.Service // POP3 or IMAP4
	Address    string           // host:port
	Encryption Encryption
	ServerName string         // that the certificate must cover
	Roots      *x509.CertPool // nil: the system's
	TrustAny   bool           // any certificate will do

	// Name and Password sign in; without a name nothing after the capabilities is
	// tried. The password is readable to the other side, or on the way, only under
	// TLS or on this host.
	Name, Password string
	// Deliver puts a message into the INBOX of who signed in, for POP3, which
	// cannot; nil: no message is sent on its way there.
	Deliver func(ctx context.Context, message []byte) error

	Dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer's
	Now  func() time.Time                                                     // nil: time.Now
}

// Outcome is how a step ended.
type Outcome string

// The outcomes.
const (
	Success Outcome = "Success"
	Failure Outcome = "Failure"
	Skipped Outcome = "Skipped"
)

// Step is one thing that was tried.
type Step struct {
	Scenario string // "Connect", "TLS", "Greeting", "Capabilities", "SignIn", "Open", "Deliver", "Find", "Fetch", "Remove", "SignOut"
	Outcome  Outcome
	Latency  time.Duration // 0 for what was skipped
	Error    string        // of a failure, and why something was skipped; one line
	// Mechanism is how the sign-in was tried, as auth.Identity.Mechanism has it; "" for
	// every other step.
	Mechanism string
}

// skip is the error of a step that was not tried.
type skip string

func (s skip) Error() string { return string(s) }

// Bounds of what is read from the other side.
const (
	maxLine    = 16 << 10 // octets
	maxLiteral = 64 << 10
	maxLines   = 10000   // of one answer
	maxTotal   = 4 << 20 // octets of one connection
)

// Run tries one step after another until one fails; the rest is skipped. It ends
// when ctx does, which must have a deadline.
func (p *Probe) Run(ctx context.Context) []Step {
	r := &run{Probe: p, ctx: ctx}
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Dial == nil {
		r.Dial = (&net.Dialer{}).DialContext
	}
	var c client = &imap{run: r}
	if p.Service == settings.POP3 {
		c = &pop3{run: r}
	}
	defer r.close()
	r.open(c)
	if p.Name == "" {
		r.step("SignOut", c.signOut)
		return r.steps
	}
	r.step("SignIn", c.signIn)
	r.steps[len(r.steps)-1].Mechanism = r.mechanism
	r.step("Open", c.open)
	probe := r.message()
	delivered := r.step("Deliver", func() error { return c.deliver(probe) })
	found := r.step("Find", func() error { return c.find(probe) })
	r.step("Fetch", func() error { return c.fetch(probe) })
	failed := r.failed
	r.failed = failed && !found // what is there is removed, whatever it looks like
	r.step("Remove", c.remove)
	if delivered && r.failed {
		last := &r.steps[len(r.steps)-1]
		last.Error = strings.TrimSpace(last.Error + " The message stays in INBOX.")
	}
	r.failed = failed || r.failed
	r.step("SignOut", c.signOut)
	return r.steps
}

// client is a protocol's side of the steps.
type client interface {
	greeting() error
	capabilities() error
	startTLS() error
	signIn() error
	open() error
	deliver(m *message) error
	find(m *message) error
	fetch(m *message) error
	remove() error
	signOut() error
}

// open does what comes before the sign-in.
func (r *run) open(c client) {
	r.step("Connect", r.connect)
	if r.Encryption == Implicit {
		r.step("TLS", r.handshake)
	}
	r.step("Greeting", c.greeting)
	r.step("Capabilities", c.capabilities)
	if r.Encryption == StartTLS {
		r.step("TLS", func() error {
			if err := c.startTLS(); err != nil {
				return err
			}
			if r.in.Buffered() > 0 { // CVE-2021-33515 and its kin
				return errors.New("the server sent more before TLS than its answer")
			}
			if err := r.handshake(); err != nil {
				return err
			}
			return c.capabilities() // those from before TLS are worth nothing
		})
	}
}

// message is the message that goes the way.
type message struct {
	id  string // Message-ID with its brackets
	raw []byte
}

func (r *run) message() *message {
	id := fmt.Sprintf("<probe-%s@postern.invalid>", strings.ToLower(rand.Text()))
	now := r.Now()
	return &message{id, fmt.Appendf(nil, "Date: %s\r\nFrom: Postern connectivity test <probe@postern.invalid>\r\nSubject: Postern connectivity test\r\n"+
		"Message-ID: %s\r\nAuto-Submitted: auto-generated\r\n\r\nThis message tests whether mail can be fetched. It may be deleted.\r\n",
		now.Format("Mon, 02 Jan 2006 15:04:05 -0700"), id)}
}

// same compares what was fetched; servers put lines before a message.
func (m *message) same(fetched []byte) error {
	if !bytes.HasSuffix(fetched, m.raw) {
		return fmt.Errorf("the message that was fetched, %d octets, is not the one that was delivered, %d octets", len(fetched), len(m.raw))
	}
	return nil
}

// run is one run. Only its goroutine touches it, but for the connection's
// deadline.
type run struct {
	*Probe
	ctx    context.Context
	steps  []Step
	failed bool

	conn   net.Conn
	in     *bufio.Reader
	secure bool
	// mechanism is the one that was tried, "" before it was chosen.
	mechanism string
	unhook    func() bool // from ctx
}

// step does something unless an earlier step failed, and tells whether it
// succeeded.
func (r *run) step(scenario string, do func() error) bool {
	if r.failed {
		r.steps = append(r.steps, Step{Scenario: scenario, Outcome: Skipped})
		return false
	}
	begin := r.Now()
	err := do()
	s := Step{Scenario: scenario, Outcome: Success, Latency: r.Now().Sub(begin)}
	var skipped skip
	switch {
	case errors.As(err, &skipped):
		s.Outcome, s.Latency, s.Error = Skipped, 0, skipped.Error()
	case err != nil:
		s.Outcome, s.Error = Failure, r.explain(err)
		r.failed = true
	}
	r.steps = append(r.steps, s)
	return err == nil
}

// explain says in words what went wrong.
func (r *run) explain(err error) string {
	var certificate *tls.CertificateVerificationError
	switch {
	case r.ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		return "there was no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused: nobody listens on " + r.Address
	case errors.As(err, &certificate):
		return "the certificate is not accepted: " + certificate.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "the server closed the connection"
	}
	return err.Error()
}

func (r *run) connect() error {
	conn, err := r.Dial(r.ctx, "tcp", r.Address)
	if err != nil {
		return err
	}
	r.conn = conn
	r.unhook = context.AfterFunc(r.ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	r.read(conn)
	return nil
}

// read begins to read from conn.
func (r *run) read(conn net.Conn) {
	r.in = bufio.NewReaderSize(io.LimitReader(conn, maxTotal), maxLine)
}

func (r *run) close() {
	if r.conn != nil {
		r.unhook()
		r.conn.Close()
		r.conn = nil
	}
}

func (r *run) handshake() error {
	conn := tls.Client(r.conn, &tls.Config{ServerName: r.ServerName, RootCAs: r.Roots, InsecureSkipVerify: r.TrustAny, MinVersion: tls.VersionTLS12})
	if err := conn.HandshakeContext(r.ctx); err != nil {
		return err
	}
	r.conn, r.secure = conn, true
	r.read(conn)
	return nil
}

// private tells whether nobody else can read what is sent: under TLS, and within
// this host.
func (r *run) private() bool {
	there, ok := r.conn.RemoteAddr().(*net.TCPAddr)
	here, _ := r.conn.LocalAddr().(*net.TCPAddr)
	return r.secure || ok && (there.IP.IsLoopback() || here != nil && here.IP.Equal(there.IP))
}

// send writes one line.
func (r *run) send(line string) error {
	if strings.ContainsAny(line, "\r\n\x00") {
		return mail.Errorf(mail.KindBadArgument, "a line with a line end in it")
	}
	return r.sendRaw([]byte(line + "\r\n"))
}

func (r *run) sendRaw(b []byte) error {
	_, err := r.conn.Write(b)
	return err
}

// line reads one line without its end.
func (r *run) line() (string, error) {
	b, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errors.New("the server sent a line that is too long")
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// said quotes what the server said, short enough for one line.
func said(line string) error {
	if len(line) > 200 {
		line = line[:200] + "…"
	}
	return fmt.Errorf("the server said %q", strings.ToValidUTF8(line, "?"))
}
