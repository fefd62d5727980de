package message

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/test/stopwatch"
)

func summaryOf(s string) Summary { return Parse([]byte(s), DefaultLimits).Summary() }

// TestLocate holds the example of RFC 3501, 6.4.5 and what must not exist.
func TestLocate(t *testing.T) {
	part := func(typ, body string) string { return "Content-Type: " + typ + "\r\n\r\n" + body }
	multi := func(sub, boundary string, parts ...string) string {
		s := "Content-Type: multipart/" + sub + "; boundary=" + boundary + "\r\n\r\n"
		for _, p := range parts {
			s += "--" + boundary + "\r\n" + p + "\r\n"
		}
		return s + "--" + boundary + "--"
	}
	inner3 := "Subject: three\r\n" + multi("mixed", "b3", part("text/plain", "3.1"), part("application/octet-stream", "3.2"))
	inner42 := "Subject: four\r\n" + multi("mixed", "b42", part("text/plain", "4.2.1"), multi("alternative", "b422", part("text/plain", "4.2.2.1"), part("text/richtext", "4.2.2.2")))
	raw := "Subject: top\r\n" + multi("mixed", "top",
		part("text/plain", "1"), part("application/octet-stream", "2"), part("message/rfc822", inner3),
		multi("mixed", "b4", part("image/gif", "4.1"), part("message/rfc822", inner42)))
	s := summaryOf(raw)
	header := func(m string) string { return m[:strings.Index(m, "\r\n\r\n")+4] }
	body := func(m string) string { return m[strings.Index(m, "\r\n\r\n")+4:] }
	for _, c := range []struct {
		path []int
		kind SectionKind
		want string
	}{
		{nil, Whole, raw}, {nil, Header, header(raw)}, {nil, Text, body(raw)},
		{[]int{1}, Whole, "1"}, {[]int{2}, Whole, "2"}, {[]int{1}, MIME, "Content-Type: text/plain\r\n\r\n"},
		{[]int{3}, Whole, inner3}, {[]int{3}, Header, header(inner3)}, {[]int{3}, HeaderFields, header(inner3)},
		{[]int{3}, Text, body(inner3)}, {[]int{3, 1}, Whole, "3.1"}, {[]int{3, 2}, Whole, "3.2"},
		{[]int{4, 1}, Whole, "4.1"}, {[]int{4, 1}, MIME, "Content-Type: image/gif\r\n\r\n"}, {[]int{4, 2}, Header, header(inner42)},
		{[]int{4, 2}, Text, body(inner42)}, {[]int{4, 2, 1}, Whole, "4.2.1"},
		{[]int{4, 2, 2, 1}, Whole, "4.2.2.1"}, {[]int{4, 2, 2, 2}, Whole, "4.2.2.2"},
	} {
		r, ok := s.Locate(Section{Path: c.path, Kind: c.kind})
		if !ok || raw[r.Start:r.End] != c.want {
			t.Errorf("%v %v: %t %q, not %q", c.path, c.kind, ok, raw[r.Start:r.End], c.want)
		}
	}
	for _, sec := range []Section{
		{Kind: MIME}, {Path: []int{0}}, {Path: []int{-1}}, {Path: []int{5}}, {Path: []int{1, 1}}, {Path: []int{1}, Kind: Header},
		{Path: []int{4}, Kind: Text}, {Path: []int{3, 3}}, {Path: []int{3, 1, 1}}, {Path: []int{4, 2, 2, 3}}, {Path: []int{1 << 40}},
		{Path: []int{4, 2, 2}, Kind: HeaderFieldsNot}, {Kind: 99}, {Path: []int{1}, Kind: 99},
	} {
		if r, ok := s.Locate(sec); ok {
			t.Errorf("%+v is %v", sec, r)
		}
	}
}

