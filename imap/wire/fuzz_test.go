package wire

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// FuzzDecoder reads random bytes as commands, with readers that choice picks, and
// with continuation requests granted or not. It must end, without a panic, within
// the bounds, and agree with itself when the input comes in other pieces.
func FuzzDecoder(f *testing.F) {
	for _, p := range []string{
		strings.Join(dialogue, ""),
		"a STORE 1:* (UNCHANGEDSINCE 12) +FLAGS.SILENT (\\Seen $Junk)\r\n",
		"a FETCH 1,5:* BODY.PEEK[1.HEADER.FIELDS (Subject \"To\")]<0.100>\r\n",
		"a APPEND x (\\Seen) \"17-Jul-1996 02:44:25 -0700\" ~{3+}\r\na\x00b\r\n",
		"a LIST \"\" (\"&AOk-*\" %) RETURN (STATUS (MESSAGES))\r\n",
		"a X \"\\\"{1+}\r\nb NOOP\r\nc NOOP\r\n",
		"a {100000+}\r\n", "a ((((((((\r\n", "\r\n\n\r",
		strings.Repeat("x", 1100) + "\n", "a {5+}\r\n" + strings.Repeat("y", 995) + "{3+}\r\nabc\nb\n",
	} {
		f.Add([]byte(p), uint64(0x1234567), uint8(3))
		f.Add([]byte(p), uint64(0), uint8(200))
	}
	f.Fuzz(func(t *testing.T, input []byte, choice uint64, piece uint8) {
		one := play(t, input, choice, len(input)+1)
		two := play(t, input, choice, int(piece)+1)
		if one != two {
			t.Fatalf("in one piece:\n%s\nin pieces of %d:\n%s", one, piece+1, two)
		}
	})
}

type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.b)
	p.b = p.b[n:]
	return n, nil
}

func play(t *testing.T, input []byte, choice uint64, piece int) string {
	var out strings.Builder
	d := NewDecoder(&pieces{b: input, n: piece}, func() error {
		if choice&0xff == 0xff {
			return io.ErrClosedPipe
		}
		return nil
	})
	l := LimitsBeforeLogin()
	l.Line, l.Literal, l.LiteralSum, l.Discard, l.Atoms, l.Depth = 300, 100, 200, 1000, 50, 5
	d.SetLimits(l)
	d.SetUTF8(choice>>60&1 == 1)
	commands := 0
	for d.Next() == nil {
		if commands++; commands > len(input) {
			t.Fatal("more commands than bytes")
		}
		out.Write(d.Tag())
		for c := choice; d.TrySP(); c = c>>4 | c<<60 {
			element(d, &out, c&15)
		}
		d.End()
		if err := d.Err(); err != nil {
			out.WriteString(err.Error())
		}
		if len(d.buf) > smallBuffer {
			t.Fatal("a buffer of", len(d.buf))
		}
		out.WriteByte('\n')
	}
	if err := d.Err(); err == nil || !d.Fatal() || !errors.Is(d.Next(), err) {
		t.Fatal("ended without a lasting error:", err)
	}
	return out.String()
}

func element(d *Decoder, out *strings.Builder, which uint64) {
	switch which {
	case 0, 7:
		d.SkipValue()
	case 1:
		out.WriteString(d.AString())
	case 2:
		out.WriteString(d.Mailbox())
	case 3:
		out.WriteString(d.SequenceSet().String())
	case 4:
		s, _ := d.NString()
		out.WriteString(s)
	case 5:
		_, k := d.Flags()
		out.WriteString(strings.Join(k, ","))
	case 6:
		b, err := io.ReadAll(d.Literal())
		if err == nil {
			out.Write(b)
		}
	case 8:
		out.WriteString(d.DateTime().String())
	case 9:
		out.WriteString(d.Date().String())
	case 10:
		out.WriteString(d.ListMailbox())
	case 11:
		out.Write(d.Binary())
	case 12:
		d.List(func() { d.List(func() { out.Write(d.Word()) }) })
	case 13:
		out.Write(d.Base64())
	case 14:
		out.Write(d.Item())
		d.Byte('[')
		d.Number64()
		d.Byte(']')
	case 15:
		if d.Peek() == '{' && d.err == nil {
			d.Literal() // forgotten
		}
		out.Write(d.Atom())
		d.End()
		if d.Err() == nil {
			out.Write(d.Line(50))
		}
	}
}
