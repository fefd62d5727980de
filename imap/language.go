package imap

import (
	"embed"
	"strings"

	spoken "github.com/postern-mail/postern/language"
	"github.com/postern-mail/postern/mail"
)

// maxLanguages bounds the arguments of LANGUAGE.
const maxLanguages = 50

//go:embed words
var wordFiles embed.FS

// language is a row of the table of languages.
type language struct {
	tag   string
	words spoken.Words // of tagged responses and of BYE
}

// languages lists what the server speaks, the default first (RFC 5255, 3.1).
var languages = []*language{
	{tag: "i-default"},
	{tag: "en"},
	{tag: "de", words: spoken.Read(wordFiles, "de")},
}

// say gives a text, or a format and what it is filled with, in the language.
func (l *language) say(text string, args ...any) string { return l.words.Say(text, args...) }

// sayError gives what a client may read of err, a sentence.
func (l *language) sayError(err error) string { return l.words.SayError(err) }

// matchLanguage finds the language of a language-range; nil when there is none.
func matchLanguage(wanted string) *language {
	if wanted = strings.ToLower(wanted); wanted == "default" || wanted == "*" {
		return languages[0]
	}
	tags := make([]string, len(languages))
	for i, l := range languages {
		tags[i] = l.tag
	}
	tag := spoken.Match(wanted, tags...)
	for _, l := range languages {
		if l.tag == tag {
			return l
		}
	}
	return nil
}

// languageCommand is LANGUAGE (RFC 5255, 3.2). The first range that a language matches
// is taken; without one the languages are listed.
//
//	language-cmd  = "LANGUAGE" *(SP lang-range-quoted)
//	language-data = "LANGUAGE" SP "(" lang-tag-quoted *(SP lang-tag-quoted) ")"
func (s *session) languageCommand(r *request) error {
	d := s.dec
	var wanted []string
	for d.TrySP() {
		wanted = append(wanted, d.AString())
		if len(wanted) > maxLanguages {
			d.Fail(mail.Errorf(mail.KindLimit, "At most %d languages can be asked for at once.", maxLanguages))
			break
		}
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	e := s.enc
	if len(wanted) == 0 {
		e.Untagged().Const("LANGUAGE (")
		for i, l := range languages {
			if i > 0 {
				e.SP()
			}
			e.RawString(l.tag)
		}
		e.Close().CRLF()
		return nil
	}
	for _, w := range wanted {
		l := matchLanguage(w)
		if l == nil {
			continue
		}
		e.Untagged().Const("LANGUAGE (").RawString(l.tag).Close().CRLF()
		s.language = l
		e.SetUTF8Text(l.words != nil)
		if afterLogin(s) && !s.off("NAMESPACE") {
			s.writeNamespaces() // RFC 5255, 3.4
		}
		r.text = "LANGUAGE changed."
		return nil
	}
	return mail.Errorf(mail.KindCannot, "None of these languages is spoken here.")
}
