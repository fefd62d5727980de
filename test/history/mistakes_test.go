package history_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/clock"
	"github.com/postern-mail/postern/test/history"
	"github.com/postern-mail/postern/test/mistakes"
	"github.com/postern-mail/postern/test/server"
)

// TestMistakes has Postern make each mistake of package mistakes: it is noticed within
// 200 cycles. POSTERN_MISTAKE is the only one that is tried.
func TestMistakes(t *testing.T) {
	folder := t.TempDir()
	overlay := mistakes.Overlay(t, folder) // also in short tests: the rows fit the source
	if testing.Short() {
		t.Skip("builds Postern anew and starts it")
	}
	only := os.Getenv("POSTERN_MISTAKE")
	program, tests := mistakes.Build(t, folder, overlay), mistakes.NewTests(folder, overlay)
	var table strings.Builder
	caught, tried := 0, 0
	for _, m := range mistakes.Table {
		if only != "" && only != m.Name {
			continue
		}
		tried++
		t.Run(m.Name, func(t *testing.T) {
			began, by := time.Now(), ""
			switch m.Caught {
			case mistakes.History:
				by = notice(t, m, server.Options{Program: program}, cycle)
			case mistakes.Clock:
				c, set := clock.New(t), 0
				by = notice(t, m, server.Options{Program: program, Env: []string{c.Env()}}, setting(c, &set))
			default:
				noticed, said := tests.Notice(t, m)
				if !noticed {
					t.Fatalf("%s does not notice that %s:\n%s", m.Caught, m.What, said)
				}
				by = "by " + m.Caught
			}
			caught++
			fmt.Fprintf(&table, "%-24s %-55s %5.1f s\n", m.Name, by, time.Since(began).Seconds())
		})
	}
	t.Logf("\n%s", table.String())
	t.Logf("prove: mistakes on purpose noticed: %d of %d", caught, tried)
}

// notice plays with a server that makes a mistake until something is found, and says what and
// when.
func notice(t *testing.T, m mistakes.Mistake, o server.Options, cycle cycler) string {
	t.Helper()
	const cycles, limit = 200, 2 * time.Minute
	began := time.Now()
	o.Env = append(o.Env, m.Env())
	s, options := postern(t, o), whole(t)
	h, rng := history.New(target(s), options), rand.New(rand.NewPCG(options.Seed, 0))
	i := 1
	for ; i <= cycles && time.Since(began) < limit; i++ {
		if faults := cycle(t, s, h, rng); len(faults) > 0 {
			t.Logf("%s", faults[0])
			return fmt.Sprintf("in cycle %d, as %q and %d more", i, faults[0].Kind, len(faults)-1)
		}
	}
	t.Fatalf("in %d cycles nobody notices that %s", i-1, m.What)
	return ""
}
