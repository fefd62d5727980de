package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Messages go from one account to another as new arrivals: body, date and flags, and the
// quota is the other account's. A MOVE is two changes, of two accounts. The first puts
// the messages into the other account and, in the same batch, writes down what is to be
// removed here; the second removes them and that record. If the server ends between the
// two, the messages are in both places, and finishMoves removes them here when the store
// is opened again: nothing is lost, and nothing stays twice.
//
// DEVIATES: RFC 8474, 5.1: a message that is copied or moved into another account has
// another EMAILID there, as any new arrival has: ids are those of an account.

// moveKind is the kind of the records of moves that are half done.
const moveKind = "move"

// halfMove is the value of such a record.
type halfMove struct {
	Account mail.AccountID `json:"account"`
	Mailbox mail.MailboxID `json:"mailbox"`
	UIDs    mail.NumSet    `json:"uids"`
	By      mail.Actor     `json:"by"`
}

// transferAcross is transfer into another account.
func (m *Mailbox) transferAcross(ctx context.Context, uids mail.NumSet, v Visit, dest string, move bool) (Copied, error) {
	if move {
		// One after the other, so that two who move the same message do not both find it.
		// Nobody who waits here holds what another one needs.
		m.account.leaving.Lock()
		defer m.account.leaving.Unlock()
	}
	st := m.box.published.Load()
	if st.deleted {
		return Copied{}, mail.Errorf(mail.KindNotFound, "The mailbox was deleted.")
	}
	if move {
		if err := m.visit.may(&st.record, mail.RightTrash|mail.RightExpunge); err != nil {
			return Copied{}, err
		}
	}
	there, err := m.there(ctx, uids)
	if err != nil {
		return Copied{}, err
	}
	r, _, ok := v.Mailbox(dest)
	if !ok {
		return Copied{}, v.shown(noMailbox(dest))
	} else if err := v.may(&r, mail.RightInsert); err != nil {
		return Copied{}, err
	}
	var out Copied
	var bytes int64
	m.view.EachUID(there, func(_ uint32, msg *Message) bool {
		bytes += int64(msg.Size)
		return true
	})
	s := m.account.store
	release, err := s.reserveAll(ctx, bytes)
	if err != nil {
		return out, err
	}
	defer release()
	var arrivals []Arrival
	keywords := m.Record().Keywords
	annotations := m.Annotations()
	m.view.EachUID(there, func(_ uint32, msg *Message) bool {
		var body []byte
		if body, err = m.whole(ctx, msg); err != nil {
			return false
		}
		var notes Annotations
		if notes, err = annotations.Of(ctx, msg); mail.KindOf(err) == mail.KindExpunged {
			err = nil
			return true
		} else if err != nil {
			return false
		}
		arrivals = append(arrivals, Arrival{
			Prepared: s.Prepare(body), Flags: msg.Flags & mail.SystemFlags, Keywords: (msg.Flags &^ mail.SystemFlags).AppendNames(nil, keywords),
			InternalDate: time.Unix(msg.InternalDate, 0).In(time.FixedZone("", int(msg.Zone)*60)),
			Annotations:  v.carry(&r, notes),
		})
		out.From = append(out.From, msg.UID)
		return true
	})
	if err != nil || len(arrivals) == 0 {
		return Copied{}, err
	}
	var journal *Record
	if move {
		if journal, err = m.moving(ctx, out.From...); err != nil {
			return Copied{}, err
		}
	}
	done, err := v.account.append(ctx, v, dest, journal, arrivals)
	if err != nil {
		return Copied{}, v.shown(err)
	}
	out.Mailbox, out.UIDValidity, out.To, out.ModSeq = done.Mailbox, done.UIDValidity, done.UIDs, done.ModSeq
	if move {
		// The messages are there: whatever happens to the client, they go here.
		out.ModSeq, err = m.account.finishMove(context.WithoutCancel(ctx), *journal)
	}
	return out, err
}

// there gives those of uids that are in the view and that nobody has removed. A removal may be
// on its way to the disk: a MOVE that came upon it has ended, and another one is not to find the
// message again.
func (m *Mailbox) there(ctx context.Context, uids mail.NumSet) (there mail.NumSet, err error) {
	m.account.mu.Lock()
	defer m.account.mu.Unlock()
	if m.box.deleted {
		return nil, nil
	}
	if err := m.account.open(ctx, m.box); err != nil {
		return nil, err
	}
	m.view.EachUID(uids, func(_ uint32, msg *Message) bool {
		if !msg.Gone && m.stored(msg.UID) != nil {
			there.Add(uint32(msg.UID))
		}
		return true
	})
	return there, nil
}

// moving gives the record that messages of m are on their way out.
func (m *Mailbox) moving(ctx context.Context, uids ...mail.UID) (*Record, error) {
	value, err := json.Marshal(halfMove{m.account.id, m.box.id, mail.UIDSet(uids...), actorOf(ctx)})
	if err != nil {
		return nil, mail.Wrap(mail.KindServerBug, err)
	}
	return &Record{Kind: moveKind, Key: rand.Text(), Value: value}, nil
}

// replaceAcross is Replace with a message in another account, in two changes as a MOVE.
func (m *Mailbox) replaceAcross(ctx context.Context, uid mail.UID, v Visit, dest string, arrival Arrival) (Appended, error) {
	st := m.box.published.Load()
	if err := m.visit.may(&st.record, mail.RightTrash|mail.RightExpunge); err != nil {
		return Appended{}, err
	}
	m.account.leaving.Lock()
	defer m.account.leaving.Unlock()
	switch there, err := m.there(ctx, mail.UIDSet(uid)); {
	case err != nil:
		return Appended{}, err
	case len(there) == 0:
		return Appended{}, errExpunged
	}
	journal, err := m.moving(ctx, uid)
	if err != nil {
		return Appended{}, err
	}
	out, err := v.account.append(ctx, v, dest, journal, []Arrival{arrival})
	if err != nil {
		return Appended{}, v.shown(err)
	}
	out.ModSeq, err = m.account.finishMove(context.WithoutCancel(ctx), *journal)
	return out, err
}

// whole reads a message.
func (m *Mailbox) whole(ctx context.Context, msg *Message) ([]byte, error) {
	body, err := m.Body(ctx, msg.Email)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b := make([]byte, body.Size())
	if n, err := body.ReadAt(b, 0); n < len(b) {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	return b, nil
}

// reserveAll is Reserve for many messages.
func (s *Store) reserveAll(ctx context.Context, bytes int64) (release func(), err error) {
	if bytes > s.opt.Memory {
		return nil, mail.Errorf(mail.KindLimit, "At most %d bytes can go from one account to another at once; please take fewer messages.", s.opt.Memory)
	}
	ctx, cancel := context.WithTimeout(ctx, reserveWait)
	defer cancel()
	if err := s.memory.Acquire(ctx, bytes); err != nil {
		return nil, mail.Errorf(mail.KindUnavailable, "The server is busy receiving other messages; try again later.")
	}
	return func() { s.memory.Release(bytes) }, nil
}

// finishMove removes what a move has put into another account, and the record of it.
func (a *Account) finishMove(ctx context.Context, r Record) (mail.ModSeq, error) {
	var half halfMove
	if err := json.Unmarshal(r.Value, &half); err != nil {
		return 0, &mail.Error{Kind: mail.KindCorrupt, Cause: err}
	}
	return a.change(By(ctx, func() mail.Actor { return half.By }), func(c *change) error {
		c.batch.Records = append(c.batch.Records, Record{Kind: r.Kind, Key: r.Key})
		b := a.boxes[half.Mailbox]
		if b == nil {
			return nil
		}
		if err := a.open(ctx, b); err != nil {
			return err
		}
		bc := c.use(b)
		b.index.EachUID(half.UIDs, func(_ uint32, msg *Message) bool {
			c.discard(bc, msg)
			return true
		})
		return nil
	})
}

// finishMoves ends the moves that were half done when the server ended. One whose account
// cannot be read waits for the next time.
func (s *Store) finishMoves(ctx context.Context) error {
	records, err := s.engine.Records(ctx, moveKind, "")
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := s.finishHalf(ctx, r); err != nil {
			s.opt.Log.Error("a move between accounts could not be finished", "record", r.Key, "error", err)
		}
	}
	return nil
}

func (s *Store) finishHalf(ctx context.Context, r Record) error {
	var half halfMove
	if err := json.Unmarshal(r.Value, &half); err != nil {
		return &mail.Error{Kind: mail.KindCorrupt, Cause: err}
	}
	a, err := s.Account(ctx, half.Account)
	if mail.KindOf(err) == mail.KindNotFound && err != nil {
		// Removed meanwhile, with all that was in it.
		return s.PutRecords(ctx, []Record{{Kind: r.Kind, Key: r.Key, Revision: r.Revision}})
	}
	if err != nil {
		return err
	}
	defer a.Close()
	_, err = a.finishMove(ctx, r)
	return err
}
