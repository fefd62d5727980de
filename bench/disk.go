package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// diskMessages is how many letters are kept to see what they take.
const diskMessages = 4000

// disk writes what mail takes on disk, and how the space of expunged mail comes back.
func (b *bench) disk(out io.Writer) {
	l := newLetters()
	n, sum, second := b.count(diskMessages), 0, 0
	bodies := make([][]byte, n)
	for i := range bodies {
		bodies[i] = l.message(i)
		sum += len(bodies[i])
		if i >= n/2 {
			second += len(bodies[i])
		}
	}
	fmt.Fprintf(out, "\n## Disk\n\n%s letters as people get them (half plain text, a third newsletters with HTML, a sixth with an attachment that is compressed already), %s bytes each; what the second half adds, so that logs of a fixed size do not count.\n\n| On disk | bytes of a letter | of its size | reading all, CPU of a MB |\n| --- | --- | --- | --- |\n", thousands(n), thousands(sum/n))
	kept := func(name string, s site) *peer {
		s.dir, s.started = filepath.Join(b.dir, "disk", name), b.note
		check(os.RemoveAll(s.dir))
		check(os.MkdirAll(s.dir, 0o755))
		p := servers[name](b.ctx, s)
		still := 5 * time.Second
		if s.compressed {
			name += ", compressed"
			still = 15 * time.Second // Postern looks every five
		}
		atRest := func() int64 { // logs are cut at a restart
			usedAtRest(p.data, still)
			p.stop()
			p.start(b.ctx)
			return usedAtRest(p.data, still)
		}
		var before int64
		for _, part := range [][][]byte{bodies[:n/2], bodies[n/2:]} {
			before = atRest()
			parallel(8, func(worker int) {
				c := lmtp(p)
				defer c.Close()
				for i := worker; i < len(part); i += 8 {
					c.deliver(large, part[i])
				}
			})
		}
		took := atRest() - before
		c := selected(login, p, large)
		defer c.Close()
		reading := b.each(p, func() float64 {
			for range 2 {
				c.imap("UID FETCH 1:* (BODY.PEEK[])")
			}
			return float64(c.bytes) / 1e6
		})
		fmt.Fprintf(out, "| %s | %s | %.0f %% | %s |\n", name, thousands(int(took)/(n-n/2)), 100*float64(took)/float64(second), micros(reading))
		return p
	}
	end := func(p *peer) {
		p.stop()
		check(os.RemoveAll(filepath.Join(b.dir, "disk")))
	}
	for _, name := range b.names() {
		if name == "Postern" || name == "Dovecot" {
			end(kept(name, site{compressed: true}))
		}
		p := kept(name, site{})
		if name == "Postern" {
			b.giveBack(out, p, n)
		}
		end(p)
	}
}

// used is what a folder takes on disk, in bytes.
func used(dir string) (sum int64) {
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil {
			if info, err := e.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					sum += st.Blocks * 512
				}
			}
		}
		return nil // files come and go
	})
	return sum
}

// usedAtRest is used when it has not changed for so long, or after five minutes.
func usedAtRest(dir string, still time.Duration) (sum int64) {
	since := time.Now()
	for end := since.Add(5 * time.Minute); time.Since(since) < still && time.Now().Before(end); time.Sleep(time.Second) {
		if now := used(dir); now != sum {
			sum, since = now, time.Now()
		}
	}
	return sum
}
