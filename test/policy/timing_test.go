package policy

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/mail"
)

// TestTiming: how long a refusal takes does not tell whether the user exists, is
// switched off or may not use the protocol. Attempts with wrong passwords are made in
// random order and their times compared by rank (Mann and Whitney). An answer that needs
// no password at all shows that the comparison would notice.
func TestTiming(t *testing.T) {
	r := startWith(t, 1, embedded.Argon2{Memory: 1024, Time: 1, Threads: 1})
	r.login(t, mail.PlainTextLogin)
	s := &speaker{clients: map[string]*scram.Client{}}
	for _, way := range []struct {
		protocol string
		method   method
	}{
		{"IMAP4", method{form: "quoted", class: command}},
		{"POP3", method{mechanism: "PLAIN", class: readable}},
		{"IMAP4", method{mechanism: "SCRAM-SHA-256", class: challenge, hash: "SHA-256"}},
	} {
		const most, rounds = 5.0, 120
		m, people := way.method, []string{anna, nobody, off, map[string]string{"POP3": noPOP, "IMAP4": noIMAP}[way.protocol]}
		differ := math.Inf(1)
		// What happens to be slow elsewhere is not the same three times.
		for attempt := 0; attempt < 3 && differ > most; attempt++ {
			took := r.times(t, s, way.protocol, m, people, rounds)
			differ = 0
			for i, a := range people {
				for _, b := range people[i+1:] {
					z := math.Abs(rankDifference(took[a], took[b]))
					t.Logf("%s: %s %v, %s %v, z %.1f", m, a, median(took[a]), b, median(took[b]), z)
					differ = max(differ, z)
				}
			}
		}
		if differ > most {
			t.Errorf("%s: the time of a refusal tells of the user: z %.1f", m, differ)
		}
	}
	plain := method{mechanism: "PLAIN", class: readable}
	took := r.times(t, s, "IMAP4", plain, []string{anna, "\xff"}, 100)
	if z := rankDifference(took[anna], took["\xff"]); z < 8 {
		t.Errorf("the comparison does not notice a name that is not looked up: z %.1f", z)
	}
}

// times makes so many attempts of each with a wrong password, and tells how long the
// answers took.
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
		began := time.Now()
		s.transcript(t, c, at, who)
		took[who] = append(took[who], time.Since(began))
	}
	c.close()
	return took
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
