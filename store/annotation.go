package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// Annotations are the named texts of RFC 5257 that are kept with a message, or with a part
// of it, in one mailbox. A message has those that all share, and each person has private
// ones. They are records, by the message's UID, which change by batches of the account that
// the mailbox is in: so they are as durable as the message, and go with it. Message.Annotated
// says in the index whether there are any: a message without costs nothing more.
//
// What is shared, and what is the owner's own, changes the message's MODSEQ, a guest's own
// that of its mark alone; only the very first annotation of a message is a change for all,
// because of Annotated.

const (
	// annotationKind is the kind of their records. The key is account/mailbox/UID/ and the
	// person, or "-" for what is shared; the value has all entries. The UID has 8
	// hexadecimal digits.
	annotationKind = "annotation"
	// annotationGroup is how many UIDs are read at once: those whose keys differ in the
	// last digit.
	annotationGroup = 16

	// MaxAnnotationValue is how many bytes the value of an annotation may have: a long
	// note, or a small picture. RFC 5257, 4.1 wants 1,024 at least.
	MaxAnnotationValue = 16 << 10
	// MaxAnnotationName is how many bytes the name of an entry may have.
	MaxAnnotationName = 250
	// MaxAnnotationBytes is how many bytes the values of all annotations in an account
	// may have together.
	MaxAnnotationBytes = 32 << 20

	// maxAnnotations is how many annotations one person, or all together, may have with
	// one message, so that its record stays below 1 MiB. RFC 5257, 4.1 wants 10 at least.
	maxAnnotations = 50
	// maxAnnotationNames is how many annotations an account may have, as names are not
	// among MaxAnnotationBytes.
	maxAnnotationNames = 200_000
	// maxRemoved is how many entries that were removed a record remembers, so that others
	// can be told of them.
	maxRemoved = 20
)

// Annotation is a named text of a message.
type Annotation struct {
	Entry  string
	Value  []byte      // nil: there is none
	ModSeq mail.ModSeq // of the last change, which is not for who changes it to say
}

// Annotations are those of a message that one person sees, ascending by Entry. Those that
// were removed of late are among them, with a nil Value.
type Annotations struct {
	Shared, Private []Annotation
}

// Of gives the value of an entry, nil when there is none.
func (a Annotations) Of(entry string, shared bool) []byte {
	list := a.Private
	if shared {
		list = a.Shared
	}
	if i, ok := findAnnotation(list, entry); ok {
		return list[i].Value
	}
	return nil
}

func (a Annotations) empty() bool { return len(a.Shared)+len(a.Private) == 0 }

// living is a without what was removed.
func (a Annotations) living() Annotations {
	there := func(list []Annotation) (out []Annotation) {
		for _, x := range list {
			if x.Value != nil {
				out = append(out, x)
			}
		}
		return out
	}
	return Annotations{there(a.Shared), there(a.Private)}
}

func findAnnotation(list []Annotation, entry string) (int, bool) {
	return slices.BinarySearchFunc(list, entry, func(x Annotation, entry string) int { return strings.Compare(x.Entry, entry) })
}

// sharedAnnotations stands in keys where a person's number stands for private ones.
const sharedAnnotations = "-"

// annotator gives how the keys of the visitor's private annotations end.
func (v Visit) annotator() string {
	if v.guest != nil {
		return v.guest.Account.String()
	}
	return v.account.id.String()
}

// annotationsOf is how the keys of all annotations in a mailbox begin.
func annotationsOf(account mail.AccountID, mailbox mail.MailboxID) string {
	return marksOf(account, mailbox)
}

// AnnotationReader reads annotations of a mailbox as one person sees them. It holds those of
// the last few UIDs, so messages are best asked for in their order. It is for one goroutine,
// and for as long as one command takes: what others change meanwhile it may not see.
type AnnotationReader struct {
	mailbox *Mailbox // whose session it reads for; nil: messages are as they are
	engine  Engine
	prefix  string // of the mailbox
	person  string

	group int64 // UIDs divided by annotationGroup, of which annotations are at hand; -1 for none
	held  map[mail.UID]Annotations
}

