package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/mail"
)

// cell is one attempt to log in.
type cell struct {
	protocol    string
	login       mail.LoginType
	way         way
	method      method
	spelling    string // upper, lower, mixed
	initial     bool   // with an initial response
	credentials string
	pipelined   bool
}

func (c cell) String() string {
	s := fmt.Sprintf("%s, %s, %s, %s, %s, %s", c.protocol, c.login, c.way, c.method, c.spelling, c.credentials)
	if c.initial {
		s += ", initial response"
	}
	if c.pipelined {
		s += ", pipelined"
	}
	return s
}

// exists leaves out what cannot be said.
func (c cell) exists() bool {
	m := c.method
	sasl := m.mechanism != ""
	switch c.credentials {
	case "right", "wrong-password":
		return true
	case "own-authzid", "foreign-authzid":
		return m.hash != "" || m.mechanism == "PLAIN" || m.mechanism == "EXTERNAL" || m.class == token || m.ticket && m.mechanism != "GSS-SPNEGO"
	case "cancel-at-once":
		return sasl && m.class != unknown && !c.initial
	case "cancel-later":
		return m.hash != "" || m.mechanism == "LOGIN"
	case "bad-base64":
		return sasl
	case "empty-password":
		return m.class != unknown && m.form != "atom"
	}
	return m.class != unknown
}

// cells lists every cell of one protocol, LoginType and way.
func cells(protocol string, login mail.LoginType, w way) []cell {
	var list []cell
	for _, m := range methods(protocol) {
		for _, spelling := range []string{"upper", "lower", "mixed"} {
			for _, initial := range []bool{false, true} {
				for _, pipelined := range []bool{false, true} {
					for _, cr := range credentials {
						c := cell{protocol, login, w, m, spelling, initial, cr, pipelined}
						if c.exists() && (m.mechanism != "" || !initial) {
							list = append(list, c)
						}
					}
				}
			}
		}
	}
	return list
}

const workers = 8

// perConnection is how many attempts are made on one connection at most: fewer than
// end a session for its faults.
const perConnection = 3

// TestCells makes every attempt and compares the answer, whether the server asked for
// anything, whether the directory was asked, what the log has, and whether the session has logged in
// afterwards. With -short one attempt of 29 is made.
func TestCells(t *testing.T) {
	policy, answers := loadPolicy(t), loadAnswers(t)
	r := start(t, workers)
	began := time.Now()

	var mu sync.Mutex
	count, wrong, asked := 0, 0, 0
	accepted := map[string][]string{} // by offer
	report := func(c cell, format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if wrong++; wrong <= 30 {
			t.Errorf("%s: %s", c, fmt.Sprintf(format, args...))
		}
	}

	for _, login := range mail.LoginTypes {
		r.login(t, login)
		var groups [][]cell
		for _, protocol := range protocols {
			for _, w := range ways {
				list := cells(protocol, login, w)
				if testing.Short() {
					var few []cell
					for i := len(groups) % 29; i < len(list); i += 29 {
						few = append(few, list[i])
					}
					list = few
				}
				groups = slices.AppendSeq(groups, slices.Chunk(list, 60))
			}
		}
		work := make(chan []cell)
		var wg sync.WaitGroup
		for n := range workers {
			wg.Go(func() {
				s := &speaker{worker: n, clients: map[string]*scram.Client{}}
				for group := range work {
					for len(group) > 0 {
						done := play(r, s, group, func(c cell, o result, asks int, err error) {
							want, ok := answer{}, true
							q := question{c.protocol, c.credentials, c.method.family()}
							switch policy[place{c.protocol, c.way.name, c.method.class, c.login}] {
							case "yes":
								want, ok = answers[q]
							case "no":
								want.begins = []string{map[string]string{"POP3": "-ERR [AUTH]", "IMAP4": "NO [PRIVACYREQUIRED]"}[c.protocol]}
								// USER and PASS that come together are two refusals.
								want.recorded = []string{"PrivacyRequired", "PrivacyRequired PrivacyRequired"}
							case "none":
								want.begins = []string{map[string]string{"POP3": "-ERR", "IMAP4": "NO"}[c.protocol]}
								want.recorded = []string{"Cannot"}
							}
							if !ok {
								report(c, "answers.csv has no row")
								return
							}
							forbidden := policy[place{c.protocol, c.way.name, c.method.class, c.login}] != "yes"
							mu.Lock()
							count++
							asked += asks
							if good(o.status) && c.credentials == "right" && c.spelling == "upper" {
								at := c.protocol + " " + c.way.String() + " " + c.login.String()
								accepted[at] = append(accepted[at], c.method.mechanism)
							}
							mu.Unlock()
							if err != nil {
								report(c, "%v", err)
								return
							}
							if forbidden && o.refusable {
								want.begins = []string{"-ERR", "NO", "BAD", "BYE"}
								want.recorded = []string{"any"}
							}
							switch {
							case !want.is(o.status):
								report(c, "answered %q, want %q", o.status, want.begins)
							case forbidden && o.asks > 0:
								report(c, "asked for something that the policy forbids, %d times", o.asks)
							case asks != want.asked:
								report(c, "the directory was asked %d times, want %d", asks, want.asked)
							case !want.records(o.kinds):
								report(c, "recorded as %q, want %q", o.kinds, want.recorded)
							case o.in != good(o.status):
								report(c, "answered %q, and logged in afterwards: %v", o.status, o.in)
							case strings.HasSuffix(c.method.form, "literal") && c.credentials == "over-long" && o.asks > 0:
								report(c, "called for a literal that is too long")
							}
						})
						group = group[done:]
					}
				}
			})
		}
		for _, g := range groups {
			work <- g
		}
		close(work)
		wg.Wait()
		for _, protocol := range protocols {
			for _, w := range ways {
				at := protocol + " " + w.String() + " " + login.String()
				compareOffer(t, r, protocol, w, at, accepted[at])
			}
		}
	}
	if stray := r.asked.sum() - asked; stray != 0 {
		t.Errorf("the directory was asked %d times for names that nobody gave", stray)
	}
	t.Logf("%d cells, %d wrong, %v", count, wrong, time.Since(began).Round(time.Millisecond))
}

