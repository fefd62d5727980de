package deflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"testing"
	"testing/iotest"
)

// pack compresses texts, each flushed.
func pack(t testing.TB, level int, texts ...string) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		io.WriteString(w, text)
		w.Flush()
	}
	return b.Bytes()
}

// samples are texts of which each kind of block is made.
func samples() []string {
	random := rand.New(rand.NewSource(1))
	noise := make([]byte, 200<<10)
	random.Read(noise)
	var lines strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&lines, "a%d UID FETCH %d (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])\r\n", i, random.Intn(1<<20))
	}
	return []string{"a1 NOOP\r\n", "a2 NOOP\r\n", strings.Repeat("x", 100_000), string(noise), lines.String(), "", "z"}
}

func TestReaderReadsWhatWasWritten(t *testing.T) {
	want := strings.Join(samples(), "")
	for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, 1, 6, 9} {
		packed := pack(t, level, samples()...)
		for name, src := range map[string]io.Reader{
			"whole":   bytes.NewReader(packed),
			"pieces":  pieces{bytes.NewReader(packed)},
			"halves":  iotest.HalfReader(bytes.NewReader(packed)),
			"withEOF": iotest.DataErrReader(bytes.NewReader(packed)),
		} {
			got, err := io.ReadAll(NewReader(src, nil))
			if err != nil || string(got) != want {
				t.Fatalf("level %d, %s: %d bytes of %d, %v", level, name, len(got), len(want), err)
			}
		}
	}
}

func TestWriterIsReadByOthers(t *testing.T) {
	var c Compressors
	var b bytes.Buffer
	w := c.Writer(&b)
	var want strings.Builder
	for i := range 40 {
		for _, text := range append(samples(), strings.Repeat("QUJD", 5000)) {
			if i%3 == 0 || len(text) < 1000 {
				io.WriteString(w, text)
				want.WriteString(text)
			}
		}
		if i%7 == 0 {
			w.Close() // another took it
		}
	}
	got, err := io.ReadAll(flate.NewReader(&b))
	if !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != want.String() {
		t.Fatalf("%d bytes of %d, %v", len(got), want.Len(), err)
	}
}

// TestEveryFlushIsGiven: what was flushed comes without waiting for more.
func TestEveryFlushIsGiven(t *testing.T) {
	from, to := io.Pipe()
	r := NewReader(from, nil)
	var z Compressors
	w := z.Writer(to)
	for _, text := range samples() {
		if text == "" {
			continue
		}
		go io.WriteString(w, text)
		got := make([]byte, len(text))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
			t.Fatal(err)
		}
	}
}

// partial is "a1 NOOP\r\n" and "a2 NOOP\r\n" as zlib 1.3 packs them with
// Z_PARTIAL_FLUSH, each flush on its own.
var partial = []string{"\x4a\x34\x54\xf0\xf3\xf7\x0f\xe0\xe5\x02\x08", "\xa0\x44\x23\x28\x03\x20"}

func TestPartialFlushIsGiven(t *testing.T) {
	from, to := io.Pipe()
	r := NewReader(from, nil)
	for i, packed := range partial {
		go io.WriteString(to, packed)
		got := make([]byte, 9)
		if _, err := io.ReadFull(r, got); err != nil || string(got) != fmt.Sprintf("a%d NOOP\r\n", i+1) {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func TestMemoryWhileWaiting(t *testing.T) {
	from, to := io.Pipe()
	r := NewReader(from, nil)
	go to.Write(pack(t, 6, "a1 NOOP\r\n"))
	got := make([]byte, 9)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	r.src = readerFunc(func(p []byte) (int, error) {
		if r.work != nil || r.chunk != nil || cap(r.history) > 256 {
			t.Errorf("it holds a workspace, or %d bytes of history", cap(r.history))
		}
		close(waiting)
		return 0, io.EOF
	})
	r.Read(got)
	<-waiting
}

// pieces gives 1 to 13 bytes at once.
type pieces struct{ src io.Reader }

func (r pieces) Read(p []byte) (int, error) { return r.src.Read(p[:min(len(p), 1+rand.Intn(13))]) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestBomb(t *testing.T) {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	zeros := make([]byte, 1<<20)
	for range 100 {
		w.Write(zeros)
	}
	w.Close()
	n, err := io.Copy(io.Discard, NewReader(&b, nil))
	if err != ErrBomb || n > Slack+100*int64(110<<10) {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

func TestEnd(t *testing.T) {
	packed := pack(t, 6, "a1 UNAUTHENTICATE\r\n")
	for name, src := range map[string]io.Reader{
		"whole": bytes.NewReader(append(packed, "a2 NOOP\r\n"...)),
		"bytes": iotest.OneByteReader(bytes.NewReader(append(packed, "a2 NOOP\r\n"...))),
	} {
		r := NewReader(src, nil)
		if _, err := io.ReadFull(r, make([]byte, 19)); err != nil {
			t.Fatal(err)
		}
		rest, err := r.End()
		if err != nil {
			t.Fatal(name, err)
		}
		more, _ := io.ReadAll(src)
		if string(rest)+string(more) != "a2 NOOP\r\n" {
			t.Errorf("%s: %q, then %q", name, rest, more)
		}
	}
	r := NewReader(bytes.NewReader(pack(t, 6, "a1 UNAUTHENTICATE\r\na2 NOOP\r\n")), nil)
	io.ReadFull(r, make([]byte, 19))
	if _, err := r.End(); err != ErrCorrupt {
		t.Errorf("with a command behind it: %v", err)
	}
}

// FuzzReader compares with compress/flate.
func FuzzReader(f *testing.F) {
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
		f.Add(pack(f, level, "a1 NOOP\r\n", "a2 UID FETCH 1:* FLAGS\r\n", strings.Repeat("abc", 300)))
	}
	f.Add([]byte("\x03\x00"))
	f.Add([]byte(strings.Join(partial, "")))
	const most = 80 << 10 // more than what is kept to copy from, twice
	f.Fuzz(func(t *testing.T, packed []byte) {
		if len(packed) > 4<<10 {
			return
		}
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), most))
		r := NewReader(bytes.NewReader(packed), nil)
		got, err := io.ReadAll(io.LimitReader(r, most))
		var damaged flate.CorruptInputError
		// What ends in the middle is not found to be damaged at the same bit.
		// And compress/flate reads on, to whatever end, where the codes of a block have none for
		// its end, which is damage for zlib, too.
		endless := r.stage == symbolLengths && err == ErrCorrupt && wantErr == io.ErrUnexpectedEOF
		if errors.As(wantErr, &damaged) != (err == ErrCorrupt) && (err != nil || r.stage == finished) && !endless {
			t.Fatalf("%v, and %v of compress/flate", err, wantErr)
		}
		// Where it is damaged, or ends in the middle, either may give more.
		if n := min(len(got), len(want)); !bytes.Equal(got[:n], want[:n]) || wantErr == nil && len(got) != len(want) {
			t.Fatalf("%q, and %q of compress/flate", got, want)
		}
		slow, _ := io.ReadAll(io.LimitReader(NewReader(iotest.OneByteReader(bytes.NewReader(packed)), nil), most))
		if !bytes.Equal(slow, got) {
			t.Fatalf("byte by byte: %q, at once: %q", slow, got)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	text := samples()[4]
	packed := pack(b, 6, text)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		io.Copy(io.Discard, NewReader(bytes.NewReader(packed), nil))
	}
}
