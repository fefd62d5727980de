package history

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Target is a server under test. Its addresses are host:port and speak without TLS; POP3 or
// LMTP that are "" are left out. Nobody else uses the accounts.
type Target struct {
	IMAP, POP3, LMTP string
	Accounts         []Account
	// Dial connects to an address, by TCP when it is nil.
	Dial func(addr string) (net.Conn, error)
}

// Account is who can log in, and to whom mail is delivered.
type Account struct{ Name, Password string }

// Options say what the clients do.
type Options struct {
	// Seed chooses what is done; the order in which it happens is the machine's.
	Seed uint64
	// Sessions is how many IMAP sessions each account has at once; 5 when it is 0. One
	// more makes, renames and deletes mailboxes.
	Sessions int
	// Deliverers is how many LMTP sessions there are at once; 2 when it is 0.
	Deliverers int
	// Messages is about how many messages an account has; 60 when it is 0.
	Messages int
	// Doubt says that a refusal may hide that the operation was done, as where disks
	// fail: what was refused counts as not answered.
	Doubt bool
	// Bodies is one in how many messages is larger than 32 KiB; 20 when it is 0, none
	// when it is negative.
	Bodies int
	// Pause is how long a client waits between operations at most; not at all when it is 0.
	Pause time.Duration
	// Partial says that a MOVE that is refused may have moved some of its messages, as RFC
	// 6851, 3.3, permits. None is moved into its own mailbox then.
	Partial bool
	// Stale says that FETCH BODY[] of what its session was told to be \Seen may leave it
	// without, where somebody else took that away.
	Stale bool
	// Cautious says that clients with QRESYNC come back with the HIGHESTMODSEQ that SELECT
	// told, and not with what they were told since: not every server tells of changes in
	// the order of their MODSEQs, or corrects itself.
	Cautious bool
	// Without names the operations that are not tried, of Create and Rename. RENAME may give
	// another UIDVALIDITY, and History cannot follow then. Without Create no mailboxes come
	// and go.
	Without []Kind
	// Except names the kinds of Fault that are not looked for.
	Except []string
	// Poppers is how many POP3 sessions each account has at once; 2 when it is 0. Only one of
	// them may have the maildrop.
	Poppers int
	// Observers is how many sessions of each account do nothing but hear by NOTIFY, where
	// there is that; 1 when it is 0, none when it is negative.
	Observers int
	// Guests is how many sessions there are at once in a mailbox of each account that it
	// shares with the next one, giving rights and taking them away; none when it is 0. It
	// takes two accounts.
	Guests int
	// Idle stands in what the server says to who was idle for too long; "" when it says
	// nothing. No client here is so for the half an hour that it has (RFC 9051, 5.4).
	Idle string
	// Quotas are by account's name; without there is none that is reached.
	Quotas map[string]Quota
}

// Quota is the most that an account may hold; 0 is no bound.
type Quota struct{ Bytes, Messages int64 }

// Figures say how much was tried and compared.
type Figures struct {
	Lives        int // calls of Play
	Operations   int // those that change something
	Acknowledged int
	Refused      int
	Unanswered   int
	Commands     int // all, those that only read too
	Messages     int // handed over
	Read         int // messages read and compared with what was sent
	Resyncs      int // mailboxes resynchronised by QRESYNC and compared
	Values       int // entries of METADATA, annotations and rights read and explained
	Overquota    int // refusals for a quota, each explained
	Visits       int // operations in mailboxes of others, and what they may then
	Observed     int // pictures that NOTIFY gave compared with what there is
	Retried      int // operations that were not answered and are tried again
	Views        int // views of sessions at rest compared with what FETCH says
}

// History is what is known of a server: what it held when it was last looked at, and what
// happened since. Play and Check are not called at the same time.
type History struct {
	target  Target
	options Options
	clock   atomic.Int64
	next    atomic.Int64 // number of the last message
	life    int
	began   int64 // time at which the life began
	counts  counts
	hasty   bool // IDLE ends at once, and sessions are short

	accounts []*account
}

// counts are Figures that clients count.
type counts struct{ commands, views, resyncs, values, overquota, visits, observed, retried atomic.Int64 }

