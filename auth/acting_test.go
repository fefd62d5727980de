package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// rights is a Delegation for tests.
type rights struct {
	mu    sync.Mutex
	of    map[mail.AccountID]Acting
	err   error // of ActsFor
	full  error // of Acted
	asked int
	acted []Attempt
}

func (r *rights) ActsFor(_ context.Context, user mail.AccountID) (Acting, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.of[user], r.err
}

func (r *rights) Acted(_ context.Context, t Attempt) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acted = append(r.acted, t)
	return r.full
}

// counting counts the names that are looked up.
type counting struct {
	*people
	lookups []string
}

func (c *counting) Lookup(ctx context.Context, name string) (*directory.Entry, error) {
	c.lookups = append(c.lookups, name)
	return c.people.Lookup(ctx, name)
}

// actingPeople knows, beside those of newPeople, bob (who may act for anna and for those
// whose protocol is off), carl (for everybody) and dora (for nobody).
func actingPeople() (*people, *rights) {
	p := newPeople()
	r := &rights{of: map[mail.AccountID]Acting{
		11: {Mailboxes: []mail.AccountID{p.entries["anna@example.org"].Account, p.entries["off"].Account, p.entries["imapless"].Account}},
		12: {Everybody: true},
	}}
	for i, name := range []string{"bob", "carl", "dora"} {
		e := &directory.Entry{Name: name, Aliases: []string{name + "by"}, Account: mail.AccountID(11 + i), Enabled: true, PopEnabled: true, ImapEnabled: true}
		p.entries[name], p.entries[name+"by"], p.passwords[name] = e, e, "secret"
	}
	p.entries["new"] = &directory.Entry{Name: "new", Directory: "ldap", Enabled: true, PopEnabled: true, ImapEnabled: true} // has no account yet
	return p, r
}

// play makes one exchange by a mechanism as user for authzid.
func playFor(t *testing.T, a *Authenticator, c Conn, mechanism, user, password, authzid string) (*Identity, error) {
	t.Helper()
	if strings.HasPrefix(mechanism, "SCRAM") {
		id, _, err := scram(t, a, c, mechanism, user, password, authzid, nil)
		return id, err
	}
	message := map[string]string{
		"PLAIN":       authzid + "\x00" + user + "\x00" + password,
		"EXTERNAL":    authzid,
		"OAUTHBEARER": "n," + map[bool]string{true: "a=" + authzid}[authzid != ""] + ",\x01auth=Bearer " + user + "\x01\x01",
		"XOAUTH2":     "user=" + authzid + "\x01auth=Bearer " + user + "\x01\x01",
	}[mechanism]
	x, err := a.Begin(t.Context(), c, mechanism)
	if err != nil {
		t.Fatal(mechanism, err)
	}
	challenge, id, err := x.Next(t.Context(), []byte(message))
	if err == nil && id == nil && len(challenge) > 0 {
		_, id, err = x.Next(t.Context(), []byte("\x01"))
	}
	return id, err
}

