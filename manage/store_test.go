package manage_test

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/store"
)

func TestStoreCmdlets(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	alice := "alice@example.org"
	f.Store.Damages = map[mail.AccountID][]store.Damage{1: {
		{Part: store.DamagedBody, Mailbox: "INBOX", UID: 7, Email: 3, Detail: "The file 000007.blob of the mail store is damaged."},
		{Part: store.DamagedCount, Mailbox: "Archive", Detail: "It has 3 messages; 4 are counted."},
	}}
	var rows []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := client.Follow(ctx, "Test-Store", nil, func(*manage.Result) error { return nil }, func(o manage.Object) error {
		identity, _ := o.Value("Identity")
		result, _ := o.Value("Result")
		part, _ := o.Value("Part")
		rows = append(rows, strings.Join([]string{identity.(string), part.(string), result.(string)}, " "))
		return nil
	}, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(rows, ", "), alice+" Body Fail, "+alice+" Count Fail, bob@example.org  Pass, 0000000000000009  Pass"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	play(t, client, []call{
		{"Test-Store", args{}, `"Identity":"alice@example.org","Folder":"INBOX","UID":7,"Part":"Body","Result":"Fail","Detail":"The file 000007.blob "UID":null,"Part":"Count" "Identity":"bob@example.org" 12 messages in 6 folders "0000000000000009" "exitCode":1`},
		{"Test-Store", args{"Identity": "bob@example.org"}, `"Result":"Pass"`},
		{"Test-Store", args{"Identity": "zoe@example.org"}, "!NotFound"},
		{"Repair-Mailbox", args{"Identity": "bob@example.org", "Confirm": false}, "Nothing of bob@example.org is damaged."},
		{"Repair-Mailbox", args{"Identity": alice}, `"confirm":"`},
		{"Repair-Mailbox", args{"Identity": alice, "WhatIf": true}, `"name":"Body INBOX 7" "whatIf":true`},
		{"New-MailboxRepairRequest", args{"Identity": alice, "Confirm": false}, `"Folder":"INBOX","UID":7,"Part":"Body","Lost":true "Folder":"Archive","UID":null "Lost":false Something is lost`},
		{"Test-Store", args{"Identity": alice}, `"Result":"Pass"`},
		{"Repair-Mailbox", args{"Identity": "zoe@example.org", "Confirm": false}, "!NotFound"},
	})
}
