package store

import (
	"context"

	"github.com/postern-mail/postern/mail"
)

// FlagOp is what STORE does with flags.
type FlagOp int

// The operations of RFC 3501, 6.4.6.
const (
	FlagsSet FlagOp = iota
	FlagsAdd
	FlagsRemove
)

// FlagChange is a change of flags.
type FlagChange struct {
	Op       FlagOp
	Flags    mail.Flags // system flags
	Keywords []string
}

// Stored says what StoreFlags did.
type Stored struct {
	ModSeq  mail.ModSeq // of the messages that changed; 0 when none did
	Changed mail.NumSet // UIDs whose flags are others now
	Failed  mail.NumSet // UIDs that were changed after unchangedSince (RFC 7162, 3.1.3)
}

// StoreFlags changes the flags of the messages among uids that still exist. With
// unchangedSince a message whose MODSEQ is above it is left alone and named in
// Failed. KindLimit when the mailbox cannot take another keyword.
func (m *Mailbox) StoreFlags(ctx context.Context, uids mail.NumSet, fc FlagChange, unchangedSince *mail.ModSeq) (Stored, error) {
	var out Stored
	if m.visit.guest != nil {
		return m.storeGuestFlags(ctx, uids, fc, unchangedSince)
	}
	seq, err := m.change(ctx, func(c *change, bc *boxChange) error {
		out = Stored{}
		keywords, err := c.keywords(bc, fc.Keywords, fc.Op != FlagsRemove)
		if err != nil {
			return err
		}
		flags := fc.Flags&mail.SystemFlags | keywords
		bc.changed = make([]Message, 0, min(uids.Len(), uint64(m.box.index.Len())))
		m.box.index.EachUID(uids, func(_ uint32, msg *Message) bool {
			if unchangedSince != nil && msg.ModSeq > *unchangedSince {
				out.Failed.Add(uint32(msg.UID))
				return true
			}
			next := flags
			switch fc.Op {
			case FlagsAdd:
				next = msg.Flags | flags
			case FlagsRemove:
				next = msg.Flags &^ flags
			}
			if next != msg.Flags {
				c.flag(bc, msg, next)
				out.Changed.Add(uint32(msg.UID))
			}
			return true
		})
		return nil
	})
	if len(out.Changed) > 0 {
		out.ModSeq = seq
	}
	return out, err
}

// storeGuestFlags is StoreFlags for a guest: of the flags named those are changed that
// its rights permit, and KindNoPermission when none is (RFC 4314, 4). What is its own
// goes into its marks.
func (m *Mailbox) storeGuestFlags(ctx context.Context, uids mail.NumSet, fc FlagChange, unchangedSince *mail.ModSeq) (Stored, error) {
	var out Stored
	seq, err := m.change(ctx, func(c *change, bc *boxChange) error {
		out = Stored{}
		k, err := c.own(ctx, m.visit, bc)
		if err != nil {
			return err
		}
		rights := m.visit.rights(&bc.record)
		may := rights.Flags()
		var keywords mail.Flags
		if rights.Has(mail.RightWrite) {
			if keywords, err = keywordsIn(&bc.keywords, fc.Keywords, fc.Op != FlagsRemove); err != nil {
				return err
			}
		}
		flags := (fc.Flags&mail.SystemFlags | keywords) & may
		named := fc.Flags&mail.SystemFlags != 0 || len(fc.Keywords) > 0
		if may == 0 || named && fc.Flags&mail.SystemFlags&may == 0 && (len(fc.Keywords) == 0 || !rights.Has(mail.RightWrite)) {
			return m.visit.may(&bc.record, mail.RightSeen|mail.RightWrite|mail.RightTrash)
		}
		m.box.index.EachUID(uids, func(_ uint32, msg *Message) bool {
			own := k.of(msg.UID)
			if unchangedSince != nil && max(msg.ModSeq, own.modSeq) > *unchangedSince {
				out.Failed.Add(uint32(msg.UID))
				return true
			}
			was := msg.Flags&commonFlags | own.flags
			next := was&^may | flags
			switch fc.Op {
			case FlagsAdd:
				next = was | flags
			case FlagsRemove:
				next = was &^ flags
			}
			if next == was {
				return true
			}
			if next&ownFlags != own.flags {
				bc.marked = append(bc.marked, mark{msg.UID, next & ownFlags, c.seq})
			}
			if next&commonFlags != msg.Flags&commonFlags {
				c.flag(bc, msg, msg.Flags&^commonFlags|next&commonFlags)
			}
			out.Changed.Add(uint32(msg.UID))
			return true
		})
		return nil
	})
	if len(out.Changed) > 0 {
		out.ModSeq = seq
	}
	return out, err
}

