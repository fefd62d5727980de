package settings

import (
	"net/url"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// MimeFormat is the form in which a message is given to a client.
type MimeFormat int

// The formats.
const (
	TextOnly MimeFormat = iota
	HtmlOnly
	HtmlAndTextAlternative
	TextEnrichedOnly
	TextEnrichedAndTextAlternative
	BestBodyFormat // the message as it arrived
	Tnef
)

// String gives the format's name.
func (f MimeFormat) String() string { return MessageRetrievalMimeFormat.name(int(f)) }

// MessageRetrievalMimeFormat selects among a message's MIME alternatives.
var MessageRetrievalMimeFormat = choice(Row{
	Name: "MessageRetrievalMimeFormat", Noun: "Settings", Page: Retrieval, Type: "MimeFormat", Services: both,
	Help: "The form in which messages are given to clients. BestBodyFormat is the message as it arrived. Other values are kept; they act when messages are converted for clients.",
	Choices: []Choice{
		{Name: "TextOnly", Number: 0, Help: "Plain text."},
		{Name: "HtmlOnly", Number: 1, Help: "HTML."},
		{Name: "HtmlAndTextAlternative", Number: 2, Help: "HTML with a plain-text alternative."},
		{Name: "TextEnrichedOnly", Number: 3, Help: "Enriched text."},
		{Name: "TextEnrichedAndTextAlternative", Number: 4, Help: "Enriched text with a plain-text alternative."},
		{Name: "BestBodyFormat", Number: 5, Help: "The message as it arrived."},
		{Name: "Tnef", Number: 6, Help: "Transport-neutral encapsulation."},
	},
	note: func(v any) string {
		if v == BestBodyFormat {
			return ""
		}
		return "MessageRetrievalMimeFormat is kept; until messages are converted for clients they are given as they arrived."
	},
}, BestBodyFormat)

// SortOrder is the order of messages in a POP3 maildrop.
type SortOrder int

// The orders.
const (
	Ascending  SortOrder = iota // oldest first
	Descending                  // newest first
)

// String gives the order's name.
func (o SortOrder) String() string { return MessageRetrievalSortOrder.name(int(o)) }

// MessageRetrievalSortOrder is the order in which POP3 numbers messages.
var MessageRetrievalSortOrder = choice(Row{
	Name: "MessageRetrievalSortOrder", Noun: "Settings", Page: Retrieval, Type: "SortOrder", Services: []Service{POP3},
	Help: "The order in which POP3 numbers the messages of a new session.",
	Choices: []Choice{
		{Name: "Ascending", Number: 0, Help: "The oldest message is number 1."},
		{Name: "Descending", Number: 1, Help: "The newest message is number 1."},
	},
}, Ascending)

// ShowHiddenFoldersEnabled makes IMAP4 list hidden mailboxes.
var ShowHiddenFoldersEnabled = yesNo(Row{
	Name: "ShowHiddenFoldersEnabled", Noun: "Settings", Page: Retrieval, Services: []Service{IMAP4},
	Help: "Whether IMAP4 lists hidden folders, those with a name, or a level of it, that begins with a full stop.",
}, false)

// MessageDowngradeEnabled gives surrogates of internationalized messages.
var MessageDowngradeEnabled = yesNo(Row{
	Name: "MessageDowngradeEnabled", Noun: "Settings", Page: Retrieval, Services: both,
	Help: "Whether a message with UTF-8 in its header fields is rewritten, as RFC 6858 has it, for a client that does not switch UTF-8 on: encoded words instead of UTF-8, and instead of addresses outside ASCII one that cannot be replied to. What is stored stays. Without it such a message is sent as it is, which nearly all clients read; programs that copy mail then copy the original.",
}, false)

// CalendarOption says how calendar items are given to a client.
type CalendarOption int

// The options.
const (
	ICalendar CalendarOption = iota
	IntranetURL
	InternetURL
	CustomURL
)

// String gives the option's name.
func (o CalendarOption) String() string { return CalendarItemRetrievalOption.name(int(o)) }

// CalendarItemRetrievalOption says how calendar items are given to a client.
var CalendarItemRetrievalOption = choice(Row{
	Name: "CalendarItemRetrievalOption", Noun: "Settings", Page: Retrieval, Type: "CalendarOption", Services: both,
	Help: "How calendar items are given to clients: as their iCalendar part, or as a link. Links are kept; they act when a web client for calendars stands behind them.",
	Choices: []Choice{
		{Name: "iCalendar", Number: 0, Help: "The iCalendar part as it is stored."},
		{Name: "intranetUrl", Number: 1, Help: "A link for inside the organization."},
		{Name: "InternetUrl", Number: 2, Help: "A link for outside."},
		{Name: "Custom", Number: 3, Help: "A link below OwaServerUrl, which must be set."},
	},
	note: func(v any) string {
		if v == ICalendar {
			return ""
		}
		return "CalendarItemRetrievalOption is kept; it acts when a web client for calendars stands behind the link."
	},
}, ICalendar)

// OwaServerUrl is the web address for CalendarItemRetrievalOption Custom.
var OwaServerUrl = text(Row{
	Name: "OwaServerUrl", Noun: "Settings", Page: Retrieval, Type: "URL", Services: both,
	Help: "The web address that CalendarItemRetrievalOption Custom points to. Kept; acts together with it.",
}, "an http or https URL of at most 2,000 characters, or empty", func(Service, string) string {
	return ""
}, func(_ Service, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || len(text) > 2000 || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return "", mail.Errorf(mail.KindBadArgument, "is a URL such as https://mail.example.org/owa, or empty")
	}
	return u.String(), nil
})

// JmapSessionUrl is where JMAP clients find the same mail.
var JmapSessionUrl = text(Row{
	Name: "JmapSessionUrl", Noun: "Settings", Page: Retrieval, Type: "URL", Services: []Service{IMAP4},
	Help: "The session resource of a JMAP server that gives the same mailboxes and messages, under the same object ids, to who has the same name and password: IMAP4 then offers JMAPACCESS and tells clients the URL. Empty when there is none.",
}, "an https URL of at most 500 printable characters, or empty", func(Service, string) string {
	return ""
}, func(_ Service, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || len(text) > 500 || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" ||
		strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", mail.Errorf(mail.KindBadArgument, "is a URL such as https://jmap.example.org/.well-known/jmap, or empty")
	}
	return u.String(), nil
})

// EnableExactRFC822Size asks for exact sizes; they always are.
var EnableExactRFC822Size = yesNo(Row{
	Name: "EnableExactRFC822Size", Noun: "Settings", Page: Retrieval, Services: both,
	Help: "Whether message sizes are exact. In Postern they always are; the value is kept for scripts that set it.",
	note: func(any) string {
		return "Message sizes are always exact; EnableExactRFC822Size is kept and changes nothing."
	},
}, false)
