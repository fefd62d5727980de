package auth

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// legacy is a connection with every mechanism named.
func legacy(remote string) Conn {
	c := clear(remote)
	c.Service, c.Mechanisms = settings.POP3, everyMechanism()
	return c
}

// prove signs in with a legacy mechanism; NTLM's password is the domain's.
func prove(t *testing.T, a *Authenticator, c Conn, mechanism, user, password string) (*Identity, error) {
	t.Helper()
	if mechanism == "APOP" {
		c.Timestamp = a.Timestamp(c)
		return a.APOP(t.Context(), c, fmt.Sprintf("%s %x", user, md5.Sum([]byte(c.Timestamp+password))))
	}
	x, err := a.Begin(t.Context(), c, mechanism)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	challenge, id, err := x.Next(t.Context(), nil)
	if mechanism == "CRAM-MD5" {
		m := hmac.New(md5.New, []byte(password))
		m.Write(challenge)
		_, id, err = x.Next(t.Context(), fmt.Appendf(nil, "%s %x", user, m.Sum(nil)))
		return id, err
	}
	if _, id, err = x.Next(t.Context(), append([]byte("NTLMSSP\x00\x01\x00\x00\x00"), make([]byte, 20)...)); err != nil {
		return id, err
	}
	a.ntlm.(*domain).proof = ""
	local, _, _ := strings.Cut(user, "@")
	if password == "secret" {
		a.ntlm.(*domain).proof = `EXAMPLE\` + local
	}
	_, id, err = x.Next(t.Context(), ntlmAnswer("EXAMPLE", local))
	return id, err
}

// ntlmAnswer is a second message without a proof.
func ntlmAnswer(domain, user string) []byte {
	m := append([]byte("NTLMSSP\x00\x03"), make([]byte, 55)...)
	for field, text := range map[int]string{28: domain, 36: user} {
		binary.LittleEndian.PutUint16(m[field:], uint16(len(text)))
		binary.LittleEndian.PutUint32(m[field+4:], uint32(len(m)))
		m = append(m, text...)
	}
	return m
}

// A legacy mechanism lets in whom it is switched on for and nobody else; what is wrong
// is refused in the same words, and counted.
func TestLegacy(t *testing.T) {
	const ok = mail.Kind(-1)
	for _, mechanism := range sasl.Legacy() {
		for _, c := range []struct {
			what, user, password string
			change               func(*people, *Conn)
			kind                 mail.Kind
		}{
			{"right", "anna@example.org", "secret", nil, ok},
			{"another case", "Anna@EXAMPLE.org", "secret", nil, ok},
			{"wrong", "anna@example.org", "wrong", nil, mail.KindAuthenticationFailed},
			{"unknown", "nobody@example.org", "secret", nil, mail.KindAuthenticationFailed},
			{"no name", "", "secret", nil, mail.KindAuthenticationFailed},
			{"not switched on", "anna@example.org", "secret", func(p *people, _ *Conn) {
				p.entries["anna@example.org"].LegacyMechanisms = nil
			}, mail.KindAuthenticationFailed},
			{"another is switched on", "anna@example.org", "secret", func(p *people, _ *Conn) {
				p.entries["anna@example.org"].LegacyMechanisms = []string{"X" + mechanism}
			}, mail.KindAuthenticationFailed},
			{"disabled", "anna@example.org", "secret", func(p *people, _ *Conn) { p.entries["anna@example.org"].Enabled = false }, mail.KindDisabled},
			{"not named", "anna@example.org", "secret", func(_ *people, c *Conn) { c.Mechanisms = nil }, mail.KindCannot},
			{"SecureLogin", "anna@example.org", "secret", func(_ *people, c *Conn) { c.LoginType = mail.SecureLogin }, mail.KindPrivacyRequired},
			{"the directory is down", "anna@example.org", "secret", func(p *people, _ *Conn) { p.err = errors.New("down") }, mail.KindUnavailable},
		} {
			a, p, attempts := setup(noDelay)
			conn := legacy("192.0.2.1:1")
			if c.change != nil {
				c.change(p, &conn)
			}
			id, err := prove(t, a, conn, mechanism, c.user, c.password)
			if c.kind == ok {
				if err != nil || id.Entry.Name != "anna@example.org" || id.Mechanism != mechanism || len(*attempts) != 1 || (*attempts)[0].User != "anna@example.org" {
					t.Errorf("%s, %s: %+v, %v; %+v", mechanism, c.what, id, err, *attempts)
				}
				continue
			}
			wantKind(t, mechanism+", "+c.what, err, c.kind)
			if c.kind == mail.KindAuthenticationFailed && mail.TextOf(err) != "Authentication failed." || len(*attempts) != 1 || (*attempts)[0].Mechanism != mechanism {
				t.Errorf("%s, %s: %q, %+v", mechanism, c.what, mail.TextOf(err), *attempts)
			}
			if c.kind == mail.KindCannot || c.kind == mail.KindPrivacyRequired {
				if p.checks > 0 || a.ntlm.(*domain).open > 0 || a.Timestamp(conn) != "" {
					t.Errorf("%s, %s: somebody was asked", mechanism, c.what)
				}
			}
			place := place{"", conn.network()}
			if strings.Contains(c.user, "@") {
				place.account = c.user
			}
			a.throttle.mu.Lock()
			counted := a.throttle.accounts.rows[place.account] != nil || place.account == "" && a.throttle.networks.rows[place.network] != nil
			a.throttle.mu.Unlock()
			if counted != (c.kind == mail.KindAuthenticationFailed) {
				t.Errorf("%s, %s: counted is %v", mechanism, c.what, counted)
			}
			if n := a.ntlm.(*domain).open; n != 0 {
				t.Errorf("%s, %s: %d conversations are left", mechanism, c.what, n)
			}
		}
	}
}

// The rules mean legacy mechanisms, too: they prove the mailbox's own password.
func TestLegacyRules(t *testing.T) {
	for _, mechanism := range sasl.Legacy() {
		for _, rule := range []LoginRule{{AppPasswordsOnly: true}, {Mechanisms: []string{"PLAIN"}}, {Block: true}} {
			a, _, _ := setup(noDelay)
			rule.Name, rule.Users = "r", []string{"anna@example.org"}
			a.SetPolicy(&Policy{Rules: []LoginRule{rule}})
			_, err := prove(t, a, legacy("192.0.2.1:1"), mechanism, "anna@example.org", "secret")
			wantKind(t, mechanism, err, mail.KindAuthenticationFailed)
		}
	}
}

// Who NTLM proves is whom the helper names, and it cannot name somebody of a domain
// that nobody knows.
func TestNTLMNames(t *testing.T) {
	for _, c := range []struct {
		said, proved, name string
		kind               mail.Kind
	}{
		{"anna", `EXAMPLE\anna`, "anna@example.org", -1},
		{"other", `EXAMPLE\anna`, "anna@example.org", -1},
		{"anna", `EXAMPLE\nobody`, "nobody@example.org", mail.KindAuthenticationFailed},
		{"anna", `OTHER\anna`, "anna@example.org", mail.KindAuthenticationFailed},
		{"anna", `EXAMPLE\an na`, "anna@example.org", mail.KindAuthenticationFailed},
	} {
		a, _, attempts := setup(noDelay)
		x, err := a.Begin(t.Context(), legacy("192.0.2.1:1"), "NTLM")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := x.Next(t.Context(), append([]byte("NTLMSSP\x00\x01\x00\x00\x00"), make([]byte, 20)...)); err != nil {
			t.Fatal(err)
		}
		a.ntlm.(*domain).proof = c.proved
		_, id, err := x.Next(t.Context(), ntlmAnswer("EXAMPLE", c.said))
		if c.kind == -1 && (err != nil || id.Entry.Name != "anna@example.org") || c.kind != -1 && mail.KindOf(err) != c.kind {
			t.Errorf("%+v: %v, %v", c, id, err)
		}
		if (*attempts)[0].Name != c.name {
			t.Errorf("%+v: recorded as %q", c, (*attempts)[0].Name)
		}
		x.Close()
		if n := a.ntlm.(*domain).open; n != 0 {
			t.Errorf("%d conversations are left", n)
		}
	}
	a, _, _ := setup(noDelay)
	x, err := a.Begin(t.Context(), legacy("192.0.2.1:1"), "NTLM")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.Next(t.Context(), append([]byte("NTLMSSP\x00\x01\x00\x00\x00"), make([]byte, 20)...)); err != nil || a.ntlm.(*domain).open != 1 {
		t.Fatal(err)
	}
	x.Close()
	x.Close()
	if n := a.ntlm.(*domain).open; n != 0 {
		t.Errorf("%d conversations are left of a client that went", n)
	}
	a.ntlm.(*domain).err = errors.New("the helper does not start")
	_, err = prove(t, a, legacy("192.0.2.1:1"), "NTLM", "anna@example.org", "secret")
	wantKind(t, "without a helper", err, mail.KindUnavailable)
}

// What the server has no means for is not offered, and nothing about legacy mechanisms
// is explained that nobody named.
func TestLegacyMeans(t *testing.T) {
	a, p, _ := setup(noDelay)
	c := legacy("192.0.2.1:1")
	explained := func(c Conn) string {
		var b strings.Builder
		for _, s := range a.Explain(t.Context(), c, "anna@example.org") {
			fmt.Fprintln(&b, s)
		}
		return b.String()
	}
	if offered := strings.Join(a.Offered(c), " "); !strings.HasSuffix(offered, " CRAM-MD5 NTLM") || a.Timestamp(c) == "" {
		t.Errorf("offered: %s", offered)
	}
	for _, want := range []string{"CRAM-MD5", "APOP", "NTLM", "can read the password"} {
		if !strings.Contains(explained(c), want) {
			t.Errorf("%s is not explained", want)
		}
	}
	c.Mechanisms = nil
	if text := explained(c); strings.Contains(text, "refused: CRAM-MD5") || strings.Contains(text, "refused: NTLM") {
		t.Errorf("explained: %s", text)
	}
	if a.Timestamp(c) != "" {
		t.Error("there is a timestamp that nobody may answer")
	}
	c = legacy("192.0.2.1:1")
	c.Service = settings.IMAP4
	if a.Timestamp(c) != "" || strings.Contains(explained(c), "APOP (") {
		t.Error("IMAP4 has APOP")
	}
	c.Service, a.ntlm, p.unreadable = settings.POP3, nil, true
	if offered := strings.Join(a.Offered(c), " "); strings.Contains(offered, " CRAM") || strings.Contains(offered, "NTLM") || a.Timestamp(c) != "" {
		t.Errorf("offered without means: %s", offered)
	}
	for _, mechanism := range sasl.Legacy() {
		_, err := prove(t, a, c, mechanism, "anna@example.org", "secret")
		wantKind(t, mechanism+" without means", err, mail.KindCannot)
	}
	// Nothing else than CRAM-MD5 and no readable password: nobody gets in.
	a, p, _ = setup(noDelay)
	c.Mechanisms = []string{"CRAM-MD5"}
	if text := explained(c); !strings.Contains(text, "The account has what an accepted method needs.") {
		t.Errorf("explained: %s", text)
	}
	p.entries["anna@example.org"].ReadablePassword = false
	if text := explained(c); !strings.Contains(text, "The account has nothing that an accepted method could check.") {
		t.Errorf("explained: %s", text)
	}
	cells := 0
	for _, cell := range a.Matrix(c, &directory.Entry{Name: "bert", LegacyMechanisms: []string{"CRAM-MD5"}}, nil) {
		if cell.TLS.OK {
			cells++
		}
	}
	if cells != 1 {
		t.Errorf("%d ways are permitted", cells)
	}
}

// Who leaves conversations of NTLM, and so processes, waiting is slowed down like a guesser.
func TestNTLMHeldOn(t *testing.T) {
	for _, how := range []string{"closed", "taken away"} {
		synctest.Test(t, func(t *testing.T) {
			a, _, _ := setup(Limits{NetworkFailures: 2})
			d := a.ntlm.(*domain)
			var waited []time.Duration
			for range 4 {
				x, err := a.Begin(t.Context(), legacy("192.0.2.1:1"), "NTLM")
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if _, _, err := x.Next(t.Context(), append([]byte("NTLMSSP\x00\x01\x00\x00\x00"), make([]byte, 20)...)); err != nil {
					t.Fatal(err)
				}
				waited = append(waited, time.Since(began))
				if how == "taken away" {
					d.err = mail.Errorf(mail.KindLimit, "")
					_, _, err := x.Next(t.Context(), ntlmAnswer("EXAMPLE", "anna"))
					wantKind(t, how, err, mail.KindUnavailable)
					d.err = nil
				}
				x.Close()
			}
			if want := []time.Duration{0, 0, 0, 250e6}; !slices.Equal(waited, want) || d.open != 0 {
				t.Errorf("%s: waited %v, want %v; %d are open", how, waited, want, d.open)
			}
		})
	}
}
