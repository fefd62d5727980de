package embedded

import (
	"bytes"
	"context"
	"encoding/base64"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/storetest"
)

// fileNumbers gives the files that there are.
func (b *bodyFiles) fileNumbers() []uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.files))
}

// TestBodyFile: a large body is read in whatever steps, also over the borders of its
// parts, and stays readable while it is open and expunged, moved and reclaimed.
func TestBodyFile(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 0))
	opt := small(vfs.NewMem())
	opt.fileSize = 1 << 20
	e := open(t, "store", opt)
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	var want [][]byte
	sizes := []int{100, bodyPart - 1, bodyPart, bodyPart + 1, 3 * bodyPart, 5*bodyPart + 17, 700_000}
	for _, n := range sizes {
		l.Deliver(m, n)
		b := l.Batch()
		want = append(want, slices.Clone(b.Emails[0].Body))
		storetest.Commit(t, e, b)
	}
	check := func(i int, body store.Body) {
		t.Helper()
		if body.Size() != int64(len(want[i])) {
			t.Fatal(i, body.Size())
		}
		for range 50 {
			at := r.IntN(len(want[i]))
			p := make([]byte, r.IntN(len(want[i])+bodyPart)+1)
			n, _ := body.ReadAt(p, int64(at))
			if n != min(len(p), len(want[i])-at) || !bytes.Equal(p[:n], want[i][at:at+n]) {
				t.Fatal(i, at, len(p), n)
			}
		}
	}
	each := func(from int) {
		t.Helper()
		for i := from; i < len(want); i++ {
			body, err := e.Body(context.Background(), 1, mail.EmailID(i+1))
			if err != nil {
				t.Fatal(i, err)
			}
			check(i, body)
			if err := body.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	each(0)
	before := e.bodyFiles.fileNumbers()
	held, err := e.Body(context.Background(), 1, 6)
	if err != nil {
		t.Fatal(err)
	}
	for uid := range 6 {
		l.Expunge(m, mail.UID(uid+1))
	}
	storetest.Commit(t, e, l.Batch())
	l.Deliver(m, 900_000) // so that the first file is not written to any more
	b := l.Batch()
	want = append(want, slices.Clone(b.Emails[0].Body))
	storetest.Commit(t, e, b)
	if err := e.bodyFiles.reclaim(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if now := e.bodyFiles.fileNumbers(); slices.Contains(now, before[0]) {
		t.Fatal("the first file is still there", before, now)
	}
	check(5, held)
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	each(6)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, "store", opt)
	defer e.Close()
	each(6)
	if _, err := e.Body(context.Background(), 1, 2); mail.KindOf(err) != mail.KindExpunged {
		t.Fatal(err)
	}
}

// TestBodiesAtOnce: what was read of a body stays as it is while others are read, also by
// those who get the buffers of bodies that were closed.
func TestBodiesAtOnce(t *testing.T) {
	opt := small(vfs.NewMem())
	e := open(t, "store", opt)
	defer e.Close()
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	var want [][]byte
	for range 8 {
		l.Deliver(m, 2*bodyPart)
		b := l.Batch()
		want = append(want, slices.Clone(b.Emails[0].Body))
		storetest.Commit(t, e, b)
	}
	bodies := make([]store.Body, len(want))
	parts := make([][]byte, len(want))
	for round := range 4 {
		for i := range want {
			if i%2 == 0 || round == 0 { // the others stay open
				if bodies[i] != nil {
					bodies[i].Close()
				}
				var err error
				if bodies[i], err = e.Body(t.Context(), 1, mail.EmailID(i+1)); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			if parts[i], err = bodies[i].Part(int64(round % 2 * bodyPart)); err != nil {
				t.Fatal(err)
			}
		}
		for i, part := range parts {
			if at := round % 2 * bodyPart; !bytes.Equal(part, want[i][at:at+bodyPart]) {
				t.Fatalf("round %d: body %d is not what was read", round, i)
			}
		}
	}
	for _, b := range bodies {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReclaimFull: on a full disk nothing is moved, and what nobody needs goes.
func TestReclaimFull(t *testing.T) {
	fs := vfs.NewMem()
	e := open(t, "store", small(fs))
	defer e.Close()
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	for range 4 { // two in a file
		l.Deliver(m, 30_000)
		storetest.Commit(t, e, l.Batch())
	}
	l.Deliver(m, 50_000)
	storetest.Commit(t, e, l.Batch())
	for _, uid := range []mail.UID{1, 2, 3} { // all of the first file, half of the second
		l.Expunge(m, uid)
	}
	storetest.Commit(t, e, l.Batch())
	before := e.bodyFiles.fileNumbers()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 31})
	if err := e.bodyFiles.reclaim(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if now := e.bodyFiles.fileNumbers(); !slices.Equal(now, before[1:]) {
		t.Fatal(before, now)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	if err := e.bodyFiles.reclaim(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if now := e.bodyFiles.fileNumbers(); slices.Contains(now, before[1]) {
		t.Fatal(before, now)
	}
}

// TestReclaimCrash cuts the power at random moments while accounts change and their
// files are cleaned, again and again.
func TestReclaimCrash(t *testing.T) {
	t.Run("moved", func(t *testing.T) { reclaimCrash(t, 0) })
	t.Run("packed", func(t *testing.T) { reclaimCrash(t, 1) })
}

func reclaimCrash(t *testing.T, compressAfter time.Duration) {
	seed := storetest.Seed(t)
	fs := vfs.NewCrashableMem()
	opt := small(fs)
	opt.fileSize, opt.CompressAfter = 4<<10, compressAfter
	e := open(t, "store", opt)
	var cleaning sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	first := e.bodyFiles.fileNumbers()
	cleaned := 0
	cleaning.Go(func() {
		for ; ctx.Err() == nil; cleaned++ {
			e.bodyFiles.wasteUnknown()
			if err := e.bodyFiles.reclaim(ctx, 0); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	all, crashes := crashing(t, seed, e, fs, 3, 40, 12)
	cancel()
	cleaning.Wait()
	last := e.bodyFiles.fileNumbers()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range crashes {
		opt.FS = c.fs
		e := open(t, "store", opt)
		for range 2 {
			for i, h := range all {
				h.check(t, e, c.acked[i])
			}
			// What the crash left over goes, and nothing else.
			if err := e.bodyFiles.reclaim(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d crashes, %d times cleaned, files %v to %v", len(crashes), cleaned, first, last)
}

// TestPacked: bodies of some age are compressed, and read as before, in whatever steps,
// after a restart and when others are removed; a damaged one says so.
func TestPacked(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 1))
	fs := vfs.NewMem()
	opt := small(fs)
	opt.fileSize, opt.CompressAfter = 1<<20, time.Hour
	e := open(t, "store", opt)
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	letters := []byte(base64.StdEncoding.EncodeToString(noise))
	want := [][]byte{
		bytes.Repeat([]byte("Dear reader,\r\n"), 20_000), noise, letters, letters[:bodyPart], letters[:bodyPart+1], noise[:150],
		slices.Concat(noise[:bodyPart], letters, bytes.Repeat([]byte("x"), 3*bodyPart)),
	}
	for _, body := range want {
		l.Deliver(m, 10)
		b := l.Batch()
		b.Emails[0].Body = body
		storetest.Commit(t, e, b)
	}
	check := func(from int) {
		t.Helper()
		for i := from; i < len(want); i++ {
			body, err := e.Body(t.Context(), 1, mail.EmailID(i+1))
			if err != nil {
				t.Fatal(i, err)
			}
			for range 40 {
				at := r.IntN(len(want[i]))
				p := make([]byte, r.IntN(len(want[i])+bodyPart)+1)
				n, _ := body.ReadAt(p, int64(at))
				if n != min(len(p), len(want[i])-at) || !bytes.Equal(p[:n], want[i][at:at+n]) {
					t.Fatal(i, at, len(p), n)
				}
			}
			if err := body.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	takes := func() (sum int64) {
		for _, f := range e.bodyFiles.files {
			sum += f.size
		}
		return sum
	}
	reclaim := func() {
		t.Helper()
		if err := e.bodyFiles.reclaim(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	before := takes()
	reclaim() // nothing is old yet
	check(0)
	if takes() != before {
		t.Fatal("young bodies were packed")
	}
	e.bodyFiles.packAfter = 1
	reclaim()
	check(0)
	after := takes()
	for _, f := range e.bodyFiles.files {
		if !f.packed {
			t.Errorf("file %d is not packed", f.number)
		}
	}
	if after > before*3/4 {
		t.Errorf("%d bytes became %d", before, after)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	opt.CompressAfter = 0 // what is packed is read and cleaned all the same
	e = open(t, "store", opt)
	defer func() { e.Close() }()
	check(0)
	for uid := range 4 {
		l.Expunge(m, mail.UID(uid+1))
	}
	storetest.Commit(t, e, l.Batch())
	reclaim()
	if takes() >= after*3/4 {
		t.Errorf("%d bytes are still %d", after, takes())
	}
	check(4)
	for number := range e.bodyFiles.files {
		name := e.bodyFiles.name(number)
		f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("?"), bodyHead+8*2+100); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	body, err := e.Body(t.Context(), 1, 5)
	if err == nil {
		_, err = body.ReadAt(make([]byte, 1000), 0)
		body.Close()
	}
	if mail.KindOf(err) != mail.KindCorrupt {
		t.Fatal(err)
	}
}

// TestRefusedBodies: the bodies of changes that were refused are given back.
func TestRefusedBodies(t *testing.T) {
	e := open(t, "store", small(vfs.NewMem()))
	defer e.Close()
	e.bodyFiles.unknown = false // as if all files had been looked at
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	l.Deliver(m, 10_000)
	storetest.Commit(t, e, l.Batch())
	before := e.bodyFiles.fileNumbers()
	l.Deliver(m, 10_000)
	b := l.Batch()
	b.Expect--
	for range 2 {
		if _, err := e.Commit(t.Context(), b); mail.KindOf(err) != mail.KindConflict {
			t.Fatal(err)
		}
	}
	if err := e.bodyFiles.reclaim(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if now := e.bodyFiles.fileNumbers(); slices.Contains(now, before[0]) {
		t.Fatal("two refused bodies of three are still there", before, now)
	}
}
