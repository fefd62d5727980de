package auth

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// The whole policy, for a reviewer to read. A row is a method, a column a state of
// the connection.
const policy = `
method               | clear PlainTextLogin | clear PlainTextAuthentication | clear SecureLogin | tls PlainTextLogin | tls PlainTextAuthentication | tls SecureLogin
POP3 USER+PASS       | yes                  | no                            | no                | yes                | yes                         | yes
IMAP LOGIN           | yes                  | no                            | no                | yes                | yes                         | yes
PLAIN                | yes                  | no                            | no                | yes                | yes                         | yes
LOGIN                | yes                  | no                            | no                | yes                | yes                         | yes
GSSAPI               | yes                  | yes                           | no                | yes                | yes                         | yes
GS2-KRB5             | yes                  | yes                           | no                | yes                | yes                         | yes
GSS-SPNEGO           | yes                  | yes                           | no                | yes                | yes                         | yes
SCRAM-SHA-1          | yes                  | yes                           | no                | yes                | yes                         | yes
SCRAM-SHA-256        | yes                  | yes                           | no                | yes                | yes                         | yes
SCRAM-SHA-512        | yes                  | yes                           | no                | yes                | yes                         | yes
EXTERNAL             | no                   | no                            | no                | yes                | yes                         | yes
OAUTHBEARER          | no                   | no                            | no                | yes                | yes                         | yes
XOAUTH2              | no                   | no                            | no                | yes                | yes                         | yes
GS2-KRB5-PLUS        | no                   | no                            | no                | yes                | yes                         | yes
SCRAM-SHA-1-PLUS     | no                   | no                            | no                | yes                | yes                         | yes
SCRAM-SHA-256-PLUS   | no                   | no                            | no                | yes                | yes                         | yes
SCRAM-SHA-512-PLUS   | no                   | no                            | no                | yes                | yes                         | yes
CRAM-MD5             | yes                  | yes                           | no                | yes                | yes                         | yes
APOP                 | yes                  | yes                           | no                | yes                | yes                         | yes
NTLM                 | yes                  | yes                           | no                | yes                | yes                         | yes
`

// policyCells calls each with every cell of the table.
func policyCells(t *testing.T, each func(method string, tls bool, login mail.LoginType, want bool)) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(policy), "\n")
	columns := strings.Split(lines[0], "|")
	cells := 0
	for _, line := range lines[1:] {
		fields := strings.Split(line, "|")
		for i, column := range columns[1:] {
			state, name, _ := strings.Cut(strings.TrimSpace(column), " ")
			login, err := mail.ParseLoginType(name)
			answer := strings.TrimSpace(fields[i+1])
			if err != nil || state != "clear" && state != "tls" || answer != "yes" && answer != "no" {
				t.Fatalf("the table cannot be read: %q %q", column, answer)
			}
			each(strings.TrimSpace(fields[0]), state == "tls", login, answer == "yes")
			cells++
		}
	}
	if want := (2 + len(sasl.Mechanisms)) * 2 * len(mail.LoginTypes); cells != want {
		t.Errorf("the table has %d cells, want %d: every mechanism needs a row", cells, want)
	}
}

func TestPermits(t *testing.T) {
	policyCells(t, func(method string, tls bool, login mail.LoginType, want bool) {
		class := sasl.Password // of the commands
		if !strings.Contains(method, " ") {
			m, ok := sasl.Find(method)
			if !ok {
				t.Fatalf("no mechanism %s", method)
			}
			class = m.Class
		}
		d := Permits(login, class, tls)
		if d.OK != want {
			t.Errorf("%s, tls %v, %v: %v, want %v", method, tls, login, d.OK, want)
		}
		if (d.Err() == nil) != want {
			t.Errorf("%s, tls %v, %v: Err is %v", method, tls, login, d.Err())
		}
		if d.Rule == RuleDefault {
			t.Errorf("%s, tls %v, %v: no rule decided", method, tls, login)
		}
	})
}

