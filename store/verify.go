package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

// DamagedPart says what of an account is not as it was written.
type DamagedPart string

// The parts. Repair mends all but DamagedAccount, and sets aside what has a DamagedBody.
const (
	DamagedAccount    DamagedPart = "Account"    // its head or a mailbox's record cannot be read: nothing can
	DamagedIndex      DamagedPart = "Index"      // of a mailbox: some of what is in it cannot be read
	DamagedCount      DamagedPart = "Count"      // of a mailbox: it is not what the index has
	DamagedQuota      DamagedPart = "Quota"      // what is counted as the account's use
	DamagedNumber     DamagedPart = "Number"     // a UID, a MODSEQ, a keyword or an email's number that was never given out
	DamagedReferences DamagedPart = "References" // how often an email is counted to be in mailboxes
	DamagedBody       DamagedPart = "Body"       // a message's content
	DamagedSummary    DamagedPart = "Summary"    // what is computed of a message: envelope, structure, header fields
	DamagedText       DamagedPart = "SearchText"
	DamagedFilter     DamagedPart = "SearchFilter"
	DamagedThread     DamagedPart = "Thread"
	// DamagedRecoverable is a record of what was expunged and can be brought back, or the
	// count of that. One whose content is damaged has the other parts.
	DamagedRecoverable DamagedPart = "Recoverable"
)

// Damage is something of an account that is not as it was written.
type Damage struct {
	Part    DamagedPart
	Mailbox string       // its name; "" when it is not of one
	UID     mail.UID     // 0 when it is not of a message
	Email   mail.EmailID // 0 when it is not of a message's content
	Detail  string       // a sentence; it names the file where that is known
}

// Verified is how much was looked at.
type Verified struct {
	Mailboxes, Messages int
	Recoverable         int   // messages that were expunged and can be brought back
	Bytes               int64 // of all of these, each content counted once
}

// inspection is an account's state as the engine holds it at one moment.
type inspection struct {
	state   AccountState
	indexes map[mail.MailboxID][]Message
	broken  map[mail.MailboxID]error // indexes that cannot be read whole
	have    map[mail.EmailID]int     // references as they are counted; nil when they cannot be read
	refs    error
	// What was expunged and can be brought back: the records that can be read, and what is
	// wrong with the others.
	recoverable []*recoverable
	unreadable  []error
}

// maxInspections bounds how often an account is looked at again because it changed
// meanwhile.
const maxInspections = 5

// inspect reads an account's state. It is at rest when quiet is set; else it is read again
// when it changed meanwhile, and quiet is false at the end when it did not stop changing.
func (s *Store) inspect(ctx context.Context, id mail.AccountID) (in *inspection, quiet bool, err error) {
	for range maxInspections {
		in = &inspection{indexes: map[mail.MailboxID][]Message{}, broken: map[mail.MailboxID]error{}}
		if in.state, err = s.engine.Account(ctx, id); err != nil {
			return nil, false, err
		}
		for _, r := range in.state.Mailboxes {
			list, err := s.engine.Messages(ctx, id, r.ID, 0)
			switch {
			case err == nil:
			case mail.KindOf(err) == mail.KindCorrupt:
				in.broken[r.ID] = err
			case mail.KindOf(err) == mail.KindNotFound: // deleted meanwhile: read again
			default:
				return nil, false, err
			}
			in.indexes[r.ID] = list
		}
		if in.recoverable, in.unreadable, err = s.recoverableOf(ctx, id); err != nil {
			return nil, false, err
		}
		refs, err := s.engine.References(ctx, id)
		switch {
		case err == nil:
			in.have = make(map[mail.EmailID]int, len(refs))
			for _, r := range refs {
				in.have[r.Email] = r.Delta
			}
		case mail.KindOf(err) == mail.KindCorrupt:
			in.refs = err
		default:
			return nil, false, err
		}
		after, err := s.engine.Account(ctx, id)
		if err != nil {
			return nil, false, err
		}
		if after.Account.ModSeq == in.state.Account.ModSeq {
			return in, true, nil
		}
	}
	return in, false, nil
}

// recoverableOf gives the records of an account of what was expunged, and what is wrong with
// those that cannot be read.
func (s *Store) recoverableOf(ctx context.Context, id mail.AccountID) (list []*recoverable, unreadable []error, err error) {
	records, err := s.engine.Records(ctx, recoverableKind, id.String()+"/")
	if err != nil && mail.KindOf(err) == mail.KindCorrupt {
		return nil, []error{err}, nil
	}
	for _, r := range records {
		if g, bad := readRecoverable(r); bad == nil {
			list = append(list, g)
		} else {
			unreadable = append(unreadable, bad)
		}
	}
	return list, unreadable, err
}

