package manage

import (
	"net/netip"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Bounds of guessing. The delays of package auth slow down who guesses at one
// account; these stop who guesses from one network, whatever it guesses at.
const (
	guessesFree  = 10               // failures before a network is refused
	guessForget  = 30 * time.Second // takes one failure away each time it passes
	maxGuessRows = 1 << 14
)

// guesses counts failures a network and a purpose. An attempt counts as a failure
// until it is known to be none, so that attempts at the same time count too.
type guesses struct {
	mu   sync.Mutex
	rows map[guessKey]guessRow
}

type guessKey struct {
	purpose string
	network netip.Prefix
}

type guessRow struct {
	failures int
	since    time.Time // from when one is forgotten each guessForget
}

// left gives the row as it is now; at zero failures it can go.
func (r guessRow) left(now time.Time) guessRow {
	if n := int(now.Sub(r.since) / guessForget); n > 0 {
		r.failures, r.since = max(0, r.failures-n), r.since.Add(time.Duration(n)*guessForget)
	}
	return r
}

// begin counts an attempt, or refuses it with KindLimit. done says how it ended.
func (g *guesses) begin(purpose string, remote netip.Addr, now time.Time) (done func(ok bool), err error) {
	remote = remote.Unmap().WithZone("")
	bits := 64
	if remote.Is4() {
		bits = 32
	}
	network, _ := remote.Prefix(bits) // the zero Prefix for no address
	key := guessKey{purpose, network}
	g.mu.Lock()
	defer g.mu.Unlock()
	row := g.rows[key].left(now)
	if row.failures == 0 {
		row.since = now
	}
	if row.failures >= guessesFree {
		wait := guessForget - now.Sub(row.since)
		return nil, mail.Errorf(mail.KindLimit, "Too many failed attempts from your network; try again in %d seconds.", int((wait+time.Second-1)/time.Second))
	}
	if len(g.rows) >= maxGuessRows {
		for k, r := range g.rows {
			if r.left(now).failures == 0 {
				delete(g.rows, k)
			}
		}
		for k := range g.rows { // all of them fail: some make room
			if len(g.rows) < maxGuessRows*3/4 {
				break
			}
			delete(g.rows, k)
		}
	}
	if g.rows == nil {
		g.rows = map[guessKey]guessRow{}
	}
	row.failures++
	g.rows[key] = row
	return func(ok bool) {
		if !ok {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if row, kept := g.rows[key]; kept {
			row.failures = max(0, row.failures-1)
			g.rows[key] = row
		}
	}, nil
}
