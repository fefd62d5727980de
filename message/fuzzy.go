package message

import (
	"bytes"
	"unicode/utf8"
)

// Fuzzy is a text that is looked for fuzzily: it is found where it stands as it is,
// and where each of its words is like a word there. Words are alike when they are
// equal, when one begins with the other, or when a letter or, of long words, two are
// wrong, missing, too many or changed places, the first one apart. Accents and other
// marks do not count.
type Fuzzy struct {
	exact []byte
	words [][]rune
}

const (
	// maxFuzzyWords bounds the words that are compared; maxFuzzyText the bytes that
	// they are compared with, for each word costs some; maxFuzzyWord the letters of a
	// word whose faults are forgiven.
	maxFuzzyWords = 16
	maxFuzzyText  = 64 << 10
	maxFuzzyWord  = 32
)

// What a word that is like another scores: equal, begun with, one fault, two.
const (
	scoreEqual  = 90
	scorePrefix = 70
	scoreOne    = 50
	scoreTwo    = 30
)

// FuzzyOf makes a Fuzzy of a folded text.
func FuzzyOf(folded []byte) *Fuzzy {
	f := &Fuzzy{exact: folded}
	eachTextWord(folded, func(word []rune) bool {
		f.words = append(f.words, append([]rune(nil), word...))
		return len(f.words) < maxFuzzyWords
	})
	return f
}

// Score tells how well a folded text has f: 100 as it stands, less where words are only
// like its words, the mean of them; 0 not at all.
func (f *Fuzzy) Score(folded []byte) int {
	if bytes.Contains(folded, f.exact) {
		return 100
	}
	if len(f.words) == 0 {
		return 0
	}
	var best [maxFuzzyWords]int
	open := len(f.words)
	eachTextWord(folded[:min(len(folded), maxFuzzyText)], func(word []rune) bool {
		for i, w := range f.words {
			if best[i] == scoreEqual {
				continue
			}
			if best[i] = max(best[i], alike(w, word, best[i])); best[i] == scoreEqual {
				open--
			}
		}
		return open > 0
	})
	sum := 0
	for i := range f.words {
		if best[i] == 0 {
			return 0
		}
		sum += best[i]
	}
	return sum / len(f.words)
}

// eachTextWord calls do for the words of a folded text, letters and digits without marks,
// until it returns false. They are valid until it returns.
func eachTextWord(text []byte, do func(word []rune) bool) {
	var word []rune
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		i += size
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 0xaa && r < 0x300 || r > 0x36f && (r < 0x2000 || r > 0x206f):
			word = append(word, r)
		case r >= 0x300 && r <= 0x36f: // a mark on what stands before
		case len(word) > 0:
			if !do(word) {
				return
			}
			word = word[:0]
		}
	}
	if len(word) > 0 {
		do(word)
	}
}

// alike scores how a word is like the one that is wanted, if that is more than least.
func alike(wanted, word []rune, least int) int {
	if wanted[0] != word[0] {
		return 0
	}
	n := len(wanted)
	same := 0
	for same < min(n, len(word)) && wanted[same] == word[same] {
		same++
	}
	switch {
	case same == n && same == len(word):
		return scoreEqual
	case least >= scorePrefix:
		return 0
	case same == n && n >= 3, same == len(word) && same >= 4 && n-same <= 3:
		return scorePrefix
	case n < 4 || n > maxFuzzyWord || least >= scoreOne:
		return 0
	}
	allowed := 1
	if n >= 8 && least < scoreTwo {
		allowed = 2
	}
	switch n := faults(wanted[same:], word[same:], allowed); {
	case n > allowed:
		return 0
	case n == 1:
		return scoreOne
	}
	return scoreTwo
}

// faults counts the letters that are wrong, missing, too many or that changed places;
// what is above most is most+1. a has at most maxFuzzyWord.
func faults(a, b []rune, most int) int {
	if d := len(a) - len(b); d > most || -d > most {
		return most + 1
	}
	var rows [3][maxFuzzyWord + 4]int
	before, last, now := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
			least = min(least, now[j])
		}
		if least > most {
			return most + 1
		}
		before, last, now = last, now, before
	}
	return min(last[len(b)], most+1)
}
