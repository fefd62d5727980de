package manage_test

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-mail/postern/backup"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

func TestBackupCmdlets(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	play(t, client, []call{
		{"Backup-Store", args{}, "!BadArgument"},
		{"Get-Backup", args{"Path": "/b"}, "!NotFound"},
		{"Backup-Store", args{"Path": "/b", "WhatIf": true}, `"whatIf":true`},
		{"Backup-Store", args{"Path": "/b", "Keep": 2}, `"Path":"/b","Time":"2026-11-23T09:30:00Z","Files":7,"Size":4194304,"Copied":1048576,"Removed":0`},
		{"Backup-Store", args{"Path": "/full"}, "!NoSpace"},
		{"Get-Backup", args{"Path": "/b"}, `"Time":"2026-11-23T09:30:00Z","Server":"mail.example.org"`},
		{"Test-Backup", args{"Path": "/b"}, `"Result":"Pass" 7 files with 4194304 bytes`},
		{"Restore-Store", args{"Path": "/b"}, "!Cannot"},
		{"Restore-Store", args{"Path": "/b", "Mailbox": "zoe@example.org"}, "!NotFound"},
		{"Restore-Store", args{"Path": "/b", "Mailbox": "alice@example.org", "WhatIf": true}, `"new":"Restored 2026-11-23 09.30" "whatIf":true`},
		{"Restore-Store", args{"Path": "/b", "Mailbox": "a.example@example.org"}, `"Identity":"alice@example.org" "Folder":"Restored 2026-11-23 09.30","Folders":6,"Messages":12`},
		{"Restore-Store", args{"Path": "/b", "Mailbox": "alice@example.org", "Missing": true}, "still has every message"},
		{"Restore-Store", args{"Path": "/b", "Mailbox": "alice@example.org", "TargetMailbox": "bob@example.org", "Missing": true}, "!BadArgument"},
		{"Restore-Store", args{"Path": "/b", "Mailbox": "zoe@example.org", "TargetMailbox": "bob@example.org"}, `"Identity":"bob@example.org"`},
	})
	last := f.Backups.Brought[len(f.Backups.Brought)-1]
	if last.Name != "zoe@example.org" || last.Account != 0 || last.To != 2 {
		t.Errorf("%+v", last)
	}
	f.Backups.Damages = []backup.Damage{{Path: "/b/objects/ab/abcd", Time: managetest.Now, File: "store/000007.sst", Points: 3, Detail: "Its content is not what was written."}}
	play(t, client, []call{{"Test-Backup", args{"Path": "/b"}, `"Result":"Fail","Damaged":"/b/objects/ab/abcd" "Points":3,"File":"store/000007.sst" "exitCode":1`}})
}

// TestLong: who accepts it hears how far a cmdlet is, and its end; and it ends when the
// caller goes.
func TestLong(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	f.Backups.Wait, f.Backups.Ended = make(chan struct{}, 1), make(chan struct{})
	f.Backups.Wait <- struct{}{}
	var told []manage.Progress
	r, err := client.RunLong(t.Context(), "Backup-Store", map[string]any{"Path": "/b"}, func(p manage.Progress) { told = append(told, p) })
	if err != nil || len(r.Objects) != 1 {
		t.Fatal(r, err)
	}
	if size, _ := r.Objects[0].Value("Size"); size != int64(4<<20) {
		t.Errorf("the size is %v", size)
	}
	if len(told) != 2 || told[0] != (manage.Progress{Activity: "Copying", Done: 1 << 20, All: 4 << 20, Unit: "bytes"}) || told[1].Done != 4<<20 {
		t.Errorf("%+v", told)
	}
	if _, err = client.RunLong(t.Context(), "Backup-Store", map[string]any{"Path": "/full"}, nil); err == nil || mail.KindOf(err) != mail.KindNoSpace || !strings.Contains(mail.TextOf(err), "disk is full") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err = client.RunLong(ctx, "Backup-Store", map[string]any{"Path": "/b"}, func(manage.Progress) { cancel() }); err == nil {
		t.Error("a call that was ended gave a result")
	}
	<-f.Backups.Ended // the server's side, too
	f.Backups.Wait <- struct{}{}
	if _, err := client.RunLong(t.Context(), "Backup-Store", map[string]any{"Path": "/b"}, nil); err != nil {
		t.Error(err)
	}
}
