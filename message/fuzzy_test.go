package message

import (
	"strings"
	"testing"
)

func TestFuzzy(t *testing.T) {
	for _, c := range []struct {
		needle, text string
		score        int
	}{
		{"IMAP break", "how imap breaks", 100},
		{"IMAP break", "broken IMAP", 0}, // the words are too different
		{"break IMAP", "imap, it breaks", (scorePrefix + scoreEqual) / 2},
		{"helo", "say Hello", scoreOne},
		{"recieve", "I receive it", scoreOne},
		{"Müller", "Muller", scoreEqual}, {"muller", "Herr MÜLLER", scoreEqual}, {"müler", "Müller", scoreOne},
		{"accomodation", "accommodation", scoreOne}, {"acomodation", "accommodation", scoreTwo}, {"acomodation", "accommodations", 0},
		{"meetings", "a meeting", scorePrefix}, {"cat", "cart", 0}, {"cat", "category", 100}, {"car", "bar", 0},
		{"", "anything", 100}, {"...", "x", 0}, {"x", "", 0},
		{"привет мир", "мир, превет", (scoreEqual + scoreOne) / 2},
		{"two words", "two", 0}, {"abcd", strings.Repeat("abdc ", 3), scoreOne},
	} {
		if got := FuzzyOf(Fold(nil, c.needle)).Score(Fold(nil, c.text)); got != c.score {
			t.Errorf("%q in %q: %d, not %d", c.needle, c.text, got, c.score)
		}
	}
}

func FuzzFuzzy(f *testing.F) {
	f.Add("helo wrold", "hello world")
	f.Add(strings.Repeat("a", 40), strings.Repeat("a", 41))
	f.Fuzz(func(t *testing.T, needle, text string) {
		folded := Fold(nil, text)
		x := FuzzyOf(Fold(nil, needle))
		if s := x.Score(folded); s < 0 || s > 100 {
			t.Error(s)
		}
		if s := FuzzyOf(folded).Score(folded); s != 100 {
			t.Error("a text is not like itself:", s)
		}
	})
}

// BenchmarkFuzzy is the worst that a text can do: every word is nearly the one that is
// wanted.
func BenchmarkFuzzy(b *testing.B) {
	x := FuzzyOf([]byte(strings.Repeat("abcdefghij abcdefghijkl ", 8)))
	text := []byte(strings.Repeat("abdefhgijk ", maxFuzzyText/11))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		x.Score(text)
	}
}