// account is what is known of one account.
type account struct {
	h *History
	Account
	number int
	stable []string      // the mailboxes that are always there; others, whose names begin with volatile, come and go
	base   *accountState // what it held when the life began; nil before the first

	// What outlives sessions.
	slots []*slot

	mu       sync.Mutex
	figures  Figures
	log      []*op
	faults   []Fault
	texts    map[string]text     // of messages that were sent and may be there
	seen     map[place]string    // X-History of what clients saw
	gone     map[place]int64     // when a client was told that it is gone
	states   map[state]flags     // what was told of a message at a MODSEQ
	told     []told              // of mailboxes
	emails   map[string]identity // by X-History
	owners   map[string]string   // EMAILID to X-History
	boxes    map[uint32]string   // MAILBOXID by UIDVALIDITY
	used     map[uint32]bool     // every UIDVALIDITY that there was
	drops    map[string]string   // X-History by unique-id of POP3
	spots    map[place]string    // unique-ids of POP3
	quit     map[string]int64    // when unique-ids were removed by QUIT, as far as is remembered
	repeated map[string]bool     // X-History of what came from another account, or was sent again
	reads    []reading           // of values
	holder   *holder             // the POP3 session that has the maildrop
}

// state is a message at one MODSEQ.
type state struct {
	place
	modSeq uint64
}

// told is what a client was told of a mailbox.
type told struct {
	client        string
	start, end    int64
	name          string
	box           uint32
	uidNext       uint32
	highest       uint64 // 0: not told
	counted       bool   // the next are told, as they were at some time from start to end
	count, unseen int64
}

// identity is what a server calls a message's content and conversation.
type identity struct{ email, thread string }

// text is a message as it was sent.
type text struct {
	sum  [sha256.Size]byte
	size int
}

// New makes the history of a server of which nothing is known.
func New(target Target, options Options) *History {
	if options.Sessions == 0 {
		options.Sessions = 5
	}
	if options.Deliverers == 0 {
		options.Deliverers = 2
	}
	if options.Messages == 0 {
		options.Messages = 60
	}
	if options.Bodies == 0 {
		options.Bodies = 20
	}
	if options.Poppers == 0 {
		options.Poppers = 2
	}
	if options.Observers == 0 {
		options.Observers = 1
	}
	h := &History{target: target, options: options}
	for i, who := range target.Accounts {
		a := &account{h: h, Account: who, number: i, stable: []string{"INBOX", "A", "B"}, texts: map[string]text{}, used: map[uint32]bool{}, boxes: map[uint32]string{},
			repeated: map[string]bool{}, drops: map[string]string{}, spots: map[place]string{}, quit: map[string]int64{}, emails: map[string]identity{}, owners: map[string]string{}}
		if options.Guests > 0 {
			a.stable = append(a.stable, sharedBox)
		}
		a.forget()
		for range options.Sessions {
			a.slots = append(a.slots, &slot{caches: map[string]*cache{}})
		}
		h.accounts = append(h.accounts, a)
	}
	return h
}

// forget ends a life.
func (a *account) forget() {
	a.log, a.told, a.seen, a.gone, a.states, a.reads, a.holder = nil, nil, map[place]string{}, map[place]int64{}, map[state]flags{}, nil, nil
}

// tick gives the time.
func (h *History) tick() int64 { return h.clock.Add(1) }

// Figures gives what was done until now.
func (h *History) Figures() Figures {
	f := Figures{
		Lives: h.life, Commands: int(h.counts.commands.Load()), Views: int(h.counts.views.Load()), Resyncs: int(h.counts.resyncs.Load()),
		Values: int(h.counts.values.Load()), Overquota: int(h.counts.overquota.Load()), Visits: int(h.counts.visits.Load()),
		Observed: int(h.counts.observed.Load()), Retried: int(h.counts.retried.Load()),
	}
	for _, a := range h.accounts {
		a.mu.Lock()
		f.Operations += a.figures.Operations
		f.Acknowledged += a.figures.Acknowledged
		f.Refused += a.figures.Refused
		f.Unanswered += a.figures.Unanswered
		f.Messages += a.figures.Messages
		f.Read += a.figures.Read
		a.mu.Unlock()
	}
	return f
}

