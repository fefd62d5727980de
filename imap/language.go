package imap

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// maxLanguages bounds the arguments of LANGUAGE.
const maxLanguages = 50

//go:embed words
var wordFiles embed.FS

// language is a row of the table of languages.
type language struct {
	tag string
	// words are the texts of tagged responses and of BYE, by the English ones; nil
	// for English. One with verbs of fmt is filled in after it was translated.
	words map[string]string
}

// languages lists what the server speaks, the default first (RFC 5255, 3.1).
var languages = []*language{
	{tag: "i-default"},
	{tag: "en"},
	{tag: "de", words: readWords("de")},
}

// readWords reads the table of a language, which is part of the program.
func readWords(tag string) map[string]string {
	b, err := wordFiles.ReadFile("words/" + tag + ".json")
	words := map[string]string{}
	if err == nil {
		err = json.Unmarshal(b, &words)
	}
	if err != nil {
		panic(err)
	}
	return words
}

// say gives a text, or a format and what it is filled with, in the language. What has
// not been translated is said in English.
func (l *language) say(text string, args ...any) string {
	if words, ok := l.words[text]; ok {
		text = words
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// sayError gives what a client may read of err, a sentence.
func (l *language) sayError(err error) string {
	text := mail.TextOf(err)
	if l.words == nil {
		return text
	}
	var e *mail.Error
	if errors.As(err, &e) && e.Format != "" && len(e.Args) > 0 {
		return l.say(e.Format, e.Args...)
	}
	return l.say(text)
}

// matchLanguage finds the language of a language-range, by cutting it from its end
// until a tag is left that there is (RFC 4647, 3.4); nil when there is none.
func matchLanguage(wanted string) *language {
	wanted = strings.ToLower(wanted)
	if wanted == "default" || wanted == "*" {
		return languages[0]
	}
	for wanted != "" {
		for _, l := range languages {
			if l.tag == wanted {
				return l
			}
		}
		cut := strings.LastIndexByte(wanted, '-')
		if cut < 0 {
			break
		}
		// A single letter is not left at the end.
		if cut >= 2 && wanted[cut-2] == '-' {
			cut -= 2
		}
		wanted = wanted[:cut]
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
		r.text = "LANGUAGE changed."
		return nil
	}
	return mail.Errorf(mail.KindCannot, "None of these languages is spoken here.")
}
