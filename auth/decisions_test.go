package auth

import (
	"context"
	"crypto/x509"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Which sentence of the policy decides, for a reviewer to read: logs, Test-Login and the
// words to a client follow it.
const decides = `
class     | clear PlainTextLogin       | clear PlainTextAuthentication     | clear SecureLogin | tls
Password  | RulePlainTextLogin         | RulePasswordNeedsTLS              | RuleSecureLogin   | RuleTLS
Challenge | RulePlainTextLogin         | RulePlainTextAuthentication       | RuleSecureLogin   | RuleTLS
TLSOnly   | RuleMechanismNeedsTLS      | RuleMechanismNeedsTLS             | RuleSecureLogin   | RuleTLS
none      | RuleDefault                | RuleDefault                       | RuleDefault       | RuleDefault
`

// The same of ExtendedProtectionPolicy.
const protects = `
method    | None clear    | Allow clear | Require clear       | None tls      | Allow tls | Require tls         | unknown clear | unknown tls
not bound | RuleBound     | RuleBound   | RuleBindingNeedsTLS | RuleBound     | RuleBound | RuleBindingRequired | RuleDefault   | RuleDefault
bound     | RuleBound     | RuleBound   | RuleBindingNeedsTLS | RuleBound     | RuleBound | RuleBound           | RuleDefault   | RuleDefault
-PLUS     | RuleNoBinding | RuleBound   | RuleBindingNeedsTLS | RuleNoBinding | RuleBound | RuleBound           | RuleDefault   | RuleDefault
`

var rulesByName = map[string]Rule{
	"RuleDefault": RuleDefault, "RuleTLS": RuleTLS, "RulePlainTextLogin": RulePlainTextLogin, "RulePlainTextAuthentication": RulePlainTextAuthentication,
	"RulePasswordNeedsTLS": RulePasswordNeedsTLS, "RuleMechanismNeedsTLS": RuleMechanismNeedsTLS, "RuleSecureLogin": RuleSecureLogin,
	"RuleBound": RuleBound, "RuleNoBinding": RuleNoBinding, "RuleBindingNeedsTLS": RuleBindingNeedsTLS, "RuleBindingRequired": RuleBindingRequired,
}

func TestWhichRuleDecides(t *testing.T) {
	classOf := map[string]sasl.Class{"Password": sasl.Password, "Challenge": sasl.Challenge, "TLSOnly": sasl.TLSOnly, "none": 0}
	rows, cells := ruleTable(decides)
	for _, class := range rows {
		for column, want := range cells[class] {
			state, login, _ := strings.Cut(column, " ")
			for _, l := range mail.LoginTypes {
				if login == "" || login == l.String() {
					if d := Permits(l, classOf[class], state == "tls"); d.Rule != rulesByName[want] {
						t.Errorf("%s, %s, %v: %v decides, want %s", class, column, l, d.Rule, want)
					}
				}
			}
		}
	}
	policies := map[string]settings.ExtendedProtection{"None": settings.NoProtection, "Allow": settings.AllowProtection, "Require": settings.RequireProtection, "unknown": 3}
	rows, cells = ruleTable(protects)
	for _, method := range rows {
		for column, want := range cells[method] {
			policy, state, _ := strings.Cut(column, " ")
			if d := Protects(policies[policy], method != "not bound", method == "-PLUS", state == "tls"); d.Rule != rulesByName[want] {
				t.Errorf("%s, %s: %v decides, want %s", method, column, d.Rule, want)
			}
		}
	}
}

// The first that forbids is named: AuthMechanisms, LoginType, ExtendedProtectionPolicy,
// then the rules. What is accepted is accepted by the LoginType.
func TestOrderOfEffective(t *testing.T) {
	block := LoginRule{Name: "b", Block: true}
	hours := LoginRule{Name: "h", Hours: []Hours{{}}}
	plain := LoginRule{Name: "m", Mechanisms: []string{"PLAIN"}}
	apps := LoginRule{Name: "a", AppPasswordsOnly: true}
	scram := Wanted{Service: settings.POP3, LoginType: mail.SecureLogin, Method: "SCRAM-SHA-256", Class: sasl.Challenge, Protection: settings.RequireProtection}
	encrypted := scram
	encrypted.TLS = true
	allowed := encrypted
	allowed.Protection = settings.AllowProtection
	weak := encrypted
	weak.Method, weak.Mechanisms, weak.User, weak.Protection = "CRAM-MD5", []string{"CRAM-MD5"}, "alice", settings.AllowProtection
	acting := scram
	acting.For, acting.Secret = "bob", AppSecret
	unnamed := scram
	unnamed.Mechanisms = []string{"PLAIN"}
	for _, c := range []struct {
		rules []LoginRule
		w     Wanted
		rule  Rule
		by    string
	}{
		{[]LoginRule{block}, unnamed, RuleNotNamed, ""},
		{[]LoginRule{block}, scram, RuleSecureLogin, ""},
		{[]LoginRule{block}, encrypted, RuleBindingRequired, ""},
		{nil, acting, RuleSecureLogin, ""},
		{[]LoginRule{block}, weak, RuleNotSwitchedOn, ""},
		{nil, allowed, RuleTLS, ""},
		{[]LoginRule{block, hours}, allowed, RuleBlock, "b"},
		{[]LoginRule{hours, block}, allowed, RuleHours, "h"},
		{[]LoginRule{plain, apps}, allowed, RuleMechanism, "m"},
		{[]LoginRule{apps, plain}, allowed, RuleAppPasswordsOnly, "a"},
	} {
		d := Effective(c.rules, c.w)
		if d.Rule != c.rule || d.Policy != c.by || d.OK != (c.rule == RuleTLS) {
			t.Errorf("%+v %+v: %+v, want %v by %q", c.rules, c.w, d, c.rule, c.by)
		}
	}
}

// What a sign-in by each method proves. One that nobody thought of proves the password.
func TestWhatIsProved(t *testing.T) {
	tickets := []string{"GSSAPI", "GS2-KRB5", "GS2-KRB5-PLUS", "GSS-SPNEGO", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"}
	readable := []string{"PLAIN", "LOGIN", "USER command", "LOGIN command"}
	methods := append(append([]string{"CRAM-MD5", "NTLM", "APOP", "NOBODY-KNOWS", "SCRAM-SHA-1", "SCRAM-SHA-512-PLUS"}, tickets...), readable...)
	for _, m := range methods {
		want := []Secret{AccountPassword}
		switch {
		case slices.Contains(tickets, m):
			want = []Secret{OtherSecret}
		case slices.Contains(readable, m):
			want = []Secret{AccountPassword, AppSecret}
		}
		if got := secretOf(m); !slices.Equal(got, want) {
			t.Errorf("%s proves %v, want %v", m, got, want)
		}
		if got := ProvedBy(m, false); got != want[0] {
			t.Errorf("%s has proved %v, want %v", m, got, want[0])
		}
		if got := ProvedBy(m, true); got != AppSecret {
			t.Errorf("%s with an app password has proved %v", m, got)
		}
	}
}

// A rule of nobody in particular, and one that forbids nothing, are known as such.
func TestRulesKnowThemselves(t *testing.T) {
	for _, c := range []struct {
		rule     LoginRule
		everyone bool
	}{{LoginRule{}, true}, {LoginRule{Users: []string{"alice"}}, false}, {LoginRule{Groups: []string{"staff"}}, false}, {LoginRule{Users: []string{""}}, false}} {
		if got := c.rule.Everyone(); got != c.everyone {
			t.Errorf("%+v is for everyone: %v", c.rule, got)
		}
	}
	for column, rule := range ruleColumns {
		if got := rule.Narrows(); got != (column != "nothing") {
			t.Errorf("%s narrows: %v", column, got)
		}
	}
	p := Policy{Groups: map[string][]string{"z": {"alice"}, "a": {"bob", "alice"}, "k": {"alice"}, "none": nil}}
	if got := p.GroupsOf("alice"); !slices.Equal(got, []string{"a", "k", "z"}) {
		t.Errorf("alice is in %q", got)
	}
}

// A connection that is only imagined may be at another time than now.
func TestImaginedHour(t *testing.T) {
	a, _, _ := setup(noDelay)
	a.now = func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }
	a.SetPolicy(&Policy{Rules: []LoginRule{{Name: "day", Hours: []Hours{mustHours("Mon-Fri 08:00-18:00")}}}})
	c := clear("192.0.2.1:1")
	if !a.PasswordAllowed(c).OK {
		t.Error("noon is not by day")
	}
	c.At = a.now().Add(12 * time.Hour)
	if d := a.PasswordAllowed(c); d.OK || d.Rule != RuleHours {
		t.Errorf("midnight is by day: %+v", d)
	}
}

// plainDirectory is a directory without the rest of a chain.
type plainDirectory struct{ directory.Directory }

// ticketed takes Kerberos tickets for POP3.
type ticketed struct{ *people }

func (ticketed) HasTickets(service string) bool { return service == "pop" }

// Each mechanism is there only with what it needs, and with that it is.
func TestNeeds(t *testing.T) {
	state, _, certificate := handshake(t)
	c := Conn{Service: settings.POP3, LoginType: mail.SecureLogin, Protection: settings.AllowProtection, TLS: &state, Certificate: certificate}
	with := func(change func(*Conn)) Conn {
		c := c
		change(&c)
		return c
	}
	legacy := with(func(c *Conn) {
		for _, m := range sasl.Mechanisms {
			c.Mechanisms = append(c.Mechanisms, m.Name)
		}
		c.Timestamp = "<1@localhost>"
	})
	for _, d := range []struct {
		what      string
		directory directory.Directory
		ntlm      NTLM
		conn      Conn
		without   string // beginnings of the names that are not there
	}{
		{"no tickets", newPeople(), &domain{}, c, "EXTERNAL GS CRAM-MD5 NTLM APOP"},
		{"tickets", ticketed{newPeople()}, &domain{}, c, "EXTERNAL CRAM-MD5 NTLM APOP"},
		{"tickets of another service", ticketed{newPeople()}, nil, with(func(c *Conn) { c.Service = settings.IMAP4 }), "EXTERNAL GS CRAM-MD5 NTLM APOP"},
		{"no keys", &people{keyless: true}, nil, c, "EXTERNAL GS SCRAM CRAM-MD5 NTLM APOP"},
		{"no tokens", &people{tokenless: true}, nil, c, "EXTERNAL GS OAUTHBEARER XOAUTH2 CRAM-MD5 NTLM APOP"},
		{"no chain", plainDirectory{newPeople()}, nil, c, "EXTERNAL GS OAUTHBEARER XOAUTH2 CRAM-MD5 NTLM APOP"},
		{"a client certificate", ticketed{newPeople()}, nil, with(func(c *Conn) { c.Client = &x509.Certificate{} }), "CRAM-MD5 NTLM APOP"},
		{"legacy mechanisms are named", newPeople(), &domain{}, legacy, "EXTERNAL GS APOP"},
		{"no readable passwords", &people{unreadable: true}, &domain{}, legacy, "EXTERNAL GS CRAM-MD5 APOP"},
		{"no helper for NTLM", newPeople(), nil, legacy, "EXTERNAL GS NTLM APOP"},
	} {
		a := New(Options{Directory: d.directory, NTLM: d.ntlm, Limits: noDelay})
		var want []string
		for _, m := range sasl.Mechanisms {
			if !slices.ContainsFunc(strings.Fields(d.without), func(b string) bool { return strings.HasPrefix(m.Name, b) }) {
				want = append(want, m.Name)
			}
		}
		if got := a.Offered(d.conn); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", d.what, got, want)
		}
		// APOP is a command, which the greeting offers.
		if shown, want := a.Timestamp(d.conn) != "", slices.Contains(want, "CRAM-MD5"); shown != want {
			t.Errorf("%s: APOP is shown: %v", d.what, shown)
		}
	}
}

