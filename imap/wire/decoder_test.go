package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postern-mail/postern/mail"
)

// client plays the other side: its parts are separated by where it waits for a
// continuation request, and each part is delivered in pieces.
type client struct {
	parts []string
	piece int // bytes of the first read of a part; then all the rest; 0 for all
	read  int
	asked int
}

func (c *client) Read(p []byte) (int, error) {
	if len(c.parts) == 0 {
		return 0, io.EOF
	}
	part := c.parts[0]
	if part == "" {
		if len(c.parts) == 1 {
			return 0, io.EOF
		}
		return 0, errors.New("read while the client waits for a continuation request")
	}
	n := len(part)
	if c.read < c.piece {
		n = min(n, c.piece-c.read)
	}
	n = copy(p, part[:n])
	c.read += n
	c.parts[0] = part[n:]
	return n, nil
}

func (c *client) cont() error {
	c.asked++
	if len(c.parts) < 2 || c.parts[0] != "" {
		return errors.New("continuation request while the client does not wait")
	}
	c.parts = c.parts[1:]
	return nil
}

func decode(t testing.TB, input ...string) (*Decoder, *client) {
	t.Helper()
	c := &client{parts: input}
	d := NewDecoder(c, c.cont)
	d.SetLimits(LimitsAfterLogin())
	if err := d.Next(); err != nil {
		t.Fatal(err)
	}
	return d, c
}

