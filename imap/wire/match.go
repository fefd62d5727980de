package wire

import (
	"strings"

	"github.com/postern-mail/postern/mail"
)

// Pattern is a LIST pattern made ready to be matched against many names
// (RFC 9051, 6.3.9). It is not changed after Compile, so goroutines may share it.
type Pattern struct {
	words int         // of 64 bits in a set of positions
	rows  [256]uint16 // by byte: which of sets has the positions where it stands
	sets  []uint64    // words a row; row 0 is empty
	star  []uint64    // positions of *
	cent  []uint64    // positions of %
	last  int         // the position behind the pattern
	delim byte
}

// Compile makes a pattern of UTF-8 ready: * matches anything, % anything without
// the hierarchy delimiter (0 when there is none). A pattern of more than 1 KiB is
// a KindLimit.
func Compile(pattern string, delim byte) (*Pattern, error) {
	if len(pattern) > maxPattern {
		return nil, mail.Errorf(mail.KindLimit, "The mailbox pattern is too long.")
	}
	// Of neighbouring wildcards one is left, so that no two follow each other.
	flat := make([]byte, 0, len(pattern))
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if n := len(flat); n > 0 && isWild(c) && isWild(flat[n-1]) {
			if c == '*' {
				flat[n-1] = '*'
			}
			continue
		}
		flat = append(flat, c)
	}
	p := &Pattern{words: len(flat)/64 + 1, last: len(flat), delim: delim}
	p.star, p.cent = make([]uint64, p.words), make([]uint64, p.words)
	p.sets = make([]uint64, p.words)
	for i, c := range flat {
		w, bit := i/64, uint64(1)<<(i%64)
		switch c {
		case '*':
			p.star[w] |= bit
		case '%':
			p.cent[w] |= bit
		default:
			if p.rows[c] == 0 {
				p.rows[c] = uint16(len(p.sets) / p.words)
				p.sets = append(p.sets, make([]uint64, p.words)...)
			}
			p.sets[int(p.rows[c])*p.words+w] |= bit
		}
	}
	return p, nil
}

func isWild(c byte) bool { return c == '*' || c == '%' }

// Match tells whether the pattern matches all of name. INBOX, alone or as the
// first level, is compared without regard to case. Its time is proportional to
// the length of name, and to the pattern's by 64 positions a step.
func (p *Pattern) Match(name string) bool {
	inbox := 0
	if strings.HasPrefix(name, Inbox) && (len(name) == len(Inbox) || name[len(Inbox)] == p.delim) {
		inbox = len(Inbox)
	}
	if p.words == 1 {
		return p.matchShort(name, inbox)
	}
	var space [maxPattern/64 + 1]uint64
	now := space[:p.words]
	now[0] = 1
	p.spread(now)
	for i := 0; i < len(name); i++ {
		c := name[i]
		row := p.sets[int(p.rows[c])*p.words:][:p.words]
		other := p.sets[:p.words]
		if i < inbox {
			other = p.sets[int(p.rows[c|0x20])*p.words:][:p.words]
		}
		var carry, any uint64
		for w := range now {
			stay := now[w] & p.star[w]
			if c != p.delim || p.delim == 0 {
				stay |= now[w] & p.cent[w]
			}
			step := now[w] & (row[w] | other[w])
			now[w] = step<<1 | carry | stay
			carry = step >> 63
			any |= now[w]
		}
		if any == 0 {
			return false
		}
		p.spread(now)
	}
	return now[p.last/64]>>(p.last%64)&1 == 1
}

// spread adds the positions behind wildcards, which may match nothing.
func (p *Pattern) spread(now []uint64) {
	var carry uint64
	for w := range now {
		wild := now[w] & (p.star[w] | p.cent[w])
		now[w] |= wild<<1 | carry
		carry = wild >> 63
	}
}

// matchShort is Match for patterns of fewer than 64 positions.
func (p *Pattern) matchShort(name string, inbox int) bool {
	star, cent := p.star[0], p.cent[0]
	now := uint64(1)
	now |= now & (star | cent) << 1
	for i := 0; i < len(name) && now != 0; i++ {
		c := name[i]
		row := p.sets[p.rows[c]]
		if i < inbox {
			row |= p.sets[p.rows[c|0x20]]
		}
		stay := now & star
		if c != p.delim || p.delim == 0 {
			stay |= now & cent
		}
		now = now&row<<1 | stay
		now |= now & (star | cent) << 1
	}
	return now>>p.last&1 == 1
}
