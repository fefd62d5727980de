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

// Expunge removes those of uids, or of all messages when it is nil, that have
// \Deleted, and says which.
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
		m.box.index.EachUID(uids, func(_ uint32, msg *Message) bool {
			doomed, more := test(bc, msg)
			if doomed {
				c.expunge(bc, msg)
			}
			return more
		})
		out = bc.removed
		return nil
	})
	return out, seq, err
}

// Copied says what a Copy or Move did. From and To belong together pairwise.
type Copied struct {
	Mailbox     mail.MailboxID
	UIDValidity mail.UIDValidity
	From, To    []mail.UID
	ModSeq      mail.ModSeq
}

// Copy puts copies of the messages among uids that still exist into the mailbox
// called dest, all or none, with flags, dates and object ids (RFC 3501, 6.4.7).
// KindNotFound when dest does not exist, KindOverQuota, KindLimit.
func (m *Mailbox) Copy(ctx context.Context, uids mail.NumSet, dest string) (Copied, error) {
	return m.transfer(ctx, uids, dest, false)
}

// Move is Copy and removal in one change (RFC 6851).
func (m *Mailbox) Move(ctx context.Context, uids mail.NumSet, dest string) (Copied, error) {
	return m.transfer(ctx, uids, dest, true)
}

func (m *Mailbox) transfer(ctx context.Context, uids mail.NumSet, dest string, move bool) (Copied, error) {
	var out Copied
	seq, err := m.change(ctx, func(c *change, bc *boxChange) error {
		out = Copied{}
		to, err := c.named(dest)
		if err != nil {
			return err
		}
		return c.transfer(bc, to, uids, move, &out)
	})
	out.ModSeq = seq
	return out, err
}

// transfer copies or moves messages of from, whose index is open. out may be nil.
func (c *change) transfer(from, to *boxChange, uids mail.NumSet, move bool, out *Copied) error {
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
	// The same bits mean other keywords in another mailbox.
	translate := map[mail.Flags]mail.Flags{}
	var fault error
	index.EachUID(uids, func(_ uint32, msg *Message) bool {
		old := msg.Flags &^ mail.SystemFlags
		keywords, ok := translate[old]
		if !ok {
			if keywords, fault = c.keywords(to, old.AppendNames(nil, from.record.Keywords), true); fault != nil {
				return false
			}
			translate[old] = keywords
		}
		copied := *msg
		copied.Flags = msg.Flags&mail.SystemFlags | keywords
		uid, err := c.append(to, copied)
		if err != nil {
			fault = err
			return false
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
