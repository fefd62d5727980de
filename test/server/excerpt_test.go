package server

import (
	"strings"
	"testing"
)

// TestExcerpt: what a failed test shows of a long log begins with the warnings.
func TestExcerpt(t *testing.T) {
	const info = "time=0 level=INFO msg=\"logged in\"\n"
	if short := strings.Repeat(info, 3); excerpt(short) != short {
		t.Error("a short log is not whole")
	}
	got := excerpt(strings.Repeat(info, 1000) + "time=0 level=WARN msg=odd\n" + strings.Repeat(info, 1000))
	if !strings.HasPrefix(got, "time=0 level=WARN msg=odd\n(1981 lines more)\n"+info) {
		t.Errorf("begins with %.100q", got)
	}
	if n := strings.Count(got, "\n"); n > 30 {
		t.Errorf("%d lines", n)
	}
}
