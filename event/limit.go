package event

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// limiter bounds how many lines of one text reach the log in a second, so that a storm
// of whatever kind neither fills the disk nor takes the processor. What is left out is
// counted and told.
type limiter struct {
	most int // negative is no bound
	now  func() time.Time

	mu     sync.Mutex
	second time.Time
	lines  map[string]int   // of this second, by text
	others map[string]int64 // that were left out since it was told
}

// Bounds of the limiter.
const (
	linesASecond = 100
	maxTexts     = 512 // that are counted apart
)

// allow tells whether one more line of a text may be written; it is counted when not.
func (l *limiter) allow(text string) bool {
	if l.most < 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); now.Sub(l.second) >= time.Second || now.Before(l.second) {
		l.second = now
		clear(l.lines)
	}
	if _, known := l.lines[text]; !known && len(l.lines) >= maxTexts {
		text = ""
	}
	if l.lines[text]++; l.lines[text] <= l.most {
		return true
	}
	if _, known := l.others[text]; !known && len(l.others) >= maxTexts {
		text = ""
	}
	l.others[text]++
	return false
}

// tell writes how many lines were left out.
func (l *limiter) tell(next slog.Handler) {
	l.mu.Lock()
	others := l.others
	l.others = map[string]int64{}
	l.mu.Unlock()
	for text, n := range others {
		NotLogged.Log(context.Background(), slog.New(next), "text", text, "lines", n)
	}
}
