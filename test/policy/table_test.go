package policy

import (
	"encoding/csv"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// rows reads a table of testdata, each row by the names of its columns.
func rows(t testing.TB, path string) []map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := csv.NewReader(file)
	r.Comment = '#'
	all, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for _, record := range all[1:] {
		row := map[string]string{}
		for i, column := range all[0] {
			row[column] = record[i]
		}
		out = append(out, row)
	}
	return out
}

// The classes of policy.csv.
const (
	command   = "command"
	readable  = "readable"
	challenge = "challenge"
	bound     = "bound"
	token     = "token"
	unknown   = "unknown"
)

var classes = []string{command, readable, challenge, bound, token, unknown}

// place is a row of policy.csv with one of its LoginTypes.
type place struct {
	protocol, way, class string
	login                mail.LoginType
}

// loadPolicy reads policy.csv whole: yes, no or none of every place.
func loadPolicy(t testing.TB) map[place]string {
	t.Helper()
	p := map[place]string{}
	for _, row := range rows(t, "testdata/policy.csv") {
		for _, l := range mail.LoginTypes {
			at := place{row["protocol"], row["connection"], row["class"], l}
			answer := row[l.String()]
			if p[at] != "" || answer != "yes" && answer != "no" && answer != "none" {
				t.Fatalf("policy.csv: %v is there twice, or is %q", at, answer)
			}
			p[at] = answer
		}
	}
	for _, protocol := range protocols {
		for _, w := range []string{"clear", "starttls", "ssl"} {
			for _, class := range classes {
				for _, l := range mail.LoginTypes {
					if p[place{protocol, w, class, l}] == "" {
						t.Fatalf("policy.csv has no row %s %s %s", protocol, w, class)
					}
				}
			}
		}
	}
	if want := len(protocols) * 3 * len(classes) * len(mail.LoginTypes); len(p) != want {
		t.Fatalf("policy.csv has %d places, want %d", len(p), want)
	}
	return p
}

// answer is a row of answers.csv for one protocol.
type answer struct {
	begins []string // what the status line may begin with
	asked  int      // how often the directory is asked
	// recorded are the kinds of which the log has one; "" is none, "any" need not be.
	recorded []string
}

func (a answer) is(status string) bool {
	return slices.ContainsFunc(a.begins, func(b string) bool { return strings.HasPrefix(status, b) })
}

// records tells whether the log has what it should.
func (a answer) records(kinds []string) bool {
	return slices.Contains(a.recorded, "any") || slices.Contains(a.recorded, strings.Join(kinds, " "))
}

type question struct{ protocol, credentials, family string }

func loadAnswers(t *testing.T) map[question]answer {
	t.Helper()
	out := map[question]answer{}
	for _, row := range rows(t, "testdata/answers.csv") {
		n, err := strconv.Atoi(row["asked"])
		if err != nil {
			t.Fatal(err)
		}
		for protocol, column := range map[string]string{"POP3": "pop3", "IMAP4": "imap4"} {
			q := question{protocol, row["credentials"], row["family"]}
			if _, twice := out[q]; twice {
				t.Fatalf("answers.csv: %v is there twice", q)
			}
			out[q] = answer{strings.Split(row[column], "|"), n, strings.Split(row["recorded"], "|")}
		}
	}
	return out
}

// loadOffers reads offers.csv: its rows by protocol, connection and LoginType.
func loadOffers(t *testing.T) map[string]map[string]string {
	t.Helper()
	out := map[string]map[string]string{}
	for _, row := range rows(t, "testdata/offers.csv") {
		out[row["protocol"]+" "+row["connection"]+" "+row["login_type"]] = row
	}
	return out
}

// disagreements lists the places of policy.csv at which permits decides otherwise.
func disagreements(policy map[place]string, permits func(mail.LoginType, sasl.Class, bool) bool) []place {
	class := map[string]sasl.Class{command: sasl.Password, readable: sasl.Password, challenge: sasl.Challenge, bound: sasl.TLSOnly, token: sasl.TLSOnly}
	var out []place
	for at, answer := range policy {
		if at.class != unknown && permits(at.login, class[at.class], at.way != "clear") != (answer == "yes") {
			out = append(out, at)
		}
	}
	return out
}

// Every decision of auth.Permits has a cell that notices when it is turned round: a
// wrong policy cannot pass TestCells.
func TestMutations(t *testing.T) {
	policy := loadPolicy(t)
	real := func(l mail.LoginType, c sasl.Class, tls bool) bool { return auth.Permits(l, c, tls).OK }
	for _, at := range disagreements(policy, real) {
		t.Errorf("auth.Permits and policy.csv disagree on %v", at)
	}
	mutants := 0
	for _, login := range mail.LoginTypes {
		for _, class := range sasl.Classes {
			for _, tls := range []bool{false, true} {
				mutants++
				noticed := disagreements(policy, func(l mail.LoginType, c sasl.Class, encrypted bool) bool {
					ok := real(l, c, encrypted)
					if l == login && c == class && encrypted == tls {
						ok = !ok
					}
					return ok
				})
				if len(noticed) == 0 {
					t.Errorf("nobody notices when %v, %v, TLS %v is turned round", login, class, tls)
				}
				for _, at := range noticed {
					if at.login != login {
						t.Errorf("turning %v round is noticed at %v", login, at)
					}
				}
			}
		}
	}
	t.Logf("%d mutants of the policy, each noticed", mutants)
}

// The same of auth.Protects and protection.csv.
func TestProtectionMutations(t *testing.T) {
	type question struct {
		policy           settings.ExtendedProtection
		bound, plus, tls bool
	}
	class := map[string]sasl.Class{command: sasl.Password, readable: sasl.Password, challenge: sasl.Challenge, bound: sasl.TLSOnly, token: sasl.TLSOnly}
	policies := []settings.ExtendedProtection{settings.NoProtection, settings.AllowProtection, settings.RequireProtection}
	disagree := func(protects func(question) bool) (n int) {
		for _, row := range rows(t, "testdata/protection.csv") {
			c, ok := class[row["class"]]
			if !ok {
				continue // stripped and unknown are not the policy's
			}
			for _, p := range policies {
				q := question{p, row["class"] == bound, row["class"] == bound, row["connection"] != "clear"}
				if (auth.Permits(mail.PlainTextLogin, c, q.tls).OK && protects(q)) != (row[p.String()] == "yes") {
					n++
				}
			}
		}
		return n
	}
	real := func(q question) bool { return auth.Protects(q.policy, q.bound, q.plus, q.tls).OK }
	if n := disagree(real); n > 0 {
		t.Errorf("auth.Protects and protection.csv disagree %d times", n)
	}
	for _, p := range policies {
		for _, q := range []question{{p, false, false, false}, {p, false, false, true}, {p, true, true, true}} {
			if disagree(func(other question) bool { return real(other) != (other == q) }) == 0 {
				t.Errorf("nobody notices when %+v is turned round", q)
			}
		}
	}
}
