package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/test/imapview"
)

// volatile is how the names of mailboxes begin that come and go.
const volatile = "V"

// slot is what a client keeps when its connection is gone.
type slot struct {
	caches map[string]*cache
	again  *op      // an APPEND that was not answered, to be tried again
	text   string   // the message of it
	said   []string // what went over the last connection at its end
}

// cache is what a client with QRESYNC remembers of a mailbox.
type cache struct {
	box      uint32
	highest  uint64 // up to where every change is known
	messages []imapview.Message
}

// session is an IMAP session.
type session struct {
	a    *account
	name string // for reports
	rng  *rand.Rand
	slot *slot
	conn net.Conn
	c    *imapview.Client

	trace *trace
	can   map[string]bool // capabilities

	guest *account // who is logged in, in a mailbox of a; nil: a

	condstore, qresync bool

	// Of the selected mailbox; box is 0 when there is none.
	mailbox  string
	box      uint32
	readOnly bool
	ids      map[uint32]string // X-History by UID
	known    []uint32          // UIDs of the view, as of the last command
	highest  uint64            // up to where every change is known
	upTo     uint64            // the same as soon as every message is known
	learning bool
}

// login opens a session.
func (a *account) login(rng *rand.Rand, name string, s *slot) (*session, error) {
	x, err := a.connect(rng, name, s)
	if err != nil {
		return nil, err
	}
	reply, err := x.c.Do(fmt.Sprintf("LOGIN %q %q", a.Name, a.Password))
	if err == nil && reply.Condition == "OK" {
		reply, err = x.c.Do("CAPABILITY")
	}
	if err == nil && reply.Condition != "OK" {
		if err = fmt.Errorf("not logged in: %s", reply.Text); reply.Code == "UNAVAILABLE" {
			err = errEnd // the server ends
		}
	}
	if err != nil {
		x.close()
		return nil, err
	}
	for _, u := range reply.Untagged {
		if rest, ok := bytes.CutPrefix(u, []byte("* CAPABILITY ")); ok {
			for _, name := range strings.Fields(strings.ToUpper(string(rest))) {
				x.can[name] = true
			}
		}
	}
	return x, nil
}

// playIMAP has sessions one after the other.
func (a *account) playIMAP(ctx context.Context, rng *rand.Rand, s *slot, number int, rest func()) {
	for more := true; more; more = again(ctx, rng) {
		x, err := a.login(rng, fmt.Sprintf("imap %d", number), s)
		if err != nil {
			if !broken(err) {
				a.fault("session", "%v", err)
			}
			continue
		}
		if err := x.play(ctx, rest); err != nil && !broken(err) {
			x.fault("session", "%v", err)
		}
		x.end()
	}
}

// end closes the connection and keeps what is to be kept.
func (x *session) end() {
	x.remember()
	if x.box != 0 {
		x.slot.said = x.trace.said
	}
	x.close()
}

// close closes the connection. Nobody may have ended it because a client was idle.
func (x *session) close() {
	x.conn.Close()
	if idle := x.a.h.options.Idle; idle != "" && strings.Contains(x.trace.bye, idle) {
		x.fault("deadline", "%q", x.trace.bye)
	}
}

// fault notes what cannot be, with what was said last.
func (x *session) fault(kind, format string, args ...any) {
	x.a.mu.Lock()
	defer x.a.mu.Unlock()
	if f := x.a.faulty(kind, nil, "%s in %s (%d): %s", x.name, x.mailbox, x.box, fmt.Sprintf(format, args...)); f != nil {
		f.History = append(f.History, x.trace.said...)
	}
}

// play does random things until the session ends or ctx does.
func (x *session) play(ctx context.Context, rest func()) error {
	if err := x.begin(); err != nil {
		return err
	}
	if err := x.open(x.a.stable[x.rng.IntN(len(x.a.stable))]); err != nil {
		return err
	}
	if err := x.retry(); err != nil {
		return err
	}
	for range 10 + x.rng.IntN(60) {
		if ctx.Err() != nil {
			rest()
			return x.verify()
		}
		if err := x.step(); err != nil {
			return err
		}
		x.a.h.pause(ctx, x.rng)
	}
	if x.rng.IntN(3) == 0 {
		return nil // the line breaks between two commands
	}
	_, err := x.do("LOGOUT")
	return err
}

