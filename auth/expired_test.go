package auth

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// TestExpired: a password that must be changed opens the account's own pages and
// nothing else; what is not that password works on.
func TestExpired(t *testing.T) {
	ctx := context.Background()
	people := newPeople()
	people.entries["anna@example.org"].ResetPassword = true
	app := NewAppPassword()
	at := "https://mail.example.org/account"
	x := New(Options{
		Directory: people, AppPasswords: &apps{rows: map[string]AppPassword{AppPasswordSecret(app): {Name: "phone"}}}, Limits: noDelay,
		AccountURL: func() string { return at },
	})
	imap := clear("192.0.2.7:1")
	pop, console := imap, imap
	pop.Service, console.Service = settings.POP3, settings.Console
	account := console
	account.Account = true

	for _, c := range []Conn{imap, pop, console} {
		_, err := x.Password(ctx, c, "anna@example.org", people.passwords["anna@example.org"])
		wantKind(t, string(c.Service), err, mail.KindExpired)
		if !strings.Contains(mail.TextOf(err), at) {
			t.Errorf("%s: %v does not say where to change it", c.Service, err)
		}
		_, err = x.Password(ctx, c, "anna@example.org", "wrong")
		wantKind(t, "a wrong password", err, mail.KindAuthenticationFailed)
	}
	if id, err := x.Password(ctx, account, "anna@example.org", people.passwords["anna@example.org"]); err != nil || id.Mechanism != "account sign-in" {
		t.Errorf("the account's own pages: %+v, %v", id, err)
	}
	if _, err := x.Password(ctx, imap, "anna@example.org", app); err != nil {
		t.Errorf("an app password: %v", err)
	}
	if _, err := x.Password(ctx, account, "anna@example.org", app); err == nil {
		t.Error("an app password opens the account's own pages")
	}
	last := func(steps []Step) Result { return steps[len(steps)-1].Result }
	if got := last(x.Explain(ctx, imap, "anna@example.org")); got != Pass {
		t.Errorf("with an app password Explain says %s", got)
	}
	x.appPasswords = nil
	people.tokenless = true
	if got := last(x.Explain(ctx, imap, "anna@example.org")); got != Fail {
		t.Errorf("without an app password Explain says %s", got)
	}
	at = ""
	_, err := x.Password(ctx, imap, "anna@example.org", people.passwords["anna@example.org"])
	if !strings.HasSuffix(mail.TextOf(err), "ask your administrator.") {
		t.Errorf("without a console: %v", err)
	}
}
