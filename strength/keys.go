package strength

import (
	"math"
	"strings"
	"unicode"
)

// keyboard is how keys lie, a row each, the next half a key further to the right.
type keyboard struct {
	rows    [2][4]string // as they are, and with Shift
	starts  float64      // keys
	degree  float64      // neighbours of a key, on the average
	slanted bool
}

// keyboards are QWERTY, QWERTZ, Dvorak and the pad of digits.
var keyboards = []keyboard{
	{rows: [2][4]string{{"`1234567890-=", "\x00qwertyuiop[]\\", "\x00asdfghjkl;'", "\x00zxcvbnm,./"}, {"~!@#$%^&*()_+", "\x00QWERTYUIOP{}|", "\x00ASDFGHJKL:\"", "\x00ZXCVBNM<>?"}}, starts: 94, degree: 4.6, slanted: true},
	{rows: [2][4]string{{"^1234567890ß´", "\x00qwertzuiopü+", "\x00asdfghjklöä#", "\x00yxcvbnm,.-"}, {"°!\"§$%&/()=?`", "\x00QWERTZUIOPÜ*", "\x00ASDFGHJKLÖÄ'", "\x00YXCVBNM;:_"}}, starts: 94, degree: 4.6, slanted: true},
	{rows: [2][4]string{{"`1234567890[]", "\x00',.pyfgcrl/=\\", "\x00aoeuidhtns-", "\x00;qjkxbmwvz"}, {"~!@#$%^&*(){}", "\x00\"<>PYFGCRL?+|", "\x00AOEUIDHTNS_", "\x00:QJKXBMWVZ"}}, starts: 94, degree: 4.6, slanted: true},
	{rows: [2][4]string{{"\x00/*-", "789+", "456", "123"}}, starts: 15, degree: 5},
}

// at finds a character's key.
func (k *keyboard) at(r rune) (row, column int, shifted, ok bool) {
	for s, rows := range k.rows {
		for y, keys := range rows {
			if i := strings.IndexRune(keys, r); i >= 0 && r != 0 {
				return y, len([]rune(keys[:i])), s == 1, true
			}
		}
	}
	return 0, 0, false, false
}

// keys finds keys that lie side by side from i on, at least three.
func (p *pattern) keys(i int) {
	for n := range keyboards {
		k := &keyboards[n]
		y, x, shift, ok := k.at(p.text[i])
		if !ok {
			continue
		}
		turns, shifted, before := 0, 0, [2]int{}
		if shift {
			shifted++
		}
		for j := i + 1; j < len(p.text); j++ {
			y2, x2, shift, ok := k.at(p.text[j])
			way := [2]int{y2 - y, x2 - x}
			if !ok || !k.beside(way) {
				break
			}
			if way != before {
				turns++
			}
			if shift {
				shifted++
			}
			y, x, before = y2, x2, way
			if j+1-i >= 3 {
				p.least(i, j+1, k.bits(j+1-i, turns)+shifts(p.text[i:j+1], shifted))
			}
		}
	}
}

// beside tells whether a key so many rows down and columns to the right is a neighbour.
func (k *keyboard) beside(way [2]int) bool {
	y, x := way[0], way[1]
	if k.slanted { // the columns of the rows below lie further right
		return y == 0 && (x == 1 || x == -1) || y == -1 && (x == 0 || x == 1) || y == 1 && (x == 0 || x == -1)
	}
	return max(y, -y) <= 1 && max(x, -x) <= 1 && way != [2]int{}
}

// bits are those of so many keys with so many turns or fewer.
func (k *keyboard) bits(length, turns int) float64 {
	sum := 0.0
	for n := 2; n <= length; n++ {
		ways := 1.0
		for t := 1; t <= min(turns, n-1); t++ {
			sum += ways * k.starts * math.Pow(k.degree, float64(t))
			ways = ways * float64(n-1-t) / float64(t)
		}
	}
	return math.Log2(sum)
}

// shifts are the bits that Shift brings.
func shifts(text []rune, shifted int) float64 {
	switch {
	case shifted == 0:
		return 0
	case shifted == len(text), shifted == 1 && unicode.IsUpper(text[0]):
		return 1
	}
	return choices(len(text), shifted)
}

// The bits of a date: of a day and month, with a year of two digits or of four.
var (
	dayBits  = math.Log2(31 * 12)
	yearBits = [2]float64{math.Log2(100), math.Log2(119)}
)

// date finds the dates that begin at i: 24.12.1999, 1999-12-24, 241299, and years.
func (p *pattern) date(i int) {
	for j := i + 4; j <= min(len(p.text), i+10); j++ {
		var parts []string
		separator, mixed := rune(0), false
		digits := 0
		for _, r := range p.text[i:j] {
			if r >= '0' && r <= '9' {
				if len(parts) == 0 || digits == 0 {
					parts = append(parts, "")
				}
				parts[len(parts)-1] += string(r)
				digits++
				continue
			}
			mixed = mixed || !strings.ContainsRune(`./-_\ `, r) || separator != 0 && r != separator || digits == 0
			separator, digits = r, 0
		}
		switch {
		case mixed || digits == 0:
		case separator == 0:
			p.bareDate(i, j, parts[0])
		case len(parts) == 3 && (year(parts[2]) && day(parts[0], parts[1]) || year(parts[0]) && day(parts[1], parts[2])):
			long := 0
			if len(parts[0]) == 4 || len(parts[2]) == 4 {
				long = 1
			}
			p.least(i, j, dayBits+yearBits[long]+2)
		}
	}
}

// bareDate notes text[i:j], all digits, if they may be a date or a year.
func (p *pattern) bareDate(i, j int, s string) {
	if len(s) == 4 && year(s) {
		p.least(i, j, yearBits[1])
	}
	for _, long := range []int{2, 4} {
		rest := len(s) - long
		if rest < 2 || rest > 4 {
			continue
		}
		for cut := 1; cut < rest; cut++ {
			if cut > 2 || rest-cut > 2 {
				continue
			}
			if year(s[rest:]) && day(s[:cut], s[cut:rest]) || year(s[:long]) && day(s[long:long+cut], s[long+cut:]) {
				p.least(i, j, dayBits+yearBits[long/2-1])
			}
		}
	}
}

// year tells whether it is one of two digits, or of four and near ours.
func year(s string) bool { return len(s) == 2 || len(s) == 4 && s >= "1900" && s <= "2039" }

// day tells whether it is a day and a month, in either order.
func day(a, b string) bool {
	x, y := number(a), number(b)
	return x >= 1 && y >= 1 && min(x, y) <= 12 && max(x, y) <= 31
}

// number gives the number of one or two digits, else 0.
func number(s string) int {
	n := 0
	for _, r := range s {
		n = n*10 + int(r-'0')
	}
	if len(s) > 2 {
		return 0
	}
	return n
}
