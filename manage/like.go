package manage

import "unicode"

// Like matches a text with a pattern in which * stands for any characters and ?
// for one, in any case. It takes time of at most pattern times text: the matcher
// goes back only to the last star.
func Like(pattern, text string) bool {
	p, t := []rune(pattern), []rune(text)
	i, j, star, from := 0, 0, -1, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || fold(p[i]) == fold(t[j])):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

func fold(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }
