package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Commit implements store.Engine: one Pebble batch, applied at once and made durable
// together with whatever else waits.
func (e *Engine) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	if err := e.refused(); err != nil {
		return nil, err
	}
	if len(b.Emails) > 0 {
		if err := e.space(); err != nil {
			return nil, err
		}
	}
	id := b.Account.ID
	filed, err := e.bodyFiles.write(id, b.Emails, e.bodyFiles.from, nil)
	made := false
	defer func() {
		for _, w := range filed {
			if !made && w.file != nil {
				e.bodyFiles.waste(w.spot)
			}
		}
		e.bodyFiles.release(filed)
	}()
	if err != nil {
		return nil, err
	}
	sh := e.shard(id)
	sh.Lock()
	defer sh.Unlock()
	head, found, err := e.head(id)
	switch {
	case err != nil:
		return nil, err
	case b.Create && found:
		return nil, mail.Errorf(mail.KindAlreadyExists, "account %v exists", id)
	case !b.Create && !found:
		return nil, noAccount(id)
	case !b.Create && head.ModSeq != b.Expect:
		return nil, mail.Errorf(mail.KindConflict, "account %v was changed meanwhile", id)
	}
	c := &change{engine: e, id: id, batch: e.db.NewBatchWithSize(e.sizeOf(b)), filed: filed}
	if b.Remove {
		c.removeAccount()
		c.records(b.Records)
	} else {
		buf, _ := e.values.Get().(*[]byte)
		if buf == nil {
			buf = new([]byte)
		}
		c.buf = *buf
		c.write(b)
		if *buf = c.buf[:0]; cap(*buf) <= maxKept {
			e.values.Put(buf)
		}
	}
	if c.err != nil {
		c.batch.Close()
		return nil, c.err
	}
	wait, err := e.apply(c.batch)
	if err != nil {
		return nil, err
	}
	made = true
	sh.commits++
	if !b.Remove {
		e.repacking.wrote(b)
	}
	return wait, nil
}

// maxKept bounds the memory that is kept for the values of later batches.
const maxKept = 1 << 20

// apply makes batch, which is its own then, visible; wait tells when it is durable.
func (e *Engine) apply(batch *pebble.Batch) (wait func() error, err error) {
	visible := e.spoiled.written(batch)
	g, err := e.ahead.add(batch)
	visible()
	batch.Close()
	if err != nil {
		return nil, err
	}
	if e.ahead.crowded() {
		e.ahead.wait(g)
	}
	return func() error {
		e.ahead.wait(g)
		if e.disk.broken() != nil {
			return e.unavailable()
		}
		return nil
	}, nil
}

// guard calls Pebble to write. A panic of Pebble ends the engine, not the process.
func (e *Engine) guard(write func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e.goneMad(fmt.Errorf("pebble panicked: %v", r))
			err = e.unavailable()
		}
	}()
	return e.readError(write())
}

// sizeOf guesses how many bytes b needs, to take them at once.
func (e *Engine) sizeOf(b *store.Batch) int {
	entries := 0
	for i := range b.Messages {
		entries += len(b.Messages[i].Entries)
	}
	each := 96
	if entries >= e.runFrom {
		each = 32
	}
	n := 1024 + 256*len(b.Mailboxes) + 32*len(b.References) + 48*len(b.Threads) + each*entries
	for i := range b.Records {
		n += 64 + len(b.Records[i].Key) + len(b.Records[i].Value)
	}
	for i := range b.Emails {
		n += len(b.Emails[i].Summary) + len(b.Emails[i].Text) + len(b.Emails[i].Filter) + 288
		if len(b.Emails[i].Body) < e.bodyFiles.from {
			n += len(b.Emails[i].Body)
		}
	}
	return n
}

// change fills a Pebble batch with what a store.Batch asks. After an error the rest
// does nothing.
type change struct {
	engine *Engine
	id     mail.AccountID
	batch  *pebble.Batch
	buf    []byte    // for values
	runs   uint32    // written so far
	filed  []written // of the batch's emails; nil when none is large
	err    error
}

func (c *change) set(key, value []byte) {
	if c.err == nil {
		c.err = mail.Wrap(mail.KindServerBug, c.batch.Set(key, value, nil))
	}
}

func (c *change) delete(key []byte) {
	if c.err == nil {
		c.err = mail.Wrap(mail.KindServerBug, c.batch.Delete(key, nil))
	}
}