// Annotations reads those of the mailbox, as the session sees them. They are those of now,
// and not of the view.
func (m *Mailbox) Annotations() *AnnotationReader {
	r := m.visit.annotations(m.box.id)
	r.mailbox = m
	return r
}

// Annotated tells whether a message of the view may have annotations by now.
func (m *Mailbox) Annotated(msg *Message) bool {
	if msg.Annotated {
		return true
	}
	index := m.box.published.Load().index
	if index == m.view || index == nil {
		return false
	}
	seq, there := index.Seq(msg.UID)
	return there && index.At(seq).Annotated
}

// expunged tells whether a message of the view is gone by now.
func (m *Mailbox) expunged(msg *Message) bool {
	st := m.box.published.Load()
	if st.index == m.view || st.index == nil || st.deleted {
		return false
	}
	_, there := st.index.Seq(msg.UID)
	return !there
}

// leaving tells whether a change took a message of the view away that is not shown yet, but has
// left no records to read. It waits until that is durable.
func (m *Mailbox) leaving(msg *Message) (bool, error) {
	a, b := m.account, m.box
	a.mu.Lock()
	there := true
	switch {
	case b.latest != nil && b.latest.deleted:
		there = false
	case b.index != nil:
		_, there = b.index.Seq(msg.UID)
	}
	if there {
		a.mu.Unlock()
		return false, nil
	}
	return true, a.settle()
}

func (v Visit) annotations(mailbox mail.MailboxID) *AnnotationReader {
	return &AnnotationReader{engine: v.account.store.engine, prefix: annotationsOf(v.account.id, mailbox), person: v.annotator(), group: -1}
}

// Of gives the annotations of a message, which are not to be altered. KindExpunged when a
// message of a session's view is gone, and they with it.
func (r *AnnotationReader) Of(ctx context.Context, m *Message) (Annotations, error) {
	annotated := m.Annotated || r.mailbox != nil && r.mailbox.Annotated(m)
	var a Annotations
	var err error
	if annotated {
		a, err = r.read(ctx, m)
	}
	if err != nil || r.mailbox == nil {
		return a, err
	}
	gone := r.mailbox.expunged(m)
	if !gone && a.empty() && annotated {
		gone, err = r.mailbox.leaving(m)
	}
	if gone && err == nil {
		err = mail.Errorf(mail.KindExpunged, "The message no longer exists.")
	}
	return a, err
}

// read is Of of a message that is there and has annotations.
func (r *AnnotationReader) read(ctx context.Context, m *Message) (Annotations, error) {
	if g := int64(m.UID / annotationGroup); g != r.group {
		held := map[mail.UID]Annotations{}
		err := eachAnnotationRecord(ctx, r.engine, r.prefix, m.UID, func(uid mail.UID, person string, record Record) error {
			if person != sharedAnnotations && person != r.person {
				return nil
			}
			list, err := readAnnotations(record)
			if err != nil {
				return err
			}
			a := held[uid]
			if person == sharedAnnotations {
				a.Shared = list
			} else {
				a.Private = list
			}
			held[uid] = a
			return nil
		})
		if err != nil {
			return Annotations{}, err
		}
		r.group, r.held = g, held
	}
	return r.held[m.UID], nil
}

