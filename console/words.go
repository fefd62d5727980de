package console

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Language is one in which the console speaks.
type Language struct {
	Tag  language.Tag
	Name string // in itself

	group, decimal  string // of numbers
	date, day, time string // layouts of package time
}

// Languages are all, the first when nothing else is asked for.
var Languages = []*Language{
	{language.English, "English", ",", ".", "2 Jan 2006", "2 Jan", "15:04"},
	{language.German, "Deutsch", ".", ",", "02.01.2006", "02.01.", "15:04"},
}

//go:embed words
var wordFiles embed.FS

// Catalogue has every text in every language. The key of a text is the English
// text itself; one with verbs of fmt is filled in after it was translated. It
// never changes.
type Catalogue struct {
	bundle  *i18n.Bundle
	matcher language.Matcher
	known   map[language.Tag]map[string]bool // keys
	formats map[language.Tag][]format        // those with verbs, the most telling first
}

// format finds what a format was filled with.
type format struct {
	key     string
	pattern *regexp.Regexp
	literal int // letters outside of verbs
}

// OpenCatalogue reads the embedded files.
func OpenCatalogue() (*Catalogue, error) {
	c := &Catalogue{bundle: i18n.NewBundle(language.English), known: map[language.Tag]map[string]bool{}, formats: map[language.Tag][]format{}}
	c.bundle.RegisterUnmarshalFunc("json", json.Unmarshal)
	var tags []language.Tag
	for _, l := range Languages {
		tags = append(tags, l.Tag)
		file, err := c.bundle.LoadMessageFileFS(wordFiles, "words/"+l.Tag.String()+".json")
		if err != nil {
			return nil, fmt.Errorf("console: words: %w", err)
		}
		known := map[string]bool{}
		for _, m := range file.Messages {
			known[m.ID] = true
			if f, ok := formatOf(m.ID); ok {
				c.formats[l.Tag] = append(c.formats[l.Tag], f)
			}
		}
		c.known[l.Tag] = known
		slices.SortFunc(c.formats[l.Tag], func(a, b format) int {
			if a.literal != b.literal {
				return b.literal - a.literal
			}
			return strings.Compare(a.key, b.key)
		})
	}
	c.matcher = language.NewMatcher(tags)
	return c, nil
}

var verb = regexp.MustCompile(`%(?:\[(\d+)\])?[-+#0]*[\d.]*([a-zA-Z%])`)

// formatOf makes a pattern of a text with verbs.
func formatOf(key string) (format, bool) {
	f := format{key: key}
	var b strings.Builder
	b.WriteString(`(?s)^`)
	at, verbs := 0, 0
	for _, m := range verb.FindAllStringSubmatchIndex(key, -1) {
		literal := key[at:m[0]]
		f.literal += len(literal)
		b.WriteString(regexp.QuoteMeta(literal))
		at = m[1]
		switch key[m[4]:m[5]] {
		case "%":
			b.WriteString("%")
			continue
		case "q":
			b.WriteString(`("(?:[^"\\]|\\.)*")`)
		case "d":
			b.WriteString(`(-?\d+)`)
		default:
			b.WriteString(`(.*?)`)
		}
		verbs++
	}
	f.literal += len(key) - at
	b.WriteString(regexp.QuoteMeta(key[at:]) + `$`)
	if verbs == 0 {
		return f, false
	}
	f.pattern = regexp.MustCompile(b.String())
	return f, true
}

// Pick gives the language that a cookie chose, or the best of an Accept-Language
// header, and what it speaks.
func (c *Catalogue) Pick(chosen, accept string) *Words {
	for _, l := range Languages {
		if chosen == l.Tag.String() {
			return c.In(l)
		}
	}
	if len(accept) > 200 {
		accept = ""
	}
	tags, _, err := language.ParseAcceptLanguage(accept)
	if err != nil {
		return c.In(Languages[0])
	}
	_, i, _ := c.matcher.Match(tags...)
	return c.In(Languages[i])
}

// In speaks a language.
func (c *Catalogue) In(l *Language) *Words {
	return &Words{Language: l, catalogue: c, localizer: i18n.NewLocalizer(c.bundle, l.Tag.String())}
}

// Words speaks one language. One goroutine uses it.
type Words struct {
	*Language
	catalogue *Catalogue
	localizer *i18n.Localizer
}

// Lang is the tag for HTML.
func (w *Words) Lang() string { return w.Tag.String() }

// has tells whether the key stands in this language's catalogue.
func (w *Words) has(key string) bool { return w.catalogue.known[w.Tag][key] }

// find gives the text of a key, the English one when there is no other.
func (w *Words) find(key string, count any) string {
	if !w.has(key) {
		return key
	}
	text, err := w.localizer.Localize(&i18n.LocalizeConfig{MessageID: key, PluralCount: count})
	if err != nil {
		return key
	}
	return text
}

// T gives a text of the console in this language. args fill its verbs; numbers
// are written as the language writes them.
func (w *Words) T(english string, args ...any) string {
	text := w.find(english, nil)
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, w.written(args)...)
}

// Count is T for a text that depends on a number, which fills its first verb, a
// %s.
func (w *Words) Count(english string, n int64, args ...any) string {
	return fmt.Sprintf(w.find(english, n), append([]any{w.Number(n)}, w.written(args)...)...)
}

// CountWord is a text without verbs that depends on a number.
func (w *Words) CountWord(english string, n int64) string { return w.find(english, n) }

// Days says how many days are left.
func (w *Words) Days(n int) string { return w.Count("%s day left", int64(n)) }