// begin chooses what kind of client it is.
func (x *session) begin() error {
	switch x.rng.IntN(4) {
	case 0:
		return nil
	case 1:
		x.condstore = x.can["CONDSTORE"] && x.can["ENABLE"]
		if x.condstore {
			_, err := x.must("ENABLE CONDSTORE")
			return err
		}
		return nil
	}
	x.qresync = x.can["QRESYNC"] && x.can["ENABLE"]
	x.condstore = x.qresync
	if x.qresync {
		_, err := x.must("ENABLE QRESYNC")
		return err
	}
	return nil
}

// do sends a command and follows what it tells.
func (x *session) do(command string) (imapview.Reply, error) {
	x.a.h.counts.commands.Add(1)
	reply, err := x.c.Do(command)
	if err != nil {
		return reply, err
	}
	return reply, x.follow(reply)
}

func (x *session) must(command string) (imapview.Reply, error) {
	reply, err := x.do(command)
	if err == nil && reply.Condition != "OK" {
		if err = fmt.Errorf("%.100q: %s %s", command, reply.Condition, reply.Text); x.guest != nil {
			err = errEnd // it has lost its rights
		}
	}
	return reply, err
}

// act is do for what changes something. done says what the answer OK tells of it.
func (x *session) act(o *op, command string, done func(reply imapview.Reply)) (imapview.Reply, error) {
	o.client, o.box = x.name, x.box
	x.a.send(o)
	x.a.h.counts.commands.Add(1)
	reply, err := x.c.Do(command)
	if err != nil {
		return reply, err
	}
	outcome := Refused
	if reply.Condition == "OK" {
		outcome = Done
	}
	x.a.answer(o, outcome, func() {
		o.full, o.denied = reply.Code == "OVERQUOTA", o.needs != "" && reply.Code == "NOPERM"
		if done != nil && outcome == Done {
			done(reply)
		}
	})
	return reply, x.follow(reply)
}

// follow takes what a reply tells, and learns of messages that came.
func (x *session) follow(reply imapview.Reply) error {
	if x.box == 0 {
		return nil
	}
	a := x.a
	view := &x.c.View
	// What is in the view no more is gone.
	a.mu.Lock()
	i := 0
	for _, uid := range x.known {
		for i < len(view.Messages) && (view.Messages[i].UID == 0 || view.Messages[i].UID < uid) {
			i++
		}
		if p := (place{x.box, uid}); i == len(view.Messages) || view.Messages[i].UID != uid {
			if _, known := a.gone[p]; !known {
				a.gone[p] = a.h.tick()
			}
		}
	}
	top, coded := uint64(0), false
	for _, u := range reply.Untagged {
		if code, ok := bytes.CutPrefix(u, []byte("* OK [HIGHESTMODSEQ ")); ok && !a.h.options.Cautious {
			x.upTo, coded = number(code), true
		}
		m := readMessage(u)
		top = max(top, m.modSeq)
		if m.uid != 0 && m.modSeq != 0 && m.hasFlags && x.guest == nil {
			a.at(place{x.box, m.uid}, m.modSeq, m.flags)
		}
	}
	a.mu.Unlock()
	x.known = x.known[:0]
	whole := true
	for i := range view.Messages {
		if view.Messages[i].UID != 0 {
			x.known = append(x.known, view.Messages[i].UID)
		}
		whole = whole && view.Messages[i].UID != 0 && view.Messages[i].Known
	}
	if a.h.options.Cautious {
		// as of SELECT
	} else if code, ok := strings.CutPrefix(reply.Code, "HIGHESTMODSEQ "); ok {
		x.upTo = number([]byte(code))
	} else if !coded {
		x.upTo = max(x.upTo, top)
	}
	if whole {
		x.highest = x.upTo
	}
	if x.learning {
		return nil
	}
	return x.learn()
}

