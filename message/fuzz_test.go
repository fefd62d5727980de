package message

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// FuzzParse: no message panics, what it gives is IMAP, its sections fit, and its
// work is linear.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.eml")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add(plainMessage)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, lim := range []Limits{DefaultLimits, {Depth: 2, Parts: 3, HeaderBytes: 50, TotalHeaderBytes: 90}, {}} {
			m := Parse(raw, lim)
			check(t, raw, m, m.Summary())
			m.MessageID()
			if len(m.References()) > MaxReferences {
				t.Fatal("too many references")
			}
			if m.work > 4*len(raw)+100 {
				t.Fatalf("%d steps for %d bytes", m.work, len(raw))
			}
		}
		header := Parse(raw, DefaultLimits).Summary().HeaderSize()
		for _, not := range []bool{false, true} {
			got := filterFields(raw[:header], []string{"subject"}, not)
			if again := filterFields(got, []string{"subject"}, not); !bytes.Equal(got, again) && !not {
				t.Fatalf("%q is filtered to %q and then to %q", raw[:header], got, again)
			}
		}
	})
}

// FuzzText: whatever text is decoded is UTF-8, and how it comes in makes no difference.
func FuzzText(f *testing.F) {
	f.Add("utf-8", "=?utf-8?q?a=C3=BC?= =?utf-8?b?w7w=?=")
	f.Add("utf-7", "Hi Mom -+Jjo--+2D3eAA-!")
	f.Add("iso-2022-jp", "\x1b$BF|K\\\x1b(B")
	f.Add("iso-2022-kr", "\x1b$)C\x0e>H\x0f!")
	f.Add("hz-gb-2312", "~{VPND~}")
	f.Add("gb18030", "\x81\x30\x81\x30")
	f.Add("utf-16", "\xfe\xff\x20\xac")
	f.Add("quoted-printable", "a=3Db=\r\nc  \r\nd =20\r\n")
	f.Add("base64", "aGVs!bG8=")
	f.Add("html", "<p title='>'>&eacute;<script>x</script>")
	f.Add("date", "Fri, 21 Nov 1997 09:55:06 -0600")
	f.Fuzz(func(t *testing.T, name, text string) {
		if s, err := ConvertCharset(name, []byte(text)); err == nil && (!utf8.ValidString(s) || len(s) > 3*len(text)+12) {
			t.Fatalf("%q", s)
		}
		if s := decodeWords(text); !utf8.ValidString(s) {
			t.Fatalf("%q", s)
		}
		if s := Fold(nil, text); !utf8.Valid(s) {
			t.Fatalf("%q", s)
		}
		if s := appendHTMLText(nil, []byte(text)); utf8.ValidString(text) && !utf8.Valid(s) {
			t.Fatalf("%q", s)
		}
		baseSubject(text)
		ParseDate(text)
		for _, e := range []string{"base64", "quoted-printable"} {
			r, _ := Decode(e, bytes.NewReader([]byte(text)))
			whole, _ := io.ReadAll(r)
			r, _ = Decode(e, iotest.OneByteReader(bytes.NewReader([]byte(text))))
			if slow, _ := io.ReadAll(r); !bytes.Equal(whole, slow) || len(whole) > len(text) {
				t.Fatalf("%s: %q, byte by byte %q", e, whole, slow)
			}
		}
	})
}

// FuzzSummary: a damaged or foreign blob never panics.
func FuzzSummary(f *testing.F) {
	f.Add([]byte(Parse(plainMessage, DefaultLimits).Summary()))
	raw, _ := os.ReadFile("testdata/nested-rfc822.eml")
	f.Add([]byte(Parse(raw, DefaultLimits).Summary()))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := Summary(b)
		_ = s.Valid()
		s.Envelope()
		s.BodyStructure()
		s.Fields([]string{"To"})
		s.Preview()
		s.Sent()
		s.HeaderSize()
		s.AttachmentNames()
		for _, p := range paths(s) {
			for k := Whole; k <= MIME; k++ {
				if r, ok := s.Locate(Section{Path: p, Kind: k}); ok && (r.Start < 0 || r.End > s.Size()) {
					t.Fatal(r)
				}
			}
			s.Part(p)
		}
	})
}
