package auth

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// The fake's ticket of a name is the name, bound to "n,,".
func ticketOf(name string) []byte { return []byte("n,," + name) }

func TestTicket(t *testing.T) {
	const ok = mail.Kind(-1)
	for _, c := range []struct {
		what, said string
		prepare    func(p *people)
		kind       mail.Kind
	}{
		{"right", "anna@example.org", func(*people) {}, ok},
		{"nobody's", "nobody", func(*people) {}, mail.KindAuthenticationFailed},
		{"somebody switched off", "off", func(*people) {}, mail.KindDisabled},
		{"without IMAP4", "imapless", func(*people) {}, mail.KindDisabled},
		{"expired", "anna@example.org", func(p *people) { p.until = time.Now().Add(-time.Second) }, mail.KindAuthenticationFailed},
		{"the directory is down", "anna@example.org", func(p *people) { p.err = mail.Errorf(mail.KindUnavailable, "down") }, mail.KindUnavailable},
	} {
		a, p, attempts := setup(noDelay)
		p.tickets, p.until = true, time.Now().Add(time.Hour)
		c.prepare(p)
		conn := clear("192.0.2.1:1")
		x, err := a.Begin(t.Context(), conn, "GS2-KRB5")
		if err != nil {
			t.Fatal(err)
		}
		challenge, id, err := x.Next(t.Context(), ticketOf(c.said))
		if err == nil && id == nil && string(challenge) == "proof" {
			_, id, err = x.Next(t.Context(), []byte{})
		}
		if len(*attempts) != 1 || (*attempts)[0].Mechanism != "GS2-KRB5" {
			t.Errorf("%s: %+v", c.what, *attempts)
		}
		if c.kind != ok {
			wantKind(t, c.what, err, c.kind)
			continue
		}
		if err != nil || id == nil || id.Entry.Name != c.said || !id.Expires.Equal(p.until) || (*attempts)[0].User != c.said {
			t.Errorf("%s: %+v, %v", c.what, id, err)
		}
	}
}

// Tickets are offered where a directory takes them, and may be where only passwords of
// the mailbox are forbidden.
func TestTicketsOffered(t *testing.T) {
	a, p, _ := setup(noDelay)
	c := clear("192.0.2.1:1")
	for _, p.tickets = range []bool{false, true} {
		for _, m := range []string{"GSSAPI", "GS2-KRB5", "GSS-SPNEGO"} {
			_, err := a.Begin(t.Context(), c, m)
			if slices.Contains(a.Offered(c), m) != p.tickets || (err == nil) != p.tickets {
				t.Errorf("tickets %v, %s: offered %v, %v", p.tickets, m, a.Offered(c), err)
			}
		}
	}
	a.SetPolicy(&Policy{Rules: []LoginRule{{Name: "strict", AppPasswordsOnly: true}}})
	if offered := strings.Join(a.Offered(c), " "); !strings.Contains(offered, "GSSAPI") || strings.Contains(offered, "SCRAM") {
		t.Errorf("offered without the mailbox's password: %s", offered)
	}
	steps := a.Explain(t.Context(), c, "none")
	if last := steps[len(steps)-1]; last.Result != Pass {
		t.Errorf("somebody without a password, with tickets: %+v", steps)
	}
	c.Service = settings.Console
	if offered := strings.Join(a.Offered(c), " "); strings.Contains(offered, "GSS") {
		t.Errorf("the console offers %s", offered)
	}
}

// Who guesses with tickets and tokens that say no name makes nobody wait but their network:
// there is no account that all of these have.
func TestNamelessWaitByNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, p, _ := setup(Limits{NetworkFailures: 1})
		p.tickets, p.until = true, time.Now().Add(24*time.Hour)
		try := func(remote, name string) (time.Duration, error) {
			began := time.Now()
			x, err := a.Begin(t.Context(), clear(remote), "GS2-KRB5")
			if err == nil {
				_, _, err = x.Next(t.Context(), ticketOf(name))
			}
			return time.Since(began), err
		}
		for range 8 {
			try("192.0.2.1:1", "nobody")
		}
		var wait sync.WaitGroup
		for range 16 {
			wait.Go(func() { try("192.0.2.1:1", "nobody") })
		}
		synctest.Wait()
		if w, err := try("203.0.113.1:1", "anna@example.org"); err != nil || w != 0 {
			t.Errorf("elsewhere: %v after %v", err, w)
		}
		if w, err := try("192.0.2.1:1", "nobody"); mail.KindOf(err) != mail.KindUnavailable || w == 0 {
			t.Errorf("from the network itself: %v after %v", err, w)
		}
		wait.Wait()

		// Nor do many at once, as after a restart, hinder each other.
		p.took = time.Second
		for range 40 {
			wait.Go(func() {
				if w, err := try("203.0.113.1:1", "anna@example.org"); err != nil || w > p.took {
					t.Errorf("one of many: %v after %v", err, w)
				}
			})
		}
		wait.Wait()
	})
}
