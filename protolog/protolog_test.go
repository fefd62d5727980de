package protolog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock tells the time that a test says.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var monday = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

type peer uint64

func (p peer) ID() uint64           { return uint64(p) }
func (peer) Local() netip.AddrPort  { return netip.MustParseAddrPort("192.0.2.1:143") }
func (peer) Remote() netip.AddrPort { return netip.MustParseAddrPort("[2001:db8::7]:50123") }

// config is one that is on, with room for everything.
func config(folder string) Config {
	return Config{Enabled: true, Folder: folder, RollOver: settings.Daily, MaxFile: 1 << 20, MaxAge: 30 * 24 * time.Hour, MaxDirectory: 1 << 30}
}

// open gives a log at a clock, and what it tells slog.
func open(t testing.TB, c Config) (*Log, *clock, *bytes.Buffer) {
	var told bytes.Buffer
	at := &clock{now: monday}
	l := New(settings.IMAP4, slog.New(slog.NewTextHandler(&told, nil)), at.read)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	l.Set(c)
	return l, at, &told
}

// say logs a command and waits until it is written.
func say(t testing.TB, l *Log, s *Session, command, parameters string) {
	t.Helper()
	s.Begin(10, 20)
	s.Add([]byte(parameters))
	s.End(command, Outcome{Result: "OK"}, 15, 120)
	if err := l.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func names(t testing.TB, folder string) string {
	t.Helper()
	var list []string
	for _, f := range files(folder, "IMAP4") {
		list = append(list, f.name)
	}
	return strings.Join(list, " ")
}

func text(t testing.TB, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestForm shows a file in both forms, and reads it.
func TestForm(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "made", "here")
	l, at, _ := open(t, config(folder))
	s := l.Session(peer(123))
	s.Event("OpenSession", Outcome{Detail: "TLS=TLS 1.3"}, 0, 0, 40)
	s.User("alice@example.org")
	s.Begin(10, 20)
	at.add(1500 * time.Microsecond)
	s.Add([]byte(`=1+1, "x" ` + "\r\n\x00\u202e\xff"))
	s.End("UID FETCH", Outcome{Result: "NO", Code: "LIMIT"}, 35, 1020)
	say(t, l, &s, "NOOP", "")
	want := `#Software: Postern
#Version: 1.0
#Log-type: IMAP4 Log
#Date: 2026-11-23T09:30:00.000Z
#Fields: dateTime,sessionId,seqNumber,sIp,cIp,user,duration,rqsize,rpsize,command,parameters,context
2026-11-23T09:30:00.000Z,IMAP4-123,0,192.0.2.1:143,[2001:db8::7]:50123,,0,0,40,OpenSession,,TLS=TLS 1.3
2026-11-23T09:30:00.001Z,IMAP4-123,1,192.0.2.1:143,[2001:db8::7]:50123,alice@example.org,1,25,1000,UID FETCH,"'=1+1, ""x"" \x0d\x0a\x00\u202e\xff",R=NO;Code=LIMIT
2026-11-23T09:30:00.001Z,IMAP4-123,2,192.0.2.1:143,[2001:db8::7]:50123,alice@example.org,0,5,100,NOOP,,R=OK
`
	if got := text(t, folder, "IMAP4-20261123-1.LOG"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	c := config(folder)
	c.Format = settings.Json
	l.Set(c)
	at.add(time.Second)
	say(t, l, &s, "STORE", `1 +FLAGS (\Seen)`)
	var j map[string]any
	if err := json.Unmarshal([]byte(text(t, folder, "IMAP4-20261123-2.JSONL")), &j); err != nil || len(j) != 13 || j["parameters"] != `1 +FLAGS (\Seen)` || j["rpsize"] != 100.0 || j["service"] != "IMAP4" {
		t.Errorf("%v %v", j, err)
	}
	records, err := l.Read(context.Background(), Filter{}, 100)
	if err != nil || len(records) != 4 {
		t.Fatalf("%v %v", records, err)
	}
	if r := records[1]; r.Service != "IMAP4" || r.Session != "IMAP4-123" || r.Seq != 1 || r.Duration != time.Millisecond || r.Request != 25 ||
		r.Parameters != `=1+1, "x" \x0d\x0a\x00\u202e\xff` || r.Context != "R=NO;Code=LIMIT" || !r.Time.Equal(monday.Add(time.Millisecond)) {
		t.Errorf("%+v", r)
	}
	if r := records[3]; r.Command != "STORE" || r.Seq != 3 || r.User != "alice@example.org" {
		t.Errorf("%+v", r)
	}
	// The newest of those that are wanted.
	records, err = l.Read(context.Background(), Filter{Match: func(r *Record) bool { return strings.HasPrefix(r.Context, "R=") }}, 2)
	if err != nil || len(records) != 2 || records[0].Command != "NOOP" || records[1].Command != "STORE" {
		t.Errorf("%v %v", records, err)
	}
	for _, f := range files(folder, "IMAP4") { // their times are the real clock's
		os.Chtimes(filepath.Join(folder, f.name), monday.Add(time.Second), monday.Add(time.Second))
	}
	records, err = l.Read(context.Background(), Filter{Since: monday.Add(time.Millisecond), Until: monday.Add(2 * time.Millisecond)}, 100)
	if err != nil || len(records) != 2 {
		t.Errorf("%v %v", records, err)
	}
}

// TestSwitch: an open session follows with its next command, and while it is off
// nothing is made.
func TestSwitch(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "log")
	l, _, _ := open(t, Config{Folder: folder})
	s := l.Session(peer(1))
	if s.Begin(0, 0) || s.Logging() {
		t.Error("begins while the log is off")
	}
	s.End("NOOP", Outcome{}, 1, 1)
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Error("the folder was made")
	}
	l.Set(config(folder))
	say(t, l, &s, "NOOP", "")
	s.Begin(0, 0) // under way while it is switched off: still logged, as it was begun
	off := config(folder)
	off.Enabled = false
	l.Set(off)
	s.End("SELECT", Outcome{}, 1, 1)
	say(t, l, &s, "LIST", "")
	if got := text(t, folder, "IMAP4-20261123-1.LOG"); !strings.Contains(got, ",NOOP,") || strings.Contains(got, ",LIST,") {
		t.Error(got)
	}
	l.Set(config(folder))
	say(t, l, &s, "STATUS", "")
	if got := names(t, folder); got != "IMAP4-20261123-1.LOG IMAP4-20261123-2.LOG" {
		t.Error(got)
	}
	var none Session
	none.Begin(0, 0)
	none.Add([]byte("x"))
	none.End("x", Outcome{}, 0, 0)
	none.Event("x", Outcome{}, 0, 0, 0)
}

