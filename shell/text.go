package shell

import (
	"fmt"
	"strings"
	"unicode"
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

// safe makes control and bidirectional characters of a foreign text visible, so
// that it cannot write to the terminal. Line ends become spaces.
func safe(text string) string {
	harmful := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
	if strings.IndexFunc(text, harmful) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
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