// What nobody thought of is refused.
func TestPermitsDefaultDeny(t *testing.T) {
	for _, login := range []mail.LoginType{-1, 0, 4, 1 << 20} {
		for _, class := range sasl.Classes {
			if Permits(login, class, false).OK {
				t.Errorf("LoginType %d permits %v in the clear", login, class)
			}
		}
	}
	for _, class := range []sasl.Class{-1, 0, 4, 1 << 20} {
		for _, login := range append([]mail.LoginType{0, 4}, mail.LoginTypes...) {
			for _, tls := range []bool{false, true} {
				if d := Permits(login, class, tls); d.OK || mail.KindOf(d.Err()) != mail.KindPrivacyRequired {
					t.Errorf("%v permits class %d, tls %v", login, class, tls)
				}
			}
		}
	}
}

// The reason says what to do on each service.
func TestDecisionText(t *testing.T) {
	for _, c := range []struct {
		conn Conn
		want string
	}{
		{Conn{Service: settings.IMAP4, LoginType: mail.SecureLogin, TLSPort: "993"}, "This server requires TLS: use STARTTLS or port 993."},
		{Conn{Service: settings.POP3, LoginType: mail.SecureLogin}, "This server requires TLS: use STLS."},
		{Conn{Service: settings.POP3, LoginType: mail.PlainTextAuthentication, TLSPort: "10995"}, "This server requires TLS: use STLS or port 10995."},
		{Conn{Service: "NNTP", LoginType: mail.SecureLogin}, "This server requires TLS: use STARTTLS."},
		{Conn{Service: settings.POP3, LoginType: 9}, "This way of signing in is not permitted here."},
	} {
		a := New(Options{})
		d := a.PasswordAllowed(c.conn)
		if d.Text != c.want || mail.TextOf(d.Err()) != c.want || mail.KindOf(d.Err()) != mail.KindPrivacyRequired {
			t.Errorf("%s: got %q, want %q", fmt.Sprint(c.conn.Service, c.conn.LoginType), d.Text, c.want)
		}
	}
}

// What ExtendedProtectionPolicy leaves, for a reviewer to read: a row is a way to sign
// in, a column a policy and a state of the connection; "tls" is refused until there is
// TLS, "no" is refused.
const protection = `
method               | None clear | Allow clear | Require clear | None tls | Allow tls | Require tls
not bound            | yes        | yes         | tls           | yes      | yes       | no
bound                | yes        | yes         | tls           | yes      | yes       | yes
-PLUS                | no         | yes         | tls           | no       | yes       | yes
`

func TestProtects(t *testing.T) {
	policies := map[string]settings.ExtendedProtection{
		"None": settings.NoProtection, "Allow": settings.AllowProtection, "Require": settings.RequireProtection,
	}
	lines := strings.Split(strings.TrimSpace(protection), "\n")
	columns := strings.Split(lines[0], "|")
	for _, line := range lines[1:] {
		fields := strings.Split(line, "|")
		method := strings.TrimSpace(fields[0])
		for i, column := range columns[1:] {
			name, state, _ := strings.Cut(strings.TrimSpace(column), " ")
			d := Protects(policies[name], method != "not bound", method == "-PLUS", state == "tls")
			got := "yes"
			if !d.OK {
				got = map[mail.Kind]string{mail.KindPrivacyRequired: "tls", mail.KindCannot: "no"}[mail.KindOf(d.Err())]
			}
			if want := strings.TrimSpace(fields[i+1]); got != want || d.Rule == RuleDefault {
				t.Errorf("%s, %s: %s (%s), want %s", method, column, got, d.Rule, want)
			}
		}
	}
	for _, p := range []settings.ExtendedProtection{-1, 3, 1 << 20} {
		for _, bound := range []bool{false, true} {
			if Protects(p, bound, bound, true).OK {
				t.Errorf("policy %d accepts something", p)
			}
		}
	}
}

