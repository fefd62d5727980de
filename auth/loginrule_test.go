package auth

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// What rules do, for a reviewer to read: four tables. A rule holds when the cells of
// its who, where and service all say holds; then what it narrows says who is let
// through. Over all stands the table of Permits.
const (
	ruleWho = `
who         | before the name | alice | bob
everyone    | holds           | holds | holds
alice       | -               | holds | -
group staff | -               | holds | -
nobody here | -               | -     | -
`
	ruleWhere = `
where              | 10.0.0.7 | ::ffff:10.0.0.7 | 192.0.2.9 | 2001:db8::5 | unknown
everywhere         | holds    | holds           | holds     | holds       | holds
from 10.0.0.0/8    | holds    | holds           | -         | -           | -
except 10.0.0.0/8  | -        | -               | holds     | holds       | holds
from 2001:db8::/32 | -        | -               | -         | holds       | -
both               | -        | -               | -         | -           | -
`
	ruleService = `
service | POP3  | IMAP4 | Console
any     | holds | holds | -
IMAP4   | -     | holds | -
POP3    | holds | -     | -
`
	ruleNarrows = `
what is tried                                   | nothing | Plain | PlainAuth | Secure | only PLAIN | only SCRAM | day | apps | block
clear night USER command any secret             | yes     | yes   | no        | no     | yes        | no         | no  | yes  | no
clear day USER command any secret               | yes     | yes   | no        | no     | yes        | no         | yes | yes  | no
clear day LOGIN command account password        | yes     | yes   | no        | no     | yes        | no         | yes | no   | no
clear day PLAIN any secret                      | yes     | yes   | no        | no     | yes        | no         | yes | yes  | no
clear day PLAIN account password                | yes     | yes   | no        | no     | yes        | no         | yes | no   | no
clear day PLAIN app password                    | yes     | yes   | no        | no     | yes        | no         | yes | yes  | no
clear day SCRAM-SHA-256 any secret              | yes     | yes   | yes       | no     | no         | yes        | yes | no   | no
clear day SCRAM-SHA-256 account password        | yes     | yes   | yes       | no     | no         | yes        | yes | no   | no
clear night SCRAM-SHA-256 any secret            | yes     | yes   | yes       | no     | no         | yes        | no  | no   | no
clear day GSSAPI any secret                     | yes     | yes   | yes       | no     | no         | no         | yes | yes  | no
tls day USER command any secret                 | yes     | yes   | yes       | yes    | yes        | no         | yes | yes  | no
tls day LOGIN any secret                        | yes     | yes   | yes       | yes    | no         | no         | yes | yes  | no
tls day PLAIN account password                  | yes     | yes   | yes       | yes    | yes        | no         | yes | no   | no
tls night PLAIN app password                    | yes     | yes   | yes       | yes    | yes        | no         | no  | yes  | no
tls day PLAIN app password                      | yes     | yes   | yes       | yes    | yes        | no         | yes | yes  | no
tls day SCRAM-SHA-256 any secret                | yes     | yes   | yes       | yes    | no         | yes        | yes | no   | no
tls day SCRAM-SHA-256-PLUS any secret           | yes     | yes   | yes       | yes    | no         | no         | yes | no   | no
tls day OAUTHBEARER any secret                  | yes     | yes   | yes       | yes    | no         | no         | yes | yes  | no
tls day OAUTHBEARER token                       | yes     | yes   | yes       | yes    | no         | no         | yes | yes  | no
tls day EXTERNAL any secret                     | yes     | yes   | yes       | yes    | no         | no         | yes | yes  | no
tls day CRAM-MD5 any secret                     | yes     | yes   | yes       | yes    | no         | no         | yes | no   | no
tls day NOBODY-KNOWS any secret                 | yes     | yes   | yes       | yes    | no         | no         | yes | no   | no
`
)

var (
	office = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	six    = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}

	ruleWhoRows = map[string]LoginRule{
		"everyone": {}, "alice": {Users: []string{"alice"}}, "group staff": {Groups: []string{"staff"}}, "nobody here": {Users: []string{"zoe"}, Groups: []string{"none"}},
	}
	ruleWhereRows = map[string]LoginRule{
		"everywhere": {}, "from 10.0.0.0/8": {From: office}, "except 10.0.0.0/8": {ExceptFrom: office}, "from 2001:db8::/32": {From: six}, "both": {From: office, ExceptFrom: office},
	}
	ruleServiceRows = map[string]LoginRule{
		"any": {}, "IMAP4": {Services: []settings.Service{settings.IMAP4}}, "POP3": {Services: []settings.Service{settings.POP3}},
	}
	ruleColumns = map[string]LoginRule{
		"nothing": {}, "Plain": {LoginType: mail.PlainTextLogin}, "PlainAuth": {LoginType: mail.PlainTextAuthentication}, "Secure": {LoginType: mail.SecureLogin},
		"only PLAIN": {Mechanisms: []string{"PLAIN"}}, "only SCRAM": {Mechanisms: []string{"SCRAM-SHA-256"}},
		"day": {Hours: []Hours{mustHours("Mon-Fri 08:00-18:00")}}, "apps": {AppPasswordsOnly: true}, "block": {Block: true},
	}
	methodClasses = map[string]sasl.Class{
		"USER command": sasl.Password, "LOGIN command": sasl.Password, "PLAIN": sasl.Password, "LOGIN": sasl.Password,
		"SCRAM-SHA-256": sasl.Challenge, "GSSAPI": sasl.Challenge, "CRAM-MD5": sasl.Challenge, "NOBODY-KNOWS": sasl.Challenge,
		"SCRAM-SHA-256-PLUS": sasl.TLSOnly, "OAUTHBEARER": sasl.TLSOnly, "EXTERNAL": sasl.TLSOnly,
	}
	secretWords = map[string]Secret{"any secret": UnknownSecret, "account password": AccountPassword, "app password": AppSecret, "token": OtherSecret}
)

