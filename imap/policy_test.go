package imap

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/store/memory"
)

// permitted is the login policy once more, written down without the code.
func permitted(t mail.LoginType, m sasl.Class, encrypted bool) bool {
	switch {
	case encrypted:
		return true
	case m == sasl.TLSOnly:
		return false
	case t == mail.PlainTextLogin:
		return true
	case t == mail.PlainTextAuthentication:
		return m == sasl.Challenge
	}
	return false
}

// attempt is one way of signing in: what is sent, and whether it carries a
// password, spelled in many ways.
type attempt struct {
	name    string
	class   sasl.Class
	command string
}

func attempts() []attempt {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00alice\x00secret"))
	scram := base64.StdEncoding.EncodeToString([]byte("n,,n=alice,r=abcdefghijklmnop"))
	all := []attempt{
		{"LOGIN", sasl.Password, "a LOGIN alice secret\r\n"},
		{"LOGIN", sasl.Password, "a login \"alice\" {6+}\r\nsecret\r\n"},
		{"LOGIN", sasl.Password, "a LOGIN {5}\r\n"},
		{"LOGIN", sasl.Password, "a LoGiN alice {6}\r\n"},
	}
	for _, m := range sasl.Mechanisms {
		if m.Needs&sasl.NeedsCertificate != 0 || m.Legacy() {
			continue // test/policy has clients with certificates, and switches legacy ones on
		}
		initial := scram
		switch {
		case m.Name == "LOGIN":
			initial = base64.StdEncoding.EncodeToString([]byte("alice"))
		case m.Class == sasl.Password:
			initial = plain
		}
		for _, command := range []string{
			"a AUTHENTICATE " + m.Name + "\r\n",
			"a authenticate " + strings.ToLower(m.Name) + "\r\n",
			"a AUTHENTICATE " + m.Name + " " + initial + "\r\n",
			"a AUTHENTICATE " + m.Name + " =\r\n",
		} {
			all = append(all, attempt{"AUTH=" + m.Name, m.Class, command})
		}
	}
	return all
}

// TestPolicy tries every way of signing in, on every kind of connection, under
// every LoginType: what is offered is what is accepted, and what is not accepted
// is refused before anything is asked for.
func TestPolicy(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.people.tickets = true
	ts.listen(t)
	for _, loginType := range mail.LoginTypes {
		if err := ts.set("LoginType", loginType.String()); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"clear", "starttls", "ssl"} {
			for _, a := range attempts() {
				want := permitted(loginType, a.class, kind != "clear")
				offered, answer := try(t, ts, kind, a.command)
				cell := loginType.String() + ", " + kind + ", " + strings.TrimSpace(a.command)
				if a.name == "LOGIN" {
					if strings.Contains(offered, " LOGINDISABLED") == want {
						t.Errorf("%s: offered %q", cell, offered)
					}
				} else if strings.Contains(offered+" ", " "+a.name+" ") != want {
					t.Errorf("%s: offered %q", cell, offered)
				}
				if refused := strings.HasPrefix(answer, "a NO [PRIVACYREQUIRED]"); refused == want {
					t.Errorf("%s: answered %q", cell, answer)
				}
			}
		}
	}
}

// try connects, and gives what CAPABILITY offers and the first answer to command.
func try(t *testing.T, ts *testServer, kind, command string) (offered, answer string) {
	t.Helper()
	mode := ""
	if kind == "ssl" {
		mode = "ssl"
	}
	conn, err := ts.dial(mode)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { conn.Close() }()
	conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	line(t, r)
	if kind == "starttls" {
		say(t, conn, "s STARTTLS\r\n")
		line(t, r)
		conn = tls.Client(conn, clientTLS)
		r = bufio.NewReader(conn)
	}
	say(t, conn, "c CAPABILITY\r\n")
	offered = line(t, r)
	line(t, r)
	say(t, conn, command)
	return offered, line(t, r)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(s, "\r\n")
}

func say(t *testing.T, conn net.Conn, what string) {
	t.Helper()
	if _, err := io.WriteString(conn, what); err != nil {
		t.Fatal(err)
	}
}