// eachAnnotationRecord calls each for the records of the group that a UID is in.
func eachAnnotationRecord(ctx context.Context, engine Engine, prefix string, uid mail.UID, each func(uid mail.UID, person string, r Record) error) error {
	records, err := engine.Records(ctx, annotationKind, prefix+fmt.Sprintf("%07x", uint32(uid)/annotationGroup))
	if err != nil {
		return err
	}
	for _, r := range records {
		uid, person, err := cutAnnotationKey(r.Key, prefix)
		if err == nil {
			err = each(uid, person, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cutAnnotationKey gives whose annotations, and of which UID, a key below prefix is of.
func cutAnnotationKey(key, prefix string) (uid mail.UID, person string, err error) {
	digits, person, ok := strings.Cut(strings.TrimPrefix(key, prefix), "/")
	var n uint32
	if _, err := fmt.Sscanf(digits, "%08x", &n); err != nil || !ok {
		return 0, "", damagedAnnotations(key)
	}
	return mail.UID(n), person, nil
}

func damagedAnnotations(key string) error {
	return mail.Errorf(mail.KindCorrupt, "the annotations %s are damaged in the store", key)
}

// Annotate changes annotations of the messages among uids that still exist, of all or of
// none: a nil Value removes one. Those of which shared is true are seen by everybody who may
// read the mailbox, and need the right n; the others only by the session's user.
// unchangedSince and the result are as of StoreFlags. KindTooBig for a Value above
// MaxAnnotationValue, KindLimit when a message has too many, KindOverQuota when the account
// has, KindNoPermission.
func (m *Mailbox) Annotate(ctx context.Context, uids mail.NumSet, changes Annotations, unchangedSince *mail.ModSeq) (Stored, error) {
	if err := changes.Check(); err != nil {
		return Stored{}, err
	}
	var out Stored
	seq, err := m.change(ctx, func(c *change, bc *boxChange) error {
		out = Stored{}
		if err := m.visit.mayAnnotate(&bc.record, changes); err != nil {
			return err
		}
		own, err := c.own(ctx, m.visit, bc)
		if err != nil {
			return err
		}
		known := m.visit.annotations(m.box.id)
		m.box.index.EachUID(uids, func(_ uint32, msg *Message) bool {
			mine := mark{uid: msg.UID}
			if own != nil {
				mine = own.of(msg.UID)
			}
			if unchangedSince != nil && max(msg.ModSeq, mine.modSeq) > *unchangedSince {
				out.Failed.Add(uint32(msg.UID))
				return true
			}
			var was Annotations
			if was, err = known.Of(ctx, msg); err != nil {
				return false
			}
			var shared, private bool
			if shared, err = c.annotate(bc, msg.UID, sharedAnnotations, was.Shared, changes.Shared); err != nil {
				return false
			}
			if private, err = c.annotate(bc, msg.UID, m.visit.annotator(), was.Private, changes.Private); err != nil {
				return false
			}
			switch {
			case !shared && !private:
				return true
			case own == nil || shared || !msg.Annotated:
				c.touch(bc, msg)
			default:
				bc.marked = append(bc.marked, mark{msg.UID, mine.flags, c.seq})
			}
			out.Changed.Add(uint32(msg.UID))
			return true
		})
		return err
	})
	if err != nil {
		return Stored{}, err
	}
	if len(out.Changed) > 0 {
		out.ModSeq = seq
	}
	return out, nil
}

// Check gives an error for changes that no message can take: KindTooBig, KindLimit,
// KindBadArgument as of Annotate.
func (a Annotations) Check() error {
	for _, list := range [][]Annotation{a.Shared, a.Private} {
		if len(list) > maxAnnotations {
			return errAnnotations
		}
		for _, x := range list {
			if len(x.Value) > MaxAnnotationValue {
				return mail.Errorf(mail.KindTooBig, "An annotation has at most %d bytes.", MaxAnnotationValue)
			}
			if len(x.Entry) > MaxAnnotationName {
				return mail.Errorf(mail.KindBadArgument, "The name of an entry has at most %d bytes.", MaxAnnotationName)
			}
		}
	}
	return nil
}

// mayAnnotate gives an error unless the visitor may change annotations so (RFC 5257, 3.4).
func (v Visit) mayAnnotate(r *MailboxRecord, changes Annotations) error {
	var needed mail.Rights
	if len(changes.Shared) > 0 {
		needed |= mail.RightAnnotate
	}
	if len(changes.Private) > 0 {
		needed |= mail.RightRead
	}
	return v.may(r, needed)
}

// annotate gives a message the annotations of one person, or the shared ones, that come of
// was and changes, and tells whether they are others then.
func (c *change) annotate(bc *boxChange, uid mail.UID, person string, was, changes []Annotation) (changed bool, err error) {
	var count, bytes int64 // how many there are more
	list := was
	for _, x := range changes {
		x.ModSeq = c.seq
		i, there := findAnnotation(list, x.Entry)
		if !there && x.Value == nil || there && x.Value == nil && list[i].Value == nil {
			continue
		}
		if !changed {
			list, changed = slices.Clone(list), true
		}
		if !there {
			list = slices.Insert(list, i, Annotation{})
		}
		if list[i].Value != nil {
			count--
		}
		if x.Value != nil {
			count++
		}
		bytes += int64(len(x.Value) - len(list[i].Value))
		list[i] = x
	}
	if !changed {
		return false, nil
	}
	living := 0
	for _, x := range list {
		if x.Value != nil {
			living++
		}
	}
	if count > 0 && living > maxAnnotations {
		return false, errAnnotations
	}
	for len(list)-living > maxRemoved {
		oldest := -1
		for i, x := range list {
			if x.Value == nil && (oldest < 0 || x.ModSeq < list[oldest].ModSeq) {
				oldest = i
			}
		}
		list = slices.Delete(list, oldest, oldest+1)
	}
	c.account.Annotations += count
	c.account.AnnotationBytes += bytes
	// What is far too much is known before all of it is in memory.
	switch {
	case c.account.AnnotationBytes > c.a.head.AnnotationBytes+MaxAnnotationBytes:
		return false, errAnnotationBytes
	case c.account.Annotations > c.a.head.Annotations+maxAnnotationNames:
		return false, errAnnotationNames
	}
	c.batch.Records = append(c.batch.Records, Record{
		Kind: annotationKind, Key: fmt.Sprintf("%s%08x/%s", annotationsOf(c.a.id, bc.box.id), uint32(uid), person), Value: appendAnnotations([]byte{}, list),
	})
	return true, nil
}

var (
	errAnnotations     = mail.Errorf(mail.KindLimit, "A message has at most %d annotations.", maxAnnotations)
	errAnnotationBytes = mail.Errorf(mail.KindOverQuota, "The annotations of an account have at most %d bytes together.", MaxAnnotationBytes)
	errAnnotationNames = mail.Errorf(mail.KindOverQuota, "An account has at most %d annotations.", maxAnnotationNames)
)

// touch gives m, which is in the head's index, the MODSEQ of a change of its annotations.
// Ascending by UID.
func (c *change) touch(bc *boxChange, m *Message) {
	n := *m
	n.Annotated, n.ModSeq = true, c.seq
	bc.changed = append(bc.changed, n)
	bc.touched = true
}

// carry gives the annotations of a message that a visitor takes along into another mailbox:
// its own and the shared ones, as far as it may have them there (RFC 5257, 4.6).
func (v Visit) carry(to *MailboxRecord, a Annotations) Annotations {
	a = a.living()
	rights := v.rights(to)
	if !rights.Has(mail.RightAnnotate) {
		a.Shared = nil
	}
	if !rights.Has(mail.RightRead) {
		a.Private = nil
	}
	return a
}

// annotateNew gives a message that this change brings its annotations.
func (c *change) annotateNew(v Visit, bc *boxChange, uid mail.UID, a Annotations) error {
	_, err := c.annotate(bc, uid, sharedAnnotations, nil, a.Shared)
	if err == nil {
		_, err = c.annotate(bc, uid, v.annotator(), nil, a.Private)
	}
	return err
}

// finishAnnotations takes the annotations of messages that go, and refuses a change that
// leaves more in the account than it may have. What makes it less is always permitted.
// Guests cannot take all of the room.
func (c *change) finishAnnotations(ctx context.Context) error {
	for _, bc := range c.boxes {
		if len(bc.bared) == 0 {
			continue
		}
		prefix := annotationsOf(c.a.id, bc.box.id)
		next := uint64(0) // the first UID of which records were not looked at
		for uid := range bc.bared.All() {
			if uint64(uid) < next {
				continue
			}
			next = uint64(uid/annotationGroup+1) * annotationGroup
			err := eachAnnotationRecord(ctx, c.a.store.engine, prefix, mail.UID(uid), func(uid mail.UID, _ string, r Record) error {
				if !bc.bared.Contains(uint32(uid)) {
					return nil
				}
				return c.dropAnnotation(r)
			})
			if err != nil {
				return err
			}
		}
	}
	before, after := &c.a.head, &c.account
	mostBytes, most := int64(MaxAnnotationBytes), int64(maxAnnotationNames)
	for _, bc := range c.boxes {
		if bc.guest != 0 {
			mostBytes, most = mostBytes/2, most/2
			break
		}
	}
	switch {
	case after.AnnotationBytes > before.AnnotationBytes && after.AnnotationBytes > mostBytes:
		return errAnnotationBytes
	case after.Annotations > before.Annotations && after.Annotations > most:
		return errAnnotationNames
	}
	return nil
}

// dropAnnotation removes a record.
func (c *change) dropAnnotation(r Record) error {
	list, err := readAnnotations(r)
	if err != nil {
		return err
	}
	for _, x := range list {
		if x.Value != nil {
			c.account.Annotations--
			c.account.AnnotationBytes -= int64(len(x.Value))
		}
	}
	c.batch.Records = append(c.batch.Records, Record{Kind: annotationKind, Key: r.Key})
	return nil
}

// dropAnnotations removes those of a mailbox: all, or one person's.
func (c *change) dropAnnotations(ctx context.Context, mailbox mail.MailboxID, whose func(person string) bool) error {
	prefix := annotationsOf(c.a.id, mailbox)
	records, err := c.a.store.engine.Records(ctx, annotationKind, prefix)
	for _, r := range records {
		_, person, cut := cutAnnotationKey(r.Key, prefix)
		if err = cut; err != nil {
			break
		}
		if !whose(person) {
			continue
		}
		if err = c.dropAnnotation(r); err != nil {
			break
		}
	}
	return err
}

// moveAnnotations gives messages that have other UIDs in another mailbox their annotations,
// and removes those of all others.
func (c *change) moveAnnotations(ctx context.Context, from, to mail.MailboxID, uids map[mail.UID]mail.UID) error {
	prefix := annotationsOf(c.a.id, from)
	records, err := c.a.store.engine.Records(ctx, annotationKind, prefix)
	for _, r := range records {
		uid, person, cut := cutAnnotationKey(r.Key, prefix)
		if err = cut; err != nil {
			return err
		}
		next, there := uids[uid]
		if !there {
			if err = c.dropAnnotation(r); err != nil {
				return err
			}
			continue
		}
		c.batch.Records = append(c.batch.Records, Record{Kind: annotationKind, Key: r.Key},
			Record{Kind: annotationKind, Key: fmt.Sprintf("%s%08x/%s", annotationsOf(c.a.id, to), uint32(next), person), Value: r.Value})
	}
	return err
}

// appendAnnotations is the value of a record.
func appendAnnotations(dst []byte, list []Annotation) []byte {
	for _, x := range list {
		dst = append(binary.AppendUvarint(dst, uint64(len(x.Entry))), x.Entry...)
		dst = binary.AppendUvarint(dst, uint64(x.ModSeq))
		if x.Value == nil {
			dst = append(dst, 0)
			continue
		}
		dst = append(binary.AppendUvarint(dst, uint64(len(x.Value))+1), x.Value...)
	}
	return dst
}

// readAnnotations gives the entries of a record. Their values share its bytes.
func readAnnotations(r Record) ([]Annotation, error) {
	b, bad := r.Value, false
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if bad = bad || size <= 0; bad {
			return 0
		}
		b = b[size:]
		return n
	}
	bytes := func(n uint64) []byte {
		if bad = bad || n > uint64(len(b)); bad {
			return nil
		}
		part := b[:n:n]
		b = b[n:]
		return part
	}
	var list []Annotation
	for len(b) > 0 && !bad {
		x := Annotation{Entry: string(bytes(number())), ModSeq: mail.ModSeq(number())}
		if n := number(); n > 0 {
			x.Value = bytes(n - 1)
		}
		bad = bad || len(list) > 0 && list[len(list)-1].Entry >= x.Entry
		list = append(list, x)
	}
	if bad {
		return nil, damagedAnnotations(r.Key)
	}
	return list, nil
}
