package history

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/test/imapview"
)

// steps are what a session with a mailbox may do, with how often.
var steps = []struct {
	often int
	do    func(x *session) error
}{
	{20, (*session).storeFlags},
	{10, (*session).appendOne},
	{3, (*session).appendSome},
	{8, func(x *session) error { return x.transfer(Copy) }},
	{12, func(x *session) error { return x.transfer(Move) }},
	{4, (*session).replace},
	{10, (*session).remove},
	{2, (*session).closeMailbox},
	{4, (*session).fetchBody},
	{3, (*session).fetchFlags},
	{4, (*session).search},
	{4, func(x *session) error { return x.idle(time.Duration(1+x.rng.IntN(8)) * time.Millisecond) }},
	{5, func(x *session) error { _, err := x.must("NOOP"); return err }},
	{3, (*session).status},
	{2, (*session).listStatus},
	{3, (*session).setMetadata},
	{2, (*session).getMetadata},
	{4, (*session).annotate},
	{2, (*session).fetchAnnotations},
	{5, func(x *session) error { return x.open(x.someName()) }},
}

var often = func() int {
	n := 0
	for _, s := range steps {
		n += s.often
	}
	return n
}()

// step does one thing.
func (x *session) step() error {
	n := x.rng.IntN(often)
	for _, s := range steps {
		if n -= s.often; n < 0 {
			return s.do(x)
		}
	}
	return nil
}

// someName is a mailbox, mostly one that exists.
func (x *session) someName() string {
	if x.guest != nil {
		return sharedBox
	}
	if x.rng.IntN(10) == 0 {
		return fmt.Sprint(volatile, x.rng.IntN(3))
	}
	return x.a.stable[x.rng.IntN(len(x.a.stable))]
}

// crowded tells that the mailbox has more messages than it should.
func (x *session) crowded() bool {
	return len(x.c.View.Messages) > x.a.h.options.Messages/len(x.a.stable)
}

