// Package language says texts to people in their language: by tables that are part of
// the program, from English, which is what the code says.
package language

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// Words are the texts of a language by the English ones; nil is English. One with
// verbs of fmt is filled in after it was translated.
type Words map[string]string

// Read reads the table of a language, words/TAG.json. It panics when it is none: the
// table is part of the program.
func Read(files fs.FS, tag string) Words {
	b, err := fs.ReadFile(files, "words/"+tag+".json")
	words := Words{}
	if err == nil {
		err = json.Unmarshal(b, &words)
	}
	if err != nil {
		panic(err)
	}
	return words
}

// Say gives a text, or a format and what it is filled with. What has not been
// translated is said in English.
func (w Words) Say(text string, args ...any) string {
	if said, ok := w[text]; ok {
		text = said
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// SayError gives what a client may read of err, a sentence.
func (w Words) SayError(err error) string {
	text := mail.TextOf(err)
	if w == nil {
		return text
	}
	var e *mail.Error
	if errors.As(err, &e) && e.Format != "" && len(e.Args) > 0 {
		return w.Say(e.Format, e.Args...)
	}
	return w.Say(text)
}

// Match finds the tag that a language-range means, by cutting the range from its end
// until one of tags is left (RFC 4647, 3.4); "" when there is none. tags are in lower
// case.
func Match(wanted string, tags ...string) string {
	wanted = strings.ToLower(wanted)
	for wanted != "" {
		for _, tag := range tags {
			if tag == wanted {
				return tag
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
	return ""
}
