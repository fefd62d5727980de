package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A crowd is a second server of a peer's kind, with a thousand accounts, people of a passwd
// file, and a thousand messages of each. It is filled once, in the quickest way, and runs only
// while something is measured of it.
const (
	crowdAccounts = 1000
	crowdMessages = 1000 // of each
	crowdArrivals = 2000 // just before it is killed
)

// inCrowd makes the peer's crowd, once.
func inCrowd(b *bench, p *peer) {
	if b.crowds[p] != nil {
		return
	}
	dir := filepath.Join(b.dir, "crowd")
	check(os.MkdirAll(dir, 0o755))
	begun := time.Now()
	q := servers[p.name](b.ctx, site{dir: dir, people: crowdAccounts, started: b.note})
	defer q.stop()
	n := b.count(crowdMessages)
	parallel(8, func(worker int) {
		for i := worker; i < crowdAccounts; i += 8 {
			put(q, i, 0, n, messageSize)
		}
	})
	calm(q)
	progress(fmt.Sprintf("%s has %d accounts and %d messages after %v", p.name, crowdAccounts, n*crowdAccounts, time.Since(begun).Round(time.Second)))
	b.crowds[p] = q
}

// ofCrowd measures the peer's crowd.
func (b *bench) ofCrowd(p *peer, measure func(*bench, *peer) float64) float64 {
	q := b.crowds[p]
	defer q.stop()
	return measure(b, q)
}

// startedAfterKill is started after mail has arrived and the server was killed.
func startedAfterKill(b *bench, p *peer) float64 {
	p.start(b.ctx)
	n := b.count(crowdArrivals)
	parallel(8, func(worker int) { put(p, worker, 0, n/8, 4096) })
	p.kill()
	return started(b, p)
}
