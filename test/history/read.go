package history

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/test/imapview"
)

// accountState is all that an account holds, at rest.
type accountState struct {
	boxes   map[string]*boxState // by name
	quota   map[string]int64     // use by resource; nil when it is not told
	values  map[string]string    // entries of METADATA, annotations and rights, by key; "" is none
	listing []string             // unique-ids of POP3; nil when there is no POP3
	ids     []string             // X-History of each
}

// boxState is a mailbox.
type boxState struct {
	name     string
	objectID string // "" when it is not told
	validity uint32
	uidNext  uint32
	highest  uint64

	count, unseen, deleted, size int64 // what STATUS tells; -1 when it does not

	messages []*message // ascending by UID
}

// message is a message as FETCH tells of it.
type message struct {
	seq      int
	uid      uint32
	modSeq   uint64
	flags    flags
	hasFlags bool
	id       string // X-History
	given    identity
	date     string // INTERNALDATE
	size     int64  // RFC822.SIZE
	body     string
	notes    map[string]string // annotations by entry and attribute; nil when none were asked for
}

// readMessage reads a FETCH response; it is empty when untagged is none.
func readMessage(untagged []byte) message {
	var m message
	i := bytes.Index(untagged, []byte(" FETCH ("))
	if i < 2 || bytes.IndexByte(untagged[2:i], ' ') >= 0 {
		return m
	}
	items, err := imapview.ParseFetch(untagged[i+len(" FETCH "):])
	if err != nil {
		return m // imapview.View has said so
	}
	m.seq = int(number(untagged[2:]))
	for _, item := range items {
		v := item.Value
		switch name := strings.ToUpper(item.Name); name {
		case "UID":
			m.uid = uint32(number([]byte(v.Text)))
		case "FLAGS":
			m.flags, m.hasFlags = flagsOf(texts(v.List)), true
		case "MODSEQ":
			m.modSeq = number([]byte(strings.Join(texts(v.List), "")))
		case "EMAILID":
			m.given.email = strings.Join(texts(v.List), "")
		case "THREADID":
			m.given.thread = strings.Join(texts(v.List), "")
		case "INTERNALDATE":
			m.date = v.Text
		case "RFC822.SIZE":
			m.size = int64(number([]byte(v.Text)))
		case "ANNOTATION":
			m.notes = notesOf(v)
		default:
			if strings.HasPrefix(name, "BODY[") {
				m.id = idOf(v.Text)
				m.body = v.Text
			}
		}
	}
	return m
}

// idOf finds X-History in a message or header.
func idOf(text string) string {
	const field = "X-History: "
	i := strings.Index(text, field)
	if i < 0 {
		return ""
	}
	id, _, _ := strings.Cut(text[i+len(field):], "\r\n")
	return id
}

// readStatus reads the STATUS response of a reply.
func readStatus(reply imapview.Reply) *boxState {
	for _, s := range readStatuses(reply) {
		return s
	}
	return newStatus("")
}

func newStatus(name string) *boxState {
	return &boxState{name: name, count: -1, unseen: -1, deleted: -1, size: -1}
}

// readStatuses reads all of them.
func readStatuses(reply imapview.Reply) (out []*boxState) {
	for _, u := range reply.Untagged {
		rest, ok := bytes.CutPrefix(u, []byte("* STATUS "))
		if !ok {
			continue
		}
		values, err := imapview.ParseValues(rest)
		if err != nil || len(values) != 2 {
			continue
		}
		s := newStatus(values[0].Text)
		out = append(out, s)
		items := values[1].List
		for i := 0; i+1 < len(items); i += 2 {
			n := number([]byte(items[i+1].Text))
			switch strings.ToUpper(items[i].Text) {
			case "MESSAGES":
				s.count = int64(n)
			case "UNSEEN":
				s.unseen = int64(n)
			case "DELETED":
				s.deleted = int64(n)
			case "SIZE":
				s.size = int64(n)
			case "UIDNEXT":
				s.uidNext = uint32(n)
			case "UIDVALIDITY":
				s.validity = uint32(n)
			case "HIGHESTMODSEQ":
				s.highest = n
			case "MAILBOXID":
				s.objectID = strings.Join(texts(items[i+1].List), "")
			}
		}
	}
	return out
}

// compare says when a message is not what was sent. Deliveries put fields before it.
func (a *account) compare(id, body, where string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.compareLocked(id, body, where)
}

