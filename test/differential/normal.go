package differential

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/test/imapview"
)

// normal gives an IMAP response in a form in which two servers that mean the same
// say the same: without texts for people and without numbers that each server
// chooses, and with unordered lists in order.
func normal(response []byte) string {
	text := string(response)
	rest, untagged := strings.CutPrefix(text, "* ")
	word, more, _ := strings.Cut(rest, " ")
	switch {
	case !untagged:
		return status(rest)
	case slices.Contains([]string{"OK", "NO", "BAD", "BYE", "PREAUTH"}, strings.ToUpper(word)):
		return "* " + status("x " + rest)[2:]
	case word == "FLAGS":
		return "* FLAGS " + list(more)
	case word == "LIST" || word == "LSUB":
		return "* " + word + " " + listed(more)
	case word == "STATUS":
		return "* STATUS " + statusItems(more)
	case word == "ESEARCH":
		// The results, pairs, in order of their names.
		fields := strings.Fields(chosen(more))[2:]
		out := "* ESEARCH"
		if len(fields) > 0 && fields[0] == "UID" {
			out, fields = out+" UID", fields[1:]
		}
		pairs := []string{}
		for pair := range slices.Chunk(fields, 2) {
			pairs = append(pairs, strings.Join(pair, " "))
		}
		slices.Sort(pairs)
		return strings.TrimSpace(out + " " + strings.Join(pairs, " "))
	case word == "SEARCH" || word == "VANISHED" || word == "ENABLED":
		return strings.TrimSpace("* " + chosen(rest))
	case word == "CAPABILITY" || word == "ID":
		return "* " + word
	case word == "ACL" || word == "MYRIGHTS" || word == "LISTRIGHTS" || word == "METADATA" || word == "QUOTA" || word == "QUOTAROOT":
		return "* " + word + " " + access(word, more)
	}
	if kind, items, ok := strings.Cut(more, " "); ok && kind == "FETCH" {
		return "* " + word + " FETCH " + fetched(items)
	}
	return text
}

var (
	code = regexp.MustCompile(`^\[([A-Z-]+)(?: ([^\]]*))?\]`)
	// Numbers that each server chooses.
	modSeqs = regexp.MustCompile(`(MODSEQ \(?|HIGHESTMODSEQ |UIDVALIDITY |APPENDUID |COPYUID )\d+`)
	objects = regexp.MustCompile(`(MAILBOXID|EMAILID|THREADID) \([A-Za-z0-9_-]+\)`)
)

func chosen(s string) string {
	return objects.ReplaceAllString(modSeqs.ReplaceAllString(s, "${1}#"), "$1 (#)")
}

// status normalises "tag OK [CODE …] text".
func status(s string) string {
	tag, rest, _ := strings.Cut(s, " ")
	condition, rest, _ := strings.Cut(rest, " ")
	out := tag + " " + strings.ToUpper(condition)
	m := code.FindStringSubmatch(rest)
	switch {
	case m == nil, m[1] == "CAPABILITY", m[1] == "MAILBOXID" && tag != "x":
		return out
	case m[1] == "PERMANENTFLAGS":
		return out + " [PERMANENTFLAGS " + list(m[2]) + "]"
	}
	return out + " [" + strings.TrimSpace(chosen(m[1]+" "+m[2])) + "]"
}

// list puts the atoms of "(…)" in order.
func list(s string) string {
	atoms := strings.Fields(strings.Trim(s, "()"))
	slices.Sort(atoms)
	return "(" + strings.Join(atoms, " ") + ")"
}

// listed normalises what is behind LIST: attributes, delimiter, name, extended data.
func listed(s string) string {
	values, err := imapview.ParseValues([]byte(s))
	if err != nil || len(values) < 3 || values[0].Quote != '(' {
		return fmt.Sprintf("%s (%v)", s, err)
	}
	attributes := []string{}
	for _, v := range values[0].List {
		switch a := strings.ToLower(v.Text); a {
		case `\marked`, `\unmarked`: // a guess, in any server
		case `\nonexistent`, `\hasnochildren`, `\haschildren`: // said more often by Postern
		default:
			attributes = append(attributes, a)
		}
	}
	slices.Sort(attributes)
	out := "(" + strings.Join(attributes, " ") + ") " + show(values[1], false) + " " + fmt.Sprintf("%q", values[2].Text)
	for _, v := range values[3:] {
		out += " " + strings.ReplaceAll(show(v, false), `"`, "")
	}
	return out
}

