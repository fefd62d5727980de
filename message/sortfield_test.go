package message

import (
	"encoding/binary"
	"strings"
	"testing"
)

func sortField(f SortField, header string) string {
	return string(AppendSortField(nil, f, []byte(strings.ReplaceAll(header, "\n", "\r\n"))))
}

func TestSortFields(t *testing.T) {
	for _, c := range []struct {
		field        SortField
		header, want string
	}{
		{SortSubject, "", "\x00"},
		{SortSubject, "Subject: [list] Hello\n", "\x00Hello"},
		{SortSubject, "Subject: Re: [list] Hello\n", "\x01Hello"},
		{SortSubject, "Subject: Hello (fwd)\n", "\x01Hello"},
		{SortSubject, "Subject: [fwd: Hello]\n", "\x01Hello"},
		{SortSubject, "Subject: =?utf-8?q?Re:_Gr=C3=BC=C3=9Fe?=\n", "\x01Grüße"},
		{SortSubject, "Subject: a\u00a0\u00a0b\n", "\x00a\u00a0\u00a0b"},
		{SortSubject, "Subject: a \t\n  b\n", "\x00a b"},
		// What cannot be converted stays what it is (RFC 5255, 4.6).
		{SortSubject, "Subject: =?utf-8?q?Re:_=D0=FF?=\n", "\x01\xff\xd0\xff"},
		{SortSubject, "Subject: =?no-such-charset?q?x=81?= y\n", "\x00\xff" + "x\x81 y"},
		{SortSubject, "Subject: =?koi8-r?q?=E1=CC=C5=CB=D3=C5=CA?=\n", "\x00Алексей"},
		{SortFrom, "From: Fred <fred@example.org>, x@y\n", "fred"},
		{SortFrom, "From: \"A. B\"@example.org\n", "A. B"},
		{SortFrom, "From: team: a@b, c@d;\n", "team"},
		{SortFrom, "To: x@y\n", ""},
		{SortTo, "To:\nTo: bob@example.org\n", "bob"},
		{SortCc, "Subject: x\nCC: c@d\n", "c"},
		{SortDisplayFrom, "From: =?utf-8?q?J=C3=BCrgen?= M <j@example.org>\n", "Jürgen M"},
		{SortDisplayFrom, "From: j@example.org (Jim)\n", "Jim"},
		{SortDisplayFrom, "From: <j@example.org>\n", "j@example.org"},
		{SortDisplayTo, "To: team: a@b;\n", "team"},
		{SortDate, "Date: nonsense\n", ""},
	} {
		if got := sortField(c.field, c.header); got != c.want {
			t.Errorf("%d of %q: %q, want %q", c.field, c.header, got, c.want)
		}
	}
	if a, b := sortField(SortDate, "Date: 31 Dec 2000 16:01:33 -0800\n"), sortField(SortDate, "Date: 1 Jan 2001 00:01:33 +0000\n"); a != b || len(a) != 8 {
		t.Errorf("%q and %q", a, b)
	}
	if a, b := sortField(SortDate, "Date: 31 Dec 1960 16:01:33\n"), sortField(SortDate, "Date: 1 Jan 2001 00:01:33\n"); a >= b {
		t.Error("dates before 1970 come first")
	}
	if long := sortField(SortSubject, "Subject: "+strings.Repeat("ü", 1000)+"\n"); len(long) > 1+MaxSortText || strings.Trim(long[1:], "ü") != "" {
		t.Errorf("%d bytes", len(long))
	}
}

// TestSortDate compares the two ways to the date.
func TestSortDate(t *testing.T) {
	for _, date := range []string{"", "Date: Mon, 1 Jan 2001 00:01:33 +0100\r\n", "Date: x\r\n", "Date: 1 Jan 1950 00:00 EST\r\n"} {
		m := Parse([]byte(date+"\r\nx"), DefaultLimits)
		if a, b := string(m.Summary().SortDate(nil)), sortField(SortDate, date); a != b {
			t.Errorf("%q: %q and %q", date, a, b)
		}
	}
}

