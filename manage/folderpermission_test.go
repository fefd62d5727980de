package manage_test

import (
	"testing"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

func TestFolderPermissionCmdlets(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	alice, bob := "alice@example.org", "bob@example.org"
	inbox, plans := alice+`:\INBOX`, alice+`:\Projects\Plans`
	play(t, client, []call{
		{"Get-MailboxFolderPermission", args{"Identity": alice}, `"objects":[]`},
		{"Get-MailboxFolderPermission", args{"Identity": "zoe"}, "!NotFound"},
		{"Get-MailboxFolderPermission", args{"Identity": alice + `:\Nowhere`}, "!NotFound"},
		{"Add-MailboxFolderPermission", args{"Identity": alice, "User": bob, "AccessRights": "Reviewer"}, "!BadArgument"},
		{"Add-MailboxFolderPermission", args{"Identity": inbox, "User": alice, "AccessRights": "Reviewer"}, "!BadArgument"},
		{"Add-MailboxFolderPermission", args{"Identity": inbox, "User": "zoe", "AccessRights": "Reviewer"}, "!NotFound"},
		{"Add-MailboxFolderPermission", args{"Identity": inbox, "User": "group:none", "AccessRights": "Reviewer"}, "!BadArgument"},
		{"Add-MailboxFolderPermission", args{"Identity": inbox, "User": bob, "AccessRights": "Reviewr"}, "!BadArgument"},
		{"Add-MailboxFolderPermission", args{"Identity": inbox, "User": bob, "AccessRights": "Reviewer", "WhatIf": true}, `"whatIf":true`},
		{"Add-MailboxFolderPermission", args{"Identity": inbox, "User": bob, "AccessRights": "reviewer"}, `"User":"bob@example.org","AccessRights":"Reviewer","Rights":"lrs","Deny":false "old":null,"new":"Reviewer"`},
		{"Add-MailboxFolderPermission", args{"Identity": inbox, "User": bob, "AccessRights": "Editor"}, "!AlreadyExists"},
		{"Set-MailboxFolderPermission", args{"Identity": inbox, "User": bob, "AccessRights": "ReadItems, FolderVisible,EditAllItems"}, `"old":"Reviewer","new":"lrsw"`},
		{"Set-MailboxFolderPermission", args{"Identity": plans, "User": bob, "AccessRights": "Owner"}, "!NotFound"},
		{"Add-MailboxFolderPermission", args{"Identity": plans, "User": "default", "AccessRights": "l"}, `"User":"Anyone" Everybody`},
		{"Add-MailboxFolderPermission", args{"Identity": plans, "User": bob, "AccessRights": "Owner", "Deny": true}, `"AccessRights":"Owner" "Deny":true`},
		{"New-LoginGroup", args{"Name": "team", "Members": []string{bob}}, `team`},
		{"Add-MailboxFolderPermission", args{"Identity": plans, "User": "GROUP:Team", "AccessRights": "PublishingEditor"}, `"User":"group:team","AccessRights":"PublishingEditor","Rights":"lrswipkte"`},
		{"Remove-LoginGroup", args{"Name": "team", "Confirm": false}, "!InUse"},
		{"Get-MailboxFolderPermission", args{"Identity": alice}, `lrsw Anyone group:team "Deny":true`},
		{"Get-MailboxFolderPermission", args{"Identity": alice, "User": bob}, `lrsw "Deny":true`},
		{"Remove-MailboxFolderPermission", args{"Identity": plans, "User": bob, "Deny": true}, `"old":"Owner","new":null`},
		{"Remove-MailboxFolderPermission", args{"Identity": plans, "User": bob}, "!NotFound"},
		{"Remove-MailboxFolderPermission", args{"Identity": plans, "User": "group:team"}, `"old":"PublishingEditor","new":null`},
		{"Remove-LoginGroup", args{"Name": "team", "Confirm": false}, `team`},
	})
}

func TestMailboxType(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	alice := "alice@example.org"
	play(t, client, []call{
		{"Set-Mailbox", args{"Identity": alice, "Type": "Shared"}, `"name":"Type","old":"Regular","new":"Shared"`},
		{"Get-Mailbox", args{"Identity": alice}, `"Type":"Shared"`},
		{"Set-Mailbox", args{"Identity": alice, "Type": "shared"}, `different`},
		{"Set-Mailbox", args{"Identity": alice, "Type": "Regular", "Expected": map[string]any{"Type": "Regular"}}, "!Conflict"},
		{"Set-Mailbox", args{"Identity": alice, "Type": "Room"}, "!BadArgument"},
		{"Set-Mailbox", args{"Identity": alice, "Type": "Regular"}, `"old":"Shared","new":"Regular"`},
	})
}

// TestFolderRightsMapping: each name of Exchange gives its rights of RFC 4314, and these
// rights, set by their letters as over IMAP, are shown by the role's name.
func TestFolderRightsMapping(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	inbox := `alice@example.org:\INBOX`
	roles := []struct{ name, letters string }{
		{"Contributor", "lip"}, {"Reviewer", "lrs"}, {"NonEditingAuthor", "lrsip"}, {"Author", "lrswip"}, {"PublishingAuthor", "lrswipk"},
		{"Editor", "lrswipte"}, {"PublishingEditor", "lrswipkte"}, {"Owner", "lrswipkxtean"},
	}
	var shown []string
	for _, r := range manage.FolderRoles() {
		shown = append(shown, r.Name)
	}
	var calls []call
	give := func(deny bool, rights, name, letters string) {
		who := args{"Identity": inbox, "User": "bob@example.org", "Deny": deny}
		calls = append(calls,
			call{"Add-MailboxFolderPermission", args{"Identity": inbox, "User": "bob@example.org", "Deny": deny, "AccessRights": rights}, `"AccessRights":"` + name + `","Rights":"` + letters + `"`},
			call{"Get-MailboxFolderPermission", args{"Identity": inbox}, `"AccessRights":"` + name + `","Rights":"` + letters + `"`},
			call{"Remove-MailboxFolderPermission", who, `"old":"` + name + `","new":null`})
	}
	for i, r := range roles {
		if i >= len(shown) || shown[i] != r.name {
			t.Errorf("the roles are %q", shown)
		}
		give(false, r.name, r.name, r.letters)
		give(true, r.letters, r.name, r.letters)
	}
	for name, letters := range map[string]string{
		"FolderVisible": "l", "ReadItems": "rs", "CreateItems": "ip", "EditAllItems": "w", "DeleteAllItems": "te", "CreateSubfolders": "k", "FolderOwner": "xa",
	} {
		give(false, name, letters, letters)
	}
	give(false, "ReadItems,FolderVisible", "Reviewer", "lrs") // single rights that make a role
	give(false, "c", "kx", "kx")                              // RFC 4314, 2.1.1
	give(false, "d", "te", "te")
	calls = append(calls, call{"Add-MailboxFolderPermission", args{"Identity": inbox, "User": "bob@example.org", "AccessRights": "None"}, `different`})
	play(t, client, calls)
}
