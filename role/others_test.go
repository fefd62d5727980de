package role

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	dirembedded "github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// TestOthers: what one server changes holds on another one of the same store, without a
// restart: people, passwords that are remembered, policies, groups, app passwords,
// settings.
func TestOthers(t *testing.T) {
	shared := memory.New()
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("carl@example.org:{PLAIN}geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Now().Add(-time.Hour)
	if err := os.Chtimes(users, when, when); err != nil {
		t.Fatal(err)
	}
	directories := fmt.Sprintf("[[directories]]\nkind = 'embedded'\ndomains = ['local.example']\n[[directories]]\nkind = 'passwd'\nfile = %q\n", users)
	list, err := readDirectories("postern.toml", []byte(directories))
	if err != nil {
		t.Fatal(err)
	}
	open := func(name string) *Server {
		c := config(t)
		c.Name, c.Directories = name, list
		o := Options{Engine: shared.Server(), Limits: auth.Limits{FirstDelay: -1}, Directory: dirembedded.Options{Argon2: dirembedded.Argon2{Memory: 8, Time: 1, Threads: 1}, ScramIterations: 4096}}
		s, err := Open(t.Context(), c, o, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		// Nothing needs to listen.
		for _, service := range []settings.Service{settings.POP3, settings.IMAP4, settings.Console} {
			if _, err := s.settings.Change(t.Context(), service, []settings.Edit{{Name: "StartupType", Value: json.RawMessage(`"Manual"`)}}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b := open("a"), open("b")
	run := func(s *Server, name string, parameters map[string]any) *manage.Result {
		t.Helper()
		args, err := json.Marshal(parameters)
		if err != nil {
			t.Fatal(err)
		}
		caller := manage.Caller{Name: "test", From: "test", Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
		r, err := s.Manage().Run(t.Context(), caller, name, args)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return r
	}
	signIn := func(s *Server, user, password string) (*auth.Identity, error) {
		return s.auth.Password(t.Context(), auth.Imagined(s.settings.Current(settings.IMAP4), true), user, password)
	}
	// within waits until b says so: it hears of changes, and reads them then.
	within := func(what, user, password string, want bool) {
		t.Helper()
		var err error
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if _, err = signIn(b, user, password); (err == nil) == want {
				return
			}
		}
		t.Errorf("%s: %v", what, err)
	}
	const anna = "anna@local.example"
	run(a, "New-Mailbox", map[string]any{"Name": anna, "Password": "first one 1"})
	within("a new mailbox", anna, "first one 1", true)
	run(a, "Set-Mailbox", map[string]any{"Identity": anna, "Password": "second one 2"})
	within("a password that b remembers as right", anna, "first one 1", false)
	within("the new password", anna, "second one 2", true)
	run(a, "Set-Mailbox", map[string]any{"Identity": anna, "Enabled": false})
	within("switched off", anna, "second one 2", false)
	run(a, "Set-Mailbox", map[string]any{"Identity": anna, "Enabled": true})
	within("switched on", anna, "second one 2", true)

	run(a, "New-LoginPolicy", map[string]any{"Name": "nobody", "Mailboxes": anna, "Block": true})
	within("a policy", anna, "second one 2", false)
	run(a, "Remove-LoginPolicy", map[string]any{"Identity": "nobody", "Confirm": false})
	within("without it", anna, "second one 2", true)
	run(a, "New-LoginGroup", map[string]any{"Name": "kept out"})
	run(a, "New-LoginPolicy", map[string]any{"Name": "group", "Groups": "kept out", "Block": true})
	run(a, "Set-LoginGroup", map[string]any{"Identity": "kept out", "Members": map[string]any{"Add": anna}})
	within("a member of a group", anna, "second one 2", false)
	run(a, "Set-LoginGroup", map[string]any{"Identity": "kept out", "Members": map[string]any{"Remove": anna}})
	within("no member any more", anna, "second one 2", true)

	made := run(a, "New-AppPassword", map[string]any{"Mailbox": anna, "Name": "phone"})
	secret, _ := made.Objects[0].Value("Password")
	password := fmt.Sprint(secret)
	if s, ok := secret.(manage.Secret); ok {
		password = string(s)
	}
	within("an app password", anna, password, true)
	run(a, "Remove-AppPassword", map[string]any{"Mailbox": anna, "Name": "phone", "Confirm": false})
	within("no app password any more", anna, password, false)

	// People of an external directory have one account.
	here, err := signIn(a, "carl@example.org", "geheim")
	if err != nil {
		t.Fatal(err)
	}
	there, err := signIn(b, "carl@example.org", "geheim")
	if err != nil || there.Entry.Account != here.Entry.Account {
		t.Errorf("carl has %v and %v, %v", here.Entry.Account, there.Entry.Account, err)
	}
	run(a, "Set-Mailbox", map[string]any{"Identity": "carl@example.org", "Enabled": false})
	within("carl is switched off", "carl@example.org", "geheim", false)

	// A server's settings are kept by whoever stores them.
	elsewhere, err := settings.Open(t.Context(), "b", keeper{a.store}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.Change(t.Context(), settings.IMAP4, []settings.Edit{{Name: "AuthMechanisms", Value: json.RawMessage(`["SCRAM-SHA-256"]`)}}, nil); err != nil {
		t.Fatal(err)
	}
	within("a setting", anna, "second one 2", false)
	run(a, "Remove-Mailbox", map[string]any{"Identity": anna, "Confirm": false})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err := b.directory.Lookup(t.Context(), anna)
		if mail.KindOf(err) == mail.KindNotFound {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a removed mailbox: %v", err)
		}
	}
}

// flaky is a store whose records cannot be read for a while.
type flaky struct {
	store.Engine
	down chan struct{} // closed: it can be read again
}

func (f flaky) Records(ctx context.Context, kind, prefix string) ([]store.Record, error) {
	select {
	case <-f.down:
		return f.Engine.Records(ctx, kind, prefix)
	default:
		return nil, mail.Errorf(mail.KindUnavailable, "")
	}
}

// TestOthersTryAgain: what could not be read is read later.
func TestOthersTryAgain(t *testing.T) {
	shared := memory.New()
	f := flaky{shared.Server(), make(chan struct{})}
	s := &Server{log: slog.New(slog.DiscardHandler)}
	s.others = newOthers()
	read := make(chan struct{}, 10)
	old := rereads
	defer func() { rereads = old }()
	rereads = rereads[:0:0]
	rereads = append(rereads, struct {
		kinds []string
		read  func(ctx context.Context, s *Server) error
	}{[]string{"x"}, func(ctx context.Context, s *Server) error {
		_, err := f.Records(ctx, "x", "")
		if err == nil {
			read <- struct{}{}
		}
		return err
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.followOthers(ctx) }()
	s.others.tell("y")
	s.others.tell("x")
	time.Sleep(20 * time.Millisecond)
	close(f.down)
	select {
	case <-read:
	case <-time.After(30 * time.Second):
		t.Error("it is not tried again")
	}
	cancel()
	<-done
}
