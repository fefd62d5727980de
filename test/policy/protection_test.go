package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/mail"
)

const stripped = "stripped"

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
	s := &speaker{clients: map[string]*scram.Client{}}
	count := 0
	for _, policy := range []string{"None", "Allow", "Require"} {
		for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
			r.run(t, set, map[string]any{"ExtendedProtectionPolicy": policy})
		}
		for _, protocol := range protocols {
			for _, w := range ways {
				list := methods(protocol)
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
	if accepted := answer == "yes" || answer == "failed"; shown != accepted {
		t.Errorf("%s: offered is %v", at, shown)
	}
	c := cell{protocol: protocol, way: w, method: m, spelling: "upper", initial: true, credentials: "right"}
	r.asked.take(0)
	var o outcome
	switch m.class {
	case command:
		o, err = conn.attempt(s.command(c), false)
	case stripped:
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
	}[answer][protocol]
	asked := r.asked.take(0)
	switch {
	case !strings.HasPrefix(o.status, begins) || answer == "no" && strings.Contains(o.status, "[AUTH]"):
		t.Errorf("%s: answered %q, want %s", at, o.status, answer)
	case o.in != (answer == "yes"):
		t.Errorf("%s: answered %q, and logged in afterwards: %v", at, o.status, o.in)
	case (answer == "yes") != (asked == 1):
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