func TestLimits(t *testing.T) {
	if want := (Limits{Depth: 100, Parts: 10_000, HeaderBytes: 10 << 20, TotalHeaderBytes: 50 << 20}); DefaultLimits != want {
		t.Errorf("deliveries have other limits: %+v", DefaultLimits)
	}
	lim := Limits{Depth: 3, Parts: 5, HeaderBytes: 200, TotalHeaderBytes: 400}
	structure := func(raw string) string {
		m := Parse([]byte(raw), lim)
		s := m.Summary()
		check(t, []byte(raw), m, s)
		return string(s.Body())
	}
	const opaquePart = `"application" "octet-stream" NIL NIL NIL "7bit"`
	deep := ""
	for i := range 6 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	if got := structure(deep); strings.Count(got, "(") != 3 || !strings.Contains(got, opaquePart) {
		t.Error("depth", got)
	}
	wide := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 10) + "--b--\r\n"
	if got := structure(wide); strings.Count(got, "text") != 3 || strings.Count(got, opaquePart) != 1 {
		t.Error("parts", got)
	}
	long := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nSubject: " + strings.Repeat("x", 300) + "\r\n\r\ntext\r\n--b--\r\n"
	if got := structure(long); got != `((`+opaquePart+` 126) "mixed")` {
		t.Error("header", got)
	}
	total := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\nX-Long: "+strings.Repeat("x", 150)+"\r\n\r\ntext\r\n", 4)
	if got := structure(total); strings.Count(got, "text") != 2 || strings.Count(got, opaquePart) != 1 {
		t.Error("total", got)
	}
	if got := structure("From: a@b\r\nX: " + strings.Repeat("y", 1000)); got != `(`+opaquePart+` 1003)` {
		t.Error("root", got)
	}
}

// TestDeep reads what others fell over: 10,000 levels, giant fields, and many
// that are alike.
func TestDeep(t *testing.T) {
	var deep strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for _, raw := range []string{
		deep.String(),
		strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 10000),
		"Subject: " + strings.Repeat("=?utf-8?q?x", 100000) + "\r\n\r\n",
		"Subject: " + strings.Repeat("[x]", 100000) + "\r\n\r\n",
		"Subject: " + strings.Repeat("long ", 1<<20) + "\r\n\r\ntext",
		"To: " + strings.Repeat("a@[b <c@[<@(", 100000) + "\r\n\r\n",
		"To: " + strings.Repeat("(", 1000000) + "\r\n\r\n",
		"To: " + strings.Repeat("a,", 500000) + "\r\n\r\n",
		strings.Repeat("To: a\r\n", 200000) + "\r\n",
		"References: " + strings.Repeat("<a@b>", 200000) + "\r\n\r\n",
		"References: " + strings.Repeat("<", 1000000) + "\r\n\r\n",
		"Content-Type: text/plain" + strings.Repeat(";a*1=x", 200000) + "\r\n\r\n",
		"Content-Type: text/html\r\n\r\n" + strings.Repeat("<!--", 200000),
		"Content-Type: text/html\r\n\r\n" + strings.Repeat("<script></s", 100000),
		"Content-Type: text/html\r\n\r\n" + strings.Repeat("<a b=\"", 100000),
		"Content-Type: text/html\r\n\r\n" + strings.Repeat("&", 1000000),
		"Content-Language: " + strings.Repeat("a,", 500000) + "\r\n\r\n",
	} {
		var m *Message
		var s Summary
		stopwatch.Within(t, 10*time.Second, fmt.Sprintf("%.40q", raw), func() {
			m = Parse([]byte(raw), DefaultLimits)
			s = m.Summary()
			m.SearchText()
			m.References()
		})
		check(t, []byte(raw), m, s)
		if len(s) > 8*len(raw)+1<<20 {
			t.Errorf("%.40q has a summary of %d bytes", raw, len(s))
		}
	}
}

// TestLinear counts how many bytes the reader of the tree looks at: never more
// than a few times the message, whatever its boundaries look like.
func TestLinear(t *testing.T) {
	for _, n := range []int{1000, 10000} {
		alike, same := "", ""
		for i := range 90 {
			alike += fmt.Sprintf("Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%[1]s\r\n", strings.Repeat("a", i+1))
			same += "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
		}
		for _, raw := range []string{
			alike + "\r\n" + strings.Repeat("--b\r\n", n),
			alike + "\r\n" + strings.Repeat("--"+strings.Repeat("a", 200)+"\r\n", n/40),
			same + "\r\n" + strings.Repeat("--a\r\n", n),
			same + "\r\n" + strings.Repeat("-\r\n", n),
			strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 90) + strings.Repeat("x\r\n", n),
			strings.Repeat("a:\r\n", n),
		} {
			m := Parse([]byte(raw), DefaultLimits)
			if m.work > 3*len(raw) {
				t.Errorf("%d bytes of %.60q took %d steps", len(raw), raw, m.work)
			}
		}
	}
}

