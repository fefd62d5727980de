package shell

import (
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/postern-mail/postern/manage"
)

const (
	// plainEvery is how often a screen that is no terminal gets a line.
	plainEvery = 10 * time.Second
	// shownAfter is how long something takes that is worth a bar.
	shownAfter = 500 * time.Millisecond
	// lookEvery is how often a bar changes that is told at every moment.
	lookEvery = 200 * time.Millisecond
	// leftAfter is how long it is waited before it is said how much time is left: what is
	// said sooner is wrong.
	leftAfter = 2 * time.Second
	// barWidth is that of the bar where there is room, in columns.
	barWidth = 30
)

// Bar shows on Err how far something is: on a terminal a line that changes, elsewhere a
// line now and then. One goroutine at a time.
type Bar struct {
	screen *Screen
	now    func() time.Time

	last    manage.Progress
	first   time.Time // when it was told of anything
	began   time.Time // of last.Activity
	printed time.Time // of a plain line
	looked  time.Time // by Now
	shown   bool      // there is a line to be cleared
}

// NewBar makes one that shows nothing yet.
func NewBar(screen *Screen) *Bar { return &Bar{screen: screen, now: time.Now} }

// Show shows p.
func (b *Bar) Show(p manage.Progress) {
	now := b.now()
	if b.first.IsZero() {
		b.first, b.printed = now, now
	}
	if p.Activity != b.last.Activity {
		b.began = now
	}
	b.last = p
	if b.screen.ErrTerminal && now.Sub(b.first) >= shownAfter {
		fmt.Fprint(b.screen.Err, "\r"+b.line(p, now)+"\x1b[K")
		b.shown = true
	}
	if !b.screen.ErrTerminal && now.Sub(b.printed) >= plainEvery {
		b.printed = now
		fmt.Fprintln(b.screen.Err, b.text(p, now))
	}
}

// Now is Show for who knows at every moment how far it is: it shows p now and then.
func (b *Bar) Now(p manage.Progress) {
	if now := b.now(); b.first.IsZero() || now.Sub(b.looked) >= lookEvery {
		b.looked = now
		b.Show(p)
	}
	b.last = p
}

// End takes the line away.
func (b *Bar) End() {
	if b.shown {
		fmt.Fprint(b.screen.Err, "\r\x1b[K")
		b.shown = false
	}
}

// fraction gives how much of p is done, 0 to 1; -1 when that is not known.
func fraction(p manage.Progress) float64 {
	if p.All <= 0 {
		return -1
	}
	return min(1, max(0, float64(p.Done)/float64(p.All)))
}

// Heard says how far it was when that was told last, "" when nothing was told.
func (b *Bar) Heard() string {
	if b.first.IsZero() {
		return ""
	}
	return b.amount(b.last)
}

// amount says p in words.
func (b *Bar) amount(p manage.Progress) string {
	say := b.screen.Catalogue.say
	text := safe(p.Activity) + ": "
	part := fraction(p)
	switch {
	case part >= 0 && p.Unit == "bytes":
		return text + fmt.Sprintf("%d %%, ", int(part*100)) + say("%s of %s", size(p.Done), size(p.All))
	case part >= 0:
		return text + fmt.Sprintf("%d %%, ", int(part*100)) + say("%s of %s", fmt.Sprint(p.Done), fmt.Sprint(p.All))
	}
	return text + fmt.Sprint(p.Done)
}

// text says p, and how much time is left.
func (b *Bar) text(p manage.Progress, now time.Time) string {
	text := b.amount(p)
	part := fraction(p)
	if took := now.Sub(b.began); part > 0 && part < 1 && took >= leftAfter {
		left := time.Duration(float64(took) * (1 - part) / part).Round(time.Second)
		text += ", " + b.screen.Catalogue.say("%s left", left)
	}
	return text
}

// line gives the line of a terminal, as wide as it at most.
func (b *Bar) line(p manage.Progress, now time.Time) string {
	text := b.text(p, now)
	part := fraction(p)
	room := b.screen.ErrWidth - 1 // one that is filled to its end would wrap
	if part >= 0 && room-runewidth.StringWidth(text)-3 >= barWidth/2 {
		wide := min(barWidth, room-runewidth.StringWidth(text)-3)
		full := int(part * float64(wide))
		text = "[" + strings.Repeat("#", full) + strings.Repeat(".", wide-full) + "] " + text
	}
	return runewidth.Truncate(text, max(room, 1), "…")
}
