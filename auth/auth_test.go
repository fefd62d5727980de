package auth

import (
	"crypto/md5"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	xdg "github.com/xdg-go/scram"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Every cell of the policy against the Authenticator: what is offered is what is
// accepted, and where it is not, nobody is asked and the record says so.
func TestPolicyIsKept(t *testing.T) {
	state, _, certificate := handshake(t)
	for _, service := range []settings.Service{settings.POP3, settings.IMAP4} {
		policyCells(t, func(method string, encrypted bool, login mail.LoginType, want bool) {
			a, p, attempts := setup(noDelay)
			p.tickets = true
			c := Conn{Service: service, LoginType: login, Protection: settings.AllowProtection, Mechanisms: everyMechanism(), Remote: from("127.0.0.1:1")}
			if encrypted {
				c.Client, c.TLS, c.Certificate = clientCertificate, &state, certificate
			}
			var err error
			if strings.Contains(method, " ") {
				if strings.HasPrefix(method, "POP3") != (service == settings.POP3) {
					return
				}
				if got := a.PasswordAllowed(c).OK; got != want {
					t.Errorf("%s, tls %v, %v: PasswordAllowed is %v", method, encrypted, login, got)
				}
				_, err = a.Password(t.Context(), c, "anna@example.org", "secret")
				if got := a.RefusePassword(t.Context(), c) == nil; got != want {
					t.Errorf("%s, tls %v, %v: RefusePassword is %v", method, encrypted, login, !got)
				}
			} else if method == "APOP" {
				if service != settings.POP3 {
					return
				}
				if c.Timestamp = a.Timestamp(c); (c.Timestamp != "") != want {
					t.Errorf("APOP, tls %v, %v: the timestamp is %q", encrypted, login, c.Timestamp)
				}
				a.APOP(t.Context(), c, "")
				_, err = a.APOP(t.Context(), c, fmt.Sprintf("anna@example.org %x", md5.Sum([]byte(c.Timestamp+"secret"))))
			} else {
				if got := slices.Contains(a.Offered(c), method); got != want {
					t.Errorf("%s, tls %v, %v: offered is %v", method, encrypted, login, got)
				}
				for _, name := range []string{method, strings.ToLower(method)} {
					var x *Exchange
					x, err = a.Begin(t.Context(), c, name)
					if (x != nil) != want || (err == nil) != want {
						t.Errorf("%s, tls %v, %v: Begin gave %v, %v", name, encrypted, login, x, err)
					}
				}
			}
			if want {
				if err != nil {
					t.Errorf("%s, tls %v, %v: %v", method, encrypted, login, err)
				}
				return
			}
			wantKind(t, method, err, mail.KindPrivacyRequired)
			if !strings.Contains(mail.TextOf(err), "TLS") {
				t.Errorf("%s: the text is %q", method, mail.TextOf(err))
			}
			if p.checks != 0 {
				t.Errorf("%s, tls %v, %v: the directory was asked", method, encrypted, login)
			}
			if len(*attempts) != 2 || mail.KindOf((*attempts)[0].Err) != mail.KindPrivacyRequired {
				t.Errorf("%s, tls %v, %v: the record is %v", method, encrypted, login, *attempts)
			}
		})
	}
}

func TestOffered(t *testing.T) {
	state, _, certificate := handshake(t)
	const scram, tokens, plain = "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1", "OAUTHBEARER XOAUTH2", "PLAIN LOGIN"
	const plus = "SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS"
	for _, c := range []struct {
		conn Conn
		want string
	}{
		{Conn{LoginType: mail.SecureLogin}, ""},
		{Conn{LoginType: mail.PlainTextAuthentication}, scram},
		{Conn{LoginType: mail.PlainTextLogin}, scram + " " + plain},
		{Conn{LoginType: mail.SecureLogin, Protection: settings.AllowProtection, TLS: &state, Certificate: certificate}, plus + " " + scram + " " + tokens + " " + plain},
		{Conn{LoginType: mail.SecureLogin, Protection: settings.AllowProtection, TLS: &state}, plus + " " + scram + " " + tokens + " " + plain},
		// A connection without any binding (TLS 1.2 without extended master secret).
		{Conn{LoginType: mail.SecureLogin, Protection: settings.AllowProtection, TLS: &tls.ConnectionState{}}, scram + " " + tokens + " " + plain},
		{Conn{}, ""},
	} {
		a, _, _ := setup(noDelay)
		if got := strings.Join(a.Offered(c.conn), " "); got != c.want {
			t.Errorf("%v: offered %q, want %q", c.conn.LoginType, got, c.want)
		}
		for _, m := range sasl.Mechanisms {
			_, err := a.Begin(t.Context(), c.conn, m.Name)
			if (err == nil) != slices.Contains(a.Offered(c.conn), m.Name) {
				t.Errorf("%s: Begin says %v", m.Name, err)
			}
		}
	}
}

func TestBeginUnknown(t *testing.T) {
	a, p, attempts := setup(noDelay)
	for _, name := range []string{"", "APOP", "PLAIN\x00", strings.Repeat("A", 1000), "LOGIN command"} {
		_, err := a.Begin(t.Context(), clear("192.0.2.1:1"), name)
		wantKind(t, name, err, mail.KindCannot)
	}
	if p.checks != 0 || len(*attempts) != 5 || (*attempts)[1].Mechanism != "unknown" {
		t.Errorf("%d checks, %v", p.checks, *attempts)
	}
}

func TestPassword(t *testing.T) {
	const ok = mail.Kind(-1)
	for _, c := range []struct {
		service        settings.Service
		user, password string
		kind           mail.Kind
		checks         int
	}{
		{settings.IMAP4, "anna@example.org", "secret", ok, 1},
		{settings.POP3, "anna@example.org", "secret", ok, 1},
		{settings.IMAP4, "Anna@EXAMPLE.org", "secret", ok, 1}, // names are prepared
		{settings.IMAP4, "post@example.org", "secret", ok, 1}, // an alias
		{settings.IMAP4, "anna@example.org", "wrong", mail.KindAuthenticationFailed, 1},
		{settings.IMAP4, "anna@example.org", "Secret", mail.KindAuthenticationFailed, 1},
		{settings.IMAP4, "nobody", "secret", mail.KindAuthenticationFailed, 1},
		{settings.IMAP4, "none", "secret", mail.KindAuthenticationFailed, 1},
		// None of these reaches the directory.
		{settings.IMAP4, "anna@example.org", "", mail.KindAuthenticationFailed, 0},
		{settings.IMAP4, "none", "", mail.KindAuthenticationFailed, 0},
		{settings.IMAP4, "nobody", "", mail.KindAuthenticationFailed, 0},
		{settings.IMAP4, "", "secret", mail.KindAuthenticationFailed, 0},
		{settings.IMAP4, "anna@example.org\x00", "secret", mail.KindAuthenticationFailed, 0},
		{settings.IMAP4, "anna@example.org\r\n", "secret", mail.KindAuthenticationFailed, 0},
		{settings.IMAP4, "anna\xff", "secret", mail.KindAuthenticationFailed, 0},
		{settings.IMAP4, strings.Repeat("a", 256), "secret", mail.KindAuthenticationFailed, 0},
		{settings.IMAP4, "anna@example.org", "secret\x00", mail.KindAuthenticationFailed, 0},
		{settings.IMAP4, "anna@example.org", "sec\xffret", mail.KindAuthenticationFailed, 0},
		{settings.IMAP4, "anna@example.org", strings.Repeat("x", 1025), mail.KindAuthenticationFailed, 0},
		// What is switched off is said to the owner only.
		{settings.IMAP4, "off", "secret", mail.KindDisabled, 1},
		{settings.IMAP4, "off", "wrong", mail.KindAuthenticationFailed, 1},
		{settings.IMAP4, "imapless", "secret", mail.KindDisabled, 1},
		{settings.IMAP4, "imapless", "wrong", mail.KindAuthenticationFailed, 1},
		{settings.POP3, "imapless", "secret", ok, 1},
		{settings.POP3, "popless", "secret", mail.KindDisabled, 1},
		{settings.IMAP4, "popless", "secret", ok, 1},
		{"NNTP", "anna@example.org", "secret", mail.KindDisabled, 1},
	} {
		conn := clear("192.0.2.1:1")
		conn.Service = c.service
		for _, way := range []string{"command", "PLAIN", "LOGIN"} {
			a, p, attempts := setup(noDelay)
			var id *Identity
			var err error
			if way == "command" {
				id, err = a.Password(t.Context(), conn, c.user, c.password)
			} else {
				x, beginErr := a.Begin(t.Context(), conn, way)
				if beginErr != nil {
					t.Fatal(beginErr)
				}
				responses := []string{c.user, c.password}
				if way == "PLAIN" {
					responses = []string{"\x00" + c.user + "\x00" + c.password}
				}
				for _, r := range responses {
					if id == nil && err == nil {
						_, id, err = x.Next(t.Context(), []byte(r))
					}
				}
			}
			what := way + " " + string(c.service) + " " + c.user + " " + c.password
			if c.kind == ok {
				if err != nil || id == nil || id.Entry.Account == 0 || id.TLS || !strings.HasPrefix(id.Mechanism, way) && way != "command" {
					t.Errorf("%s: %+v, %v", what, id, err)
				}
			} else {
				wantKind(t, what, err, c.kind)
				if id != nil {
					t.Errorf("%s: an identity", what)
				}
				if c.kind == mail.KindAuthenticationFailed && mail.TextOf(err) != "Authentication failed." {
					t.Errorf("%s: the text says %q", what, mail.TextOf(err))
				}
			}
			if p.checks != c.checks {
				t.Errorf("%s: %d checks, want %d", what, p.checks, c.checks)
			}
			if len(*attempts) != 1 || ((*attempts)[0].Err == nil) != (c.kind == ok) {
				t.Errorf("%s: the record is %v", what, *attempts)
			}
		}
	}
}

// A directory that cannot say is never taken for a wrong password, nor counted.
func TestDirectoryUnavailable(t *testing.T) {
	a, p, _ := setup(Limits{})
	p.err = errors.New("connection refused")
	for range 20 { // delays would show
		_, err := a.Password(t.Context(), clear("192.0.2.1:1"), "anna@example.org", "secret")
		wantKind(t, "Password", err, mail.KindUnavailable)
		if strings.Contains(mail.TextOf(err), "refused") {
			t.Errorf("the client reads %q", mail.TextOf(err))
		}
		x, err := a.Begin(t.Context(), clear("192.0.2.1:1"), "SCRAM-SHA-256")
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = x.Next(t.Context(), []byte("n,,n=anna@example.org,r=abc"))
		wantKind(t, "SCRAM", err, mail.KindUnavailable)
	}
}

// scram signs in with the client of xdg-go/scram; steps counts what it sent.
func scram(t *testing.T, a *Authenticator, c Conn, mechanism, user, password, authzid string, binding *xdg.ChannelBinding) (id *Identity, steps int, err error) {
	t.Helper()
	client, err := xdg.SHA256.NewClient(user, password, authzid)
	if err != nil {
		t.Fatal(err)
	}
	conversation := client.NewConversation()
	if binding != nil {
		conversation = client.NewConversationWithChannelBinding(*binding)
	}
	x, err := a.Begin(t.Context(), c, mechanism)
	if err != nil {
		return nil, 0, err
	}
	var challenge []byte
	for {
		message := ""
		if !conversation.Done() {
			if message, err = conversation.Step(string(challenge)); err != nil {
				return nil, steps, err
			}
		}
		steps++
		challenge, id, err = x.Next(t.Context(), []byte(message))
		if err != nil || id != nil {
			if _, _, again := x.Next(t.Context(), []byte{}); again == nil {
				t.Error("an exchange that is over goes on")
			}
			return id, steps, err
		}
	}
}

func TestScram(t *testing.T) {
	const ok = mail.Kind(-1)
	for _, c := range []struct {
		user, password, authzid string
		kind                    mail.Kind
		steps                   int
	}{
		{"anna@example.org", "secret", "", ok, 3},
		{"ANNA@example.ORG", "secret", "", ok, 3},
		{"post@example.org", "secret", "", ok, 3},
		{"anna@example.org", "secret", "anna@example.org", ok, 3},
		{"anna@example.org", "secret", "Post@Example.org", ok, 3},
		{"anna@example.org", "secret", "off", mail.KindAuthorizationFailed, 2},
		{"anna@example.org", "secret", "nobody", mail.KindAuthorizationFailed, 2},
		{"anna@example.org", "secret", "a b", mail.KindAuthorizationFailed, 2},
		{"anna@example.org", "wrong", "off", mail.KindAuthenticationFailed, 2},
		{"anna@example.org", "wrong", "", mail.KindAuthenticationFailed, 2},
		{"nobody", "secret", "", mail.KindAuthenticationFailed, 2}, // the whole exchange
		{"none", "secret", "", mail.KindAuthenticationFailed, 2},
		{"off", "secret", "", mail.KindDisabled, 2},
		{"off", "wrong", "", mail.KindAuthenticationFailed, 2},
		{"a b", "secret", "", mail.KindAuthenticationFailed, 1},
	} {
		a, _, attempts := setup(noDelay)
		id, steps, err := scram(t, a, clear("192.0.2.1:1"), "SCRAM-SHA-256", c.user, c.password, c.authzid, nil)
		what := c.user + " " + c.password + " " + c.authzid
		if steps != c.steps {
			t.Errorf("%s: %d steps, want %d", what, steps, c.steps)
		}
		if c.kind != ok {
			wantKind(t, what, err, c.kind)
		} else if err != nil || id.Entry.Name != "anna@example.org" || id.Mechanism != "SCRAM-SHA-256" {
			t.Errorf("%s: %+v, %v", what, id, err)
		}
		if len(*attempts) != 1 || ((*attempts)[0].Err == nil) != (c.kind == ok) {
			t.Errorf("%s: the record is %v", what, *attempts)
		}
	}
}

func TestScramPlus(t *testing.T) {
	a, _, _ := setup(noDelay)
	state, clientState, certificate := handshake(t)
	c := Conn{Service: settings.IMAP4, LoginType: mail.SecureLogin, Protection: settings.AllowProtection, TLS: &state, Certificate: certificate, Remote: from("192.0.2.1:1")}
	binding, err := xdg.NewTLSExporterBinding(&clientState)
	if err != nil {
		t.Fatal(err)
	}
	if id, _, err := scram(t, a, c, "SCRAM-SHA-256-PLUS", "anna@example.org", "secret", "", &binding); err != nil || !id.TLS {
		t.Errorf("%+v, %v", id, err)
	}
	_, other, _ := handshake(t)
	if binding, err = xdg.NewTLSExporterBinding(&other); err != nil {
		t.Fatal(err)
	}
	_, _, err = scram(t, a, c, "SCRAM-SHA-256-PLUS", "anna@example.org", "secret", "", &binding)
	wantKind(t, "another connection", err, mail.KindAuthenticationFailed)
	x, err := a.Begin(t.Context(), c, "SCRAM-SHA-256")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = x.Next(t.Context(), []byte("y,,n=anna@example.org,r=abc"))
	wantKind(t, "-PLUS taken out on the way", err, mail.KindAuthenticationFailed)
}

func TestPlainAuthzid(t *testing.T) {
	for authzid, kind := range map[string]mail.Kind{"": -1, "anna@example.org": -1, "POST@example.org": -1, "off": mail.KindAuthorizationFailed, "\x01": mail.KindAuthorizationFailed} {
		a, _, _ := setup(noDelay)
		x, err := a.Begin(t.Context(), clear("192.0.2.1:1"), "PLAIN")
		if err != nil {
			t.Fatal(err)
		}
		_, id, err := x.Next(t.Context(), []byte(authzid+"\x00anna@example.org\x00secret"))
		if kind == -1 {
			if err != nil || id == nil {
				t.Errorf("%q: %v", authzid, err)
			}
		} else {
			wantKind(t, authzid, err, kind)
		}
	}
}

// TestConsole: the console's sign-in has the policy and the brakes of every other
// one; which protocols a mailbox may use says nothing about it.
func TestConsole(t *testing.T) {
	state, _, _ := handshake(t)
	a, _, attempts := setup(noDelay)
	c := Conn{Service: settings.Console, LoginType: mail.SecureLogin, Remote: from("192.0.2.1:1")}
	_, err := a.Password(t.Context(), c, "anna@example.org", "secret")
	wantKind(t, "without TLS", err, mail.KindPrivacyRequired)
	c.TLS, c.Protection = &state, settings.AllowProtection
	for _, name := range []string{"anna@example.org", "popless", "imapless"} {
		if id, err := a.Password(t.Context(), c, name, "secret"); err != nil || id.Entry.Name != name || id.Mechanism != "console sign-in" {
			t.Error(name, id, err)
		}
	}
	for _, wrong := range [][2]string{{"anna@example.org", "Secret"}, {"anna@example.org", ""}, {"nobody@example.org", "secret"}, {"", ""}, {"a\x00b", "secret"}} {
		_, err := a.Password(t.Context(), c, wrong[0], wrong[1])
		wantKind(t, wrong[0], err, mail.KindAuthenticationFailed)
	}
	if last := (*attempts)[len(*attempts)-1]; last.Service != settings.Console || !last.TLS {
		t.Errorf("%+v", last)
	}
	_, err = a.Password(t.Context(), c, "off", "secret")
	wantKind(t, "switched off", err, mail.KindDisabled)
	_, err = a.Password(t.Context(), c, "off", "wrong")
	wantKind(t, "switched off, wrong password", err, mail.KindAuthenticationFailed)
}

// TestWiped: what a client sent is wiped when its sign-in is decided, either way.
func TestWiped(t *testing.T) {
	for _, password := range []string{"secret", "wrong"} {
		a, _, _ := setup(noDelay)
		x, err := a.Begin(t.Context(), clear("192.0.2.1:1"), "PLAIN")
		if err != nil {
			t.Fatal(err)
		}
		response := []byte("\x00anna@example.org\x00" + password)
		if _, id, err := x.Next(t.Context(), response); (id != nil) != (password == "secret") {
			t.Fatal(err)
		}
		if strings.Trim(string(response), "\x00") != "" {
			t.Errorf("%q is left", response)
		}
	}
}
