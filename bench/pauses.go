package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How long small commands take while the space of expunged mail comes back.

const (
	// mostPause is the goal.
	mostPause = 10 * time.Millisecond
	// calmTime is how long it is measured before anything is expunged.
	calmTime = time.Minute
	// stillTime is how long nothing more must come back until it is over: Postern looks for
	// files once a minute.
	stillTime = 100 * time.Second
	// oldEnough is how old files must be before Postern compacts what is expunged of them.
	oldEnough = 5 * time.Minute
)

// small commands, one after the other, 5 ms apart; the last is what the disk does for a
// change without any server.
var smallCommands = []string{"NOOP", "FETCH of a body", "STORE of a flag", "APPEND of 4 KiB", "one write of 4 KiB through to the disk"}

// did is how long something took, and when.
type did struct {
	begun time.Time
	took  time.Duration
}

// busy is a session that does the small commands.
type busy struct {
	*conn
	body   []byte
	file   *os.File // for writes without a server
	block  []byte
	rounds int
}

func newBusy(b *bench, p *peer) *busy {
	put(p, small, 0, 100, messageSize)
	f, err := os.OpenFile(filepath.Join(b.dir, "disk", "synced"), os.O_CREATE|os.O_WRONLY|syscall.O_DSYNC, 0o600)
	check(err)
	_, err = f.Write(make([]byte, 1<<20)) // its blocks are there
	check(err)
	return &busy{conn: selected(login, p, small), body: message(1, 4096), file: f, block: make([]byte, 4096)}
}

func (s *busy) Close() {
	s.conn.Close()
	s.file.Close()
}

// do does the i-th of the small commands.
func (s *busy) do(i int) did {
	n := s.rounds
	begun := time.Now()
	switch i {
	case 0:
		s.imap("NOOP")
	case 1:
		s.imap("FETCH %d (BODY.PEEK[])", 1+n%100)
	case 2:
		s.imap("STORE %d %cFLAGS.SILENT (\\Flagged)", 1+n/2%100, "+-"[n%2])
	case 3:
		s.append("INBOX", s.body)
	default:
		_, err := s.file.WriteAt(s.block, int64(n%256)*4096)
		check(err)
	}
	return did{begun, time.Since(begun)}
}

// watch does them again and again until, asked once a second, says that it is over.
func (s *busy) watch(until func() bool) [][]did {
	all := make([][]did, len(smallCommands))
	for look := time.Now(); ; s.rounds++ {
		for i := range all {
			all[i] = append(all[i], s.do(i))
			time.Sleep(5 * time.Millisecond)
		}
		if time.Since(look) > time.Second {
			if until() {
				return all
			}
			look = time.Now()
		}
	}
}

// lateness is what the machine itself makes late: a thread that wants to wake every
// millisecond notes when it did not.
type lateness struct {
	stop chan struct{}
	done sync.WaitGroup
	late []did
	most time.Duration
}

// noted is from when on it counts: a command of such a length may then be the machine's.
const noted = 2 * time.Millisecond

func newLateness() *lateness {
	l := &lateness{stop: make(chan struct{})}
	l.done.Go(func() {
		runtime.LockOSThread()
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			begun := time.Now()
			wish := syscall.NsecToTimespec(int64(time.Millisecond))
			syscall.Nanosleep(&wish, nil)
			if took := time.Since(begun) - time.Millisecond; took > noted {
				l.late = append(l.late, did{begun, took})
			} else {
				l.most = max(l.most, took)
			}
		}
	})
	return l
}

// end ends it; then late may be read.
func (l *lateness) end() {
	close(l.stop)
	l.done.Wait()
	for _, d := range l.late {
		l.most = max(l.most, d.took)
	}
}

// during gives how much of d the machine was late in.
func (l *lateness) during(d did) (sum time.Duration) {
	end := d.begun.Add(d.took)
	for _, late := range l.late {
		from, to := late.begun, late.begun.Add(late.took+time.Millisecond)
		if from.Before(d.begun) {
			from = d.begun
		}
		if to.After(end) {
			to = end
		}
		sum += max(0, to.Sub(from))
	}
	return sum
}

// giveBack expunges every second letter and watches the space come back, while somebody
// else does small commands.
func (b *bench) giveBack(out io.Writer, p *peer, letters int) {
	s := newBusy(b, p)
	defer s.Close()
	machine := newLateness()
	ended := false
	defer func() {
		if !ended {
			machine.end()
		}
	}()
	begun := time.Now()
	calm := s.watch(func() bool { return time.Since(begun) > calmTime || b.ctx.Err() != nil })
	full := used(p.data)
	c := selected(login, p, large)
	for at := 1; at <= letters; at += 1000 {
		var odd strings.Builder
		for i := at; i <= min(letters, at+999); i += 2 {
			fmt.Fprintf(&odd, ",%d", i)
		}
		c.imap("STORE %s +FLAGS.SILENT (\\Deleted)", odd.String()[1:])
	}
	c.imap("EXPUNGE")
	c.Close()
	begun = time.Now()
	left, last := full, time.Duration(0)
	during := s.watch(func() bool {
		if now := used(p.data); now < left-left/100 {
			left, last = now, time.Since(begun)
		}
		return time.Since(begun) > max(oldEnough, last)+stillTime || b.ctx.Err() != nil
	})
	machine.end()
	ended = true
	fmt.Fprintf(out, "\nEvery second letter expunged at once: %s MB took the store before, %s MB when, after %v, nothing more came back. Meanwhile another session did small commands, 5 ms apart:\n\n| | | times | median | 99 %% | 99.9 %% | longest | over %v | of these the machine's |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
		number(float64(full)/1e6), number(float64(left)/1e6), last.Round(time.Second), mostPause)
	pauses := 0
	for i, name := range smallCommands {
		for _, phase := range []struct {
			name string
			did  []did
		}{{"before", calm[i]}, {"while space comes back", during[i]}} {
			over, excused := 0, 0
			for _, d := range phase.did {
				if d.took > mostPause {
					over++
					if machine.during(d) > d.took/2 {
						excused++
					}
				}
			}
			slices.SortFunc(phase.did, func(x, y did) int { return int(x.took - y.took) })
			at := func(of float64) string {
				return number(milliseconds(phase.did[int(float64(len(phase.did)-1)*of)].took)) + " ms"
			}
			fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s | %d | %d |\n", name, phase.name, thousands(len(phase.did)), at(0.5), at(0.99), at(0.999), at(1), over, excused)
			name = ""
			if phase.name != "before" && i < len(smallCommands)-1 {
				pauses += over - excused
			}
		}
	}
	fmt.Fprintf(out, "\nA pause is the machine's if for more than half of it a thread that only wants to wake every millisecond was late, too; the latest it woke was %s ms late. The goal is no other pause over %v: %s.\n",
		number(milliseconds(machine.most)), mostPause, sign(pauses == 0))
}
