package embedded

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/storetest"
)

var someMessages = []store.Message{
	{UID: 1, Size: 5, ModSeq: 9, Email: 7, Thread: 3, InternalDate: 1_700_000_000, Saved: 1_700_000_009, Zone: -720, Annotated: true},
	{UID: 2, Flags: math.MaxUint64, ModSeq: 4, Email: 5, Thread: math.MaxUint64, InternalDate: math.MinInt64, Saved: math.MaxInt64},
	{UID: math.MaxUint32, Size: math.MaxUint32, ModSeq: math.MaxInt64, Email: math.MaxUint64, Zone: math.MaxInt16},
}

// signed makes the checksum of a chunk right.
func signed(b []byte) []byte {
	b = slices.Clone(b)
	if len(b) >= 5 {
		binary.BigEndian.PutUint32(b[1:], crc32.Checksum(b[5:], castagnoli))
	}
	return b
}

// FuzzValues decodes anything as each kind of value. What is accepted is written
// again and read as the same.
func FuzzValues(f *testing.F) {
	e := open(f, "store", small(vfs.NewMem()))
	f.Cleanup(func() { e.Close() })
	f.Add(appendChunk(nil, someMessages))
	f.Add(appendGone(nil, mail.NumSet{{First: 2, Last: 9}, {First: math.MaxUint32, Last: math.MaxUint32}}))
	f.Add(appendHead(nil, &store.AccountRecord{ModSeq: math.MaxInt64, NextMailbox: 4, Bytes: -1, QuotaBytes: math.MaxInt64}))
	f.Add(appendHead(nil, &store.AccountRecord{ModSeq: 1, Annotations: 3, AnnotationBytes: 9, Shared: true}))
	f.Add(appendMailbox(nil, &store.MailboxRecord{Name: "shared", Created: time.Unix(5, 6), Grants: []mail.Grant{
		{Grantee: mail.Grantee{Account: 7}, Rights: mail.AllRights}, {Grantee: mail.Grantee{Group: "team"}, Negative: true}}}))
	f.Add(appendMailbox(nil, &store.MailboxRecord{Name: "Ä/b", SpecialUse: `\Sent`, Created: time.Unix(5, 6), Keywords: []string{"", "$x"}, Messages: 7}))
	f.Add(appendNumSet(nil, mail.NumSet{{First: 1, Last: 1}, {First: 3, Last: 9}, {First: math.MaxUint32, Last: math.MaxUint32}}))
	f.Add(stored{2, 9}.append(nil))
	f.Add(appendRecord(nil, 3, []byte("value")))
	f.Add(appendText(nil, []byte(strings.Repeat("text ", 2000))))
	f.Add(binary.AppendUvarint(nil, math.MaxUint64))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, signed(b)} {
			if list, ok := decodeChunk(nil, b, 0); ok {
				again, ok := decodeChunk(nil, appendChunk(nil, list), 0)
				if !ok || !slices.Equal(list, again) {
					t.Fatalf("chunk %v became %v", list, again)
				}
				for i := 1; i < len(list); i++ {
					if list[i].UID <= list[i-1].UID {
						t.Fatal("not ascending")
					}
				}
				some, ok := decodeChunk(nil, appendChunk(nil, list), 1000)
				if list = slices.DeleteFunc(list, func(m store.Message) bool { return m.ModSeq <= 1000 }); !ok || !slices.Equal(some, list) {
					t.Fatalf("since 1000: %v, not %v", some, list)
				}
			}
			for _, key := range [][]byte{chunkKey(1, 2, 3), deltaKey(1, 2, 3), runKey(1, 2, 3, 4), contentsKey(1, 2, partDelta), b} {
				var x index
				_ = x.add(1, 2, 0, key, b)
				_ = x.add(1, 2, 7, key, b)
				x.settle()
			}
			if list, ok := decodeGone(nil, b); ok {
				var uids mail.NumSet
				for _, m := range list {
					uids.Add(uint32(m.UID))
				}
				if again, ok := decodeGone(nil, appendGone(nil, uids)); !ok || !slices.Equal(list, again) {
					t.Fatalf("expunged %v became %v", list, again)
				}
			}
		}
		if a, err := decodeHead(1, b); err == nil {
			if again, err := decodeHead(1, appendHead(nil, &a)); err != nil || again != a {
				t.Fatal(a, again, err)
			}
		}
		if m, err := decodeMailbox(1, b); err == nil {
			if again, err := decodeMailbox(1, appendMailbox(nil, &m)); err != nil || !reflect.DeepEqual(again, m) {
				t.Fatal(m, again, err)
			}
		}
		if s, ok := decodeNumSet(b); ok {
			if again, ok := decodeNumSet(appendNumSet(nil, s)); !ok || !slices.Equal(s, again) {
				t.Fatal(s, again)
			}
		}
		if x, ok := decodeStored(b); ok {
			if again, ok := decodeStored(x.append(nil)); !ok || x != again {
				t.Fatal(x, again)
			}
		}
		if revision, value, ok := decodeRecord(b); ok {
			if r2, v2, ok := decodeRecord(appendRecord(nil, revision, value)); !ok || r2 != revision || string(v2) != string(value) {
				t.Fatal(revision, r2)
			}
		}
		if v, ok := decodeUvarint(b); ok {
			if again, ok := decodeUvarint(binary.AppendUvarint(nil, v)); !ok || v != again {
				t.Fatal(v, again)
			}
		}
		_, _ = decodeText(nil, b)
		_, _, _ = bodyStart(b)
	})
}

