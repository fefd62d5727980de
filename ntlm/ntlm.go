// Package ntlm has NTLM checked by Samba's ntlm_auth, or by what speaks like it: helper
// processes that answer line by line (the protocol squid-2.5-ntlmssp). They are started
// when they are needed, bounded in number and time, and replaced when they end.
package ntlm

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Options are the table [ntlm] of the settings file.
type Options struct {
	// Helper is the program's path.
	Helper string `toml:"helper"`
	// Arguments are what it is started with; --helper-protocol=squid-2.5-ntlmssp when
	// they are left out.
	Arguments []string `toml:"arguments"`
	// Processes is how many may run at once, and so how many may sign in at once; 8 when
	// it is left out, at most 64.
	Processes int `toml:"processes"`
	// Timeout is a time span: how long an answer may take, then the process is ended;
	// 00:00:10 when it is left out, at most 00:01:00.
	Timeout string `toml:"timeout"`
	// Domains gives each Windows domain, as the helper names it, the domain of its
	// people's sign-in names; "" is names without a domain, on either side. Who is of
	// another domain is nobody here.
	Domains map[string]string `toml:"domains"`

	Log *slog.Logger `toml:"-"`
	// Now is the clock; nil is time.Now. Waits use timers.
	Now func() time.Time `toml:"-"`
}

// Bounds that are not settings.
const (
	maxProcesses = 64
	maxTimeout   = time.Minute
	// turnWait is how long a sign-in waits for a free process, twice.
	turnWait = time.Second
	// heldFor is how long a client may take for its second message: then its process is
	// somebody else's.
	heldFor = 30 * time.Second
	// patience is how long it may when somebody else needs the process.
	patience = time.Second
	// restartWait is how long nothing is started after a process failed.
	restartWait = time.Second
	// maxMessage bounds a message of NTLM in octets.
	maxMessage = 4096
)

// Helper is a pool of helper processes. Its methods are called from many goroutines. It
// has none of its own, but those of its processes; Close ends them.
type Helper struct {
	o       Options
	timeout time.Duration
	domains map[string]string // by name in capitals

	free chan *process // a place for each process, nil for one that does not run

	mu     sync.Mutex
	failed time.Time // when a process failed last
	closed bool
	open   map[*Conversation]struct{} // with a process
}

