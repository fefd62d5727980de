package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/conformance"
	"github.com/postern-mail/postern/test/dovecot"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

const page = "../../docs/conformance.md"

var accounts = []server.Account{{Name: "script@example.org", Password: "popscript-pw"}}

func runner(pop3, imap string) *Runner {
	s := &conformance.Server{Address: pop3, Timeout: 10 * time.Second, Accounts: []conformance.Account{conformance.Account(accounts[0])}}
	i := *s
	i.Address = imap
	return &Runner{Server: s, IMAP: &i, Dir: "scripts"}
}

// serve starts Postern with plain and legacy logins and the POP3 settings given.
func serve(t *testing.T, pop map[string]any) *Runner {
	t.Helper()
	pop["LoginType"], pop["ThrottleExemptNetworks"] = "PlainTextLogin", "127.0.0.0/8"
	pop["AuthMechanisms"] = map[string]any{"Add": []string{"CRAM-MD5", "APOP"}}
	s := server.Serve(t, server.Options{Accounts: accounts, Cmdlets: []server.Cmdlet{
		{Name: "Set-PopSettings", Parameters: pop},
		{Name: "Set-ImapSettings", Parameters: map[string]any{"LoginType": "PlainTextLogin", "ThrottleExemptNetworks": "127.0.0.0/8"}},
		{Name: "Set-CASMailbox", Parameters: map[string]any{"Identity": accounts[0].Name, "LegacyMechanisms": []string{"CRAM-MD5", "APOP"}}},
		{Name: "Set-Mailbox", Parameters: map[string]any{"Identity": accounts[0].Name, "Password": accounts[0].Password}},
	}})
	r := runner(s.POP3, s.IMAP)
	r.Server.TLS = s.TLS()
	return r
}

// TestPostern plays every script with Postern, which must pass them all and skip none
// but the one of LOGIN-DELAY.
func TestPostern(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the server")
	}
	r := serve(t, map[string]any{})
	report := conformance.Play(t, r.Dir, nil, r.Play)
	for _, x := range report.Results {
		if x.Skipped != "" && x.Name != "rfc2449/login-delay" {
			t.Errorf("%s is skipped: %s", x.Name, x.Skipped)
		}
	}
}

// TestSecure plays some scripts over TLS, from the first byte and after STLS, with a
// Postern that takes no passwords in the clear.
func TestSecure(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the server")
	}
	s := server.Serve(t, server.Options{Accounts: accounts})
	r := runner(s.POP3, s.IMAPS)
	r.Server.TLS, r.IMAP.TLS, r.IMAP.Implicit = s.TLS(), s.TLS(), true
	for _, implicit := range []bool{false, true} {
		r.Server.Implicit, r.Server.Upgrade = implicit, !implicit
		if implicit {
			r.Server.Address = s.POP3S
		}
		for _, name := range []string{"rfc1939/user-pass", "rfc1939/update", "rfc5034/plain"} {
			if result := r.Play(name); result.Err != nil || result.Skipped != "" {
				t.Error(name, result.Err, result.Skipped)
			}
		}
	}
}

// TestLoginDelay plays what is about LOGIN-DELAY.
func TestLoginDelay(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the server")
	}
	r := serve(t, map[string]any{"LoginDelay": "00:00:30"})
	if result := r.Play("rfc2449/login-delay"); result.Err != nil || result.Skipped != "" {
		t.Error(result.Err, result.Skipped)
	}
}

// TestDovecot plays every script with Debian's Dovecot. docs/conformance.md names those that it
// fails, with the reason.
func TestDovecot(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Dovecot")
	}
	d := dovecot.Start(t, accounts, dovecot.Options{Whole: true})
	r := runner(d.POP3, d.IMAP)
	r.Server.Timeout = 4 * time.Second // it lets a second session wait for longer
	conformance.Play(t, r.Dir, conformance.Listed(t, page, "POP3: Dovecot"), r.Play)
}

// TestScripts says that every script can be read and tells at its top what it shows.
func TestScripts(t *testing.T) {
	names, err := conformance.Scripts("scripts", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 40 {
		t.Errorf("only %d scripts", len(names))
	}
	about := regexp.MustCompile(`^RFC \d+, `)
	for _, name := range names {
		s, err := read(filepath.Join("scripts", name))
		if err != nil {
			t.Error(err)
		} else if !about.MatchString(s.about) && !strings.HasPrefix(s.about, "RFC 2195 and") {
			t.Errorf("%s does not say what it shows: %q", name, s.about)
		}
	}
}

// TestFaults says that the runner notices what a server does wrong.
func TestFaults(t *testing.T) {
	for _, test := range []struct{ name, script, answers, want string }{
		{"right", "ok list\n!exact\n* 1 $size\n", "+OK\r\n1 120\r\n.\r\n", ""},
		{"status", "ok noop\n", "-ERR no\r\n", "got       -ERR no"},
		{"text", "err noop\n= [AUTH]\n", "-ERR no\r\n", "another text"},
		{"line", "ok list\n* 1 120\n", "+OK\r\n1 121\r\n.\r\n", "a line is missing"},
		{"banned", "ok list\n! 1 $\n", "+OK\r\n1 121\r\n.\r\n", "must not be"},
		{"exact", "ok list\n!exact\n", "+OK\r\n1 121\r\n.\r\n", "longer"},
		{"stuffing", "ok retr 1\nraw{{{\n..x\n}}}\n", "+OK\r\n.x\r\n.\r\n", "another message"},
		{"unstuffed", "ok retr 1\n{{{\n.x\n}}}\n", "+OK\r\n..x\r\n.\r\n", ""},
		{"bare LF", "ok retr 1\n", "+OK\r\nx\n.\r\n", "bare LF"},
		{"long", "ok noop\n", "+OK " + strings.Repeat("x", 600) + "\r\n", "longer than 512"},
		{"unique-id", "ok uidl\n", "+OK\r\n1 " + strings.Repeat("x", 71) + "\r\n.\r\n", "no unique-id"},
		{"same unique-id", "ok uidl\n", "+OK\r\n1 a\r\n2 a\r\n.\r\n", "two messages"},
		{"together", "!together\nok stat\n= 1\nerr retr 9\n", "+OK 1 2\r\n-ERR\r\n", ""},
		{"together in another order", "!together\nok stat\n= 1\nerr retr 9\n", "-ERR\r\n+OK 1 2\r\n", "another answer"},
		{"closed", "ok noop\n", "", "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "x"), []byte("state: nonauth\nmessages: 0\n\n"+test.script), 0o644); err != nil {
				t.Fatal(err)
			}
			r := &Runner{Server: conformance.Canned(t, "+OK ready\r\n", test.answers), Dir: dir}
			err := r.Play("x").Err
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