// unknown gives the number of messages before the first of which it does not know what
// it is.
func (x *session) unknown() int {
	for i, m := range x.c.View.Messages {
		if m.UID == 0 || !m.Known || x.ids[m.UID] == "" {
			return i
		}
	}
	return len(x.c.View.Messages)
}

// learn asks for what it does not know of the view.
func (x *session) learn() error {
	x.learning = true
	defer func() { x.learning = false }()
	for try := 0; ; try++ {
		first, last := x.unknown(), len(x.c.View.Messages)
		if first == last {
			return nil
		}
		items := "UID FLAGS BODY.PEEK[HEADER.FIELDS (X-HISTORY)]"
		if x.condstore {
			items += " MODSEQ"
		}
		if x.can["OBJECTID"] && x.guest == nil {
			items += " EMAILID THREADID"
		}
		reply, err := x.do(fmt.Sprintf("FETCH %d:%d (%s)", first+1, last, items))
		if err != nil {
			return err
		}
		for _, u := range reply.Untagged {
			m := readMessage(u)
			if m.uid == 0 || m.id == "" {
				continue
			}
			x.ids[m.uid] = m.id
			x.a.saw(place{x.box, m.uid}, m.id)
			if m.given.email != "" {
				x.a.mu.Lock()
				x.a.named(m.id, m.given)
				x.a.mu.Unlock()
			}
		}
		if x.unknown() == len(x.c.View.Messages) {
			return nil
		}
		// What others have removed meanwhile is not told by FETCH, which may say NO, and
		// goes with the next command.
		if reply, err = x.must("NOOP"); err != nil {
			return err
		}
		// The removal may be on its way to the disk still.
		time.Sleep(time.Duration(try) * time.Millisecond)
		if try == 100 {
			return fmt.Errorf("FETCH does not tell of message %d of %d", x.unknown()+1, len(x.c.View.Messages))
		}
	}
}

// open selects a mailbox, with what is remembered of it if the client has QRESYNC.
func (x *session) open(name string) error {
	x.remember()
	x.box, x.known = 0, nil
	command := "SELECT"
	if x.readOnly = x.rng.IntN(8) == 0; x.readOnly {
		command = "EXAMINE"
	}
	command += " " + x.wire(name)
	old := x.slot.caches[name]
	all := false
	if x.qresync && old != nil && old.highest > 0 {
		var parameter string
		parameter, all = old.parameter(x.rng)
		command += parameter
	} else {
		old = nil
	}
	t := told{start: x.a.h.tick(), name: name}
	reply, err := x.enter(command)
	if err != nil {
		return err
	}
	if reply.Condition != "OK" {
		if x.guest != nil {
			return errEnd
		}
		if slices.Contains(x.a.stable, name) {
			return fmt.Errorf("%s: %s %s", command, reply.Condition, reply.Text)
		}
		return x.open("INBOX")
	}
	t.end = x.a.h.tick()
	objectID := ""
	for _, u := range reply.Untagged {
		code, ok := bytes.CutPrefix(u, []byte("* OK ["))
		if !ok {
			continue
		}
		word, rest, _ := bytes.Cut(code, []byte(" "))
		switch string(word) {
		case "UIDVALIDITY":
			t.box = uint32(number(rest))
		case "UIDNEXT":
			t.uidNext = uint32(number(rest))
		case "HIGHESTMODSEQ":
			t.highest = number(rest)
		case "MAILBOXID":
			value, _, _ := bytes.Cut(rest, []byte(")"))
			objectID = strings.TrimPrefix(string(value), "(")
		}
	}
	if t.box == 0 {
		return fmt.Errorf("%s told no UIDVALIDITY", command)
	}
	highest := t.highest
	if x.guest != nil {
		// Its own flags have MODSEQs too.
		t.highest, objectID = 0, ""
		x.readOnly = x.readOnly || reply.Code == "READ-ONLY"
	}
	x.a.hears(t, objectID)
	x.mailbox, x.box, x.ids, x.highest, x.upTo = name, t.box, map[uint32]string{}, 0, highest
	if old != nil && old.box == t.box {
		messages, err := old.resync(reply, x.c.View.Messages, all)
		if err != nil {
			x.a.mu.Lock()
			if f := x.a.faulty("QRESYNC", nil, "%s in %s (%d): %s: %v", x.name, x.mailbox, x.box, command, err); f != nil {
				f.History = append(slices.Clone(x.slot.said), x.trace.said...)
			}
			x.a.mu.Unlock()
			return errEnd
		}
		x.c.View.Restore(messages)
		x.a.h.counts.resyncs.Add(1)
		x.a.mu.Lock()
		for _, m := range messages {
			if id := x.a.seen[place{x.box, m.UID}]; id != "" {
				x.ids[m.UID] = id
			} else if id := x.a.baseID(place{x.box, m.UID}); id != "" {
				x.ids[m.UID] = id
			}
		}
		x.a.mu.Unlock()
	}
	return x.follow(imapview.Reply{})
}

