package event

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/term"

	"github.com/postern-mail/postern/mail"
)

// Format is how the log is written.
type Format string

// The formats.
const (
	Text    Format = "text"     // a line a record, key=value
	JSON    Format = "json"     // a JSON object a line
	Journal Format = "journald" // to systemd's journal, with fields
)

// Formats lists the formats.
var Formats = []Format{Text, JSON, Journal}

// NewHandler gives a handler that writes records of a level and above. w is not
// used for the journal. Whatever is logged, a record is one line of printable
// characters. KindBadArgument for another format, KindUnavailable when there is no
// journal.
func NewHandler(w io.Writer, format Format, level slog.Leveler) (slog.Handler, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case Text, "":
		if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			// A terminal needs no date.
			options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
				if len(groups) == 0 && a.Key == slog.TimeKey {
					return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05"))
				}
				return a
			}
		}
		return slog.NewTextHandler(printable{w}, options), nil
	case JSON:
		return slog.NewJSONHandler(printableJSON{w}, options), nil
	case Journal:
		if !journal.Enabled() {
			return nil, mail.Errorf(mail.KindUnavailable, "log: systemd's journal is not there; use text or json.")
		}
		return &journalHandler{level: level, send: journal.Send}, nil
	}
	return nil, mail.Errorf(mail.KindBadArgument, "log: %q is none of text, json and journald.", format)
}

// printable escapes the one control character that slog's text has as it is.
type printable struct{ w io.Writer }

func (p printable) Write(record []byte) (int, error) {
	if _, err := p.w.Write(bytes.ReplaceAll(record, []byte{0x7f}, []byte(`\x7f`))); err != nil {
		return 0, err
	}
	return len(record), nil
}

// printableJSON escapes what slog's JSON has as it is and a terminal would obey.
// In JSON such characters stand in strings only.
type printableJSON struct{ w io.Writer }

func (p printableJSON) Write(record []byte) (int, error) {
	if _, err := p.w.Write(escapeJSON(record)); err != nil {
		return 0, err
	}
	return len(record), nil
}

func escapeJSON(record []byte) []byte {
	if !bytes.ContainsFunc(record, hidden) {
		return record
	}
	var b bytes.Buffer
	for _, r := range string(record) {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

func hidden(r rune) bool { return r != '\n' && (!unicode.IsPrint(r) || r == utf8.RuneError) }

// journalHandler writes to systemd's journal: the text with its attributes as the
// message, and each attribute as a field.
type journalHandler struct {
	level  slog.Leveler
	send   func(message string, priority journal.Priority, fields map[string]string) error
	attrs  []slog.Attr // of WithAttrs, with their groups in their keys
	prefix string      // of WithGroup
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := append([]slog.Attr(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		attrs = flatten(attrs, h.prefix, a)
		return true
	})
	var message strings.Builder
	message.WriteString(unquoted(r.Message))
	fields := map[string]string{"SYSLOG_IDENTIFIER": "postern"}
	for _, a := range attrs {
		text := a.Value.String()
		shown := unquoted(text)
		fields["POSTERN_"+fieldName(a.Key)] = shown
		if shown != text || text == "" || strings.ContainsAny(text, " =") {
			shown = `"` + shown + `"`
		}
		fmt.Fprintf(&message, " %s=%s", unquoted(a.Key), shown)
	}
	priority := journal.PriDebug
	switch {
	case r.Level >= slog.LevelError:
		priority = journal.PriErr
	case r.Level >= slog.LevelWarn:
		priority = journal.PriWarning
	case r.Level >= slog.LevelInfo:
		priority = journal.PriInfo
	}
	return h.send(message.String(), priority, fields)
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attrs = append([]slog.Attr(nil), h.attrs...)
	for _, a := range attrs {
		next.attrs = flatten(next.attrs, h.prefix, a)
	}
	return &next
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	next := *h
	if name != "" {
		next.prefix += name + "."
	}
	return &next
}

// flatten adds an attribute, or those of a group.
func flatten(to []slog.Attr, prefix string, a slog.Attr) []slog.Attr {
	a.Value = a.Value.Resolve()
	if a.Value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range a.Value.Group() {
			to = flatten(to, prefix, inner)
		}
		return to
	}
	if a.Equal(slog.Attr{}) {
		return to
	}
	a.Key = prefix + a.Key
	return append(to, a)
}

// unquoted escapes what is not printable.
func unquoted(text string) string {
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// fieldName gives a key as the journal names fields.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	return name[:min(len(name), 40)]
}

// texts gives attributes as text, for entries.
func texts(attrs []slog.Attr) map[string]string {
	out := make(map[string]string, min(len(attrs), maxAttributes))
	for _, a := range attrs {
		if len(out) < maxAttributes {
			out[cut(a.Key, 100)] = cut(a.Value.String(), maxText)
		}
	}
	return out
}