// Ordinal numbers the i-th of a list for people, who count from one.
func (w *Words) Ordinal(i int) string { return w.Number(int64(i) + 1) }

func (w *Words) written(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case int:
			out[i] = w.Number(int64(v))
		case int64:
			out[i] = w.Number(v)
		case time.Time:
			out[i] = w.When(v)
		default:
			out[i] = a
		}
	}
	return out
}

// maxServerText bounds what Text looks for formats in.
const maxServerText = 4 << 10

// Text translates a text that the server made: whole, or as one of the
// catalogue's formats that was filled in. What is not known stays as it is.
func (w *Words) Text(english string) string { return w.text(english, 0) }

func (w *Words) text(english string, depth int) string {
	if w.Tag == language.English || english == "" {
		return english
	}
	if w.has(english) {
		return w.find(english, nil)
	}
	if depth > 3 || len(english) > maxServerText {
		return english
	}
	for _, f := range w.catalogue.formats[w.Tag] {
		found := f.pattern.FindStringSubmatch(english)
		if found == nil {
			continue
		}
		return refill(w.find(f.key, nil), func(i int) string {
			if i >= len(found) {
				return ""
			}
			if quoted(f.key, i) {
				return found[i]
			}
			return w.text(found[i], depth+1)
		})
	}
	return english
}

// quoted tells whether the i-th verb of a format stands in single quotes: a value of
// a line of the shell, which is the same in every language.
func quoted(format string, i int) bool {
	next := 0
	for _, m := range verb.FindAllStringSubmatchIndex(format, -1) {
		if format[m[4]:m[5]] == "%" {
			continue
		}
		if next++; next == i {
			return m[0] > 0 && format[m[0]-1] == '\''
		}
	}
	return false
}

// refill puts texts in the place of verbs; arg counts from 1.
func refill(format string, arg func(int) string) string {
	next := 0
	return verb.ReplaceAllStringFunc(format, func(v string) string {
		m := verb.FindStringSubmatch(v)
		if m[2] == "%" {
			return "%"
		}
		next++
		if m[1] != "" {
			next, _ = strconv.Atoi(m[1])
		}
		return arg(next)
	})
}

// Error says an error in this language.
func (w *Words) Error(err error) string {
	var e *mail.Error
	if errors.As(err, &e) && e.Format != "" && e.Format != "%s" && w.has(e.Format) {
		args := make([]any, len(e.Args))
		for i, a := range e.Args {
			switch v := a.(type) {
			case string:
				args[i] = w.Text(v)
			case error:
				args[i] = w.Text(v.Error())
			default:
				args[i] = a
			}
		}
		return fmt.Sprintf(w.find(e.Format, nil), args...)
	}
	return w.Text(mail.TextOf(err))
}

// Number writes a whole number.
func (w *Words) Number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "−", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + w.group + digits[i:]
	}
	return sign + digits
}

// Size writes a number of bytes in the largest unit that leaves at least one.
func (w *Words) Size(n int64) string {
	if n < 1024 {
		return w.Number(n) + " B"
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"KB", "MB", "GB", "TB"} {
		value /= 1024
		if value < 1024 {
			break
		}
	}
	text := strconv.FormatFloat(value, 'f', 1, 64)
	return strings.Replace(strings.TrimSuffix(text, ".0"), ".", w.decimal, 1) + " " + unit
}

// Date writes a day.
func (w *Words) Date(t time.Time) string { return t.Local().Format(w.date) }

// Day writes a day of this year.
func (w *Words) Day(t time.Time) string { return t.Local().Format(w.day) }

// When writes a day and a time of it, in the server's time zone.
func (w *Words) When(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.Local().Format(w.date + ", " + w.time)
}

// Precise is When to the second, or the millisecond where one is known, as logs need
// it.
func (w *Words) Precise(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	if t.Nanosecond() == 0 {
		return t.Local().Format(w.date + ", 15:04:05")
	}
	return t.Local().Format(w.date + ", 15:04:05.000")
}

// Clock writes a time of the day, in the server's time zone.
func (w *Words) Clock(t time.Time) string { return t.Local().Format(w.time) }

// Value writes a property of a result for people.
func (w *Words) Value(value any) string {
	switch v := value.(type) {
	case nil:
		return "–"
	case bool:
		if v {
			return w.T("yes")
		}
		return w.T("no")
	case int:
		return w.whole(int64(v))
	case int64:
		return w.whole(v)
	case float64:
		return strings.Replace(strconv.FormatFloat(v, 'f', -1, 64), ".", w.decimal, 1)
	case string:
		if v == "" {
			return "–"
		}
		if v == "unlimited" {
			return w.T(v)
		}
		return v
	case []string:
		if len(v) == 0 {
			return "–"
		}
		return strings.Join(v, ", ")
	case []any: // from JSON
		return w.Value(texts(v))
	case time.Time:
		return w.When(v)
	}
	return fmt.Sprint(value)
}

// Measured is Value of a number that counts a unit, "bytes" or "" for none, or of a
// time.
func (w *Words) Measured(value any, unit string) string {
	if n, ok := value.(int64); ok && unit == "bytes" && n != settings.Unlimited {
		return w.Size(n)
	}
	if text, ok := value.(string); ok {
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			return w.When(t)
		}
	}
	return w.Value(value)
}

// whole writes a number of a setting; the largest means that there is no limit.
func (w *Words) whole(n int64) string {
	if n == settings.Unlimited {
		return w.T("unlimited")
	}
	return w.Number(n)
}
