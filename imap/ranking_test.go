package imap

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestRanking changes a mailbox at random, by two sessions, and follows sorts of it as
// a client does: what ADDTO and REMOVEFROM make of the first answer is at any time what
// a new SORT gives.
func TestRanking(t *testing.T) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			ts := newServer(t, open(t))
			ts.listen(t)
			connect := func() *testClient {
				conn, err := ts.dial("")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				c := newClient(t, conn)
				c.must("LOGIN alice secret")
				c.must("SELECT INBOX")
				return c
			}
			random := rand.New(rand.NewPCG(1, 2))
			words := []string{"kilo", "alpha", "Re: alpha", "echo", "zulu", "Echo", "mike", "bravo", "[x] bravo"}
			c, other := connect(), connect()
			appendSome := func(n int) {
				command, literals := "APPEND INBOX", []string{}
				for i := range n {
					text := fmt.Sprintf("Subject: %s\r\nFrom: %s@example.org\r\n\r\n%s", words[random.IntN(len(words))], strings.ToLower(words[random.IntN(3)][:3]),
						strings.Repeat("x", random.IntN(5)))
					if i < n-1 {
						literals = append(literals, fmt.Sprintf("%s {%d}\r\n", text, 0))
					} else {
						literals = append(literals, text+"\r\n")
					}
				}
				// Each literal announces the next one.
				for i := range literals {
					size := len(literals[i]) - len("\r\n")
					if i < n-1 {
						size = strings.LastIndex(literals[i], " {")
					}
					if i == 0 {
						command += fmt.Sprintf(" {%d}", size)
					} else {
						literals[i-1] = literals[i-1][:strings.LastIndex(literals[i-1], " {")] + fmt.Sprintf(" {%d}\r\n", size)
					}
				}
				other.must(command, literals...)
			}
			appendSome(30)
			c.must("NOOP")
			programs := []string{
				"(SUBJECT) UTF-8 UNDELETED", "(REVERSE SUBJECT FROM) UTF-8 ALL", "(SIZE REVERSE ARRIVAL) UTF-8 OR FLAGGED UNSEEN", "(FROM REVERSE SIZE) UTF-8 UNFLAGGED",
				"(RELEVANCY REVERSE SUBJECT) UTF-8 FUZZY SUBJECT alpho UNDELETED",
			}
			lists := map[string][]int{}
			tags := map[string]string{}
			for i, p := range programs {
				form := "UID SORT"
				if i == 1 {
					form = "SORT" // there are no other commands between that shift numbers unseen
				}
				c.must(form + " RETURN (UPDATE ALL) " + p)
				tag := "t" + strconv.Itoa(c.tag)
				tags[tag] = form + " " + p
				lists[tag] = resultList(t, c.lines)
			}
			tell := func() {
				t.Helper()
				for _, line := range c.lines {
					switch m := followed.FindStringSubmatch(line); {
					case m != nil:
						lists[m[1]] = applied(t, lists[m[1]], m[2])
					case numbered.MatchString(line):
						if m := numbered.FindStringSubmatch(line); m[2] == "EXPUNGE" {
							n, _ := strconv.Atoi(m[1])
							for tag, program := range tags {
								if strings.HasPrefix(program, "UID") {
									continue
								}
								list := lists[tag]
								for i := range list {
									if list[i] == n {
										t.Errorf("%d is expunged and still a result of %s", n, tag)
									} else if list[i] > n {
										list[i]--
									}
								}
							}
						}
					case strings.Contains(line, "NOUPDATE"):
						t.Fatal(line)
					}
				}
			}
			for round := range 150 {
				who := []*testClient{c, other}[random.IntN(2)]
				from := 1 + random.IntN(max(who.exists, 1))
				to := min(from+random.IntN(6), who.exists)
				flag := []string{`\Deleted`, `\Flagged`, `\Seen`}[random.IntN(3)]
				switch random.IntN(6) {
				case 0:
					appendSome(1 + random.IntN(6))
				case 1:
					who.must("EXPUNGE")
					if who == c {
						tell()
					}
				default:
					who.store(fmt.Sprintf("STORE %d:%d %s %s", from, max(to, from), []string{"+FLAGS.SILENT", "-FLAGS.SILENT"}[random.IntN(2)], flag))
					if who == c {
						tell()
					}
				}
				if random.IntN(3) == 0 {
					continue
				}
				c.must("NOOP")
				tell()
				for tag, program := range tags {
					c.must(program)
					fresh := resultList(t, c.lines)
					tell()
					if !slices.Equal(fresh, lists[tag]) {
						t.Fatalf("round %d: %s has\n%v and not\n%v", round, program, lists[tag], fresh)
					}
				}
			}
		})
	}
}

