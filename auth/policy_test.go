package auth

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// A rule for everyone is seen before the name is: what is offered is what is accepted.
func TestPolicyBeforeTheName(t *testing.T) {
	ctx := context.Background()
	a, p, attempts := setup(noDelay)
	inside, outside := clear("10.1.2.3:1"), clear("192.0.2.7:1")
	for _, c := range []struct {
		rule    LoginRule
		offered string
		kind    mail.Kind
	}{
		{LoginRule{LoginType: mail.PlainTextAuthentication}, "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1", mail.KindPrivacyRequired},
		{LoginRule{LoginType: mail.SecureLogin}, "", mail.KindPrivacyRequired},
		{LoginRule{Mechanisms: []string{"SCRAM-SHA-256"}}, "SCRAM-SHA-256", mail.KindCannot},
		{LoginRule{Block: true}, "", mail.KindCannot},
		{LoginRule{Hours: []Hours{{}}}, "", mail.KindCannot},
	} {
		c.rule.Name, c.rule.From = "r", office
		a.SetPolicy(&Policy{Rules: []LoginRule{c.rule}})
		if got := strings.Join(a.Offered(inside), " "); got != c.offered {
			t.Errorf("%+v: %s", c.rule, got)
		}
		if got := a.Offered(outside); !slices.Contains(got, "PLAIN") || len(got) < 5 {
			t.Errorf("%+v, from elsewhere: %v", c.rule, got)
		}
		if a.PasswordAllowed(inside).OK || !a.PasswordAllowed(outside).OK {
			t.Errorf("%+v: the command", c.rule)
		}
		before := p.checks
		_, err := a.Password(ctx, inside, "anna@example.org", "secret")
		wantKind(t, "the command", err, c.kind)
		for _, m := range sasl.Mechanisms {
			if m.Legacy() {
				continue // not named
			}
			_, err := a.Begin(ctx, inside, m.Name)
			if offered := slices.Contains(strings.Fields(c.offered), m.Name); (err == nil) != offered {
				t.Errorf("%+v: %s: %v", c.rule, m.Name, err)
			}
		}
		if p.checks != before {
			t.Error("a verifier was asked")
		}
		if last := (*attempts)[len(*attempts)-1]; last.Err == nil || !strings.Contains(last.Err.Error(), `login policy "r"`) && last.Class != sasl.TLSOnly {
			t.Errorf("the reason is not known: %v", last.Err)
		}
	}
}

// A rule for somebody looks like a wrong password from outside; the log has the reason.
func TestPolicyOfUser(t *testing.T) {
	ctx := context.Background()
	p := newPeople()
	var log strings.Builder
	var last Attempt
	a := New(Options{Directory: p, Limits: noDelay, Log: slog.New(slog.NewTextHandler(&log, nil)), Observe: func(t Attempt) { last = t }})
	_, wrong := a.Password(ctx, clear("10.1.2.3:1"), "popless", "not the password")
	for _, rule := range []LoginRule{
		{Name: "mine", Users: []string{"anna@example.org"}, LoginType: mail.SecureLogin},
		{Name: "mine", Groups: []string{"staff"}, Block: true},
		{Name: "mine", Users: []string{"anna@example.org"}, AppPasswordsOnly: true},
		{Name: "mine", Groups: []string{"staff"}, Mechanisms: []string{"EXTERNAL"}},
	} {
		a.SetPolicy(&Policy{Rules: []LoginRule{rule}, Groups: map[string][]string{"staff": {"anna@example.org"}}})
		c := clear("10.1.2.3:1")
		if len(a.Offered(c)) < 5 {
			t.Errorf("%+v: who it is for can be seen in what is offered", rule)
		}
		for _, name := range []string{"anna@example.org", "post@example.org"} {
			log.Reset()
			_, err := a.Password(ctx, c, name, "secret")
			if mail.KindOf(err) != mail.KindOf(wrong) || mail.TextOf(err) != mail.TextOf(wrong) {
				t.Errorf("%+v: %v, a wrong password gives %v", rule, err, wrong)
			}
			if last.User != "" || !strings.Contains(last.Err.Error(), `login policy "mine"`) || !strings.Contains(log.String(), "event=1013") {
				t.Errorf("%+v: %v\n%s", rule, last.Err, log.String())
			}
		}
		if _, err := a.Password(ctx, c, "imapless", "secret"); mail.KindOf(err) != mail.KindDisabled {
			t.Errorf("another user: %v", err)
		}
		steps := a.Explain(ctx, c, "anna@example.org")
		if end := steps[len(steps)-1]; end.Result != Fail {
			t.Errorf("%+v: %+v", rule, steps)
		}
		if end := a.Explain(ctx, c, "popless"); end[len(end)-1].Result != Pass {
			t.Errorf("%+v: %+v", rule, end)
		}
	}
	a.SetPolicy(&Policy{Rules: []LoginRule{{Name: "mine", Users: []string{"anna@example.org"}, Services: []settings.Service{settings.POP3}, Block: true}}})
	if _, err := a.Password(ctx, clear("10.1.2.3:1"), "anna@example.org", "secret"); err != nil {
		t.Error(err)
	}
}
