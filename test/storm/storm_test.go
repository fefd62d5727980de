// Package storm proves what make bench-storm measures, in short and without a clock: under
// a storm of wrong logins people still sign in, and neither memory nor log grow without
// bound.
package storm

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/bench/storm"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

func TestStorm(t *testing.T) {
	var accounts []server.Account
	var users []string
	for i := range 4 {
		a := server.Account{Name: fmt.Sprintf("user%d@example.org", i), Password: "a quite good passphrase"}
		accounts, users = append(accounts, a), append(users, a.Name)
	}
	s := server.Serve(t, server.Options{Accounts: accounts, Cmdlets: []server.Cmdlet{
		{Name: "Set-ImapSettings", Parameters: map[string]any{"LoginType": "PlainTextLogin"}},
		{Name: "Set-PopSettings", Parameters: map[string]any{"LoginType": "PlainTextLogin"}},
	}})
	imap := func(a server.Account) string {
		c := server.Dial(t, s.IMAP)
		defer c.Conn.Close()
		c.Want("* OK")
		_, answer := c.IMAP("LOGIN %s %q", a.Name, a.Password)
		return answer
	}
	pop3 := func(a server.Account) string {
		c := server.Dial(t, s.POP3)
		defer c.Conn.Close()
		c.Want("+OK")
		c.Send("USER " + a.Name)
		c.Want("+OK")
		c.Send("PASS " + a.Password)
		answer := c.Line()
		// The maildrop is free when QUIT is answered; a connection that is only closed may be found so later.
		c.Send("QUIT")
		c.Want("+OK")
		return answer
	}
	for _, a := range accounts {
		if answer := imap(a); !strings.HasPrefix(answer, "OK") {
			t.Fatalf("%s in calm: %s", a.Name, answer)
		}
	}
	s.Restart() // passwords are not remembered, networks are

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan storm.Stats, 1)
	go func() {
		done <- storm.Run(ctx, storm.Config{IMAP: s.IMAP, POP3: s.POP3, IMAPS: s.IMAPS, Users: users, Addresses: 200, Workers: 400})
	}()
	server.Eventually(t, 60*time.Second, "the storm slows logins down", func() bool { return strings.Contains(s.Output(), "event=1012") })
	for range 3 {
		for _, a := range accounts {
			if answer := imap(a); !strings.HasPrefix(answer, "OK") {
				t.Errorf("%s at IMAP4: %s", a.Name, answer)
			}
			if answer := pop3(a); !strings.HasPrefix(answer, "+OK") {
				t.Errorf("%s at POP3: %s", a.Name, answer)
			}
		}
	}
	server.Eventually(t, 60*time.Second, "spraying is noticed", func() bool { return strings.Contains(s.Output(), "event=1016") })
	throttle := s.MustShell("Get-LoginThrottle")
	cancel()
	stats := <-done

	if stats.LetIn != 0 || stats.Wrong == 0 {
		t.Errorf("the storm: %+v", stats)
	}
	if !strings.Contains(throttle, users[0]) || strings.Contains(throttle, "127.0.0.1 ") {
		t.Errorf("what is slowed down:\n%s", throttle)
	}
	if peak := s.Memory("VmHWM"); peak > 2*directory.TotalMemory {
		t.Errorf("the process took %d MiB", peak>>20)
	}
	seconds := map[string]int{}
	for line := range strings.Lines(s.Output()) {
		if second, _, ok := strings.Cut(line, "."); ok && strings.Contains(line, `msg="login refused"`) {
			seconds[second]++
		}
	}
	for second, n := range seconds {
		if n > 250 { // the limit's seconds begin at other moments than the log's
			t.Errorf("%s: %d refused logins are logged", second, n)
		}
	}
	if log := s.Output(); strings.Contains(log, "Summer20") || strings.Contains(log, "guess-") {
		t.Error("a password is in the log")
	}
}
