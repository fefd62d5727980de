package wire

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postern-mail/postern/mail"
)

func encode(t testing.TB, utf8 bool, write func(*Encoder)) string {
	t.Helper()
	var out bytes.Buffer
	e := NewEncoder(&out)
	e.SetUTF8(utf8)
	write(e)
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if e.buf != nil {
		t.Error("a buffer is held after Flush")
	}
	return out.String()
}

func TestEncoder(t *testing.T) {
	zone := time.FixedZone("", -(7*3600 + 30*60))
	long := strings.Repeat("x", 2000)
	for _, c := range []struct {
		want  string
		write func(*Encoder)
	}{
		{"* 23 EXISTS\r\n", func(e *Encoder) { e.Count(23, "EXISTS") }},
		{"18446744073709551615", func(e *Encoder) { e.Number(math.MaxUint64) }},
		{"(a NIL)", func(e *Encoder) { e.Open().Atom("a").SP().Nil().Close() }},
		{"\"a b\"{4}\r\na\r\nb", func(e *Encoder) { e.Atom("a b").Atom("a\r\nb") }},
		{`""`, func(e *Encoder) { e.String("") }},
		{`"a\"\\b"`, func(e *Encoder) { e.String(`a"\b`) }},
		{"{4}\r\na\r\nb", func(e *Encoder) { e.String("a\r\nb") }},
		{"{3}\r\na\rb{3}\r\na\nb", func(e *Encoder) { e.String("a\rb").String("a\nb") }},
		{"{3}\r\na?b", func(e *Encoder) { e.String("a\x00b") }},
		{"{2}\r\né", func(e *Encoder) { e.String("é") }},
		{"{2000}\r\n" + long, func(e *Encoder) { e.String(long) }},
		{`NIL ""`, func(e *Encoder) { e.NString("x", false).SP().NString("", true) }},
		{`a]b "NIL" "a b" ""`, func(e *Encoder) { e.AString("a]b").SP().AString("NIL").SP().AString("a b").SP().AString("") }},
		{"{3}\r\nabc~{2}\r\n\x00x", func(e *Encoder) { e.Literal([]byte("abc")).Literal8([]byte("\x00x")) }},
		{"{5}\r\nabcde", func(e *Encoder) { e.LiteralFrom(5, iotest.OneByteReader(strings.NewReader("abcdefgh"))) }},
		{"~{0}\r\n", func(e *Encoder) { e.Literal8From(0, nil) }},
		{"INBOX Entw&APw-rfe \"R&-D x\"", func(e *Encoder) { e.Mailbox("INBOX").SP().Mailbox("Entwürfe").SP().Mailbox("R&D x") }},
		{`"/" NIL`, func(e *Encoder) { e.Delimiter('/').SP().Delimiter(0) }},
		{`() (\Seen) (\Recent) (\Answered \Seen \Recent b)`, func(e *Encoder) {
			k := []string{"a", "b", "c\r\n", "d e"}
			e.Flags(0, k, false).SP().Flags(mail.Seen, k, false).SP().Flags(0, k, true).SP()
			e.Flags(mail.Seen|mail.Answered|mail.Keyword(1)|mail.Keyword(2)|mail.Keyword(3)|mail.Keyword(9), k, true)
		}},
		{"2,4:7,9", func(e *Encoder) { e.NumSet(mail.NumSetOf(9, 2, 4, 5, 6, 7)) }},
		{`"07-Feb-0096 02:04:05 -0730"`, func(e *Encoder) { e.DateTime(time.Date(96, 2, 7, 2, 4, 5, 0, zone)) }},
		{"+ \r\n+ AGEAYg==\r\n+ go ahead\r\n+ -[x\r\n", func(e *Encoder) {
			e.Challenge(nil).Challenge([]byte("\x00a\x00b")).Continue("go ahead").Continue("[x")
		}},
		{"a1 OK [READ-ONLY] done\r\n", func(e *Encoder) { e.Tagged([]byte("a1"), OK, "READ-ONLY", "done") }},
		{"* BAD what? - x\r\n", func(e *Encoder) { e.Tagged(nil, BAD, "", "what? - x") }},
		{"* NO -[x]  y\r\n", func(e *Encoder) { e.Tagged([]byte("a\r\n"), NO, "", "[x]\r\ny") }},
		{"* BYE [X??? y] -\r\n", func(e *Encoder) { e.Status(BYE, "X]\r\n y", "") }},
		{"* PREAUTH a?b ? c\r\n", func(e *Encoder) { e.Status(PREAUTH, "", "aéb \xff\x00c") }},
	} {
		if got := encode(t, false, c.write); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	got := encode(t, true, func(e *Encoder) {
		e.String("é").String("\xff").Mailbox("R&D é").Text("aé\xff\u2028b\u0085")
	})
	if want := "\"é\"{1}\r\n\xff\"R&D é\"aé? b "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLarge writes more than fits into the buffer by every way.
func TestLarge(t *testing.T) {
	for _, n := range []int{0, 1, 100, 4095, 4096, 16383, 16384, 16385, 32768, 100001} {
		b := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		s := string(b)
		var want strings.Builder
		head := func(brace string) { want.WriteString(brace + strconv.Itoa(n) + "}\r\n" + s) }
		head("{")
		head("~{")
		head("{")
		want.WriteString(s + s)
		if n > longestQuoted {
			head("{")
		} else {
			want.WriteString(`"` + s + `"`)
		}
		got := encode(t, false, func(e *Encoder) {
			e.Literal(b).Literal8(b).LiteralFrom(int64(n), bytes.NewReader(b)).Raw(b).RawString(s).String(s)
		})
		if got != want.String() {
			t.Errorf("%d bytes: %d, want %d", n, len(got), want.Len())
		}
	}
	var set mail.NumSet
	for i := range uint32(5000) {
		set.Add(4000000000 + 2*i)
	}
	if got := encode(t, false, func(e *Encoder) { e.NumSet(set) }); got != set.String() {
		t.Error("a large set differs")
	}
	text := strings.Repeat("xy\n", 20000)
	if got := encode(t, false, func(e *Encoder) { e.Text(text) }); got != strings.ReplaceAll(text, "\n", " ") {
		t.Error("a long text differs")
	}
	if got := encode(t, false, func(e *Encoder) { e.Base64([]byte(text)) }); len(got) != 80000 || strings.Contains(got, "=") {
		t.Error("long base64 differs", len(got))
	}
}

type failing struct{ calls int }

func (f *failing) Write(p []byte) (int, error) { f.calls++; return 0, io.ErrClosedPipe }

func TestEncoderFails(t *testing.T) {
	f := &failing{}
	e := NewEncoder(f)
	for range 10 {
		e.Literal(make([]byte, 50000)).String(strings.Repeat("\n", 9000)).CRLF()
	}
	err := e.Flush()
	if !errors.Is(err, io.ErrClosedPipe) || mail.KindOf(err) != mail.KindUnavailable || f.calls != 1 || e.Err() != err {
		t.Error(err, f.calls)
	}
	var out bytes.Buffer
	e.Reset(&out)
	if err := e.Const("x").Flush(); err != nil || out.String() != "x" {
		t.Error(err, out.String())
	}
	// A source that is too short leaves a response that cannot be completed.
	for _, r := range []io.Reader{strings.NewReader("abc"), iotest.ErrReader(io.ErrClosedPipe), stuck{}} {
		e.Reset(&out)
		if e.LiteralFrom(4, r).CRLF(); e.Flush() == nil {
			t.Errorf("%T: no error", r)
		}
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestRoundTrip reads what the Encoder wrote with the Decoder.
func TestRoundTrip(t *testing.T) {
	for _, s := range []string{"", "a", "a b", `"\`, "a\r\nb", "NIL", "]", "é", strings.Repeat("z", 3000)} {
		for _, utf8 := range []bool{false, true} {
			wire := encode(t, utf8, func(e *Encoder) {
				e.AString(s).SP().String(s).SP().NString(s, true).SP().DateTime(time.Unix(1e9, 0)).CRLF()
			})
			wire = strings.ReplaceAll(wire, "}\r\n", "+}\r\n")
			d, _ := decode(t, wire)
			d.SetUTF8(utf8)
			a := d.AString()
			d.SP()
			b := d.String()
			d.SP()
			c, ok := d.NString()
			d.SP()
			tm := d.DateTime()
			d.End()
			if a != s || b != s || c != s || !ok || tm.Unix() != 1e9 || d.Err() != nil {
				t.Errorf("%q: %q %q %q %v", s, a, b, c, d.Err())
			}
		}
	}
}

func BenchmarkWriteFetch(b *testing.B) {
	e := NewEncoder(io.Discard)
	keywords := []string{"$Forwarded", "Work"}
	prepared := []byte(`("Mon, 7 Feb 1994 21:52:25 -0800 (PST)" "hello" (("Fred" NIL "foobar" "example.com")) NIL NIL NIL NIL NIL NIL "<B27397@example.com>")`)
	date := time.Unix(1e9, 0).UTC()
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		e.Untagged().Number(n).Const(" FETCH (UID ").Number(n + 1000).Const(" FLAGS ")
		e.Flags(mail.Seen|mail.Keyword(1), keywords, false).Const(" INTERNALDATE ").DateTime(date)
		e.Const(" RFC822.SIZE ").Number(4286).Const(" ENVELOPE ").Raw(prepared).Close().CRLF()
	}
	if err := e.Flush(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkWriteFlags(b *testing.B) {
	e := NewEncoder(io.Discard)
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		e.Untagged().Number(n).Const(" FETCH (UID ").Number(n+1000).Const(" FLAGS ").Flags(mail.Seen, nil, false).Close().CRLF()
	}
	_ = e.Flush()
}

func BenchmarkWriteCommandAnswer(b *testing.B) {
	e := NewEncoder(io.Discard)
	tag := []byte("a0042")
	b.ReportAllocs()
	for b.Loop() {
		e.Tagged(tag, OK, "", "NOOP completed")
		_ = e.Flush()
	}
}
