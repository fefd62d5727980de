package policy

import (
	"bytes"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
)

// FuzzExchange says anything in the exchange of any mechanism, at any place of
// matrix.csv. Who has logged in afterwards was at a place that says yes and knew a
// password; where it says no, the directory was not asked. Lines of said answer the
// server's challenges, in base64 unless they begin with "!"; the first comes with the
// command when initial.
func FuzzExchange(f *testing.F) {
	policy := loadMatrix(f)
	servers := map[mail.LoginType]*running{}
	for _, login := range mail.LoginTypes {
		r := start(f, 1)
		r.login(f, login)
		newTickets(f, r.asked, 1)
		servers[login] = r
	}
	var places []matrixPlace
	for _, protocol := range protocols {
		for _, w := range matrixWays {
			for _, mechanism := range matrixMechanisms {
				for _, login := range mail.LoginTypes {
					places = append(places, matrixPlace{protocol, w.name, mechanism, login})
				}
			}
		}
	}
	name := address(anna, 0)
	said := map[string]string{
		"PLAIN": "\x00" + name + "\x00" + password, "LOGIN": name + "\n" + password, "SCRAM-SHA-256": "n,,n=" + name + ",r=abcdefgh\nc=biws,r=abcdefgh,p=AAAA",
		"OAUTHBEARER": tokenMessage("OAUTHBEARER", name, tokenOf(name, password), "") + "\n\x01", "XOAUTH2": tokenMessage("XOAUTH2", name, tokenOf(name, password), ""),
		"EXTERNAL": name, "(command)": "!" + name + " " + password, "GS2-KRB5": "n,,\x01\x00", "ANONYMOUS": "trace", "APOP": "!" + name + " " + strings.Repeat("0", 32),
	}
	for i, at := range places {
		if text, ok := said[at.mechanism]; ok {
			f.Add(uint16(i), i%2 == 0, []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, place uint16, initial bool, said []byte) {
		at := places[int(place)%len(places)]
		r := servers[at.login]
		var w way
		for _, each := range matrixWays {
			if each.name == at.way {
				w = each
			}
		}
		lines := bytes.Split(said, []byte("\n"))
		for i, line := range lines {
			if text, raw := bytes.CutPrefix(line, []byte("!")); raw {
				lines[i] = printable(text)
			} else {
				lines[i] = []byte(encode(string(line)))
			}
		}
		d := dialogue{opening: map[string]string{"POP3": "AUTH ", "IMAP4": "AUTHENTICATE "}[at.protocol] + at.mechanism}
		if at.mechanism == "APOP" {
			d.opening, initial = "APOP", true
		} else if at.mechanism == "(command)" {
			d.opening, initial = map[string]string{"POP3": "USER", "IMAP4": "LOGIN"}[at.protocol], true
			if user, pass, two := bytes.Cut(lines[0], []byte(" ")); two && at.protocol == "POP3" {
				lines = [][]byte{user, append([]byte("PASS "), pass...)}
			}
		}
		if initial {
			d.opening += " " + string(lines[0])
			lines = lines[1:]
		}
		for _, line := range lines {
			d.replies = append(d.replies, fixed(string(line)))
		}
		c, err := r.dial(at.protocol, w)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		before := r.asked.sum()
		o, err := c.attempt(d, false)
		if err != nil && err != errClosed {
			t.Fatalf("%v: %q: %v", at, said, err)
		}
		yes := policy[at] == "yes"
		knew := bytes.Contains(said, []byte(password)) || bytes.Contains(said, []byte(tokenOf(name, password)))
		switch {
		case o.in && !yes:
			t.Errorf("%v: %q logs in", at, said)
		case o.in && !knew && at.mechanism != "ANONYMOUS":
			t.Errorf("%v: %q logs in without a password", at, said)
		case !yes && (r.asked.sum() != before || o.asks > 0):
			t.Errorf("%v: %q: the directory was asked, or the client", at, said)
		}
		if o.in {
			if err := c.quit(); err != nil {
				t.Error(err)
			}
		}
		r.journal.take(c)
	})
}

// printable leaves out of a line what could end it or begin a literal.
func printable(line []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '{' {
			return -1
		}
		return r
	}, line)
}
