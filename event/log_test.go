package event

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTable(t *testing.T) {
	for i, e := range Table {
		if e.Text == "" || e.ID <= 0 || i > 0 && Table[i-1].ID >= e.ID || Find(e.ID) != e {
			t.Errorf("%+v", e)
		}
	}
	if Find(1) != nil {
		t.Error("there is an event 1")
	}
}

func open(t *testing.T, dir string) (*Log, *slog.Logger, *strings.Builder) {
	t.Helper()
	l, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	return l, slog.New(l.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))), &out
}

// TestLog: warnings and rows of the table are kept, over a restart; the rest, and
// whatever the next handler takes, is its own.
func TestLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "events")
	l, log, out := open(t, dir)
	ctx := context.Background()
	log.Info("nothing special")
	ServiceStarted.Log(ctx, log, "service", "POP3", "listening", []string{"[::]:110"})
	log.With("service", "IMAP4").WithGroup("more").Warn("strange", "name", "x\ny", "error", errors.New("why"))
	TooManyOfUser.Log(ctx, log.With("service", "POP3"), "user", "alice")
	TooManyOfUser.Log(ctx, log.With("service", "POP3"), "user", "alice")
	log.Error(strings.Repeat("long", 1000), "long", strings.Repeat("long", 1000))
	check := func(l *Log) {
		t.Helper()
		all, more := l.Search(Query{})
		if len(all) != 4 || more {
			t.Fatalf("%+v", all)
		}
		if e := all[1]; e.ID != 1009 || e.Source != "POP3" || e.Type() != "Warning" || e.Count != 2 || e.Data["user"] != "alice" || e.Time.IsZero() {
			t.Errorf("%+v", e)
		}
		if e := all[2]; e.Source != "IMAP4" || e.ID != 0 || e.Data["more.name"] != "x\ny" || e.Data["more.error"] != "why" {
			t.Errorf("%+v", e)
		}
		if e := all[0]; len(e.Text) > 1010 || len(e.Data["long"]) > 1010 || e.Type() != "Error" {
			t.Errorf("%+v", e)
		}
		for _, c := range []struct {
			q    Query
			want int
		}{
			{Query{Types: []string{"information", "Error"}}, 2},
			{Query{IDs: []int{1009, 3001}}, 2},
			{Query{Source: func(s string) bool { return s == "POP3" }}, 2},
			{Query{After: time.Now().Add(time.Hour)}, 0},
			{Query{Before: time.Now().Add(time.Hour)}, 4},
			{Query{Newest: 3}, 3},
		} {
			if found, more := l.Search(c.q); len(found) != c.want || more != (c.q.Newest > 0) {
				t.Errorf("%+v: %d", c.q, len(found))
			}
		}
	}
	check(l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "serves") || !strings.Contains(out.String(), "event=1009") {
		t.Error(out)
	}
	path := filepath.Join(dir, newerFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	text, _ := os.ReadFile(path)
	os.WriteFile(path, slices.Concat([]byte("{}\nrubbish\n"+strings.Repeat("x", 2*maxLine)+"\n"), text, []byte(`{"time":"2026`)), 0o600)
	l, _, _ = open(t, dir)
	check(l)
	l.Close()
}

// TestBounds: neither memory nor disk grow, whatever happens.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, log, _ := open(t, dir)
		for i := range 30000 {
			log.Warn("happens "+strings.Repeat("x", i%900), "i", i)
			if i%400 == 0 {
				time.Sleep(flushEvery)
			}
		}
		l.Close()
		size := int64(0)
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			info, _ := e.Info()
			size += info.Size()
		}
		if len(entries) != 2 || size > 2*maxFile || len(l.entries) > maxEntries*2 {
			t.Error(entries, size, len(l.entries))
		}
		l, _, _ = open(t, dir)
		if found, more := l.Search(Query{Newest: 10}); len(found) != 10 || !more || found[0].Data["i"] == "" {
			t.Error(found, more)
		}
		l.Close()
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-23T09:30:00Z","level":"WARN","id":1009,"source":"POP3","text":"x","count":1}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, newerFile), text, 0o600)
		l, err := Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.Search(Query{})
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestCounts: what differs in its data is kept a few times, then counted.
func TestCounts(t *testing.T) {
	l, log, _ := open(t, t.TempDir())
	defer l.Close()
	for i := range 100 {
		log.Warn("happens", "i", i)
	}
	found, _ := l.Search(Query{})
	total := 0
	for _, e := range found {
		total += e.Count
	}
	if len(found) != maxSame || total != 100 {
		t.Error(len(found), total)
	}
}

// TestTooManyLines: a storm of one line is cut to 100 a second and counted; others,
// and what is kept, do not suffer.
func TestTooManyLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log, out := open(t, t.TempDir())
		for range 3 {
			for i := range 1000 {
				log.Warn("storm", "i", i)
			}
			time.Sleep(1500 * time.Millisecond)
		}
		log.Warn("something else")
		for i := range 2 * maxTexts { // texts that differ are not kept for ever
			log.Warn(strings.Repeat("x", i+1))
		}
		synctest.Wait()
		l.limiter.mu.Lock()
		if n := len(l.limiter.lines); n > maxTexts+1 {
			t.Errorf("%d texts are counted", n)
		}
		l.limiter.mu.Unlock()
		time.Sleep(2 * flushEvery)
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(out.String(), "msg=storm"); n != 300 {
			t.Errorf("%d lines of the storm", n)
		}
		left := 0
		for line := range strings.Lines(out.String()) {
			if strings.Contains(line, "event=3040") && strings.Contains(line, "text=storm") {
				n, _ := strconv.Atoi(strings.TrimSpace(line[strings.Index(line, "lines=")+6:]))
				left += n
			}
		}
		if left != 2700 || !strings.Contains(out.String(), "something else") {
			t.Errorf("%d lines are told to be left out", left)
		}
		found, _ := l.Search(Query{Newest: maxEntries})
		seen := 0
		for _, e := range found {
			if e.Text == "storm" {
				seen += e.Count
			}
		}
		if seen != 3000 {
			t.Errorf("%d are kept", seen)
		}
	})
	dir := t.TempDir()
	l, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Unlimited()
	var out strings.Builder
	log := slog.New(l.Handler(slog.NewTextHandler(&out, nil)))
	for range 1000 {
		log.Info("all")
	}
	if err := l.Close(); err != nil || strings.Count(out.String(), "msg=all") != 1000 {
		t.Errorf("%d lines, %v", strings.Count(out.String(), "msg=all"), err)
	}
}