// recoverableCount gives what an account's head is to say of its records, since included, of
// which an earlier one does no harm.
func recoverableCount(list []*recoverable) (messages, bytes, since int64) {
	for _, g := range list {
		messages += int64(len(g.entries))
		for i := range g.entries {
			bytes += int64(g.entries[i].Size)
		}
		if since == 0 || g.at < since {
			since = g.at
		}
	}
	return messages, bytes, since
}

// recoverableAgrees tells whether a head says what its records are.
func recoverableAgrees(head *AccountRecord, list []*recoverable) bool {
	messages, bytes, since := recoverableCount(list)
	return head.Recoverable == messages && head.RecoverableBytes == bytes && (head.RecoverableSince == 0) == (since == 0) && head.RecoverableSince <= since
}

// counted gives the counters of a mailbox as its index has them.
func counted(r MailboxRecord, index []Message) MailboxRecord {
	bc := boxChange{record: r}
	bc.record.Messages, bc.record.Unseen, bc.record.Deleted, bc.record.Bytes = uint32(len(index)), 0, 0, 0
	for i := range index {
		bc.count(&index[i], 1)
	}
	return bc.record
}

// structure finds what of the indexes and counts does not agree.
func (in *inspection) structure(each func(Damage) error) error {
	head := in.state.Account
	want := map[mail.EmailID]int{}
	var bytes, messages int64
	for _, r := range in.state.Mailboxes {
		say := func(part DamagedPart, uid mail.UID, format string, args ...any) error {
			return each(Damage{Part: part, Mailbox: r.Name, UID: uid, Detail: fmt.Sprintf(format, args...)})
		}
		index := in.indexes[r.ID]
		if err := in.broken[r.ID]; err != nil {
			if err := say(DamagedIndex, 0, "%s", mail.TextOf(err)); err != nil {
				return err
			}
		} else if c := counted(r, index); c.Messages != r.Messages || c.Unseen != r.Unseen || c.Deleted != r.Deleted || c.Bytes != r.Bytes {
			if err := say(DamagedCount, 0, "The mailbox has %d messages, %d of them unseen and %d deleted, with %d bytes; %d, %d, %d and %d are counted.",
				c.Messages, c.Unseen, c.Deleted, c.Bytes, r.Messages, r.Unseen, r.Deleted, r.Bytes); err != nil {
				return err
			}
		}
		if r.UIDValidity == 0 || r.UIDValidity >= head.NextUIDValidity || r.ID >= head.NextMailbox || r.HighestModSeq > head.ModSeq {
			if err := say(DamagedNumber, 0, "The mailbox has numbers that the account has not given out."); err != nil {
				return err
			}
		}
		last := mail.UID(0)
		for i := range index {
			m := &index[i]
			keywords := m.Flags &^ mail.SystemFlags
			if m.UID <= last || m.UID >= r.UIDNext || m.ModSeq > head.ModSeq || m.ModSeq > r.HighestModSeq || m.Email == 0 || m.Email >= head.NextEmail ||
				keywords>>mail.KeywordBit>>len(r.Keywords) != 0 {
				if err := say(DamagedNumber, m.UID, "The message has numbers or keywords that the mailbox has not given out."); err != nil {
					return err
				}
			}
			last = m.UID
			want[m.Email]++
			bytes += int64(m.Size)
		}
		messages += int64(len(index))
	}
	for _, err := range in.unreadable {
		if err := each(Damage{Part: DamagedRecoverable, Detail: mail.TextOf(err)}); err != nil {
			return err
		}
	}
	if len(in.unreadable) == 0 && !recoverableAgrees(&head, in.recoverable) {
		n, size, _ := recoverableCount(in.recoverable)
		if err := each(Damage{Part: DamagedRecoverable, Detail: fmt.Sprintf("%d expunged messages with %d bytes can be brought back; %d and %d are counted.", n, size, head.Recoverable, head.RecoverableBytes)}); err != nil {
			return err
		}
	}
	for _, g := range in.recoverable {
		for i := range g.entries {
			m := &g.entries[i]
			if want[m.Email]++; m.Email >= head.NextEmail {
				if err := each(Damage{Part: DamagedNumber, Mailbox: g.folder, UID: m.UID, Detail: "An expunged message has numbers that the account has not given out."}); err != nil {
					return err
				}
			}
		}
	}
	if len(in.broken) > 0 || len(in.unreadable) > 0 {
		return nil // the rest is not known
	}
	if bytes != head.Bytes || messages != head.Messages {
		if err := each(Damage{Part: DamagedQuota, Detail: fmt.Sprintf("The mailboxes have %d messages with %d bytes; %d and %d are counted.", messages, bytes, head.Messages, head.Bytes)}); err != nil {
			return err
		}
	}
	if in.refs != nil {
		return each(Damage{Part: DamagedReferences, Detail: mail.TextOf(in.refs)})
	}
	for _, m := range sortedEmails(in.have, want) {
		// One that is missing altogether is found when it is read.
		if have := in.have[m]; have != want[m] && have != 0 {
			if err := each(Damage{Part: DamagedReferences, Email: m, Detail: fmt.Sprintf("The email is in mailboxes, or recoverable, %d times; %d are counted.", want[m], have)}); err != nil {
				return err
			}
		}
	}
	return nil
}