// errEnd ends a session of which nothing more is to be said.
var errEnd = fmt.Errorf("ended: %w", io.EOF)

// remember keeps what is known of the mailbox, for QRESYNC.
func (x *session) remember() {
	if x.box == 0 || !x.qresync {
		return
	}
	c := &cache{box: x.box, highest: x.highest}
	for _, m := range x.c.View.Messages {
		if m.UID == 0 || !m.Known {
			break // what came since the last time that all was known
		}
		c.messages = append(c.messages, m)
	}
	x.slot.caches[x.mailbox] = c
}

// parameter gives QRESYNC's parameter, with or without the parts that may be left out. all
// tells that the server is to tell of messages that came since, too: it was not told which
// are known.
func (c *cache) parameter(rng *rand.Rand) (p string, all bool) {
	p, all = fmt.Sprintf(" (QRESYNC (%d %d", c.box, c.highest), true
	if n := len(c.messages); n > 0 {
		if rng.IntN(2) == 0 {
			p, all = p+" "+set(c.uids()), false
		}
		if rng.IntN(3) == 0 {
			var seqs, uids []uint32
			for i := n - 1; i >= 0; i = i/2 - 1 {
				seqs, uids = append(seqs, uint32(i+1)), append(uids, c.messages[i].UID)
			}
			slices.Reverse(seqs)
			slices.Reverse(uids)
			p += fmt.Sprintf(" (%s %s)", set(seqs), set(uids))
		}
	}
	return p + "))", all
}

func (c *cache) uids() []uint32 {
	var out []uint32
	for _, m := range c.messages {
		out = append(out, m.UID)
	}
	return out
}

// resync gives what the client knows after SELECT with QRESYNC was answered, which left
// the view as now. Of messages that came since it may know nothing, unless all is set.
func (c *cache) resync(reply imapview.Reply, now []imapview.Message, all bool) ([]imapview.Message, error) {
	known := map[uint32]imapview.Message{}
	for _, m := range c.messages {
		known[m.UID] = m
	}
	for _, u := range reply.Untagged {
		if rest, ok := bytes.CutPrefix(u, []byte("* VANISHED (EARLIER) ")); ok {
			for uid := range each(string(rest)) {
				delete(known, uid)
			}
		}
	}
	for _, m := range now {
		if m.UID != 0 {
			known[m.UID] = m
		}
	}
	if len(known) > len(now) || all && len(known) < len(now) {
		return nil, fmt.Errorf("the client knows of %d messages then, and there are %d", len(known), len(now))
	}
	out := make([]imapview.Message, 0, len(now))
	for _, m := range known {
		out = append(out, m)
	}
	slices.SortFunc(out, func(x, y imapview.Message) int { return int(int64(x.UID) - int64(y.UID)) })
	for len(out) < len(now) { // those that came since stand behind
		out = append(out, imapview.Message{})
	}
	for i, m := range now {
		if m.UID != 0 && out[i].UID != m.UID {
			return nil, fmt.Errorf("message %d has UID %d, and the client believes %d", i+1, m.UID, out[i].UID)
		}
	}
	return out, nil
}

