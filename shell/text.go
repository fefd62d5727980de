package shell

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Catalogue gives the shell's own texts in another language: English source text
// to translation. What it lacks, or a nil one, is English. Texts that come from
// the server are shown as they come.
type Catalogue map[string]string

// say gives a text, with args as fmt.Sprintf.
func (c Catalogue) say(english string, args ...any) string {
	if translated, ok := c[english]; ok {
		english = translated
	}
	if len(args) == 0 {
		return english
	}
	return fmt.Sprintf(english, args...)
}

// harmful tells the characters that a terminal obeys, or that show a text otherwise than
// it is.
func harmful(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// safe makes control and bidirectional characters of a foreign text visible, and bytes
// that are no UTF-8, so that it cannot write to the terminal. Line ends become spaces.
func safe(text string) string {
	if strings.IndexFunc(text, harmful) < 0 && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case harmful(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
