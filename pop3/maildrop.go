package pop3

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// maildrop is the INBOX as one session has it: locked, and as it was when the
// session began. Messages are numbered from 1.
type maildrop struct {
	account *store.Account
	mailbox *store.Mailbox
	unlock  func()
	view    *store.Snapshot
	count   uint32
	newest  bool // number 1 is the newest message
	// readOnly: nothing is removed, and what is read is not marked.
	readOnly bool

	deleted []bool // by number - 1; nil before the first DELE
	left    uint32 // not deleted
	bytes   int64  // of those
	read    mail.NumSet
}

// openDrop opens the maildrop of who has logged in. Errors: KindLimit (too many
// connections of the user), errLoginDelay, KindInUse, those of the store.
func (x *session) openDrop(ctx context.Context, id *auth.Identity) error {
	if err := x.conn.SetUser(id.Entry.Account, id.Entry.Name); err != nil {
		return err
	}
	now, delay := x.Store.Now(), x.loginDelay()
	if delay > 0 && x.logins.early(id.Entry.Account, now, delay) {
		x.conn.ClearUser()
		return errLoginDelay
	}
	d, err := x.Server.openDrop(ctx, id.Entry.Account)
	if err != nil {
		x.conn.Log().Info("maildrop not opened", "user", id.Entry.Name, "error", err)
		x.conn.ClearUser()
		return err
	}
	if delay > 0 {
		x.logins.note(id.Entry.Account, now, delay)
	}
	d.readOnly = id.ReadOnly
	d.newest = settings.MessageRetrievalSortOrder.Of(x.Settings()) == settings.Descending
	x.drop = d
	return nil
}

func (s *Server) openDrop(ctx context.Context, id mail.AccountID) (*maildrop, error) {
	account, err := s.Store.Account(ctx, id)
	if err != nil {
		return nil, err
	}
	unlock, err := account.LockMaildrop()
	if err != nil {
		account.Close()
		return nil, err
	}
	// Read-only leaves \Recent to IMAP; POP3 has no such notion.
	mailbox, err := account.Select(ctx, store.Inbox, true)
	if err != nil {
		unlock()
		account.Close()
		return nil, err
	}
	d := &maildrop{account: account, mailbox: mailbox, unlock: unlock, view: mailbox.View()}
	d.count = uint32(d.view.Len())
	d.undelete()
	return d, nil
}

// closeDrop ends the session's hold on the maildrop without removing anything,
// and notes for IMAP what was read.
func (x *session) closeDrop(ctx context.Context) {
	d := x.drop
	if d == nil {
		return
	}
	x.drop = nil
	if len(d.read) > 0 && !d.readOnly {
		// The connection may be gone; the change is not the less true.
		_, err := d.mailbox.StoreFlags(context.WithoutCancel(ctx), d.read, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}, nil)
		if err != nil {
			x.conn.Log().Warn("what was read is not marked", "error", err)
		}
	}
	d.mailbox.Close()
	d.unlock()
	d.account.Close()
}

// undelete takes every mark away.
func (d *maildrop) undelete() {
	d.deleted, d.left, d.bytes = nil, d.count, d.view.Mailbox.Bytes
}

// at gives a message by its number.
func (d *maildrop) at(number uint32) *store.Message {
	if d.newest {
		number = d.count + 1 - number
	}
	return d.view.At(number)
}

func (d *maildrop) isDeleted(number uint32) bool { return d.deleted != nil && d.deleted[number-1] }

// doomed gives the UIDs of the marked messages.
func (d *maildrop) doomed() mail.NumSet {
	var uids []mail.UID
	for i, marked := range d.deleted {
		if marked {
			uids = append(uids, d.at(uint32(i)+1).UID)
		}
	}
	slices.Sort(uids) // a set is quickly made in ascending order only
	return mail.UIDSet(uids...)
}

// uid is a message's unique-id (RFC 1939, 7): it stays for the message's life and
// is never used again.
func (d *maildrop) uid(dst []byte, m *store.Message) []byte {
	dst = strconv.AppendUint(dst, uint64(d.view.Mailbox.UIDValidity), 10)
	return strconv.AppendUint(append(dst, '.'), uint64(m.UID), 10)
}

// message finds the message that an argument names, and answers when there is
// none.
func (x *session) message(args string) (number uint32, m *store.Message) {
	n, err := strconv.ParseUint(strings.TrimSpace(args), 10, 32)
	switch {
	case err != nil || n == 0:
		x.fault("A message number is needed")
	case n > uint64(x.drop.count):
		x.refuse("There is no such message; the last is %d", x.drop.count)
	case x.drop.isDeleted(uint32(n)):
		x.refuse("That message is marked as deleted")
	default:
		return uint32(n), x.drop.at(uint32(n))
	}
	return 0, nil
}
