package manage_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/store"
)

// deleteLetters puts letters into the INBOX of alice and expunges them, for bob, and gives
// their ids by their subjects.
func deleteLetters(t *testing.T, f *managetest.Fake, subjects ...string) map[string]string {
	t.Helper()
	s := f.Folders.(*store.Store)
	ctx := store.By(t.Context(), func() mail.Actor {
		return mail.Actor{User: "alice@example.org", ActedBy: "bob@example.org", Mechanism: "PLAIN", AppPassword: "phone", Protocol: "IMAP4", Client: "Mutt\x1b[2J 2.2", Address: "192.0.2.7", Session: "IMAP4-3"}
	})
	a, err := s.Account(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, subject := range subjects {
		if _, err := a.Append(ctx, store.Inbox, store.Arrival{Prepared: s.Prepare([]byte("From: eve@example.org\r\nSubject: " + subject + "\r\n\r\nText\r\n"))}); err != nil {
			t.Fatal(err)
		}
	}
	m, err := a.Select(ctx, store.Inbox, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, _, err := m.Remove(ctx, mail.NumSet{{First: 1, Last: mail.MaxNum}}); err != nil {
		t.Fatal(err)
	}
	list, _, err := a.Recoverable(ctx, store.RecoverableFilter{})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, item := range list {
		ids[item.Subject] = string(item.ID)
	}
	return ids
}

func TestRecoverableItemCmdlets(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	defer f.Close()
	alice := "alice@example.org"
	ids := deleteLetters(t, f, "one", "two <b>", "three", "four", "Evil \x1b[31mred")
	play(t, client, []call{
		{"Get-RecoverableItem", args{"Identity": alice}, `"Subject":"one" "Subject":"two \u003cb\u003e" "From":"eve@example.org" "LastParentPath":"INBOX" "DeletedBy":"bob@example.org","ActedFor":"alice@example.org" "AppPassword":"phone" "ClientAddress":"192.0.2.7"`},
		{"Get-RecoverableItems", args{"Identity": alice, "SubjectContains": "TWO"}, `"EntryID":"` + ids["two <b>"] + `"`},
		{"Get-RecoverableItem", args{"Identity": alice, "ResultSize": 2}, `There are more recoverable messages`},
		{"Get-RecoverableItem", args{"Identity": "bob@example.org"}, `"objects":[]`},
		{"Get-RecoverableItem", args{"Identity": "zoe@example.org"}, `!NotFound`},
		{"Get-RecoverableItem", args{"Identity": alice, "EntryID": "nonsense"}, `"objects":[]`},
		{"Restore-RecoverableItem", args{"Identity": alice}, `!BadArgument`},
		{"Restore-RecoverableItem", args{"Identity": "bob@example.org", "EntryID": ids["one"]}, `!NotFound`},
		{"Restore-RecoverableItem", args{"Identity": alice, "EntryID": ids["one"], "TargetFolder": "a//b"}, `!BadArgument`},
		{"Restore-RecoverableItem", args{"Identity": alice, "EntryID": ids["one"], "WhatIf": true}, `1 recoverable message "whatIf":true`},
		{"Restore-RecoverableItem", args{"Identity": alice, "EntryID": []string{ids["one"], ids["three"]}}, `"RestoredFolderPath":"INBOX" "WasRestoredSuccessfully":true`},
		{"Restore-RecoverableItem", args{"Identity": alice, "EntryID": ids["one"]}, `!NotFound`},
		{"Restore-RecoverableItem", args{"Identity": alice, "SourceFolder": "INBOX", "SubjectContains": "four", "RestoreTargetFolder": "Back/Again"}, `"RestoredFolderPath":"Back/Again"`},
		// What is empty is not everything.
		{"Remove-RecoverableItem", args{"Identity": alice, "EntryID": []string{}, "Confirm": false}, `!BadArgument`},
		{"Remove-RecoverableItem", args{"Identity": alice, "EntryID": nil, "Confirm": false}, `!BadArgument`},
		{"Remove-RecoverableItem", args{"Identity": alice, "EntryID": args{"Remove": []string{ids["two <b>"]}}, "Confirm": false}, `!BadArgument`},
		{"Remove-RecoverableItem", args{"Identity": alice, "SubjectContains": "", "Confirm": false}, `!BadArgument`},
		{"Remove-RecoverableItem", args{"Identity": alice, "LastParentFolder": "INBOX", "SubjectContains": "", "Confirm": false}, `!BadArgument`},
		{"Remove-RecoverableItem", args{"Identity": alice, "LastParentFolder": "", "Confirm": false}, `!BadArgument`},
		{"Remove-RecoverableItem", args{"Identity": alice, "FilterStartTime": "", "Confirm": false}, `!BadArgument`},
		{"Restore-RecoverableItem", args{"Identity": alice, "EntryID": []string{}}, `!BadArgument`},
		{"Get-RecoverableItem", args{"Identity": alice, "SubjectContains": "two"}, `"EntryID":"` + ids["two <b>"] + `"`},
		{"Restore-RecoverableItem", args{"Identity": alice, "SubjectContains": "nothing of the kind"}, `There is no such message`},
		{"Remove-RecoverableItem", args{"Identity": alice, "SubjectContains": "two"}, `"confirm":"`},
		{"Remove-RecoverableItem", args{"Identity": alice, "SubjectContains": "two", "Confirm": false}, `"Removed":1`},
		{"Remove-RecoverableItem", args{"Identity": alice, "FilterEndTime": "2000-01-01", "Confirm": false}, `There is no such message`},
		{"Set-Mailbox", args{"Identity": alice, "RetainDeletedItemsFor": "sometimes"}, `!BadArgument`},
		{"Set-Mailbox", args{"Identity": alice, "RecoverableItemsQuota": "-1"}, `!BadArgument`},
		{"Set-Mailbox", args{"Identity": alice, "RetainDeletedItemsFor": "30.00:00:00", "RecoverableItemsQuota": "2GB"}, `"name":"RetainDeletedItemsFor","old":"14.00:00:00","new":"30.00:00:00" "name":"RecoverableItemsQuota"`},
		{"Get-Mailbox", args{"Identity": alice}, `"RetainDeletedItemsFor":"30.00:00:00","UseDatabaseRetentionDefaults":false,"RecoverableItemsQuota":2147483648,"UseDatabaseQuotaDefaults":false,"DeletedItemCount":1`},
		{"Set-Mailbox", args{"Identity": alice, "RetainDeletedItemsFor": "default", "RecoverableItemsQuota": "unlimited"}, `"new":"14.00:00:00" "new":"unlimited"`},
		{"Set-MailboxDatabase", args{"DeletedItemRetention": "00:00:00"}, `"name":"DeletedItemRetention"`},
		{"Get-MailboxDatabase", args{}, `"DeletedItemRetention":"00:00:00"`},
	})
	shown, err := client.Run(context.Background(), "Get-RecoverableItem", args{"Identity": alice})
	if err != nil || strings.ContainsAny(fmt.Sprint(shown), "\x1b\r") {
		t.Errorf("%q, %v", fmt.Sprint(shown), err)
	}
	// The audit log knows who did what, and no subjects but those that were asked for.
	text := ""
	for _, r := range f.Audit.Records() {
		text += fmt.Sprintf("%+v\n", r)
	}
	if !strings.Contains(text, "Restore-RecoverableItem") || strings.Contains(text, "three") || strings.Contains(text, "Evil") {
		t.Error(text)
	}
}
