package security

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestMailboxNames: a name that deceives whoever reads it, or has a second spelling,
// is refused in every command; what looks like a path is a name like another.
func TestMailboxNames(t *testing.T) {
	s := serve(t)
	c := s.Login(t, alice)
	list := func() []string {
		t.Helper()
		lines := c.MustIMAP(`LIST "" *`)
		slices.Sort(lines)
		return lines
	}
	outside := func() string {
		t.Helper()
		var names []string
		for _, dir := range []string{s.Folder, s.Data} {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				names = append(names, e.Name())
			}
		}
		return strings.Join(names, " ")
	}
	before, folders := list(), outside()
	text := func(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }
	for name, what := range map[string]string{
		"NUL": text("a\x00b"), "NUL in UTF-7": "&AAA-", "LF in UTF-7": "a&AAo-", "CR": text("a\rb"), "DEL": text("a\x7f"), "C1": "&AIU-", "line separator": "&ICg-",
		"bidi override": "a&IC4-b", "bidi isolate": "&IGY-", "right-to-left mark": "&IA8-", "Arabic letter mark": "&Bhw-",
		"not canonical: ASCII in base64": "&AGE-", "two shifts": "&AMQ-&ANY-", "no end": "&AMQ", "bits left": "&AMR-", "bare ampersand": "a&b", "half a pair": "&2D0-",
		"wrong half": "&3AA-", "standard base64": "&AMQ/-", "not UTF-8": text("\xff"), "not UTF-8, in quotes": "\"\xff\"",
		"bidi override in UTF-8": "\"a\u202eb\"", "C1 in UTF-8": "\"a\u0085b\"", "line separator in UTF-8": text("a\u2028b"), "overlong": "\"a\xc0\xafb\"", "surrogate in UTF-8": text("\xed\xa0\x80"),
		"empty level": "a//b", "leading delimiter": "/etc/passwd", "blank at the end": `"a "`, "wildcard": text("a*"), "namespace": "#user/bob",
		"too deep": strings.Repeat("a/", 50) + "a", "too long": strings.Repeat("x", 1001), "empty": `""`,
	} {
		for _, command := range []string{"CREATE %s", "RENAME Archive %s", "SUBSCRIBE %s", "SELECT %s", "APPEND %s {1+}\r\nx"} {
			if _, answer := c.IMAP("%s", strings.ReplaceAll(command, "%s", what)); strings.HasPrefix(answer, "OK") {
				t.Errorf("%s: %s: %s", name, command, answer)
			}
		}
	}
	if after := list(); !slices.Equal(after, before) {
		t.Errorf("the mailboxes were %q and are %q", before, after)
	}
	for _, name := range []string{"..", "../..", "../../../../../../tmp/x", "a/../b", "./a", `"C:\\x"`, "~root", "con", "blobs", strings.Repeat("a/", 49) + "a", strings.Repeat("y", 1000)} {
		c.MustIMAP("CREATE %s", name)
		c.Append(name, "", "x\r\n")
		c.MustIMAP("SELECT %s", name)
		c.MustIMAP("FETCH 1 (BODY.PEEK[])")
		c.MustIMAP("UNSELECT")
		c.MustIMAP("DELETE %s", name)
	}
	// One mailbox has one name.
	c.MustIMAP("CREATE A&Awg-")
	if _, answer := c.IMAP("CREATE &AMQ-"); !strings.HasPrefix(answer, "NO [ALREADYEXISTS]") {
		t.Errorf("the same name in NFC: %s", answer)
	}
	for _, other := range []string{"\"\u00c4\"", "\"A\u0308\"", text("\u00c4")} { // in UTF-8, too (RFC 9755, 3)
		if _, answer := c.IMAP("%s", "CREATE "+other); !strings.HasPrefix(answer, "NO [ALREADYEXISTS]") {
			t.Errorf("the same name as %q: %s", other, answer)
		}
	}
	c.MustIMAP("DELETE &AMQ-")
	if after := list(); !slices.Equal(after, before) {
		t.Errorf("the mailboxes were %q and are %q", before, after)
	}
	if now := outside(); now != folders {
		t.Errorf("the folders had %s and have %s", folders, now)
	}
}