// TestChunksRefuseFlips changes every bit of a chunk and of a run's UIDs.
func TestChunksRefuseFlips(t *testing.T) {
	for _, good := range [][]byte{appendChunk(nil, someMessages), appendGone(nil, mail.NumSet{{First: 3, Last: 900}, {First: 1000, Last: 1000}})} {
		for i := range good {
			for bit := range 8 {
				b := slices.Clone(good)
				b[i] ^= 1 << bit
				var x index
				if x.addRun(0, 1, b) {
					t.Fatalf("bit %d of byte %d", bit, i)
				}
			}
		}
	}
}

// TestTexts takes texts of every form back.
func TestTexts(t *testing.T) {
	words := []byte(strings.Repeat("some words of a text. ", 5000))
	for _, text := range [][]byte{{'x'}, words[:zipAbove-1], words[:zipAbove], words, noise(zipAbove), noise(100_000)} {
		for _, v := range [][]byte{appendText(nil, text), appendText([]byte("before"), text)[6:]} {
			for _, buf := range [][]byte{nil, make([]byte, 0, 10), make([]byte, 7, 200_000)} {
				if got, err := decodeText(buf[:0], v); err != nil || string(got) != string(text) {
					t.Fatal(len(text), len(got), err)
				}
			}
			if len(text) > 1 && v[0] != textPlain {
				if _, err := decodeText(nil, v[:len(v)/2]); err == nil {
					t.Fatal("half a text")
				}
			}
		}
	}
	if v := appendText(nil, words); len(v) > len(words)/2 || v[0] != textS2 {
		t.Fatal(len(v))
	}
}

// TestMerge compares merge with a map.
func TestMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var entries, deltas []store.Message
		want := map[mail.UID]store.Message{}
		for uid := range mail.UID(12) {
			if r.IntN(2) == 0 {
				m := store.Message{UID: uid + 1, Size: 1}
				entries = append(entries, m)
				want[m.UID] = m
			}
			if r.IntN(3) == 0 {
				m := store.Message{UID: uid + 1, Size: 2, Gone: r.IntN(2) == 0}
				deltas = append(deltas, m)
				if want[m.UID] = m; m.Gone {
					delete(want, m.UID)
				}
			}
		}
		got := merge(slices.Clone(entries), deltas)
		if len(got) != len(want) {
			t.Fatal(entries, deltas, got)
		}
		for i, m := range got {
			if want[m.UID] != m || i > 0 && got[i-1].UID >= m.UID {
				t.Fatal(entries, deltas, got)
			}
		}
	}
}

