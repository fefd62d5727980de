package imap

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/store"
)

// urls are what parseURL makes of what a client writes; "" is refused.
var urls = []struct{ text, want string }{
	{"/INBOX/;UID=1", "INBOX 0 1 [] false 0 0"},
	{"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=1.MIME", "Drafts 385759045 20 [1.MIME] false 0 0"},
	{"/a/b%20c/;uid=4294967295/;PARTIAL=0.1024", "a/b c 0 4294967295 [] true 0 1024"},
	{"/%C3%BC/;UID=2/;SECTION=HEADER.FIELDS%20(Subject%20To)/;PARTIAL=7", "ü 0 2 [HEADER.FIELDS (Subject To)] true 7 9223372036854775807"},
	{"/a/../b/./c/;UID=3", "b/c 0 3 [] false 0 0"},
	{"/%2E%2E/;UID=3", ".. 0 3 [] false 0 0"},
	{"/../INBOX/;UID=3/;SECTION=TEXT", "INBOX 0 3 [TEXT] false 0 0"},
	{"", ""}, {"/", ""}, {"/INBOX", ""}, {"//host/INBOX/;UID=1", ""}, {"imap://host/INBOX/;UID=1", ""}, {"INBOX/;UID=1", ""},
	{";UID=1", ""}, {"/;UID=1", ""}, {"/INBOX;UID=1", ""}, {"/INBOX/;UID=0", ""}, {"/INBOX/;UID=01", ""}, {"/INBOX/;UID=4294967296", ""},
	{"/INBOX/;UID=", ""}, {"/INBOX/;UID", ""}, {"/INBOX/;UID=1/", ""}, {"/INBOX/;UID=+1", ""}, {"/INBOX/;UID=1;SECTION=1", ""},
	{"/INBOX/;UID=1/;SECTION=", ""}, {"/INBOX/;UID=1/;SECTION=1]", ""}, {"/INBOX/;UID=1/;SECTION=1%5D%20x", ""}, {"/INBOX/;UID=1/;SECTION=MIME", ""},
	{"/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(%7B1%7D%0D%0Ax)", ""}, {"/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(%7B1+%7D)", ""}, {"/INBOX/;UID=1/;SECTION=0", ""},
	{"/INBOX/;UID=1/;PARTIAL=1.0", ""}, {"/INBOX/;UID=1/;PARTIAL=.5", ""}, {"/INBOX/;UID=1/;PARTIAL=1/;SECTION=1", ""}, {"/INBOX/;UID=1/;UID=2", ""},
	{"/INBOX/;UIDVALIDITY=1/;UID=2", "INBOX/ 1 2 [] false 0 0"}, {"/INBOX;UIDVALIDITY=0/;UID=2", ""}, {"/INBOX;UIDVALIDITY=1;UID=2", ""}, {"/INBOX/;UID=1;URLAUTH=anonymous", ""},
	{"/INBOX/;UID=1?x", ""}, {"/INBOX/;UID=1#x", ""}, {"/ü/;UID=1", ""}, {"/a%/;UID=1", ""}, {"/a%zz/;UID=1", ""}, {"/a b/;UID=1", ""}, {"/INBOX?ALL", ""},
}

func TestParseURL(t *testing.T) {
	for _, c := range urls {
		got := ""
		if u, ok := parseURL(c.text); ok {
			got = fmt.Sprintln(u.mailbox, u.uidValidity, u.uid, sectionText(u.part.section), u.part.partial, u.part.offset, u.part.count)
		}
		if strings.TrimSpace(got) != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// FuzzURL: what is accepted has a mailbox, a UID, and a part that can be cut.
func FuzzURL(f *testing.F) {
	for _, c := range urls {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, ok := parseURL(text)
		if !ok {
			return
		}
		if u.mailbox == "" || u.uid == 0 || u.part.offset < 0 || u.part.count < 0 || u.part.partial && u.part.count == 0 {
			t.Errorf("%q: %+v", text, u)
		}
		store.CleanName(u.mailbox)
	})
}