// verify compares what the client was told, now that nobody does anything, with what it
// reads.
func (x *session) verify() error {
	if x.box == 0 {
		return nil
	}
	if err := x.compare(); err != nil {
		if broken(err) {
			return err
		}
		x.fault("view", "%v", err)
		return nil
	}
	x.a.h.counts.views.Add(1)
	_, err := x.do("LOGOUT")
	return err
}

func (x *session) compare() error {
	if _, err := x.must("NOOP"); err != nil {
		return err
	}
	messages := x.c.View.Messages
	wanted := map[string][]uint32{"SEEN": nil, "UNFLAGGED": nil, "KEYWORD History": nil}
	for _, m := range messages {
		f := flagsOf(strings.Fields(m.Flags))
		if f&seen != 0 {
			wanted["SEEN"] = append(wanted["SEEN"], m.UID)
		}
		if f&flagged == 0 {
			wanted["UNFLAGGED"] = append(wanted["UNFLAGGED"], m.UID)
		}
		if f&keyword != 0 {
			wanted["KEYWORD History"] = append(wanted["KEYWORD History"], m.UID)
		}
	}
	for key, want := range wanted {
		reply, err := x.must("UID SEARCH " + key)
		if err != nil {
			return err
		}
		if got := searched(reply); !slices.Equal(got, want) {
			return fmt.Errorf("SEARCH %s finds %v, and the client knows of %v", key, got, want)
		}
	}
	return x.c.Verify()
}

// idle idles for a while.
func (x *session) idle(d time.Duration) error {
	if x.a.h.hasty {
		d = 0
	}
	x.a.h.counts.commands.Add(1)
	tag := x.c.Send("IDLE")
	timer := time.AfterFunc(d, func() { x.conn.Write([]byte("DONE\r\n")) })
	reply, err := x.c.Wait(tag)
	if timer.Stop() {
		if err == nil && strings.HasPrefix(x.mailbox, volatile) {
			err = errEnd // it was deleted
		}
		return errors.Join(err, errors.New("IDLE ended by itself"))
	}
	if err != nil {
		return err
	}
	return x.follow(reply)
}

// searched gives the numbers that SEARCH found, ascending.
func searched(reply imapview.Reply) []uint32 {
	var out []uint32
	for _, u := range reply.Untagged {
		if rest, ok := bytes.CutPrefix(u, []byte("* SEARCH")); ok {
			for _, n := range strings.Fields(string(rest)) {
				if v, err := strconv.ParseUint(n, 10, 32); err == nil {
					out = append(out, uint32(v))
				}
			}
		}
		if bytes.HasPrefix(u, []byte("* ESEARCH ")) { // of IMAP4rev2
			if _, all, ok := strings.Cut(string(u), " ALL "); ok {
				out = slices.AppendSeq(out, each(strings.Fields(all)[0]))
			}
		}
	}
	slices.Sort(out)
	return out
}

func texts(values []imapview.Value) []string {
	var out []string
	for _, v := range values {
		out = append(out, v.Text)
	}
	return out
}

// number reads the digits at the beginning of b.
func number(b []byte) uint64 {
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}

// set writes numbers, ascending, as a set.
func set(numbers []uint32) string {
	var b strings.Builder
	for i := 0; i < len(numbers); i++ {
		first := numbers[i]
		for i+1 < len(numbers) && numbers[i+1] == numbers[i]+1 {
			i++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, first)
		if numbers[i] != first {
			fmt.Fprintf(&b, ":%d", numbers[i])
		}
	}
	return b.String()
}

// each gives the numbers of a set in the order in which it names them.
func each(s string) func(func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for part := range strings.SplitSeq(s, ",") {
			a, b, ranged := strings.Cut(part, ":")
			if !ranged {
				b = a
			}
			for n, last := number([]byte(a)), number([]byte(b)); n <= last && n > 0; n++ {
				if !yield(uint32(n)) {
					return
				}
			}
		}
	}
}