// TestDamagedValues puts a wrong value in the place of each that is stored: every
// reading method then gives KindCorrupt or what is right, and none panics.
func TestDamagedValues(t *testing.T) {
	e := open(t, "store", small(vfs.NewMem()))
	defer e.Close()
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	for range 600 {
		l.Deliver(m, 100)
	}
	_, large := l.Deliver(m, 600_000)
	storetest.Commit(t, e, l.Batch())
	l.Expunge(m, 1)
	l.Copy(m, 2, m)
	storetest.Commit(t, e, l.Batch())
	if _, err := e.repack(context.Background(), place{1, m}); err != nil {
		t.Fatal(err)
	}
	l.Flag(m, 9, mail.Seen)
	storetest.Commit(t, e, l.Batch())
	it, err := e.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	type pair struct{ k, v []byte }
	var all []pair
	for it.First(); it.Valid(); it.Next() {
		all = append(all, pair{slices.Clone(it.Key()), slices.Clone(it.Value())})
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	corrupt := 0
	for i, p := range all {
		// Of the many emails only some.
		if p.k[0] >= zoneSummaries && i%97 != 0 && p.k[0] != zoneBodies || p.k[0] == zoneBodies && len(p.v) < 200 && i%97 != 0 || len(p.k) > kindPrefix && p.k[0] == zoneAccounts && p.k[accountPrefix] == kindThreads && i%97 != 0 {
			continue
		}
		for _, v := range [][]byte{{}, {0xff}, append(slices.Clone(p.v), 0)} {
			if err := e.db.Set(p.k, v, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			if _, err := storetest.Everything(e, 1); err != nil {
				if mail.KindOf(err) != mail.KindCorrupt {
					t.Fatalf("%x: %v", p.k, err)
				}
				corrupt++
			}
		}
		if err := e.db.Set(p.k, p.v, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if corrupt == 0 {
		t.Fatal("nothing was found")
	}
	if b, err := e.Body(context.Background(), 1, large); err != nil || b.Close() != nil {
		t.Fatal(err)
	}
}

// TestDamagedFiles flips a bit in each file of a closed store: opening and reading
// give KindCorrupt or KindUnavailable, or what was stored.
func TestDamagedFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(storetest.Seed(t), 3))
	fs := vfs.NewMem()
	opt := small(fs)
	opt.MemTableBytes = 128 << 10
	e := open(t, "store", opt)
	h := &history{ledger: storetest.NewLedger(1)}
	for range 30 {
		b := h.ledger.Random(r)
		h.batches = append(h.batches, b)
		storetest.Commit(t, e, b)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	want := h.replayed(t, len(h.batches))
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	filed, err := fs.List("store/" + bodyFolder)
	if err != nil || len(filed) == 0 {
		t.Fatal("no file of bodies", err)
	}
	for _, name := range filed {
		names = append(names, bodyFolder+"/"+name)
	}
	found, lost := 0, 0
	for _, name := range names {
		if name == "LOCK" || name == bodyFolder {
			continue
		}
		copied := vfs.NewMem()
		if _, err := vfs.Clone(fs, copied, "store", "store"); err != nil {
			t.Fatal(err)
		}
		b := readFile(t, copied, "store/"+name)
		if len(b) == 0 {
			continue
		}
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		writeFile(t, copied, "store/"+name, b)
		opt.FS = copied
		e, err := Open("store", opt)
		if err == nil {
			err = storetest.Compare(want, e, 1)
			if x := e.Close(); err == nil && mail.KindOf(x) == mail.KindServerBug && x != nil {
				err = x
			}
		}
		switch {
		case err == nil:
		case mail.KindOf(err) == mail.KindCorrupt || mail.KindOf(err) == mail.KindUnavailable:
			found++
		case strings.HasSuffix(name, logSuffix):
			// A log's last records can look as if they had never been finished.
			lost++
		default:
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Logf("%d of %d damages found, %d cut a log", found, len(names), lost)
}

// TestMailboxOfFormat2 reads a mailbox's record as it was before there were rights.
func TestMailboxOfFormat2(t *testing.T) {
	m := store.MailboxRecord{Name: "Ä", UIDValidity: 7, Created: time.Unix(5, 6).UTC(), UIDNext: 9, HighestModSeq: 3, RecentFrom: 2, Keywords: []string{"$x"}, Messages: 4, Unseen: 3, Deleted: 1, Bytes: 64}
	old := []byte("\x01\x02\xc3\x84\x07\x00\x0a\x06\x09\x03\x02\x01\x02$x\x04\x03\x01\x80\x01")
	got, err := decodeMailbox(0, old)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("%+v, %v", got, err)
	}
	if now := appendMailbox(nil, &m); string(now) != string(old) {
		t.Fatalf("%x", now)
	}
}

// TestFormat6 reads the head of an account and a chunk as they were before there were
// annotations; what has none is written so still.
func TestFormat6(t *testing.T) {
	for _, shared := range []bool{false, true} {
		head := store.AccountRecord{ID: 5, ModSeq: 9, NextMailbox: 4, NextEmail: 3, NextUIDValidity: 7, Bytes: 64, Messages: 1, QuotaBytes: 2, QuotaMessages: 3, Shared: shared}
		old := []byte("\x01\x09\x04\x03\x07\x80\x01\x02\x04\x06")
		if shared {
			old = append(old, 1)
		}
		got, err := decodeHead(5, old)
		if err != nil || got != head {
			t.Fatalf("%+v, %v", got, err)
		}
		if now := appendHead(nil, &head); string(now) != string(old) {
			t.Fatalf("%x", now)
		}
	}
	m := []store.Message{{UID: 1, Size: 5, ModSeq: 9, Email: 7, Thread: 7, InternalDate: 3, Saved: 4, Zone: math.MaxInt16}}
	old := signed([]byte("\x01\x00\x00\x00\x00\x01\x09\x01\x00\x05\x12\x0e\x00\x06\x02\xfe\xff\x03"))
	got, ok := decodeChunk(nil, old, 0)
	if !ok || !slices.Equal(got, m) {
		t.Fatalf("%+v", got)
	}
	if now := appendChunk(nil, m); string(now) != string(old) {
		t.Fatalf("%x", now)
	}
}

// TestFormat7 reads the head of an account as it was before anything was recoverable; what has
// nothing is written so still.
func TestFormat7(t *testing.T) {
	head := store.AccountRecord{ID: 5, ModSeq: 9, NextMailbox: 4, NextEmail: 3, NextUIDValidity: 7, Bytes: 64, Messages: 1, QuotaBytes: 2, QuotaMessages: 3, Shared: true, Annotations: 1, AnnotationBytes: 8}
	old := []byte("\x01\x09\x04\x03\x07\x80\x01\x02\x04\x06\x03\x02\x10")
	got, err := decodeHead(5, old)
	if err != nil || got != head {
		t.Fatalf("%+v, %v", got, err)
	}
	if now := appendHead(nil, &head); string(now) != string(old) {
		t.Fatalf("%x", now)
	}
	head.Recoverable, head.RecoverableBytes, head.RecoverableSince, head.Retention, head.RecoverableQuota = 1, 2, 3, -1, 4
	now := appendHead(nil, &head)
	if want := "\x01\x09\x04\x03\x07\x80\x01\x02\x04\x06\x07\x02\x10\x02\x04\x06\x01\x08"; string(now) != want {
		t.Fatalf("%x", now)
	}
	if got, err := decodeHead(5, now); err != nil || got != head {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := decodeHead(5, now[:len(now)-1]); err == nil {
		t.Fatal("a part is taken for the whole")
	}
}
