package main

import (
	"bytes"
	"os"
	"testing"
)

// TestDocs: the generated pages are those of the code.
func TestDocs(t *testing.T) {
	for path, page := range generated {
		want, err := page()
		if err != nil {
			t.Fatal(path, err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run make docs (%v)", path, err)
		}
	}
}
