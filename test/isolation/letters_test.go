package isolation

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
)

// In TestEverything all that a person has, sends and is called is written with two letters
// that nobody else uses: j and q, or x and z. So not a word, but every few bytes that ever
// reach the other one tell where they came from, also in base64.

// alphabet is the letters of a person.
type alphabet struct {
	letters string
	mine    [256]bool // the letters, in either case
	first   [256]bool // letters with which a group of base64 begins
	groups  map[string]bool
}

func newAlphabet(letters string) *alphabet {
	a := &alphabet{letters: letters, groups: map[string]bool{}}
	for _, c := range []byte(letters + strings.ToUpper(letters)) {
		a.mine[c] = true
	}
	for n := range 8 {
		three := []byte{letters[n&1], letters[n>>1&1], letters[n>>2&1]}
		group := base64.StdEncoding.EncodeToString(three)
		a.groups[group], a.first[group[0]] = true, true
	}
	return a
}

// enough is how many bytes in a row tell whose they are.
const enough = 6

// find gives a piece of text that is written with the alphabet, in the clear or in base64;
// "" when there is none.
func (a *alphabet) find(text []byte) string {
	run := 0
	for i, c := range text {
		if a.mine[c] {
			if run++; run == enough {
				return string(text[i+1-run : i+1])
			}
			continue
		}
		run = 0
	}
	const long = enough / 3 * 4
	for i := 0; i+long <= len(text); i++ {
		if a.first[text[i]] && a.groups[string(text[i:i+4])] && a.groups[string(text[i+4:i+8])] {
			return string(text[i : i+long])
		}
	}
	return ""
}

// word makes a word.
func (a *alphabet) word(rng *rand.Rand) string {
	b := make([]byte, 8+rng.IntN(10))
	for i := range b {
		b[i] = a.letters[rng.IntN(2)]
	}
	return string(b)
}

// text makes so many bytes of words, in lines.
func (a *alphabet) text(rng *rand.Rand, size int) string {
	var b strings.Builder
	for line := 0; b.Len() < size; {
		word := a.word(rng)
		if line += len(word) + 1; line > 70 {
			b.WriteString("\r\n")
			line = len(word)
		} else if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(word)
	}
	return b.String()
}

// letter makes a message of which every value is words, in one of several forms.
func (a *alphabet) letter(rng *rand.Rand) string {
	w := func() string { return a.word(rng) }
	address := func() string { return fmt.Sprintf("%s %s <%s@%s.example>", w(), w(), w(), w()) }
	var b strings.Builder
	fmt.Fprintf(&b, "From: %s\r\nTo: %s, %s\r\nCc: \"%s, %s\" <%s@%s>\r\nReply-To: %s\r\n", address(), address(), address(), w(), w(), w(), w(), address())
	fmt.Fprintf(&b, "Subject: %s\r\nMessage-ID: <%s@%s>\r\nIn-Reply-To: <%s@%s>\r\nReferences: <%s@%s> <%s@%s>\r\n", a.subject(rng), w(), w(), w(), w(), w(), w(), w(), w())
	fmt.Fprintf(&b, "X-%s: %s\r\nList-ID: <%s.%s>\r\nComments: %s\r\n %s\r\nMIME-Version: 1.0\r\n", w(), w(), w(), w(), w(), w())
	size := 200 + rng.IntN(2000)
	switch rng.IntN(6) {
	case 0:
		size = 34<<10 + rng.IntN(20<<10) // in a file of its own
	case 1:
		size = 100 << 10
	}
	switch rng.IntN(5) {
	case 0:
		fmt.Fprintf(&b, "\r\n%s\r\n", a.text(rng, size))
	case 1:
		fmt.Fprintf(&b, "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s=\r\n%s=20=E4\r\n", a.text(rng, size), w())
	case 2:
		fmt.Fprintf(&b, "Content-Type: application/octet-stream; name=%q\r\nContent-Transfer-Encoding: base64\r\n\r\n%s", w(), a.base64(rng, size))
	default:
		edge := w()
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Description: %s\r\nContent-ID: <%s@%s>\r\nContent-Language: %s\r\n\r\n%s\r\n", edge, edge, w(), w(), w(), w(), a.text(rng, size))
		fmt.Fprintf(&b, "--%s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Location: %s\r\n\r\n<p title=%s>%s</p><b>%s</b>\r\n", edge, w(), w(), a.text(rng, 300), w())
		fmt.Fprintf(&b, "--%s\r\nContent-Type: application/pdf; name=%s.pdf\r\nContent-Disposition: attachment; filename=\"%s.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n%s", edge, w(), w(), a.base64(rng, 400))
		fmt.Fprintf(&b, "--%s\r\nContent-Type: message/rfc822\r\n\r\nFrom: %s\r\nSubject: %s\r\nMessage-ID: <%s@%s>\r\n\r\n%s\r\n--%s--\r\n%s\r\n", edge, address(), a.subject(rng), w(), w(), a.text(rng, 200), edge, w())
	}
	return b.String()
}

// subject is in the clear or an encoded word.
func (a *alphabet) subject(rng *rand.Rand) string {
	if rng.IntN(3) == 0 {
		return "=?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte(a.word(rng)+" "+a.word(rng))) + "?="
	}
	return a.word(rng) + " " + a.word(rng)
}

// base64 encodes words.
func (a *alphabet) base64(rng *rand.Rand, size int) string {
	text := base64.StdEncoding.EncodeToString([]byte(a.text(rng, size)))
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	return b.String() + text + "\r\n"
}
