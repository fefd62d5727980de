package imap

import (
	"bufio"
	"strings"
	"testing"

	"github.com/postern-mail/postern/store/memory"
)

// TestListBounds: patterns are bounded one by one, in number and together, the
// reference included.
func TestListBounds(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	conn, err := ts.dial("")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	line(t, r)
	say(t, conn, "a LOGIN alice secret\r\n")
	line(t, r)
	x := func(n int) string { return strings.Repeat("x", n) }
	for arguments, answer := range map[string]string{
		`"" ` + x(1024):                                           "a OK",
		`"" ` + x(1025):                                           "a BAD [LIMIT]",
		x(1000) + " " + x(100):                                    "a NO [LIMIT]",
		`"" (x` + strings.Repeat(" x", 99) + ")":                  "a OK",
		`"" (x` + strings.Repeat(" x", 100) + ")":                 "a BAD [LIMIT]",
		`"" (` + x(1024) + strings.Repeat(" "+x(1024), 3) + ")":   "a OK",
		`"" (` + x(1024) + strings.Repeat(" "+x(1024), 4) + ")":   "a BAD [LIMIT]",
		x(500) + ` (` + x(1) + strings.Repeat(" "+x(1), 20) + ")": "a BAD [LIMIT]",
	} {
		say(t, conn, "a LIST "+arguments+"\r\n")
		if got := line(t, r); !strings.HasPrefix(got, answer) {
			t.Errorf("%.30s… of %d bytes: %s, want %s", arguments, len(arguments), got, answer)
		}
	}
}