// TestRandomLines puts lines together that mean something to the reader of the
// tree, in any order; check holds whatever comes out.
func TestRandomLines(t *testing.T) {
	lines := rapid.SampledFrom([]string{
		"--a\r\n", "--b\n", "--a--\r\n", "--b--\r\n", "\r\n", "\n", "\r", "text\r\n", "-", "--", "\x00",
		"Content-Type: multipart/mixed; boundary=a\r\n", "Content-Type: multipart/digest; boundary=b\r\n",
		"Content-Type: message/rfc822\r\n", "Content-Type: text/plain\r\n", "content-type: multipart/x\n", " ; boundary=ab\r\n",
		"To: a, b <c@d>\r\n", "Subject: \xfc\r\n", "From: g:;\r\n",
	})
	limits := rapid.SampledFrom([]Limits{DefaultLimits, {Depth: 3, Parts: 4, HeaderBytes: 60, TotalHeaderBytes: 150}})
	rapid.Check(t, func(rt *rapid.T) {
		raw := []byte(strings.Join(rapid.SliceOfN(lines, 0, 30).Draw(rt, "lines"), ""))
		m := Parse(raw, limits.Draw(rt, "limits"))
		check(t, raw, m, m.Summary())
	})
}

func TestFields(t *testing.T) {
	raw := "From: a\r\nX-Other: b\r\nSUBJECT : folded\r\n\tsubject\r\nno field\r\nsubject: again\r\nTo: c\r\n\r\nbody"
	s := summaryOf(raw)
	got, ok := s.Fields([]string{"Subject", "to"})
	if want := "SUBJECT : folded\r\n\tsubject\r\nsubject: again\r\nTo: c\r\n\r\n"; !ok || string(got) != want {
		t.Errorf("%q", got)
	}
	if got, ok := s.Fields([]string{"Bcc"}); !ok || string(got) != "\r\n" {
		t.Errorf("%q %t", got, ok)
	}
	if _, ok := s.Fields([]string{"To", "X-Other"}); ok || Kept("X-Other") || !Kept("MESSAGE-id") {
		t.Error("X-Other is not kept")
	}
	if got := string(filterFields([]byte(raw), []string{"FROM", "Subject"}, true)); got != "X-Other: b\r\nno field\r\nTo: c\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(filterFields([]byte("To: x"), []string{"to"}, false)); got != "To: x\r\n\r\n" {
		t.Errorf("%q", got)
	}
	many := []string{"FROM", "Subject"}
	for i := range 10_000 {
		many = append(many, fmt.Sprintf("X-%d", i))
	}
	if got := string(filterFields([]byte(raw), many, true)); got != "X-Other: b\r\nno field\r\nTo: c\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(filterFields([]byte("x-77: a\r\nX-10000: b\r\nfrom : c\r\n\r\n"), many, false)); got != "x-77: a\r\nfrom : c\r\n\r\n" {
		t.Errorf("%q", got)
	}
	stopwatch.Within(t, 5*time.Second, "many fields", func() {
		if got := filterFields([]byte(strings.Repeat("b:\r\n", 1_000_000)), many, false); len(got) != 2 {
			t.Errorf("%d bytes", len(got))
		}
	})
	for _, n := range keptFields() {
		if !Kept(n) || !Kept(strings.ToUpper(n)) {
			t.Error(n)
		}
	}
	big := summaryOf("To: " + strings.Repeat("x", MaxKeptBytes) + "\r\nSubject: s\r\n\r\n")
	if _, ok := big.Fields([]string{"Subject"}); ok {
		t.Error("too much is kept")
	}
}