// Begin reads what the server holds before the first life, and makes the mailboxes that are
// always there. Play does it where it was not done; it is for who kills the server during
// the first life.
func (h *History) Begin(ctx context.Context) error {
	for _, a := range h.accounts {
		if a.base == nil {
			if err := a.begin(ctx); err != nil {
				return fmt.Errorf("%s: %w", a.Name, err)
			}
		}
	}
	return nil
}

// Play has clients use the server until ctx ends. It may be killed, and even started
// again, meanwhile. When it lives at the end every session finishes what it does, and
// compares what it was told with what it reads. The error is Begin's.
func (h *History) Play(ctx context.Context) error {
	if err := h.Begin(ctx); err != nil {
		return err
	}
	h.life++
	h.began = h.tick()
	var plays []player
	for _, a := range h.accounts {
		for i, s := range a.slots {
			plays = append(plays, func(ctx context.Context, rng *rand.Rand, rest func()) { a.playIMAP(ctx, rng, s, i, rest) })
		}
		if !slices.Contains(h.options.Without, Create) {
			plays = append(plays, a.playNames)
		}
		if h.target.POP3 != "" {
			for range h.options.Poppers {
				plays = append(plays, a.playPOP3)
			}
		}
		for range h.options.Observers {
			plays = append(plays, a.playNotify)
		}
		if h.options.Guests > 0 {
			plays = append(plays, a.playGrants)
			for range h.options.Guests {
				plays = append(plays, a.playGuest)
			}
		}
	}
	if h.target.LMTP != "" {
		for range h.options.Deliverers {
			plays = append(plays, h.playLMTP)
		}
	}
	var clients, working sync.WaitGroup
	working.Add(len(plays))
	for i, play := range plays {
		rng := rand.New(rand.NewPCG(h.options.Seed, uint64(h.life)<<16|uint64(i)))
		done := sync.OnceFunc(working.Done)
		clients.Go(func() {
			defer done()
			play(ctx, rng, func() { done(); working.Wait() })
		})
	}
	clients.Wait()
	return nil
}

// player is a client. When ctx has ended and its last operation is answered it calls rest,
// which waits until that is so of all, and does not change anything any more.
type player func(ctx context.Context, rng *rand.Rand, rest func())

// dial connects to the server.
func (h *History) dial(addr string) (net.Conn, error) {
	connect := h.target.Dial
	if connect == nil {
		connect = func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, 5*time.Second) }
	}
	c, err := connect(addr)
	if err != nil {
		return nil, err
	}
	limit := patience
	if h.hasty {
		limit = 20 * time.Second
	}
	return c, c.SetDeadline(time.Now().Add(limit))
}

// patience is how long a session may take altogether, and a command that is not answered.
const patience = 60 * time.Second

// again waits a little before a client tries anew; false when the life is over.
func again(ctx context.Context, rng *rand.Rand) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(2+rng.IntN(6)) * time.Millisecond):
		return true
	}
}

// pause waits between operations.
func (h *History) pause(ctx context.Context, rng *rand.Rand) {
	if h.options.Pause > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(h.options.Pause)):
		}
	}
}

// compose makes a message for some accounts.
func (h *History) compose(rng *rand.Rand, to ...*account) (id, message string) {
	id = fmt.Sprintf("h%d-%d", h.options.Seed, h.next.Add(1))
	b := fmt.Appendf(nil, "X-History: %s\r\nFrom: history@example.org\r\nSubject: %s\r\nMessage-ID: <%s@history.example>\r\n", id, id, id)
	if rng.IntN(3) == 0 {
		b = fmt.Appendf(b, "In-Reply-To: <h%d-%d@history.example>\r\n", h.options.Seed, rng.Int64N(h.next.Load())+1)
	}
	b = append(b, "\r\n"...)
	size := 100 + rng.IntN(1500)
	if h.options.Bodies > 0 && rng.IntN(h.options.Bodies) == 0 {
		size = 33<<10 + rng.IntN(8<<10)
	}
	for len(b) < size {
		b = fmt.Appendf(b, "line %016x %016x\r\n", rng.Uint64(), rng.Uint64())
	}
	t := text{sha256.Sum256(b), len(b)}
	for _, a := range to {
		a.mu.Lock()
		a.texts[id] = t
		a.figures.Messages++
		a.mu.Unlock()
	}
	return id, string(b)
}

