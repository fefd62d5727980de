package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// keeper keeps a head in memory.
type keeper struct {
	mu   sync.Mutex
	head Head
	err  error // given instead of saving
}

func (k *keeper) LoadHead(context.Context) (Head, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.head, nil
}

func (k *keeper) SaveHead(_ context.Context, h Head) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		k.head = h
	}
	return k.err
}

func open(t testing.TB, o Options) *Log {
	t.Helper()
	if o.create == nil {
		o.create = unsynced
	}
	l, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// record is the n-th of a kind.
func record(n int) Record {
	return Record{
		Time: start.Add(time.Duration(n) * time.Minute), Who: []string{"unix:root", "alice@example.org"}[n%2], From: "socket", Roles: []string{"Server Administrator"}, Local: true,
		Server: "mail.example.org", Cmdlet: "Set-PopSettings", Parameters: map[string]string{"Banner": fmt.Sprint("<", n, ">")},
		Changes: []Change{{"POP3", "Banner", "old", []any{"new", n, nil, true}}}, Outcome: OK,
	}
}

func write(t testing.TB, l *Log, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		if err := l.Record(context.Background(), record(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func verify(t testing.TB, l *Log, after Head) Verdict {
	t.Helper()
	v, err := l.Verify(context.Background(), after)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// sound demands that the log is proven.
func sound(t testing.TB, l *Log, records uint64) {
	t.Helper()
	if v := verify(t, l, Head{}); v.Fault != nil || v.Records != records {
		t.Fatalf("%d records, fault %+v; want %d", v.Records, v.Fault, records)
	}
}

// faulty demands a fault of a record.
func faulty(t testing.TB, l *Log, sequence uint64, problem string) {
	t.Helper()
	v := verify(t, l, Head{})
	if v.Fault == nil || v.Fault.Sequence != sequence || !strings.Contains(v.Fault.Problem, problem) {
		t.Fatalf("fault %+v; want one of record %d: %s", v.Fault, sequence, problem)
	}
}

func content(t testing.TB, l *Log) []byte {
	t.Helper()
	all, err := files(l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	return b.Bytes()
}

// TestLog: what is recorded is found, newest first, over files and restarts, and
// the chain goes through all of them.
func TestLog(t *testing.T) {
	dir, k := filepath.Join(t.TempDir(), "audit"), &keeper{}
	now := start
	o := Options{Dir: dir, Keeper: k, MaxFile: 2500, Now: func() time.Time { return now }, create: create}
	l := open(t, o)
	sound(t, l, 0)
	write(t, l, 1, 20)
	now = now.AddDate(0, -2, 0) // the clock goes back over a month's end
	write(t, l, 21, 22)
	l.Close()
	l = open(t, o)
	write(t, l, 23, 30)
	sound(t, l, 30)
	if all, _ := files(dir); len(all) < 5 || filepath.Base(all[0]) != "audit-000000000001-2026-11.jsonl" {
		t.Error(all)
	}
	for _, path := range []string{dir, filepath.Join(dir, "audit-000000000001-2026-11.jsonl")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Error(path, info, err)
		}
	}
	ctx := context.Background()
	for _, c := range []struct {
		q    Query
		want []uint64
		more bool
	}{
		{Query{Limit: 3}, []uint64{30, 29, 28}, true},
		{Query{Limit: 3, Before: 28}, []uint64{27, 26, 25}, true},
		{Query{Before: 4}, []uint64{3, 2, 1}, false},
		{Query{Start: start.Add(28 * time.Minute), End: start.Add(30 * time.Minute)}, []uint64{29, 28}, false},
		{Query{Matches: func(e *Entry) bool { return e.Who == "unix:root" }, Limit: 2}, []uint64{30, 28}, true},
	} {
		found, more, err := l.Search(ctx, c.q)
		if err != nil || more != c.more || len(found) != len(c.want) {
			t.Errorf("%+v: %d found, more %t, %v", c.q, len(found), more, err)
			continue
		}
		for i, e := range found {
			if e.Sequence != c.want[i] || e.Parameters["Banner"] != fmt.Sprint("<", c.want[i], ">") {
				t.Errorf("%+v: %+v", c.q, e)
			}
		}
	}
	if _, _, err := l.Search(canceled(), Query{}); mail.KindOf(err) != mail.KindUnavailable {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Record(ctx, record(1)); mail.KindOf(err) != mail.KindUnavailable {
		t.Error(err)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestEveryByte: every one-byte change, and every byte that is taken away, is
// noticed; so is every line that is removed, doubled or exchanged with the next.
func TestEveryByte(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir(), Keeper: &keeper{}})
	write(t, l, 1, 4)
	path := filepath.Join(l.Dir, fileName(1, time.Now().UTC().Format("2006-01")))
	whole := content(t, l)
	put := func(text []byte) Verdict {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return verify(t, l, Head{})
	}
	// Without files: there are thousands of them.
	noticed := func(text []byte) bool {
		c := chain{until: l.Head(), last: Head{0, genesis}}
		if err := eachOf(context.Background(), newLines(bytes.NewReader(text)), c.line); err != nil {
			t.Fatal(err)
		}
		if c.verdict.Fault == nil {
			c.end()
		}
		return c.verdict.Fault != nil
	}
	if noticed(whole) {
		t.Fatal("the log is not sound")
	}
	for i := range whole {
		for _, c := range []byte{whole[i] ^ 1, whole[i] ^ 0x20, '\n', 0} {
			text := bytes.Clone(whole)
			if text[i] = c; c != whole[i] && !noticed(text) {
				t.Fatalf("byte %d, %q for %q, is not noticed", i, c, whole[i])
			}
		}
		if !noticed(append(bytes.Clone(whole[:i]), whole[i+1:]...)) {
			t.Fatalf("byte %d is missing, and it is not noticed", i)
		}
		if !noticed(append(append(bytes.Clone(whole[:i]), '\n'), whole[i:]...)) {
			t.Fatalf("a line feed at %d is not noticed", i)
		}
		if !noticed(whole[:i]) {
			t.Fatalf("a tail cut off at %d is not noticed", i)
		}
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))[:4]
	join := func(lines ...[]byte) []byte { return bytes.Join(lines, nil) }
	for _, c := range []struct {
		name, problem string
		text          []byte
		sequence      uint64
	}{
		{"whole", "", whole, 0},
		{"first removed", "Record 1 is missing", join(lines[1:]...), 1},
		{"two removed", "Records 2 to 3 are missing", join(lines[0], lines[3]), 2},
		{"last removed", "Record 4 is missing: the end was cut off", join(lines[:3]...), 4},
		{"all removed", "Records 1 to 4 are missing", nil, 1},
		{"doubled", "stands where record 3 belongs", join(lines[0], lines[1], lines[1], lines[2], lines[3]), 2},
		{"doubled at the end", "stands where record 5 belongs", join(whole, lines[3]), 4},
		{"exchanged", "Record 2 is missing", join(lines[0], lines[2], lines[1], lines[3]), 2},
		{"empty line", "not the record", join(lines[0], []byte("\n"), lines[1], lines[2], lines[3]), 2},
		{"endless line", "was changed", join(lines[0], bytes.Repeat([]byte("x"), 3*maxLine), []byte("\n"), lines[1]), 2},
	} {
		v := put(c.text)
		if v.Fault == nil != (c.problem == "") || v.Fault != nil && (v.Fault.Sequence != c.sequence || !strings.Contains(v.Fault.Problem, c.problem)) {
			t.Errorf("%s: %+v", c.name, v.Fault)
		}
	}
	// Somebody else's record, well chained.
	more, _, err := encode(mustDecode(t, lines[3]).Head(), record(9))
	if err != nil {
		t.Fatal(err)
	}
	put(join(whole, more))
	faulty(t, l, 5, "somebody else")
	// A record that was written anew, hash and all, no longer fits the one behind it.
	forged, next, err := encode(Head{1, mustDecode(t, lines[0]).Hash}, record(7))
	if err != nil {
		t.Fatal(err)
	}
	put(join(lines[0], forged, lines[2], lines[3]))
	faulty(t, l, 2, "record 3 was chained to another")
	// And when the rest is forged too, the end is not what the store knows.
	third, next, _ := encode(next, record(3))
	fourth, _, _ := encode(next, record(4))
	put(join(lines[0], forged, third, fourth))
	faulty(t, l, 4, "replaced")
}

func mustDecode(t testing.TB, line []byte) *Entry {
	t.Helper()
	e, err := decode(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestFiles: a whole file that is missing is noticed; old files may be put away by
// whoever has noted a head behind them.
func TestFiles(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir(), Keeper: &keeper{}, MaxFile: 1500})
	write(t, l, 1, 6)
	noted := l.Head()
	write(t, l, 7, 20)
	all, _ := files(l.Dir)
	aside := filepath.Join(t.TempDir(), "aside")
	for i, path := range all {
		if err := os.Rename(path, aside); err != nil {
			t.Fatal(err)
		}
		first, _, _ := firstOf(path)
		faulty(t, l, first, "missing")
		v := verify(t, l, noted)
		next := uint64(21)
		if i+1 < len(all) {
			next, _, _ = firstOf(all[i+1])
		}
		if away := next-1 <= noted.Sequence; (v.Fault == nil) != away {
			t.Errorf("without %s: %+v", filepath.Base(path), v.Fault)
		}
		if err := os.Rename(aside, path); err != nil {
			t.Fatal(err)
		}
	}
	if v := verify(t, l, noted); v.Fault != nil || v.First != noted || v.Last != l.Head() || v.Records != 15 {
		t.Errorf("%+v", v)
	}
	if v := verify(t, l, Head{6, strings.Repeat("0", 64)}); v.Fault == nil || v.Fault.Sequence != 6 {
		t.Errorf("another hash: %+v", v.Fault)
	}
	if v := verify(t, l, Head{99, noted.Hash}); v.Fault == nil || !strings.Contains(v.Fault.Problem, "ends before") {
		t.Errorf("beyond the end: %+v", v.Fault)
	}
}

// TestAfterCrash: whatever of its last record a crash left behind, the log opens,
// keeps the bytes, says so in the chain, and is sound.
func TestAfterCrash(t *testing.T) {
	k := &keeper{}
	l := open(t, Options{Dir: t.TempDir(), Keeper: k})
	write(t, l, 1, 2)
	before := k.head
	two := len(content(t, l))
	write(t, l, 3, 3)
	whole := content(t, l)
	l.Close()
	name := fileName(1, time.Now().UTC().Format("2006-01"))
	for cut := two; cut <= len(whole); cut++ {
		if middle := cut - two; middle > 3 && cut < len(whole)-90 && middle%29 != 0 {
			continue
		}
		kept := &keeper{head: before}
		o := Options{Dir: filepath.Join(t.TempDir(), "audit"), Keeper: kept}
		os.Mkdir(o.Dir, 0o700)
		os.WriteFile(filepath.Join(o.Dir, name), whole[:cut], 0o600)
		l := open(t, o)
		switch cut {
		case two:
			sound(t, l, 2)
		case len(whole) - 1, len(whole): // it was written, and nobody was told
			sound(t, l, 4)
		default:
			sound(t, l, 3)
			found, _, _ := l.Search(context.Background(), Query{Limit: 1})
			if !bytes.Equal(found[0].Torn, append(bytes.Clone(whole[two:cut]), '\n')) || found[0].Note == "" {
				t.Fatalf("cut at %d: %+v", cut, found[0])
			}
		}
		write(t, l, 4, 5)
		l.Close()
		if cut%5 == 0 && cut > two && cut < len(whole)-1 { // the broken line belongs to the chain
			text := content(t, l)
			l := open(t, o)
			sound(t, l, uint64(bytes.Count(text, []byte("\n"))-bytes.Count(text, []byte(`"note"`))))
			path := filepath.Join(o.Dir, name)
			os.WriteFile(path, append(bytes.Clone(text[:two]), text[bytes.IndexByte(text[two:], '\n')+two+1:]...), 0o600)
			if verify(t, l, Head{}).Fault == nil {
				t.Fatal("the broken line was removed, and it is not noticed")
			}
			l.Close()
		}
	}
}

// TestCutTail: records that are missing when the log is opened stay missing.
func TestCutTail(t *testing.T) {
	for _, left := range []int{0, 1, 3} {
		k, dir := &keeper{}, t.TempDir()
		l := open(t, Options{Dir: dir, Keeper: k})
		write(t, l, 1, 5)
		l.Close()
		path, text := filepath.Join(dir, fileName(1, time.Now().UTC().Format("2006-01"))), content(t, l)
		lines := bytes.SplitAfter(text, []byte("\n"))
		os.WriteFile(path, bytes.Join(lines[:left], nil), 0o600)
		for range 2 {
			l = open(t, Options{Dir: dir, Keeper: k})
			faulty(t, l, uint64(left+1), "missing")
			found, _, err := l.Search(context.Background(), Query{})
			if err != nil || len(found) != left+1 || !strings.Contains(found[0].Note, "missing") {
				t.Fatalf("%+v, %v", found, err)
			}
			l.Close()
		}
	}
}

// TestOtherHead: a log that is not the store's is noted.
func TestOtherHead(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, Keeper: &keeper{}})
	write(t, l, 1, 3)
	head := l.Head()
	l.Close()
	for _, c := range []struct {
		kept Head
		note string
	}{
		{Head{}, "The store knew nothing of the 3 records"},
		{Head{1, "x"}, "The store knew of 1 records; 3 are here"},
		{Head{3, strings.Repeat("0", 64)}, "Record 3 is not the one"},
	} {
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		l := open(t, Options{Dir: copied, Keeper: &keeper{head: c.kept}})
		if found, _, err := l.Search(context.Background(), Query{}); err != nil || !strings.Contains(found[0].Note, c.note) {
			t.Errorf("%+v: %+v, %v", c.kept, found[0], err)
		}
	}
	l = open(t, Options{Dir: dir, Keeper: &keeper{head: Head{2, "x"}, err: errors.New("full")}})
	if found, _, _ := l.Search(context.Background(), Query{Limit: 1}); found[0].Previous != head.Hash || !strings.Contains(found[0].Note, "the server stopped in between") {
		t.Errorf("one behind: %+v", found[0])
	}
	write(t, l, 5, 5)
	sound(t, l, 5)
}

// failing is a file that takes some bytes more, and then none.
type failing struct {
	*os.File
	room *int
	sync bool
}

// unsynced opens a file that is not synced, for tests of many logs.
func unsynced(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	room := 1 << 30
	return failing{f, &room, false}, err
}

func (f failing) Write(p []byte) (int, error) {
	if n := *f.room; n < len(p) {
		f.File.Write(p[:n])
		*f.room = 0
		return n, syscall.ENOSPC
	}
	*f.room -= len(p)
	return f.File.Write(p)
}

func (f failing) Sync() error {
	if f.sync {
		return syscall.EIO
	}
	return nil
}

// TestFullDisk: a record that could not be written is an error, and when there is
// room again the log goes on, sound, with what is left of it noted.
func TestFullDisk(t *testing.T) {
	for room := 0; room < 1000; room += 173 {
		more := 1 << 20
		k := &keeper{}
		faultySync := false
		o := Options{Dir: t.TempDir(), Keeper: k, create: func(path string) (file, error) {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
			return failing{f, &more, faultySync}, err
		}}
		l := open(t, o)
		write(t, l, 1, 2)
		more = room
		failures := 0
		for n := 3; n < 6; n++ {
			if err := l.Record(context.Background(), record(n)); err != nil {
				if mail.KindOf(err) != mail.KindUnavailable {
					t.Fatal(err)
				}
				failures++
			}
		}
		if failures == 0 {
			t.Fatal("nothing failed")
		}
		more = 1 << 20
		write(t, l, 7, 8)
		if v := verify(t, l, Head{}); v.Fault != nil {
			t.Fatalf("room %d: %+v", room, v.Fault)
		}
		if k.head != l.Head() {
			t.Error("the head was not kept")
		}
	}
}

// TestFullDiskAtStart: a server whose disk is full starts; what is to be noted comes
// before the next record.
func TestFullDiskAtStart(t *testing.T) {
	dir, k := t.TempDir(), &keeper{}
	l := open(t, Options{Dir: dir, Keeper: k})
	write(t, l, 1, 2)
	l.Close()
	text := content(t, l)
	os.WriteFile(filepath.Join(dir, fileName(1, time.Now().UTC().Format("2006-01"))), append(text, text[:50]...), 0o600)
	room := 0
	o := Options{Dir: dir, Keeper: k, create: func(path string) (file, error) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		return failing{f, &room, false}, err
	}}
	l = open(t, o)
	for _, room = range []int{0, 1, 70, 0, 1, 200} { // the notice itself is torn, again and again
		if err := l.Record(context.Background(), record(3)); mail.KindOf(err) != mail.KindUnavailable {
			t.Error(err)
		}
	}
	l.Close()
	l = open(t, o)
	room = 1 << 20
	write(t, l, 3, 3)
	sound(t, l, 4)
}

// TestWarnings: warnings are kept, and a line without them, as older versions wrote it,
// is what it was, to the byte.
func TestWarnings(t *testing.T) {
	const older = `{"sequence":1,"previous":"0000000000000000000000000000000000000000000000000000000000000000","time":"2026-11-23T09:00:00Z","who":"unix:root","from":"socket","roles":["Server Administrator"],"local":true,"server":"mail.example.org","cmdlet":"Set-PopSettings","parameters":{"Banner":"<0>"},"changes":[{"target":"POP3","name":"Banner","old":"old","new":["new",0,null,true]}],"outcome":"OK","hash":"2d06cd88bbea553727e0943a94027ea8d6ca3f8995641ceccd6a6c5e4709a51e"}`
	e, err := decode([]byte(older))
	if err != nil || e.Warnings != nil || e.Who != "unix:root" {
		t.Fatalf("%+v, %v", e, err)
	}
	if line, _, err := encode(Head{0, genesis}, e.Record); err != nil || string(line) != older+"\n" {
		t.Errorf("%s, %v", line, err)
	}
	r := record(0)
	r.Warnings = []string{"first", "second <you>"}
	line, _, err := encode(Head{1, e.Hash}, r)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = decode(bytes.TrimSuffix(line, []byte("\n"))); err != nil || !slices.Equal(e.Warnings, r.Warnings) {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestBounds: whatever is recorded, a record is bounded, and says that it was cut.
func TestBounds(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir()})
	long := strings.Repeat("ä\x00<", 100000)
	huge := Record{Who: long, From: long, Roles: []string{long, long}, Server: long, Cmdlet: long, Outcome: OK, Error: long, Parameters: map[string]string{}}
	for range 1000 {
		huge.Warnings = append(huge.Warnings, long)
	}
	for i := range 5000 {
		huge.Parameters[fmt.Sprint(i, long[:i])] = long[:i]
		huge.Changes = append(huge.Changes, Change{long[:i], long[:i], []string{long[:i], long[:i]}, i})
	}
	if err := l.Record(context.Background(), huge); err != nil {
		t.Fatal(err)
	}
	if size := len(content(t, l)); size > maxRecord+1000 {
		t.Error(size)
	}
	found, _, err := l.Search(context.Background(), Query{})
	if err != nil || !found[0].Shortened || len(found[0].Changes) == 0 || len(found[0].Warnings) == 0 {
		t.Errorf("%v %+v", err, found)
	}
	if err := l.Record(context.Background(), Record{Changes: []Change{{"", "", func() {}, nil}}}); mail.KindOf(err) != mail.KindServerBug {
		t.Error(err)
	}
	sound(t, l, 1)
}

// TestFollow: a follower hears of every record until it stops, falls behind, or the
// log closes.
func TestFollow(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir()})
	fast, stop := l.Follow(10)
	slow, stopSlow := l.Follow(1)
	write(t, l, 1, 2)
	if e := <-fast; e.Sequence != 1 || e.Who == "" || e.Hash == "" || e.Previous != genesis {
		t.Errorf("%+v", e)
	}
	<-fast
	<-slow
	if _, ok := <-slow; ok {
		t.Error("who falls behind goes on")
	}
	stopSlow()
	stop()
	stop()
	if _, ok := <-fast; ok {
		t.Error("goes on after stop")
	}
	last, _ := l.Follow(1)
	l.Close()
	if _, ok := <-last; ok {
		t.Error("goes on after Close")
	}
	if _, ok := <-func() <-chan Entry { f, _ := l.Follow(1); return f }(); ok {
		t.Error("follows a closed log")
	}
}