func TestSortReferences(t *testing.T) {
	ids := func(header string) []uint64 {
		b := sortField(SortReferences, header)
		var out []uint64
		for ; len(b) >= 8; b = b[8:] {
			out = append(out, binary.LittleEndian.Uint64([]byte(b)))
		}
		return out
	}
	own := func(id string) uint64 { return ids("Message-ID: " + id + "\n")[0] }
	a, b := own("<a@x>"), own("<b@x>")
	if a == 0 || a == b {
		t.Fatal("no digests")
	}
	for _, same := range []string{`<"a"@x>`, "< a@x >", "junk <a@x> junk", "<none> <a@x>", `<"a\"@x> <a@x>`} {
		if own(same) != a {
			t.Errorf("%s is not <a@x>", same)
		}
	}
	for _, none := range []string{"", "a@x", "<a>", "<@x>", "<a@>", "<a@x", "<" + strings.Repeat("a", 1000) + "@x>"} {
		if own(none) != 0 {
			t.Errorf("%q is valid", none)
		}
	}
	if own("<A@x>") == a {
		t.Error("identifiers are case-sensitive")
	}
	for header, want := range map[string][]uint64{
		"References: <a@x> <b@x>\nIn-Reply-To: <c@x>\n":         {0, a, b},
		"References: nothing\nIn-Reply-To: <b@x> <a@x>\n":       {0, b},
		"References:\n <a@x>\n <b@x>\nMessage-ID: <b@x>\n":      {b, a, b},
		"In-Reply-To: Your message of today <a@x> from <b@x>\n": {0, a},
		"Message-ID: <a@x>\n":                                   {a},
	} {
		got := ids(header)
		if len(got) != len(want) {
			t.Errorf("%q: %d", header, got)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%q: %d, want %d", header, got, want)
			}
		}
	}
	many := "References:" + strings.Repeat(" <first@x>", 10000) + strings.Repeat("\n <b@x>", MaxReferences) + "\n"
	if got := ids(many); len(got) != 1+MaxReferences || got[1] != b || got[MaxReferences] != b {
		t.Errorf("%d references, or not the last ones", len(got)-1)
	}
}

func TestTitlecase(t *testing.T) {
	for in, want := range map[string]string{"aZ_z": "AZ_Z", "Grüße": "GRU\u0308ßE", "ǆ": "Dz\u030c", "각": "\u1100\u1161\u11a8", "ﬁ": "fi", "\xff": "\uFFFD"} {
		if got := string(Titlecase(nil, in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzSortFields(f *testing.F) {
	f.Add("Subject: =?utf-8?q?Re:_x?= (fwd)\r\nFrom: a <b@c>\r\nReferences: <a@b> <\"c\"@d>\r\n")
	f.Add("References: <\"<\"<\\\"@x>\r\nIn-Reply-To: <")
	f.Fuzz(func(t *testing.T, header string) {
		for field := range NumSortFields {
			b := AppendSortField(nil, field, []byte(header))
			switch {
			case field == SortDate && len(b)%8 != 0, field == SortReferences && (len(b)%8 != 0 || len(b) > 8+8*MaxReferences):
				t.Fatalf("%d: %q", field, b)
			case field == SortSubject && (len(b) == 0 || b[0] > 1), len(b) > max(1+MaxSortText, 8+8*MaxReferences):
				t.Fatalf("%d: %q", field, b)
			}
		}
	})
}

// TestDisplayName: a comment is a name only behind an address, or before one in brackets, and
// a dot in a name stands as it was written.
func TestDisplayName(t *testing.T) {
	for from, want := range map[string]string{
		"bob@x.org (Bob)": "Bob", "(Bob) bob@x.org": "bob@x.org", "(Bob) <bob@x.org>": "Bob", "(a) bob@x.org (b)": "b", "(a) bob": "bob@",
		"Bob . B <bob@x.org>": "Bob . B", "Bob B. C <bob@x.org>": "Bob B. C", "b . c @ x . org": "b.c@x.org",
	} {
		if got := string(AppendSortField(nil, SortDisplayFrom, []byte("From: "+from+"\r\n\r\n"))); got != want {
			t.Errorf("%s is shown as %q, not %q", from, got, want)
		}
	}
}