// access normalises what is behind ACL, MYRIGHTS and LISTRIGHTS, whose rights are sets, and
// METADATA, whose entries have no order.
func access(word, s string) string {
	values, err := imapview.ParseValues([]byte(s))
	if err != nil || len(values) < 2 {
		return fmt.Sprintf("%s (%v)", s, err)
	}
	letters := func(rights string) string {
		list := []byte(rights)
		slices.Sort(list)
		// What RFC 2086 called c and d stands for others; n is of ANNOTATE, digits are Cyrus's.
		return string(slices.DeleteFunc(list, func(c byte) bool { return strings.IndexByte("cdn0123456789", c) >= 0 }))
	}
	name, rest := values[0].Text, values[1:]
	var out []string
	switch word {
	case "MYRIGHTS":
		return fmt.Sprintf("%q %s", name, letters(rest[0].Text))
	case "LISTRIGHTS":
		for _, v := range rest[1:] {
			if l := letters(v.Text); l != "" {
				out = append(out, l)
			}
		}
		slices.Sort(out)
		return fmt.Sprintf("%q %s %s", name, rest[0].Text, strings.Join(out, " "))
	case "QUOTA": // its root's name, and what is used, are each server's own
		return ""
	case "ACL":
		for pair := range slices.Chunk(rest, 2) {
			if len(pair) == 2 {
				out = append(out, pair[0].Text+" "+letters(pair[1].Text))
			}
		}
	case "METADATA":
		for pair := range slices.Chunk(rest[0].List, 2) {
			if len(pair) == 2 {
				out = append(out, pair[0].Text+" "+show(pair[1], false))
			}
		}
	default:
		return fmt.Sprintf("%q", name)
	}
	slices.Sort(out)
	return fmt.Sprintf("%q %s", name, strings.Join(out, ", "))
}

// statusItems normalises what is behind STATUS.
func statusItems(s string) string {
	values, err := imapview.ParseValues([]byte(s))
	if err != nil || len(values) != 2 || len(values[1].List)%2 != 0 {
		return fmt.Sprintf("%s (%v)", s, err)
	}
	var items []string
	for pair := range slices.Chunk(values[1].List, 2) {
		items = append(items, chosen(pair[0].Text+" "+show(pair[1], false)))
	}
	slices.Sort(items)
	name := values[0].Text
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	return fmt.Sprintf("%q (%s)", name, strings.Join(items, " "))
}

// fetched normalises the items of a FETCH response.
func fetched(s string) string {
	items, err := imapview.ParseFetch([]byte(s))
	if err != nil {
		return fmt.Sprintf("%q (%v)", s, err)
	}
	var out []string
	for _, item := range items {
		value := show(item.Value, item.Name == "FLAGS")
		switch item.Name {
		case "MODSEQ", "EMAILID", "THREADID", "SAVEDATE":
			value = "#"
		case "INTERNALDATE":
			// Dovecot's storage knows no zone.
			if at, err := time.Parse("_2-Jan-2006 15:04:05 -0700", item.Value.Text); err == nil {
				value = at.UTC().Format(time.RFC3339)
			}
		case "BODY", "BODYSTRUCTURE":
			value = structure(item.Value)
		default:
			if value == "NIL" && strings.Contains(item.Name, "[") {
				// Of a part that does not exist Dovecot says that it is empty.
				value = `""`
			}
		}
		// A header field's name may be quoted.
		out = append(out, strings.ToUpper(strings.ReplaceAll(item.Name, `"`, ""))+" "+value)
	}
	slices.Sort(out)
	return "(" + strings.Join(out, "; ") + ")"
}

// structure writes a body structure; its types and parameter names have no case.
func structure(v imapview.Value) string {
	// What is the default may be said or not.
	return strings.ReplaceAll(strings.ToLower(show(v, false)), `("charset" "us-ascii")`, "nil")
}

// show writes a value; a string is one however it was sent.
func show(v imapview.Value, sorted bool) string {
	switch v.Quote {
	case '(':
		var parts []string
		for _, sub := range v.List {
			parts = append(parts, show(sub, false))
		}
		if sorted {
			slices.Sort(parts)
		}
		return "(" + strings.Join(parts, " ") + ")"
	case 0:
		return v.Text
	}
	return fmt.Sprintf("%q", v.Text)
}

// crlf makes every line of a message end in CRLF.
func crlf(message []byte) []byte {
	message = bytes.ReplaceAll(message, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(message, []byte("\n"), []byte("\r\n"))
}
