package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

// The mailboxes into which Repair puts what has no other place.
const (
	// DamagedMailbox has the messages whose content cannot be read.
	DamagedMailbox = "Damaged"
	// RecoveredMailbox has those whose mailbox is not known any more.
	RecoveredMailbox = "Recovered"
)

// Repair is something that was mended, or set aside.
type Repair struct {
	Part    DamagedPart
	Mailbox string
	UID     mail.UID // before it was mended
	// Lost tells that something is gone that was not computed of something else.
	Lost   bool
	Detail string // a sentence: what was done, and what is lost
}

// rewriteAtOnce bounds the emails of which what is computed is written anew in one change.
const rewriteAtOnce = 100

// RepairStage is what a repair is at, in words.
type RepairStage string

// The stages of a repair.
const (
	RepairReads RepairStage = "Reading messages"
	RepairMends RepairStage = "Mending messages"
)

// Repair mends an account, of which it reads everything as Verify does: what was computed
// of messages is computed again, counts are counted, an index that cannot be read whole is
// made again of what can be read and of the messages that nothing leads to, in a mailbox
// of the same name with another UIDVALIDITY. Nothing is deleted: a message whose content
// cannot be read goes to DamagedMailbox, one of which nobody knows where it was to
// RecoveredMailbox. It gives what it did. progress, which may be nil, is told of messages.
// What was mended before ctx ended stays, and the next repair mends the rest. KindCorrupt for
// a DamagedAccount, of which nothing can be mended here.
func (s *Store) Repair(ctx context.Context, id mail.AccountID, progress func(stage RepairStage, done, all int)) ([]Repair, error) {
	if progress == nil {
		progress = func(RepairStage, int, int) {}
	}
	var found []Damage
	if _, err := s.Verify(ctx, id, func(d Damage) error {
		if d.Part == DamagedAccount {
			return mail.Errorf(mail.KindCorrupt, "The account itself cannot be read: %s It must be restored from a backup.", d.Detail)
		}
		found = append(found, d)
		return nil
	}, func(done, all int) { progress(RepairReads, done, all) }); err != nil || len(found) == 0 {
		return nil, err
	}
	a, err := s.Account(ctx, id)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	r := &repairing{a: a, found: found, unreadable: map[mail.EmailID]string{}}
	for _, d := range found {
		if d.Part == DamagedBody {
			r.unreadable[d.Email] = d.Detail
		}
	}
	rewritten, err := r.rewrite(ctx, func(done, all int) { progress(RepairMends, done, all) })
	if err != nil {
		return rewritten, err
	}
	_, err = a.change(ctx, func(c *change) error {
		r.done = nil
		return r.rebuild(ctx, c)
	})
	if err != nil {
		return rewritten, err
	}
	return append(rewritten, r.done...), nil
}

// repairing is a repair under way.
type repairing struct {
	a          *Account
	found      []Damage
	unreadable map[mail.EmailID]string // why
	done       []Repair

	// Of rebuild.
	want map[mail.EmailID]int // references as they should be
}

func (r *repairing) did(part DamagedPart, mailbox string, uid mail.UID, lost bool, format string, args ...any) {
	r.done = append(r.done, Repair{part, mailbox, uid, lost, fmt.Sprintf(format, args...)})
}