// Open checks the options. It starts nothing.
func Open(o Options) (*Helper, error) {
	bad := func(format string, args ...any) (*Helper, error) {
		return nil, mail.Errorf(mail.KindBadArgument, "ntlm: "+format, args...)
	}
	if o.Arguments == nil {
		o.Arguments = []string{"--helper-protocol=squid-2.5-ntlmssp"}
	}
	if o.Processes == 0 {
		o.Processes = 8
	}
	if o.Timeout == "" {
		o.Timeout = "00:00:10"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Helper{o: o, domains: map[string]string{}, open: map[*Conversation]struct{}{}}
	var err error
	switch h.timeout, err = settings.ParseSpan(o.Timeout); {
	case !filepath.IsAbs(o.Helper):
		return bad("helper is the absolute path of a program, such as /usr/bin/ntlm_auth.")
	case o.Processes < 1 || o.Processes > maxProcesses:
		return bad("processes is 1 to %d.", maxProcesses)
	case err != nil || h.timeout <= 0 || h.timeout > maxTimeout:
		return bad("timeout is a time span of at most %s.", settings.FormatSpan(maxTimeout))
	case len(o.Domains) == 0:
		return bad("domains is missing: it gives Windows domains the domains of sign-in names, such as {EXAMPLE = \"example.org\"}.")
	}
	for _, windows := range slices.Sorted(maps.Keys(o.Domains)) {
		domain := o.Domains[windows]
		if domain != "" {
			name, err := directory.PrepareName("x@" + domain)
			if err != nil {
				return bad("domains: %q is not a domain.", domain)
			}
			domain = strings.TrimPrefix(name, "x@")
		}
		key := strings.ToUpper(windows)
		if _, twice := h.domains[key]; twice || strings.ContainsAny(windows, `\@`) {
			return bad("domains: %q is there twice, or is not a Windows domain.", windows)
		}
		h.domains[key] = domain
	}
	h.free = make(chan *process, o.Processes)
	for range o.Processes {
		h.free <- nil
	}
	return h, nil
}

// Name gives the sign-in name of an account, DOMAIN\user or user. A user with an "@" and
// no domain has its own. KindAuthenticationFailed for a domain that is not in the table.
func (h *Helper) Name(account string) (string, error) {
	domain, user, ok := strings.Cut(account, `\`)
	if !ok {
		domain, user = "", account
	}
	if domain == "" && strings.Contains(user, "@") {
		_, its, _ := strings.Cut(user, "@")
		for _, known := range h.domains {
			if strings.EqualFold(known, its) {
				return user, nil
			}
		}
		domain = its
	}
	its, known := h.domains[strings.ToUpper(domain)]
	if !known || user == "" || strings.Contains(user, "@") {
		return "", &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: fmt.Errorf("the account %q is of no domain in the settings file", account)}
	}
	if its == "" {
		return user, nil
	}
	return user + "@" + its, nil
}

// Conversation is one sign-in, with a process of its own. One goroutine uses it; Close
// may come from another.
type Conversation struct {
	helper *Helper
	late   *time.Timer

	mu      sync.Mutex
	process *process // nil once it is given back
	asking  bool
	idle    time.Time // since when it waits for the client, while not asking
	lost    bool      // the process was taken away
}

// Begin begins a conversation. KindUnavailable when no process is free for two
// seconds, or none can be started. Who keeps others waiting loses its process to them.
func (h *Helper) Begin(ctx context.Context) (*Conversation, error) {
	p, err := h.turn(ctx)
	if err != nil {
		return nil, err
	}
	if p != nil && p.gone() {
		p = nil
	}
	if p == nil {
		p, err = h.start()
	}
	if err != nil {
		h.free <- nil
		return nil, err
	}
	c := &Conversation{helper: h, process: p, idle: time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = time.AfterFunc(heldFor, func() { c.leave(true) })
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open[c] = struct{}{}
	return c, nil
}

// turn waits for a place among the processes; it may have none yet.
func (h *Helper) turn(ctx context.Context) (*process, error) {
	select {
	case p := <-h.free:
		return p, nil
	default:
	}
	for range 2 {
		h.takeAway()
		select {
		case p := <-h.free:
			return p, nil
		case <-time.After(turnWait):
		case <-ctx.Done():
		}
	}
	return nil, unavailable("all helpers for NTLM are busy")
}

// takeAway takes the process of the conversation that waits longest for its client, if
// that is longer than patience.
func (h *Helper) takeAway() {
	h.mu.Lock()
	all := slices.Collect(maps.Keys(h.open))
	h.mu.Unlock()
	var longest *Conversation
	since := time.Now().Add(-patience)
	for _, c := range all {
		c.mu.Lock()
		if !c.asking && c.process != nil && c.idle.Before(since) {
			longest, since = c, c.idle
		}
		c.mu.Unlock()
	}
	if longest != nil {
		longest.leave(true)
	}
}

// start starts a process, unless one failed just now.
func (h *Helper) start() (*process, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.o.Now().Sub(h.failed) < restartWait {
		return nil, unavailable("the helper for NTLM failed a moment ago")
	}
	p, err := startProcess(h.o.Helper, h.o.Arguments)
	if err != nil {
		h.failed = h.o.Now()
		h.o.Log.Warn("the helper for NTLM does not start", "helper", h.o.Helper, "error", err)
		return nil, unavailable(err.Error())
	}
	return p, nil
}

// fault notes that a process failed.
func (h *Helper) fault(p *process, err error) {
	h.mu.Lock()
	h.failed = h.o.Now()
	closed := h.closed
	h.mu.Unlock()
	if !closed {
		h.o.Log.Warn("the helper for NTLM failed and was ended", "helper", h.o.Helper, "error", err, "said", p.lastWords())
	}
}

// Challenge answers the client's first message.
func (c *Conversation) Challenge(ctx context.Context, negotiate []byte) ([]byte, error) {
	answer, err := c.ask(ctx, "YR", negotiate)
	if err != nil {
		return nil, err
	}
	if answer.word != "TT" {
		return nil, answer.refusal()
	}
	challenge, err := base64.StdEncoding.Strict().DecodeString(answer.rest)
	if err != nil || len(challenge) < 12 || len(challenge) > maxMessage || string(challenge[:9]) != "NTLMSSP\x00\x02" {
		return nil, unavailable("the helper for NTLM gave a challenge that is none")
	}
	return challenge, nil
}

// Prove judges the client's second message and gives whose it is, as DOMAIN\user. The
// conversation is over then. KindLimit when the client took too long for it.
func (c *Conversation) Prove(ctx context.Context, message []byte) (string, error) {
	defer c.Close()
	answer, err := c.ask(ctx, "KK", message)
	if err != nil {
		return "", err
	}
	if answer.word != "AF" {
		return "", answer.refusal()
	}
	if a := answer.rest; a == "" || len(a) > 2*directory.MaxName || !utf8.ValidString(a) {
		return "", unavailable("the helper for NTLM named nobody")
	}
	return answer.rest, nil
}

// ask asks the process within the time-out. When it does not answer, or the client goes
// meanwhile, the process is ended: nobody else may get the answer.
func (c *Conversation) ask(ctx context.Context, word string, message []byte) (answer, error) {
	c.mu.Lock()
	p, lost := c.process, c.lost
	c.asking = p != nil
	c.mu.Unlock()
	switch {
	case lost:
		return answer{}, &mail.Error{Kind: mail.KindLimit, Cause: errors.New("the sign-in took too long")}
	case p == nil:
		return answer{}, unavailable("the conversation is over")
	}
	limited, cancel := context.WithTimeout(ctx, c.helper.timeout)
	defer cancel()
	stop := context.AfterFunc(limited, p.end)
	line, err := p.ask(word + " " + base64.StdEncoding.EncodeToString(message))
	intact := stop()
	var a answer
	if err == nil {
		a, err = parse(line)
	}
	c.mu.Lock()
	c.asking, c.idle = false, time.Now()
	mine := c.process == p
	c.mu.Unlock()
	if err == nil && intact && mine {
		return a, nil
	}
	p.end()
	if ctx.Err() != nil || !mine {
		return answer{}, unavailable("the client went")
	}
	err = cmp.Or(limited.Err(), err)
	c.helper.fault(p, err)
	return answer{}, unavailable(fmt.Sprintf("the helper for NTLM does not answer: %v", err))
}

// Close gives the process back, or ends it when it is asked just now.
func (c *Conversation) Close() { c.leave(false) }

// leave is Close; late is because the client took too long, if it still does.
func (c *Conversation) leave(late bool) {
	c.mu.Lock()
	p, asking := c.process, c.asking
	if p == nil || late && asking {
		if p != nil {
			c.late.Reset(heldFor)
		}
		c.mu.Unlock()
		return
	}
	c.process, c.lost = nil, late
	c.mu.Unlock()
	c.late.Stop()
	h := c.helper
	h.mu.Lock()
	delete(h.open, c)
	h.mu.Unlock()
	if asking {
		p.end()
	}
	if p.gone() {
		p = nil
	}
	h.free <- p // a place is there: it was taken
}

// Close ends all processes, and waits for them. Conversations that go on fail.
func (h *Helper) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	for range h.o.Processes {
		if p := <-h.free; p != nil {
			p.end()
			p.wait()
		}
	}
	return nil
}

func unavailable(cause string) error {
	return &mail.Error{Kind: mail.KindUnavailable, Cause: fmt.Errorf("%s", cause)}
}
