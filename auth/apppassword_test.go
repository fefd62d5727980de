package auth

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// apps are the app passwords of account 1, anna's, by their secrets.
type apps struct {
	rows map[string]AppPassword
	err  error
	used []string
}

func (a *apps) AppPassword(_ context.Context, account mail.AccountID, secret string, w Wanted) (*AppPassword, error) {
	p, ok := a.rows[secret]
	if a.err != nil || !ok || account != 1 {
		return nil, a.err
	}
	if p.Refuses(w) == "" {
		a.used = append(a.used, p.Name)
	}
	return &p, nil
}

func (a *apps) AppPasswordsOf(_ context.Context, account mail.AccountID) ([]AppPassword, error) {
	var list []AppPassword
	for _, p := range a.rows {
		if account == 1 {
			list = append(list, p)
		}
	}
	return list, a.err
}

func TestNewAppPassword(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		p := NewAppPassword()
		secret := AppPasswordSecret(p)
		if len(p) != 29 || len(secret) != 24 || seen[secret] || AppPasswordSecret(strings.ToUpper(strings.ReplaceAll(p, "-", " "))) != secret || AppPasswordSecret(secret) != secret {
			t.Fatal(p)
		}
		seen[secret] = true
	}
	if len(appAlphabet) != 32 {
		t.Error("the characters do not come equally often")
	}
	for _, p := range []string{"", "secret", strings.Repeat("a", 23), strings.Repeat("a", 25), strings.Repeat("l", 24), strings.Repeat("-", 24), strings.Repeat("a", 23) + "ä", strings.Repeat("a-", 24) + "-"} {
		if AppPasswordSecret(p) != "" {
			t.Errorf("%q has the form", p)
		}
	}
}

func TestAppPasswords(t *testing.T) {
	ctx := context.Background()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	secrets := map[string]string{}
	a := &apps{rows: map[string]AppPassword{}}
	for _, p := range []AppPassword{
		{Name: "any"}, {Name: "pop", Services: []settings.Service{settings.POP3}}, {Name: "office", From: office},
		{Name: "old", Expires: now}, {Name: "young", Expires: now.Add(time.Second)}, {Name: "reader", ReadOnly: true},
	} {
		secrets[p.Name] = NewAppPassword()
		a.rows[AppPasswordSecret(secrets[p.Name])] = p
	}
	people := newPeople()
	var last Attempt
	x := New(Options{Directory: people, AppPasswords: a, Limits: noDelay, Now: func() time.Time { return now }, Observe: func(t Attempt) { last = t }})
	inside, outside := clear("10.1.2.3:1"), clear("192.0.2.7:1")
	pop := inside
	pop.Service = settings.POP3
	console := inside
	console.Service = settings.Console
	for _, c := range []struct {
		app  string
		conn Conn
		user string
		want bool
	}{
		{"any", inside, "anna@example.org", true}, {"any", outside, "post@example.org", true}, {"any", pop, "anna@example.org", true},
		{"any", inside, "popless", false}, {"any", inside, "nobody", false}, {"any", console, "anna@example.org", false},
		{"pop", pop, "anna@example.org", true}, {"pop", inside, "anna@example.org", false},
		{"office", inside, "anna@example.org", true}, {"office", outside, "anna@example.org", false},
		{"old", inside, "anna@example.org", false}, {"young", inside, "anna@example.org", true}, {"reader", pop, "anna@example.org", true},
	} {
		id, err := x.Password(ctx, c.conn, c.user, secrets[c.app])
		if (err == nil) != c.want || err != nil && mail.KindOf(err) != mail.KindAuthenticationFailed || mail.TextOf(err) != "Authentication failed." && err != nil {
			t.Errorf("%s of %s at %s from %s: %v", c.app, c.user, c.conn.Service, c.conn.Remote, err)
		}
		if c.want && (id.AppPassword != c.app || last.AppPassword != c.app || id.Entry.Name != "anna@example.org" || id.ReadOnly != (c.app == "reader")) || !c.want && last.AppPassword != "" {
			t.Errorf("%s: %+v, %+v", c.app, id, last)
		}
	}
	if strings.Join(a.used, " ") != "any any any pop office young reader" {
		t.Errorf("used: %v", a.used)
	}
	// The mailbox's own password may have the form of one.
	people.passwords["anna@example.org"] = NewAppPassword()
	if id, err := x.Password(ctx, inside, "anna@example.org", people.passwords["anna@example.org"]); err != nil || id.AppPassword != "" {
		t.Error(id, err)
	}
	// It is gone at once, whatever was right a moment ago.
	delete(a.rows, AppPasswordSecret(secrets["any"]))
	_, err := x.Password(ctx, inside, "anna@example.org", secrets["any"])
	wantKind(t, "removed", err, mail.KindAuthenticationFailed)
	a.err = mail.Errorf(mail.KindUnavailable, "")
	_, err = x.Password(ctx, inside, "anna@example.org", secrets["young"])
	wantKind(t, "a store that is down", err, mail.KindUnavailable)
	a.err = nil

	// Where only app passwords are permitted.
	x.SetPolicy(&Policy{Rules: []LoginRule{{Name: "apps", ExceptFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, AppPasswordsOnly: true}}})
	if _, err := x.Password(ctx, inside, "anna@example.org", secrets["young"]); err != nil {
		t.Error(err)
	}
	_, err = x.Password(ctx, inside, "anna@example.org", people.passwords["anna@example.org"])
	wantKind(t, "the mailbox's own", err, mail.KindAuthenticationFailed)
	if _, err := x.Password(ctx, outside, "anna@example.org", people.passwords["anna@example.org"]); err != nil {
		t.Error(err)
	}
	for _, name := range x.Offered(inside) {
		if strings.HasPrefix(name, "SCRAM") {
			t.Errorf("%s is offered, which only the mailbox's own password could answer", name)
		}
	}
	for user, want := range map[string]Result{"anna@example.org": Pass, "popless": Fail} {
		steps := x.Explain(ctx, inside, user)
		if end := steps[len(steps)-1]; end.Result != want {
			t.Errorf("%s: %+v", user, steps)
		}
	}
}
