// Package statistics keeps who signed in how over the last days, and what the
// services did over time: numbers for people to look at. It holds no secret, is
// bounded whatever clients send, and outlives a restart.
package statistics

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-mail/postern/settings"
)

// saveEvery is how often what is new is written to the file.
const saveEvery = 5 * time.Minute

// Options are the parts of a History; all may be left out.
type Options struct {
	// Path is the file that keeps it all over a restart; "" keeps it in memory.
	Path string
	// Read gives a service's numbers of now; ok is false for one that there is not.
	Read func(s settings.Service) (r Reading, ok bool)
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: tells nobody
}

// Reading is what a service says of itself.
type Reading struct {
	Connections       int   // open now
	BytesIn, BytesOut int64 // since the server started
}

// History keeps it all. Its methods may be called from any goroutine; a nil
// History keeps nothing. Run it, and Close it when Run has returned.
type History struct {
	path string
	read func(settings.Service) (Reading, bool)
	now  func() time.Time
	log  *slog.Logger

	mu      sync.Mutex
	changed bool // since the file was written
	signIns signIns
	series  series
}

// Open makes a History of what its file holds. A file that cannot be read is
// logged, and replaced in time: numbers are not worth a server that does not start.
func Open(o Options) *History {
	h := &History{path: o.Path, read: o.Read, now: o.Now, log: o.Log}
	if h.now == nil {
		h.now = time.Now
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.read == nil {
		h.read = func(settings.Service) (Reading, bool) { return Reading{}, false }
	}
	now := h.now()
	h.signIns = newSignIns(slotOf(now))
	h.series = newSeries(minuteOf(now))
	// A server starts without waiting for it; who asks, or has something to count, does.
	h.mu.Lock()
	go func() {
		defer h.mu.Unlock()
		if err := h.load(); err != nil {
			h.log.Warn("the statistics cannot be read; they begin anew", "path", h.path, "error", err)
		}
	}()
	return h
}

// Close writes what is new to the file, when the services have stopped.
func (h *History) Close() error {
	if h == nil {
		return nil
	}
	h.tick()
	rest := h.readings()
	h.mu.Lock()
	h.series.take(rest)
	h.series.advance(h.series.minute+1, nil) // what the minute under way has so far
	h.changed = true
	h.mu.Unlock()
	return h.save()
}

// Run ends each minute of the series, and saves now and then, until ctx ends.
func (h *History) Run(ctx context.Context) {
	if h == nil {
		return
	}
	saved := h.now()
	for {
		now := h.now()
		next := now.Truncate(time.Minute).Add(time.Minute)
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		h.tick()
		if h.now().Sub(saved) >= saveEvery {
			if err := h.save(); err != nil {
				h.log.Warn("the statistics cannot be written", "path", h.path, "error", err)
			}
			saved = h.now()
		}
	}
}

func (h *History) readings() map[settings.Service]Reading {
	readings := map[settings.Service]Reading{}
	for _, s := range settings.Services {
		if r, ok := h.read(s); ok {
			readings[s] = r
		}
	}
	return readings
}

// tick takes the readings and goes on to the time of now.
func (h *History) tick() {
	readings, now := h.readings(), h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.series.advance(minuteOf(now), readings) {
		h.changed = true
	}
	h.signIns.advance(slotOf(now))
}
