package imap

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// urlReader finds what URLs mean for the client. It keeps open what it found last, and
// bounds what one command opens. It is to be closed.
type urlReader struct {
	s      *session
	opened int64 // bytes of the messages that parts were taken of

	other *visitor // who authorized the URL before, if not the client; nil for none

	// The mailbox that was opened last, nil for none.
	from *store.Mailbox
	of   *visitor // whose name it is
	name string   // as the URL had it
}

func (r *urlReader) close() {
	if r.from != nil {
		r.from.Close()
		r.from = nil
	}
	if r.other != nil {
		r.other.leaveVisited()
		r.other.account.Close()
		r.other = nil
	}
}

// badURL is an error about the URL and not about the server: what may not be read is
// answered as what does not exist is.
type badURL struct{ error }

func (b badURL) Unwrap() error { return b.error }

var (
	errNotOurURL   = badURL{mail.Errorf(mail.KindNotFound, "The URL is not one of a message on this server, or of a part of it.")}
	errURLMailbox  = badURL{mail.Errorf(mail.KindNotFound, "The mailbox of the URL cannot be read.")}
	errURLValidity = badURL{mail.Errorf(mail.KindNotFound, "The UIDVALIDITY of the URL is another one.")}
	errURLMessage  = badURL{mail.Errorf(mail.KindNotFound, "There is no message with the UID of the URL.")}
	errURLPart     = badURL{mail.Errorf(mail.KindNotFound, "The message has no such part.")}
	errURLAccess   = badURL{mail.Errorf(mail.KindNotFound, "The URL does not permit to read.")}
)

// urlPart is a part of a message that a URL means; content is to be closed.
type urlPart struct {
	item    fetchItem // its section, and what PARTIAL cuts
	message *store.Message
	content store.Body // of the whole message
	summary message.Summary
}

// find gives what a URL of a message on this server means: one that the client could
// write of its own mailboxes, or an absolute one that its owner authorized. badURL.
func (r *urlReader) find(text string) (urlPart, error) {
	if isAbsoluteURL(text) && !r.s.off("URLAUTH") {
		return r.findAuthorized(text)
	}
	u, ok := parseURL(text)
	if !ok {
		return urlPart{}, errNotOurURL
	}
	if err := r.open(&r.s.visitor, u.mailbox); err != nil {
		return urlPart{}, err
	}
	return r.part(&u)
}

// findAuthorized gives what a URL means that has a token (RFC 4467, 6).
func (r *urlReader) findAuthorized(text string) (urlPart, error) {
	// Whoever reads the token may fetch, too.
	r.s.request.logged = protolog.Masked
	u, fault := parseAuthURL(text)
	if fault != "" || !isInternal(u.mechanism) {
		return urlPart{}, errNotOurURL
	}
	v, err := r.authorized(&u)
	if err != nil {
		return urlPart{}, err
	}
	if err := r.open(v, u.part.mailbox); err != nil {
		return urlPart{}, err
	}
	return r.part(&u.part)
}

// authorized tells who authorized a URL: with that one's access of now it is read. An
// error unless the token is right, the time has not come and the client is one of those
// for whom it is.
func (r *urlReader) authorized(u *authURL) (*visitor, error) {
	v, err := r.owner(u.user)
	if err != nil {
		return nil, err
	}
	var key []byte
	if v != nil {
		if key, err = v.urlKey(u.part.mailbox); err != nil {
			return nil, err
		}
	}
	there := key != nil
	if !there {
		// The same work, so that the time does not tell which names there are (RFC 4467, 6).
		key = make([]byte, sha256.Size)
		rand.Read(key)
	}
	if right := hmac.Equal(urlToken(key, u.rump), u.token); !right || !there {
		return nil, errURLAccess
	}
	if !u.expire.IsZero() && r.s.server.Store.Now().After(u.expire) {
		return nil, errURLAccess
	}
	ok := true
	switch u.access {
	case accessUser:
		_, id, err := r.s.server.Auth.UserOf(r.s.ctx, settings.IMAP4, u.reader)
		if err != nil && !isNobody(err) {
			return nil, err
		}
		ok = err == nil && id == r.s.account.ID()
	case accessSubmit:
		// For whom it asks is its own affair (RFC 4467, 3).
		ok = slices.Contains(settings.SubmissionUsers.Of(r.s.server.settings()), r.s.name)
	}
	if !ok {
		return nil, errURLAccess
	}
	return v, nil
}

// isNobody tells the errors of UserOf that mean that there is no such user.
func isNobody(err error) bool {
	kind := mail.KindOf(err)
	return kind == mail.KindNotFound || kind == mail.KindBadArgument
}