// TestActing is the matrix of acting for another: who, for whom, by which mechanism.
func TestActing(t *testing.T) {
	const (
		ok  = mail.Kind(-1) // as the other
		own = mail.Kind(-2) // as itself
		no  = mail.KindAuthorizationFailed
	)
	state, _, certificate := handshake(t)
	wanted := []struct {
		user, authzid string
		kind          mail.Kind
	}{
		{"bob", "", own}, {"bob", "bob", own}, {"bob", "BOB", own}, {"bob", "bobby", own},
		{"bob", "anna@example.org", ok}, {"bob", "Anna@EXAMPLE.org", ok}, {"bob", "post@example.org", ok},
		{"bob", "none", no}, {"bob", "nobody@example.org", no}, {"bob", "new", no}, {"bob", "dora", no}, {"bob", "an na", no},
		{"bob", "off", mail.KindDisabled}, {"bob", "imapless", mail.KindDisabled},
		{"carl", "anna@example.org", ok}, {"carl", "none", ok}, {"carl", "dora", ok}, {"carl", "new", ok},
		{"carl", "nobody@example.org", no}, {"carl", "off", mail.KindDisabled}, {"carl", "carl", own}, {"carl", "", own},
		{"dora", "anna@example.org", no}, {"dora", "nobody@example.org", no}, {"dora", "off", no}, {"dora", "new", no}, {"dora", "bob", no},
		{"anna@example.org", "bob", no}, {"off", "anna@example.org", mail.KindDisabled}, {"imapless", "anna@example.org", mail.KindDisabled},
	}
	cells := 0
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER", "XOAUTH2"} {
		for _, w := range wanted {
			cells++
			what := mechanism + ": " + w.user + " for " + w.authzid
			p, r := actingPeople()
			p.mistrusts = true // as OpenID providers are
			var attempts []Attempt
			a := New(Options{Directory: p, Delegation: r, Limits: noDelay, Observe: func(a Attempt) { attempts = append(attempts, a) }})
			c := Conn{Service: settings.IMAP4, LoginType: mail.SecureLogin, TLS: &state, Certificate: certificate, Remote: from("192.0.2.1:1"),
				Client: &x509.Certificate{EmailAddresses: []string{w.user}, NotAfter: clientCertificate.NotAfter}}
			user := w.user
			if strings.HasSuffix(mechanism, "2") || strings.HasPrefix(mechanism, "O") {
				user = strings.ReplaceAll(user, "@", "~")
			}
			if mechanism == "SCRAM-SHA-256" {
				c.Protection = settings.AllowProtection
			}
			id, err := playFor(t, a, c, mechanism, user, "secret", w.authzid)
			if mechanism != "SCRAM-SHA-256" || w.authzid != "an na" { // the test's client refuses to send it
				switch w.kind {
				case ok, own:
					by := ""
					if w.kind == ok {
						by = w.user
					}
					if err != nil || id.ActedBy != by {
						t.Errorf("%s: %+v, %v", what, id, err)
						continue
					}
					if e, _ := p.Lookup(t.Context(), strings.ToLower(w.authzid)); w.kind == ok && id.Entry.Name != e.Name || w.kind == own && id.Entry.Name != w.user {
						t.Errorf("%s: got %s", what, id.Entry.Name)
					}
				default:
					// XOAUTH2 and OAUTHBEARER name whom the token must be for.
					if w.authzid == "an na" && strings.Contains(mechanism, "OAUTH") {
						w.kind = mail.KindAuthenticationFailed
					}
					wantKind(t, what, err, w.kind)
				}
			}
			if len(attempts) != 1 {
				t.Errorf("%s: %d attempts are recorded", what, len(attempts))
				continue
			}
			if w.kind == ok && (len(r.acted) != 1 || r.acted[0].For == "" || r.acted[0].Name != w.user || r.acted[0].Err != nil || attempts[0].User != w.user || attempts[0].For != id.Entry.Name) {
				t.Errorf("%s: the record is %+v, the attempt %+v", what, r.acted, attempts)
			}
			if w.kind == no && (len(r.acted) != 1 || r.acted[0].Err == nil) || w.kind == own && len(r.acted) != 0 {
				t.Errorf("%s: the record is %+v", what, r.acted)
			}
		}
	}
	t.Logf("%d cells", cells)
}

// TestActingTellsNothing: whoever may not act for a mailbox hears the same, and makes the
// same questions asked, whether there is one or not.
func TestActingTellsNothing(t *testing.T) {
	for _, user := range []string{"bob", "dora"} {
		var texts []string
		var work []int
		for _, authzid := range []string{"none", "dora", "bob", "off2", "nobody@example.org"} {
			if authzid == user {
				continue
			}
			p, r := actingPeople()
			d := &counting{people: p}
			a := New(Options{Directory: d, Delegation: r, Limits: noDelay})
			_, err := playFor(t, a, clear("192.0.2.1:1"), "PLAIN", user, "secret", authzid)
			wantKind(t, user+" for "+authzid, err, mail.KindAuthorizationFailed)
			texts, work = append(texts, mail.TextOf(err)), append(work, len(d.lookups)*100+r.asked)
		}
		for i := range texts {
			if texts[i] != texts[0] || work[i] != work[0] {
				t.Errorf("%s: %q, work %v", user, texts, work)
			}
		}
	}
}

// TestActingPolicy: what a login policy forbids to either is forbidden, and an app
// password opens its own mailbox alone.
func TestActingPolicy(t *testing.T) {
	for _, c := range []struct {
		rule LoginRule
		kind mail.Kind
	}{
		{LoginRule{Name: "r", Block: true, Users: []string{"bob"}}, mail.KindAuthenticationFailed},
		{LoginRule{Name: "r", Block: true, Users: []string{"anna@example.org"}}, mail.KindAuthorizationFailed},
		{LoginRule{Name: "r", Block: true, Groups: []string{"staff"}}, mail.KindAuthorizationFailed},
		{LoginRule{Name: "r", AppPasswordsOnly: true, Users: []string{"anna@example.org"}}, mail.KindAuthorizationFailed},
		{LoginRule{Name: "r", Mechanisms: []string{"SCRAM-SHA-256"}, Users: []string{"anna@example.org"}}, mail.KindAuthorizationFailed},
		{LoginRule{Name: "r", Block: true, Users: []string{"anna@example.org"}, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, -1},
		{LoginRule{Name: "r", Block: true, Users: []string{"dora"}}, -1},
	} {
		p, r := actingPeople()
		a := New(Options{Directory: p, Delegation: r, Limits: noDelay})
		a.SetPolicy(&Policy{Rules: []LoginRule{c.rule}, Groups: map[string][]string{"staff": {"anna@example.org"}}})
		_, err := playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "bob", "secret", "anna@example.org")
		if c.kind == -1 {
			if err != nil {
				t.Errorf("%+v: %v", c.rule, err)
			}
			continue
		}
		wantKind(t, c.rule.Name, err, c.kind)
	}
	w := Wanted{Service: settings.IMAP4, LoginType: mail.PlainTextLogin, Method: "PLAIN", Class: sasl.Password, User: "bob", For: "anna", Secret: AppSecret}
	if d := Effective(nil, w); d.OK || d.Rule != RuleOwnMailbox {
		t.Errorf("an app password: %+v", d)
	}
	w.For = ""
	if d := Effective(nil, w); !d.OK {
		t.Errorf("an app password for its own: %+v", d)
	}
}

