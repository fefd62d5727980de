package embedded

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// logger is what Pebble writes its log to: its chatter at Debug.
type logger struct {
	log   *slog.Logger
	fatal func(error)
}

func (l *logger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}

func (l *logger) Errorf(format string, args ...any) {
	l.log.Warn("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf must not end the process. Pebble goes on behind it, on a disk that is
// frozen, and the engine neither reads nor writes any more.
func (l *logger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Errorf("pebble: "+format, args...))
}

// listener hears of what Pebble does in the background.
func (e *Engine) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if e.compactions.failed() {
				e.log.Error("the mail store's background work failed", "folder", e.dir, "error", err)
			}
		},
		DataCorruption: func(x pebble.DataCorruptionInfo) {
			e.log.Error("a file of the mail store is damaged", "file", x.Path, "error", x.Details)
		},
		CompactionEnd: func(x pebble.CompactionInfo) {
			if x.Err == nil {
				e.compactions.worked()
			}
		},
		WriteStallBegin: func(x pebble.WriteStallBeginInfo) {
			e.log.Warn("the mail store's disk is too slow; writing waits", "folder", e.dir, "reason", x.Reason)
		},
	}
}
