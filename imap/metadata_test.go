package imap

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/store/memory"
)

// TestMetadataLimits: what is too big and too many is refused with the response codes of
// RFC 5464, 4.3.
func TestMetadataLimits(t *testing.T) {
	set := func(n int) string {
		return fmt.Sprintf("SETMETADATA INBOX (/private/a {%d+}\r\n%s)", n, strings.Repeat("x", n))
	}
	var many strings.Builder
	for i := range 101 {
		fmt.Fprintf(&many, " /private/%d x", i)
	}
	fill := `"` + strings.ReplaceAll(many.String()[1:], "x ", `"x" `)
	fill = "SETMETADATA INBOX (" + strings.TrimSuffix(strings.TrimPrefix(fill, `"`), "x") + `"x")`
	for _, test := range []struct{ command, want string }{
		{set(16384), "x OK "},
		{set(16385), "x NO [METADATA MAXSIZE 16384] "},
		{fill, "x NO [METADATA TOOMANY] "},
		{"GETMETADATA INBOX (" + strings.Repeat("/private/a ", 200) + "/private/a)", "x BAD [LIMIT] "},
		{"GETMETADATA INBOX /private/" + strings.Repeat("a", 300), "x BAD "},
	} {
		ts := newServer(t, memory.New())
		client, done := ts.pipe()
		if got := speak(t, client, []string{"a LOGIN alice secret", "x " + test.command}); !strings.HasPrefix(got, test.want) {
			t.Errorf("%.60s: %s", test.command, got)
		}
		client.Close()
		<-done
	}
}