// send notes that an operation is sent.
func (a *account) send(o *op) {
	o.start, o.end = a.h.tick(), forever
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log = append(a.log, o)
	a.figures.Operations++
	a.figures.Unanswered++
}

// answer notes how an operation that was sent has been answered, with what is said of it.
func (a *account) answer(o *op, outcome Outcome, details func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if details != nil {
		details()
	}
	if outcome == Refused {
		a.figures.Refused++
		a.figures.Unanswered--
		if a.h.options.Doubt || o.kind == Move && a.h.options.Partial {
			return
		}
	} else if outcome == Done {
		a.figures.Acknowledged++
		a.figures.Unanswered--
	}
	o.outcome, o.end = outcome, a.h.tick()
}

// fault notes what cannot be.
func (a *account) fault(kind, format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faulty(kind, nil, format, args...)
}

// faulty is fault for who holds mu; nil when that kind is not looked for. The Fault is valid
// until the next.
func (a *account) faulty(kind string, history []*op, format string, args ...any) *Fault {
	if slices.Contains(a.h.options.Except, kind) {
		return nil
	}
	f := Fault{Kind: kind, Account: a.Name, Text: fmt.Sprintf(format, args...)}
	for _, o := range history {
		f.History = append(f.History, o.String())
	}
	a.faults = append(a.faults, f)
	return &a.faults[len(a.faults)-1]
}

// saw notes which message a client found at a place.
func (a *account) saw(p place, id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, ok := a.seen[p]; ok && old != id {
		a.faulty("UID reused", a.about(p), "%v was message %s and is %s", p, old, id)
	}
	a.seen[p] = id
}

// about gives the operations that name a place.
func (a *account) about(p place) []*op {
	var out []*op
	in := func(uids []uint32) bool {
		for _, u := range uids {
			if u == p.uid {
				return true
			}
		}
		return false
	}
	for _, o := range a.log {
		if o.box == p.box && (in(o.uids) || o.kind == Expunge || o.kind == Close) || o.to == p.box && in(o.toUIDs) {
			out = append(out, o)
		}
	}
	return out
}

// at notes what a message's flags were at a MODSEQ.
func (a *account) at(p place, modSeq uint64, f flags) {
	k := state{p, modSeq}
	if old, ok := a.states[k]; ok && old != f {
		a.faulty("MODSEQ", a.about(p), "%v had at MODSEQ %d the flags (%v) and has (%v)", p, modSeq, old, f)
		return
	}
	a.states[k] = f
}

// named notes the ids that the server gave a message.
func (a *account) named(id string, given identity) {
	if given.email == "" || a.repeated[id] {
		return // each time that it comes it is another one (RFC 8474, 5.1)
	}
	old, known := a.emails[id]
	if known && old.email != given.email {
		a.faulty("EMAILID", nil, "message %s has EMAILID %s and %s", id, old.email, given.email)
	}
	if known && old.thread != given.thread {
		a.faulty("THREADID", nil, "message %s has THREADID %s and %s", id, old.thread, given.thread)
	}
	if owner, ok := a.owners[given.email]; ok && owner != id {
		a.faulty("EMAILID", nil, "EMAILID %s is of the messages %s and %s", given.email, owner, id)
	}
	a.emails[id], a.owners[given.email] = given, id
}

// hears notes what a client was told of a mailbox.
func (a *account) hears(t told, objectID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, t)
	a.calls(t.box, objectID)
}

// calls notes a mailbox's MAILBOXID.
func (a *account) calls(box uint32, objectID string) {
	if objectID == "" {
		return
	}
	if old, ok := a.boxes[box]; ok && old != objectID {
		a.faulty("MAILBOXID", nil, "the mailbox with UIDVALIDITY %d has MAILBOXID %s and %s", box, old, objectID)
	}
	a.boxes[box] = objectID
}

// broken tells whether err means that the connection is gone, and not that the server said
// what cannot be, or nothing for too long.
func broken(err error) bool {
	var network net.Error
	if errors.As(err, &network) {
		return !network.Timeout()
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
