package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/test/conformance"
)

// whole is what the match functions give when everything fits; otherwise they give how
// many arguments did.
const whole = math.MaxInt

// matcher compares responses with what a script expects.
type matcher struct{ vars *conformance.Vars }

// response compares an untagged response, without its "*".
func (m *matcher) response(want, got []arg) int {
	mark := m.vars.Mark()
	n := 0
	switch name := first(got); {
	case name == "" || name != first(want):
		n = m.args(want, got, status(want))
	case name == "ESEARCH":
		n = m.esearch(want, got)
	case name == "CAPABILITY" || name == "ENABLED":
		n = m.chains(want, got, 1, false, nil, nil)
	default:
		n = m.args(want, got, status(want))
	}
	if n != whole {
		m.vars.Back(mark)
	}
	return n
}

// first is the name of a response, in upper case.
func first(a []arg) string {
	if len(a) == 0 || a[0].kind != text {
		return ""
	}
	return strings.ToUpper(a[0].text)
}

// esearch compares ESEARCH, of which the results are in any order (RFC 4466, 2.6.2).
func (m *matcher) esearch(want, got []arg) int {
	head := 1
	if head < len(want) && want[head].kind == list {
		head++
	}
	if head < len(want) && strings.EqualFold(want[head].text, "UID") {
		head++
	}
	rest := want[head:]
	if head > len(got) || len(rest)%2 != 0 {
		return m.args(want, got, false)
	}
	if n := m.args(want[:head], got[:head], false); n != whole {
		return n
	}
	if n := m.chains(rest, got[head:], 2, true, nil, nil); n != whole {
		return head + n
	}
	return whole
}

// args compares arguments in order. With prefix, the last may be the beginning of what
// is there, and more may follow.
func (m *matcher) args(want, got []arg, prefix bool) int {
	n := 0
	for i, w := range want {
		if w.kind == text && w.text == "$]" {
			for len(got) > 0 && got[0].kind == text && !strings.Contains(got[0].text, "]") {
				got = got[1:]
			}
			if len(got) == 0 {
				return whole
			}
		}
		if len(got) == 0 {
			return n
		}
		g := got[0]
		switch {
		case w.kind == text && (w.text == "$" || w.text == "$]"):
		case w.kind != g.kind:
			return n
		case w.kind == text:
			if !m.vars.Match(w.text, g.text, prefix && i == len(want)-1) {
				return n
			}
		case w.kind == list:
			if sub := m.list(w.list, g.list); sub != whole {
				return n + sub
			}
		}
		got = got[1:]
		n++
	}
	if prefix || len(got) == 0 {
		return whole
	}
	return n
}

// list compares a list by its directives.
func (m *matcher) list(want, got []arg) int {
	unordered, exact, chain := false, false, 1
	var ignore, ban []string
	for len(want) > 0 && strings.HasPrefix(want[0].text, "$!") {
		switch name, value, _ := strings.Cut(want[0].text[2:], "="); name {
		case "unordered":
			unordered = true
			if value != "" {
				chain, _ = strconv.Atoi(value)
			}
		case "ordered":
			unordered = false
		case "extra":
			exact = false
		case "noextra":
			exact = true
		case "ignore":
			ignore = append(ignore, value)
		case "ban":
			ban = append(ban, value)
		}
		want = want[1:]
	}
	if !unordered {
		return m.args(want, got, false)
	}
	return m.chains(want, got, chain, exact, ignore, ban)
}

// chains finds every chain of want among those of got. With exact nothing else may be
// there, but for what ignore names; nothing that ban names may be there.
func (m *matcher) chains(want, got []arg, chain int, exact bool, ignore, ban []string) int {
	if len(got)%chain != 0 {
		return 0
	}
	found := make([]bool, len(got))
	n := 0
	for ; len(want) > 0; want = want[chain:] {
		at := -1
		for i := 0; i < len(got) && at < 0; i += chain {
			mark := m.vars.Mark()
			if !found[i] && m.args(want[:chain], got[i:i+chain], false) == whole {
				at = i
			} else {
				m.vars.Back(mark)
			}
		}
		if at < 0 {
			return n
		}
		found[at] = true
		n++
	}
	has := func(names []string, s string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, s) })
	}
	for i := 0; i < len(got); i += chain {
		if found[i] {
			continue
		}
		if has(ban, got[i].text) || exact && !has(ignore, got[i].text) {
			return n
		}
	}
	return whole
}

// place is where a list stands, for the directives that it has without naming any.
type place struct {
	reply string // FETCH and so on, in lower case
	depth int
	index int    // among the arguments
	after string // the atom before it, in lower case
}

// withDefaults gives what a script expects the directives that go without saying.
func withDefaults(want []arg) ([]arg, error) {
	reply := ""
	if len(want) > 0 {
		reply = want[0].text
		if len(want) > 1 && reply != "" && (reply[0] == '$' || '0' <= reply[0] && reply[0] <= '9') {
			reply = want[1].text
		}
	}
	return defaults(want, place{reply: strings.ToLower(reply)})
}

func defaults(want []arg, at place) ([]arg, error) {
	chain := 1
	if len(want) > 0 && strings.HasPrefix(want[0].text, "$!") {
		for _, a := range want {
			directive, ok := strings.CutPrefix(a.text, "$!")
			if !ok {
				break
			}
			switch name, value, _ := strings.Cut(directive, "="); name {
			case "unordered":
				if value != "" {
					var err error
					if chain, err = strconv.Atoi(value); err != nil || chain < 1 {
						return nil, fmt.Errorf("not understood: %s", a.text)
					}
				}
			case "ordered", "extra", "noextra", "ignore", "ban":
			default:
				return nil, fmt.Errorf("not understood: %s", a.text)
			}
		}
	} else {
		var add []arg
		for _, d := range at.directives() {
			add = append(add, arg{text: d})
			if d == "$!unordered=2" {
				chain = 2
			}
		}
		want = append(add, want...)
	}
	values := 0
	for _, a := range want {
		if !strings.HasPrefix(a.text, "$!") {
			values++
		}
	}
	if values%chain != 0 {
		return nil, fmt.Errorf("a list of %d values is none of chains of %d", values, chain)
	}
	after := ""
	for i := range want {
		if want[i].kind != list {
			after = strings.ToLower(want[i].text)
			continue
		}
		sub, err := defaults(want[i].list, place{at.reply, at.depth + 1, i, after})
		if err != nil {
			return nil, err
		}
		want[i].list = sub
	}
	return want, nil
}

func (p place) directives() []string {
	switch {
	case p.depth == 1 && p.index == 1 && (p.reply == "list" || p.reply == "lsub"):
		return []string{"$!unordered"}
	case p.depth == 1 && p.index == 2 && (p.reply == "status" || p.reply == "fetch" || p.reply == "uidfetch"):
		return []string{"$!unordered=2"}
	case p.depth == 2 && (p.reply == "fetch" || p.reply == "uidfetch") && p.after == "flags":
		return []string{"$!unordered", "$!noextra", `$!ignore=\recent`, "$!ignore=$HasAttachment", "$!ignore=$HasNoAttachment"}
	}
	return nil
}
