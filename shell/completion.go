package shell

import (
	"context"
	"embed"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

//go:embed completion
var completions embed.FS

// CompletionScript gives the script that teaches a shell of the operating system,
// bash, zsh or fish, to complete postern's command line.
func CompletionScript(name string) ([]byte, error) {
	script, err := completions.ReadFile("completion/postern." + name)
	if err != nil {
		return nil, mail.Errorf(mail.KindNotFound, "there is completion for bash, zsh and fish, not for %q", name)
	}
	return script, nil
}

// Candidate is what completion offers instead of a word.
type Candidate struct{ Value, Help string }

// Complete gives the candidates for the last of words, the arguments of a process
// up to the cursor. A server that runs adds what only it knows.
func Complete(ctx context.Context, client *manage.Client, words []string) []Candidate {
	if len(words) == 0 {
		return nil
	}
	s := &session{Screen: &Screen{}, client: client}
	before, partial, behindPipe := words[:len(words)-1], words[len(words)-1], false
	for i, w := range before {
		if w == "|" {
			words, behindPipe = before[i+1:], true
		}
	}
	if behindPipe {
		before = words
	}
	return s.candidates(ctx, before, partial, behindPipe, func(v string) string {
		// Another shell would make nothing of $true.
		return strings.TrimPrefix(v, "$")
	})
}

// WriteCandidates writes one candidate a line: the value, a tab, and what it means.
func WriteCandidates(w io.Writer, list []Candidate) error {
	var b strings.Builder
	for _, c := range list {
		fmt.Fprintf(&b, "%s\t%s\n", safe(c.Value), firstSentence(c.Help))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// BashWords gives the words of a line that is typed in bash, up to the cursor, as
// a process would get them. The last is "" when a new one begins.
func BashWords(line string) []string {
	var words []string
	var b strings.Builder
	open, began := rune(0), false
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case open != 0 && r == open:
			open = 0
		case r == '\\' && open != '\'' && i+1 < len(runes):
			i++
			b.WriteRune(runes[i])
			began = true
		case open == 0 && (r == '\'' || r == '"'):
			open, began = r, true
		case open == 0 && unicode.IsSpace(r):
			if began {
				words = append(words, b.String())
				b.Reset()
				began = false
			}
		default:
			b.WriteRune(r)
			began = true
		}
	}
	return append(words, b.String())
}
