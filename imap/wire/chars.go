package wire

// class says which elements of the grammar a byte may be part of.
type class uint8

const (
	inAtom    class = 1 << iota // ATOM-CHAR
	inAString                   // ASTRING-CHAR
	inTag                       // ASTRING-CHAR except "+"
	inItem                      // ATOM-CHAR except "[" and "<"
	inPattern                   // list-char
	inBase64                    // base64-char and "="
)

// classes is computed once and never changed (RFC 9051, 9).
var classes = func() (t [256]class) {
	for c := 0x21; c < 0x7f; c++ {
		switch c {
		case '(', ')', '{', '"', '\\':
			continue
		case '%', '*':
			t[c] = inPattern
			continue
		}
		t[c] = inAString | inTag | inPattern
		if c != ']' {
			t[c] |= inAtom | inItem
		}
		switch {
		case c == '+':
			t[c] &^= inTag
		case c == '[' || c == '<':
			t[c] &^= inItem
		}
		if isAlnum(byte(c)) || c == '+' || c == '/' || c == '=' {
			t[c] |= inBase64
		}
	}
	return t
}()

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isAlnum(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// equalFold compares without regard to ASCII case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if upper(c) != upper(s[i]) {
			return false
		}
	}
	return true
}
