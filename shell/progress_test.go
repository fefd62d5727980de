package shell

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

func TestBar(t *testing.T) {
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	b := NewBar(&Screen{Err: &out, ErrTerminal: true, ErrWidth: 80})
	b.now = func() time.Time { return now }
	show := func(done, all int64, unit string) string {
		out.Reset()
		b.Show(manage.Progress{Activity: "Copying", Done: done, All: all, Unit: unit})
		return strings.TrimSuffix(strings.TrimPrefix(out.String(), "\r"), "\x1b[K")
	}
	if got := show(0, 4<<20, "bytes"); got != "" || b.Heard() != "Copying: 0 %, 0 B of 4 MB" {
		t.Errorf("what has just begun shows %q, and says %q", got, b.Heard())
	}
	now = now.Add(shownAfter)
	if got, want := show(0, 4<<20, "bytes"), "[..............................] Copying: 0 %, 0 B of 4 MB"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	now = now.Add(10*time.Second - shownAfter)
	if got, want := show(1<<20, 4<<20, "bytes"), "[#######.......................] Copying: 25 %, 1 MB of 4 MB, 30s left"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got, want := show(7, 0, ""), "Copying: 7"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for _, width := range []int{1, 20, 50, 60, 79} {
		b.screen.ErrWidth = width
		if got := show(1<<20, 4<<20, "bytes"); runewidth.StringWidth(got) >= max(width, 2) {
			t.Errorf("%d columns: %s", width, got)
		}
	}
	out.Reset()
	b.End()
	b.End()
	if b.Heard() != "Copying: 25 %, 1 MB of 4 MB" {
		t.Error(b.Heard())
	}
	if got := out.String(); got != "\r\x1b[K" {
		t.Errorf("%q", got)
	}

	// Told at every moment it changes now and then.
	out.Reset()
	b = NewBar(&Screen{Err: &out, ErrTerminal: true, ErrWidth: 80})
	b.now = func() time.Time { return now }
	for i := range int64(200) {
		b.Now(manage.Progress{Activity: "Restore-RecoverableItem", Done: i, All: 200})
		now = now.Add(10 * time.Millisecond)
	}
	if n := strings.Count(out.String(), "\r"); n != 7 || b.Heard() != "Restore-RecoverableItem: 99 %, 199 of 200" {
		t.Errorf("it changed %d times, %s: %q", n, b.Heard(), &out)
	}

	// No terminal: a line now and then.
	out.Reset()
	b = NewBar(&Screen{Err: &out})
	b.now = func() time.Time { return now }
	for i := range int64(30) {
		b.Show(manage.Progress{Activity: "Copying", Done: i, All: 30})
		now = now.Add(time.Second)
	}
	b.End()
	if got, want := out.String(), "Copying: 33 %, 10 of 30, 20s left\nCopying: 66 %, 20 of 30, 10s left\n"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestBarOfCmdlets: what is quick shows none, what takes longer does, and it is taken away at
// the end; who ends it reads how far it was.
func TestBarOfCmdlets(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	var out, err bytes.Buffer
	s := &session{Screen: &Screen{Out: &out, Err: &err, ErrTerminal: true, ErrWidth: 80}, client: client}
	for _, line := range []string{"Test-Store", "Test-Store -Follow", "Get-RecoverableItem alice@example.org", "Restore-RecoverableItem alice@example.org -ResultSize unlimited -WhatIf", "Repair-Mailbox alice@example.org -WhatIf", "Backup-Store /b", "Get-Mailbox | ForEach-Object Name | Restore-Store /b"} {
		err.Reset()
		if code := s.line(t.Context(), line); code != Done || strings.ContainsAny(err.String(), "[\r") {
			t.Errorf("%s: %d %q", line, code, &err)
		}
	}
	f.Backups.Wait, f.Backups.Ended = make(chan struct{}), make(chan struct{})
	go func() {
		time.Sleep(shownAfter + 100*time.Millisecond)
		f.Backups.Wait <- struct{}{}
	}()
	err.Reset()
	if code := s.line(t.Context(), "Backup-Store /b"); code != Done || !strings.Contains(err.String(), "] Copying: 100 %, 4 MB of 4 MB") || !strings.HasSuffix(err.String(), "\r\x1b[K") {
		t.Errorf("%d %q", code, &err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		time.Sleep(200 * time.Millisecond)
		cancel()
		<-f.Backups.Ended
	}()
	err.Reset()
	if code := s.line(ctx, "Backup-Store /b"); code != Failed || !strings.Contains(err.String(), "ended before it was done") ||
		!strings.Contains(err.String(), "The last that was heard of it: Copying: 25 %, 1 MB of 4 MB. What was done stays; Get-AuditLog has the record of it.") {
		t.Errorf("%d %q", code, &err)
	}
}
