package imap

import (
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// Referrals send a client to another server: for all that it has here (LOGIN-REFERRALS,
// RFC 2221) when its mailbox has moved, or for some mailboxes (MAILBOX-REFERRALS, RFC
// 2193). An administrator says where, and that nothing refers back.

// referral is the response code REFERRAL with the URLs of mailboxes below each of bases
// for the client. AUTH=* keeps it from signing in there as nobody (RFC 2193, 3).
//
//	referral_response_code = "[" "REFERRAL" 1*(SPACE <url>) "]"
func referral(user string, bases []string, below string) string {
	var b strings.Builder
	b.WriteString("REFERRAL")
	for _, base := range bases {
		// As settings.ReferralURL gives it.
		b.WriteString(" " + schemePrefix)
		appendEscaped(&b, user)
		b.WriteString(";AUTH=*@" + strings.TrimPrefix(base, schemePrefix))
		appendEscaped(&b, below)
	}
	return b.String()
}

// appendEscaped writes text as it stands in a path or for a user (RFC 5092, 11 achar).
func appendEscaped(b *strings.Builder, text string) {
	const hex = "0123456789ABCDEF"
	for _, c := range []byte(text) {
		if c >= 0x80 || notInURL(rune(c)) || strings.IndexByte(":@;%", c) >= 0 {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
}

// movedAway is the answer to a login whose mailbox is on another server: only who proved
// its name hears of it (RFC 2221, 6).
func (s *session) movedAway(user, url string) error {
	moved := mail.Errorf(mail.KindCannot, "This mailbox has moved to %s.", strings.TrimSuffix(strings.TrimPrefix(url, schemePrefix), "/"))
	if s.off("LOGIN-REFERRALS") {
		return moved
	}
	return withCode(referral(user, []string{url}, ""), moved)
}

// refersMailboxes tells whether any mailbox is on another server.
func refersMailboxes(s *session) bool {
	return afterLogin(s) && len(settings.MailboxReferrals.Of(s.server.settings())) > 0
}

// elsewhere gives the mailboxes that are on other servers.
func (v *visitor) elsewhere() (list []settings.MailboxReferral) {
	if v.mute {
		return nil
	}
	for _, text := range settings.MailboxReferrals.Of(v.server.settings()) {
		r, err := settings.ParseMailboxReferral(text)
		if err == nil {
			r.Mailbox, err = store.CleanName(r.Mailbox)
		}
		if err == nil {
			list = append(list, r)
		}
	}
	return list
}

// away tells where a mailbox is if not here, and what stands of its name below that. Below
// a mailbox that the user has here all is here.
func (v *visitor) away(name string) (r settings.MailboxReferral, below string, ok bool) {
	for _, r := range v.elsewhere() {
		if rest, ok := strings.CutPrefix(name+store.Delimiter, r.Mailbox+store.Delimiter); ok && !v.has(r.Mailbox) {
			return r, strings.TrimSuffix(store.Delimiter+rest, store.Delimiter), true
		}
	}
	return settings.MailboxReferral{}, "", false
}

// has tells whether a mailbox is here.
func (v *visitor) has(name string) bool {
	p, err := v.find(name)
	if err == nil {
		_, _, ok := p.Mailbox(p.name)
		return ok
	}
	return false
}

// referred is the answer to a command for a mailbox that is on another server, nil when it
// is on none.
func (v *visitor) referred(name string) error {
	r, below, ok := v.away(name)
	if !ok {
		return nil
	}
	return withCode(referral(v.name, r.URLs, below), errElsewhere)
}

var errElsewhere = mail.Errorf(mail.KindCannot, "That mailbox is on another server.")

// referredRename is referred for RENAME: of two mailboxes on other servers, each URL of the
// first stands before one of the second (RFC 2193, 4.3). What is between a server and
// this one a client has to move itself.
func (v *visitor) referredRename(from, to string) error {
	a, belowA, okA := v.away(from)
	b, belowB, okB := v.away(to)
	if !okA || !okB {
		return errElsewhere
	}
	code := "REFERRAL"
	for i := range min(len(a.URLs), len(b.URLs)) {
		one := referral(v.name, a.URLs[i:i+1], belowA)
		two := referral(v.name, b.URLs[i:i+1], belowB)
		code += strings.TrimPrefix(one, "REFERRAL") + strings.TrimPrefix(two, "REFERRAL")
	}
	return withCode(code, errElsewhere)
}

// addRemote puts the mailboxes on other servers into a tree.
func (s *session) addRemote(t *tree) {
	for _, r := range s.elsewhere() {
		if n := t.add(r.Mailbox); n.record == nil {
			n.remote = true
			t.addAbove(r.Mailbox)
		}
	}
	for _, n := range t.nodes {
		if n.record == nil && n.subscribed && !n.remote {
			_, _, n.remote = s.away(n.name)
		}
	}
	t.sort()
}

// withoutRemote leaves out what is subscribed to on other servers: who did not ask for
// mailboxes there cannot open it (RFC 2193, 3).
func (s *session) withoutRemote(t *tree) {
	if s.mute || !refersMailboxes(s) {
		return
	}
	t.nodes = slices.DeleteFunc(t.nodes, func(n *node) bool {
		_, _, away := s.away(n.name)
		return away && n.record == nil && n.subscribed
	})
}

// rlist is RLIST (RFC 2193, 5.1).
//
//	rlist = "RLIST" SPACE mailbox SPACE list_mailbox
func (s *session) rlist(*request) error {
	reference, pattern, err := s.readReference()
	if err != nil {
		return err
	}
	return s.writeList(&listing{reference: reference, patterns: []string{pattern}, remote: true})
}

// rlsub is RLSUB (RFC 2193, 5.2).
//
//	rlsub = "RLSUB" SPACE mailbox SPACE list_mailbox
func (s *session) rlsub(*request) error { return s.listSubscribed(true) }

// readReference reads the arguments of LSUB, RLIST and RLSUB.
func (s *session) readReference() (reference, pattern string, err error) {
	d := s.dec
	d.SP()
	reference = d.MailboxOrEmpty()
	d.SP()
	pattern = d.ListMailbox()
	d.End()
	return reference, pattern, d.Err()
}