// TestActingUnrecorded: what cannot be recorded does not happen, and what cannot be said
// now is no refusal.
func TestActingUnrecorded(t *testing.T) {
	p, r := actingPeople()
	a := New(Options{Directory: p, Delegation: r, Limits: noDelay})
	r.full = errors.New("the disk is full")
	_, err := playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "bob", "secret", "anna@example.org")
	wantKind(t, "a full disk", err, mail.KindUnavailable)
	if _, err := playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "bob", "secret", "bob"); err != nil {
		t.Error("for itself:", err)
	}
	_, err = playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "dora", "secret", "anna@example.org")
	wantKind(t, "refused anyway", err, mail.KindAuthorizationFailed)
	r.full, r.err = nil, mail.Errorf(mail.KindUnavailable, "")
	_, err = playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "bob", "secret", "anna@example.org")
	wantKind(t, "rights that cannot be read", err, mail.KindUnavailable)
	_, err = playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "bob", "wrong", "anna@example.org")
	wantKind(t, "a wrong password", err, mail.KindAuthenticationFailed)
}

func TestExplainActing(t *testing.T) {
	p, r := actingPeople()
	a := New(Options{Directory: p, Delegation: r, Limits: noDelay})
	for authzid, want := range map[string]string{
		"anna@example.org": "A right password or proof signs in.", "none": "Refused at the step Acting.", "nobody": "Refused at the step Acting.",
		"off": "Refused at the step Account of off.", "imapless": "Refused at the step IMAP4 of imapless.", "bobby": "A right password or proof signs in.",
	} {
		steps := a.ExplainFor(t.Context(), clear("192.0.2.1:1"), "bob", authzid, "")
		if last := steps[len(steps)-1]; last.Detail != want {
			t.Errorf("%s: %+v", authzid, steps)
		}
	}
}

// TestActingWithAppPassword: an app password opens its own mailbox alone, and does not tell
// whether there is another one.
func TestActingWithAppPassword(t *testing.T) {
	shown := NewAppPassword()
	var texts []string
	for _, authzid := range []string{"", "anna@example.org", "bob", "nobody"} {
		p, r := actingPeople()
		r.of[1] = Acting{Everybody: true} // anna's
		d := &counting{people: p}
		a := New(Options{Directory: d, Delegation: r, Limits: noDelay, AppPasswords: &apps{rows: map[string]AppPassword{AppPasswordSecret(shown): {Name: "phone"}}}})
		id, err := playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "anna@example.org", shown, authzid)
		if authzid == "" || authzid == "anna@example.org" {
			if err != nil || id.AppPassword != "phone" {
				t.Errorf("%q: %+v, %v", authzid, id, err)
			}
			continue
		}
		wantKind(t, authzid, err, mail.KindAuthorizationFailed)
		texts = append(texts, mail.TextOf(err))
		if r.asked != 0 || len(d.lookups) != 1 {
			t.Errorf("%s: rights asked %d times, looked up %q", authzid, r.asked, d.lookups)
		}
		if _, err := playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "anna@example.org", "secret", "bob"); err != nil {
			t.Errorf("with the password: %v", err)
		}
	}
	if len(texts) != 2 || texts[0] != texts[1] {
		t.Errorf("%q", texts)
	}
}

// TestActingMustChange: whose own password must be changed acts for nobody; the password of
// the mailbox that is opened does not matter.
func TestActingMustChange(t *testing.T) {
	for _, who := range []string{"bob", "anna@example.org"} {
		p, r := actingPeople()
		p.entries[who].ResetPassword = true
		a := New(Options{Directory: p, Delegation: r, Limits: noDelay})
		_, err := playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "bob", "secret", "anna@example.org")
		if (err != nil) != (who == "bob") || len(r.acted) != map[bool]int{true: 0, false: 1}[who == "bob"] {
			t.Errorf("%s must change it: %v, %d records", who, err, len(r.acted))
		}
	}
}

// TestActingCountsForTheGuesser: wrong passwords count for who signs in, not for whom.
func TestActingCountsForTheGuesser(t *testing.T) {
	p, r := actingPeople()
	a := New(Options{Directory: p, Delegation: r, Limits: Limits{FirstDelay: 1, MaxDelay: 2}})
	for range 3 {
		_, err := playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "bob", "wrong", "anna@example.org")
		wantKind(t, "a wrong password", err, mail.KindAuthenticationFailed)
	}
	a.throttle.mu.Lock()
	defer a.throttle.mu.Unlock()
	if _, counted := a.throttle.accounts.get("bob"); !counted {
		t.Error("it does not count for bob")
	}
	if _, counted := a.throttle.accounts.get("anna@example.org"); counted {
		t.Error("it counts for anna")
	}
}
