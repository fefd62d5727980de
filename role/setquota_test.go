package role

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/postern-mail/postern/imap"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// TestSetQuota: SETQUOTA does what Set-Mailbox does, for those who may run that, and is in
// the audit log with who asked; a second factor that the console would ask for forbids it.
func TestSetQuota(t *testing.T) {
	s, err := Open(context.Background(), config(t), Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	root, err := s.Manage().CallerOf(t.Context(), manage.UnixIdentity(os.Getuid()), "test", manage.WaySocket)
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, arguments map[string]any) *manage.Result {
		t.Helper()
		b, _ := json.Marshal(arguments)
		done, err := s.Manage().Run(t.Context(), root, name, b)
		if err != nil {
			t.Fatal(name, err)
		}
		return done
	}
	const alice, admin = "alice@example.org", "admin@example.org"
	for _, name := range []string{alice, admin} {
		run("New-Mailbox", map[string]any{"Name": name, "Password": "correct horse battery"})
	}
	ask := func(name, of string, bytes, messages int64) error {
		t.Helper()
		e, err := s.directory.Lookup(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		by := imap.Administrator{Account: e.Account, Name: name, Remote: netip.MustParseAddrPort("192.0.2.7:1000")}
		return s.setQuota(t.Context(), by, of, bytes, messages)
	}
	quota := func() string {
		t.Helper()
		m := run("Get-Mailbox", map[string]any{"Identity": alice}).Objects[0]
		bytes, _ := m.Value("ProhibitSendReceiveQuota")
		messages, _ := m.Value("MaxMessages")
		b, _ := json.Marshal([]any{bytes, messages})
		return string(b)
	}
	before := quota()
	if err := ask(admin, alice, 5, 6); mail.KindOf(err) != mail.KindNoPermission || quota() != before {
		t.Fatalf("%v, %s", err, quota())
	}
	run("Add-Administrator", map[string]any{"Identity": admin, "Role": string(manage.RecipientAdministrator)})
	if err := ask(admin, alice, 2048, 6); err != nil || quota() != "[2048,6]" {
		t.Fatalf("%v, %s", err, quota())
	}
	if err := ask(admin, alice, 0, 7); err != nil || quota() != `["unlimited",7]` {
		t.Fatalf("%v, %s", err, quota())
	}
	if err := ask(admin, "nobody@example.org", 1, 1); mail.KindOf(err) != mail.KindNotFound {
		t.Fatal(err)
	}
	if err := ask(alice, alice, 0, 0); mail.KindOf(err) != mail.KindNoPermission {
		t.Fatal(err)
	}
	log, _ := json.Marshal(run("Get-AuditLog", map[string]any{"Cmdlet": "Set-Mailbox"}).Objects)
	if text := string(log); !strings.Contains(text, admin) || !strings.Contains(text, "192.0.2.7") || strings.Contains(text, `"Who":"`+alice) {
		t.Fatal(text)
	}
	run("Set-ConsoleSettings", map[string]any{"RequireSecondFactor": true})
	if err := ask(admin, alice, 1, 1); mail.KindOf(err) != mail.KindNoPermission || quota() != `["unlimited",7]` {
		t.Fatalf("%v, %s", err, quota())
	}
}
