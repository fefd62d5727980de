// Package strength estimates how long a password withstands who guesses it with a
// program, offline: with word lists, names, patterns of keys and dates. It is Dropbox's
// zxcvbn (Wheeler 2016, by its first edition's entropies), with that one's word lists.
// They stay in the program's file and are searched there: who asks for nothing pays nothing.
package strength

import (
	"math"
	"strings"
	"unicode"
)

// Most is the best score.
const Most = 4

// MaxRunes is how much of a password is judged: the time that it takes grows with the
// square of the length.
const MaxRunes = 64

// Score judges a password by what it takes to guess it at 10,000 a second: below 100 s
// it is 0, below 3 h 1, below 12 days 2, below 3 years 3, else Most. known are words that
// come to mind first, in lower case, such as the user's name.
func Score(password string, known []string) int {
	bits := entropy(password, known)
	for score, seconds := range []float64{1e2, 1e4, 1e6, 1e8} {
		if math.Exp2(bits-1) < seconds*1e4 {
			return score
		}
	}
	return Most
}

// entropy gives the bits of the cheapest way to make up the password of what is
// recognized in it, and of characters taken one by one.
func entropy(password string, known []string) float64 {
	text := []rune(password)
	text = text[:min(len(text), MaxRunes)]
	p := pattern{text: text, lower: make([]rune, len(text)), best: make([]float64, len(text)+1)}
	for i, r := range text {
		p.lower[i], p.best[i+1] = unicode.ToLower(r), math.Inf(1)
	}
	each := math.Log2(alphabet(text))
	for i := range text { // best[i] is final: nothing found from i on changes it
		p.least(i, i+1, each)
		p.words(i, known)
		p.keys(i)
		p.row(i)
		p.date(i)
	}
	return p.best[len(text)]
}

// pattern is a password and what is known of its beginnings.
type pattern struct {
	text, lower []rune
	best        []float64 // of text[:n]: the least bits
}

// least notes that text[i:j] takes so many bits.
func (p *pattern) least(i, j int, bits float64) {
	p.best[j] = min(p.best[j], p.best[i]+bits)
}

// alphabet is how many characters there are of the kinds that are used.
func alphabet(text []rune) float64 {
	var lower, upper, digits, others float64
	for _, r := range text {
		switch {
		case unicode.IsLower(r):
			lower = 26
		case unicode.IsUpper(r):
			upper = 26
		case unicode.IsDigit(r):
			digits = 10
		default:
			others = 33
		}
	}
	return max(1, lower+upper+digits+others)
}

// instead are the characters that stand for letters; two of them for one of two.
var instead = [2]map[rune]rune{
	{'4': 'a', '@': 'a', '8': 'b', '(': 'c', '{': 'c', '[': 'c', '<': 'c', '3': 'e', '6': 'g', '9': 'g', '1': 'i', '!': 'i', '|': 'i', '0': 'o', '$': 's', '5': 's', '+': 't', '7': 't', '%': 'x', '2': 'z'},
	{'4': 'a', '@': 'a', '8': 'b', '(': 'c', '{': 'c', '[': 'c', '<': 'c', '3': 'e', '6': 'g', '9': 'g', '1': 'l', '!': 'i', '|': 'l', '0': 'o', '$': 's', '5': 's', '+': 't', '7': 'l', '%': 'x', '2': 'z'},
}

// words finds the words that begin at i: as they are, with characters instead of
// letters, and from back to front.
func (p *pattern) words(i int, known []string) {
	for j := i + 1; j <= min(len(p.text), i+longestWord); j++ {
		for _, back := range []bool{false, true} {
			plain := spelled(p.lower[i:j], nil, back)
			p.word(i, j, plain, back, known)
			for _, letters := range instead {
				if leet := spelled(p.lower[i:j], letters, back); leet != plain {
					p.word(i, j, leet, back, known)
				}
			}
		}
	}
}

// spelled gives a word with letters for what stands instead of them.
func spelled(text []rune, letters map[rune]rune, back bool) string {
	var b strings.Builder
	for n := range text {
		r := text[n]
		if back {
			r = text[len(text)-1-n]
		}
		if l, ok := letters[r]; ok {
			r = l
		}
		b.WriteRune(r)
	}
	return b.String()
}

// word notes text[i:j] if it is a word, spelled so.
func (p *pattern) word(i, j int, word string, back bool, known []string) {
	n := rank(word)
	for at, k := range known {
		if k == word && (n == 0 || at+1 < n) {
			n = at + 1
		}
	}
	if n == 0 {
		return
	}
	bits := math.Log2(float64(n)) + capitals(p.text[i:j])
	if back {
		bits++
	}
	changed := 0
	for n, r := range []rune(word) {
		at := i + n
		if back {
			at = j - 1 - n
		}
		if p.lower[at] != r {
			changed++
		}
	}
	if changed > 0 {
		bits += max(1, math.Log2(float64(changed))) // who guesses changes all of a kind
	}
	p.least(i, j, bits)
}

// capitals are the bits that capital letters bring: one where all, the first or the last
// is one, as most people do it.
func capitals(word []rune) float64 {
	upper, lower := 0, 0
	for _, r := range word {
		switch {
		case unicode.IsUpper(r):
			upper++
		case unicode.IsLower(r):
			lower++
		}
	}
	switch {
	case upper == 0:
		return 0
	case lower == 0, upper == 1 && (unicode.IsUpper(word[0]) || unicode.IsUpper(word[len(word)-1])):
		return 1
	}
	return choices(upper+lower, upper)
}

// choices are the bits of choosing k of n or fewer, or all but so many.
func choices(n, k int) float64 {
	sum, ways := 0.0, 1.0
	for i := range min(k, n-k) + 1 {
		sum += ways
		ways = ways * float64(n-i) / float64(i+1)
	}
	return math.Log2(sum)
}

// row finds what goes on from i in steps of 0 or 1: "aaaa", "3456", "zyx".
func (p *pattern) row(i int) {
	if i+2 >= len(p.text) || !unicode.IsLetter(p.text[i]) && !unicode.IsDigit(p.text[i]) && p.text[i] != p.text[i+1] {
		return
	}
	step := p.lower[i+1] - p.lower[i]
	if step < -1 || step > 1 {
		return
	}
	base := math.Log2(alphabet(p.text[i : i+1]))
	if step != 0 && (p.lower[i] == 'a' || p.text[i] == '1') {
		base = 0 // where everybody begins
	}
	if step < 0 {
		base++
	}
	for j := i + 2; j < len(p.text) && p.lower[j]-p.lower[j-1] == step; j++ {
		p.least(i, j+1, base+math.Log2(float64(j+1-i))+capitals(p.text[i:j+1]))
	}
}