func (a *account) compareLocked(id, body, where string) {
	sent, known := a.texts[id]
	if !known {
		return // that nobody sent it is said elsewhere
	}
	a.figures.Read++
	i := strings.Index(body, "X-History: "+id+"\r\n")
	if i < 0 || len(body)-i != sent.size || sha256.Sum256([]byte(body[i:])) != sent.sum {
		a.faulty("content", nil, "%s: message %s is not what was sent", where, id)
	}
}

// baseID gives the X-History of what was at a place when the life began.
func (a *account) baseID(p place) string {
	if a.base == nil {
		return ""
	}
	for _, b := range a.base.boxes {
		if b.validity == p.box {
			i, ok := slices.BinarySearchFunc(b.messages, p.uid, func(m *message, uid uint32) int { return int(int64(m.uid) - int64(uid)) })
			if ok {
				return b.messages[i].id
			}
		}
	}
	return ""
}

// begin makes the mailboxes that are always there and reads what the account holds.
func (a *account) begin(ctx context.Context) error {
	x, err := a.login(rand.New(rand.NewPCG(1, 2)), "begin", &slot{caches: map[string]*cache{}})
	if err != nil {
		return err
	}
	defer x.conn.Close()
	for _, name := range a.stable[1:] {
		if _, err := x.do("CREATE " + name); err != nil {
			return err
		}
	}
	if a.base, err = a.read(ctx); err != nil {
		return err
	}
	for _, b := range a.base.boxes {
		a.used[b.validity] = true
		a.calls(b.validity, b.objectID)
		for _, m := range b.messages {
			if m.id != "" {
				i := strings.Index(m.body, "X-History: ")
				a.texts[m.id] = text{sha256.Sum256([]byte(m.body[i:])), len(m.body) - i}
			}
			m.body = ""
		}
	}
	return nil
}

// read reads all that the account holds; nobody changes it meanwhile.
func (a *account) read(ctx context.Context) (*accountState, error) {
	x, err := a.login(rand.New(rand.NewPCG(1, 2)), "reader", &slot{caches: map[string]*cache{}})
	if err != nil {
		return nil, err
	}
	defer x.conn.Close()
	state := &accountState{boxes: map[string]*boxState{}, values: map[string]string{}}
	reply, err := x.must(`LIST "" "*"`)
	if err != nil {
		return nil, err
	}
	names, err := listed(reply)
	if err != nil {
		return nil, err
	}
	items := "MESSAGES UIDNEXT UIDVALIDITY UNSEEN"
	for _, c := range []struct{ capability, item string }{{"CONDSTORE", " HIGHESTMODSEQ"}, {"STATUS=SIZE", " SIZE"}, {"IMAP4REV2", " DELETED"}, {"OBJECTID", " MAILBOXID"}} {
		if x.can[c.capability] {
			items += c.item
		}
	}
	for _, name := range names {
		reply, err := x.must(fmt.Sprintf("STATUS %q (%s)", name, items))
		if err != nil {
			return nil, err
		}
		b := readStatus(reply)
		b.name = name
		state.boxes[name] = b
		if reply, err = x.must(fmt.Sprintf("EXAMINE %q", name)); err != nil {
			return nil, err
		}
		if v := uint32(number([]byte(strings.TrimPrefix(untaggedCode(reply, "UIDVALIDITY"), "UIDVALIDITY ")))); v != b.validity {
			a.fault("UIDVALIDITY", "%s has UIDVALIDITY %d by STATUS and %d by EXAMINE", name, b.validity, v)
		}
		if len(x.c.View.Messages) == 0 {
			continue
		}
		command := "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]"
		if x.can["CONDSTORE"] {
			command += " MODSEQ"
		}
		if x.can["OBJECTID"] {
			command += " EMAILID THREADID"
		}
		if x.can[annotations] {
			command += " " + allNotes
		}
		if reply, err = x.must(command + ")"); err != nil {
			return nil, err
		}
		for _, u := range reply.Untagged {
			if m := readMessage(u); m.seq > 0 {
				b.messages = append(b.messages, &m)
				for note, value := range m.notes {
					state.values[noteKey(place{b.validity, m.uid}, note)] = value
				}
			}
		}
		if len(b.messages) != len(x.c.View.Messages) {
			return nil, fmt.Errorf("FETCH tells of %d messages of %d in %s", len(b.messages), len(x.c.View.Messages), name)
		}
	}
	if x.can["QUOTA"] {
		reply, err := x.must("GETQUOTAROOT INBOX")
		if err != nil {
			return nil, err
		}
		state.quota = map[string]int64{}
		for _, u := range reply.Untagged {
			rest, ok := bytes.CutPrefix(u, []byte("* QUOTA "))
			if !ok {
				continue
			}
			values, err := imapview.ParseValues(rest)
			if err != nil || len(values) != 2 {
				return nil, fmt.Errorf("GETQUOTAROOT: %q", u)
			}
			for i := 0; i+2 < len(values[1].List); i += 3 {
				state.quota[strings.ToUpper(values[1].List[i].Text)] = int64(number([]byte(values[1].List[i+1].Text)))
			}
		}
	}
	if err := x.readValues(state); err != nil {
		return nil, err
	}
	if a.h.target.POP3 != "" {
		err = a.readDrop(ctx, state)
	}
	return state, err
}