// A refusal is recorded under the mechanism's own name, whatever the client's spelling;
// what goes on is not recorded yet.
func TestRefusalsAreRecorded(t *testing.T) {
	a, _, attempts := setup(noDelay)
	c := clear("192.0.2.1:1")
	if err := a.RefusePassword(t.Context(), c); err != nil || len(*attempts) > 0 {
		t.Errorf("what is allowed: %v, %+v", err, *attempts)
	}
	c.LoginType = mail.SecureLogin
	if err := a.RefusePassword(t.Context(), c); mail.KindOf(err) != mail.KindPrivacyRequired {
		t.Error(err)
	}
	for _, name := range []string{"plain", "x-nobody-has-this"} {
		if _, err := a.Begin(t.Context(), c, name); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	want := []Attempt{{Mechanism: "LOGIN command", Class: sasl.Password}, {Mechanism: "PLAIN", Class: sasl.Password}, {Mechanism: "unknown"}}
	for i, w := range want {
		if got := (*attempts)[i]; got.Mechanism != w.Mechanism || got.Class != w.Class || got.Err == nil || got.Name != "" {
			t.Errorf("recorded %+v, want %+v", got, w)
		}
	}
}

// Who has proved nothing is nobody, whatever a mechanism asks for.
func TestNothingProved(t *testing.T) {
	a, _, _ := setup(noDelay)
	s := &signIn{a: a, conn: clear("192.0.2.1:1"), name: "anna@example.org"}
	err := s.Authorize(t.Context(), "anna@example.org", "")
	if s.identity != nil || err == nil || mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Errorf("%+v, %v", s.identity, err)
	}
}

