package message

import (
	"bytes"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/postern-mail/postern/mail"
)

func TestDecodeWords(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                         "plain",
		"=?utf-8?q?a?= =?utf-8?q?b?=":   "ab",
		"=?utf-8?q?a?= b =?utf-8?q?c?=": "a b c",
		"=?utf-8?q?a_b=20c?=":           "a b c",
		"x=?UTF-8?B?w7w=?=y":            "xüy",

		"=?utf-8*en?q?=C3=BC?=":                       "ü",
		"=?iso-8859-1?q?=FC?= =?utf-8?q?=C3=BC?=":     "üü",
		"=?utf-8?q?=C3?= =?utf-8?q?=BC?=":             "ü",
		"=?utf-8?x?abc?=":                             "=?utf-8?x?abc?=",
		"=?utf-8?q?abc":                               "=?utf-8?q?abc",
		"=?utf-8?q?a?b?=":                             "=?utf-8?q?a?b?=",
		"=?=?utf-8?q?ok?=":                            "=?ok",
		"=??q?x?=":                                    "=??q?x?=",
		"a\xfcb":                                      "aüb",
		"=?gb2312?b?xOO6ww==?=":                       "你好",
		"=?ks_c_5601-1987?b?vsiz5w==?=":               "안녕",
		"=?utf-7?q?+AOQ-?=":                           "ä",
		"=?utf-8?q??=":                                "",
		"=?utf-8?q?a?=\t=?utf-8?q??=  =?utf-8?q?b?= ": "ab ",
	} {
		if got := decodeWords(in); got != want {
			t.Errorf("%q is %q, not %q", in, got, want)
		}
	}
}

