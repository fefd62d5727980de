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
			got = fmt.Sprintln(u.mailbox, u.uidValidity, u.uid, sectionText(u.item.section), u.item.partial, u.item.offset, u.item.count)
		}
		if strings.TrimSpace(got) != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// authURLs are what parseAuthURL makes of URLs; what is refused begins with "The URL".
var authURLs = []struct{ text, want string }{
	{"imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred", "joe INBOX 20 3 fred  0"},
	{"IMAP://joe@example.com/INBOX/;uid=20;URLAUTH=submit+fred:internal:91354a473744909de610943775f92038", "joe INBOX 20 3 fred internal 16"},
	{"imap://j%40h;AUTH=*@[::1]:143/a%2Fb/;uid=20;expire=2026-01-02T03:04:05.6+01:00;urlauth=USER+a%20b:x-1:91354A473744909de610943775f92038ff", "j@h a/b 20 2 a b x-1 17"},
	{"imap://joe;auth=gssapi@h/INBOX;UIDVALIDITY=1/;uid=20/;partial=0.5;urlauth=authuser", "joe INBOX 20 1   0"},
	{"imap://joe@h/INBOX/;uid=20;urlauth=Anonymous", "joe INBOX 20 0   0"},
	{"", "The URL is not an absolute IMAP URL."}, {"imap:/joe@h/INBOX/;uid=1;urlauth=anonymous", "The URL is not an absolute IMAP URL."},
	{"imap://h/INBOX/;uid=1;urlauth=anonymous", "The URL names no owner."}, {"imap://@h/INBOX/;uid=1;urlauth=anonymous", "The URL names no owner."},
	{"imap://;AUTH=*@h/INBOX/;uid=1;urlauth=anonymous", "The URL names no owner."}, {"imap://j:p@h/INBOX/;uid=1;urlauth=anonymous", "The URL names no owner."},
	{"imap://j;AUTH=@h/INBOX/;uid=1;urlauth=anonymous", "The URL names no owner."}, {"imap://j%ff@h/INBOX/;uid=1;urlauth=anonymous", "The URL names no owner."},
	{"imap://j;x@h/INBOX/;uid=1;urlauth=anonymous", "The URL names no owner."},
	{"imap://joe@/INBOX/;uid=1;urlauth=anonymous", "The URL names no server."}, {"imap://joe@h", "The URL names no server."}, {"imap://joe@h@i/INBOX/;uid=1;urlauth=anonymous", "The URL names no server."},
	{"imap://joe@h/", "The URL has no access identifier."}, {"imap://joe@h/INBOX/;uid=1", "The URL has no access identifier."}, {"imap://joe@h/INBOX/;uid=1;urlauth=", "The URL has no access identifier."},
	{"imap://joe@h/INBOX/;uid=1;urlauth=somebody", "The URL has no access identifier."}, {"imap://joe@h/INBOX/;uid=1;urlauth=user+", "The URL has no access identifier."},
	{"imap://joe@h/INBOX/;uid=1;urlauth=root+a", "The URL has no access identifier."}, {"imap://joe@h/INBOX/;uid=1;urlauth=anonymous;x", "The URL has no access identifier."},
	{"imap://joe@h/INBOX/;uid=1;urlauth=anonymous:internal", "The URL has a token that is none."}, {"imap://joe@h/INBOX/;uid=1;urlauth=anonymous:internal:00", "The URL has a token that is none."},
	{"imap://joe@h/INBOX/;uid=1;urlauth=anonymous::91354a473744909de610943775f92038", "The URL has a token that is none."},
	{"imap://joe@h/INBOX/;uid=1;urlauth=anonymous:internal:91354a473744909de610943775f9203g", "The URL has a token that is none."},
	{"imap://joe@h/INBOX/;uid=1;expire=2026-13-01T00:00:00Z;urlauth=anonymous", "The URL has a time that is none."},
	{"imap://joe@h/INBOX/;uid=1;expire=;urlauth=anonymous", "The URL has a time that is none."},
	{"imap://joe@h/INBOX;urlauth=anonymous", "The URL is not one of a message or of a part of it."}, {"imap://joe@h/INBOX/;uid=1/;urlauth=anonymous", "The URL is not one of a message or of a part of it."},
	{"imap://joe@h//INBOX/;uid=1;urlauth=anonymous", "The URL is not one of a message or of a part of it."},
}

func TestParseAuthURL(t *testing.T) {
	for _, c := range authURLs {
		u, fault := parseAuthURL(c.text)
		got := fmt.Sprint(u.user, " ", u.part.mailbox, " ", u.part.uid, " ", u.access, " ", u.reader, " ", u.mechanism, " ", len(u.token))
		if fault != "" {
			got = fault
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// FuzzAuthURL: the token is of all that stands before it, and nothing else is accepted.
func FuzzAuthURL(f *testing.F) {
	for _, c := range authURLs {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, fault := parseAuthURL(text)
		if fault != "" {
			return
		}
		if !strings.HasPrefix(text, u.rump) || (u.token == nil) != (u.rump == text) || u.token != nil && len(u.token) < 16 {
			t.Errorf("%q: %+v", text, u)
		}
		if u.user == "" || u.part.mailbox == "" || u.part.uid == 0 || (u.reader == "") != (u.access < accessUser) {
			t.Errorf("%q: %+v", text, u)
		}
		if again, fault := parseAuthURL(u.rump); fault != "" || again.rump != u.rump || again.user != u.user || again.part.mailbox != u.part.mailbox || again.part.uid != u.part.uid {
			t.Errorf("%q: %+v, %s", text, again, fault)
		}
	})
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
		if u.mailbox == "" || u.uid == 0 || u.item.offset < 0 || u.item.count < 0 || u.item.partial && u.item.count == 0 {
			t.Errorf("%q: %+v", text, u)
		}
		store.CleanName(u.mailbox)
	})
}
