// Package stopwatch tells work that is slow from a machine that is busy with something else.
package stopwatch

import (
	"testing"
	"time"
)

// tries is how often work may take too long before that is its own fault: what happens
// elsewhere in the machine does not happen so often in a row.
const tries = 3

// Within does work, which must be the same when it is done again, and fails the test when it
// takes more than limit each time that it is tried. What else is wrong work says itself.
func Within(t testing.TB, limit time.Duration, what string, work func()) {
	t.Helper()
	var took []time.Duration
	for range tries {
		began := time.Now()
		work()
		took = append(took, time.Since(began))
		if took[len(took)-1] <= limit || t.Failed() {
			return
		}
	}
	t.Errorf("%s: it took %v, and may take %v", what, took, limit)
}