// listed gives the mailboxes of an account's own that LIST tells of and that can be selected.
func listed(reply imapview.Reply) (names []string, err error) {
	for _, u := range reply.Untagged {
		rest, ok := bytes.CutPrefix(u, []byte("* LIST "))
		if !ok {
			continue
		}
		values, err := imapview.ParseValues(rest)
		if err != nil || len(values) < 3 {
			return nil, fmt.Errorf("LIST: %q", u)
		}
		attributes := strings.ToLower(strings.Join(texts(values[0].List), " "))
		if name := values[2].Text; !strings.Contains(attributes, `\nonexistent`) && !strings.Contains(attributes, `\noselect`) && !foreign(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// readDrop reads what POP3 tells of the INBOX.
func (a *account) readDrop(ctx context.Context, state *accountState) error {
	// The session before may hold the maildrop for a moment after its end.
	for end := time.Now().Add(10 * time.Second); ; {
		l, err := a.h.lines(a.h.target.POP3)
		if err != nil {
			return err
		}
		began := a.h.tick()
		in, err := a.enter(l)
		if err == nil && in {
			if state.listing, err = l.listing(); err == nil {
				state.ids, err = a.lists(l, state.listing, began)
			}
		}
		if in && err == nil {
			l.ok("QUIT")
		}
		l.conn.Close()
		if err != nil || in {
			return err
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("the maildrop stays in use")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// resync has every client with QRESYNC catch up, and compares what it knows then with what
// the account holds.
func (a *account) resync(state *accountState) error {
	rng := rand.New(rand.NewPCG(a.h.options.Seed, uint64(a.h.life)))
	x, err := a.login(rng, "resync", &slot{caches: map[string]*cache{}})
	if err != nil {
		return err
	}
	defer x.conn.Close()
	if !x.can["QRESYNC"] {
		return nil
	}
	if _, err := x.must("ENABLE QRESYNC"); err != nil {
		return err
	}
	for number, s := range a.slots {
		for name, c := range s.caches {
			b := state.boxes[name]
			if b == nil || b.validity != c.box || c.highest == 0 {
				continue
			}
			parameter, all := c.parameter(rng)
			command := "EXAMINE " + name + parameter
			reply, err := x.must(command)
			if err != nil {
				return err
			}
			known, err := c.resync(reply, x.c.View.Messages, all)
			if err == nil {
				err = sameMessages(known, b)
			}
			if err != nil {
				a.mu.Lock()
				if f := a.faulty("QRESYNC", nil, "client %d: %s: %v", number, command, err); f != nil {
					f.History = append(f.History, s.said...)
				}
				a.mu.Unlock()
				delete(s.caches, name)
				continue
			}
			a.h.counts.resyncs.Add(1)
		}
	}
	return nil
}

// sameMessages compares what a client knows with what a mailbox holds. Of messages that
// came since it knows nothing but that they are there.
func sameMessages(known []imapview.Message, b *boxState) error {
	if len(known) != len(b.messages) {
		return fmt.Errorf("it knows of %d messages, and %s has %d", len(known), b.name, len(b.messages))
	}
	for i, k := range known {
		m := b.messages[i]
		if k.UID == 0 {
			continue
		}
		if k.UID != m.uid {
			return fmt.Errorf("message %d of %s has UID %d, and the client believes %d", i+1, b.name, m.uid, k.UID)
		}
		if f := flagsOf(strings.Fields(k.Flags)); k.Known && f != m.flags {
			return fmt.Errorf("UID %d of %s has the flags (%v), and the client believes (%v)", m.uid, b.name, m.flags, f)
		}
	}
	return nil
}