func (c *change) deleteRange(lower, upper []byte) {
	if c.err == nil {
		c.err = mail.Wrap(mail.KindServerBug, c.batch.DeleteRange(lower, upper, nil))
	}
}

func (c *change) bug(format string, args ...any) {
	if c.err == nil {
		c.err = mail.Errorf(mail.KindServerBug, format, args...)
	}
}

// wasteBody tells the files of bodies that one is not needed any more.
func (c *change) wasteBody(m mail.EmailID) {
	// One that cannot be read is found when its file is looked at after a restart.
	_, _ = c.engine.get(bodyKey(c.id, m, 0), func(v []byte) error {
		if s, is, ok := decodeSpot(v); is && ok {
			c.engine.bodyFiles.waste(s)
		}
		return nil
	})
}

// removeAccount deletes all that an account has.
func (c *change) removeAccount() {
	c.engine.bodyFiles.wasteUnknown()
	c.delete(headKey(c.id))
	for _, zone := range []byte{zoneAccounts, zoneSummaries, zoneTexts, zoneBodies, zoneFilters} {
		prefix := inAccount(zone, c.id)
		c.deleteRange(prefix, after(prefix))
	}
}

func (c *change) write(b *store.Batch) {
	if b.Account.ModSeq <= b.Expect || c.id == 0 {
		c.bug("a batch must have an account and raise its modification sequence above %d", b.Expect)
	}
	c.set(headKey(c.id), appendHead(nil, &b.Account))
	for i := range b.Mailboxes {
		c.buf = appendMailbox(c.buf[:0], &b.Mailboxes[i])
		c.set(mailboxKey(c.id, b.Mailboxes[i].ID), c.buf)
	}
	c.messages(b)
	c.expunge(b)
	for i := range b.Emails {
		c.email(&b.Emails[i])
		if c.filed != nil && c.filed[i].file != nil {
			c.set(bodyKey(c.id, b.Emails[i].ID, 0), c.filed[i].spot.append(nil))
		} else {
			c.body(&b.Emails[i])
		}
	}
	for _, r := range b.References {
		c.reference(r, b.Emails)
	}
	for i := range b.Rewritten {
		c.content(&b.Rewritten[i])
	}
	for _, t := range b.Threads {
		c.buf = binary.AppendUvarint(c.buf[:0], uint64(t.Thread))
		c.set(threadKey(c.id, t.Key), c.buf)
	}
	for _, m := range b.DeletedMailboxes {
		c.delete(mailboxKey(c.id, m))
		c.deleteRange(contentsKey(c.id, m, 0), contentsKey(c.id, m, 0xff))
	}
	for _, name := range b.Subscribe {
		c.set(subscriptionKey(c.id, name), nil)
	}
	for _, name := range b.Unsubscribe {
		c.delete(subscriptionKey(c.id, name))
	}
	c.records(b.Records)
}

// records writes the records that go with a change.
func (c *change) records(records []store.Record) {
	if len(records) == 0 {
		return
	}
	seen := map[string]bool{}
	for _, r := range records {
		key := recordKey(r.Kind, r.Key)
		switch {
		case r.Kind == "" || strings.IndexByte(r.Kind, 0) >= 0 || seen[string(key)] || len(r.Value) > maxRecordValue:
			c.bug("record %q %q cannot be written so", r.Kind, r.Key)
		case r.Value == nil:
			c.delete(key)
		default:
			c.set(key, appendRecord(nil, 1, r.Value))
		}
		seen[string(key)] = true
	}
}

// messages writes entries, each as a delta or, when they are many, as runs.
func (c *change) messages(b *store.Batch) {
	n, risen := 0, true
	for i := range b.Messages {
		n += len(b.Messages[i].Entries)
		for j := range b.Messages[i].Entries {
			risen = risen && b.Messages[i].Entries[j].ModSeq == b.Account.ModSeq
		}
	}
	// Runs find their order among deltas by ModSeq.
	if n >= c.engine.runFrom && risen {
		for _, m := range b.Messages {
			for part := range slices.Chunk(m.Entries, runEntries) {
				c.buf = appendChunk(c.buf[:0], part)
				c.run(m.Mailbox, b.Account.ModSeq)
			}
		}
		return
	}
	for _, m := range b.Messages {
		key := deltaKey(c.id, m.Mailbox, 0)
		for i := range m.Entries {
			binary.BigEndian.PutUint32(key[contentsPrefix:], uint32(m.Entries[i].UID))
			c.buf = appendChunk(c.buf[:0], m.Entries[i:i+1])
			c.set(key, c.buf)
		}
	}
}