var (
	followed = regexp.MustCompile(`^\* ESEARCH \(TAG "(t\d+)"\)(?: UID)?((?: (?:REMOVEFROM|ADDTO) \([^)]*\))+)$`)
	updates  = regexp.MustCompile(` (REMOVEFROM|ADDTO) \(([^)]*)\)`)
)

// resultList gives what an answer to SORT lists.
func resultList(t *testing.T, lines []string) (list []int) {
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "* SORT"); ok {
			for _, f := range strings.Fields(rest) {
				n, _ := strconv.Atoi(f)
				list = append(list, n)
			}
		}
		if _, rest, ok := strings.Cut(line, " ALL "); ok && strings.HasPrefix(line, "* ESEARCH") {
			list = append(list, expanded(t, rest)...)
		}
	}
	return list
}

// expanded gives the numbers of a sequence-set in their order.
func expanded(t *testing.T, set string) (list []int) {
	for _, part := range strings.Split(set, ",") {
		first, last, ranged := strings.Cut(part, ":")
		a, err := strconv.Atoi(first)
		b := a
		if ranged {
			b, err = strconv.Atoi(last)
		}
		if err != nil || b < a {
			t.Fatalf("%q is no set", set)
		}
		for n := a; n <= b; n++ {
			list = append(list, n)
		}
	}
	return list
}

// applied gives a list after REMOVEFROM and ADDTO (RFC 5267, 4.3.3 and 4.3.4).
func applied(t *testing.T, list []int, items string) []int {
	for _, item := range updates.FindAllStringSubmatch(items, -1) {
		pairs := strings.Fields(item[2])
		for i := 0; i+1 < len(pairs); i += 2 {
			at, _ := strconv.Atoi(pairs[i])
			numbers := expanded(t, pairs[i+1])
			at--
			if item[1] == "ADDTO" {
				list = slices.Insert(slices.Clone(list), at, numbers...)
				continue
			}
			if at < 0 || at+len(numbers) > len(list) || !slices.Equal(list[at:at+len(numbers)], numbers) {
				t.Fatalf("%s: %v is not at %d of %v", items, numbers, at+1, list)
			}
			list = slices.Delete(slices.Clone(list), at, at+len(numbers))
		}
	}
	return list
}

func FuzzSortArguments(f *testing.F) {
	for _, seed := range []string{
		"(DATE) UTF-8 ALL", "RETURN (UPDATE PARTIAL 1:5 CONTEXT) (REVERSE SUBJECT RELEVANCY) US-ASCII FUZZY TEXT a", "RETURN () (SIZE TO CC FROM ARRIVAL) utf-8 1:* UIDAFTER 5",
		"RETURN (SAVE COUNT MIN MAX RELEVANCY) (DISPLAYFROM DISPLAYTO) UTF-8 {1+}\r\na",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arguments string) {
		q, _, err := readSort(decoderOf(t, " "+arguments+"\r\n"), nil)
		if err == nil && (q.key == nil || len(q.orders) == 0) {
			t.Error("no fault, and no key or no order")
		}
	})
}
