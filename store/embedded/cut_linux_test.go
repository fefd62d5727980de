package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store/storetest"
)

// shutdownNow is ext4's ioctl that ends a file system as a power cut does: nothing that is
// in memory comes to the disk any more (EXT4_GOING_FLAGS_NOLOGFLUSH).
const (
	ext4Shutdown = 0x8004587d
	noLogFlush   = 2
)

// ext4 is a file system in a file.
type ext4 struct {
	t           *testing.T
	image, here string
}

func (x *ext4) run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}

func newExt4(t *testing.T) *ext4 {
	notTested := t.Skipf
	if os.Getenv("CI") != "" {
		notTested = t.Fatalf
	}
	if os.Getuid() != 0 {
		notTested("NOT TESTED: only root can mount a file system whose power is cut")
	}
	dir, err := os.MkdirTemp("", "pc-")
	if err != nil {
		t.Fatal(err)
	}
	x := &ext4{t, filepath.Join(dir, "image"), filepath.Join(dir, "here")}
	t.Cleanup(func() {
		unix.Unmount(x.here, unix.MNT_DETACH)
		os.RemoveAll(dir)
	})
	f, err := os.Create(x.image)
	if err == nil {
		err = f.Truncate(256 << 20)
		f.Close()
	}
	if err == nil {
		err = os.Mkdir(x.here, 0o700)
	}
	if err == nil {
		err = x.run("mkfs.ext4", "-q", "-F", x.image)
	}
	if err == nil {
		err = x.mount()
	}
	if err != nil {
		notTested("NOT TESTED: a file system cannot be made here: %v", err)
	}
	return x
}

func (x *ext4) mount() error { return x.run("mount", "-o", "loop", x.image, x.here) }

// cut cuts the power.
func (x *ext4) cut() error {
	f, err := os.Open(x.here)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, noLogFlush)
}

// again has the power back.
func (x *ext4) again() error {
	if err := x.run("umount", x.here); err != nil {
		return err
	}
	return x.mount()
}

// TestExt4Cuts cuts the power of a real file system while accounts change, and reads
// everything when it is back. The log is written past the page cache here, as on a server.
// POSTERN_CUTS says how often, POSTERN_CUT_TIME for how many seconds at most, and
// POSTERN_CUT_DISKS on how many file systems at the same time.
func TestExt4Cuts(t *testing.T) {
	cuts := amount(t, "POSTERN_CUTS", 6)
	clock := clockOf(t, "POSTERN_CUT_TIME")
	seed := storetest.Seed(t)
	var begun, done, changes atomic.Int64
	t.Run("disks", func(t *testing.T) {
		for n := range max(1, amount(t, "POSTERN_CUT_DISKS", 1)) {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				c := &cutter{t: t, disk: newExt4(t), r: rand.New(rand.NewPCG(seed, 31+uint64(n)))}
				for !clock.over() && begun.Add(1) <= int64(cuts) {
					changes.Add(c.cut())
					done.Add(1)
				}
				c.look(len(c.settled))
			})
		}
	})
	if done.Load() == 0 {
		t.SkipNow() // a disk has said why
	}
	t.Logf("prove: power cuts of ext4: %d", done.Load())
	t.Logf("prove: changes acknowledged before them: %d", changes.Load())
}

// cutter cuts the power of one file system again and again.
type cutter struct {
	t    *testing.T
	disk *ext4
	r    *rand.Rand

	cuts    int
	dir     string
	opt     Options
	next    mail.AccountID
	settled []settled // accounts that were changed before earlier cuts, and are no more
}

// settled is an account with what it is to stay.
type settled struct {
	id     mail.AccountID
	digest [32]byte
}

// cut has accounts change while the power is cut, and gives how many changes were
// acknowledged; all are there when it is back.
func (c *cutter) cut() (changes int64) {
	const each, life = 3, 20 // accounts for each cut; cuts that one store lives through
	t, r := c.t, c.r
	if c.cuts%life == 0 {
		if c.dir != "" {
			// What was lost by an earlier cut of this life is lost at its end, too.
			c.look(len(c.settled))
			os.RemoveAll(c.dir)
		}
		c.dir, c.settled, c.next = filepath.Join(c.disk.here, fmt.Sprint("store", c.cuts)), nil, 1
	}
	c.cuts++
	c.opt = small(nil)
	c.opt.MemTableBytes, c.opt.ReserveBytes = uint64(64<<10)<<r.IntN(4), -1
	e := open(t, c.dir, c.opt)
	var traces []*trace
	var work sync.WaitGroup
	for range each {
		x := newTrace(c.next)
		c.next++
		traces = append(traces, x)
		r := rand.New(rand.NewPCG(r.Uint64(), 1))
		work.Go(func() {
			for {
				wait, err := e.Commit(context.Background(), x.next(r))
				if err == nil {
					err = wait()
				}
				if err != nil {
					return
				}
				x.acked.Add(1)
			}
		})
	}
	time.Sleep(time.Duration(r.IntN(120)) * time.Millisecond)
	if err := c.disk.cut(); err != nil {
		t.Fatal(err)
	}
	work.Wait()
	_ = e.Close()
	if err := c.disk.again(); err != nil {
		t.Fatal(err)
	}
	e = open(t, c.dir, c.opt)
	c.compare(e, each)
	for _, x := range traces {
		count := int64(0)
		a, err := e.Account(context.Background(), x.id)
		if err == nil {
			count = int64(a.Account.ModSeq)
		} else if mail.KindOf(err) != mail.KindNotFound {
			t.Fatal(err)
		}
		if acked, made := x.acked.Load(), x.made(); count < acked || count > made {
			t.Fatalf("cut %d: account %v has %d changes; %d were acknowledged and %d made", c.cuts, x.id, count, acked, made)
		}
		have, err := digest(e, x.id)
		if err != nil {
			t.Fatalf("cut %d: %v", c.cuts, err)
		}
		if want, err := x.after(count); err != nil || have != want {
			t.Fatalf("cut %d: account %v is not what it was after %d changes: %v", c.cuts, x.id, count, err)
		}
		c.settled = append(c.settled, settled{x.id, have})
		changes += x.acked.Load()
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return changes
}

// look opens the store and compares the last accounts that are settled.
func (c *cutter) look(last int) {
	if c.dir == "" {
		return
	}
	e := open(c.t, c.dir, c.opt)
	c.compare(e, last)
	if err := e.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// compare compares the last accounts that are settled.
func (c *cutter) compare(e *Engine, last int) {
	for _, x := range c.settled[max(0, len(c.settled)-last):] {
		if have, err := digest(e, x.id); err != nil || have != x.digest {
			c.t.Fatalf("cut %d: account %v of an earlier life is not what it was: %v", c.cuts, x.id, err)
		}
	}
}
