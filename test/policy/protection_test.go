package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/krb5/krb5test"
	"github.com/postern-mail/postern/mail"
)

// Classes of protection.csv alone.
const (
	stripped     = "stripped"
	unbound      = "unbound"
	ticketBound  = "ticket"
	foreign      = "foreign"
	boundForeign = "bound-foreign"
)

// protected are the ways of using a mechanism that shows tickets, by class.
func protected() (list []method) {
	for _, m := range byTicket {
		classes := []string{unbound, ticketBound, foreign}
		switch m.mechanism {
		case "GS2-KRB5":
			classes = []string{challenge, stripped}
		case "GS2-KRB5-PLUS":
			classes = []string{bound, boundForeign}
		}
		for _, class := range classes {
			forms := []string{"tls-exporter", "tls-server-end-point"}
			if class == unbound || class == challenge || class == stripped {
				forms = []string{""}
			}
			for _, form := range forms {
				list = append(list, method{mechanism: m.mechanism, form: form, class: class, ticket: true})
			}
		}
	}
	return list
}

// TestExtendedProtection makes a right log-in by every method, on every connection, under
// every ExtendedProtectionPolicy, with the method named in AuthMechanisms and not, and
// compares the answer, what is offered, and how often the directory is asked.
func TestExtendedProtection(t *testing.T) {
	want := map[string]map[string]string{}
	for _, row := range rows(t, "testdata/protection.csv") {
		want[row["connection"]+" "+row["class"]] = row
	}
	r := start(t, 1)
	r.login(t, mail.PlainTextLogin)
	s := &speaker{t: t, clients: map[string]*scram.Client{}, tickets: newTickets(t, r.asked, 1)}
	count := 0
	for _, policy := range []string{"None", "Allow", "Require"} {
		for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
			r.run(t, set, map[string]any{"ExtendedProtectionPolicy": policy})
		}
		for _, protocol := range protocols {
			for _, w := range ways {
				list := append(methods(protocol), protected()...)
				for _, m := range list {
					if m.hash != "" && m.class == challenge {
						m.class = stripped
						list = append(list, m)
					}
				}
				for _, m := range list {
					answer := want[w.name+" "+m.class][policy]
					if answer == "" {
						t.Fatalf("protection.csv has no row %s %s", w.name, m.class)
					}
					count++
					protectionCell(t, r, s, policy+", "+protocol+", "+w.String()+", "+m.String()+" "+m.class, protocol, w, m, answer)
				}
			}
		}
	}
	t.Logf("%d cells", count)
}

func protectionCell(t *testing.T, r *running, s *speaker, at, protocol string, w way, m method, answer string) {
	t.Helper()
	conn, err := r.dial(protocol, w)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close()
	names, offered, err := conn.capabilities()
	if err != nil {
		t.Fatal(err)
	}
	shown := slices.Contains(offered, m.mechanism)
	if m.class == command {
		shown = protocol == "POP3" && names["USER"] || protocol == "IMAP4" && !names["LOGINDISABLED"]
	}
	if accepted := answer == "yes" || answer == "failed" || answer == "denied"; shown != accepted {
		t.Errorf("%s: offered is %v", at, shown)
	}
	c := cell{protocol: protocol, way: w, method: m, spelling: "upper", initial: true, credentials: "right"}
	r.asked.take(0)
	var o outcome
	switch {
	case m.class == command:
		o, err = conn.attempt(s.command(c), false)
	case m.ticket:
		o = s.protectedTicket(t, c, conn)
	case m.class == stripped:
		client, e := s.client(m.hash, address(anna, 0), password, "")
		if e != nil {
			t.Fatal(e)
		}
		o = conversation(t, conn, m.mechanism, client.NewConversationAdvertisingChannelBinding())
	default:
		d, e := s.sasl(c, conn)
		if e != nil {
			t.Fatal(e)
		}
		o, err = conn.attempt(d, false)
	}
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	begins := map[string]map[string]string{
		"yes":    {"POP3": "+OK", "IMAP4": "OK"},
		"tls":    {"POP3": "-ERR [AUTH]", "IMAP4": "NO [PRIVACYREQUIRED]"},
		"no":     {"POP3": "-ERR ", "IMAP4": "NO [CANNOT]"},
		"failed": failedLogin,
		"denied": failedLogin,
	}[answer][protocol]
	asked := r.asked.take(0)
	switch {
	case !strings.HasPrefix(o.status, begins) || answer == "no" && strings.Contains(o.status, "[AUTH]"):
		t.Errorf("%s: answered %q, want %s", at, o.status, answer)
	case o.in != (answer == "yes"):
		t.Errorf("%s: answered %q, and logged in afterwards: %v", at, o.status, o.in)
	case (answer == "yes" || answer == "denied") != (asked == 1):
		t.Errorf("%s: the directory was asked %d times", at, asked)
	case (answer == "tls" || answer == "no") && o.asks > 0:
		t.Errorf("%s: asked for something that is refused", at)
	}
	if o.in {
		if err := conn.quit(); err != nil {
			t.Error(err)
		}
	}
}

// protectedTicket shows a ticket with the binding that the method's class says.
func (s *speaker) protectedTicket(t *testing.T, c cell, conn *client) outcome {
	t.Helper()
	class := c.method.class
	if class == boundForeign {
		c.method.class = bound
	}
	first, replies := s.showTicket(t, c, conn, address(anna, 0), "", func(_ *krb5test.Want, ticket *krb5test.Client) {
		switch {
		case ticket == nil:
		case class == ticketBound, class == foreign:
			b, err := bindingOf(conn, c.method.form)
			if err != nil {
				t.Fatal(err)
			}
			ticket.Binding = krb5.Bind(slices.Concat([]byte(c.method.form+":"), b.Data))
		}
		if ticket != nil && (class == foreign || class == boundForeign) {
			ticket.Binding[0] ^= 1
		}
	})
	return exchange(t, conn, c.method.mechanism, first, replies...)
}

// TestAuthMechanisms has one mechanism at a time named: it alone is offered and
// accepted; the commands go with PLAIN.
func TestAuthMechanisms(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.PlainTextLogin)
	s := &speaker{clients: map[string]*scram.Client{}}
	for _, named := range mechanisms {
		if named.class == unknown {
			continue
		}
		for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
			r.run(t, set, map[string]any{"AuthMechanisms": []string{named.mechanism}})
		}
		for _, protocol := range protocols {
			for _, w := range []way{ways[0], ways[4]} {
				for _, m := range methods(protocol) {
					answer := "no"
					switch {
					case m.mechanism == named.mechanism && (m.class == bound || m.class == token) && w.version == 0:
						answer = "tls"
					case m.mechanism == named.mechanism, m.class == command && named.mechanism == "PLAIN":
						answer = "yes"
					}
					protectionCell(t, r, s, named.mechanism+" alone, "+protocol+", "+w.String()+", "+m.String(), protocol, w, m, answer)
				}
			}
		}
	}
}
