package message

import (
	"strings"
	"time"
)

// ParseDate reads the value of a Date field (RFC 5322, 3.3 and 4.3) and what
// senders make of it: the day of the week, commas, seconds and zone may be
// missing, the month may stand before the day, years may have two or three
// digits, comments may stand anywhere. The time is in the zone that is given, and
// in UTC when none is. Only the first 256 bytes count.
func ParseDate(s string) (time.Time, bool) {
	var d dateReader
	if len(s) > 256 {
		s = s[:256]
	}
	for v := []byte(s); ; {
		v = skipSpace(v)
		i := 0
		for i < len(v) && !isSpace(v[i]) && v[i] != ',' && v[i] != '(' {
			i++
		}
		if i > 0 && !d.word(string(v[:i])) {
			return time.Time{}, false
		}
		if v = v[i:]; len(v) == 0 {
			break
		}
		if v[0] == ',' {
			v = v[1:]
		}
	}
	return d.time()
}

// dateReader collects the words of a date.
type dateReader struct {
	numbers [2]int // day and year, in their order
	digits  [2]int
	n       int
	month   int // 1 to 12
	clock   [3]int
	timed   bool
	zone    int // seconds east of UTC
	zoned   bool
}

var months = [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}

// zones are the names of RFC 5322, 4.3, in hours east of UTC. Others count as UTC.
var zones = [...]struct {
	name  string
	hours int
}{{"EST", -5}, {"EDT", -4}, {"CST", -6}, {"CDT", -5}, {"MST", -7}, {"MDT", -6}, {"PST", -8}, {"PDT", -7},
	{"CET", 1}, {"CEST", 2}, {"EET", 2}, {"EEST", 3}, {"BST", 1}, {"JST", 9}, {"MSK", 3}}

// word takes one word; false when it makes no date.
func (d *dateReader) word(w string) bool {
	switch {
	case w == "":
		return false
	case strings.Contains(w, ":") && !d.timed:
		return d.time24(w)
	case (w[0] == '+' || w[0] == '-') && d.timed && !d.zoned:
		return d.offset(w)
	case isDigit(w[0]):
		// 2-Jan-2006 comes in one word.
		if parts := strings.Split(w, "-"); len(parts) == 3 && d.n == 0 && d.month == 0 {
			return d.word(parts[0]) && d.word(parts[1]) && d.word(parts[2])
		}
		n, ok := number(w)
		if !ok || d.n == len(d.numbers) {
			return ok && d.timed
		}
		d.numbers[d.n], d.digits[d.n] = n, len(w)
		d.n++
		return true
	}
	if d.month == 0 && len(w) >= 3 {
		for i, m := range months {
			if strings.EqualFold(w[:3], m) {
				d.month = i + 1
				return true
			}
		}
	}
	if d.timed && !d.zoned {
		d.zoned = true
		for _, z := range zones {
			if strings.EqualFold(w, z.name) {
				d.zone = z.hours * 3600
			}
		}
	}
	return true // a day of the week, or a word that means nothing
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// number reads up to four digits.
func number(s string) (n int, ok bool) {
	for i := range len(s) {
		if !isDigit(s[i]) || i == 4 {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, s != ""
}

// time24 reads hours, minutes and perhaps seconds, with a zone that was written
// without a space.
func (d *dateReader) time24(w string) bool {
	if i := strings.IndexAny(w, "+-"); i > 0 {
		zone := w[i:]
		w = w[:i]
		defer func() { _ = d.timed && d.offset(zone) }()
	}
	fields := strings.Split(w, ":")
	if len(fields) > 3 {
		return false
	}
	for i, f := range fields {
		f, _, _ = strings.Cut(f, ".")
		n, ok := number(f)
		if !ok || n > [...]int{24, 59, 60}[i] {
			return false
		}
		d.clock[i] = n
	}
	d.timed = true
	return true
}

// offset reads a zone such as +0130 or +01:30.
func (d *dateReader) offset(w string) bool {
	n, ok := number(strings.Replace(w[1:], ":", "", 1))
	if !ok {
		return true
	}
	if len(w) <= 3 {
		n *= 100
	}
	if n%100 > 59 { // up to 9959 (RFC 5322, 3.3)
		return true
	}
	d.zone, d.zoned = (n/100*60+n%100)*60, true
	if w[0] == '-' {
		d.zone = -d.zone
	}
	return true
}

func (d *dateReader) time() (time.Time, bool) {
	if d.n < 2 || d.month == 0 {
		return time.Time{}, false
	}
	day, year, digits := d.numbers[0], d.numbers[1], d.digits[1]
	if d.digits[0] > 2 {
		day, year, digits = year, day, d.digits[0]
	}
	switch { // RFC 5322, 4.3
	case digits <= 2 && year < 50:
		year += 2000
	case digits <= 3:
		year += 1900
	}
	if day < 1 || day > 31 {
		return time.Time{}, false
	}
	zone := time.UTC
	if d.zone != 0 {
		zone = time.FixedZone("", d.zone)
	}
	t := time.Date(year, time.Month(d.month), day, d.clock[0], d.clock[1], d.clock[2], 0, zone)
	return t, int(t.Month()) == d.month || d.clock[0] >= 24
}
