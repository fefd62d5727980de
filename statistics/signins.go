package statistics

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// SignInsKept is how long sign-ins are remembered, Slot how finely their times are
// known beside each row's Last.
const (
	SignInsKept = 8 * 24 * time.Hour
	Slot        = 6 * time.Hour
)

// slots is SignInsKept in slots, with the one under way.
const slots = int64(SignInsKept/Slot) + 1

// Bounds of what is remembered. What is beyond them is counted in rows with Others
// set, which are few: nothing of them comes from a client.
const (
	maxRows    = 32 << 10 // of sign-ins that were let in, and again of those refused
	maxStrange = 4 << 10  // of refused ones before names that nobody signed in with get none
	maxPerUser = 64       // of one user, let in, and again refused
	maxRecent  = 8 << 10  // sign-ins whose client may yet say what it is
	maxName    = 255      // bytes of a name
	maxClient  = 64       // bytes of a client's name
)

// OK is the Outcome of a sign-in that was let in.
const OK = "OK"

// SignIn is what sign-ins have in common, and how many there were.
type SignIn struct {
	// User is the name of the mailbox. For a refused sign-in it is what the client
	// sent, made printable, and may be an alias or nobody's name. "" is none, or with
	// Others set: anybody.
	User      string
	Service   settings.Service
	Mechanism string     // as of auth.Attempt
	Class     sasl.Class // of the mechanism
	TLS       bool
	// AppPassword: it was one, not the mailbox's own.
	AppPassword bool
	// Network is the client's address: a whole IPv4 address or the /64 of an IPv6
	// one. The zero value is a Unix socket, or with Others set: anywhere.
	Network netip.Prefix
	// Client is what the client called itself (ID, RFC 2971), made printable and
	// cut; "" when it did not.
	Client  string
	Outcome string // OK or the name of the error's mail.Kind
	// Others: a bound was reached, and this row counts the rest together.
	Others bool

	Count int64
	Last  time.Time // the latest, UTC, whole seconds
}

// Address gives Network for people: "10.0.0.5", "2001:db8::/64", "local", or
// "others".
func (s SignIn) Address() string {
	switch {
	case s.Others:
		return "others"
	case !s.Network.IsValid():
		return "local"
	case s.Network.Addr().Is4():
		return s.Network.Addr().String()
	}
	return s.Network.String()
}

// Filter chooses sign-ins; a zero field chooses all.
type Filter struct {
	User    string // exactly as in SignIn
	Service settings.Service
}

// Impact is what a change of the login policy would have refused.
type Impact struct {
	Since   time.Time // what was looked at
	SignIns int64     // would have been refused
	Users   int       // of so many users, those within Others not counted
	Others  int64     // of SignIns: whose user is not known any more
	// Affected says who, the most sign-ins first, one a user, client and address.
	Affected []Affected
}

// Affected is one user's client at one address.
type Affected struct {
	User, Client, Address string
	Count                 int64
	Last                  time.Time
}

// Observe takes a decided login: it is for auth.Options.Observe.
func (h *History) Observe(a auth.Attempt) {
	if h == nil {
		return
	}
	k := key{service: a.Service, mechanism: a.Mechanism, class: a.Class, tls: a.TLS, app: a.AppPassword != "", network: networkOf(a.Remote), outcome: OK, user: a.User}
	metric := SignIns
	if a.Err != nil {
		metric = Refusals
		k.outcome, k.user = mail.KindOf(a.Err).String(), printable(a.Name, maxName)
	}
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed = true
	h.series.count(metric, a.Service, 1)
	h.signIns.advance(slotOf(now))
	k = h.signIns.add(k, h.signIns.slot, 1, now.Unix())
	if a.Err == nil {
		h.signIns.remember(a.Remote, h.signIns.rows[k])
	}
}

// Identify says what the client at remote, which was let in a while ago, calls
// itself. It is forgotten when that sign-in is not known any more.
func (h *History) Identify(remote netip.AddrPort, client string) {
	if h == nil || !remote.IsValid() {
		return
	}
	client = printable(client, maxClient)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.signIns.identify(remote, client)
	h.changed = true
}