// Somebody is themselves by every name that the directory knows them by, and needs no
// right for that; who has no account, or no right, is asked no further.
func TestWhoIsMeant(t *testing.T) {
	p, r := actingPeople()
	p.entries["short"] = p.entries["bob"] // no alias: the directory has ways of its own
	r.of[0] = Acting{Everybody: true}
	d := &counting{people: p}
	var log strings.Builder
	a := New(Options{Directory: d, Delegation: r, Limits: noDelay, Log: slog.New(slog.NewTextHandler(&log, nil))})
	c := clear("192.0.2.1:1")
	for _, names := range [][2]string{{"bobby", "bob"}, {"bob", "bobby"}, {"short", "short"}, {"short", "bob"}, {"bob", "short"}} {
		id, err := playFor(t, a, c, "PLAIN", names[0], "secret", names[1])
		if err != nil || id.ActedBy != "" || id.Entry.Name != "bob" {
			t.Errorf("%s as %s: %+v, %v", names[0], names[1], id, err)
		}
		if r.asked > 0 != (names[1] == "short" && names[0] != "short") {
			t.Errorf("%s as %s: the rights were asked for %d times", names[0], names[1], r.asked)
		}
	}
	if len(r.acted) > 0 {
		t.Errorf("recorded as acting for another: %+v", r.acted)
	}
	d.lookups = nil
	_, err := playFor(t, a, c, "PLAIN", "dora", "secret", "anna@example.org")
	wantKind(t, "dora", err, mail.KindAuthorizationFailed)
	if slices.Contains(d.lookups, "anna@example.org") {
		t.Errorf("looked up for who has no right: %q", d.lookups)
	}
	p.passwords["new"] = "secret"
	_, err = playFor(t, a, c, "PLAIN", "new", "secret", "anna@example.org")
	wantKind(t, "without an account", err, mail.KindAuthorizationFailed)

	log.Reset()
	a.SetPolicy(&Policy{Rules: []LoginRule{{Name: "r", Users: []string{"anna@example.org"}, Block: true}}})
	_, err = playFor(t, a, c, "PLAIN", "bob", "secret", "anna@example.org")
	wantKind(t, "a blocked mailbox", err, mail.KindAuthorizationFailed)
	if !strings.Contains(log.String(), "event=1013") {
		t.Errorf("the policy's refusal is not in the log: %s", log.String())
	}
}

