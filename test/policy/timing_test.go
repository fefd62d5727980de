package policy

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/mail"
)

// spoken is a way to log in by a protocol.
type spoken struct {
	protocol string
	method   method
}

func (f spoken) String() string { return f.protocol + " " + f.method.String() }

// families are the ways to log in of which each asks the directory for something else, or
// of another protocol.
func families() (list []spoken) {
	for _, protocol := range protocols {
		for _, m := range append(methods(protocol), byDigest...) {
			same := m.class != unknown && m.class != token && m.class != bound && m.form != "atom" && m.form != "literal" && m.form != "literal+"
			if same && (m.mechanism != "APOP" || protocol == "POP3") {
				list = append(list, spoken{protocol, m})
			}
		}
	}
	return list
}

// bare is somebody without a password, of whom nothing is kept that could be compared;
// endless a long name of nobody's.
const (
	bare    = "bare"
	endless = "endless-endless-endless-endless-endless-endless-endless-endless"
)

// timed starts a server whose passwords cost something, on which all families are offered.
func timed(t *testing.T) *running {
	t.Helper()
	r := startWith(t, 1, embedded.Argon2{Memory: 1024, Time: 1, Threads: 1})
	r.login(t, mail.PlainTextLogin)
	r.run(t, "Set-PopSettings", map[string]any{"AuthMechanisms": map[string]any{"Add": []string{"CRAM-MD5", "APOP"}}})
	r.run(t, "Set-ImapSettings", map[string]any{"AuthMechanisms": map[string]any{"Add": []string{"CRAM-MD5"}}})
	account, err := r.Store().CreateAccount(t.Context(), 0)
	if err == nil {
		err = r.Directory().Create(t.Context(), directory.Entry{Name: address(bare, 0), Account: account, Enabled: true, PopEnabled: true, ImapEnabled: true}, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// refused are those who are refused with a wrong password in a protocol.
func refused(protocol string) []string {
	return []string{anna, nobody, off, map[string]string{"POP3": noPOP, "IMAP4": noIMAP}[protocol], bare, endless}
}

// TestLoginWork: a refusal asks the directory for the same, in the same order, whether the
// user exists, is switched off, may not use the protocol or has no such credential; by every
// way to log in. What each of these costs in the directory is for its own tests.
func TestLoginWork(t *testing.T) {
	r := timed(t)
	s := &speaker{clients: map[string]*scram.Client{}}
	attempts := 0
	for _, f := range families() {
		var want []string
		for _, who := range refused(f.protocol) {
			c, err := r.dial(f.protocol, way{"clear", 0})
			if err != nil {
				t.Fatal(err)
			}
			r.asked.takeWhat()
			s.transcript(t, c, cell{protocol: f.protocol, way: way{"clear", 0}, method: f.method, spelling: "upper", initial: true}, who)
			c.close()
			attempts++
			switch did := r.asked.takeWhat(); {
			case who == anna:
				if want = did; len(want) == 0 {
					t.Errorf("%s: nothing is asked", f)
				}
			case !slices.Equal(did, want):
				t.Errorf("%s: for %s %q is asked, for %s %q", f, who, did, anna, want)
			}
		}
	}
	t.Logf("prove: refused logins that ask for the same: %d, by %d ways to log in", attempts, len(families()))
}

// TestTiming: how long a refusal takes does not tell whether the user exists, is
// switched off, may not use the protocol or has a password. Attempts with wrong passwords
// are made in random order and the processor's time for each compared by rank (Mann and
// Whitney): what else runs on the machine takes none of it. An answer that needs no
// password at all shows that the comparison would notice. POSTERN_TIMING is how many
// attempts are made for each, by every way to log in.
func TestTiming(t *testing.T) {
	r := timed(t)
	s := &speaker{clients: map[string]*scram.Client{}}
	ways, rounds := families(), 80
	const most = 5.0
	if text := os.Getenv("POSTERN_TIMING"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	} else {
		// One of each kind.
		ways = slices.DeleteFunc(ways, func(f spoken) bool {
			return !slices.Contains([]string{"IMAP4 quoted", "POP3 PLAIN", "IMAP4 SCRAM-SHA-256", "POP3 APOP"}, f.String())
		})
	}
	worst, worstWay, samples := 0.0, "", 0
	for _, f := range ways {
		people := refused(f.protocol)
		differ, pair := math.Inf(1), ""
		// What happens to be slow elsewhere is not the same three times.
		for attempt := 0; attempt < 3 && differ > most; attempt++ {
			took := r.times(t, s, f.protocol, f.method, people, rounds)
			samples += rounds * len(people)
			differ = 0
			for i, a := range people {
				for _, b := range people[i+1:] {
					if z := math.Abs(rankDifference(took[a], took[b])); z > differ {
						differ, pair = z, fmt.Sprintf("%s %v, %s %v", a, median(took[a]), b, median(took[b]))
					}
				}
			}
		}
		t.Logf("%s: z at most %.1f (%s)", f, differ, pair)
		if differ > worst {
			worst, worstWay = differ, f.String()
		}
		if differ > most {
			t.Errorf("%s: the time of a refusal tells of the user: z %.1f, %s", f, differ, pair)
		}
	}
	plain := method{mechanism: "PLAIN", class: readable}
	took := r.times(t, s, "IMAP4", plain, []string{anna, "\xff"}, 60)
	z := rankDifference(took[anna], took["\xff"])
	if z < 6 {
		t.Errorf("the comparison does not notice a name that is not looked up: z %.1f", z)
	}
	t.Logf("prove: timed refusals: %d", samples)
	t.Logf("prove: the largest difference of two kinds of users: z = %.1f (%s), of a name that is not looked up %.1f", worst, worstWay, z)
}

// times makes so many attempts of each with a wrong password, and tells how much of the
// processor's time the answers took, the client's included.
func (r *running) times(t *testing.T, s *speaker, protocol string, m method, people []string, rounds int) map[string][]time.Duration {
	t.Helper()
	var order []string
	for range rounds {
		order = append(order, people...)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	took := map[string][]time.Duration{}
	var c *client
	for i, who := range order {
		if i%perConnection == 0 {
			if c != nil {
				c.close()
			}
			var err error
			if c, err = r.dial(protocol, way{"clear", 0}); err != nil {
				t.Fatal(err)
			}
		}
		at := cell{protocol: protocol, way: way{"clear", 0}, method: m, spelling: "upper", initial: true}
		began := used(t)
		s.transcript(t, c, at, who)
		took[who] = append(took[who], used(t)-began)
	}
	c.close()
	return took
}

// used is the processor's time that this process has used.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(list []time.Duration) time.Duration {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2].Round(time.Microsecond)
}

// rankDifference is the standard normal deviate of the Mann-Whitney U of two samples:
// large when a's are longer than b's.
func rankDifference(a, b []time.Duration) float64 {
	type sample struct {
		took  time.Duration
		first bool
	}
	var all []sample
	for _, d := range a {
		all = append(all, sample{d, true})
	}
	for _, d := range b {
		all = append(all, sample{d, false})
	}
	slices.SortFunc(all, func(x, y sample) int { return cmp.Compare(x.took, y.took) })
	sum := 0.0
	for i, s := range all {
		if s.first {
			sum += float64(i + 1)
		}
	}
	n, m := float64(len(a)), float64(len(b))
	u := sum - n*(n+1)/2
	return (u - n*m/2) / math.Sqrt(n*m*(n+m+1)/12)
}
