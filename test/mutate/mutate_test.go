package main

import (
	"strings"
	"testing"
)

// TestPolicy: every mutant of the policy's own functions and of the table of mechanisms
// is noticed by the tests of the packages. make mutate tries more of them, and on a
// running server.
func TestPolicy(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the packages anew and takes half a minute")
	}
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := run(t.Context(), &said, root, options{short: true, core: true}); err != nil {
		t.Errorf("%v", err)
	}
	t.Log(said.String())
}