func mustHours(text string) Hours {
	h, err := ParseHours(text)
	if err != nil {
		panic(err)
	}
	return h
}

// ruleTable gives a table's rows: the first cell, and the others by their column.
func ruleTable(text string) (rows []string, cells map[string]map[string]string) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	split := func(line string) (list []string) {
		for _, f := range strings.Split(line, "|") {
			list = append(list, strings.TrimSpace(f))
		}
		return list
	}
	columns := split(lines[0])
	cells = map[string]map[string]string{}
	for _, line := range lines[1:] {
		f := split(line)
		rows = append(rows, f[0])
		cells[f[0]] = map[string]string{}
		for i, c := range columns[1:] {
			cells[f[0]][c] = f[i+1]
		}
	}
	return rows, cells
}

// wantedOf reads a row of ruleNarrows.
func wantedOf(t *testing.T, text string) Wanted {
	f := strings.Fields(text)
	w := Wanted{Protection: settings.AllowProtection, TLS: f[0] == "tls", LoginType: mail.PlainTextLogin, At: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} // a Monday
	if f[1] == "night" {
		w.At = w.At.Add(12 * time.Hour)
	}
	rest := strings.Join(f[2:], " ")
	for word, secret := range secretWords {
		if method, ok := strings.CutSuffix(rest, " "+word); ok {
			w.Method, w.Secret, w.Class = method, secret, methodClasses[method]
		}
	}
	if m, _ := sasl.Find(w.Method); m.Legacy() {
		w.Mechanisms, w.Legacy = []string{m.Name}, []string{m.Name}
	}
	if w.Class == 0 {
		t.Fatalf("the row %q cannot be read", text)
	}
	return w
}

