package message

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// alphabets of texts: what folds to other lengths, combining characters, line ends,
// bytes that are no UTF-8.
var filterAlphabets = []string{
	"abcdefgh ", "aAbB ß", "İIıi\u0307 ", "e\u0301é\r\n", "日本語한국어 ", "ffiﬃ ﬀst", "\xff\xfe a", "=?utf-8?q?=C3=A9?= x", "0123456789-_@.",
}

func randomText(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		a := []rune(filterAlphabets[r.IntN(len(filterAlphabets))])
		for range 1 + r.IntN(8) {
			b.WriteRune(a[r.IntN(len(a))])
		}
	}
	return b.String()
}

// TestFilterNeverHides: what is found without a filter is never denied by it.
func TestFilterNeverHides(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	denied := 0
	for range 3000 {
		raw := fmt.Sprintf("Subject: %s\r\nFrom: %s\r\nX-Other: %s\r\nTo: =?utf-8?b?YQpi?= %s\r\n\r\n%s",
			strings.NewReplacer("\r", "", "\n", "\r\n ").Replace(randomText(r, r.IntN(60))), strings.NewReplacer("\r", "", "\n", "").Replace(randomText(r, 20)),
			strings.NewReplacer("\r", "", "\n", "").Replace(randomText(r, 10)), "b", randomText(r, r.IntN(3000)))
		m := Parse([]byte(raw), DefaultLimits)
		sum, text := m.Summary(), m.SearchText()
		f := FilterOf(sum, text)
		if !f.Valid() {
			t.Fatalf("not valid: %q", f)
		}
		if late := FilterOf(nil, text).WithFields(sum); !bytes.Equal(late, f) {
			t.Fatalf("made in two steps it is %q, not %q", late, f)
		}
		kept, ok := sum.KeptHeader()
		if !ok {
			t.Fatal("the header is not kept")
		}
		for range 20 {
			var needle []byte
			switch at, n := r.IntN(len(raw)), r.IntN(40); r.IntN(3) {
			case 0: // a part of the message as written
				needle = Fold(nil, raw[at:min(at+n, len(raw))])
			case 1: // a part of what is searched
				at = r.IntN(len(text))
				needle = text[at:min(at+n, len(text))]
			default:
				needle = Fold(nil, randomText(r, n))
			}
			x := NeedleOf(needle)
			if bytes.Contains(text[min(4, len(text)):], needle) && !f.MayHaveText(x) {
				t.Fatalf("%q is in the text of %q", needle, raw)
			}
			if !f.MayHaveText(x) {
				denied++
			}
			for _, name := range []string{"subject", "FROM", "To", "X-Other"} {
				for value := range DecodedField(kept, name) {
					if !bytes.Contains(Fold(nil, value), needle) {
						continue
					}
					if FilterHasField(name) && !f.MayHaveField(x) {
						t.Fatalf("%q is in %s of %q", needle, name, raw)
					}
					if !f.MayHaveText(x) {
						t.Fatalf("%q is in a field of %q and not in its text", needle, raw)
					}
				}
			}
		}
	}
	if denied < 10000 {
		t.Errorf("only %d needles were denied", denied)
	}
}

// TestFilterOfMuch: a message of the largest size, of noise and of one letter.
func TestFilterOfMuch(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	noise := make([]byte, 5<<20)
	for i := range noise {
		noise[i] = ' ' + byte(r.IntN(95))
	}
	for _, c := range []struct {
		raw  string
		text byte
	}{
		{"Subject: x\r\n\r\n" + string(noise), 0},
		{"Subject: x\r\n\r\n" + strings.Repeat("a", 5<<20), minFilterLog},
		{"\r\n", minFilterLog}, {"Subject: x\r\n\r\nab", minFilterLog},
	} {
		m := Parse([]byte(c.raw), DefaultLimits)
		f := FilterOf(m.Summary(), m.SearchText())
		if !f.Valid() || f[2] != c.text || len(f) > 32<<10 {
			t.Errorf("%.20q: %d bytes, %d", c.raw, len(f), f[:min(3, len(f))])
		}
		if !f.MayHaveText(nil) || !f.MayHaveField(nil) {
			t.Errorf("%.20q: an empty needle is denied", c.raw)
		}
	}
	m := Parse([]byte("X: "+strings.Repeat("y", 5<<20)+"\r\nSubject: late\r\n\r\n"), DefaultLimits)
	if f := FilterOf(m.Summary(), m.SearchText()); !f.Valid() || !f.MayHaveText(NeedleOf([]byte("late"))) {
		t.Error("a header that is cut hides what is behind")
	}
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte("Subject: a\r\n\r\nbc"), []byte("bc"))
	f.Fuzz(func(t *testing.T, b, needle []byte) {
		n := NeedleOf(needle)
		Filter(b).MayHaveField(n)
		Filter(b).MayHaveText(n)
		m := Parse(b, DefaultLimits)
		text := m.SearchText()
		if x := FilterOf(m.Summary(), text); !x.Valid() || bytes.Contains(text[4:], needle) && !x.MayHaveText(n) {
			t.Errorf("%q is hidden", needle)
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	words := make([]string, 5000)
	for i := range words {
		for range 2 + r.IntN(9) {
			words[i] += string("etaoinshrdlcumwfgypbvkjxqz"[min(r.IntN(26), r.IntN(26))])
		}
	}
	for _, size := range []int{500, 2 << 10, 7 << 10, 64 << 10, 1 << 20} {
		var t strings.Builder
		t.WriteString("Subject: hello there\r\nFrom: Some Body <some.body@example.org>\r\nTo: An Other <other@example.net>\r\n\r\n")
		for t.Len() < size {
			t.WriteString(words[r.IntN(1+r.IntN(len(words)))])
			t.WriteByte(' ')
		}
		m := Parse([]byte(t.String()), DefaultLimits)
		sum, text := m.Summary(), m.SearchText()
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			var f Filter
			for b.Loop() {
				f = FilterOf(sum, text)
			}
			b.ReportMetric(float64(len(f)), "bytes")
			vain, n := 0, 2000
			for range n {
				var w []byte
				for range 8 {
					w = append(w, byte('a'+r.IntN(26)))
				}
				if f.MayHaveText(NeedleOf(w)) {
					vain++
				}
			}
			b.ReportMetric(100*float64(vain)/float64(n), "%vain")
		})
	}
}
