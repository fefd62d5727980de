package message

import (
	"bytes"
	"strings"
	"testing"
)

func TestRecodeHeader(t *testing.T) {
	for _, c := range []struct{ header, charset, want string }{
		{"Subject: =?KOI8-R?Q?why encode this?=\r\n", "utf-8", "Subject: =?utf-8?Q?why_encode_this?=\r\n"},
		{"Subject: a =?iso-8859-1?Q?gr=FC=DFe?=\r\n =?iso-8859-1?B?/A==?= b\r\n\r\n", "utf-8", "Subject: a =?utf-8?B?Z3LDvMOfZcO8?= b\r\n\r\n"},
		{"Subject: =?utf-8?Q?=C3?= =?utf-8?Q?=BC?=\r\n", "iso-8859-1", "Subject: =?iso-8859-1?Q?=FC?=\r\n"},
		{"Subject: =?utf-8?Q?=E2=82=AC?= =?x-none?Q?x?=\r\n", "iso-8859-15", "Subject: =?iso-8859-15?Q?=A4?= =?x-none?Q?x?=\r\n"},
		{"Subject: =?utf-8?Q?=E2=82=AC?= x\r\n", "iso-8859-1", "Subject: =?utf-8?Q?=E2=82=AC?= x\r\n"},
		{"Subject: =?, no word ?=\r\nno field\r\nX: =?utf-8?Q??=\r\n", "us-ascii", "Subject: =?, no word ?=\r\nno field\r\nX: =?us-ascii?Q??=\r\n"},
		{"From: \"x\" <a@b>, =?utf-8?Q?J=C3=B6rg?= <j@b>\r\n", "iso-8859-1", "From: \"x\" <a@b>, =?iso-8859-1?Q?J=F6rg?= <j@b>\r\n"},
		{"Content-Type: text/plain; charset=utf-8;\r\n foo*0*=utf-8'fr'tr%c3;\r\n foo*1*=%a9s_m%c3;\r\n foo*2*=%a9chant\r\n", "iso-8859-1",
			"Content-Type: text/plain;\r\n charset=\"utf-8\";\r\n foo*=iso-8859-1'fr'tr%E9s_m%E9chant\r\n"},
		{"Content-Disposition: inline; filename*=x-none''%ff\r\n", "utf-8", "Content-Disposition: inline; filename*=x-none''%ff\r\n"},
		{"Content-Type: text/plain; foo*0*=utf-8'fr'tr%c3;\r\n foo*1*(very)=%a9s\r\n", "iso-8859-1", "Content-Type: text/plain; foo*0*=utf-8'fr'tr%c3;\r\n foo*1*(very)=%a9s\r\n"},
		{"Content-Disposition: inline; filename=\"a*b\"\r\n", "utf-8", "Content-Disposition: inline; filename=\"a*b\"\r\n"},
	} {
		got, err := RecodeHeader([]byte(c.header), c.charset, "")
		if err != nil || string(got) != c.want {
			t.Errorf("%q in %s:\n got %q, %v\nwant %q", c.header, c.charset, got, err, c.want)
		}
	}
	if _, err := RecodeHeader(nil, "x-none", ""); err == nil {
		t.Error("a charset that there is not")
	}
}

// TestRecodeLong: words and lines stay short, and say the same.
func TestRecodeLong(t *testing.T) {
	text := strings.Repeat("grüße und 日本語, ", 30)
	for _, charset := range []string{"utf-8", "gb18030", "iso-2022-jp", "us-ascii"} {
		header, err := RecodeHeader([]byte("Subject: =?utf-8?B?"+strings.Repeat("w7w=", 1)+"?= =?utf-8?Q?"+strings.NewReplacer(" ", "_", "ü", "=C3=BC", "ß", "=C3=9F", "日", "=E6=97=A5", "本", "=E6=9C=AC", "語", "=E8=AA=9E").Replace(text)+"?=\r\nContent-Type: x/y; name*=utf-8''"+strings.Repeat("%C3%BC", 60)+"\r\n\r\n"), charset, "?")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(header)) {
			if len(line) > 80 {
				t.Errorf("%s: a line of %d bytes: %q", charset, len(line), line)
			}
		}
		m := Parse(header, DefaultLimits)
		var said string
		for v := range DecodedField(header, "subject") {
			said = v
		}
		want := "ü" + strings.TrimSpace(text)
		for _, c := range want {
			if encoded, err := EncodeCharset(charset, string(c), ""); err != nil || len(encoded) == 0 {
				want = strings.ReplaceAll(want, string(c), "?")
			}
		}
		if strings.TrimSpace(said) != want {
			t.Errorf("%s:\n got %q\nwant %q", charset, said, want)
		}
		_ = m
	}
}