// TestEffective compares every combination of the four tables, for the services of
// all LoginTypes, with what the tables say together.
func TestEffective(t *testing.T) {
	whos, who := ruleTable(ruleWho)
	wheres, where := ruleTable(ruleWhere)
	services, service := ruleTable(ruleService)
	tries, narrows := ruleTable(ruleNarrows)
	cells, wrong := 0, 0
	for _, try := range tries {
		base := wantedOf(t, try)
		for column, part := range ruleColumns {
			for _, whoRow := range whos {
				for _, whereRow := range wheres {
					for _, serviceRow := range services {
						rule := part
						rule.Name = "r"
						rule.Users, rule.Groups = ruleWhoRows[whoRow].Users, ruleWhoRows[whoRow].Groups
						rule.From, rule.ExceptFrom = ruleWhereRows[whereRow].From, ruleWhereRows[whereRow].ExceptFrom
						rule.Services = ruleServiceRows[serviceRow].Services
						for user, holdsWho := range who[whoRow] {
							for from, holdsWhere := range where[whereRow] {
								for on, holdsService := range service[serviceRow] {
									for _, login := range mail.LoginTypes {
										w := base
										w.LoginType, w.Service = login, settings.Service(on)
										if from != "unknown" {
											w.From = netip.MustParseAddr(from)
										}
										if user != "before the name" {
											w.User = user
											if user == "alice" {
												w.Groups = []string{"other", "staff"}
											}
										}
										want := Permits(login, w.Class, w.TLS).OK
										if holdsWho == "holds" && holdsWhere == "holds" && holdsService == "holds" && narrows[try][column] == "no" {
											want = false
										}
										d := Effective([]LoginRule{rule}, w)
										cells++
										if d.OK != want || d.OK == (d.Err() != nil) || (d.Policy == "r") != (!want && Permits(login, w.Class, w.TLS).OK) {
											if wrong++; wrong < 10 {
												t.Errorf("%s, %s, %s, %s | %s, %q from %s at %s, service %v: %+v, want %v", column, whoRow, whereRow, serviceRow, try, user, from, on, login, d, want)
											}
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d cells, %d wrong", cells, wrong)
	if cells < 500_000 {
		t.Errorf("only %d cells", cells)
	}
}

// A further rule, wherever it stands, never allows what was refused, and a rule never
// what Permits refuses, whatever nonsense it holds.
func TestRulesOnlyNarrow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(m map[string]LoginRule) LoginRule {
		keys := make([]string, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		return m[keys[r.IntN(len(keys))]]
	}
	random := func() LoginRule {
		rule := pick(ruleColumns)
		who, where, service := pick(ruleWhoRows), pick(ruleWhereRows), pick(ruleServiceRows)
		rule.Users, rule.Groups, rule.From, rule.ExceptFrom, rule.Services = who.Users, who.Groups, where.From, where.ExceptFrom, service.Services
		if r.IntN(4) == 0 {
			rule.LoginType = mail.LoginType(r.IntN(8) - 2)
		}
		return rule
	}
	tries, _ := ruleTable(ruleNarrows)
	froms := []netip.Addr{{}, netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::5")}
	narrowed := 0
	for range 100_000 {
		var rules []LoginRule
		for range r.IntN(4) {
			rules = append(rules, random())
		}
		w := wantedOf(t, tries[r.IntN(len(tries))])
		w.LoginType, w.From = mail.LoginType(r.IntN(6)-1), froms[r.IntN(len(froms))]
		w.Service = settings.Services[r.IntN(len(settings.Services))]
		w.User = []string{"", "alice", "bob"}[r.IntN(3)]
		before := Effective(rules, w)
		after := Effective(slices.Insert(slices.Clone(rules), r.IntN(len(rules)+1), random()), w)
		if after.OK && !before.OK || before.OK && !Permits(w.LoginType, w.Class, w.TLS).OK {
			t.Fatalf("%+v %+v: %+v, then %+v", rules, w, before, after)
		}
		if before.OK && !after.OK {
			narrowed++
		}
		// Who is known is never let in where nobody in particular is not.
		named := w
		named.User = "alice"
		if w.User == "" && Effective(rules, named).OK && !before.OK {
			t.Fatalf("%+v: %+v is let in once it is known", rules, named)
		}
	}
	if narrowed < 1000 {
		t.Errorf("only %d rules narrowed anything", narrowed)
	}
}

func TestHours(t *testing.T) {
	for text, want := range map[string]string{
		"mon-fri 08:00-18:00": "Mon-Fri 08:00-18:00", "Sat,Sun 10:00-14:30": "Sat-Sun 10:00-14:30", "22:00-06:00": "22:00-06:00",
		"Fri-Mon 20:00-00:00": "Mon,Fri-Sun 20:00-24:00", "Mon,Wed,Fri 00:00-24:00": "Mon,Wed,Fri 00:00-24:00", "Mon-Sun 1:00-2:00": "01:00-02:00",
	} {
		h, err := ParseHours(text)
		if err != nil || h.String() != want {
			t.Errorf("%q: %q, %v", text, h, err)
		}
		again, err := ParseHours(h.String())
		if err != nil || again != h {
			t.Errorf("%q is not read as it is written: %v", h, err)
		}
	}
	for _, text := range []string{"", "Mon", "08:00", "Mon-Fri", "Mon-Fri 8-18", "08:00-08:00", "24:00-01:00", "08:00-25:00", "Mo-Fr 08:00-18:00", "Mon-Fri 08:00 18:00", "Mon,,Tue 08:00-18:00", "08:60-09:00"} {
		if h, err := ParseHours(text); mail.KindOf(err) != mail.KindBadArgument || err == nil {
			t.Errorf("%q: %v, %v", text, h, err)
		}
	}
	monday := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		hours, at string
		want      bool
	}{
		{"Mon 08:00-18:00", "08:00", true}, {"Mon 08:00-18:00", "17:59", true}, {"Mon 08:00-18:00", "18:00", false}, {"Mon 08:00-18:00", "07:59", false},
		{"Tue-Sun 08:00-18:00", "12:00", false}, {"Mon 22:00-06:00", "05:00", false}, {"Sun 22:00-06:00", "05:59", true}, {"Sun 22:00-06:00", "06:00", false},
		{"Mon 22:00-06:00", "22:00", true}, {"00:00-24:00", "00:00", true}, {"00:00-24:00", "23:59", true}, {"Mon 20:00-00:00", "23:59", true},
	} {
		at, _ := time.Parse("15:04", c.at)
		if got := mustHours(c.hours).Contain(monday.Add(at.Sub(at.Truncate(24 * time.Hour)))); got != c.want {
			t.Errorf("%s at %s: %v", c.hours, c.at, got)
		}
	}
	r := LoginRule{Name: "n", From: office, LoginType: mail.SecureLogin, Hours: []Hours{mustHours("Mon-Fri 08:00-18:00")}}
	text, err := json.Marshal(r)
	var back LoginRule
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil || fmt.Sprint(back) != fmt.Sprint(r) {
		t.Errorf("%s: %v, %v", text, back, err)
	}
}

func FuzzParseHours(f *testing.F) {
	f.Add("Mon-Fri 08:00-18:00")
	f.Add("Sat,Sun 22:00-06:00")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHours(text)
		if err != nil {
			return
		}
		if again, err := ParseHours(h.String()); err != nil || again != h {
			t.Errorf("%q: %v, then %v, %v", text, h, again, err)
		}
	})
}
