package store

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

// Prepared is a message that was read once and is ready to be kept, in one account
// or many. It may be used from several goroutines.
type Prepared struct {
	body    []byte
	summary message.Summary
	text    []byte // nil: made from body when a search needs it
	filter  message.Filter
	keys    []ThreadKey // its own Message-ID first when it has one, then what it answers, nearest first
	own     bool        // keys[0] is its own
}

// A search text is kept where that spares a search much reading: of messages of at most
// textBelow bytes, of which a search reads many, and of those that are textSpares times
// as long, as mail with attachments is. Of the others it is made from the message when a
// filter does not decide: kept too, it was a tenth of what they take on the disk.
const (
	textBelow  = 8 << 10
	textSpares = 4
)

// maxThreadKeys bounds how many references of a message are followed.
const maxThreadKeys = 20

// Prepare reads a message, which the result keeps and nobody may alter from now
// on.
func (s *Store) Prepare(body []byte) *Prepared {
	m := message.Parse(body, message.DefaultLimits)
	p := &Prepared{body: body, summary: m.Summary()}
	text := m.SearchText()
	p.filter = message.FilterOf(p.summary, text)
	if len(body) <= textBelow || len(text) <= len(body)/textSpares {
		p.text = text
	}
	if id := m.MessageID(); id != "" {
		p.keys, p.own = append(p.keys, threadKey(id)), true
	}
	refs := m.References()
	for i := len(refs) - 1; i >= 0 && len(p.keys) < maxThreadKeys; i-- {
		p.keys = append(p.keys, threadKey(refs[i]))
	}
	return p
}

func threadKey(messageID string) ThreadKey {
	sum := sha256.Sum256([]byte(messageID))
	return ThreadKey(sum[:len(ThreadKey{})])
}

// Size is the message's length in bytes.
func (p *Prepared) Size() int64 { return int64(len(p.body)) }

// Summary is what was computed of the message.
func (p *Prepared) Summary() message.Summary { return p.summary }

// Arrival is a message with what it gets when it arrives in a mailbox.
type Arrival struct {
	*Prepared
	Flags        mail.Flags // system flags
	Keywords     []string
	InternalDate time.Time // zero: now
	Annotations            // what it is kept with; Shared needs the right n
}

// Appended says where messages have come to.
type Appended struct {
	Mailbox     mail.MailboxID
	UIDValidity mail.UIDValidity
	UIDs        []mail.UID // in the order of the arrivals
	Emails      []mail.EmailID
	ModSeq      mail.ModSeq
}

// Append puts messages into a mailbox, all or none. They are durable when it
// returns. KindNotFound when the mailbox does not exist, KindOverQuota, KindTooBig,
// KindLimit, KindUnavailable.
func (a *Account) Append(ctx context.Context, mailbox string, arrivals ...Arrival) (Appended, error) {
	return a.append(ctx, a.Own(), mailbox, nil, arrivals)
}

// append is Append for a visitor. journal, which may be nil, gives a record that is
// written with it.
func (a *Account) append(ctx context.Context, v Visit, mailbox string, journal *Record, arrivals []Arrival) (Appended, error) {
	var out Appended
	seq, err := a.change(ctx, func(c *change) (err error) {
		if journal != nil {
			c.batch.Records = append(c.batch.Records, *journal)
		}
		out, err = c.arrive(ctx, v, mailbox, arrivals, 0, 0)
		return err
	})
	out.ModSeq = seq
	return out, err
}

// arrive puts messages into a mailbox for a visitor. bytes and messages are what leaves
// the account in the same change.
func (c *change) arrive(ctx context.Context, v Visit, mailbox string, arrivals []Arrival, bytes, messages int64) (Appended, error) {
	bc, err := c.named(mailbox)
	if err != nil {
		return Appended{}, err
	}
	if err := v.may(&bc.record, mail.RightInsert); err != nil {
		return Appended{}, err
	}
	own, err := c.own(ctx, v, bc)
	if err != nil {
		return Appended{}, err
	}
	may := v.rights(&bc.record).Flags()
	out := Appended{Mailbox: bc.record.ID, UIDValidity: bc.record.UIDValidity}
	bytes = -bytes
	for _, arr := range arrivals {
		if !arr.Annotations.empty() {
			if err := arr.Annotations.Check(); err != nil {
				return out, err
			}
			if err := v.mayAnnotate(&bc.record, arr.Annotations); err != nil {
				return out, err
			}
		}
		if most := c.a.store.opt.MaxMessage; arr.Size() > most {
			return out, mail.Errorf(mail.KindTooBig, "The message has %d bytes; at most %d are accepted.", arr.Size(), most)
		}
		bytes += arr.Size()
	}
	if err := c.quota(bytes, int64(len(arrivals))-messages); err != nil {
		return out, err
	}
	for i, arr := range arrivals {
		var keywords mail.Flags
		switch {
		case own == nil:
			keywords, err = c.keywords(bc, arr.Keywords, true)
		case may&^mail.SystemFlags != 0:
			keywords, err = keywordsIn(&bc.keywords, arr.Keywords, true)
		}
		if err != nil {
			return out, err
		}
		flags := (arr.Flags&mail.SystemFlags | keywords) & may
		kept := flags
		if own != nil {
			kept &= commonFlags
		}
		email := c.account.NextEmail
		c.account.NextEmail++
		thread, err := c.thread(ctx, arr.Prepared, email, i < len(arrivals)-1)
		if err != nil {
			return out, err
		}
		date := arr.InternalDate
		if date.IsZero() {
			date = c.now
		}
		_, offset := date.Zone()
		uid, err := c.append(bc, Message{
			Size: uint32(arr.Size()), Flags: kept, Email: email, Thread: thread,
			InternalDate: date.Unix(), Zone: int16(offset / 60), Annotated: !arr.Annotations.empty(),
		})
		if err == nil && !arr.Annotations.empty() {
			err = c.annotateNew(v, bc, uid, arr.Annotations)
		}
		if err != nil {
			return out, err
		}
		if own != nil && flags&ownFlags != 0 {
			bc.marked = append(bc.marked, mark{uid, flags & ownFlags, c.seq})
		}
		c.batch.Emails = append(c.batch.Emails, Email{ID: email, Body: arr.body, Summary: arr.summary, Text: arr.text, Filter: arr.filter})
		out.UIDs = append(out.UIDs, uid)
		out.Emails = append(out.Emails, email)
	}
	return out, nil
}

// thread finds the conversation that a new email belongs to: that of its own
// Message-ID (a second copy of the same message), else of the nearest message that
// it answers, else a new one. It enters the keys that were not known. more tells that
// other messages follow in this change.
func (c *change) thread(ctx context.Context, p *Prepared, email mail.EmailID, more bool) (mail.ThreadID, error) {
	thread := mail.ThreadID(email)
	if len(p.keys) == 0 {
		return thread, nil
	}
	known, err := c.a.store.engine.Threads(ctx, c.a.id, p.keys)
	if err != nil {
		return 0, err
	}
	// Messages of this very change are not known to the engine yet.
	for i, key := range p.keys {
		if t, ok := c.threads[key]; ok {
			known[i] = t
		}
	}
	for _, t := range known {
		if t != 0 {
			thread = t
			break
		}
	}
	if c.threads == nil && more {
		c.threads = map[ThreadKey]mail.ThreadID{}
	}
	for i, t := range known {
		if t == 0 {
			if more {
				c.threads[p.keys[i]] = thread
			}
			c.batch.Threads = append(c.batch.Threads, ThreadLink{p.keys[i], thread})
		}
	}
	return thread, nil
}
