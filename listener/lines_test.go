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