// TestElements reads each element of the grammar from good and bad input.
func TestElements(t *testing.T) {
	show := func(v ...any) string { return strings.TrimSuffix(fmt.Sprintln(v...), "\n") }
	type read = func(d *Decoder) string
	elements := []struct {
		name string
		read read
		good map[string]string
		bad  []string
	}{
		{"tag", func(d *Decoder) string { return string(d.Tag()) },
			map[string]string{"a1": "a1", "A.001": "A.001", "x]y": "x]y", "[": "["},
			[]string{"", " a", "+", "a+", "(", "*", "%", `"a"`, "é", "a\x00b"}},
		{"atom", func(d *Decoder) string { return string(d.Atom()) },
			map[string]string{"a1": "a1", "+FLAGS": "+FLAGS", "$Forwarded": "$Forwarded", "~x": "~x"},
			[]string{"", "]", "a]", "a*", "a b", "{3}", "\\Seen", "\x7f", "\x80"}},
		{"word", func(d *Decoder) string { return string(d.Word()) },
			map[string]string{"fetch": "FETCH", "BODY[text": "BODY[TEXT"}, []string{"", "é"}},
		{"item", func(d *Decoder) string {
			s := string(d.Item())
			d.Byte('[')
			s += show(d.Number())
			d.Byte(']')
			return s
		}, map[string]string{"body.peek[7]": "BODY.PEEK7"}, []string{"", "[", "a<7]", "a[7"}},
		{"number", func(d *Decoder) string { return show(d.Number()) },
			map[string]string{"0": "0", "007": "7", "4294967295": "4294967295"},
			[]string{"", "-1", "x", "4294967296", "99999999999999999999999", "1.5"}},
		{"nz-number", func(d *Decoder) string { return show(d.NZNumber()) },
			map[string]string{"1": "1", "4294967295": "4294967295"}, []string{"", "0", "01", "4294967296"}},
		{"number64", func(d *Decoder) string { return show(d.Number64(), d.Err()) },
			map[string]string{"0": "0 <nil>", "9223372036854775807": "9223372036854775807 <nil>"},
			[]string{"", "9223372036854775808", "18446744073709551616", "184467440737095516150"}},
		{"mod-sequence", func(d *Decoder) string { return show(d.ModSeq()) },
			map[string]string{"0": "0", "9223372036854775807": "9223372036854775807"}, []string{"9223372036854775808"}},
		{"string", func(d *Decoder) string { return d.String() },
			map[string]string{`""`: "", `"a b"`: "a b", `"a\"\\b"`: `a"\b`, "{3+}\r\na\r\n": "a\r\n", "{0+}\r\n": "",
				"{3+}\r\né\n": "é\n", "\"\t\"": "\t", `"\\"`: `\`, `"{3+}"`: "{3+}"},
			[]string{"", "a", `"`, `"a`, `"a\"`, `"a\b"`, `"a\`, "\"a\rb\"", "\"a\x00\"", "\"\xc3\xa9\"", "{}", "{3", "{3+}x",
				"{-1}", "{3-}", "~{3+}\r\nabc", "{1+}\r\n\x00", "{9223372036854775808}", "{2}{3+}\r\nabc"}},
		{"astring", func(d *Decoder) string { return d.AString() },
			map[string]string{"a]b": "a]b", `"x y"`: "x y", "NIL": "NIL", "{1+}\r\n ": " "}, []string{"", "(", "a%", "\\"}},
		{"nstring", func(d *Decoder) string { s, ok := d.NString(); return show(s, ok) },
			map[string]string{"nil": " false", `""`: " true", `"NIL"`: "NIL true"}, []string{"", "a", "NILX"}},
		{"literal8", func(d *Decoder) string { return fmt.Sprintf("%q", d.Binary()) },
			map[string]string{"~{3+}\r\na\x00\n": `"a\x00\n"`, `"x"`: `"x"`}, []string{"~", "~x", "{1+}\r\n\x00"}},
		{"mailbox", func(d *Decoder) string { return d.Mailbox() },
			map[string]string{"inbox": "INBOX", `"InBox"`: "INBOX", "{5+}\r\niNBOX": "INBOX", "Sent": "Sent", `"a b"`: "a b",
				"Entw&APw-rfe": "Entwürfe", `"R&-D"`: "R&D", "INBOX/x": "INBOX/x"},
			[]string{"", `""`, "a*", `"R&D"`, "&AGE-", "{2+}\r\n\xc3\xa9", "\"\t\"", "{2+}\r\na\n", "&AIU-", "&ICg-"}},
		{"list-mailbox", func(d *Decoder) string { return d.ListMailbox() },
			map[string]string{"*": "*", "a%]": "a%]", `""`: "", `"&AOk-/%"`: "é/%", "{1+}\r\n*": "*", `"&"`: noMatch},
			[]string{"", "(", `"` + strings.Repeat("%", 1025) + `"`}},
		{"flag-list", func(d *Decoder) string {
			f, k := d.FlagList()
			return show(uint64(f), k)
		}, map[string]string{"()": "0 []", `(\Seen \DELETED)`: "9 []", `(Work \seen work $Junk)`: "1 [Work $Junk]"},
			[]string{"", "(", `\Seen`, `(\Recent)`, `(\Foo)`, `(\*)`, "( )", "(a )", "(a  b)", `("a")`, "(a]b)", `(\)`,
				"(" + strings.Repeat("k", 101) + ")"}},
		{"store-att-flags", func(d *Decoder) string {
			f, k := d.Flags()
			return show(uint64(f), k)
		}, map[string]string{`\Seen Work`: "1 [Work]", `(\Seen)`: "1 []"}, []string{"", `\Seen `, `\`}},
		{"use-attr", func(d *Decoder) string { return d.Use() }, map[string]string{`\Sent`: `\Sent`}, []string{"Sent", `\`}},
		{"date-time", func(d *Decoder) string { return d.DateTime().Format(time.RFC3339) },
			map[string]string{`"17-Jul-1996 02:44:25 -0700"`: "1996-07-17T02:44:25-07:00", `" 7-feb-2024 23:59:59 +0000"`: "2024-02-07T23:59:59Z",
				`"7-Feb-2024 23:59:59 +0000"`: "2024-02-07T23:59:59Z"},
			[]string{"", `17-Jul-1996`, `"-Jul-1996 02:44:25 -0700"`, `"7-Jul-1996 02:44:5 -0700"`, `"31-Feb-1996 02:44:25 -0700"`, `"17-Jul-1996 24:44:25 -0700"`,
				`"17-Jul-1996 02:44:25 0700"`, `"17-Jux-1996 02:44:25 -0700"`, `"17-Jul-1996 02:44:25  0700"`, `"00-Jul-1996 02:44:25 -0700"`}},
		{"date", func(d *Decoder) string { return d.Date().Format(time.DateOnly) },
			map[string]string{"1-Feb-1994": "1994-02-01", `"29-feb-2000"`: "2000-02-29", "01-Feb-1994": "1994-02-01"},
			[]string{"", "29-Feb-1900", "1-Foo-1994", "1-Feb-94", "1 Feb 1994", `"1-Feb-1994`, "-1-Feb-1994"}},
		{"sequence-set", func(d *Decoder) string { return d.SequenceSet().String() },
			map[string]string{"1": "1", "5:2": "2:5", "*": "*", "5:*,1": "1,5:*", "*:5": "5:*", "3,1,2": "1:3", "9:7,2:4,8:12": "2:4,7:12",
				"*:*": "*", "7:*,*,9:*": "7:*", "$": "$"},
			[]string{"", "0", "1:", ":1", "1,", ",1", "1:0", "1::2", "4294967296", "$,1", "a", "1:2:3", "**"}},
		{"known-uids", func(d *Decoder) string { return d.KnownSet().String() }, map[string]string{"1:3,7": "1:3,7"}, []string{"*", "$", "1:*"}},
		{"initial-resp", func(d *Decoder) string { return fmt.Sprintf("%q", d.Base64()) },
			map[string]string{"=": `""`, "AGEAYg==": `"\x00a\x00b"`}, []string{"", "A", "AB=", "AGEAYh==", "AGE*", "AGE\rA"}},
		{"skipped value", func(d *Decoder) string { d.SkipValue(); return "" },
			map[string]string{"a": "", "1:*": "", `"x"`: "", "(a (b {1+}\r\n) c) () ~{1+}\r\n\x00)": "", "()": "", `\Seen`: "", "((()))": ""},
			[]string{"", "(", "(a", ")", "(a ", "( a)", "(a)(b", strings.Repeat("(", 51) + strings.Repeat(")", 51)}},
	}
	for _, e := range elements {
		for in, want := range e.good {
			d, _ := decode(t, in+"\r\nnext NOOP\r\n")
			got := e.read(d)
			d.End()
			if got != want || d.Err() != nil {
				t.Errorf("%s %q: %q, want %q; %v", e.name, in, got, want, d.Err())
			}
			follow(t, d, e.name+" "+in)
		}
		for _, in := range e.bad {
			d, _ := decode(t, in+"\r\nnext NOOP\r\n")
			e.read(d)
			d.End()
			if err := d.Err(); err == nil || d.Fatal() {
				t.Errorf("%s %q: taken, or fatal: %v", e.name, in, err)
				continue
			}
			// A synchronizing literal that was refused is not followed by its bytes.
			follow(t, d, e.name+" "+in)
		}
	}
}

// follow checks that the Decoder finds the command "next NOOP" after the present
// one.
func follow(t *testing.T, d *Decoder, what string) {
	t.Helper()
	if err := d.Next(); err != nil {
		t.Errorf("%s: next: %v", what, err)
		return
	}
	tag := string(d.Tag())
	d.SP()
	word := string(d.Word())
	d.End()
	if tag != "next" || word != "NOOP" || d.Err() != nil {
		t.Errorf("%s: followed by %q %q, %v", what, tag, word, d.Err())
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		set    string
		max    uint32
		want   string
		beyond bool
	}{
		{"5:*", 9, "5:9", false}, {"*:5", 9, "5:9", false}, {"5:*", 3, "3", true}, {"*", 3, "3", false}, {"*", 0, "", true},
		{"1:4294967295", 3, "1:*", true}, {"500:4294967295", 3, "500:*", true}, {"1,3", 3, "1,3", false}, {"$", 3, "", false},
	} {
		d, _ := decode(t, c.set+"\r\n")
		s := d.SequenceSet()
		if got := s.Resolve(c.max); got.String() != c.want || s.Beyond(c.max) != c.beyond || s.Saved != (c.set == "$") {
			t.Errorf("%s of %d: %v %v", c.set, c.max, got, s.Beyond(c.max))
		}
	}
	// A client that asks for what lies beyond the last UID gets nothing.
	d, _ := decode(t, "500:4294967295\r\n")
	if got := d.SequenceSet().Resolve(3).Intersect(mail.NumSet{{First: 1, Last: 3}}); len(got) != 0 {
		t.Error(got)
	}
	// A long set in falling order is not costly.
	var b strings.Builder
	for n := 9000; n > 0; n -= 2 {
		fmt.Fprintf(&b, "%d,", n)
	}
	d, _ = decode(t, b.String()+"1\r\n")
	if s := d.SequenceSet(); s.Set.Len() != 4501 || d.Err() != nil {
		t.Error(s.Set.Len(), d.Err())
	}
}

// dialogue is a session of several commands with every kind of literal, good and
// bad; run gives what was read of it.
var dialogue = []string{
	"a1 LOGIN {4}\r\n", "fred {3}\r\n", "f\r\n\r\n" +
		"a2 LOGIN {4+}\r\nfred {0+}\r\n\r\n" +
		"a3 APPEND Sent {10}\r\n", "0123456789\r\n" +
		"a4 APPEND Sent ~{4+}\r\nab\x00d\r\n" +
		"a5 NOOP\na6 BOGUS \"x {5+}\r\na\r\nb\r {3+}\r\nabc\r\n" +
		"a7 LOGIN {99999999}\r\na8 NOOP\r\n" +
		"a9 LOGIN \"a\\\"b\" {4+}\r\na\x00 x oops\r\n" +
		"b1 APPEND Sent {4+}\r\na\x00 x oops\r\n" +
		"b2 LOGIN x y z {3}\r\nb3 APPEND Sent {7}\r\n", "1234567\r\nb4 NOOP\r\n",
}

const dialogueRead = `a1 LOGIN fred "f\r\n" <nil>
a2 LOGIN fred "" <nil>
a3 APPEND Sent 10 false "0123456789" <nil>
a4 APPEND Sent 4 true "ab\x00d" <nil>
a5 NOOP <nil>
a6 BOGUS syntax: unknown command
a7 LOGIN  "" TooBig: The literal is too large.
a8 NOOP <nil>
a9 LOGIN a"b "" syntax: a literal must not contain NUL
b1 APPEND Sent 4 false "" syntax: a literal must not contain NUL
b2 LOGIN x "y" syntax: unexpected text after the command
b3 APPEND Sent 7 false "1234567" <nil>
b4 NOOP <nil>
`

func run(d *Decoder) string {
	var out strings.Builder
	for {
		if err := d.Next(); err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(&out, err)
			}
			return out.String()
		}
		fmt.Fprintf(&out, "%s ", d.Tag())
		d.SP()
		word := string(d.Word())
		fmt.Fprintf(&out, "%s ", word)
		switch word {
		case "NOOP":
		case "LOGIN":
			d.SP()
			user := d.AString()
			d.SP()
			fmt.Fprintf(&out, "%s %q ", user, d.AString())
		case "APPEND":
			d.SP()
			mailbox := d.Mailbox()
			d.SP()
			l := d.Literal()
			fmt.Fprintf(&out, "%s %d %v ", mailbox, l.Size, l.Binary)
			b, err := io.ReadAll(l)
			if err != nil {
				b = nil // how much came before the fault depends on the pieces
			}
			fmt.Fprintf(&out, "%q ", b)
		default:
			d.Bad("unknown command")
		}
		d.End()
		fmt.Fprintln(&out, d.Err())
	}
}