// rewrite computes what was computed of messages, and is damaged, again.
func (r *repairing) rewrite(ctx context.Context, progress func(done, all int)) (done []Repair, err error) {
	s := r.a.store
	wanted := slices.DeleteFunc(slices.Clone(r.found), func(d Damage) bool {
		computed := d.Part == DamagedSummary || d.Part == DamagedText || d.Part == DamagedFilter || d.Part == DamagedThread
		return !computed || r.unreadable[d.Email] != ""
	})
	tried := 0
	for part := range slices.Chunk(wanted, rewriteAtOnce) {
		if err := ctx.Err(); err != nil {
			return done, mail.Wrap(mail.KindUnavailable, err)
		}
		var emails []Email
		var links []ThreadLink
		var some []Repair
		for _, d := range part {
			body, release, err := s.readWhole(ctx, r.a.id, d.Email)
			if mail.KindOf(err) == mail.KindExpunged {
				continue // meanwhile
			}
			if err != nil {
				return done, err
			}
			p := s.Prepare(body)
			x := Email{ID: d.Email}
			if d.Part == DamagedText {
				// Also where it would not be kept: what is damaged is to go.
				x.Text = message.Parse(body, message.DefaultLimits).SearchText()
			}
			release()
			switch d.Part {
			case DamagedSummary:
				x.Summary = p.summary
			case DamagedFilter:
				x.Filter = p.filter
			case DamagedThread:
				if !p.own {
					continue
				}
				links = append(links, ThreadLink{p.keys[0], r.threadOf(d)})
			}
			if d.Part != DamagedThread {
				emails = append(emails, x)
			}
			some = append(some, Repair{Part: d.Part, Mailbox: d.Mailbox, UID: d.UID, Detail: "It was computed again from the message."})
		}
		if _, err := r.a.change(ctx, func(c *change) error {
			there, err := r.there(ctx, byEmail(emails))
			c.touched, c.batch.Rewritten, c.batch.Threads = true, there, links
			return err
		}); err != nil {
			return done, err
		}
		s.columns.forgetAccount(r.a.id)
		done, tried = append(done, some...), tried+len(part)
		progress(tried, len(wanted))
	}
	return done, nil
}