// TestRollOver: by period and by size; a name that is there is never written to.
func TestRollOver(t *testing.T) {
	for _, c := range []struct {
		by    settings.RollOver
		step  time.Duration
		names string
	}{
		{settings.Hourly, 40 * time.Minute, "IMAP4-2026112309-1.LOG IMAP4-2026112310-1.LOG IMAP4-2026112311-1.LOG"},
		{settings.Daily, 20 * time.Hour, "IMAP4-20261123-1.LOG IMAP4-20261124-1.LOG IMAP4-20261125-1.LOG"},
		{settings.Weekly, 4 * 24 * time.Hour, "IMAP4-20261123-1.LOG IMAP4-20261130-1.LOG"},
		{settings.Monthly, 20 * 24 * time.Hour, "IMAP4-202611-1.LOG IMAP4-202612-1.LOG IMAP4-202701-1.LOG"},
	} {
		folder := t.TempDir()
		set := config(folder)
		set.RollOver, set.MaxAge = c.by, 365*24*time.Hour // files have the real time
		l, at, _ := open(t, set)
		s := l.Session(peer(1))
		for range 4 {
			say(t, l, &s, "NOOP", "")
			at.add(c.step)
		}
		if got := names(t, folder); got != c.names {
			t.Errorf("%s: %s", c.by, got)
		}
	}
	folder := t.TempDir()
	os.WriteFile(filepath.Join(folder, "IMAP4-20261123-7.LOG"), []byte("another run's\n"), 0o600)
	set := config(folder)
	set.MaxFile = 1000
	l, _, _ := open(t, set)
	s := l.Session(peer(1))
	for range 20 {
		say(t, l, &s, "NOOP", strings.Repeat("x", 100))
	}
	if got := names(t, folder); got != "IMAP4-20261123-7.LOG IMAP4-20261123-8.LOG IMAP4-20261123-9.LOG IMAP4-20261123-10.LOG IMAP4-20261123-11.LOG" {
		t.Error(got)
	}
	for _, f := range files(folder, "IMAP4") {
		if f.size > 1300 {
			t.Errorf("%s has %d bytes", f.name, f.size)
		}
	}
	if got := text(t, folder, "IMAP4-20261123-7.LOG"); got != "another run's\n" {
		t.Error(got)
	}
}

