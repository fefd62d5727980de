package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// BringBack says what Store.BringBack takes, and where to.
type BringBack struct {
	From    Engine         // what was kept at another moment
	Account mail.AccountID // there
	// Into is the mailbox below which everything comes; when it exists, the name gets a
	// number.
	Into string
	// Missing: only messages that the account has no more, by their EMAILIDs or, with
	// others, byte by byte; it must be the one that From has, else KindCannot.
	Missing bool
	// Progress is told of messages; nil: nobody is.
	Progress func(done, all int)
}

// BroughtBack says what Store.BringBack did.
type BroughtBack struct {
	Into                string // the mailbox below which everything is; "" when there was nothing
	Mailboxes, Messages int
	Bytes               int64
	// Unread are messages that could not be read, with why.
	Unread []Damage
}

const (
	// bringAtOnce bounds the messages that are put back in one change, and their bytes,
	// unless one alone has more.
	bringAtOnce      = 64
	bringBytesAtOnce = 4 << 20
)

// BringBack puts the messages that another engine has of an account into an account of
// this store: each mailbox becomes one below b.Into, subscribed, and each message keeps
// its INTERNALDATE, flags and keywords. Nothing that is there is touched. They count in the
// quota, and nothing is done when that has no room for all (KindOverQuota), or there would
// be too many mailboxes (KindLimit). When it ends with an error, what was put back stays, and
// out says what.
func (s *Store) BringBack(ctx context.Context, to mail.AccountID, b BringBack) (out BroughtBack, err error) {
	a, err := s.Account(ctx, to)
	if err != nil {
		return out, err
	}
	defer a.Close()
	if b.Missing && b.Account != to { // whose EMAILIDs mean other messages
		return out, mail.Errorf(mail.KindCannot, "The mailbox was another one then, so nobody can tell which of its messages are missing now.")
	}
	st, err := b.From.Account(ctx, b.Account)
	if err != nil {
		return out, err
	}
	have := map[mail.EmailID]bool{}
	if b.Missing {
		if err := eachMessage(ctx, s.engine, to, func(m *Message) error {
			have[m.Email] = true
			return nil
		}); err != nil {
			return out, err
		}
		if err := s.findCopies(ctx, to, b.From, have); err != nil {
			return out, err
		}
	}
	// wanted reads an index again when it is its turn: all at once could be much.
	wanted := func(r MailboxRecord) ([]Message, error) {
		list, err := b.From.Messages(ctx, b.Account, r.ID, 0)
		if err != nil {
			return nil, err
		}
		kept := list[:0]
		for _, m := range list {
			if !have[m.Email] {
				kept = append(kept, m)
			}
		}
		return kept, nil
	}
	var bytes int64
	all, boxes := 0, len(a.Mailboxes())
	for _, r := range st.Mailboxes {
		list, err := wanted(r)
		if err != nil {
			return out, err
		}
		if !b.Missing || len(list) > 0 {
			boxes++
		}
		for i := range list {
			bytes += int64(list[i].Size)
		}
		all += len(list)
	}
	if b.Missing && all == 0 {
		return out, nil
	}
	if err := a.hasRoom(bytes, int64(all)); err != nil {
		return out, err
	}
	if boxes > MaxMailboxes {
		return out, mail.Errorf(mail.KindLimit, "The account would have %d mailboxes, and at most %d are allowed.", boxes, MaxMailboxes)
	}
	if out.Into, err = a.freeName(b.Into); err != nil {
		return out, err
	}
	for _, r := range st.Mailboxes {
		list, err := wanted(r)
		if err != nil {
			return out, err
		}
		if b.Missing && len(list) == 0 {
			continue
		}
		name := out.Into + Delimiter + r.Name
		if clean, err := CleanName(name); err != nil || clean != name {
			name = out.Into + Delimiter + r.ID.String() // too long, or too deep
		}
		if _, err := a.CreateMailbox(ctx, name, ""); err != nil {
			return out, err
		}
		if err := a.Subscribe(ctx, name); err != nil && mail.KindOf(err) != mail.KindLimit { // the mail matters more
			return out, err
		}
		out.Mailboxes++
		if err := s.bringMailbox(ctx, a, b, r, name, list, all, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// bringMailbox puts the messages of one mailbox back.
func (s *Store) bringMailbox(ctx context.Context, a *Account, b BringBack, r MailboxRecord, name string, list []Message, all int, out *BroughtBack) error {
	for len(list) > 0 {
		n, size := 0, int64(0)
		for ; n < len(list) && n < bringAtOnce && (n == 0 || size+int64(list[n].Size) <= bringBytesAtOnce); n++ {
			size += int64(list[n].Size)
		}
		if err := s.bringSome(ctx, a, b, r, name, list[:n], size, out); err != nil {
			return err
		}
		list = list[n:]
		if b.Progress != nil {
			b.Progress(out.Messages+len(out.Unread), all)
		}
	}
	return nil
}

func (s *Store) bringSome(ctx context.Context, a *Account, b BringBack, r MailboxRecord, name string, list []Message, size int64, out *BroughtBack) error {
	taken := min(size, s.opt.Memory)
	if err := s.memory.Acquire(ctx, taken); err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	defer s.memory.Release(taken)
	var arrivals []Arrival
	for i := range list {
		m := &list[i]
		var body []byte
		err := error(nil)
		if int64(m.Size) > s.opt.MaxMessage { // not read: it could be more than there is memory
			err = mail.Errorf(mail.KindTooBig, "It has %d bytes; at most %d are accepted.", m.Size, s.opt.MaxMessage)
		} else {
			body, err = wholeBody(ctx, b.From, b.Account, m)
		}
		if err != nil {
			switch mail.KindOf(err) {
			case mail.KindCorrupt, mail.KindExpunged, mail.KindTooBig:
				out.Unread = append(out.Unread, Damage{Part: DamagedBody, Mailbox: r.Name, UID: m.UID, Email: m.Email, Detail: mail.TextOf(err)})
				continue
			}
			return err
		}
		arrivals = append(arrivals, Arrival{
			Prepared: s.Prepare(body), Flags: m.Flags & mail.SystemFlags, Keywords: (m.Flags &^ mail.SystemFlags).AppendNames(nil, r.Keywords),
			InternalDate: time.Unix(m.InternalDate, 0).In(time.FixedZone("", int(m.Zone)*60)),
		})
	}
	if len(arrivals) == 0 {
		return ctx.Err()
	}
	if _, err := a.Append(ctx, name, arrivals...); err != nil {
		return err
	}
	for _, x := range arrivals {
		out.Messages++
		out.Bytes += x.Size()
	}
	return ctx.Err()
}

// wholeBody reads a message of an engine.
func wholeBody(ctx context.Context, e Engine, id mail.AccountID, m *Message) ([]byte, error) {
	r, err := e.Body(ctx, id, m.Email)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if r.Size() != int64(m.Size) {
		return nil, mail.Errorf(mail.KindCorrupt, "It has %d bytes, and the mailbox says %d.", r.Size(), m.Size)
	}
	body := make([]byte, r.Size())
	if n, err := r.ReadAt(body, 0); n < len(body) {
		return nil, err
	}
	return body, nil
}

// eachMessage calls each with what an engine has of an account's messages. A mailbox that is
// deleted meanwhile has none.
func eachMessage(ctx context.Context, e Engine, id mail.AccountID, each func(m *Message) error) error {
	st, err := e.Account(ctx, id)
	if err != nil {
		return err
	}
	for _, r := range st.Mailboxes {
		list, err := e.Messages(ctx, id, r.ID, 0)
		if err != nil && mail.KindOf(err) != mail.KindNotFound {
			return err
		}
		for i := range list {
			if err := each(&list[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// findCopies enters into have, which has all emails of an account, those that from has of it
// and that are there by another EMAILID: what was brought back before, or a client has put
// there again. Only what is of the same date and size is read.
func (s *Store) findCopies(ctx context.Context, id mail.AccountID, from Engine, have map[mail.EmailID]bool) error {
	type look struct {
		date int64
		size uint32
	}
	of := func(m *Message) look { return look{m.InternalDate, m.Size} }
	there := map[look]bool{} // of what is missing: whether something here looks so
	if err := eachMessage(ctx, from, id, func(m *Message) error {
		if !have[m.Email] {
			there[of(m)] = false
		}
		return nil
	}); err != nil || len(there) == 0 {
		return err
	}
	here := map[[sha256.Size]byte]bool{}
	read := map[mail.EmailID]bool{}
	if err := eachMessage(ctx, s.engine, id, func(m *Message) error {
		if _, wanted := there[of(m)]; !wanted || read[m.Email] {
			return nil
		}
		there[of(m)], read[m.Email] = true, true
		sum, ok, err := digestOf(ctx, s.engine, id, m)
		if ok {
			here[sum] = true
		}
		return err
	}); err != nil {
		return err
	}
	clear(read)
	return eachMessage(ctx, from, id, func(m *Message) error {
		if have[m.Email] || read[m.Email] || !there[of(m)] {
			return nil
		}
		read[m.Email] = true
		sum, ok, err := digestOf(ctx, from, id, m)
		if ok && here[sum] {
			have[m.Email] = true
		}
		return err
	})
}

// digestOf gives the SHA-256 of a message; ok is false when it cannot be read, or is not there
// any more.
func digestOf(ctx context.Context, e Engine, id mail.AccountID, m *Message) (sum [sha256.Size]byte, ok bool, err error) {
	h := sha256.New()
	body, err := e.Body(ctx, id, m.Email)
	if err == nil {
		_, err = io.Copy(h, io.NewSectionReader(body, 0, body.Size()))
		body.Close()
	}
	if err != nil {
		switch mail.KindOf(err) {
		case mail.KindCorrupt, mail.KindExpunged:
			err = nil
		}
		return sum, false, err
	}
	return [sha256.Size]byte(h.Sum(nil)), true, nil
}

// hasRoom tells whether so much more may come into the account.
func (a *Account) hasRoom(bytes, messages int64) error {
	u := a.Usage()
	if u.QuotaBytes > 0 && u.Bytes+bytes > u.QuotaBytes || u.QuotaMessages > 0 && u.Messages+messages > u.QuotaMessages {
		return mail.Errorf(mail.KindOverQuota, "%d messages with %d bytes would exceed the quota.", messages, bytes)
	}
	return nil
}

// freeName gives name, or name with the first number that makes it one of no mailbox.
func (a *Account) freeName(name string) (string, error) {
	boxes := a.Mailboxes()
	for n := 1; n <= MaxMailboxes; n++ {
		try := name
		if n > 1 {
			try = fmt.Sprintf("%s (%d)", name, n)
		}
		if !slices.ContainsFunc(boxes, func(r MailboxRecord) bool { return r.Name == try || strings.HasPrefix(r.Name, try+Delimiter) }) {
			return CleanName(try)
		}
	}
	return "", mail.Errorf(mail.KindLimit, "An account has at most %d mailboxes.", MaxMailboxes)
}