// some chooses up to n known messages: their UIDs, ascending.
func (x *session) some(n int) []uint32 {
	if len(x.known) == 0 {
		return nil
	}
	var out []uint32
	for range 1 + x.rng.IntN(n) {
		out = append(out, x.known[x.rng.IntN(len(x.known))])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// named writes a command about messages, by UID or by sequence number.
func (x *session) named(command string, uids []uint32, rest string) (text string, byUID bool) {
	byUID = x.rng.IntN(2) == 0
	if byUID {
		return fmt.Sprintf("UID %s %s%s", command, set(uids), rest), true
	}
	var seqs []uint32
	for _, uid := range uids {
		seqs = append(seqs, uint32(x.c.View.Seq(uid)))
	}
	return fmt.Sprintf("%s %s%s", command, set(seqs), rest), false
}

// someFlags chooses flags; \Deleted seldom, unless the mailbox is crowded.
func (x *session) someFlags() flags {
	f := flags(x.rng.IntN(allFlags+1)) & flags(x.rng.IntN(allFlags+1))
	if !x.crowded() && x.rng.IntN(4) > 0 {
		f &^= deleted
	}
	return f & x.flags()
}

func (x *session) storeFlags() error {
	uids := x.some(4)
	if len(uids) == 0 || x.readOnly {
		return nil
	}
	f := x.someFlags()
	o := &op{kind: Store, uids: uids}
	item := "FLAGS"
	switch x.rng.IntN(5) {
	case 0:
		o.set, o.clear = f, x.flags()&^f
	case 1, 2:
		item, o.set = "+FLAGS", f
	default:
		item, o.clear = "-FLAGS", f
	}
	if o.set|o.clear == 0 {
		return nil
	}
	return x.store(o, item, f, x.condstore && x.guest == nil && x.rng.IntN(3) == 0, x.rng.IntN(2) == 0)
}

// store sends STORE. conditional is with UNCHANGEDSINCE, of something that the client knows.
func (x *session) store(o *op, item string, f flags, conditional, silent bool) error {
	modifier := ""
	if conditional {
		// What it knows of one of them: of another one it may know more, which is refused then.
		one := o.uids[x.rng.IntN(len(o.uids))]
		if since := x.c.View.Messages[x.c.View.Seq(one)-1].ModSeq; since > 0 {
			o.since = map[uint32]uint64{}
			for _, uid := range o.uids {
				o.since[uid] = since
			}
			modifier = fmt.Sprintf(" (UNCHANGEDSINCE %d)", since)
		}
	}
	if silent {
		item += ".SILENT"
	}
	command, byUID := x.named("STORE", o.uids, fmt.Sprintf("%s %s (%v)", modifier, item, f))
	uidOf := func(n uint32) uint32 { // as the command named messages
		if byUID {
			return n
		}
		if n > 0 && int(n) <= len(x.c.View.Messages) {
			return x.c.View.Messages[n-1].UID
		}
		return 0
	}
	x.asGuest(o, "w")
	_, err := x.act(o, command, func(reply imapview.Reply) {
		if modified, ok := strings.CutPrefix(reply.Code, "MODIFIED "); ok {
			var failed []uint32
			for n := range each(modified) {
				failed = append(failed, uidOf(n))
			}
			o.uids = slices.DeleteFunc(slices.Clone(o.uids), func(uid uint32) bool { return slices.Contains(failed, uid) })
		}
		o.told = map[uint32]uint64{}
		for _, u := range reply.Untagged {
			m := readMessage(u)
			if m.uid == 0 && !byUID {
				m.uid = uidOf(uint32(m.seq))
			}
			if m.uid != 0 && m.modSeq != 0 && x.guest == nil {
				o.told[m.uid] = m.modSeq
			}
		}
		if !silent {
			return
		}
		// A client that asked not to be told computes what comes of it, unless it is told.
		for _, uid := range o.uids {
			if n := x.c.View.Seq(uid); n > 0 && !x.c.View.Told(n) {
				x.c.View.SetFlags(n, func(names []string) []string {
					return strings.Fields(strings.ToLower((flagsOf(names)&^o.clear | o.set).String()))
				})
			}
		}
	})
	return err
}

// appending writes what stands behind the mailbox's name for one message.
func (x *session) appending(message string) (string, flags) {
	f := x.someFlags() &^ deleted
	date := ""
	if x.rng.IntN(2) == 0 {
		date = time.Unix(1e9+x.rng.Int64N(5e8), 0).UTC().Format(` "_2-Jan-2006 15:04:05 -0700"`)
	}
	return fmt.Sprintf(" (%v)%s {%d+}\r\n%s", f, date, len(message), message), f
}

func (x *session) appendOne() error {
	if x.crowded() && x.rng.IntN(4) > 0 {
		return x.remove()
	}
	return x.append(1)
}

func (x *session) appendSome() error {
	if !x.can["MULTIAPPEND"] || x.crowded() {
		return nil
	}
	return x.append(2 + x.rng.IntN(3))
}

func (x *session) append(n int) error {
	o := &op{kind: Append, name: x.someName(), count: int64(n)}
	x.asGuest(o, "i")
	command := "APPEND " + x.wire(o.name)
	for i := range n {
		id, message := x.a.h.compose(x.rng, x.a)
		rest, f := x.appending(message)
		if i == 0 {
			o.set = f
		}
		o.set &= f // so that the flags of each are known: those that all have …
		o.clear |= f
		command += rest
		o.ids, o.bytes = append(o.ids, id), o.bytes+int64(len(message))
		if n == 1 {
			x.slot.again, x.slot.text = o, rest
		}
	}
	o.clear = allFlags &^ o.clear // … and that none has
	_, err := x.act(o, command, func(reply imapview.Reply) { o.placed(reply.Code) })
	if err == nil || n > 1 {
		x.slot.again = nil // it was answered
	}
	return err
}

// placed takes APPENDUID.
func (o *op) placed(code string) {
	words := strings.Fields(code)
	if len(words) != 3 || words[0] != "APPENDUID" {
		return
	}
	o.to = uint32(number([]byte(words[1])))
	for uid := range each(words[2]) {
		o.toUIDs = append(o.toUIDs, uid)
	}
}

// moved takes COPYUID.
func (o *op) moved(code string) {
	words := strings.Fields(code)
	if len(words) != 4 || words[0] != "COPYUID" {
		return
	}
	o.to = uint32(number([]byte(words[1])))
	for uid := range each(words[2]) {
		o.uids = append(o.uids, uid)
	}
	for uid := range each(words[3]) {
		o.toUIDs = append(o.toUIDs, uid)
	}
}

// untaggedCode gives the code of an untagged OK that begins with word.
func untaggedCode(reply imapview.Reply, word string) string {
	for _, u := range reply.Untagged {
		if rest, ok := bytes.CutPrefix(u, []byte("* OK [")); ok && bytes.HasPrefix(rest, []byte(word+" ")) {
			code, _, _ := bytes.Cut(rest, []byte("]"))
			return string(code)
		}
	}
	if strings.HasPrefix(reply.Code, word+" ") {
		return reply.Code
	}
	return ""
}

func (x *session) transfer(kind Kind) error {
	uids := x.some(3)
	if len(uids) == 0 || kind == Move && (x.readOnly || !x.can["MOVE"]) || kind == Copy && x.crowded() {
		return nil
	}
	o := &op{kind: kind, uids: uids, name: x.someName()}
	if o.name == x.mailbox && kind == Move && x.a.h.options.Partial {
		return nil
	}
	x.asGuest(o, "i")
	command, _ := x.named(string(kind), uids, " "+x.wire(o.name))
	_, err := x.act(o, command, func(reply imapview.Reply) {
		o.uids = nil // those that were there still
		o.moved(untaggedCode(reply, "COPYUID"))
	})
	return err
}

func (x *session) replace() error {
	uids := x.some(1)
	if len(uids) == 0 || x.readOnly || !x.can["REPLACE"] {
		return nil
	}
	id, message := x.a.h.compose(x.rng, x.a)
	o := &op{kind: Replace, uids: uids, name: x.someName(), ids: []string{id}, bytes: int64(len(message)), count: 1}
	rest, f := x.appending(message)
	o.set, o.clear = f, allFlags&^f
	command, _ := x.named("REPLACE", uids, " "+o.name+rest)
	_, err := x.act(o, command, func(reply imapview.Reply) { o.placed(untaggedCode(reply, "APPENDUID")) })
	return err
}

// remove marks some messages as \Deleted, and expunges, or expunges what is marked already.
func (x *session) remove() error {
	if x.readOnly {
		return nil
	}
	marked := x.marked()
	if len(marked) == 0 || x.rng.IntN(3) == 0 {
		uids := x.some(4)
		if len(uids) == 0 {
			return nil
		}
		if err := x.store(&op{kind: Store, uids: uids, set: deleted}, "+FLAGS", deleted, false, x.rng.IntN(2) == 0); err != nil {
			return err
		}
		if marked = x.marked(); len(marked) == 0 || x.rng.IntN(3) == 0 {
			return nil
		}
	}
	if x.rng.IntN(2) == 0 {
		o := &op{kind: Expunge, sure: marked}
		x.asGuest(o, "e")
		_, err := x.act(o, "EXPUNGE", nil)
		return err
	}
	uids := marked
	if x.rng.IntN(2) == 0 {
		uids = append(x.some(5), marked[0])
		slices.Sort(uids)
		uids = slices.Compact(uids)
	}
	sure := slices.DeleteFunc(slices.Clone(marked), func(uid uint32) bool { return !slices.Contains(uids, uid) })
	o := &op{kind: UIDExpunge, uids: uids, sure: sure}
	x.asGuest(o, "e")
	_, err := x.act(o, "UID EXPUNGE "+set(uids), nil)
	return err
}

// marked gives the messages that the client knows to be \Deleted.
func (x *session) marked() []uint32 {
	var out []uint32
	for _, m := range x.c.View.Messages {
		if m.UID != 0 && m.Known && flagsOf(strings.Fields(m.Flags))&deleted != 0 {
			out = append(out, m.UID)
		}
	}
	return out
}

func (x *session) closeMailbox() error {
	o := &op{kind: Close, client: x.name, box: x.box, sure: x.marked()}
	x.remember()
	x.box, x.known = 0, nil
	if !x.readOnly {
		x.a.send(o)
	}
	reply, err := x.do("CLOSE")
	if err != nil {
		return err
	}
	if reply.Condition != "OK" {
		if !x.readOnly {
			x.a.answer(o, Refused, nil)
		}
		if strings.HasPrefix(x.mailbox, volatile) {
			return errEnd // it was deleted
		}
		return fmt.Errorf("CLOSE: %s", reply.Text)
	}
	if !x.readOnly {
		x.a.answer(o, Done, nil)
	}
	return x.open(x.someName())
}

// fetchBody reads a message, which makes it \Seen.
func (x *session) fetchBody() error {
	uids := x.some(1)
	if len(uids) == 0 {
		return nil
	}
	id := x.ids[uids[0]]
	check := func(reply imapview.Reply) {
		for _, u := range reply.Untagged {
			if m := readMessage(u); m.body != "" && id != "" {
				x.a.compare(id, m.body, fmt.Sprintf("FETCH of %d/%d", x.box, uids[0]))
			}
		}
	}
	if x.readOnly {
		reply, err := x.do(fmt.Sprintf("UID FETCH %d (BODY.PEEK[])", uids[0]))
		check(reply)
		return err
	}
	o := &op{kind: FetchBody, uids: uids, sure: uids, set: seen}
	if m := x.c.View.Messages[x.c.View.Seq(uids[0])-1]; x.a.h.options.Stale && (!m.Known || flagsOf(strings.Fields(m.Flags))&seen != 0) {
		o.sure = nil
	}
	reply, err := x.act(o, fmt.Sprintf("UID FETCH %d (FLAGS BODY[])", uids[0]), nil)
	check(reply)
	return err
}

func (x *session) fetchFlags() error {
	if len(x.known) == 0 {
		return nil
	}
	items := "(UID FLAGS)"
	if x.condstore {
		items = "(UID FLAGS MODSEQ)"
	}
	command, _ := x.named("FETCH", x.some(10), " "+items)
	_, err := x.do(command)
	return err
}

// search finds nothing that the client does not know of.
func (x *session) search() error {
	before := slices.Clone(x.known)
	key := []string{"ALL", "UNSEEN", "FLAGGED", "UNDELETED", "KEYWORD $Forwarded"}[x.rng.IntN(5)]
	if x.rng.IntN(2) == 0 {
		n := len(x.c.View.Messages)
		reply, err := x.do("SEARCH " + key)
		if found := searched(reply); err == nil && len(found) > 0 && int(found[len(found)-1]) > max(n, len(x.c.View.Messages)) {
			err = fmt.Errorf("SEARCH finds message %d of %d", found[len(found)-1], n)
		}
		return err
	}
	reply, err := x.do("UID SEARCH " + key)
	if err != nil {
		return err
	}
	for _, uid := range searched(reply) {
		if !slices.Contains(before, uid) && !slices.Contains(x.known, uid) {
			return fmt.Errorf("UID SEARCH finds %d, of which nobody told", uid)
		}
	}
	return nil
}

func (x *session) status() error {
	t := told{start: x.a.h.tick(), name: x.someName()}
	if t.name == x.mailbox {
		return nil // STATUS is not for the selected mailbox (RFC 3501, 6.3.10)
	}
	items := "MESSAGES UIDNEXT UIDVALIDITY UNSEEN"
	if x.condstore {
		items += " HIGHESTMODSEQ"
	}
	if x.can["OBJECTID"] {
		items += " MAILBOXID"
	}
	reply, err := x.do(fmt.Sprintf("STATUS %s (%s)", t.name, items))
	if err != nil || reply.Condition != "OK" {
		return err
	}
	t.end = x.a.h.tick()
	t.states(readStatus(reply))
	x.a.hears(t, readStatus(reply).objectID)
	return nil
}

// states takes what STATUS tells.
func (t *told) states(s *boxState) {
	t.box, t.uidNext, t.highest = s.validity, s.uidNext, s.highest
	t.counted, t.count, t.unseen = s.count >= 0 && s.unseen >= 0, s.count, s.unseen
}

// listStatus asks for all mailboxes at once (RFC 5819).
func (x *session) listStatus() error {
	if !x.can["LIST-STATUS"] {
		return nil
	}
	items := "MESSAGES UIDNEXT UIDVALIDITY UNSEEN"
	if x.condstore {
		items += " HIGHESTMODSEQ"
	}
	if x.can["OBJECTID"] {
		items += " MAILBOXID"
	}
	t := told{start: x.a.h.tick()}
	reply, err := x.must(`LIST "" "*" RETURN (STATUS (` + items + `))`)
	if err != nil {
		return err
	}
	t.end = x.a.h.tick()
	for _, s := range readStatuses(reply) {
		if s.name == x.mailbox || foreign(s.name) {
			continue
		}
		t.name = s.name
		t.states(s)
		x.a.hears(t, s.objectID)
	}
	return nil
}
