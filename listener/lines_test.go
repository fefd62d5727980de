package listener

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
)

// chunks is a connection whose Read gives pieces of random length.
type chunks struct {
	endless
	left  []byte
	wrote bytes.Buffer
	rnd   *rand.Rand
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+c.rnd.IntN(200))], c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *chunks) Write(p []byte) (int, error) { return c.wrote.Write(p) }

func linesOver(text string) (*Lines, *chunks) {
	nc := &chunks{left: []byte(text), rnd: rand.New(rand.NewPCG(1, uint64(len(text))))}
	s := &Service{Name: "TEST"}
	return NewLines(s.newConn(net.Conn(nc), false)), nc
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 5000)
	l, nc := linesOver("a\r\nb\n\r\n" + long + "\r\n" + long + "y\r\nlast\r\nBODY:" + long + "rest\r\nunfinished")
	want := func(max int, text string, fault error) {
		t.Helper()
		got, err := l.Line(max)
		if string(got) != text || !errors.Is(err, fault) {
			t.Fatalf("want %.20q, %v; got %.20q, %v", text, fault, got, err)
		}
	}
	want(10, "a", nil)
	l.WriteString("answer ")
	want(10, "b", nil)
	want(10, "", nil)
	want(5000, long, nil)
	want(5000, "", ErrLineTooLong)
	want(10, "last", nil)
	body := make([]byte, 5005)
	if _, err := io.ReadFull(l, body); err != nil || string(body[:5]) != "BODY:" {
		t.Fatal(err)
	}
	l.Unread([]byte("x"))
	want(10, "xrest", nil)
	want(100, "", io.EOF)
	for range 5 {
		l.Write([]byte(long))
	}
	l.Write([]byte(strings.Repeat(long, 5)))
	if err := l.Flush(); err != nil || nc.wrote.String() != "answer "+strings.Repeat(long, 10) {
		t.Error(err, nc.wrote.Len())
	}
	if l.out != nil {
		t.Error("a buffer is kept")
	}
}

func TestEndlessLine(t *testing.T) {
	s := &Service{Name: "TEST"}
	l := NewLines(s.newConn(endless{}, false))
	for range 2 {
		if _, err := l.Line(512); err == nil || errors.Is(err, ErrLineTooLong) {
			t.Fatal(err)
		}
	}
	if len(l.in) > 64<<10 {
		t.Error(len(l.in))
	}
}

// FuzzLines compares with a plain reading of the definition, whatever the pieces
// in which the bytes come.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\nbb\n\r\n"+strings.Repeat("x", 200)+"\r\nend"), uint64(1))
	f.Add([]byte(strings.Repeat("x", 12)+"\r\n"+strings.Repeat("y", 11)+"\r\r\n"), uint64(2))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		const max = 10
		l, nc := linesOver(string(in))
		nc.rnd = rand.New(rand.NewPCG(seed, 0))
		for rest := in; ; {
			want, after, whole := bytes.Cut(rest, []byte{'\n'})
			rest = after
			want = bytes.TrimSuffix(want, []byte{'\r'})
			got, err := l.Line(max)
			switch {
			case !whole:
				if err != io.EOF {
					t.Fatalf("%q at the end, %v", got, err)
				}
				return
			case len(want) > max:
				if !errors.Is(err, ErrLineTooLong) {
					t.Fatalf("%q: %q, %v", want, got, err)
				}
			case err != nil || !bytes.Equal(got, want):
				t.Fatalf("want %q, got %q, %v", want, got, err)
			}
		}
	})
}

// TestLinesBound: an over-long line is skipped in an ordinary buffer.
func TestLinesBound(t *testing.T) {
	l, _ := linesOver(strings.Repeat("z", 100_000) + "\r\nok\r\n")
	if _, err := l.Line(512); !errors.Is(err, ErrLineTooLong) {
		t.Fatal(err)
	}
	if len(l.in) != lineBuffer {
		t.Error(len(l.in))
	}
	if got, err := l.Line(512); string(got) != "ok" {
		t.Error(got, err)
	}
}

// TestLinesForget: a line that was read is in no buffer when the next one is waited for.
func TestLinesForget(t *testing.T) {
	for _, padding := range []int{0, 5000} {
		l, _ := linesOver("PASS Zq7secret" + strings.Repeat(" ", padding) + "\r\n")
		if line, err := l.Line(10000); err != nil || !bytes.Contains(line, []byte("Zq7secret")) {
			t.Fatal(err)
		}
		in := l.in
		if _, err := l.Line(10000); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"first": l.first[:], "line": in} {
			if bytes.Contains(b, []byte("Zq7secret")) {
				t.Errorf("%d: the %s buffer still has the password", padding, name)
			}
		}
	}
}
