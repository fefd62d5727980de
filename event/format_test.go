package event

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/postern-mail/postern/mail"
)

// texts that somebody would like to see in a log.
func nasty() []string {
	texts := []string{"\xff", "a\x00b", "level=ERROR msg=\"forged\"", `a","level":"ERROR`, "\U000e0001"}
	for r := range rune(0x3000) {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029 || r == 0xfeff {
			texts = append(texts, "a"+string(r)+"b")
		}
	}
	return texts
}

// TestLogEscapes: whatever a client calls itself, a record is one line of printable
// characters, so nobody can write a record of his own or turn around how one reads.
func TestLogEscapes(t *testing.T) {
	for _, format := range []Format{Text, JSON} {
		var out strings.Builder
		h, err := NewHandler(&out, format, slog.LevelDebug)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range nasty() {
			out.Reset()
			slog.New(h).With("session", text).WithGroup("g").Debug(text, "value", text, "error", errors.New(text), "bytes", []byte(text), "list", []string{text})
			line, rest, _ := strings.Cut(out.String(), "\n")
			if rest != "" || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
				t.Errorf("%s: %+q is logged as %+q", format, text, out.String())
			}
			if strings.Contains(line, ` level=ERROR`) {
				t.Errorf("%s: %+q makes its own attributes: %s", format, text, line)
			}
			var o map[string]any
			if format == JSON && (json.Unmarshal([]byte(line), &o) != nil || o["level"] != "DEBUG" || strings.ToValidUTF8(o["msg"].(string), "?") != strings.ToValidUTF8(text, "\ufffd")) {
				t.Errorf("%+q is logged as %+q", text, line)
			}
		}
	}
	if _, err := NewHandler(nil, "xml", slog.LevelInfo); mail.KindOf(err) != mail.KindBadArgument {
		t.Error(err)
	}
}

// TestJournal: the journal gets the text, with attributes as fields, and nothing
// that is not printable.
func TestJournal(t *testing.T) {
	var message string
	var priority journal.Priority
	var fields map[string]string
	log := slog.New(&journalHandler{level: slog.LevelInfo, send: func(m string, p journal.Priority, f map[string]string) error {
		message, priority, fields = m, p, f
		return nil
	}})
	TooManyOfUser.Log(context.Background(), log.With("service", "POP3").WithGroup("g"), "user", "a b", slog.Group("x", "most", 5), "quoted", `"`)
	if message != `a user has too many connections; another is refused service=POP3 g.event=1009 g.user="a b" g.x.most=5 g.quoted="\""` || priority != journal.PriWarning {
		t.Error(message, priority)
	}
	if fields["POSTERN_SERVICE"] != "POP3" || fields["POSTERN_G_EVENT"] != "1009" || fields["POSTERN_G_X_MOST"] != "5" || fields["SYSLOG_IDENTIFIER"] != "postern" {
		t.Error(fields)
	}
	if message = ""; log.Enabled(context.Background(), slog.LevelDebug) {
		t.Error("debug is enabled")
	}
	for _, text := range nasty() {
		log.Info(text, text, text)
		all := message
		for name, value := range fields {
			all += name + value
		}
		if strings.ContainsFunc(all, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
			t.Errorf("%+q is logged as %+q", text, all)
		}
	}
}
