package lmtp

import (
	"context"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// envelope is a transaction: sender, recipients, and the message as it comes.
type envelope struct {
	from       string // "" for <>
	utf8       bool   // SMTPUTF8 (RFC 6531, 3.4)
	size       int64  // as declared (RFC 1870), 0 if not
	recipients []recipient
	body       *body // from DATA or the first BDAT
}

// recipient is one that was accepted.
type recipient struct {
	address string // as the client wrote it
	account *store.Account
	mailbox string
}

// close gives back what the transaction holds.
func (e *envelope) close() {
	for _, r := range e.recipients {
		r.account.Close()
	}
	e.recipients = nil
	if e.body != nil {
		e.body.release()
	}
}

// mail = "MAIL FROM:" Reverse-path [ SP Mail-parameters ]
//
// Parameters: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531).
func (x *session) mail(_ context.Context, args string) {
	if x.envelope != nil {
		x.fault(503, "5.5.1", "MAIL was said already")
		return
	}
	from, params, ok := pathOf(args, "FROM:")
	if !ok {
		x.fault(501, "5.5.4", "The form is MAIL FROM:<address>")
		return
	}
	e := &envelope{from: from}
	for _, p := range params {
		switch {
		case p.name == "SIZE":
			n, err := strconv.ParseUint(p.value, 10, 63)
			if err != nil {
				x.fault(501, "5.5.4", "SIZE needs a number of bytes")
				return
			}
			e.size = int64(n)
		case p.name == "BODY" && (strings.EqualFold(p.value, "7BIT") || strings.EqualFold(p.value, "8BITMIME")):
			// Either is kept as it comes.
		case p.name == "SMTPUTF8" && !p.has:
			e.utf8 = true
		default:
			x.fault(555, "5.5.4", "The parameter "+p.name+" is not known, or not so")
			return
		}
	}
	if e.size > x.limit() {
		x.reply(552, "5.3.4", "The message is too big")
		return
	}
	if !e.utf8 && !isASCII(from) {
		x.reply(550, "5.6.7", "Such an address needs SMTPUTF8")
		return
	}
	x.envelope = e
	x.reply(250, "2.1.0", "OK")
}

// rcpt = "RCPT TO:" Forward-path [ SP Rcpt-parameters ]
//
// There are no parameters. Who does not exist, is switched off or has no room is
// refused here, before the message is sent.
func (x *session) rcpt(ctx context.Context, args string) {
	to, params, ok := pathOf(args, "TO:")
	e := x.envelope
	switch {
	case !ok || to == "":
		x.fault(501, "5.5.4", "The form is RCPT TO:<address>")
	case e.body != nil:
		x.fault(503, "5.5.1", "The message has begun")
	case len(params) > 0:
		x.fault(555, "5.5.4", "The parameter "+params[0].name+" is not known")
	case len(e.recipients) >= maxRecipients:
		x.reply(452, "4.5.3", "Too many recipients")
	case !e.utf8 && !isASCII(to):
		x.reply(553, "5.6.7", "Such an address needs SMTPUTF8")
	default:
		r, err := x.find(ctx, to)
		if err != nil {
			x.conn.Log().Info("recipient refused", "recipient", to, "error", err)
			x.answer(angle(to)+" ", err)
			return
		}
		e.recipients = append(e.recipients, r)
		x.reply(250, "2.1.5", "OK")
	}
}

func pathOf(args, word string) (string, []parameter, bool) {
	if len(args) < len(word) || !strings.EqualFold(args[:len(word)], word) {
		return "", nil, false
	}
	return readPath(args[len(word):])
}

// find opens the account and names the mailbox that an address means. Errors are
// for the client: KindNotFound, KindDisabled, KindOverQuota, KindUnavailable.
func (x *session) find(ctx context.Context, address string) (recipient, error) {
	entry, detail, err := x.lookup(ctx, address)
	if err != nil {
		return recipient{}, err
	}
	if !entry.Enabled {
		return recipient{}, mail.Errorf(mail.KindDisabled, "The account is switched off.")
	}
	if entry, err = directory.Provide(ctx, x.Directory, entry); err != nil {
		return recipient{}, err
	}
	account, err := x.Store.Account(ctx, entry.Account)
	if err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			// The directory knows the user: this is our disorder, and not a reason
			// to send the mail back.
			err = &mail.Error{Kind: mail.KindUnavailable, Cause: err}
		}
		return recipient{}, err
	}
	u := account.Usage()
	if u.QuotaBytes > 0 && u.Bytes+max(x.envelope.size, 1) > u.QuotaBytes || u.QuotaMessages > 0 && u.Messages >= u.QuotaMessages {
		account.Close()
		return recipient{}, mail.Errorf(mail.KindOverQuota, "The mailbox is full.")
	}
	return recipient{address, account, mailboxFor(account, detail)}, nil
}

// lookup finds who an address means; detail is what stood behind a "+".
func (x *session) lookup(ctx context.Context, address string) (e *directory.Entry, detail string, err error) {
	unknown := mail.Errorf(mail.KindNotFound, "There is no such user here.")
	e, err = x.entry(ctx, address)
	if err == nil || mail.KindOf(err) != mail.KindNotFound {
		return e, "", err
	}
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		at = len(address)
	}
	user, detail, found := strings.Cut(address[:at], "+")
	if !found || user == "" {
		return nil, "", unknown
	}
	e, err = x.entry(ctx, user+address[at:])
	if err != nil && mail.KindOf(err) == mail.KindNotFound {
		err = unknown
	}
	return e, detail, err
}

func (x *session) entry(ctx context.Context, address string) (*directory.Entry, error) {
	name, err := directory.PrepareName(address)
	if err != nil {
		// What no user can be called, no user is called.
		return nil, &mail.Error{Kind: mail.KindNotFound, Cause: err}
	}
	return x.Directory.Lookup(ctx, name)
}

// mailboxFor finds the mailbox that a detail names: by the very name, or by the
// only name that differs in case alone; else INBOX.
func mailboxFor(account *store.Account, detail string) string {
	if detail == "" {
		return store.Inbox
	}
	name, err := store.CleanName(detail)
	if err != nil {
		return store.Inbox
	}
	if _, ok := account.Mailbox(name); ok {
		return name
	}
	found := ""
	for _, m := range account.Mailboxes() {
		if strings.EqualFold(m.Name, name) {
			if found != "" {
				return store.Inbox
			}
			found = m.Name
		}
	}
	if found == "" {
		return store.Inbox
	}
	return found
}
