package directories

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/test/server"
)

// replace writes a file as a whole, as if it had been done a while ago.
func replace(t *testing.T, file, text string, age time.Duration) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Now().Add(-age)
	if err := os.Chtimes(file+".new", when, when); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// signsIn tells whether curl is let in over IMAP4 and POP3.
func signsIn(t *testing.T, s *server.Server, user, password string, want bool) {
	t.Helper()
	for _, protocol := range []string{"imaps", "pop3s"} {
		if out, code := curl(t, s, protocol, user, password); (code != 67) != want || want && (code != 0 || !strings.Contains(out, "before the first login")) {
			t.Errorf("%s %s: %d %s", protocol, user, code, out)
		}
	}
}

// scramSignIn gives the tagged answer to a sign-in with SCRAM-SHA-256.
func scramSignIn(t *testing.T, s *server.Server, user, password string) string {
	t.Helper()
	client, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	steps := client.NewConversation()
	c := server.DialTLS(t, s.IMAPS, s.TLS())
	c.Line()
	text, err := steps.Step("")
	if err != nil {
		t.Fatal(err)
	}
	c.Send("a AUTHENTICATE SCRAM-SHA-256 " + base64.StdEncoding.EncodeToString([]byte(text)))
	for {
		line := c.Line()
		challenge, more := strings.CutPrefix(line, "+ ")
		if !more {
			return line
		}
		b, err := base64.StdEncoding.DecodeString(challenge)
		if err != nil {
			t.Fatal(err)
		}
		if text, err = steps.Step(string(b)); err != nil {
			t.Fatal(err)
		}
		c.Send(base64.StdEncoding.EncodeToString([]byte(text)))
	}
}

func TestPasswd(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	replace(t, users, strings.Join([]string{
		"anna:{SHA512-CRYPT}$6$7x2E6JvyDxirA5dl$Wedug5e1KoMTppR/V0zEQLLRFKjy4CoLoA69NDQqY20w8hQ4cUKNpupj/Om6nlXYBNprEQH2wwBimENsI/.Y./" +
			":5000:5000:Anna Ä.:/var/mail/anna::userdb_quota_rule=*:storage=5M postern_aliases=a.n",
		"a damaged line",
		"bert:{PLAIN}geheim",
	}, "\n"), 3*time.Hour)
	s := server.Serve(t, server.Options{Directories: fmt.Sprintf(`
[[directories]]
kind = "passwd"
name = "file"
file = %q
domain = "example.org"
scram = true
upgrade = true
`, users)})
	s.MustDeliver(t, message, "a.n@example.org")
	if answers := s.Deliver(t, message, "nobody@example.org"); !strings.HasPrefix(answers[0], "550") {
		t.Errorf("nobody: %v", answers)
	}
	if answer := scramSignIn(t, s, "anna@example.org", "geheim"); !strings.HasPrefix(answer, "a NO") {
		t.Errorf("SCRAM before the first login: %s", answer)
	}
	signsIn(t, s, "anna@example.org", "geheim", true)
	signsIn(t, s, "a.n@example.org", "geheim", true)
	signsIn(t, s, "anna@example.org", "wrong", false)
	for user, want := range map[string]string{"anna@example.org": "a OK", "bert@example.org": "a OK"} {
		if answer := scramSignIn(t, s, user, "geheim"); !strings.HasPrefix(answer, want) {
			t.Errorf("SCRAM of %s: %s", user, answer)
		}
	}
	out := shell(s, "Get-Mailbox anna@example.org | ConvertTo-Json")
	for _, want := range []string{`"file"`, "Anna Ä.", "5242880"} {
		if !strings.Contains(out, want) {
			t.Errorf("Get-Mailbox does not say %s: %s", want, out)
		}
	}
	// Another password: it holds at once, for SCRAM after the next login.
	replace(t, users, "anna:{SSHA256}"+"P5mKDH59jB63Pqi3qPhQweWcY50ALUULrjS3LYTxz0z0MaAJ\nbert:{PLAIN}next\n", 2*time.Hour)
	if answer := scramSignIn(t, s, "anna@example.org", "geheim"); !strings.HasPrefix(answer, "a NO") {
		t.Errorf("SCRAM after a change: %s", answer)
	}
	signsIn(t, s, "anna@example.org", "geheim", true)
	if answer := scramSignIn(t, s, "anna@example.org", "geheim"); !strings.HasPrefix(answer, "a OK") {
		t.Errorf("SCRAM after a change and a login: %s", answer)
	}
	if answer := scramSignIn(t, s, "bert@example.org", "geheim"); !strings.HasPrefix(answer, "a NO") {
		t.Errorf("SCRAM with the older password: %s", answer)
	}
	// Who is gone from the file leaves no keys, neither does a removed mailbox.
	replace(t, users, "bert:{PLAIN}next\n", 90*time.Minute)
	signsIn(t, s, "anna@example.org", "geheim", false)
	replace(t, users, "anna:{SSHA256}"+"P5mKDH59jB63Pqi3qPhQweWcY50ALUULrjS3LYTxz0z0MaAJ\nbert:{PLAIN}next\n", 80*time.Minute)
	if answer := scramSignIn(t, s, "anna@example.org", "geheim"); !strings.HasPrefix(answer, "a NO") {
		t.Errorf("SCRAM of somebody who was gone: %s", answer)
	}
	signsIn(t, s, "anna@example.org", "geheim", true)
	if answer := scramSignIn(t, s, "anna@example.org", "geheim"); !strings.HasPrefix(answer, "a OK") {
		t.Errorf("SCRAM after another login: %s", answer)
	}
	shell(s, "Remove-Mailbox anna@example.org -Confirm:$false")
	if answer := scramSignIn(t, s, "anna@example.org", "geheim"); !strings.HasPrefix(answer, "a NO") {
		t.Errorf("SCRAM after the mailbox was removed: %s", answer)
	}

	// Without the file nobody is told that the password is wrong.
	os.Remove(users)
	c := server.DialTLS(t, s.IMAPS, s.TLS())
	c.Line()
	if _, answer := c.IMAP(`LOGIN bert@example.org next`); !strings.Contains(answer, "[UNAVAILABLE]") {
		t.Errorf("without the file: %s", answer)
	}
	if answers := s.Deliver(t, message, "bert@example.org"); !strings.HasPrefix(answers[0], "451") {
		t.Errorf("delivery without the file: %v", answers)
	}
}
