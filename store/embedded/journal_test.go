package embedded

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/store/storetest"
)

// TestJournal: whatever is written and synced in whatever steps, the file holds what
// was synced, before anything else at every moment of a write that is torn between
// two blocks, and after all was written.
func TestJournal(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(1, seed))
		old := make([]byte, r.IntN(3)*journalStep/2)
		for i := range old {
			old[i] = 0xaa // an older log's
		}
		content := bytes.Clone(old)
		synced, sent := 0, []byte{}
		check := func(have []byte) {
			t.Helper()
			if len(have) < synced || !bytes.Equal(have[:synced], sent[:synced]) {
				t.Fatalf("seed %d: what was synced is not there", seed)
			}
		}
		j := &journal{File: vfs.NewMemFile(nil), block: aligned(journalBuffer), size: int64(len(old)), clean: true}
		j.write = func(p []byte, at int64) error {
			if len(p)%blockSize != 0 || at%blockSize != 0 || len(p) == 0 {
				t.Fatal("not aligned", len(p), at)
			}
			if need := int(at) + len(p); need > len(content) {
				content = append(content, make([]byte, need-len(content))...)
			}
			for _, b := range r.Perm(len(p) / blockSize) { // a disk writes blocks in any order
				copy(content[int(at)+b*blockSize:], p[b*blockSize:(b+1)*blockSize])
				if r.IntN(20) == 0 {
					check(content)
				}
			}
			return nil
		}
		for range 60 {
			p := make([]byte, r.IntN([]int{10, 300, 5000, 70_000, 600_000}[r.IntN(5)])+1)
			for i := range p {
				p[i] = byte(r.Uint32())
			}
			sent = append(sent, p...)
			if n, err := j.Write(p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
			if r.IntN(2) == 0 {
				if err := j.Sync(); err != nil {
					t.Fatal(err)
				}
				synced = len(sent)
			}
			check(content)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		synced = len(sent)
		check(content)
		if rest := content[len(sent):min(len(content), (len(sent)+blockSize-1)&^(blockSize-1))]; len(bytes.Trim(rest, "\x00")) > 0 {
			t.Fatal("the last block does not end in zeros")
		}
	}
}

// TestJournalFile: a log of the host's file system is one, and reads as it was written.
func TestJournalFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "000001.journal")
	d := newDisk(vfs.Default, func(err error) { t.Error(err) })
	f, err := d.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := f.(*file).File.(*journal); !ok {
		t.Skip("the file system of the test's folder has no direct writing")
	}
	want := bytes.Repeat([]byte("0123456789"), 70_000)
	for p := want; len(p) > 0; p = p[min(len(p), 33_333):] {
		if _, err := f.Write(p[:min(len(p), 33_333)]); err != nil {
			t.Fatal(err)
		}
		if err := f.SyncData(); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(name)
	if err != nil || !bytes.HasPrefix(have, want) {
		t.Fatal("the file does not hold what was synced", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// An older log is used again from its beginning.
	again := filepath.Join(filepath.Dir(name), "000002.journal")
	if f, err = d.ReuseForWrite(name, again, vfs.WriteCategoryUnspecified); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("newer")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	have, err = os.ReadFile(again)
	if err != nil || !bytes.HasPrefix(have, append([]byte("newer"), make([]byte, blockSize-5)...)) || len(have) < len(want) {
		t.Fatal("the older log was not used again", err)
	}
}

// TestJournalFaults lets a write of the log fail, once, when none, some or all of it came
// to the disk: nothing is acknowledged any more, nothing is written any more, and what
// was acknowledged is there.
func TestJournalFaults(t *testing.T) {
	seed := storetest.Seed(t)
	r := rand.New(rand.NewPCG(seed, 3))
	for range 24 {
		dir := t.TempDir()
		opt := small(nil)
		opt.MemTableBytes = 16 << 20 // one file of the log
		e := open(t, dir, opt)
		j, ok := e.ahead.file.(*file).File.(*journal)
		if !ok {
			t.Skip("the file system of the test's folder has no direct writing")
		}
		through, left, after := j.write, r.IntN(8), 0
		j.write = func(p []byte, at int64) error {
			if left--; left < -1 {
				after++
			} else if left == -1 {
				if part := r.IntN(len(p)/blockSize+1) * blockSize; part > 0 {
					if err := through(p[:part], at); err != nil {
						t.Error(err)
					}
				}
				return []error{syscall.EIO, syscall.ENOSPC, io.ErrShortWrite}[r.IntN(3)]
			}
			return through(p, at)
		}
		all := storm(e, r.Uint64(), 3, 12)
		for i, h := range all {
			if wait, err := e.Commit(t.Context(), h.ledger.Random(r)); err == nil || wait != nil {
				t.Fatalf("account %d was changed after the fault", i)
			}
		}
		_ = e.Close()
		if after > 0 {
			t.Fatalf("%d times written after the fault", after)
		}
		e = open(t, dir, opt)
		for _, h := range all {
			h.check(t, e, h.acked)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