// A directory that cannot say who is meant is no refusal; an app password is, and the
// record says why.
func TestWhoIsMeantCannotBeSaid(t *testing.T) {
	p, r := actingPeople()
	a := New(Options{Directory: p, Delegation: r, Limits: noDelay})
	s := &signIn{a: a, conn: clear("192.0.2.1:1"), name: "bob", entry: p.entries["bob"], secret: AccountPassword}
	p.err = mail.Errorf(mail.KindUnavailable, "")
	_, err := s.actFor(t.Context(), "anna@example.org")
	wantKind(t, "a directory that is down", err, mail.KindUnavailable)
	p.err, s.secret = nil, AppSecret
	_, err = s.actFor(t.Context(), "anna@example.org")
	wantKind(t, "an app password", err, mail.KindAuthorizationFailed)
	if !strings.Contains(err.Error(), RuleOwnMailbox.String()) {
		t.Errorf("the record does not say why: %v", err)
	}
}

// staffed gives anna a group of an external directory, or cannot say.
type staffed struct {
	*people
	err error
}

func (g *staffed) Groups(_ context.Context, e *directory.Entry) ([]string, error) {
	if e.Name != "anna@example.org" {
		return nil, nil
	}
	return []string{`ldap\staff`}, g.err
}

func (g *staffed) IsExternal(name string) bool { return name == "ldap" }

