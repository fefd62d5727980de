package imap

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/store/memory"
)

// TestAnnotationLimits: what is too big and too many is refused with the response codes of
// RFC 5257, 4.5; the work that a FETCH may make is bounded.
func TestAnnotationLimits(t *testing.T) {
	value := func(n int) string {
		return fmt.Sprintf("ANNOTATION (/comment (value.priv {%d+}\r\n%s))", n, strings.Repeat("x", n))
	}
	entries := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ` /%d.1x (value.priv "x")`, i)
		}
		return "ANNOTATION (" + strings.ReplaceAll(b.String()[1:], "/", "/vendor/v/") + ")"
	}
	for _, test := range []struct{ command, want string }{
		{"STORE 1 " + value(16384), "x OK "},
		{"STORE 1 " + value(16385), "x NO [ANNOTATE TOOBIG] "},
		{"APPEND INBOX " + value(16385) + " {1}", "x NO [ANNOTATE TOOBIG] "},
		{"STORE 1 " + entries(50), "x OK "},
		{"STORE 1 " + entries(51), "x NO [ANNOTATE TOOMANY] "},
		{"APPEND INBOX " + entries(51) + " {1}", "x NO [ANNOTATE TOOMANY] "},
		{"STORE 1 " + entries(101), "x BAD [LIMIT] "},
		{"STORE 1 ANNOTATION (/" + strings.Repeat("n", 250) + ` (value.priv "x"))`, "x BAD "},
		{"FETCH 1 (ANNOTATION ((" + strings.Repeat("/comment ", 100) + "/comment) value))", "x BAD [LIMIT] "},
		{"FETCH 1 (ANNOTATION ((" + strings.Repeat(strings.Repeat("/*", 500)+" ", 5) + "/comment) value))", "x BAD [LIMIT] "},
		{"FETCH 1 (ANNOTATION (/" + strings.Repeat("*x", 600) + " value))", "x BAD [LIMIT] "},
	} {
		ts := newServer(t, memory.New())
		client, done := ts.pipe()
		got := speak(t, client, []string{"a LOGIN alice secret", "b APPEND INBOX {1+}\r\nx", "c SELECT INBOX", "x " + test.command})
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("%.60s: %s", test.command, got)
		}
		client.Close()
		<-done
	}
}
