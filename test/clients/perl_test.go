package clients

import (
	"strconv"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// TestPerl: Mail::IMAPClient over TLS and STARTTLS, and Mail::IMAPTalk, do a session's work.
func TestPerl(t *testing.T) {
	const many = 2000
	bob := server.Account{Name: "bob@test.example", Password: "battery staple 8"}
	long(t)
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice, bob}})
	fill(t, s, alice, "Many", many)
	run := func(script string, args ...string) {
		t.Helper()
		out, code := server.Run(t, limit, "testdata", []string{"LC_ALL=C.UTF-8"}, "", server.Program(t, "perl", "perl"), append([]string{script}, args...)...)
		if code != 0 {
			t.Errorf("exit code %d\n%s", code, out)
		}
	}
	for _, how := range []string{implicit, startTLS} {
		t.Run("Mail::IMAPClient/"+how, func(t *testing.T) {
			run("imapclient.pl", server.Port(addressOf(s, "imap", how)), s.Certificate, alice.Name, alice.Password, strconv.Itoa(many), how)
		})
	}
	t.Run("Mail::IMAPTalk", func(t *testing.T) {
		run("imaptalk.pl", server.Port(s.IMAPS), s.Certificate, alice.Name, alice.Password, strconv.Itoa(many))
	})
}
