package settings

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

const (
	// maxSubmissionUsers bounds SubmissionUsers.
	maxSubmissionUsers = 100
	// maxReferrals bounds MailboxReferrals, and maxReplicas the URLs of one entry.
	maxReferrals = 100
	maxReplicas  = 10
)

// SubmissionUsers may fetch what others permitted for being sent.
var SubmissionUsers = lists(Row{
	Name: "SubmissionUsers", Noun: "Settings", Page: Retrieval, Type: "name list", Services: []Service{IMAP4},
	Help: "The sign-in names of message submission servers: they may fetch what users authorized with URLAUTH for being sent (submit+), and have to make sure for whom they send. None may until it is named here.",
}, maxSubmissionUsers, func(_ Service, name string) (string, error) {
	if name == "" || len(name) > 320 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", mail.Errorf(mail.KindBadArgument, "has sign-in names, and %q is none", name)
	}
	return strings.ToLower(name), nil
}, func(Service) string { return fmt.Sprintf("at most %d sign-in names", maxSubmissionUsers) })

// MailboxReferrals are mailboxes that are on other servers.
var MailboxReferrals = lists(Row{
	Name: "MailboxReferrals", Noun: "Settings", Page: Retrieval, Type: "referral list", Services: []Service{IMAP4},
	Help: "Mailboxes that are on other servers, for every user: each entry a name, a colon and IMAP URLs, the preferred first: \"Archive: imap://archive.example.org/Archive\". What stands below the name is below the URL. Clients that know MAILBOX-REFERRALS are sent there, with their own names; for others there is no such mailbox. A mailbox of that name that a user has here goes first.",
}, maxReferrals, func(_ Service, text string) (string, error) {
	r, err := ParseMailboxReferral(text)
	return r.String(), err
}, func(Service) string { return fmt.Sprintf("at most %d entries", maxReferrals) })

// MailboxReferral is an entry of MailboxReferrals.
type MailboxReferral struct {
	Mailbox string   // UTF-8, "/" between levels
	URLs    []string // as of ReferralURL, each with a path
}

// String gives the entry as it is written.
func (r MailboxReferral) String() string { return r.Mailbox + ": " + strings.Join(r.URLs, " ") }

// ParseMailboxReferral reads an entry of MailboxReferrals. KindBadArgument.
//
//	referral = mailbox ":" 1*(SP imapurl)
func ParseMailboxReferral(text string) (MailboxReferral, error) {
	refuse := mail.Errorf(mail.KindBadArgument, `has entries such as "Archive: imap://archive.example.org/Archive", and %q is none`, text)
	i := strings.Index(strings.ToLower(text), "imap://")
	if i < 0 || len(text) > 2000 || !utf8.ValidString(text) {
		return MailboxReferral{}, refuse
	}
	name, colon := strings.CutSuffix(strings.TrimSpace(text[:i]), ":")
	name = strings.TrimSpace(name)
	if !colon || name == "" || strings.EqualFold(name, "INBOX") || strings.ContainsAny(name, "*%") ||
		strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.Contains(name, "//") ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return MailboxReferral{}, refuse
	}
	r := MailboxReferral{Mailbox: name}
	for _, u := range strings.Fields(text[i:]) {
		checked, err := ReferralURL(u, true)
		if err != nil || len(r.URLs) == maxReplicas {
			return MailboxReferral{}, refuse
		}
		r.URLs = append(r.URLs, checked)
	}
	return r, nil
}

// ReferralURL reads the IMAP URL of another server (RFC 5092), with a mailbox on it or
// without, and gives it with a path. It names no user: everybody keeps the name that he
// has. KindBadArgument.
func ReferralURL(text string, mailbox bool) (string, error) {
	refuse := mail.Errorf(mail.KindBadArgument, "is a URL such as imap://mail2.example.org/")
	if mailbox {
		refuse = mail.Errorf(mail.KindBadArgument, "is a URL such as imap://archive.example.org/Archive")
	}
	if len(text) > 500 || strings.ContainsAny(text, "\"\\<>^`{|};?#[]") || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", refuse
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "imap" || u.Hostname() == "" || u.User != nil || u.Opaque != "" {
		return "", refuse
	}
	path := strings.Trim(u.EscapedPath(), "/")
	if mailbox == (path == "") || strings.Contains(path, "//") {
		return "", refuse
	}
	return "imap://" + u.Host + "/" + path, nil
}
