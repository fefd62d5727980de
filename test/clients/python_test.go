package clients

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// refusedExit is how the scripts end when the server refuses the login.
const refusedExit = 10

// TestPython logs in with imaplib and poplib in every form over every connection
// under every LoginType, and does a session's work over each connection and form
// that is permitted, once.
func TestPython(t *testing.T) {
	s := serve(t, 0)
	forms := map[string][]string{
		"imap": {"LOGIN", "PLAIN", "AUTHLOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"},
		"pop":  {"USER", "PLAIN", "PLAIN-IR", "SCRAM-SHA-256"},
	}
	for _, loginType := range loginTypes {
		s.SetLoginType(loginType)
		for _, protocol := range []string{"imap", "pop"} {
			worked := map[string]bool{}
			for _, connection := range connections {
				for _, form := range forms[protocol] {
					may := permitted(loginType, connection, strings.HasPrefix(form, "SCRAM"))
					work := may && !worked[connection]
					worked[connection] = worked[connection] || work
					t.Run(strings.Join([]string{loginType, protocol, connection, form}, "/"), func(t *testing.T) {
						if work && protocol == "pop" {
							for i := range 5 {
								s.MustDeliver(t, message(i), alice.Name)
							}
						}
						pythonLogin(t, s, protocol, connection, form, work, may)
					})
				}
			}
		}
	}
	for _, protocol := range []string{"imap", "pop"} {
		for i, form := range forms[protocol] {
			t.Run("wrong password/"+protocol+"/"+form, func(t *testing.T) {
				// Each guesses at another account: one failure slows nobody else down.
				user := fmt.Sprintf("%s%d@test.example", protocol, i)
				s.MustShell("New-Mailbox", user, "-Password", alice.Password)
				out, code := runPython(t, s, protocol, implicit, form, server.Account{Name: user, Password: "wrong"}, false)
				want := "[AUTHENTICATIONFAILED]"
				if protocol == "pop" {
					want = "-ERR [AUTH]"
				}
				if code != refusedExit || !strings.Contains(out, want) {
					t.Errorf("exit code %d, %s; want %s", code, out, want)
				}
			})
		}
	}
}

func runPython(t *testing.T, s *server.Server, protocol, connection, form string, who server.Account, work bool) (string, int) {
	t.Helper()
	port, err := strconv.Atoi(server.Port(addressOf(s, map[string]string{"imap": "imap", "pop": "pop3"}[protocol], connection)))
	if err != nil {
		t.Fatal(err)
	}
	return script(t, protocol+".py", map[string]any{
		"port": port, "ca": s.Certificate, "user": who.Name, "password": who.Password,
		"connection": connection, "form": form, "work": work,
	})
}

func pythonLogin(t *testing.T, s *server.Server, protocol, connection, form string, work, may bool) {
	t.Helper()
	out, code := runPython(t, s, protocol, connection, form, alice, work)
	if may {
		if code != 0 {
			t.Errorf("exit code %d:\n%s", code, out)
		}
		return
	}
	if code != refusedExit {
		t.Fatalf("exit code %d, want a refusal:\n%s", code, out)
	}
	reason := "[PRIVACYREQUIRED]"
	if protocol == "pop" {
		reason = "-ERR [AUTH]"
	}
	if !strings.Contains(out, reason) || !strings.Contains(out, "TLS") {
		t.Errorf("the refusal says %q; it should have %s and speak of TLS", out, reason)
	}
}

// TestLMTP delivers with Python's smtplib over the socket and over TCP.
func TestLMTP(t *testing.T) {
	s := serve(t, 0)
	s.MustShell("New-Mailbox", "full@test.example", "-Password", "correct horse 8", "-ProhibitSendReceiveQuota", "20KB")
	idle := s.Login(t, alice)
	idle.MustIMAP("CREATE Lists")
	idle.MustIMAP("SELECT INBOX")
	look := s.Login(t, alice)
	for n, address := range []string{s.LMTPSocket, s.LMTP} {
		idle.Send("i1 IDLE")
		idle.Want("+")
		title := fmt.Sprintf("by smtplib %d", n)
		deliver := func(size int, to ...string) map[string][]any {
			t.Helper()
			out, code := script(t, "deliver.py", map[string]any{"address": address, "to": to, "subject": title, "size": size})
			var refused map[string][]any
			if err := json.Unmarshal([]byte(out), &refused); err != nil || code != 0 {
				t.Fatalf("exit code %d, %v:\n%s", code, err, out)
			}
			return refused
		}
		if refused := deliver(0, alice.Name); len(refused) != 0 {
			t.Fatalf("refused: %v", refused)
		}
		for !strings.HasSuffix(idle.Want("* "), fmt.Sprintf(" %d EXISTS", n+1)) {
		}
		idle.Send("DONE")
		idle.Until("i1 OK")
		got := strings.Join(idle.MustIMAP("FETCH %d (BODY.PEEK[])", n+1), "\n")
		if !strings.Contains(got, "Subject: "+title) || !strings.Contains(got, "\n.a line that begins with a dot\n") {
			t.Errorf("the message came as\n%s", got)
		}

		user, domain, _ := strings.Cut(alice.Name, "@")
		if refused := deliver(0, user+"+Lists@"+domain); len(refused) != 0 {
			t.Errorf("to the sub-address: refused %v", refused)
		}
		if list := subjects(t, look, "Lists"); len(list) != n+1 || list[n] != title {
			t.Errorf("Lists has %q", list)
		}

		refused := deliver(0, "nobody@test.example", alice.Name+".elsewhere")
		if len(refused) != 2 || refused["nobody@test.example"][0] != 550.0 {
			t.Errorf("unknown users: %v", refused)
		}
		refused = deliver(40_000, "full@test.example")
		if len(refused) != 1 || refused["full@test.example"][0] != 452.0 {
			t.Errorf("over quota: %v", refused)
		}
		if list := subjects(t, look, "INBOX"); len(list) != n+1 {
			t.Errorf("INBOX has %q", list)
		}
	}
}