// SignIns gives what is known since then, as finely as Slot: by user, let in before
// refused, the most first.
func (h *History) SignIns(since time.Time, f Filter) []SignIn {
	if h == nil {
		return nil
	}
	from, now := slotOf(since), slotOf(h.now())
	h.mu.Lock()
	h.signIns.advance(now)
	var out []SignIn
	for k, r := range h.signIns.rows {
		if f.User != "" && f.User != k.user || f.Service != "" && f.Service != k.service {
			continue
		}
		if n := r.since(from, h.signIns.slot); n > 0 {
			out = append(out, k.signIn(n, r.last))
		}
	}
	h.mu.Unlock()
	slices.SortFunc(out, func(a, b SignIn) int {
		return cmp.Or(
			strings.Compare(a.User, b.User),
			cmp.Compare(btoi(a.Outcome != OK), btoi(b.Outcome != OK)),
			cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last),
			strings.Compare(string(a.Service), string(b.Service)), strings.Compare(a.Mechanism, b.Mechanism),
			strings.Compare(a.Outcome, b.Outcome), strings.Compare(a.Client, b.Client), strings.Compare(a.Address(), b.Address()),
			cmp.Compare(btoi(a.TLS), btoi(b.TLS)),
		)
	})
	return out
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Refused tells which sign-ins of the last window, at most SignInsKept, would have been
// refused. Only sign-ins that were let in are asked about, each row once.
func (h *History) Refused(f Filter, refused func(SignIn) bool, window time.Duration) Impact {
	if h == nil {
		return Impact{}
	}
	i := Impact{Since: h.now().Add(-min(window, SignInsKept))}
	type who struct{ user, client, address string }
	found := map[who]*Affected{}
	users := map[string]bool{}
	for _, r := range h.SignIns(i.Since, f) {
		if r.Outcome != OK || !refused(r) {
			continue
		}
		i.SignIns += r.Count
		if r.User == "" {
			i.Others += r.Count
			continue
		}
		users[r.User] = true
		w := who{r.User, r.Client, r.Address()}
		a := found[w]
		if a == nil {
			a = &Affected{User: w.user, Client: w.client, Address: w.address}
			found[w] = a
		}
		a.Count += r.Count
		if r.Last.After(a.Last) {
			a.Last = r.Last
		}
	}
	i.Users = len(users)
	for _, a := range found {
		i.Affected = append(i.Affected, *a)
	}
	slices.SortFunc(i.Affected, func(a, b Affected) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.User, b.User), strings.Compare(a.Client, b.Client), strings.Compare(a.Address, b.Address))
	})
	return i
}

// key is what is counted together.
type key struct {
	service   settings.Service
	mechanism string
	class     sasl.Class
	tls       bool
	app       bool // an app password
	user      string
	network   netip.Prefix
	client    string
	outcome   string
	others    bool
}

func (k key) signIn(n, last int64) SignIn {
	return SignIn{
		User: k.user, Service: k.service, Mechanism: k.mechanism, Class: k.class, TLS: k.tls, AppPassword: k.app, Network: k.network,
		Client: k.client, Outcome: k.outcome, Others: k.others, Count: n, Last: time.Unix(last, 0).UTC(),
	}
}

// row counts by the slot, at its number modulo slots.
type row struct {
	key
	counts [slots]uint32
	last   int64 // Unix seconds
}

func (r *row) since(from, now int64) (n int64) {
	for s := max(from, now-slots+1); s <= now; s++ {
		n += int64(r.counts[s%slots])
	}
	return n
}

// side counts the rows of a user, or of all, that are let in and that are not.
type side struct{ in, refused int }

func (s *side) of(outcome string) *int {
	if outcome == OK {
		return &s.in
	}
	return &s.refused
}