// there gives those of list that nobody has expunged; the account is locked.
func (r *repairing) there(ctx context.Context, list []Email) (out []Email, err error) {
	for _, x := range list {
		b, err := r.a.store.engine.Body(ctx, r.a.id, x.ID)
		switch {
		case err == nil:
			b.Close()
		case mail.KindOf(err) == mail.KindExpunged:
			continue
		default:
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

// threadOf gives the conversation that the index says of a message.
func (r *repairing) threadOf(d Damage) mail.ThreadID {
	for _, b := range r.a.published.Load().names {
		if st := b.box.published.Load(); b.name == d.Mailbox && st.index != nil {
			if seq, ok := st.index.Seq(d.UID); ok {
				return st.index.At(seq).Thread
			}
		}
	}
	return mail.ThreadID(d.Email)
}

// byEmail gives one Email for each id.
func byEmail(list []Email) (out []Email) {
	for _, x := range list {
		i := slices.IndexFunc(out, func(y Email) bool { return y.ID == x.ID })
		if i < 0 {
			out = append(out, x)
			continue
		}
		y := &out[i]
		if x.Summary != nil {
			y.Summary = x.Summary
		}
		if x.Text != nil {
			y.Text = x.Text
		}
		if x.Filter != nil {
			y.Filter = x.Filter
		}
	}
	return out
}

// rebuild makes indexes, counts and references right.
func (r *repairing) rebuild(ctx context.Context, c *change) error {
	a := r.a
	engine := a.store.engine
	refs, err := engine.References(ctx, a.id)
	if err != nil {
		return err
	}
	have := make(map[mail.EmailID]int, len(refs))
	for _, x := range refs {
		have[x.Email] = x.Delta
	}
	r.want = map[mail.EmailID]int{}
	expunged, err := r.recoverable(ctx, c, have)
	if err != nil {
		return err
	}
	whole := map[mail.MailboxID][]Message{} // of the indexes that can be read
	broken := map[*box][]Message{}          // what can be read of the others
	for _, n := range a.names {
		list, err := engine.Messages(ctx, a.id, n.box.id, 0)
		switch {
		case err != nil && mail.KindOf(err) != mail.KindCorrupt:
			return err
		case err != nil:
			// A change that cannot be read may have removed what stands here again.
			list = slices.DeleteFunc(list, func(m Message) bool { return have[m.Email] == 0 || expunged[n.box.id].Contains(uint32(m.UID)) })
			broken[n.box] = list
		default:
			whole[n.box.id] = list
		}
		for i := range list {
			r.want[list[i].Email]++
		}
	}
	lost, err := r.lost(ctx, refs)
	if err != nil {
		return err
	}
	for _, n := range slices.Clone(a.names) {
		if list, ok := broken[n.box]; ok {
			var mine []Message
			if len(broken) == 1 {
				mine, lost = lost, nil
			}
			if err := r.remake(ctx, c, n, list, mine); err != nil {
				return err
			}
			continue
		}
		if err := r.setAside(ctx, c, n, whole[n.box.id]); err != nil {
			return err
		}
		if err := r.renumber(ctx, c, n, whole[n.box.id]); err != nil {
			return err
		}
	}
	if len(lost) > 0 {
		if err := r.put(c, RecoveredMailbox, lost); err != nil {
			return err
		}
		r.did(DamagedReferences, RecoveredMailbox, 0, true, "%d messages that were in no mailbox any more are in %s now; where they were, and their flags, are lost.", len(lost), RecoveredMailbox)
	}
	r.recount(c, whole)
	c.refs = map[mail.EmailID]int{}
	wrong := 0
	for _, x := range refs {
		if want := r.want[x.Email]; want != x.Delta {
			c.refs[x.Email] = want - x.Delta
			wrong++
		}
	}
	if wrong > 0 {
		r.did(DamagedReferences, "", 0, false, "How often emails are in mailboxes was counted again; of %d it was wrong.", wrong)
	}
	return nil
}

// recoverable makes the records of what was expunged right, and gives the UIDs that they
// have. The messages of those that cannot be read go to RecoveredMailbox: nobody knows where
// they were.
func (r *repairing) recoverable(ctx context.Context, c *change, have map[mail.EmailID]int) (map[mail.MailboxID]mail.NumSet, error) {
	a := r.a
	records, err := a.store.engine.Records(ctx, recoverableKind, a.recoverableOf())
	if err != nil {
		return nil, err
	}
	var list []*recoverable
	uids := map[mail.MailboxID]mail.NumSet{}
	for _, x := range records {
		g, err := readRecoverable(x)
		if err != nil {
			c.batch.Records = append(c.batch.Records, Record{Kind: x.Kind, Key: x.Key})
			r.did(DamagedRecoverable, "", 0, true, "A record of expunged messages could not be read; they are in %s now.", RecoveredMailbox)
			continue
		}
		var there []*Message
		all := g.entries
		g.entries = nil
		for i := range all {
			m := &all[i]
			if have[m.Email] == 0 {
				r.did(DamagedBody, g.folder, m.UID, true, "The content of a message that was expunged is missing; it cannot be brought back.")
				continue
			}
			c.account.NextEmail = max(c.account.NextEmail, m.Email+1)
			r.want[m.Email]++
			set := uids[g.mailbox]
			set.Add(uint32(m.UID))
			uids[g.mailbox] = set
			there = append(there, m)
			g.entries = append(g.entries, *m)
		}
		if len(there) < len(all) {
			y := Record{Kind: x.Kind, Key: x.Key}
			if len(there) > 0 {
				y.Value = g.append(nil, there)
			}
			c.batch.Records = append(c.batch.Records, y)
		}
		if len(there) > 0 {
			list = append(list, g)
		}
	}
	if !recoverableAgrees(&c.account, list) {
		var since int64
		c.account.Recoverable, c.account.RecoverableBytes, since = recoverableCount(list)
		c.recoverableFrom(since)
		r.did(DamagedRecoverable, "", 0, false, "What can be brought back was counted again.")
	}
	return uids, nil
}

// lost gives an entry for each email to which none leads.
func (r *repairing) lost(ctx context.Context, refs []Reference) (list []Message, err error) {
	a := r.a
	for _, x := range refs {
		if r.want[x.Email] > 0 {
			continue
		}
		m := Message{Email: x.Email, Thread: mail.ThreadID(x.Email), InternalDate: a.store.opt.Clock().Unix()}
		body, release, err := a.store.readWhole(ctx, a.id, x.Email)
		if err == nil {
			m.Size = uint32(len(body))
			p := a.store.Prepare(body)
			release()
			if p.own {
				threads, err := a.store.engine.Threads(ctx, a.id, p.keys[:1])
				if err == nil && threads[0] != 0 {
					m.Thread = threads[0]
				}
			}
		} else if mail.KindOf(err) != mail.KindCorrupt {
			return nil, err
		}
		err = a.store.engine.Summaries(ctx, a.id, []mail.EmailID{x.Email}, func(_ int, b []byte) error {
			s := message.Summary(b)
			if s.Valid() == nil {
				if sent, ok := s.Sent(); ok {
					m.InternalDate = sent.Unix()
				}
				if m.Size == 0 {
					m.Size = uint32(s.Size())
				}
			}
			return nil
		})
		if err != nil && mail.KindOf(err) != mail.KindCorrupt {
			return nil, err
		}
		list = append(list, m)
		r.want[x.Email] = 1
	}
	return list, nil
}

// remake puts what could be read of an index, and what was found again, into a new mailbox
// of the same name.
func (r *repairing) remake(ctx context.Context, c *change, n treeName, list, found []Message) error {
	old := c.use(n.box)
	before := old.record
	c.grant(old, nil)
	old.deleted, old.touched, c.naming = true, true, true
	if err := c.moveRecords(ctx, metadataKind, metadataOf(c.a.id, before.ID), metadataOf(c.a.id, c.account.NextMailbox)); err != nil {
		return err
	}
	if err := c.dropRecords(ctx, marksKind, marksOf(c.a.id, before.ID)); err != nil {
		return err
	}
	bc := c.create(before.Name, before.SpecialUse)
	bc.record.Keywords, bc.record.Created = before.Keywords, before.Created
	c.grant(bc, before.Grants)
	kept, aside := list[:0:0], list[:0:0]
	for _, m := range list {
		if r.unreadable[m.Email] == "" {
			kept = append(kept, m)
		} else {
			aside = append(aside, m)
		}
	}
	moved := map[mail.UID]mail.UID{} // the UIDs of now by those of before
	for _, m := range slices.Concat(kept, found) {
		saved := m.Saved
		uid, err := c.append(bc, m)
		if err != nil {
			return err
		}
		moved[m.UID] = uid
		if saved != 0 {
			bc.appended[len(bc.appended)-1].Saved = saved
		}
	}
	if err := c.moveAnnotations(ctx, before.ID, bc.record.ID, moved); err != nil {
		return err
	}
	r.did(DamagedIndex, before.Name, 0, true, "The mailbox was made again with another UIDVALIDITY: %d messages are as they were, %d were found again without their flags and dates; %d were counted before.", len(kept), len(found), before.Messages)
	return r.putAside(c, before.Name, aside)
}

// setAside takes messages that cannot be read out of a mailbox.
func (r *repairing) setAside(ctx context.Context, c *change, n treeName, list []Message) error {
	var aside []Message
	for _, m := range list {
		if r.unreadable[m.Email] != "" {
			aside = append(aside, m)
		}
	}
	if len(aside) == 0 || n.name == DamagedMailbox {
		return nil
	}
	if err := c.a.open(ctx, n.box); err != nil {
		return err
	}
	bc := c.use(n.box)
	for i := range aside {
		c.expunge(bc, &aside[i])
	}
	return r.putAside(c, n.name, aside)
}

// renumber makes sure that what stands in a mailbox was given out.
func (r *repairing) renumber(ctx context.Context, c *change, n treeName, list []Message) error {
	head := c.a.head
	record := n.box.record
	c.account.NextMailbox = max(c.account.NextMailbox, n.box.id+1)
	if record.UIDValidity >= head.NextUIDValidity {
		c.account.NextUIDValidity, c.touched = max(c.account.NextUIDValidity, record.UIDValidity+1), true
	}
	var wrong []Message
	next := record.UIDNext
	for _, m := range list {
		c.account.NextEmail = max(c.account.NextEmail, m.Email+1)
		next = max(next, m.UID+1)
		known := mail.Keyword(len(record.Keywords)) - 1
		if m.ModSeq > head.ModSeq || m.ModSeq > record.HighestModSeq || m.Flags&^known != 0 {
			m.Flags &= known
			wrong = append(wrong, m)
		}
	}
	c.touched = c.touched || c.account.NextEmail != head.NextEmail || c.account.NextMailbox != head.NextMailbox
	if next == record.UIDNext && len(wrong) == 0 && record.HighestModSeq <= head.ModSeq {
		return nil
	}
	if err := c.a.open(ctx, n.box); err != nil {
		return err
	}
	bc := c.use(n.box)
	bc.record.UIDNext, bc.touched = max(bc.record.UIDNext, next), true
	bc.record.HighestModSeq = c.seq
	for i := range wrong {
		if !bc.removed.Contains(uint32(wrong[i].UID)) {
			c.flag(bc, &wrong[i], wrong[i].Flags)
		}
	}
	r.did(DamagedNumber, n.name, 0, false, "Its numbers are of the account again.")
	return nil
}

// putAside puts messages of a mailbox into DamagedMailbox, each content once.
func (r *repairing) putAside(c *change, from string, list []Message) error {
	for _, m := range list {
		r.did(DamagedBody, from, m.UID, true, "Its content cannot be read (%s); the message is in %s now.", r.unreadable[m.Email], DamagedMailbox)
		if r.want[m.Email] > 1 {
			r.want[m.Email]--
			continue
		}
		m.Flags &= mail.SystemFlags
		if err := r.put(c, DamagedMailbox, []Message{m}); err != nil {
			return err
		}
	}
	return nil
}

// put puts messages into a mailbox, which is made if it is not there.
func (r *repairing) put(c *change, name string, list []Message) error {
	bc := c.namedOrNew(name)
	for _, m := range list {
		if _, err := c.append(bc, m); err != nil {
			return err
		}
	}
	return nil
}

// moveRecords gives records that belong to a mailbox to another.
func (c *change) moveRecords(ctx context.Context, kind, from, to string) error {
	records, err := c.a.store.engine.Records(ctx, kind, from)
	for _, r := range records {
		c.batch.Records = append(c.batch.Records, Record{Kind: kind, Key: r.Key}, Record{Kind: kind, Key: to + strings.TrimPrefix(r.Key, from), Value: r.Value})
	}
	return err
}

// recount counts mailboxes and the account again, as they are after the change.
func (r *repairing) recount(c *change, whole map[mail.MailboxID][]Message) {
	head := c.account
	c.account.Bytes, c.account.Messages = 0, 0
	add := func(record *MailboxRecord, index []Message, was MailboxRecord) (wrong bool) {
		now := counted(*record, index)
		c.account.Bytes += now.Bytes
		c.account.Messages += int64(now.Messages)
		wrong = was.Messages != now.Messages || was.Unseen != now.Unseen || was.Deleted != now.Deleted || was.Bytes != now.Bytes
		record.Messages, record.Unseen, record.Deleted, record.Bytes = now.Messages, now.Unseen, now.Deleted, now.Bytes
		return wrong
	}
	for _, bc := range c.boxes {
		if bc.deleted {
			continue
		}
		index := slices.DeleteFunc(slices.Clone(whole[bc.box.id]), func(m Message) bool { return bc.removed.Contains(uint32(m.UID)) })
		for _, m := range bc.changed {
			if i := slices.IndexFunc(index, func(x Message) bool { return x.UID == m.UID }); i >= 0 {
				index[i] = m
			}
		}
		if add(&bc.record, append(index, bc.appended...), bc.record) {
			bc.touched = true
			r.did(DamagedCount, bc.record.Name, 0, false, "Its messages were counted again.")
		}
	}
	for _, n := range c.a.names {
		if slices.ContainsFunc(c.boxes, func(bc *boxChange) bool { return bc.box == n.box }) {
			continue
		}
		record := n.box.record
		if add(&record, whole[n.box.id], n.box.record) {
			bc := c.use(n.box)
			bc.record, bc.touched = record, true
			r.did(DamagedCount, n.name, 0, false, "Its messages were counted again.")
		}
	}
	if head.Bytes != c.account.Bytes || head.Messages != c.account.Messages {
		c.touched = true
		r.did(DamagedQuota, "", 0, false, "What the account has was counted again.")
	}
}