// FuzzRecodeHeader: it ends, gives no line breaks away, and is not much longer.
func FuzzRecodeHeader(f *testing.F) {
	f.Add([]byte("Subject: =?utf-8?Q?=E2=82=AC?= =?x-none?Q?x?=\r\n y\r\n"), "iso-8859-15")
	f.Add([]byte("Content-Type: a/b; x*0*=utf-8'fr'tr%c3; x*1*=%a9\r\n\r\n"), "utf-16")
	f.Fuzz(func(t *testing.T, header []byte, charset string) {
		if len(header) > 16<<10 {
			return
		}
		got, err := RecodeHeader(header, charset, "?")
		if err != nil {
			return
		}
		if len(got) > 40*len(header)+200 {
			t.Fatalf("%d bytes of %d", len(got), len(header))
		}
	})
}

func TestPartStructure(t *testing.T) {
	raw := strings.ReplaceAll(`Subject: x
Content-Type: multipart/mixed; boundary=b

--b

one
two
--b
Content-Type: message/rfc822

Subject: in "it"
Content-Type: multipart/alternative; boundary=c

--c
Content-Type: text/html
Content-Description: =?utf-8?q?=C3=BC?= é

<p>
--c
Content-Type: image/png; name="a)(b"
Content-MD5: abc
Content-Language: de
Content-Transfer-Encoding: base64

AAAA
--c--
--b
Content-Type: message/global

Subject: plain

text
--b--
`, "\n", "\r\n")
	sum := Parse([]byte(raw), DefaultLimits).ShowGlobal().Summary()
	for _, c := range []struct {
		path []int
		want string
	}{
		{[]int{1}, `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 8 1 NIL NIL NIL NIL)`},
		{[]int{2, 2}, `("image" "png" ("name" "a)(b") NIL NIL "base64" 4 "abc" NIL "de" NIL)`},
		{[]int{3, 1}, `("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 0 NIL NIL NIL NIL)`},
		{[]int{4}, ""}, {[]int{1, 1}, ""}, {[]int{2, 3}, ""}, {[]int{2, 1, 1}, ""}, {[]int{3, 2}, ""}, {[]int{3, 1, 1}, ""},
	} {
		got, ok := sum.PartStructure(c.path)
		if want := c.want; ok != (want != "") || ok && strings.ReplaceAll(string(got), `("de")`, `"de"`) != want {
			t.Errorf("%v: %s, want %s", c.path, got, want)
		}
	}
	if whole, ok := sum.PartStructure(nil); !ok || !bytes.HasPrefix(whole, []byte(`("message" "rfc822" NIL NIL NIL "8bit" `)) || len(whole.elements()) != 14 {
		t.Errorf("%s", whole)
	}
	html, _ := sum.PartStructure([]int{2, 1})
	if e := html.elements(); len(e) != 12 {
		t.Errorf("%d elements: %q", len(e), html)
	}
	for _, c := range []struct {
		path []int
		Content
		want string
	}{
		{[]int{2, 2}, Content{"", "", "binary", 3, 0}, `("image" "png" ("name" "a)(b") NIL NIL "binary" 3 NIL NIL ("de") NIL)`},
		{[]int{2, 2}, Content{"image/jpeg", "", "binary", 9, 7}, `("image" "jpeg" NIL NIL NIL "binary" 9 NIL NIL ("de") NIL)`},
		{[]int{1}, Content{"text/plain", "utf-8", "8bit", 9, 7}, `("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 9 7 NIL NIL NIL NIL)`},
		{[]int{1}, Content{"image/png", "", "8bit", 9, 7}, `("image" "png" NIL NIL NIL "8bit" 9 NIL NIL NIL NIL)`},
	} {
		b, _ := sum.PartStructure(c.path)
		if got := string(b.Holding(c.Content)); got != c.want {
			t.Errorf("%v: %s, want %s", c.path, got, c.want)
		}
	}
	if nested, _ := sum.PartStructure([]int{3}); !bytes.Contains(nested.Holding(Content{Encoding: "binary", Size: 1}), []byte(`"binary" 1 (NIL "plain"`)) {
		t.Errorf("%s", nested.Holding(Content{Encoding: "binary", Size: 1}))
	}
}

// FuzzStructure: what is no list is no structure, and nothing is read beyond it.
func FuzzStructure(f *testing.F) {
	f.Add([]byte(`("text" "plain" ("charset" "us-ascii") NIL {3}` + "\r\na)b" + ` "7bit" 8 1)`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for _, e := range Structure(b).elements() {
			n += len(e)
		}
		if n > len(b) {
			t.Fatal(n)
		}
		Structure(b).Holding(Content{Type: "text/plain", Encoding: "8bit"})
	})
}