// TestSplits plays the dialogue with each part cut at every byte, and byte by
// byte.
func TestSplits(t *testing.T) {
	longest := 0
	for _, p := range dialogue {
		longest = max(longest, len(p))
	}
	for cut := range longest {
		c := &client{parts: append([]string(nil), dialogue...), piece: cut}
		d := NewDecoder(&resplit{client: c, cut: cut}, c.cont)
		d.SetLimits(LimitsAfterLogin())
		if got := run(d); got != dialogueRead {
			t.Fatalf("cut at %d:\n%s", cut, got)
		}
	}
	c := &client{parts: append([]string(nil), dialogue...)}
	d := NewDecoder(iotest.OneByteReader(c), c.cont)
	d.SetLimits(LimitsAfterLogin())
	if got := run(d); got != dialogueRead {
		t.Fatalf("byte by byte:\n%s", got)
	}
	if c.asked != 4 {
		t.Errorf("%d continuation requests", c.asked)
	}
}

// resplit starts counting anew with each part of the client.
type resplit struct {
	client *client
	cut    int
	parts  int
}

func (r *resplit) Read(p []byte) (int, error) {
	if n := len(r.client.parts); n != r.parts {
		r.parts, r.client.read, r.client.piece = n, 0, r.cut
	}
	return r.client.Read(p)
}

