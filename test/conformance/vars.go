package conformance

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Vars are the $variables of a script. The zero Vars is not of use; make one with
// NewVars.
//
//	$name ${name}      a value; where it has none yet and stands in an expected
//	                   answer, it takes what is there
//	$                  anything, which is forgotten
//	$$                 a dollar sign
//	$3                 Seq(3)
//	$modseq3           a number that grows with the number in its name
//	${case:text}       text in this case: elsewhere case does not matter
//	${base64:\0$user}  base64; \0 is NUL, \s a blank
//	${sum:$a+$b-1}     a number
//	${url:$user}       as it stands in a URL: %40 for "@"
//	${md5:$a$b}        in hexadecimal, for APOP
//	${cram:$challenge} what CRAM-MD5 answers for $user and $password
type Vars struct {
	// Seq says what $n is; nil where there is no such thing.
	Seq func(n int) string

	values map[string]string
	undo   []func()
	// The $modseqN seen last: its N and its value.
	modIndex, modValue uint64
}

// NewVars gives variables that have values already.
func NewVars(values map[string]string) *Vars {
	v := &Vars{values: map[string]string{}}
	for name, value := range values {
		v.values[name] = value
	}
	return v
}

// Set gives a variable a value.
func (v *Vars) Set(name, value string) { v.values[name] = value }

// Mark gives a point to go Back to.
func (v *Vars) Mark() int { return len(v.undo) }

// Back forgets what matches took since Mark.
func (v *Vars) Back(mark int) {
	for len(v.undo) > mark {
		v.undo[len(v.undo)-1]()
		v.undo = v.undo[:len(v.undo)-1]
	}
}

// token is a piece of a text: what stands there, or a variable.
type token struct {
	text     string
	variable bool
}

func nameChar(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// tokens cuts a text. Missing braces end at the text's end.
func tokens(s string) (out []token) {
	var text strings.Builder
	end := func() {
		if text.Len() > 0 {
			out = append(out, token{text: text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(s); {
		switch {
		case s[i] != '$':
			text.WriteByte(s[i])
			i++
		case i+1 < len(s) && s[i+1] == '$':
			text.WriteByte('$')
			i += 2
		case i+1 < len(s) && s[i+1] == '{':
			end()
			stop := strings.IndexByte(s[i:], '}')
			if stop < 0 {
				stop = len(s) - i
				s += "}"
			}
			out = append(out, token{s[i+2 : i+stop], true})
			i += stop + 1
		default:
			end()
			stop := i + 1
			for stop < len(s) && nameChar(s[stop]) {
				stop++
			}
			out = append(out, token{s[i+1 : stop], true})
			i = stop
		}
	}
	end()
	return out
}

// value gives what a variable is now; false when it has no value.
func (v *Vars) value(name string) (string, bool) {
	if n, err := strconv.Atoi(name); err == nil && v.Seq != nil {
		return v.Seq(n), true
	}
	function, text, ok := strings.Cut(name, ":")
	if !ok {
		value, ok := v.values[name]
		return value, ok
	}
	if function == "case" {
		return text, true
	}
	text, err := v.Expand(text)
	if err != nil {
		return "", false
	}
	switch function {
	case "base64":
		return base64.StdEncoding.EncodeToString([]byte(strings.NewReplacer(`\0`, "\x00", `\s`, " ").Replace(text))), true
	case "url":
		return strings.ReplaceAll(url.PathEscape(text), "@", "%40"), true
	case "md5":
		sum := md5.Sum([]byte(text))
		return hex.EncodeToString(sum[:]), true
	case "cram":
		challenge, err := base64.StdEncoding.DecodeString(text)
		mac := hmac.New(md5.New, []byte(v.values["password"]))
		mac.Write(challenge)
		return base64.StdEncoding.EncodeToString([]byte(v.values["user"] + " " + hex.EncodeToString(mac.Sum(nil)))), err == nil
	case "sum":
		var total int64
		for _, part := range strings.Split(strings.ReplaceAll(text, "-", "+-"), "+") {
			n, err := strconv.ParseInt(part, 10, 64)
			if err != nil {
				return "", false
			}
			total += n
		}
		return strconv.FormatInt(total, 10), true
	}
	return "", false
}

// Expand puts values for variables. A variable without one is an error.
func (v *Vars) Expand(s string) (string, error) {
	if !strings.Contains(s, "$") {
		return s, nil
	}
	var out strings.Builder
	for _, t := range tokens(s) {
		if !t.variable {
			out.WriteString(t.text)
			continue
		}
		value, ok := v.value(t.text)
		if !ok {
			return "", fmt.Errorf("$%s has no value here", t.text)
		}
		out.WriteString(value)
	}
	return out.String(), nil
}

// Show is Expand for people: variables without a value stay as they are.
func (v *Vars) Show(s string) string {
	var out strings.Builder
	for _, t := range tokens(s) {
		if value, ok := v.value(t.text); t.variable && ok {
			out.WriteString(value)
		} else if t.variable {
			out.WriteString("$" + t.text)
		} else {
			out.WriteString(t.text)
		}
	}
	return out.String()
}

// Match tells whether input is what pattern says, and takes values for the variables
// that have none. With prefix, more may follow. After false nothing was taken.
func (v *Vars) Match(pattern, input string, prefix bool) bool {
	list := tokens(pattern)
	mark := v.Mark()
	if v.match(list, input, false) || prefix && v.match(list, input, true) {
		return true
	}
	v.Back(mark)
	return false
}

func (v *Vars) match(list []token, input string, prefix bool) bool {
	if len(list) == 0 {
		return prefix || input == ""
	}
	t, rest := list[0], list[1:]
	if !t.variable {
		n := len(t.text)
		return len(input) >= n && strings.EqualFold(input[:n], t.text) && v.match(rest, input[n:], prefix)
	}
	if value, ok := v.value(t.text); ok {
		after, ok := strings.CutPrefix(input, value)
		return ok && v.match(rest, after, prefix)
	}
	for i := 0; i <= len(input); i++ {
		mark := v.Mark()
		if v.take(t.text, input[:i]) && v.match(rest, input[i:], prefix) {
			return true
		}
		v.Back(mark)
	}
	return false
}

// take gives a variable what was found, if it may be that.
func (v *Vars) take(name, value string) bool {
	if name == "" {
		return true
	}
	if n, ok := strings.CutPrefix(name, "modseq"); ok && n != "" {
		if index, err := strconv.ParseUint(n, 10, 32); err == nil {
			number, err := strconv.ParseUint(value, 10, 64)
			if err != nil || index < v.modIndex || number < v.modValue+(index-v.modIndex) {
				return false
			}
			lastIndex, lastValue := v.modIndex, v.modValue
			v.undo = append(v.undo, func() { v.modIndex, v.modValue = lastIndex, lastValue })
			v.modIndex, v.modValue = index, number
		}
	}
	v.values[name] = value
	v.undo = append(v.undo, func() { delete(v.values, name) })
	return true
}