func TestConvertCharset(t *testing.T) {
	for _, c := range []struct{ charset, in, want string }{
		{"UTF-8", "ü\xff", "ü\ufffd"}, {"us-ascii", "a", "a"}, {"latin1", "\xfc\x80", "ü€"}, {"ISO-8859-15", "\xa4", "€"},
		{"cp932", "\x93\xfa\x96\x7b", "日本"}, {"CP949", "\xbe\xc8", "안"}, {"iso-2022-jp-2", "\x1b$BF|K\\\x1b(B", "日本"},
		{"utf-7", "Hi Mom -+Jjo--+2D3eAA-!", "Hi Mom -☺-😀!"}, {"utf-7", "a+-b+", "a+b\ufffd"}, {"utf-7", "+2D0-", "\ufffd"},
		{"utf-16be", "\x20\xac", "€"}, {"koi8-r", "\xf0", "П"}, {"iso-2022-kr", "\x1b$)C\x0e>H\x0f!", "안!"},
		{"cp1251", "\xcf", "П"}, {" windows-1252 ", "\x93", "“"}, {"gb18030", "\x81\x30\x81\x30", "\u0080"}, {"big5", "\xa4\xa4", "中"},
	} {
		got, err := ConvertCharset(c.charset, []byte(c.in))
		if err != nil || got != c.want {
			t.Errorf("%s %q is %q %v, not %q", c.charset, c.in, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "nope", "replacement", "iso-2022-cn", strings.Repeat("x", 1000)} {
		if _, err := ConvertCharset(bad, nil); err == nil || mail.KindOf(err) != mail.KindUnknownCharset {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseDate(t *testing.T) {
	for in, want := range map[string]string{
		"Fri, 21 Nov 1997 09:55:06 -0600":                             "1997-11-21T09:55:06-06:00",
		"21 Nov 97 09:55:06 GMT":                                      "1997-11-21T09:55:06Z",
		"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600":             "",
		"Thu,\r\n 13\r\n Feb\r\n 1969\r\n 23:32 -0330 (Newfoundland)": "1969-02-13T23:32:00-03:30",
		"Tue Jul 1 10:52:37 2003":                                     "2003-07-01T10:52:37Z",
		"Tue Jul  1 10:52:37 CEST 2003":                               "2003-07-01T10:52:37+02:00",
		"1 January 2003 10:52 EST":                                    "2003-01-01T10:52:00-05:00",
		"Mon, 2-Feb-2004 3:4:5+01:30":                                 "2004-02-02T03:04:05+01:30",
		"2004 Feb 29":                                                 "2004-02-29T00:00:00Z",
		"1 Jan 103 00:00:00 +0000":                                    "2003-01-01T00:00:00Z",
		"30 Feb 2004 10:00 +0000":                                     "",
		"32 Jan 2004":                                                 "",
		"Mon, 6 Jan 2025 25:00:00 +0100":                              "",
		"Mon, 6 Jan 2025 10:00:00 -2400":                              "2025-01-06T10:00:00-24:00",
		"Mon, 6 Jan 2025 10:00:00 +9999":                              "2025-01-06T10:00:00Z",
		"":                                                            "",
		"yesterday":                                                   "",
		strings.Repeat("1 ", 1000):                                    "",
	} {
		got := ""
		if d, ok := ParseDate(in); ok {
			got = d.Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q is %q, not %q", in, got, want)
		}
	}
}

func TestBaseSubject(t *testing.T) {
	for in, want := range map[string]string{
		"hello":                            "hello",
		"Re: hello":                        "hello",
		"RE : Fwd: fw: hello":              "hello",
		"Re[2]: hello (fwd) (FWD)":         "hello",
		"[list] Re: [other] hello":         "hello",
		"[fwd: Re: hello]":                 "hello",
		"[Fwd: [fwd: hello (fwd)]] (fwd)":  "hello",
		"[only a blob]":                    "[only a blob]",
		"[a] [only a blob]":                "[only a blob]",
		"Re: [a]":                          "[a]",
		"re":                               "re",
		"reply: x":                         "reply: x",
		"=?utf-8?q?Re=3A_?= =?utf-8?q?x?=": "x",
		"  a \t b ":                        "a b",
		"Re:":                              "",
		"[]":                               "[]",
		"[fwd:x":                           "[fwd:x",
	} {
		if got := baseSubject(in); got != want {
			t.Errorf("%q is %q, not %q", in, got, want)
		}
	}
}

func TestFold(t *testing.T) {
	fold := func(s string) string { return string(Fold(nil, s)) }
	for _, same := range [][]string{
		{"straße", "STRAßE"}, {"Ärger", "äRGER", "A\u0308rger"}, {"ΣΊΣΥΦΟΣ", "σίσυφος"}, {"Привет", "ПРИВЕТ"}, {"안녕", "\u110b\u1161\u11ab\u1102\u1167\u11bc"},
		{"ﬁ", "FI"}, {"Ａｂ", "aB"}, {"がぎ", "か\u3099き\u3099"}, {"Ⅷ", "viii"}, {"K", "\u212a"}, {"\xff", "\ufffd"}, {"日本", "日本"}, {"ı", "I"},
	} {
		for _, s := range same {
			if fold(s) != fold(same[0]) {
				t.Errorf("%q and %q differ: %q %q", s, same[0], fold(s), fold(same[0]))
			}
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		a, b := rapid.String().Draw(rt, "a"), rapid.String().Draw(rt, "b")
		if fold(a)+fold(b) != fold(a+b) || !utf8.ValidString(fold(a)) {
			rt.Fatal(fold(a), fold(b), fold(a+b))
		}
		if f := fold(a); string(Fold(nil, []byte(f))) != f {
			rt.Fatalf("%q folds to %q and then to %q", a, f, fold(f))
		}
	})
}

// TestDecode checks that decoding does not depend on how the text comes in.
func TestDecode(t *testing.T) {
	for _, c := range []struct{ encoding, in, want string }{
		{"base64", "aGVsbG8=", "hello"}, {"BASE64", "aGVs\r\nbG8", "hello"}, {"base64", "aGVs!bG8=aGVsbG8=", "hellohello"}, {"base64", "a", ""}, {"base64", "====", ""},
		{"quoted-printable", "a=3Db=\r\nc  \r\nd =20\r\n", "a=bc\r\nd  \r\n"}, {"quoted-printable", "=C3=bc =\n x=", "ü  x"},
		{"Quoted-Printable", "=ZZ =3 == =\t \r\nend=3", "=ZZ =3 == end=3"}, {"quoted-printable", "tab\t\nno end ", "tab\nno end"},
		{"quoted-printable", "a \rb", "a \rb"}, {"quoted-printable", "=\r=41", "=\rA"},
		{"7bit", "as=20is", "as=20is"}, {"", "x", "x"}, {"Binary", "\x00", "\x00"},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
			r, err := Decode(c.encoding, wrap(strings.NewReader(c.in)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || string(got) != c.want {
				t.Errorf("%s %q is %q %v, not %q", c.encoding, c.in, got, err, c.want)
			}
		}
	}
	if _, err := Decode("x-uuencode", nil); err == nil || mail.KindOf(err) != mail.KindUnknownCTE {
		t.Error(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		in := rapid.SliceOf(rapid.Byte()).Draw(rt, "in")
		var b bytes.Buffer
		w := quotedprintable.NewWriter(&b)
		w.Binary = true
		w.Write(in)
		w.Close()
		r, _ := Decode("quoted-printable", iotest.HalfReader(&b))
		if got, _ := io.ReadAll(r); !bytes.Equal(got, in) {
			rt.Fatalf("%q is %q", in, got)
		}
	})
}

func TestHTML(t *testing.T) {
	for in, want := range map[string]string{
		"a<br>b":                       "a\nb",
		"un<b>bro</b>ken":              "unbroken",
		"<p>x</p>":                     "\nx\n",
		"1 < 2 &amp;&lt; 3":            "1 < 2 &< 3",
		"<script>a</script >b":         "\nb",
		"<STYLE>p</style>b<!-- c -->d": "\nbd",
		"<a title='>'>x</a>":           "x",
		"&#x41;&#66;&eacute;&nosuch;&": "ABé&nosuch;&",
		"<a title=\"open>x":            "x",
		"<!-- open":                    "",
		"<":                            "<",
		"<script>never closed</scrip":  "\n",
	} {
		if got := string(appendHTMLText(nil, []byte(in))); got != want {
			t.Errorf("%q is %q, not %q", in, got, want)
		}
	}
}

func TestPreview(t *testing.T) {
	long := strings.Repeat("日本 ", 200)
	for raw, want := range map[string]string{
		"\r\n \r\n a \t\r\n b\x00c \r\n":                         "a b c",
		"Content-Type: text/plain; charset=utf-8\r\n\r\n" + long: string([]rune(long)[:200]),
		"Content-Type: application/pgp-encrypted\r\n\r\nx":       "",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment\r\n\r\nno\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>yes": "yes",
		"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + "4oKs":                                                                    "€",
	} {
		if got := summaryOf(raw).Preview(); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%.60q: %q, not %q", raw, got, want)
		}
	}
}

func TestSearchText(t *testing.T) {
	m := Parse([]byte("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n aus K\xc3\xb6ln\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+w4RwZjxiPmVsPC9iPg=="), DefaultLimits)
	text := m.SearchText()
	for _, c := range []struct {
		in   []byte
		word string
		want bool
	}{
		{SearchHeader(text), "GRÜßE AUS KÖLN", true}, {SearchHeader(text), "subject: gr", true}, {SearchHeader(text), "äpfel", false},
		{SearchBody(text), "ÄPFEL", true}, {SearchBody(text), "köln", false}, {SearchBody(text), "<b>", false},
	} {
		if bytes.Contains(c.in, Fold(nil, c.word)) != c.want {
			t.Errorf("%q in %q is not %t", c.word, c.in, c.want)
		}
	}
	big := Parse([]byte("X: "+strings.Repeat("ü", 3<<20)+"\r\n\r\n"+strings.Repeat("text\r\n", 2<<20)), DefaultLimits).SearchText()
	if len(big) > MaxSearchText+4 || len(SearchBody(big)) < MaxSearchText/3 || !utf8.Valid(big[4:]) {
		t.Error(len(big), len(SearchBody(big)))
	}
	if SearchHeader(nil) != nil || SearchBody([]byte{1}) != nil || len(SearchHeader([]byte{9, 9, 9, 9, 'x'})) != 1 {
		t.Error("damaged")
	}
}