// signIns is the table. Its owner holds a lock.
type signIns struct {
	slot  int64 // the one under way
	rows  map[key]*row
	all   side             // rows without Others
	users map[string]*side // by name, rows without Others

	recent map[netip.AddrPort]*row
	order  []netip.AddrPort // of recent, a ring once it is full
	next   int
}

func newSignIns(slot int64) signIns {
	return signIns{slot: slot, rows: map[key]*row{}, users: map[string]*side{}, recent: map[netip.AddrPort]*row{}}
}

// slotOf numbers the slots since the Unix epoch.
func slotOf(t time.Time) int64 { return max(0, t.Unix()/int64(Slot/time.Second)) }

// advance goes on to a slot and drops what is too old. The clock may go back:
// then the latest slot goes on.
func (t *signIns) advance(slot int64) {
	if slot <= t.slot {
		return
	}
	stale := min(slot-t.slot, slots)
	t.slot = slot
	for k, r := range t.rows {
		for i := range stale {
			r.counts[(slot-i)%slots] = 0
		}
		if r.since(0, slot) == 0 {
			t.drop(k)
		}
	}
}

func (t *signIns) drop(k key) {
	delete(t.rows, k)
	if k.others {
		return
	}
	*t.all.of(k.outcome)--
	u := t.users[k.user]
	if *u.of(k.outcome)--; *u == (side{}) {
		delete(t.users, k.user)
	}
}

// add counts n sign-ins of a slot and gives the key that they are counted under.
func (t *signIns) add(k key, slot int64, n uint32, last int64) key {
	k = t.fit(k)
	r := t.rows[k]
	if r == nil {
		r = &row{key: k}
		t.rows[k] = r
		if !k.others {
			*t.all.of(k.outcome)++
			u := t.users[k.user]
			if u == nil {
				u = &side{}
				t.users[k.user] = u
			}
			*u.of(k.outcome)++
		}
	}
	c := &r.counts[slot%slots]
	*c += min(n, ^uint32(0)-*c)
	r.last = max(r.last, last)
	return k
}

// fit gives the key itself while there is room for it, else one of the others'.
func (t *signIns) fit(k key) key {
	if k.others || t.rows[k] != nil {
		return k
	}
	rest := k
	rest.network, rest.client, rest.others = netip.Prefix{}, "", true
	u := t.users[k.user]
	switch {
	case u != nil && *u.of(k.outcome) >= maxPerUser:
		return rest
	case *t.all.of(k.outcome) >= maxRows,
		k.outcome != OK && (u == nil || u.in == 0) && t.all.refused >= maxStrange:
		rest.user = ""
		return rest
	}
	return k
}

// remember keeps which sign-in a connection belongs to.
func (t *signIns) remember(remote netip.AddrPort, r *row) {
	if !remote.IsValid() {
		return
	}
	if _, known := t.recent[remote]; !known {
		if len(t.order) < maxRecent {
			t.order = append(t.order, remote)
		} else {
			delete(t.recent, t.order[t.next])
			t.order[t.next] = remote
			t.next = (t.next + 1) % maxRecent
		}
	}
	t.recent[remote] = r
}

// identify moves a sign-in to the row with its client's name.
func (t *signIns) identify(remote netip.AddrPort, client string) {
	r := t.recent[remote]
	if r == nil || t.rows[r.key] != r || r.client == client || r.others {
		return
	}
	k := r.key
	c := &r.counts[t.slot%slots]
	if *c == 0 {
		return // it was in another slot
	}
	*c--
	last := r.last
	if r.since(0, t.slot) == 0 {
		t.drop(k)
	}
	k.client = client
	t.recent[remote] = t.rows[t.add(k, t.slot, 1, last)]
}

// networkOf is the part of an address that one customer holds.
func networkOf(remote netip.AddrPort) netip.Prefix {
	a := remote.Addr().Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// printable makes a client's text one line of at most so many bytes.
func printable(text string, most int) string {
	if len(text) > 4*most {
		text = text[:4*most]
	}
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text))
	for len(text) > most {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}
