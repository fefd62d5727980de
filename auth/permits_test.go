package auth

import (
	"fmt"
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
SCRAM-SHA-1          | yes                  | yes                           | no                | yes                | yes                         | yes
SCRAM-SHA-256        | yes                  | yes                           | no                | yes                | yes                         | yes
SCRAM-SHA-512        | yes                  | yes                           | no                | yes                | yes                         | yes
SCRAM-SHA-1-PLUS     | no                   | no                            | no                | yes                | yes                         | yes
SCRAM-SHA-256-PLUS   | no                   | no                            | no                | yes                | yes                         | yes
SCRAM-SHA-512-PLUS   | no                   | no                            | no                | yes                | yes                         | yes
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
