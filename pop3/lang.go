package pop3

import (
	"context"
	"embed"
	"strings"

	"github.com/postern-mail/postern/language"
)

//go:embed words
var wordFiles embed.FS

// languages is the table of what LANG can choose, the default first.
var languages = []struct {
	tag, name string // the name in the language itself
	words     language.Words
}{
	{"en", "English", nil},
	{"de", "Deutsch", language.Read(wordFiles, "de")},
}

// lang = "LANG" [ SP language-range ] (RFC 6856, 3). "*" and "i-default" mean the first.
func (x *session) lang(_ context.Context, args string) {
	if args == "" {
		x.ok("Language listing follows")
		for _, l := range languages {
			x.respond([]byte(l.tag + " " + l.name + "\r\n"))
		}
		x.respond([]byte(".\r\n"))
		return
	}
	tags := []string{"*", "i-default"}
	for _, l := range languages {
		tags = append(tags, l.tag)
	}
	wanted := language.Match(strings.TrimSpace(args), tags...)
	if wanted == "*" || wanted == "i-default" {
		wanted = languages[0].tag
	}
	for _, l := range languages {
		if l.tag == wanted {
			x.words = l.words
			x.ok("%s Responses are in English", l.tag)
			return
		}
	}
	x.fault("That language is not supported")
}
