package manage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

// TestAuditLog: what was changed, and what somebody tried who may not, is found and
// proven by cmdlets.
func TestAuditLog(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	ctx := context.Background()
	dir := t.TempDir()
	log, err := audit.Open(ctx, audit.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	f.Server.Audit = log
	run := func(cmdlet string, a args) string {
		t.Helper()
		result, err := client.Run(ctx, cmdlet, a)
		if err != nil {
			t.Fatal(cmdlet, a, err)
		}
		return plainJSON(t, result)
	}
	run("Set-PopSettings", args{"LoginType": 1})
	run("Set-ImapSettings", args{"Banner": "Hello <you>"})
	run("Set-Mailbox", args{"Identity": "alice@example.org", "Password": "s3cret-s3cret"})
	nobody := manage.Caller{Name: "mallory@example.org", From: "192.0.2.1", Way: manage.WaySession, Roles: []manage.Role{manage.ViewOnlyAdministrator}}
	if _, err := f.Run(ctx, nobody, "Set-PopSettings", []byte(`{"LoginType":1,"WhatIf":true}`)); mail.KindOf(err) != mail.KindNoPermission {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args args
		want string // parts, or with ! what must not be there
	}{
		{nil, `"Sequence":4 "Sequence":1 LoginType:\ SecureLogin\ →\ PlainTextLogin`},
		{args{"Target": "POP3"}, `"Sequence":1 !"Sequence":2 !"Sequence":4 "Warnings":["`},
		{args{"Target": "IMAP4"}, `"Sequence":2 "Warnings":[] !"Warnings":["`},
		{args{"Cmdlet": "Set-*Settings", "ResultSize": 2}, `"Sequence":4 "Sequence":2 !"Sequence":1 -Before\ 2`},
		{args{"Identity": "mallory*"}, `"Outcome":"NoPermission" "From":"192.0.2.1" "LoginType":"1" !"Sequence":3`},
		{args{"Before": 3, "ResultSize": 1}, `"Sequence":2 !"Sequence":1`},
		{args{"StartDate": "2026-11-23T10:29:59+01:00"}, `"Sequence":1`},
		{args{"StartDate": "2026-11-23 09:31"}, `!"Sequence":1`},
		{args{"StartDate": "00:00:00"}, `"Sequence":1`},
		{args{"EndDate": "00:00:00"}, `!"Sequence":1`},
		{args{"StartDate": "2026-11-22", "EndDate": "2026-11-24"}, `"Sequence":1`},
	} {
		text := run("Search-AdminAuditLog", c.args)
		for part := range strings.SplitSeq(strings.ReplaceAll(c.want, `\ `, "\x00"), " ") {
			part, absent := strings.CutPrefix(strings.ReplaceAll(part, "\x00", " "), "!")
			if strings.Contains(text, part) == absent {
				t.Errorf("%v: %s (absent %t) in %s", c.args, part, absent, text)
			}
		}
		if strings.Contains(text, "s3cret") {
			t.Error("a password:", text)
		}
	}
	for _, bad := range []args{{"StartDate": "yesterday"}, {"StartDate": 7}, {"StartDate": "2026-11-24", "EndDate": "2026-11-23"}} {
		if _, err := client.Run(ctx, "Get-AuditLog", bad); mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}

	if text := run("Test-AuditLog", nil); !strings.Contains(text, `"Result":"Pass","Records":4`) || strings.Contains(text, "exitCode") {
		t.Error(text)
	}
	noted := log.Head()
	run("Stop-Service", args{"Name": "POP3"})
	if text := run("Test-AuditLog", args{"Sequence": noted.Sequence, "Hash": strings.ToUpper(noted.Hash)}); !strings.Contains(text, `"Result":"Pass","Records":2`) {
		t.Error(text)
	}
	for _, bad := range []args{{"Sequence": 4}, {"Hash": noted.Hash}, {"Sequence": 4, "Hash": "beef"}} {
		if _, err := client.Run(ctx, "Test-AuditLog", bad); mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
	path, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	text, _ := os.ReadFile(path[0])
	os.WriteFile(path[0], bytes.Replace(text, []byte("PlainTextLogin"), []byte("PlainTextLogon"), 1), 0o600)
	if text := run("Test-AuditLog", nil); !strings.Contains(text, `"Result":"Fail","Records":0`) || !strings.Contains(text, `"exitCode":1`) || !strings.Contains(text, `"Line":1`) {
		t.Error(text)
	}
}

// TestRefusalsAreBounded: whoever may change nothing cannot fill the disk with
// records of it, and what is not recorded is counted.
func TestRefusalsAreBounded(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	nobody := manage.Caller{Name: "mallory@example.org", From: "192.0.2.1"}
	for range 1000 {
		if _, err := f.Run(context.Background(), nobody, "Set-PopSettings", nil); mail.KindOf(err) != mail.KindNoPermission {
			t.Fatal(err)
		}
	}
	recorded := len(f.Audit.Records())
	f.Audit.Err = errors.New("disk full")
	client.Run(context.Background(), "Stop-Service", args{"Name": "IMAP4"})
	f.Audit.Err = nil
	if _, err := client.Run(context.Background(), "Stop-Service", args{"Name": "POP3"}); err != nil {
		t.Fatal(err)
	}
	records := f.Audit.Records()
	if last := records[len(records)-1]; recorded > 200 || last.Outcome != "OK" || last.Omitted != 1000-recorded {
		t.Error(recorded, fmt.Sprintf("%+v", last))
	}
}

// TestStrangersHideNothing: however often a stranger fails to sign in, what an
// administrator tries is recorded.
func TestStrangersHideNothing(t *testing.T) {
	f := newFake(t, manage.ViewOnlyAdministrator)
	ctx := context.Background()
	for range 1000 {
		f.SignIn(ctx, "nobody", "wrong", here)
	}
	caller, err := f.CallerOf(ctx, "alice@example.org", "192.0.2.9", manage.WaySession)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Run(ctx, caller, "Set-PopSettings", nil); mail.KindOf(err) != mail.KindNoPermission {
		t.Fatal(err)
	}
	records := f.Audit.Records()
	if last := records[len(records)-1]; len(records) > 200 || last.Who != "alice@example.org" || last.Outcome != "NoPermission" || last.Omitted == 0 {
		t.Errorf("%d records, the last %+v", len(records), last)
	}
}

// TestEventLog: events are shown with what to do about them.
func TestEventLog(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	*f.Events = managetest.Events{
		{Time: managetest.Now, Level: slog.LevelWarn, ID: 1009, Source: "POP3", Text: "too many", Data: map[string]string{"user": "alice"}, Count: 3},
		{Time: managetest.Now, Level: slog.LevelError, Source: "Postern", Text: "strange", Count: 1},
	}
	for _, c := range []struct {
		args args
		want string
	}{
		{nil, `"EntryType":"Warning","InstanceId":1009,"Source":"POP3","Message":"too many","Data":{"user":"alice"},"Count":3,"Help":"Max`},
		{args{"Source": "pop*"}, `"InstanceId":1009`},
		{args{"Id": "1009,x"}, ""},
		{args{"EntryType": []string{"Bad"}}, ""},
		{args{"EntryType": []string{"error", "warning"}, "Newest": 5, "After": "01:00:00"}, `"Message":"strange"`},
	} {
		result, err := client.Run(context.Background(), "Get-EventLog", c.args)
		if c.want == "" {
			if mail.KindOf(err) != mail.KindBadArgument {
				t.Errorf("%v: %v", c.args, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", c.args, err)
		} else if text := plainJSON(t, result); !strings.Contains(text, c.want) {
			t.Errorf("%v: %s", c.args, text)
		}
	}
}