// TestRetention: what is too old and what is too much goes, the oldest first, and
// nothing that is not ours.
func TestRetention(t *testing.T) {
	folder := t.TempDir()
	others := []string{"POP3-20200101-1.LOG", "IMAP4.LOG", "IMAP4-20200101-1.LOG.gz", "IMAP4-x-1.LOG", "IMAP4-20200101-x.LOG", "notes"}
	write := func(name string, size int, written time.Time) {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, written, written); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range others {
		write(name, 10, monday.AddDate(-5, 0, 0))
	}
	write("IMAP4-20260101-1.LOG", 10, monday.AddDate(0, 0, -40))
	for i := range 8 {
		write(fmt.Sprintf("IMAP4-2026110%d-1.LOG", i+1), 300<<10, monday.AddDate(0, 0, i-9))
	}
	set := config(folder)
	set.MaxFile, set.MaxDirectory = 100<<10, 1<<20
	l, _, _ := open(t, set)
	s := l.Session(peer(1))
	say(t, l, &s, "NOOP", "")
	if got := names(t, folder); !strings.HasPrefix(got, "IMAP4-20261106-1.LOG IMAP4-20261107-1.LOG IMAP4-20261108-1.LOG IMAP4-20261123-1.LOG") {
		t.Error(got)
	}
	for _, name := range others {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestBrokenFolder: nobody waits, what is lost is counted and said, once it works
// again.
func TestBrokenFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(folder, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	set := config(folder)
	if err := set.Check(); mail.KindOf(err) != mail.KindCannot || !strings.Contains(mail.TextOf(err), folder) {
		t.Error(err)
	}
	l, at, told := open(t, set)
	s := l.Session(peer(1))
	for range 5 {
		say(t, l, &s, "NOOP", "")
	}
	if n := strings.Count(told.String(), "cannot be written"); n != 1 || l.Lost() != 5 {
		t.Errorf("%d lost, told %d times: %s", l.Lost(), n, told)
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := set.Check(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Errorf("Check left %v", left)
	}
	say(t, l, &s, "NOOP", "") // too early
	at.add(retryAfter)
	say(t, l, &s, "NOOP", "")
	if got := text(t, folder, "IMAP4-20261123-1.LOG"); !strings.Contains(got, "#Dropped: 6\n") || !strings.Contains(told.String(), "written again") {
		t.Errorf("%s\n%s", got, told)
	}
	// A folder that somebody takes away comes back.
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	at.add(retryAfter)
	say(t, l, &s, "NOOP", "")
	if got := names(t, folder); got != "IMAP4-20261123-1.LOG" {
		t.Error(got)
	}
	if os.Getuid() != 0 {
		os.Chmod(folder, 0o500)
		defer os.Chmod(folder, 0o700)
		if err := set.Check(); err == nil {
			t.Error("a folder that may not be written to is accepted")
		}
	}
}

// TestNeverWaits: with a writer that stands still, sessions go on and records are
// dropped.
func TestNeverWaits(t *testing.T) {
	folder := t.TempDir()
	l, _, _ := open(t, config(folder))
	hold, held := make(chan struct{}), make(chan struct{})
	go Follow(contextUntil(hold), []*Log{l}, Filter{Match: func(*Record) bool { // asked on the writer's goroutine
		select {
		case held <- struct{}{}:
		case <-hold:
		}
		<-hold
		return false
	}}, func() error { return nil }, nil)
	for !l.followed.Load() {
		time.Sleep(time.Millisecond)
	}
	var wg sync.WaitGroup
	began := time.Now()
	for i := range 4 {
		wg.Go(func() {
			s := l.Session(peer(i))
			for range maxQueue / 2 {
				s.Begin(0, 0)
				s.End("NOOP", Outcome{Result: "OK"}, 1, 1)
			}
		})
	}
	<-held
	wg.Wait()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	lost := l.Lost()
	if lost < maxQueue-10 || lost > maxQueue {
		t.Errorf("%d lost", lost)
	}
	close(hold)
	s := l.Session(peer(9))
	if err := l.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	say(t, l, &s, "LAST", "")
	if got := text(t, folder, "IMAP4-20261123-1.LOG"); strings.Count(got, "NOOP") != 2*maxQueue-int(lost) || !strings.Contains(got, fmt.Sprintf("#Dropped: %d\n", lost)) {
		t.Errorf("%d written", strings.Count(got, "NOOP"))
	}
}

func contextUntil(done chan struct{}) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-done
		cancel()
	}()
	return ctx
}

// TestFollow: records come as they are written; who is too slow misses some and is
// told how many; there is a bound; it ends with its context.
func TestFollow(t *testing.T) {
	l, _, _ := open(t, config(t.TempDir()))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	got := make(chan Record)
	missed := make(chan int64, 10)
	for range maxFollowers {
		wg.Go(func() {
			err := Follow(ctx, []*Log{l}, Filter{Match: func(r *Record) bool { return r.User == "alice" }}, func() error { return nil }, func(r Record, m int64) error {
				if m > 0 {
					select {
					case missed <- m:
					default: // nobody counts them all
					}
				}
				got <- r
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for {
		l.mu.Lock()
		n := len(l.followers)
		l.mu.Unlock()
		if n == maxFollowers {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := Follow(ctx, []*Log{l}, Filter{}, nil, nil); mail.KindOf(err) != mail.KindLimit {
		t.Error(err)
	}
	s := l.Session(peer(1))
	say(t, l, &s, "NOOP", "")
	s.User("alice")
	say(t, l, &s, "SELECT", "INBOX")
	for range maxFollowers {
		if r := <-got; r.Command != "SELECT" || r.Parameters != "INBOX" || r.Service != "IMAP4" {
			t.Errorf("%+v", r)
		}
	}
	for range maxBehind + 10 {
		say(t, l, &s, "NOOP", "")
	}
	for len(missed) == 0 {
		<-got
		select {
		case <-time.After(time.Millisecond):
			say(t, l, &s, "NOOP", "")
		default:
		}
	}
	cancel()
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-got:
			continue
		case <-done:
		}
		break
	}
	if l.followed.Load() {
		t.Error("somebody still follows")
	}
}

// TestCrash: a cut line and what is no record are passed over.
func TestCrash(t *testing.T) {
	folder := t.TempDir()
	l, _, _ := open(t, config(folder))
	s := l.Session(peer(1))
	say(t, l, &s, "FIRST", "")
	path := filepath.Join(folder, "IMAP4-20261123-1.LOG")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, "nonsense\n\n2026,,,\n"+strings.Repeat("x", 3*maxLine)+"\n2026-11-23T09:30:00.000Z,IMAP4-1,1,a,b,,0,0,0,\"\x1b[31mRED\",,\n2026-11-23T09:30:00.000Z,IMAP4-1,1,a,b,,0,0,0,CUT")
	f.Close()
	records, err := l.Read(context.Background(), Filter{}, 100)
	if err != nil || len(records) != 2 || records[1].Command != `\x1b[31mRED` {
		t.Errorf("%v %+v", err, records)
	}
}

// TestCost: nothing is allocated for a command, on or off.
func TestCost(t *testing.T) {
	l, _, _ := open(t, Config{})
	s := l.Session(peer(1))
	parameters := bytes.Repeat([]byte("x"), 200)
	one := func() {
		s.Begin(1, 1)
		s.Add(parameters)
		s.End("FETCH", Outcome{Result: "OK"}, 2, 2)
	}
	if n := testing.AllocsPerRun(1000, one); n > 0 {
		t.Errorf("off: %v allocations", n)
	}
}

func BenchmarkOff(b *testing.B) {
	l, _, _ := open(b, Config{})
	s := l.Session(peer(1))
	b.ReportAllocs()
	for b.Loop() {
		s.Begin(1, 1)
		s.End("NOOP", Outcome{Result: "OK"}, 2, 2)
	}
}

// BenchmarkOn is a session's part, with the writer's on another core.
func BenchmarkOn(b *testing.B) {
	l, _, _ := open(b, config(b.TempDir()))
	s := l.Session(peer(1))
	parameters := bytes.Repeat([]byte("x"), 60)
	b.ReportAllocs()
	for b.Loop() {
		s.Begin(1, 1)
		s.Add(parameters)
		s.End("FETCH", Outcome{Result: "OK"}, 2, 2)
	}
	b.ReportMetric(float64(l.Lost())/float64(b.N), "lost/op")
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("#Software: Postern\n2026-11-23T09:30:00.001Z,IMAP4-123,1,192.0.2.1:143,unix,a,1,25,1000,UID FETCH,\"'=1+1, \"\"x\"\"\",R=NO\n"))
	f.Add([]byte(`{"service":"POP3","dateTime":"2026-11-23T09:30:00Z","sessionId":"POP3-1","duration":9223372036854775807,"user":"\u202e"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines(context.Background(), bytes.NewReader(data), func(line string) {
			for _, parse := range []func(string) (Record, error){parseCSV, parseJSON} {
				r, err := parse(line)
				if err != nil {
					continue
				}
				for _, text := range []string{r.Service, r.Session, r.Server, r.Client, r.User, r.Command, r.Parameters, r.Context} {
					if Printable(text, len(text)) != text || len(text) > 8*MaxParameters+16 {
						t.Errorf("%q is not printable", text)
					}
				}
				// What is read is written so that it is read again.
				if y := r.Time.Year(); y < 1 || y > 9999 {
					continue
				}
				again, err := parseJSON(strings.TrimSuffix(string(appendJSON(nil, &r)), "\n"))
				if err != nil || again != r {
					t.Errorf("JSON: %+v became %+v, %v", r, again, err)
				}
				r.Service = ""
				r.Time = r.Time.Truncate(time.Millisecond)
				again, err = parseCSV(strings.TrimSuffix(string(appendCSV(nil, &r)), "\n"))
				if err != nil || again != r {
					t.Errorf("CSV: %+v became %+v, %v", r, again, err)
				}
			}
		})
	})
}