// The settings and the table of mechanisms name the same, in the same order, and agree
// on which are bound.
func TestMechanismsAreSettings(t *testing.T) {
	var names []string
	for _, m := range sasl.Mechanisms {
		names = append(names, m.Name)
		if settings.Binds(m.Name) != m.Bound {
			t.Errorf("%s: settings.Binds is %v", m.Name, !m.Bound)
		}
		if settings.LegacyMechanism(m.Name) != m.Legacy() {
			t.Errorf("%s: settings.LegacyMechanism is %v", m.Name, !m.Legacy())
		}
	}
	if got := settings.AuthMechanisms.Completions(settings.POP3); !slices.Equal(got, names) {
		t.Errorf("the setting has %q, the table %q", got, names)
	}
}

// What AuthMechanisms does not name is neither offered nor accepted, under every
// policy; what is offered is what Begin accepts.
func TestAuthMechanisms(t *testing.T) {
	state, _, certificate := handshake(t)
	a, p, attempts := setup(noDelay)
	for _, encrypted := range []bool{false, true} {
		for _, policy := range []settings.ExtendedProtection{settings.NoProtection, settings.AllowProtection, settings.RequireProtection} {
			for _, named := range sasl.Mechanisms {
				c := Conn{Service: settings.IMAP4, LoginType: mail.PlainTextLogin, Protection: policy, Mechanisms: []string{named.Name}}
				if encrypted {
					c.Client, c.TLS, c.Certificate = clientCertificate, &state, certificate
				}
				offered := a.Offered(c)
				if len(offered) > 1 || len(offered) == 1 && offered[0] != named.Name {
					t.Errorf("%s: offered %q", named.Name, offered)
				}
				for _, m := range sasl.Mechanisms {
					_, err := a.Begin(t.Context(), c, m.Name)
					if (err == nil) != slices.Contains(offered, m.Name) {
						t.Errorf("named %s, %s: Begin says %v", named.Name, m.Name, err)
					}
					if m.Name != named.Name {
						wantKind(t, m.Name, err, mail.KindCannot)
					}
				}
				password := named.Name == "PLAIN" && policy != settings.RequireProtection
				if a.PasswordAllowed(c).OK != password {
					t.Errorf("named %s, policy %v, TLS %v: a password is accepted: %v", named.Name, policy, encrypted, !password)
				}
				if _, err := a.Password(t.Context(), c, "anna@example.org", "secret"); (err == nil) != password {
					t.Errorf("named %s: Password says %v", named.Name, err)
				}
			}
		}
	}
	if len(*attempts) == 0 || p.checks > 2*2*2 {
		t.Errorf("%d attempts are recorded, the directory was asked %d times", len(*attempts), p.checks)
	}
}

// A stripped -PLUS is detected for as long as a -PLUS is offered at all.
func TestStripped(t *testing.T) {
	state, _, certificate := handshake(t)
	plus := []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"}
	for _, hash := range sasl.Hashes {
		for _, c := range []struct {
			what       string
			protection settings.ExtendedProtection
			named      []string
			begins, ok bool
		}{
			{"Allow", settings.AllowProtection, nil, true, false},
			{"Allow, one -PLUS", settings.AllowProtection, []string{plus[0], "SCRAM-" + hash}, true, false},
			{"Allow, no -PLUS", settings.AllowProtection, []string{"SCRAM-" + hash}, true, true},
			{"None", settings.NoProtection, nil, true, true},
			{"Require", settings.RequireProtection, nil, false, false},
		} {
			a, _, _ := setup(noDelay)
			x, err := a.Begin(t.Context(), Conn{Service: settings.POP3, LoginType: mail.SecureLogin, Protection: c.protection,
				Mechanisms: c.named, TLS: &state, Certificate: certificate}, "SCRAM-"+hash)
			if (err == nil) != c.begins {
				t.Errorf("%s %s: Begin says %v", hash, c.what, err)
			}
			if err != nil {
				wantKind(t, c.what, err, mail.KindCannot)
				continue
			}
			_, _, err = x.Next(t.Context(), []byte("y,,n=anna@example.org,r=abcdefgh"))
			if (err == nil) != c.ok {
				t.Errorf("%s %s: y gives %v", hash, c.what, err)
			}
		}
	}
}
