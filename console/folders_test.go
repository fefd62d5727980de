package console_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/manage"
)

// TestMailboxFolders: rights on folders are listed, given, changed and taken, by who may.
func TestMailboxFolders(t *testing.T) {
	s := open(t).as("root")
	const page = "/mailboxes/mailbox/folders?name=alice%40example.org"
	s.get(page).want(t, 200, "Nobody but its owner.", `!data-test="folders"`, "Get-MailboxFolderPermission alice@example.org", `<option value="Anyone">`)
	give := []string{"form", "folder", "f.Identity", "Projects/Plans", "f.User", "bob@example.org", "f.AccessRights", "Editor"}
	s.post(page, append(give, "step", "review")...).want(t, 200, "Add-MailboxFolderPermission", `alice@example.org:\Projects/Plans`, "<ins>Editor</ins>")
	s.post(page, "form", "folder", "step", "apply", "f.Identity", "<Nowhere>", "f.User", "bob@example.org", "f.AccessRights", "Editor").want(t, 404, `id="folder-Identity-error"`, "!<Nowhere>")
	s.post(page, "form", "folder", "step", "apply", "f.Identity", "INBOX", "f.User", "zoe@example.org", "f.AccessRights", "Editor").want(t, 404, `id="folder-User-error"`)
	s.as("viewer").post(page, append(give, "step", "apply")...).want(t, 403)
	s.get(page).want(t, 200, "does not hold the role", "Nobody but its owner.")
	s.as("root").post(page, append(give, "step", "apply")...).want(t, 303)
	s.post(page, "form", "folder", "step", "apply", "f.Identity", "INBOX", "f.User", "Anyone", "f.AccessRights", "Reviewer").want(t, 303)
	s.post(page, append(give, "step", "apply", "f.Deny", "true")...).want(t, 303)
	s.call(t, "Set-MailboxFolderPermission", `{"Identity":"alice@example.org:\\INBOX","User":"Anyone","AccessRights":"lr"}`)
	given := s.get(page).want(t, 200, `data-test="folders"`, "bob@example.org", "Projects/Plans", ">Editor</a>", ">lr</a>", `<span class="tag">lrswipte</span>`, "taken away")
	checkHTML(t, page, given.body)

	one := "/mailboxes/mailbox/folders?" + url.Values{"folder": {"Projects/Plans"}, "name": {"alice@example.org"}, "user": {"bob@example.org"}}.Encode()
	change := []string{"form", "folder", "was.AccessRights", `"Editor"`, "f.AccessRights", "Reviewer"}
	checkHTML(t, one, s.get(one).want(t, 200, `<option value="Editor" selected>`, `data-test="about"`, "Share another folder").body)
	s.get(strings.Replace(one, "Projects%2FPlans", "INBOX", 1)).want(t, 404)
	s.get(strings.Replace(one, "Projects%2FPlans", "INBOX", 1)+"&deny=true").want(t, 404)
	s.get("/mailboxes/mailbox/folders?name=alice%40example.org&folder=INBOX&user=Anyone").want(t, 200, `<option value="lr" selected>`)
	s.post(one, append(change, "step", "review")...).want(t, 200, "<del>Editor</del>", "<ins>Reviewer</ins>")
	s.post(one, append(change, "step", "apply")...).want(t, 303)
	if now := s.get(page).want(t, 200, ">Reviewer</a>", "taken away"); !strings.Contains(now.body, "lrswipte") {
		t.Error("the denied right was changed, too")
	}
	for _, kind := range []string{"folder", "folder", "denied"} {
		button := regexp.MustCompile(`data-test="(` + kind + `-[0-9a-f]{16})"`).FindStringSubmatch(s.get(page).body)
		if button == nil {
			t.Fatal("nothing takes it away")
		}
		s.post(page, "form", button[1], "step", "apply").want(t, 303)
	}
	s.get(page).want(t, 200, "Nobody but its owner.")
	s.header.Set("Accept-Language", "de")
	s.get(page).want(t, 200, "Niemand außer", "!Share a folder")
}

// TestFolderRoles: each role that the console offers is one that the cmdlet takes.
func TestFolderRoles(t *testing.T) {
	s := open(t).as("root")
	for _, role := range manage.FolderRoles() {
		s.post("/mailboxes/mailbox/folders?name=alice%40example.org", "form", "folder", "step", "review", "f.Identity", "INBOX", "f.User", "bob@example.org", "f.AccessRights", role.Name).
			want(t, 200, "<ins>"+role.Name+"</ins>")
	}
}

// TestMailboxType: whose a mailbox is stands among its properties.
func TestMailboxType(t *testing.T) {
	s := open(t).as("root")
	const page = "/mailboxes/mailbox?name=alice%40example.org"
	s.get(page).want(t, 200, `value="Regular" checked`)
	s.post(page, "form", "mailbox", "step", "apply", "was.Type", `"Regular"`, "f.Type", "Shared").want(t, 303)
	s.get(page).want(t, 200, `value="Shared" checked`)
}