// run writes what is in buf as the next value of a run.
func (c *change) run(mailbox mail.MailboxID, modSeq mail.ModSeq) {
	c.set(runKey(c.id, mailbox, modSeq, c.runs), c.buf)
	c.runs++
}

func (c *change) expunge(b *store.Batch) {
	n := uint64(0)
	for i := range b.Expunged {
		n += b.Expunged[i].UIDs.Len()
	}
	for i, x := range b.Expunged {
		if n >= uint64(c.engine.runFrom) {
			for part := range split(x.UIDs, runEntries) {
				c.buf = appendGone(c.buf[:0], part)
				c.run(x.Mailbox, b.Account.ModSeq)
			}
		} else {
			key := deltaKey(c.id, x.Mailbox, 0)
			for uid := range x.UIDs.All() {
				binary.BigEndian.PutUint32(key[contentsPrefix:], uid)
				c.set(key, nil)
			}
		}
		set := x.UIDs
		for _, y := range b.Expunged[:i] {
			if y.Mailbox == x.Mailbox && y.ModSeq == x.ModSeq {
				set = set.Union(y.UIDs)
			}
		}
		c.buf = appendNumSet(c.buf[:0], set)
		c.set(vanishedKey(c.id, x.Mailbox, x.ModSeq), c.buf)
	}
}

// split gives set in parts of at most n numbers.
func split(set mail.NumSet, n uint64) iter.Seq[mail.NumSet] {
	return func(yield func(mail.NumSet) bool) {
		var part mail.NumSet
		room := n
		for _, r := range set {
			for first := uint64(r.First); first <= uint64(r.Last); {
				last := min(uint64(r.Last), first+room-1)
				part = append(part, mail.NumRange{First: uint32(first), Last: uint32(last)})
				room -= last - first + 1
				first = last + 1
				if room == 0 {
					if !yield(part) {
						return
					}
					part, room = part[:0], n
				}
			}
		}
		if len(part) > 0 {
			yield(part)
		}
	}
}

// email writes new content. Its one reference and one piece are not written.
func (c *change) email(m *store.Email) {
	if uint64(len(m.Body)) > 1<<32-1 {
		c.bug("a body of more than 4 GiB")
		return
	}
	if m.Summary == nil {
		c.set(contentKey(zoneSummaries, c.id, m.ID), nil)
	}
	c.content(m)
}

// content writes what was computed of an email.
func (c *change) content(m *store.Email) {
	if m.Summary != nil {
		c.set(contentKey(zoneSummaries, c.id, m.ID), m.Summary)
	}
	if len(m.Text) > 0 {
		c.buf = appendText(c.buf[:0], m.Text)
		c.set(contentKey(zoneTexts, c.id, m.ID), c.buf)
	}
	if len(m.Filter) > 0 {
		c.set(contentKey(zoneFilters, c.id, m.ID), m.Filter)
	}
}

// body writes a body into Pebble.
func (c *change) body(m *store.Email) {
	if c.err != nil {
		return
	}
	body := m.Body
	first := body[:min(len(body), pieceSize)]
	c.buf = binary.AppendUvarint(c.buf[:0], uint64(len(body)))
	key := bodyKey(c.id, m.ID, 0)
	op := c.batch.SetDeferred(len(key), len(c.buf)+len(first))
	copy(op.Key, key)
	copy(op.Value[copy(op.Value, c.buf):], first)
	if err := op.Finish(); err != nil && c.err == nil {
		c.err = mail.Wrap(mail.KindServerBug, err)
	}
	n := uint32(1)
	for off := pieceSize; off < len(body); off += pieceSize {
		binary.BigEndian.PutUint32(key[len(key)-4:], n)
		c.set(key, body[off:min(off+pieceSize, len(body))])
		n++
	}
	if n > 1 {
		c.set(emailKey(c.id, m.ID), stored{1, n}.append(nil))
	}
}

