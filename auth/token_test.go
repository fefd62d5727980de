package auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// TestTokens signs in with tokens: whose token it is counts, whatever name was said, and
// an authzid must be one of theirs.
func TestTokens(t *testing.T) {
	const ok = mail.Kind(-1)
	state, _, certificate := handshake(t)
	now := time.Now()
	for _, c := range []struct {
		what, user, token string
		prepare           func(p *people)
		kind              mail.Kind
	}{
		{"right", "anna@example.org", "anna@example.org", nil, ok},
		{"no name", "", "anna@example.org", nil, ok},
		{"an alias", "post@example.org", "anna@example.org", nil, ok},
		{"another case", "ANNA@example.org", "anna@example.org", nil, ok},
		{"until tomorrow", "", "anna@example.org", func(p *people) { p.until = now.Add(24 * time.Hour) }, ok},
		{"expired", "", "anna@example.org", func(p *people) { p.until = now }, mail.KindAuthenticationFailed},
		{"a wrong token", "anna@example.org", "wrong", nil, mail.KindAuthenticationFailed},
		{"another's token", "none", "anna@example.org", nil, mail.KindAuthorizationFailed},
		{"another's token, mistrusted", "none", "anna@example.org", func(p *people) { p.mistrusts = true }, mail.KindAuthenticationFailed},
		{"no name at all", "an na", "anna@example.org", nil, mail.KindAuthenticationFailed},
		{"off", "off", "off", nil, mail.KindDisabled},
		{"not over IMAP", "imapless", "imapless", nil, mail.KindDisabled},
		{"down", "anna@example.org", "anna@example.org", func(p *people) { p.err = mail.Errorf(mail.KindUnavailable, "") }, mail.KindUnavailable},
		{"broken", "anna@example.org", "anna@example.org", func(p *people) { p.err = errors.New("cut off") }, mail.KindUnavailable},
	} {
		for _, mechanism := range []string{"OAUTHBEARER", "XOAUTH2"} {
			a, p, attempts := setup(noDelay)
			if c.prepare != nil {
				c.prepare(p)
			}
			x, err := a.Begin(t.Context(), Conn{Service: settings.IMAP4, LoginType: mail.SecureLogin, TLS: &state, Certificate: certificate, Client: certificate, Remote: from("192.0.2.1:1")}, mechanism)
			if err != nil {
				t.Fatal(err)
			}
			message := "user=" + c.user + "\x01auth=Bearer " + strings.ReplaceAll(c.token, "@", "~") + "\x01\x01"
			if mechanism == "OAUTHBEARER" {
				message = "n,,\x01auth=Bearer " + strings.ReplaceAll(c.token, "@", "~") + "\x01\x01"
				if c.user != "" {
					message = "n,a=" + c.user + message[2:]
				}
			}
			challenge, id, err := x.Next(t.Context(), []byte(message))
			if err == nil && id == nil && len(challenge) > 0 {
				if len(*attempts) != 0 {
					t.Errorf("%s: recorded before it is over", c.what)
				}
				_, id, err = x.Next(t.Context(), []byte("\x01"))
			}
			if len(*attempts) != 1 {
				t.Errorf("%s: %d attempts", c.what, len(*attempts))
			}
			if c.kind != ok {
				wantKind(t, mechanism+", "+c.what, err, c.kind)
				continue
			}
			if p.shown != certificate {
				t.Errorf("%s, %s: the directory does not hear of the client's certificate", mechanism, c.what)
			}
			if err != nil || id == nil || id.Entry.Name != "anna@example.org" || !id.Expires.Equal(p.until) || (*attempts)[0].User != "anna@example.org" {
				t.Errorf("%s, %s: %+v, %v", mechanism, c.what, id, err)
			}
		}
	}
}

// Mechanisms that no directory could serve are neither offered nor accepted.
func TestMeans(t *testing.T) {
	state, _, _ := handshake(t)
	a, p, _ := setup(noDelay)
	c := Conn{Service: settings.IMAP4, LoginType: mail.SecureLogin, Protection: settings.AllowProtection, TLS: &state}
	for _, m := range []struct {
		has       *bool
		mechanism string
	}{{&p.keyless, "SCRAM-SHA-256"}, {&p.keyless, "SCRAM-SHA-256-PLUS"}, {&p.tokenless, "OAUTHBEARER"}, {&p.tokenless, "XOAUTH2"}} {
		*m.has = true
		if x, err := a.Begin(t.Context(), c, m.mechanism); x != nil || mail.KindOf(err) != mail.KindCannot {
			t.Errorf("%s: Begin says %v", m.mechanism, err)
		}
		for _, name := range a.Offered(c) {
			if name == m.mechanism {
				t.Errorf("%s is offered", name)
			}
		}
		*m.has = false
		if _, err := a.Begin(t.Context(), c, m.mechanism); err != nil {
			t.Errorf("%s: Begin says %v", m.mechanism, err)
		}
	}
	// A client that could bind and saw no -PLUS, because there are no keys, is right.
	p.keyless = true
	if m, _ := sasl.Find("SCRAM-SHA-256"); a.offersPlus(c, m, a.server(c)) {
		t.Error("-PLUS counts as offered without keys")
	}
}

// A failure counts though the client goes before it hears it, and once.
func TestTokenFailureCounts(t *testing.T) {
	state, _, _ := handshake(t)
	a, _, _ := setup(Limits{FirstDelay: time.Hour, NetworkFailures: 1})
	c := Conn{Service: settings.IMAP4, LoginType: mail.SecureLogin, TLS: &state, Remote: from("192.0.2.1:1")}
	x, err := a.Begin(t.Context(), c, "OAUTHBEARER")
	if err != nil {
		t.Fatal(err)
	}
	if challenge, _, err := x.Next(t.Context(), []byte("n,a=anna@example.org,\x01auth=Bearer wrong\x01\x01")); err != nil || len(challenge) == 0 {
		t.Fatalf("%q, %v", challenge, err)
	}
	x.Abort(t.Context(), errors.New("cancelled"))
	delay := a.throttle.standing(guess{place: place{"anna@example.org", c.network()}})
	if delay == 0 {
		t.Error("the failure did not count")
	}
}