// A rule for a directory's group forbids to act for its people; what the directory
// cannot say is no permission.
func TestActingForAGroup(t *testing.T) {
	p, r := actingPeople()
	g := &staffed{people: p}
	a := New(Options{Directory: g, Delegation: r, Limits: noDelay})
	act := func() error {
		_, err := playFor(t, a, clear("192.0.2.1:1"), "PLAIN", "bob", "secret", "anna@example.org")
		return err
	}
	if err := act(); err != nil {
		t.Fatal(err)
	}
	a.SetPolicy(&Policy{Rules: []LoginRule{{Name: "r", Groups: []string{`ldap\other`}, Block: true}}})
	if err := act(); err != nil {
		t.Errorf("another group: %v", err)
	}
	g.err = mail.Errorf(mail.KindUnavailable, "")
	wantKind(t, "groups that cannot be said", act(), mail.KindUnavailable)
	g.err = nil
	a.SetPolicy(&Policy{Rules: []LoginRule{{Name: "r", Groups: []string{`ldap\staff`}, Block: true}}})
	wantKind(t, "its group", act(), mail.KindAuthorizationFailed)
}

// What is kept of a sign-in belongs to the account that was made at it.
func TestKeptForTheAccount(t *testing.T) {
	o := &outside{}
	a := New(Options{Directory: o, Limits: noDelay})
	s := &signIn{a: a, conn: clear("192.0.2.1:1"), mechanism: "PLAIN", class: sasl.Password, name: "anna", secret: AccountPassword}
	s.entry, _ = o.Lookup(t.Context(), "anna")
	if err := s.Authorize(t.Context(), "anna", ""); err != nil || s.entry.Account != 7 || s.identity.Entry.Account != 7 {
		t.Errorf("%+v, %v", s.entry, err)
	}
}

// APOP answers a timestamp: without one there is nothing to answer, and nobody is asked.
func TestAPOPWithoutTimestamp(t *testing.T) {
	a, p, _ := setup(noDelay)
	c := clear("192.0.2.1:1")
	c.Service, c.Mechanisms = settings.POP3, []string{"APOP"}
	_, err := a.APOP(t.Context(), c, "anna@example.org "+strings.Repeat("0", 32))
	wantKind(t, "APOP", err, mail.KindCannot)
	if p.checks > 0 {
		t.Error("the directory was asked")
	}
}

// issuing notes for which names a client is told where it gets a token.
type issuing struct {
	*people
	names []string
}

func (i *issuing) Issuer(name string) (string, string) {
	i.names = append(i.names, name)
	return "issuer", "scope"
}

func TestIssuerOfName(t *testing.T) {
	i := &issuing{people: newPeople()}
	a := New(Options{Directory: i})
	for _, authzid := range []string{"Anna@EXAMPLE.org", "", "an\x00na"} {
		if configuration, scope := a.server(clear("192.0.2.1:1")).Issuer(authzid); configuration != "issuer" || scope != "scope" {
			t.Errorf("%q: %q, %q", authzid, configuration, scope)
		}
	}
	if !slices.Equal(i.names, []string{"anna@example.org", "", ""}) {
		t.Errorf("asked for %q", i.names)
	}
	if a := New(Options{Directory: plainDirectory{newPeople()}}); a.server(clear("192.0.2.1:1")).Issuer != nil {
		t.Error("a directory without tokens tells where to get them")
	}
}

// Who a rule refuses by name counts as who had a wrong password.
func TestRefusedByRuleCounts(t *testing.T) {
	a, _, _ := setup(Limits{FirstDelay: time.Hour})
	a.SetPolicy(&Policy{Rules: []LoginRule{{Name: "r", Users: []string{"anna@example.org"}, Block: true}}})
	c := clear("192.0.2.1:1")
	if _, err := a.Password(t.Context(), c, "anna@example.org", "secret"); mail.KindOf(err) != mail.KindAuthenticationFailed || err == nil {
		t.Fatal(err)
	}
	if a.throttle.standing(guess{place: place{"anna@example.org", c.network()}}) == 0 {
		t.Error("it does not count")
	}
}
