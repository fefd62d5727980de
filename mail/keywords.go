package mail

import "strings"

// registeredKeywords are the keywords of the IANA registry (RFC 5788) that IMAP
// clients use, as it spells them.
var registeredKeywords = []string{
	"$Forwarded", "$MDNSent", "$SubmitPending", "$Submitted", // RFC 3503, RFC 5550
	"$Junk", "$NotJunk", "$Phishing", // RFC 9051, 2.3.2
	"$Important", // RFC 8457, 4
	// RFC 9979, 9.1
	"$autosent", "$canunsubscribe", "$followed", "$hasattachment", "$hasmemo", "$hasnoattachment",
	"$imported", "$istrusted", "$MailFlagBit0", "$MailFlagBit1", "$MailFlagBit2", "$maskedemail",
	"$memo", "$muted", "$new", "$notify", "$unsubscribed",
}

// SpelledKeyword gives a keyword as the registry spells it, whatever case a client
// wrote it in; one that is not registered as it is.
func SpelledKeyword(name string) string {
	if strings.HasPrefix(name, "$") {
		if i := KeywordIndex(registeredKeywords, name); i >= 0 {
			return registeredKeywords[i]
		}
	}
	return name
}
