package clients

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// TestLoginTypeAtOnce changes the policy from the shell while sessions are open:
// it acts on the next login, on connections that are open already too, and
// sessions that are logged in go on.
func TestLoginTypeAtOnce(t *testing.T) {
	s := serve(t, 2)
	s.SetLoginType("PlainTextLogin")

	imapIn, popIn := server.Dial(t, s.IMAP), server.Dial(t, s.POP3)
	imapIn.Want("* OK")
	imapIn.MustIMAP("LOGIN %q %q", alice.Name, alice.Password)
	imapIn.MustIMAP("SELECT INBOX")
	popIn.Want("+OK")
	popIn.Send("USER "+alice.Name, "PASS "+alice.Password)
	popIn.Want("+OK")
	popIn.Want("+OK")

	// These are open and will log in only after the change; one has said USER.
	imapWaits, popWaits, popUser := server.Dial(t, s.IMAP), server.Dial(t, s.POP3), server.Dial(t, s.POP3)
	imapWaits.Want("* OK", "AUTH=PLAIN")
	popWaits.Want("+OK")
	popUser.Want("+OK")
	popUser.Send("USER " + alice.Name)
	popUser.Want("+OK")

	process := s.PID()
	for _, loginType := range []string{"SecureLogin", "PlainTextAuthentication"} {
		s.SetLoginType(loginType)

		imapIn.MustIMAP("NOOP")
		if got := imapIn.MustIMAP("FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)])"); !strings.Contains(strings.Join(got, "\n"), subject(0)) {
			t.Errorf("the session that was open says %q", got)
		}
		popIn.Send("STAT")
		popIn.Want("+OK 2 ")

		for name, c := range map[string]*server.Talk{"open before": imapWaits, "new": server.Dial(t, s.IMAP)} {
			if name == "new" {
				c.Want("* OK", "LOGINDISABLED")
			}
			if capability := strings.Join(c.MustIMAP("CAPABILITY"), " "); !strings.Contains(capability, "LOGINDISABLED") || strings.Contains(capability, "AUTH=PLAIN") ||
				strings.Contains(capability, "AUTH=SCRAM-SHA-256") != (loginType == "PlainTextAuthentication") {
				t.Errorf("%s, %s: %s", loginType, name, capability)
			}
			for _, command := range []string{
				"LOGIN " + alice.Name + ` "` + alice.Password + `"`, "AUTHENTICATE PLAIN", "AUTHENTICATE LOGIN",
				"AUTHENTICATE PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+alice.Name+"\x00"+alice.Password)),
			} {
				if _, answer := c.IMAP("%s", command); !strings.HasPrefix(answer, "NO [PRIVACYREQUIRED] ") || !strings.Contains(answer, "TLS") {
					t.Errorf("%s, %s: %.18s…: %s", loginType, name, command, answer)
				}
			}
		}
		for name, c := range map[string]*server.Talk{"open before": popWaits, "new": server.Dial(t, s.POP3)} {
			if name == "new" {
				c.Want("+OK")
			}
			c.Send("CAPA")
			if capa := c.Until("."); slices.Contains(capa, "USER") || sasl(capa, "PLAIN") || sasl(capa, "SCRAM-SHA-256") != (loginType == "PlainTextAuthentication") {
				t.Errorf("%s, %s: %q", loginType, name, capa)
			}
			for _, command := range []string{"USER " + alice.Name, "AUTH PLAIN", "AUTH LOGIN"} {
				c.Send(command)
				c.Want("-ERR [AUTH] ", "TLS")
			}
		}
	}
	// A password is not taken either, though USER was said when it was allowed.
	popUser.Send("PASS " + alice.Password)
	popUser.Want("-ERR [AUTH] ", "TLS")

	s.SetLoginType("PlainTextLogin")
	imapWaits.MustIMAP("LOGIN %q %q", alice.Name, alice.Password)
	popIn.Send("QUIT")
	popIn.Want("+OK")
	popWaits.Send("USER "+alice.Name, "PASS "+alice.Password)
	popWaits.Want("+OK")
	popWaits.Want("+OK")
	if s.PID() != process || !s.Running() {
		t.Error("the server was started again")
	}
}

// sasl tells whether CAPA's line SASL has a mechanism.
func sasl(capa []string, mechanism string) bool {
	for _, line := range capa {
		if f := strings.Fields(line); f[0] == "SASL" && slices.Contains(f, mechanism) {
			return true
		}
	}
	return false
}