// reference changes a count, and removes the email when it comes to 0. The emails
// of this batch are not in the store yet.
func (c *change) reference(r store.Reference, fresh []store.Email) {
	if c.err != nil || r.Delta == 0 {
		return
	}
	x := stored{1, 1}
	if i := slices.IndexFunc(fresh, func(m store.Email) bool { return m.ID == r.Email }); i >= 0 {
		x.pieces = c.piecesOf(i, fresh)
	} else if _, err := c.engine.get(emailKey(c.id, r.Email), func(v []byte) error {
		var ok bool
		if x, ok = decodeStored(v); !ok {
			return damaged("the count of message %v of account %v", r.Email, c.id)
		}
		return nil
	}); err != nil {
		c.err = err
		return
	}
	n := int64(x.references) + int64(r.Delta)
	switch {
	case n < 0 || n > 1<<32-1:
		c.bug("email %v would have %d references", r.Email, n)
	case n > 0:
		x.references = uint32(n)
		if x == (stored{1, 1}) {
			c.delete(emailKey(c.id, r.Email))
		} else {
			c.set(emailKey(c.id, r.Email), x.append(nil))
		}
	default:
		c.delete(contentKey(zoneSummaries, c.id, r.Email))
		c.delete(contentKey(zoneTexts, c.id, r.Email))
		c.delete(contentKey(zoneFilters, c.id, r.Email))
		c.wasteBody(r.Email)
		for i := range x.pieces {
			c.delete(bodyKey(c.id, r.Email, i))
		}
		if x != (stored{1, 1}) {
			c.delete(emailKey(c.id, r.Email))
		}
	}
}

// piecesOf gives how many values the body of the i-th new email has.
func (c *change) piecesOf(i int, fresh []store.Email) uint32 {
	if c.filed != nil && c.filed[i].file != nil {
		return 1
	}
	return pieces(len(fresh[i].Body))
}

func pieces(size int) uint32 { return uint32(max(1, (size+pieceSize-1)/pieceSize)) }

// maxRecordValue bounds Record.Value, in bytes.
const maxRecordValue = 1 << 20

// Records implements store.Engine.
func (e *Engine) Records(ctx context.Context, kind, prefix string) ([]store.Record, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	var out []store.Record
	before := len(recordKey(kind, ""))
	lower := recordKey(kind, prefix)
	err := e.scan(ctx, lower, after(lower), func(k, v []byte) (bool, error) {
		revision, value, ok := decodeRecord(v)
		if !ok {
			return false, damaged("record %q %q", kind, k[before:])
		}
		out = append(out, store.Record{Kind: kind, Key: string(k[before:]), Value: append([]byte{}, value...), Revision: revision})
		return true, nil
	})
	return out, err
}

// PutRecords implements store.Engine. KindBadArgument when a record is named
// twice, has no kind or a NUL in it; KindTooBig beyond 1 MiB.
func (e *Engine) PutRecords(ctx context.Context, records []store.Record) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	if err := e.refused(); err != nil {
		return err
	}
	wait, err := e.putRecords(records)
	if err != nil {
		return err
	}
	return wait()
}

func (e *Engine) putRecords(records []store.Record) (wait func() error, err error) {
	e.records.Lock()
	defer e.records.Unlock()
	batch := e.db.NewBatch()
	ours := true
	defer func() {
		if ours {
			batch.Close()
		}
	}()
	seen := map[string]bool{}
	for _, r := range records {
		key := recordKey(r.Kind, r.Key)
		switch {
		case r.Kind == "" || strings.IndexByte(r.Kind, 0) >= 0 || seen[string(key)]:
			return nil, mail.Errorf(mail.KindBadArgument, "record %q %q cannot be written so", r.Kind, r.Key)
		case len(r.Value) > maxRecordValue:
			return nil, mail.Errorf(mail.KindTooBig, "record %q %q is larger than 1 MiB", r.Kind, r.Key)
		}
		seen[string(key)] = true
		var revision uint64
		if _, err := e.get(key, func(v []byte) error {
			var ok bool
			if revision, _, ok = decodeRecord(v); !ok {
				return damaged("record %q %q", r.Kind, r.Key)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		if revision != r.Revision {
			return nil, mail.Errorf(mail.KindConflict, "record %q %q was changed meanwhile", r.Kind, r.Key)
		}
		if r.Value == nil {
			err = batch.Delete(key, nil)
		} else {
			err = batch.Set(key, appendRecord(nil, r.Revision+1, r.Value), nil)
		}
		if err != nil {
			return nil, mail.Wrap(mail.KindServerBug, err)
		}
	}
	if batch.Empty() {
		return func() error { return nil }, nil
	}
	ours = false
	return e.apply(batch)
}
