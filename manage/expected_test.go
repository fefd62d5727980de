package manage_test

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// TestExpected: two who change the same thing from the same page.
func TestExpected(t *testing.T) {
	f := newFake(t, "")
	ctx := context.Background()
	old := map[string]any{}
	for _, p := range run(t, f, "Get-PopSettings", nil).Objects[0] {
		if p.Name != "Server" && p.Name != "Service" {
			old[p.Name] = p.Value
		}
	}
	call := func(cmdlet string, a args) error {
		_, err := f.Run(ctx, root, cmdlet, []byte(plainJSON(t, a)))
		return err
	}
	alice := manage.Caller{Name: "alice@example.org", Roles: root.Roles, Local: true}
	if _, err := f.Run(ctx, alice, "Set-PopSettings", []byte(plainJSON(t, args{"LoginType": 1, "Expected": old}))); err != nil {
		t.Fatal(err)
	}
	err := call("Set-PopSettings", args{"LoginType": 2, "Banner": "x", "Expected": old})
	fault := manage.FaultOf(err)
	if fault.Kind != "Conflict" || fault.Parameter != "LoginType" ||
		fault.Text != `POP3 was changed meanwhile, so nothing was changed now: LoginType is "PlainTextLogin" by now: alice@example.org changed it at 2026-11-23T09:30:00Z` {
		t.Errorf("%+v", fault)
	}
	shown := run(t, f, "Get-PopSettings", nil).Objects[0]
	if v, _ := shown.Value("Banner"); v == "x" {
		t.Error("a refused change was half made")
	}
	for _, c := range []struct {
		cmdlet string
		args   args
		kind   mail.Kind
	}{
		{"Set-PopSettings", args{"Banner": "x", "Expected": old}, mail.KindConflict}, // one field of the page is another
		{"Set-PopSettings", args{"Banner": "x", "Expected": args{"Banner": old["Banner"]}, "WhatIf": true}, -1},
		{"Set-PopSettings", args{"Banner": "x", "Expected": args{"MaxCommandSize": "512", "SSLBindings": old["SSLBindings"], "ShowHiddenFoldersEnabled": false}}, mail.KindBadArgument}, // IMAP4's
		{"Set-PopSettings", args{"Banner": "x", "Expected": args{"maxcommandsize": "512", "EnableExactRFC822Size": "false"}}, -1},
		{"Set-PopSettings", args{"Banner": "y", "Expected": args{"Banner": "X"}}, mail.KindConflict},
		{"Set-PopSettings", args{"Banner": "y", "Expected": `{"Banner":"x"}`}, -1}, // as the shell says it
		{"Set-PopSettings", args{"Banner": "z", "Expected": `Banner=y`}, mail.KindBadArgument},
		{"Set-PopSettings", args{"Banner": "z", "Expected": nil}, mail.KindBadArgument},
		{"Set-PopSettings", args{"Banner": "z", "Expected": []string{"y"}}, mail.KindBadArgument},
		{"Set-PopSettings", args{"Banner": "z", "Expected": args{"Nonsense": 1}}, mail.KindBadArgument},
		{"Set-PopSettings", args{"Banner": "z", "Expected": args{}}, -1},
		{"Set-Mailbox", args{"Identity": "alice@example.org", "DisplayName": "A", "Expected": args{"DisplayName": "Alice Example", "EmailAddresses": []string{"a.example@example.org"}, "ProhibitSendReceiveQuota": "unlimited"}}, -1},
		{"Set-Mailbox", args{"Identity": "alice@example.org", "DisplayName": "B", "Expected": args{"DisplayName": "Alice Example"}}, mail.KindConflict},
		{"Set-Mailbox", args{"Identity": "alice@example.org", "Password": "new", "Expected": args{"DisplayName": "Alice Example"}}, mail.KindConflict},
		{"Set-Mailbox", args{"Identity": "alice@example.org", "ProhibitSendReceiveQuota": "1GB", "Expected": args{"ProhibitSendReceiveQuota": 5}}, mail.KindConflict},
		{"Set-CASMailbox", args{"Identity": "alice@example.org", "PopEnabled": false, "Expected": args{"PopEnabled": true}}, -1},
		{"Set-CASMailbox", args{"Identity": "alice@example.org", "PopEnabled": true, "Expected": args{"PopEnabled": true}}, mail.KindConflict},
	} {
		err := call(c.cmdlet, c.args)
		if (err == nil) != (c.kind < 0) || err != nil && mail.KindOf(err) != c.kind {
			t.Errorf("%s %v: %v", c.cmdlet, c.args, err)
		}
	}
	if text := plainJSON(t, f.Audit.Records()); !strings.Contains(text, `"Expected":"{\"Banner\":\"x\"}"`) {
		t.Error(text)
	}
	// Somebody is faster between the look and the change.
	f.Directory.BeforeChange = func(e *directory.Entry) { e.DisplayName = "Somebody" }
	if err := call("Set-Mailbox", args{"Identity": "bob@example.org", "DisplayName": "B", "Expected": args{"DisplayName": "Bob Example"}}); mail.KindOf(err) != mail.KindConflict {
		t.Error(err)
	}
}

// TestExpectedSecret: a password has no place in -Expected, and whoever puts it there
// does not find it in the audit log.
func TestExpectedSecret(t *testing.T) {
	f := newFake(t, "")
	for _, name := range []string{"Password", "password"} {
		_, err := f.Run(context.Background(), root, "Set-Mailbox", []byte(plainJSON(t, args{"Identity": "alice@example.org", "Password": "new", "Expected": args{name: "rabbit-1865", "DisplayName": "A"}})))
		if mail.KindOf(err) != mail.KindBadArgument && mail.KindOf(err) != mail.KindConflict {
			t.Error(err)
		}
	}
	text := plainJSON(t, f.Audit.Records())
	if strings.Contains(text, "rabbit-1865") || !strings.Contains(text, "DisplayName") {
		t.Error(text)
	}
}