// Expunge removes those of uids, or of all messages when it is nil, that have
// \Deleted, and says which. They can be brought back (Account.Restore) for as long as
// Recovery says.
func (m *Mailbox) Expunge(ctx context.Context, uids *mail.NumSet) (mail.NumSet, mail.ModSeq, error) {
	among := mail.NumSet{{First: 1, Last: mail.MaxNum}}
	if uids != nil {
		among = *uids
	}
	return m.removeIf(ctx, among, func(bc *boxChange, msg *Message) (doomed, more bool) {
		// The count says when there are none left: CLOSE of a large mailbox is cheap.
		return msg.Flags.Has(mail.Deleted), bc.record.Deleted > 0
	})
}

// Remove removes the messages among uids whatever their flags, all or none.
func (m *Mailbox) Remove(ctx context.Context, uids mail.NumSet) (mail.NumSet, mail.ModSeq, error) {
	return m.removeIf(ctx, uids, func(*boxChange, *Message) (doomed, more bool) { return true, true })
}

func (m *Mailbox) removeIf(ctx context.Context, uids mail.NumSet, test func(*boxChange, *Message) (doomed, more bool)) (mail.NumSet, mail.ModSeq, error) {
	var out mail.NumSet
	seq, err := m.change(ctx, func(c *change, bc *boxChange) error {
		if err := m.visit.may(&bc.record, mail.RightExpunge); err != nil {
			return err
		}
		m.box.index.EachUID(uids, func(_ uint32, msg *Message) bool {
			doomed, more := test(bc, msg)
			if doomed {
				c.discard(bc, msg)
			}
			return more
		})
		out = bc.removed
		return nil
	})
	return out, seq, err
}

// Replace puts a message into the mailbox called dest, which is visited by the same
// person, and removes the one with uid, in one change: neither is seen without the
// other, and the quota counts the difference (RFC 8508). ModSeq is that of the removal.
// It needs the right i there, t and e here. KindExpunged when the message is gone;
// otherwise errors are those of Append. For a dest in another account see across.go.
func (m *Mailbox) Replace(ctx context.Context, uid mail.UID, to Visit, dest string, arrival Arrival) (Appended, error) {
	if to.account != m.account {
		return m.replaceAcross(ctx, uid, to, dest, arrival)
	}
	m.account.leaving.RLock() // as of a MOVE
	defer m.account.leaving.RUnlock()
	var out Appended
	seq, err := m.change(ctx, func(c *change, bc *boxChange) (err error) {
		if err := m.visit.may(&bc.record, mail.RightTrash|mail.RightExpunge); err != nil {
			return err
		}
		old := m.stored(uid)
		if old == nil {
			return errExpunged
		}
		if out, err = c.arrive(ctx, to, dest, []Arrival{arrival}, int64(old.Size), 1); err != nil {
			return err
		}
		c.discard(bc, old)
		return nil
	})
	out.ModSeq = seq
	return out, to.shown(err)
}

var errExpunged = mail.Errorf(mail.KindExpunged, "The message no longer exists.")

// stored gives a message of the head, nil when it is gone; the account's lock is held.
func (m *Mailbox) stored(uid mail.UID) *Message {
	seq, ok := m.box.index.Seq(uid)
	if !ok {
		return nil
	}
	return m.box.index.At(seq)
}

// Copied says what a Copy or Move did. From and To belong together pairwise.
type Copied struct {
	Mailbox     mail.MailboxID
	UIDValidity mail.UIDValidity
	From, To    []mail.UID
	ModSeq      mail.ModSeq
}

// Copy puts copies of the messages among uids that still exist into the mailbox
// called dest of the same account, all or none, with flags, dates and object ids
// (RFC 3501, 6.4.7). KindNotFound when dest does not exist, KindOverQuota, KindLimit.
func (m *Mailbox) Copy(ctx context.Context, uids mail.NumSet, dest string) (Copied, error) {
	return m.transfer(ctx, uids, m.visit, dest, false)
}

// Move is Copy and removal in one change (RFC 6851).
func (m *Mailbox) Move(ctx context.Context, uids mail.NumSet, dest string) (Copied, error) {
	return m.transfer(ctx, uids, m.visit, dest, true)
}

// CopyTo is Copy into a mailbox that is visited by the same person, of any account. It
// needs the right i there; flags go along as far as rights permit. See across.go.
func (m *Mailbox) CopyTo(ctx context.Context, uids mail.NumSet, to Visit, dest string) (Copied, error) {
	return m.transfer(ctx, uids, to, dest, false)
}

// MoveTo is Move into a mailbox as of CopyTo. It needs the rights t and e, too.
func (m *Mailbox) MoveTo(ctx context.Context, uids mail.NumSet, to Visit, dest string) (Copied, error) {
	return m.transfer(ctx, uids, to, dest, true)
}