// TestKeptFieldsMatchFilter compares Fields with AppendFields on random headers.
func TestKeptFieldsMatchFilter(t *testing.T) {
	line := rapid.SampledFrom([]string{"To: a\r\n", "tO:\r\n", " folded\r\n", "\tfolded: x\n", "Subject : s\r\n", "X-Unknown: 1\r\n", "garbage\r\n", ": x\r\n", "From: b\n", "\r", "Cc: no end"})
	rapid.Check(t, func(rt *rapid.T) {
		raw := []byte(strings.Join(rapid.SliceOfN(line, 0, 12).Draw(rt, "lines"), "") + rapid.SampledFrom([]string{"", "\r\n", "\nTo: body"}).Draw(rt, "end"))
		s := Parse(raw, DefaultLimits).Summary()
		h, _ := s.Locate(Section{Kind: HeaderFields})
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"to", "From", "SUBJECT", "Cc", "Bcc"}), 0, 3).Draw(rt, "names")
		got, ok := s.Fields(names)
		if want := filterFields(raw[h.Start:h.End], names, false); !ok || !bytes.Equal(got, want) {
			rt.Fatalf("%q: %q, not %q", raw, got, want)
		}
		many := names // are compared in another way
		for n := range 20 {
			many = append(many, fmt.Sprint("X-", n))
		}
		for _, not := range []bool{false, true} {
			few, same := filterFields(raw[h.Start:h.End], names, not), filterFields(raw[h.Start:h.End], many, not)
			if !bytes.Equal(few, same) {
				rt.Fatalf("%q: %q, and with more names %q", raw, few, same)
			}
		}
	})
}

func TestDamagedSummary(t *testing.T) {
	good := Parse(plainMessage, DefaultLimits).Summary()
	use := func(s Summary) {
		s.Envelope()
		s.Fields([]string{"To"})
		s.Preview()
		s.Sent()
		s.Size()
		s.HeaderSize()
		s.AttachmentNames()
		for _, p := range paths(s) {
			s.Locate(Section{Path: p, Kind: Text})
			s.Part(p)
		}
	}
	for i := range good {
		for _, x := range []byte{1, 0x80, 0xff} {
			bad := slices.Clone(good)
			bad[i] ^= x
			if err := bad.Valid(); err == nil || mail.KindOf(err) != mail.KindCorrupt {
				t.Fatalf("byte %d: %v", i, err)
			}
			if i < 100 || i > len(bad)-200 {
				use(bad)
			}
		}
	}
	for i := range good {
		if good[:i].Valid() == nil {
			t.Fatalf("%d bytes are valid", i)
		}
		use(good[:i])
	}
	use(nil)
}

// TestBounds: giant strings are cut, and what is too much altogether is left out.
func TestBounds(t *testing.T) {
	s := summaryOf("Subject: " + strings.Repeat("ü", 1<<20) + "\r\nTo: " + strings.Repeat("a@b, ", 1<<20) + "\r\n\r\n")
	list, _ := readValue(s.Envelope())
	subject := list.([]any)[1].(string)
	to := list.([]any)[5].([]any)
	if len(subject) != MaxStringBytes || !utf8.ValidString(subject) || len(to) < 1<<17 || len(s.Envelope()) > 3*MaxStructureBytes {
		t.Error(len(subject), len(to), len(s.Envelope()))
	}
	if got := s.BaseSubject(); len(got) > maxSubject || strings.Trim(got, "ü") != "" {
		t.Error(len(got))
	}
}

func TestThreads(t *testing.T) {
	m := Parse([]byte("Message-ID: (c) < a b@c >\r\nReferences: <1@x> garbage <2@\r\n x><<3@x>\r\nIn-Reply-To: <2@x> <4@x>\r\n\r\n"), DefaultLimits)
	if got := m.MessageID(); got != "ab@c" {
		t.Error(got)
	}
	if got := m.References(); !slices.Equal(got, []string{"1@x", "2@x", "3@x", "4@x"}) {
		t.Errorf("%q", got)
	}
	var refs strings.Builder
	for i := range 300 {
		fmt.Fprintf(&refs, " <%d@x>\r\n", i)
	}
	m = Parse([]byte("Message-ID: bare@x \r\nReferences:"+refs.String()+"In-Reply-To: <299@x> <300@x>\r\n\r\n"), DefaultLimits)
	got := m.References()
	if len(got) != MaxReferences || got[0] != "201@x" || got[99] != "300@x" || m.MessageID() != "bare@x" {
		t.Errorf("%d %q %q", len(got), got, m.MessageID())
	}
}