// result is an outcome with what the dialogue was.
type result struct {
	outcome
	refusable bool
	kinds     []string // of the refusals in the log
}

// play makes attempts on one connection until it is used up, and tells how many.
func play(r *running, s *speaker, group []cell, each func(c cell, o result, asks int, err error)) int {
	conn, err := r.dial(group[0].protocol, group[0].way)
	if err != nil {
		each(group[0], result{}, 0, err)
		return 1
	}
	defer conn.close()
	for i, c := range group[:min(len(group), perConnection)] {
		d, err := s.dialogue(c, conn)
		if err != nil {
			each(c, result{}, 0, err)
			return i + 1
		}
		r.asked.take(s.worker)
		o, err := conn.attempt(d, c.pipelined)
		each(c, result{o, d.refusable, refusals(r.journal.take(conn))}, r.asked.take(s.worker), err)
		if o.in && err == nil {
			if err := conn.quit(); err != nil {
				each(c, result{}, 0, err)
			}
		}
		if err != nil || o.in || o.status == "BYE" {
			return i + 1
		}
	}
	return min(len(group), perConnection)
}

// compareOffer holds what is offered against what was accepted.
func compareOffer(t *testing.T, r *running, protocol string, w way, at string, accepted []string) {
	t.Helper()
	conn, err := r.dial(protocol, w)
	if err != nil {
		t.Errorf("%s: %v", at, err)
		return
	}
	defer conn.close()
	names, offered, err := conn.capabilities()
	if err != nil {
		t.Errorf("%s: %v", at, err)
		return
	}
	// The command stands as "" among the accepted.
	if protocol == "POP3" && names["USER"] || protocol == "IMAP4" && !names["LOGINDISABLED"] {
		offered = append(offered, "")
	}
	slices.Sort(offered)
	slices.Sort(accepted)
	accepted = slices.Compact(accepted)
	if testing.Short() {
		// Not every method was tried.
		for _, m := range accepted {
			if !slices.Contains(offered, m) {
				t.Errorf("%s: %q is accepted and not offered", at, m)
			}
		}
		return
	}
	if !slices.Equal(offered, accepted) {
		t.Errorf("%s: offered %q, accepted %q", at, offered, accepted)
	}
}

// TestOffers compares what is offered with the table, in the greeting of IMAP too.
func TestOffers(t *testing.T) {
	r := start(t, 1)
	want := loadOffers(t)
	count := 0
	for _, login := range mail.LoginTypes {
		r.login(t, login)
		for _, protocol := range protocols {
			for _, w := range ways {
				at := protocol + " " + w.name + " " + login.String()
				row := want[at]
				if row == nil {
					t.Fatalf("offers.csv has no row %s", at)
				}
				conn, err := r.dial(protocol, w)
				if err != nil {
					t.Fatal(err)
				}
				check := func(where string, names map[string]bool, mechanisms []string) {
					count++
					expected := strings.Fields(row["mechanisms"])
					slices.Sort(expected)
					slices.Sort(mechanisms)
					if !slices.Equal(mechanisms, expected) {
						t.Errorf("%s, %s, %s offers %q, want %q", at, w, where, mechanisms, expected)
					}
					for _, name := range strings.Fields(row["yes"]) {
						if !names[name] {
							t.Errorf("%s, %s, %s does not offer %s", at, w, where, name)
						}
					}
					for _, name := range strings.Fields(row["no"]) {
						if names[name] {
							t.Errorf("%s, %s, %s offers %s", at, w, where, name)
						}
					}
				}
				names, mechanisms, err := conn.capabilities()
				if err != nil {
					t.Fatal(err)
				}
				check("CAPABILITY", names, mechanisms)
				if protocol == "POP3" {
					check("AUTH", names, listAUTH(t, conn))
				} else if w.name != "starttls" {
					_, list, _ := strings.Cut(conn.greeting, "[CAPABILITY ")
					list, _, _ = strings.Cut(list, "]")
					names, mechanisms := imapCapabilities(list)
					check("the greeting", names, mechanisms)
				}
				conn.close()
			}
		}
	}
	t.Logf("%d lists", count)
}

// listAUTH is AUTH of POP3 without a mechanism.
func listAUTH(t *testing.T, c *client) (list []string) {
	t.Helper()
	line, err := c.command("AUTH")
	for err == nil && line != "." {
		if line, err = c.line(); line != "." {
			list = append(list, line)
		}
	}
	if err != nil {
		t.Error(err)
	}
	return list
}