func (m *Mailbox) transfer(ctx context.Context, uids mail.NumSet, v Visit, dest string, move bool) (Copied, error) {
	if v.account != m.account {
		return m.transferAcross(ctx, uids, v, dest, move)
	}
	if move {
		// Who moves one at the same time into another account has it there already: only one
		// of the two finds it.
		m.account.leaving.RLock()
		defer m.account.leaving.RUnlock()
	}
	var out Copied
	seq, err := m.change(ctx, func(c *change, bc *boxChange) error {
		out = Copied{}
		to, err := c.named(dest)
		if err != nil {
			return err
		}
		if err := v.may(&to.record, mail.RightInsert); err != nil {
			return err
		}
		if move {
			if err := v.may(&bc.record, mail.RightTrash|mail.RightExpunge); err != nil {
				return err
			}
		}
		return c.transfer(ctx, v, bc, to, uids, move, &out)
	})
	out.ModSeq = seq
	return out, v.shown(err)
}

// transfer copies or moves messages of from, whose index is open, for a visitor. A guest
// takes its own flags along and leaves the owner's as they are; those of other guests
// stay behind. out may be nil.
func (c *change) transfer(ctx context.Context, v Visit, from, to *boxChange, uids mail.NumSet, move bool, out *Copied) error {
	var bytes, n int64
	var doomed []*Message
	index := from.box.index
	index.EachUID(uids, func(_ uint32, msg *Message) bool {
		bytes += int64(msg.Size)
		n++
		return true
	})
	if !move {
		if err := c.quota(bytes, n); err != nil {
			return err
		}
	}
	own, err := c.own(ctx, v, from)
	if err == nil {
		_, err = c.own(ctx, v, to)
	}
	if err != nil {
		return err
	}
	may := v.rights(&to.record).Flags()
	annotations := v.annotations(from.box.id)
	// The same bits mean other keywords in another mailbox.
	translate, translateOwn := map[mail.Flags]mail.Flags{}, map[mail.Flags]mail.Flags{}
	translated := func(known map[mail.Flags]mail.Flags, flags mail.Flags, names []string, enter func([]string) (mail.Flags, error)) (mail.Flags, error) {
		old := flags &^ mail.SystemFlags
		if keywords, ok := known[old]; ok {
			return keywords, nil
		}
		keywords, err := enter(old.AppendNames(nil, names))
		known[old] = keywords
		return keywords, err
	}
	var fault error
	index.EachUID(uids, func(_ uint32, msg *Message) bool {
		var keywords mail.Flags
		keywords, fault = translated(translate, msg.Flags, from.record.Keywords, func(names []string) (mail.Flags, error) {
			return c.keywords(to, names, true)
		})
		if fault != nil {
			return false
		}
		copied := *msg
		copied.Flags = msg.Flags&mail.SystemFlags&(may|mail.Seen) | keywords
		var notes Annotations
		if msg.Annotated {
			if notes, fault = annotations.Of(ctx, msg); fault != nil {
				return false
			}
			notes = v.carry(&to.record, notes)
			copied.Annotated = !notes.empty()
		}
		var uid mail.UID
		if uid, fault = c.append(to, copied); fault != nil {
			return false
		}
		if copied.Annotated {
			if fault = c.annotateNew(v, to, uid, notes); fault != nil {
				return false
			}
		}
		if own != nil {
			k := own.of(msg.UID).flags
			keywords, fault = translated(translateOwn, k, from.keywords, func(names []string) (mail.Flags, error) {
				return keywordsIn(&to.keywords, names, may&^mail.SystemFlags != 0)
			})
			if fault != nil {
				return false
			}
			if flags := (k&mail.Seen | keywords) & may; flags != 0 {
				to.marked = append(to.marked, mark{uid, flags, c.seq})
			}
		}
		c.refer(msg.Email, 1)
		if move {
			doomed = append(doomed, msg)
		}
		if out != nil {
			out.From = append(out.From, msg.UID)
			out.To = append(out.To, uid)
		}
		return true
	})
	if fault != nil {
		return fault
	}
	for _, msg := range doomed {
		c.expunge(from, msg)
	}
	if out != nil {
		out.Mailbox, out.UIDValidity = to.record.ID, to.record.UIDValidity
	}
	return nil
}

// change runs a change of the selected mailbox, whose index is open.
func (m *Mailbox) change(ctx context.Context, compute func(c *change, bc *boxChange) error) (mail.ModSeq, error) {
	return m.account.change(ctx, func(c *change) error {
		if m.box.deleted {
			return mail.Errorf(mail.KindNotFound, "The mailbox was deleted.")
		}
		return compute(c, c.use(m.box))
	})
}