// TestLimits passes each bound, before and after login, and checks that the next
// command is found.
func TestLimits(t *testing.T) {
	login := func(d *Decoder) {
		d.Tag()
		d.SP()
		d.Word()
		d.SP()
		d.AString()
		d.SP()
		d.AString()
		d.End()
	}
	values := func(d *Decoder) {
		d.Tag()
		for d.TrySP() {
			d.SkipValue()
		}
		d.End()
	}
	literal := func(d *Decoder) {
		d.Tag()
		d.SP()
		_, _ = io.Copy(io.Discard, d.Literal())
		d.End()
	}
	small := LimitsBeforeLogin()
	large := LimitsAfterLogin()
	x := func(n int64) string { return strings.Repeat("x", int(n)) }
	for _, c := range []struct {
		name   string
		limits Limits
		read   func(*Decoder)
		input  string
		kind   mail.Kind // KindServerBug for none
		fatal  bool
	}{
		{"line, just", small, login, "a LOGIN " + x(int64(small.Line)-14) + " pw\r\n", 0, false},
		{"line", small, login, "a LOGIN " + x(int64(small.Line)-13) + " pw\r\n", 0, false},
		{"line, one more", small, login, "a LOGIN " + x(int64(small.Line)-12) + " pw\r\n", mail.KindLimit, false},
		{"line after login", large, login, "a LOGIN " + x(int64(large.Line)) + " pw {3+}\r\nabc\r\n", mail.KindLimit, false},
		{"lines together", small, values, "a " + strings.Repeat("a {1+}\r\nx ", 2000) + "\r\n", mail.KindLimit, false},
		{"line without end", small, login, x(small.Discard + 10000), mail.KindLimit, true},
		{"literal", small, login, "a LOGIN {1024+}\r\n" + x(1024) + " pw\r\n", 0, false},
		{"literal, one more", small, login, "a LOGIN {1025+}\r\n" + x(1025) + " pw\r\n", mail.KindTooBig, false},
		{"literal, synchronizing", small, login, "a LOGIN {1025}\r\n", mail.KindTooBig, false},
		{"literal, huge", small, login, "a LOGIN {9999999999999999999999}\r\n", mail.KindTooBig, false},
		{"literal beyond discard", small, login, fmt.Sprintf("a LOGIN {%d+}\r\n", small.Discard+1), mail.KindTooBig, true},
		{"literal, huge, pushed", small, login, "a LOGIN {9999999999999999999999+}\r\n", mail.KindTooBig, true},
		{"literals together", small, values, "a" + strings.Repeat(" {1024+}\r\n"+x(1024), 9) + "\r\n", mail.KindTooBig, false},
		{"literal after login", large, login, "a LOGIN {1048576+}\r\n" + x(1<<20) + " pw\r\n", 0, false},
		{"literals after login", large, login, "a LOGIN {1048576+}\r\n" + x(1<<20) + " {1+}\r\nx\r\n", mail.KindTooBig, false},
		{"message over LITERAL-", small, literal, "a {4097+}\r\n" + x(4097) + "\r\n", mail.KindTooBig, false},
		{"message of LITERAL-", small, literal, "a {4096+}\r\n" + x(4096) + "\r\n", 0, false},
		{"message", large, literal, "a {3000000+}\r\n" + x(3000000) + "\r\n", 0, false},
		{"depth", large, values, "a " + strings.Repeat("(", 50) + "x" + strings.Repeat(")", 50) + "\r\n", 0, false},
		{"depth, one more", large, values, "a " + strings.Repeat("(", 51) + "x" + strings.Repeat(")", 51) + "\r\n", mail.KindLimit, false},
		{"atoms", large, values, "a" + strings.Repeat(" x", 9999) + "\r\n", 0, false},
		{"atoms, one more", large, values, "a" + strings.Repeat(" x", 10000) + "\r\n", mail.KindLimit, false},
		{"cut", small, login, "a LOGIN x", mail.KindUnavailable, true},
		{"cut in a literal", small, login, "a LOGIN {4+}\r\nx", mail.KindUnavailable, true},
		{"cut in a message", large, literal, "a {40000+}\r\nx", mail.KindUnavailable, true},
	} {
		input := c.input
		if !c.fatal {
			input += "next NOOP\r\n"
		}
		cl := &client{parts: []string{input}}
		d := NewDecoder(cl, cl.cont)
		d.SetLimits(c.limits)
		if err := d.Next(); err != nil {
			t.Fatal(c.name, err)
		}
		c.read(d)
		err := d.Err()
		if c.kind == 0 && err != nil || c.kind != 0 && (err == nil || mail.KindOf(err) != c.kind) {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.fatal {
			follow(t, d, c.name)
			continue
		}
		if err := d.Skip(); err == nil || !d.Fatal() || d.Next() == nil {
			t.Errorf("%s: not fatal: %v", c.name, err)
		}
		if c.kind == mail.KindUnavailable && !errors.Is(d.Err(), io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", c.name, d.Err())
		}
	}
}

// TestRefuse refuses messages before they are sent and in the middle.
func TestRefuse(t *testing.T) {
	refusal := mail.Errorf(mail.KindOverQuota, "full")
	for _, in := range []string{"a {9}\r\n", "a {9+}\r\n012345678 ~{3+}\r\nabc\r\n"} {
		d, c := decode(t, in+"next NOOP\r\n")
		d.Tag()
		d.SP()
		l := d.Literal()
		l.Refuse(refusal)
		if l.Size != 9 || d.Err() != refusal || c.asked != 0 || l.Accept() != refusal {
			t.Errorf("%q: %v", in, d.Err())
		}
		if n, err := l.Read(make([]byte, 4)); n != 0 || err != refusal {
			t.Error(n, err)
		}
		d.SP()
		d.End()
		follow(t, d, in)
	}
	// The store fails while the message is read: the rest is still read.
	d, _ := decode(t, "a {9}\r\n", "012345678 {2+}\r\nxx)\r\nnext NOOP\r\n")
	d.Tag()
	d.SP()
	l := d.Literal()
	if _, err := io.ReadFull(l, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	d.Fail(refusal)
	if again := d.Literal(); again.Size != 0 || d.Err() != refusal {
		t.Error(again, d.Err())
	}
	follow(t, d, "in the middle")
	// A caller that forgets the literal gets a fault, no desynchronization.
	d, _ = decode(t, "a {2+}\r\nxx b\r\nnext NOOP\r\n")
	d.Tag()
	d.SP()
	d.Literal()
	if d.SP(); !IsSyntax(d.Err()) {
		t.Error(d.Err())
	}
	follow(t, d, "forgotten")
}

func TestSASLAndIdle(t *testing.T) {
	d, _ := decode(t, "a AUTHENTICATE PLAIN\r\nAGEAYg==\r\n\r\n*\r\nAGEAYh==\r\nnext NOOP\r\n")
	d.Tag()
	d.SP()
	d.Word()
	d.SP()
	d.Atom()
	d.End()
	if b, cancelled := d.SASLLine(); string(b) != "\x00a\x00b" || cancelled || d.Err() != nil {
		t.Errorf("%q %v %v", b, cancelled, d.Err())
	}
	if b, cancelled := d.SASLLine(); b == nil || len(b) != 0 || cancelled {
		t.Errorf("%q %v", b, cancelled)
	}
	if b, cancelled := d.SASLLine(); b != nil || !cancelled {
		t.Errorf("%q %v", b, cancelled)
	}
	if b, cancelled := d.SASLLine(); b != nil || cancelled || !IsSyntax(d.Err()) {
		t.Errorf("%q %v %v", b, cancelled, d.Err())
	}
	follow(t, d, "SASL")
	d, _ = decode(t, "a IDLE\r\n"+strings.Repeat("A", 100)+"\r\nnext NOOP\r\n")
	d.Tag()
	d.SP()
	d.Word()
	d.End()
	if b := d.Line(50); b != nil || mail.KindOf(d.Err()) != mail.KindLimit {
		t.Error(b, d.Err())
	}
	follow(t, d, "IDLE")
}

// impatient gives a timeout before each piece.
type impatient struct {
	pieces []string
	late   bool
}

func (r *impatient) Read(p []byte) (int, error) {
	if r.late = !r.late; r.late {
		return 0, os.ErrDeadlineExceeded
	}
	if len(r.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.pieces[0])
	r.pieces = r.pieces[1:]
	return n, nil
}

func TestTimeouts(t *testing.T) {
	r := &impatient{pieces: []string{"a IDLE\r\n", "DONE\r\n", "b NO"}}
	d := NewDecoder(r, nil)
	if err := d.Next(); !errors.Is(err, os.ErrDeadlineExceeded) || d.Fatal() {
		t.Fatal(err)
	}
	if err := d.Next(); err != nil {
		t.Fatal(err)
	}
	d.Tag()
	d.SP()
	d.Word()
	d.End()
	for range 2 {
		if err := d.Wait(); err == nil {
			break
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	if got := string(d.Line(100)); got != "DONE" {
		t.Fatal(got, d.Err())
	}
	_ = d.Next()
	if err := d.Next(); err != nil {
		t.Fatal(err)
	}
	d.Tag()
	d.SP()
	if d.Word(); !errors.Is(d.Err(), os.ErrDeadlineExceeded) || !d.Fatal() {
		t.Fatal("a timeout inside of a line must be fatal:", d.Err())
	}
}

// TestStartTLS shows what STARTTLS looks at.
func TestStartTLS(t *testing.T) {
	d, _ := decode(t, "a STARTTLS\r\nb LOGIN x y\r\n")
	d.Tag()
	d.SP()
	d.Word()
	d.End()
	if d.Buffered() != len("b LOGIN x y\r\n") {
		t.Error(d.Buffered())
	}
	d.Reset(strings.NewReader("next NOOP\r\n"))
	if d.Buffered() != 0 {
		t.Error("injected bytes survive")
	}
	follow(t, d, "STARTTLS")
	d, _ = decode(t, "a COMPRESS\r\nnext ")
	d.Tag()
	d.SP()
	d.Word()
	d.End()
	d.Reset(io.MultiReader(bytes.NewReader(d.Unread()), strings.NewReader("NOOP\r\n")))
	follow(t, d, "COMPRESS")
}

// TestIdleMemory checks that a waiting Decoder holds no buffer.
func TestIdleMemory(t *testing.T) {
	d, _ := decode(t, "a "+strings.Repeat("x", 20000)+"\r\n")
	d.Tag()
	d.SP()
	d.Atom()
	d.End()
	if len(d.buf) < 20000 {
		t.Error(len(d.buf))
	}
	if err := d.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if len(d.buf) != len(d.small) {
		t.Error("holds", len(d.buf))
	}
}

func TestUTF8Mode(t *testing.T) {
	d, _ := decode(t, "\"é\" \"R&D\" x\xff\r\n")
	d.SetUTF8(true)
	a := d.Mailbox()
	d.SP()
	b := d.Mailbox()
	if a != "é" || b != "R&D" || d.Err() != nil {
		t.Error(a, b, d.Err())
	}
	for _, bad := range []string{"\"\xff\"\r\n", "{1+}\r\n\xff\r\n", "é\r\n"} {
		d, _ := decode(t, bad)
		d.SetUTF8(true)
		if s := d.Mailbox(); s != "" || !IsSyntax(d.Err()) && mail.KindOf(d.Err()) != mail.KindCannot {
			t.Errorf("%q: %q %v", bad, s, d.Err())
		}
	}
}

func BenchmarkReadCommand(b *testing.B) {
	in := []byte("a0042 UID FETCH 1:* (FLAGS UID RFC822.SIZE) (CHANGEDSINCE 12345)\r\n")
	r := &endless{in: in}
	d := NewDecoder(r, nil)
	d.SetLimits(LimitsAfterLogin())
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	n := 0
	item := func() {
		switch string(d.Word()) {
		case "FLAGS", "UID", "RFC822.SIZE":
			n++
		}
	}
	for b.Loop() {
		if err := d.Next(); err != nil {
			b.Fatal(err)
		}
		d.Tag()
		d.SP()
		d.Word()
		d.SP()
		d.Word()
		d.SP()
		d.SequenceSet()
		d.SP()
		d.List(item)
		d.SP()
		d.Open()
		d.TryWord("CHANGEDSINCE")
		d.SP()
		d.ModSeq()
		d.Close()
		d.End()
		if d.Err() != nil {
			b.Fatal(d.Err())
		}
	}
}

type endless struct{ in []byte }

func (r *endless) Read(p []byte) (int, error) { return copy(p, r.in), nil }

// TestForgets: of a command that was read nothing stays in a buffer, small or borrowed.
func TestForgets(t *testing.T) {
	for _, padding := range []int{0, 1000} {
		d, _ := decode(t, "a LOGIN anna \"Zq7secret\" "+strings.Repeat("x", padding)+"\r\n")
		buf := d.buf
		for d.Err() == nil && !d.over {
			d.Skip()
		}
		if padding > 0 && &d.buf[0] == &d.small[0] {
			t.Fatal("the line fits into the small buffer")
		}
		buf = d.buf
		d.Release()
		for name, b := range map[string][]byte{"small": d.small[:], "borrowed": buf} {
			if bytes.Contains(b, []byte("Zq7secret")) {
				t.Errorf("%d: the %s buffer still has the password", padding, name)
			}
		}
	}
}
