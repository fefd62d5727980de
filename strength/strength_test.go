package strength

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/test/stopwatch"
)

func TestScore(t *testing.T) {
	known := []string{"alice", "example"}
	for password, want := range map[string]int{
		"":                             0,
		"password":                     0, // a word
		"drowssap":                     0, // back to front
		"P4ssw0rd!":                    0, // with a digit for a letter
		"briansmith":                   0, // names
		"alice1999":                    0, // what is known of the user, and a year
		"qwertyuiop":                   0, // keys in a row
		"qwertzuiop":                   0, // of a German keyboard
		"aoeuidhtns":                   0, // of Dvorak's
		"741852963":                    0, // of the pad
		"aaaaaaaaaaaaaaaaaaaa":         0, // the same
		"abcdefgh12345678":             0, // in order
		"24.12.1999":                   0, // dates
		"19991224":                     0,
		"1999-12-24":                   0,
		"Sommer2024!":                  0,
		"correct horse battery staple": Most,
		"kQ7w-Zp2v-9Rm4":               Most,
		"8jK2pQ":                       3,
		"Tr0ub4dour&3":                 2,
		"日本語のパスワードです":                  Most,
	} {
		if got := Score(password, known); got != want {
			t.Errorf("%q: %d, want %d (%.1f bits)", password, got, want, entropy(password, known))
		}
	}
	if Score("zanzibarium", []string{"zanzibarium"}) != 0 || Score("zanzibarium", nil) == 0 {
		t.Error("what is known does not count")
	}
}

// TestWords looks every word up, and what stands between them.
func TestWords(t *testing.T) {
	before, longest := "", 0
	for line := range strings.Lines(words) {
		word, number, _ := strings.Cut(line, " ")
		if word <= before || number == "" {
			t.Fatalf("%q stands behind %q", line, before)
		}
		if rank(word) == 0 {
			t.Fatalf("%q is not found", word)
		}
		if rank(word+"\x01") != 0 {
			t.Fatalf("%q is found", word+"\x01")
		}
		before, longest = word, max(longest, utf8.RuneCountInString(word))
	}
	if longest != longestWord {
		t.Errorf("the longest word has %d characters", longest)
	}
	if rank("") != 0 || rank("password") != 1 || rank("zzzzzzzzzzz") != 0 {
		t.Error("wrong ranks")
	}
}

// TestKeyboards: with Shift each row has the same keys.
func TestKeyboards(t *testing.T) {
	for _, k := range keyboards {
		for y := range k.rows[0] {
			if a, b := k.rows[0][y], k.rows[1][y]; b != "" && utf8.RuneCountInString(a) != utf8.RuneCountInString(b) {
				t.Errorf("%q and %q", a, b)
			}
		}
	}
}

func FuzzScore(f *testing.F) {
	for _, s := range []string{"password", "24.12.1999", "\xff\xfe", "ÄÖÜß€", strings.Repeat("4@", 400), "1.1.1.1.1.1", "\x00\n 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, password string) {
		score := 0
		stopwatch.Within(t, time.Second, fmt.Sprintf("%q", password), func() { score = Score(password, []string{"alice"}) })
		if score < 0 || score > Most {
			t.Errorf("%q: %d", password, score)
		}
		if b := entropy(password, nil); b < 0 || b != b {
			t.Errorf("%q: %v bits", password, b)
		}
	})
}

// BenchmarkScore: 64 characters, of which many may stand for others.
func BenchmarkScore(b *testing.B) {
	password := string(slices.Repeat([]rune("p4$sw0rD"), 8))
	for b.Loop() {
		Score(password, nil)
	}
}