func sortedEmails(sets ...map[mail.EmailID]int) []mail.EmailID {
	var all []mail.EmailID
	for _, set := range sets {
		for m := range set {
			all = append(all, m)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Verify reads everything of an account and gives each damage as it is found: it reads
// each message against its checksums, compares what was computed of it at delivery with
// what is computed of it now, and each index with the counts. It changes nothing, and the
// account may be used meanwhile. progress, which may be nil, is told for each message how many
// of how many are looked at. An error of each ends it. KindNotFound,
// KindUnavailable.
func (s *Store) Verify(ctx context.Context, id mail.AccountID, each func(Damage) error, progress func(done, all int)) (Verified, error) {
	var v Verified
	in, quiet, err := s.inspect(ctx, id)
	if err != nil {
		if mail.KindOf(err) == mail.KindCorrupt {
			err = each(Damage{Part: DamagedAccount, Detail: mail.TextOf(err)})
		}
		return v, err
	}
	if !quiet {
		// Held still for as long as it takes.
		a, err := s.Account(ctx, id)
		if err != nil {
			return v, err
		}
		defer a.Close()
		a.mu.Lock()
		in, quiet, err = s.inspect(ctx, id)
		a.mu.Unlock()
		if err != nil {
			return v, err
		}
		if !quiet {
			return v, mail.Errorf(mail.KindUnavailable, "The account changes too often to be looked at.")
		}
	}
	if err := in.structure(each); err != nil {
		return v, err
	}
	v.Mailboxes = len(in.state.Mailboxes)
	all := 0
	for _, index := range in.indexes {
		all += len(index)
	}
	for _, g := range in.recoverable {
		all += len(g.entries)
	}
	read := map[mail.EmailID]bool{}
	for _, r := range in.state.Mailboxes {
		for i := range in.indexes[r.ID] {
			if err := ctx.Err(); err != nil {
				return v, mail.Wrap(mail.KindUnavailable, err)
			}
			m := &in.indexes[r.ID][i]
			if v.Messages++; progress != nil {
				progress(v.Messages, all)
			}
			if read[m.Email] {
				continue
			}
			read[m.Email] = true
			found, err := s.verifyEmail(ctx, id, m)
			if err != nil {
				return v, err
			}
			v.Bytes += int64(m.Size)
			for _, d := range found {
				// It may have been expunged since the index was read.
				if there, err := s.stillThere(ctx, id, r.ID, m); err != nil {
					return v, err
				} else if !there {
					break
				}
				d.Mailbox, d.UID, d.Email = r.Name, m.UID, m.Email
				if err := each(d); err != nil {
					return v, err
				}
			}
		}
	}
	for _, g := range in.recoverable {
		for i := range g.entries {
			if err := ctx.Err(); err != nil {
				return v, mail.Wrap(mail.KindUnavailable, err)
			}
			m := &g.entries[i]
			v.Recoverable++
			if progress != nil {
				progress(v.Messages+v.Recoverable, all)
			}
			if read[m.Email] {
				continue
			}
			read[m.Email] = true
			if err := s.verifyRecoverable(ctx, id, g, m, each); err != nil {
				return v, err
			}
			v.Bytes += int64(m.Size)
		}
	}
	return v, nil
}

// verifyRecoverable reads the content of a message that was expunged.
func (s *Store) verifyRecoverable(ctx context.Context, id mail.AccountID, g *recoverable, m *Message, each func(Damage) error) error {
	found, err := s.verifyEmail(ctx, id, m)
	if err != nil || len(found) == 0 {
		return err
	}
	// It may have been forgotten since the records were read.
	records, err := s.engine.Records(ctx, recoverableKind, g.key)
	if err != nil {
		return err
	}
	there := false
	for _, r := range records {
		now, err := readRecoverable(r)
		there = there || err == nil && slices.ContainsFunc(now.entries, func(x Message) bool { return x.UID == m.UID })
	}
	for _, d := range found {
		if !there {
			break
		}
		if d.Part == DamagedThread {
			continue // once it is brought back
		}
		d.Mailbox, d.UID, d.Email, d.Detail = g.folder, m.UID, m.Email, d.Detail+" The message was expunged and can be brought back."
		if err := each(d); err != nil {
			return err
		}
	}
	return nil
}

// stillThere tells whether a message is in a mailbox now.
func (s *Store) stillThere(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, m *Message) (bool, error) {
	now, err := s.engine.Messages(ctx, id, mailbox, 0)
	if err != nil && mail.KindOf(err) != mail.KindCorrupt {
		if mail.KindOf(err) == mail.KindNotFound {
			err = nil
		}
		return false, err
	}
	_, there := slices.BinarySearchFunc(now, m.UID, func(x Message, uid mail.UID) int { return int(int64(x.UID) - int64(uid)) })
	return there, nil
}

// readWhole reads an email's body into memory of the bound that arriving messages have;
// release is to be called.
func (s *Store) readWhole(ctx context.Context, id mail.AccountID, email mail.EmailID) (body []byte, release func(), err error) {
	b, err := s.engine.Body(ctx, id, email)
	if err != nil {
		return nil, nil, err
	}
	defer b.Close()
	n := min(b.Size(), s.opt.Memory)
	if err := s.memory.Acquire(ctx, n); err != nil {
		return nil, nil, mail.Wrap(mail.KindUnavailable, err)
	}
	body = make([]byte, b.Size())
	if k, err := b.ReadAt(body, 0); k < len(body) {
		s.memory.Release(n)
		return nil, nil, err
	}
	return body, func() { s.memory.Release(n) }, nil
}

// verifyEmail reads a message's content and what is kept of it.
func (s *Store) verifyEmail(ctx context.Context, id mail.AccountID, m *Message) (found []Damage, err error) {
	add := func(part DamagedPart, detail string) { found = append(found, Damage{Part: part, Detail: detail}) }
	// damagedIf enters an error that is a damage, and gives one that is not.
	damagedIf := func(part DamagedPart, err error) error {
		if err != nil && mail.KindOf(err) == mail.KindCorrupt {
			add(part, mail.TextOf(err))
			return nil
		}
		return err
	}
	ids := []mail.EmailID{m.Email}
	var summary message.Summary
	if err := damagedIf(DamagedSummary, s.engine.Summaries(ctx, id, ids, func(_ int, b []byte) error {
		summary = slices.Clone(b)
		switch old := summary.Version(); {
		case b == nil:
			add(DamagedSummary, "It is missing.")
		case old != 0 && old != message.SummaryVersion: // of another Postern, which is no damage
		case summary.Valid() != nil:
			add(DamagedSummary, mail.TextOf(summary.Valid()))
		}
		return nil
	})); err != nil {
		return nil, err
	}
	nothing := func(int, []byte) error { return nil }
	if err := damagedIf(DamagedText, s.engine.Texts(ctx, id, ids, nothing)); err != nil {
		return nil, err
	}
	if err := damagedIf(DamagedFilter, s.engine.Filters(ctx, id, ids, nothing)); err != nil {
		return nil, err
	}
	body, release, err := s.readWhole(ctx, id, m.Email)
	if err != nil {
		if mail.KindOf(err) == mail.KindExpunged {
			add(DamagedBody, "It is missing.")
			return found, nil
		}
		return found, damagedIf(DamagedBody, err)
	}
	defer release()
	if len(body) != int(m.Size) {
		add(DamagedBody, fmt.Sprintf("It has %d bytes, and the mailbox says %d.", len(body), m.Size))
		return found, nil
	}
	p := s.Prepare(body)
	if summary.Valid() == nil && !bytes.Equal(summary, p.summary) {
		add(DamagedSummary, "It is not that of the message.")
	}
	if p.own {
		threads, err := s.engine.Threads(ctx, id, p.keys[:1])
		switch {
		case err != nil:
			if err := damagedIf(DamagedThread, err); err != nil {
				return nil, err
			}
		case threads[0] != m.Thread:
			add(DamagedThread, "Its conversation is not that of its Message-ID.")
		}
	}
	return found, nil
}