// TestMany: records come from many goroutines while others read.
func TestMany(t *testing.T) {
	l := open(t, Options{Dir: t.TempDir(), Keeper: &keeper{}, MaxFile: 5000})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { write(t, l, 1, 10) })
		wg.Go(func() {
			if v, err := l.Verify(context.Background(), Head{}); err != nil || v.Fault != nil {
				t.Error(v.Fault, err)
			}
			if _, _, err := l.Search(context.Background(), Query{Limit: 5}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sound(t, l, 80)
}

// FuzzLog: no content of a file stops the log, makes it lose what it knew, or is
// taken for a proof.
func FuzzLog(f *testing.F) {
	line, head, _ := encode(Head{0, genesis}, record(1))
	second, head, _ := encode(head, record(2))
	f.Add(append(bytes.Clone(line), second...))
	f.Add(line[:100])
	f.Add([]byte("\n\n{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, fileName(1, "2026-11")), text, 0o600)
		l := open(t, Options{Dir: dir, Keeper: &keeper{head: head}})
		write(t, l, 3, 3)
		v := verify(t, l, Head{})
		if genuine := bytes.HasPrefix(text, append(bytes.Clone(line), second...)); v.Fault == nil && !genuine {
			t.Errorf("%q is proven", text)
		}
		found, _, err := l.Search(context.Background(), Query{Limit: 1})
		if err != nil || found[0].Parameters["Banner"] != "<3>" {
			t.Errorf("%+v, %v", found, err)
		}
	})
}
