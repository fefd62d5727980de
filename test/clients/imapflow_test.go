package clients

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// TestImapflow: Node's imapflow, the IMAP of EmailEngine and of many web applications, over TLS
// from the first byte and after STARTTLS: IDLE, QRESYNC, COMPRESS, names in UTF-8, a large
// mailbox and one that is shared.
func TestImapflow(t *testing.T) {
	long(t)
	const many = 3000
	module := filepath.Join(server.Root(), ".tools", "imapflow", "node_modules", "imapflow")
	if _, err := os.Stat(module); err != nil {
		t.Fatal("imapflow is not installed (scripts/test-packages installs it)")
	}
	owner := server.Account{Name: "office@test.example", Password: "nobody knows this 9"}
	for _, connection := range []string{implicit, startTLS} {
		t.Run(connection, func(t *testing.T) {
			t.Parallel()
			s := server.Serve(t, server.Options{Accounts: []server.Account{alice, owner}})
			s.MustDeliver(t, message(0), owner.Name)
			s.MustShell("Add-MailboxFolderPermission", owner.Name+`:\INBOX`, "-User", alice.Name, "-AccessRights", "Reviewer")
			fill(t, s, alice, "Many", many)
			port, err := strconv.Atoi(server.Port(addressOf(s, "imap", connection)))
			if err != nil {
				t.Fatal(err)
			}
			out, code := scriptOf(t, "node", "nodejs", "imapflow.cjs", map[string]any{
				"module": module, "port": port, "secure": connection == implicit, "ca": s.Certificate, "user": alice.Name, "password": alice.Password,
				"many": many, "other": "Other Users/" + owner.Name + "/INBOX",
			})
			if code != 0 {
				t.Errorf("exit code %d\n%s", code, out)
			}
		})
	}
}