// owner gives the user of that name, nil for nobody.
func (r *urlReader) owner(user string) (*visitor, error) {
	name, id, err := r.s.server.Auth.UserOf(r.s.ctx, settings.IMAP4, user)
	switch {
	case err != nil && isNobody(err):
		return nil, nil
	case err != nil:
		return nil, err
	case id == r.s.account.ID():
		return &r.s.visitor, nil
	case r.other != nil && r.other.account.ID() == id:
		return r.other, nil
	}
	a, err := r.s.server.Store.Account(r.s.ctx, id)
	if err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			return nil, nil
		}
		return nil, err
	}
	r.close()
	r.other = &visitor{ctx: r.s.ctx, server: r.s.server, account: a, name: name, mute: true}
	return r.other, nil
}

// urlKey gives the user's access key of a mailbox that it can read now; nil when it cannot,
// or has none.
func (v *visitor) urlKey(mailbox string) ([]byte, error) {
	p, record, err := v.readable(mailbox)
	if err != nil || record == nil {
		return nil, err
	}
	keys, err := v.account.URLKeys(v.ctx)
	return keys.Of(p.Account().ID(), record.ID), err
}

// readable finds a mailbox by the name that the user has for it; nil unless it is there
// and the user may read it.
func (v *visitor) readable(mailbox string) (place, *store.MailboxRecord, error) {
	clean, err := store.CleanName(mailbox)
	if err != nil {
		return place{}, nil, nil
	}
	p, err := v.place(clean)
	if err != nil {
		if unreadable(err) == errURLMailbox {
			err = nil
		}
		return place{}, nil, err
	}
	record, rights, ok := p.Mailbox(p.name)
	if !ok || !rights.Has(mail.RightRead) {
		return place{}, nil, nil
	}
	return p, &record, nil
}

// urlToken is the token that proves a URL: what is behind the first byte depends on it.
func urlToken(key []byte, rump string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(rump))
	return h.Sum([]byte{1}) // HMAC with SHA-256
}

// open opens the mailbox of a URL, without taking its \Recent.
func (r *urlReader) open(v *visitor, name string) error {
	if r.from != nil && r.of == v && r.name == name {
		return nil
	}
	if r.from != nil {
		r.from.Close()
		r.from = nil
	}
	clean, err := store.CleanName(name)
	if err != nil {
		return unreadable(err)
	}
	p, err := v.place(clean)
	if err != nil {
		return unreadable(err)
	}
	if r.from, err = p.Select(r.s.ctx, p.name, true); err != nil {
		r.from = nil
		return unreadable(err)
	}
	r.of, r.name = v, name
	return nil
}

// unreadable gives err, or badURL for what is the mailbox's.
func unreadable(err error) error {
	switch mail.KindOf(err) {
	case mail.KindNotFound, mail.KindNoPermission, mail.KindCannot:
		return errURLMailbox
	}
	return err
}

// part finds a part in the mailbox that is open.
func (r *urlReader) part(u *messageURL) (p urlPart, err error) {
	if u.item.partial && r.s.off("URL-PARTIAL") {
		return p, errNotOurURL
	}
	if u.uidValidity != 0 && u.uidValidity != r.from.Record().UIDValidity {
		return p, errURLValidity
	}
	seq, ok := r.from.View().Seq(u.uid)
	if !ok {
		return p, errURLMessage
	}
	p.item, p.message = u.item, r.from.View().At(seq)
	if p.content, err = r.from.Body(r.s.ctx, p.message.Email); err != nil {
		if mail.KindOf(err) == mail.KindExpunged {
			err = errURLMessage
		}
		return p, err
	}
	// A part of a few bytes may cost the reading of the whole message.
	if r.opened += p.content.Size(); r.opened > 4*r.s.server.Store.MaxMessage() {
		err = withCode("LIMIT", mail.Errorf(mail.KindLimit, "The messages that parts are taken of are too large together."))
	}
	if err == nil {
		p.summary, err = r.s.summaryOf(r.from, p.message, p.content)
	}
	if err == nil {
		if _, ok := p.summary.Locate(u.item.section); !ok {
			err = errURLPart
		}
	}
	if err != nil {
		p.content.Close()
	}
	return p, err
}

// summaryOf gives the summary of a message whose content is open, with the structure of all
// parts that can be named.
func (s *session) summaryOf(in *store.Mailbox, m *store.Message, content store.Body) (sum message.Summary, err error) {
	err = in.Summaries(s.ctx, []mail.EmailID{m.Email}, func(_ int, kept message.Summary) error {
		sum = slices.Clone(kept)
		return nil
	})
	if err == nil && (len(sum.BodyStructure()) == 0 || sum.HasGlobal()) {
		// Of another version, or damaged, or without what message/global holds.
		var raw []byte
		if raw, err = wholeBody(content); err == nil {
			sum = message.Parse(raw, message.DefaultLimits).ShowGlobal().Summary()
		}
	}
	if err == nil && content.Size() < sum.Size() {
		err = mail.Errorf(mail.KindCorrupt, "A stored message is shorter than its summary says.")
	}
	return sum, err
}
