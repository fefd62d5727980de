package manage

import (
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// when is a parameter of TypeTime: a moment, or how long ago.
type when struct {
	at  time.Time // UTC; zero for how long ago
	ago time.Duration
}

// String gives it as an administrator may have written it.
func (w when) String() string {
	if w.at.IsZero() {
		return settings.FormatSpan(w.ago)
	}
	return w.at.Format(time.RFC3339)
}

// timeLayouts are the ways to write a moment; those without a zone are UTC.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}

// parseWhen reads a moment, or a time span: so long ago.
func parseWhen(text string) (when, bool) {
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil && !t.IsZero() {
			return when{at: t.UTC()}, true
		}
	}
	ago, err := settings.ParseSpan(text)
	return when{ago: ago}, err == nil
}

// ParseTime reads a moment as a parameter of TypeTime is written, of a time span that long
// before now; the zero time for "".
func ParseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	w, ok := parseWhen(text)
	if !ok {
		return time.Time{}, mail.Errorf(mail.KindBadArgument, "%q is not a time such as 2026-11-23, '2026-11-23 14:30' or 2026-11-23T14:30:00+01:00, nor how long ago as a time span such as 01:00:00", text)
	}
	if w.at.IsZero() {
		return now.UTC().Add(-w.ago), nil
	}
	return w.at, nil
}

// timeHelp ends the help of a parameter of TypeTime.
const timeHelp = " Such as 2026-11-23, '2026-11-23 14:30' (UTC) or 2026-11-23T14:30:00+01:00; a time span means so long ago: 1.00:00:00 is a day."
