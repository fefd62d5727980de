package message

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt with what the code gives")

// TestGolden reads testdata/*.eml and compares everything that a client lists
// with the .txt beside it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) < 30 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := describe(t, raw)
		golden := strings.TrimSuffix(file, ".eml") + ".txt"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
		}
	}
}

// describe lists what a summary says, in lines.
func describe(t *testing.T, raw []byte) string {
	t.Helper()
	m := Parse(raw, DefaultLimits)
	s := m.Summary()
	check(t, raw, m, s)
	var b strings.Builder
	show := func(what string, v []byte) {
		v = bytes.ReplaceAll(v, []byte("\r\n"), []byte("␍␊"))
		v = bytes.ReplaceAll(v, []byte("\r"), []byte("␍"))
		v = bytes.ReplaceAll(v, []byte("\n"), []byte("␊"))
		v = bytes.ReplaceAll(v, []byte("\x00"), []byte("␀"))
		v = bytes.ReplaceAll(v, []byte("\t"), []byte("␉"))
		fmt.Fprintf(&b, "%s: %s\n", what, bytes.ToValidUTF8(v, []byte("�")))
	}
	show("ENVELOPE", s.Envelope())
	show("BODYSTRUCTURE", s.BodyStructure())
	show("BODY", s.Body())
	show("PREVIEW", []byte(s.Preview()))
	show("base subject", []byte(s.BaseSubject()))
	if sent, ok := s.Sent(); ok {
		show("sent", []byte(sent.Format(time.RFC3339)))
	}
	show("id", []byte(m.MessageID()))
	if n := s.AttachmentNames(); n != nil {
		show("names", []byte(fmt.Sprintf("%q", n)))
	}
	fmt.Fprintf(&b, "size %d, header %d, lines %d, NUL %t, attachment %t\n", s.Size(), s.HeaderSize(), s.Lines(), s.HasNUL(), s.HasAttachment())
	for _, p := range paths(s) {
		name := strings.Trim(strings.ReplaceAll(fmt.Sprint(p), " ", "."), "[]")
		for k := Whole; k <= MIME; k++ {
			if k == HeaderFields || k == HeaderFieldsNot {
				continue
			}
			suffix := []string{Whole: "", Header: "HEADER", Text: "TEXT", MIME: "MIME"}[k]
			if r, ok := s.Locate(Section{Path: p, Kind: k}); ok && len(p)+int(k) > 0 {
				show("BODY["+strings.Trim(name+"."+suffix, ".")+"]", raw[r.Start:r.End])
			}
		}
	}
	text := m.SearchText()
	show("search header", SearchHeader(text))
	show("search body", SearchBody(text))
	return b.String()
}

// paths lists the paths of the message that name something, the empty one first;
// of a very wide or deep one not all.
func paths(s Summary) [][]int {
	all := [][]int{nil}
	for i := 0; i < len(all) && len(all) < 300; i++ {
		p := all[i]
		for n := 1; n <= 64; n++ {
			q := append(append([]int(nil), p...), n)
			if _, ok := s.Locate(Section{Path: q}); !ok {
				break
			}
			all = append(all, q)
		}
	}
	return all
}

// check holds for every message.
func check(t testing.TB, raw []byte, m *Message, s Summary) {
	t.Helper()
	if err := s.Valid(); err != nil {
		t.Fatal(err)
	}
	for what, v := range map[string][]byte{"ENVELOPE": s.Envelope(), "BODYSTRUCTURE": s.BodyStructure(), "BODY": s.Body()} {
		if rest, err := readList(v); err != "" || len(rest) > 0 {
			t.Fatalf("%s: %s before %q in %q", what, err, rest, v)
		}
	}
	if n := len([]rune(s.Preview())); n > PreviewChars {
		t.Fatalf("preview of %d characters", n)
	}
	header, _ := s.Locate(Section{Kind: Header})
	for _, names := range [][]string{{"Subject", "fRoM"}, {"To", "Cc", "References"}, nil} {
		if got, ok := s.Fields(names); ok && !bytes.Equal(got, filterFields(raw[header.Start:header.End], names, false)) {
			t.Fatalf("Fields(%q) is %q", names, got)
		}
	}
	for _, p := range paths(s) {
		whole, _ := s.Locate(Section{Path: p})
		h, ok := s.Locate(Section{Path: p, Kind: Header})
		text, also := s.Locate(Section{Path: p, Kind: Text})
		if ok != also {
			t.Fatalf("%v has header %t and text %t", p, ok, also)
		}
		if ok && (h.Start != whole.Start || h.End != text.Start || text.End != whole.End) {
			t.Fatalf("%v: header %v and text %v are not whole %v", p, h, text, whole)
		}
		if whole.End > int64(len(raw)) {
			t.Fatalf("%v: %v exceeds the message", p, whole)
		}
		part, ok := s.Part(p)
		if !ok || part.Body != whole && !(len(p) == 0 && part.Body.Len() == int64(len(raw))) {
			t.Fatalf("%v: part %+v, whole %v", p, part, whole)
		}
		if n := bytes.Count(raw[part.Body.Start:part.Body.End], newline); n != part.Lines {
			t.Fatalf("%v has %d lines, not %d", p, n, part.Lines)
		}
		if mime, ok := s.Locate(Section{Path: p, Kind: MIME}); ok && mime.End != whole.Start {
			t.Fatalf("%v: MIME header %v, part %v", p, mime, whole)
		}
		if len(p) > 0 {
			parent, _ := s.Locate(Section{Path: p[:len(p)-1]})
			if whole.Start < parent.Start || whole.End > parent.End {
				t.Fatalf("%v: %v is outside its parent %v", p, whole, parent)
			}
		}
	}
	text := m.SearchText()
	if len(text) > MaxSearchText+4 || len(SearchHeader(text))+len(SearchBody(text))+4 != len(text) {
		t.Fatal("search text", len(text))
	}
}

// readList reads an IMAP value: a list, a string or an atom.
func readList(v []byte) (rest []byte, fault string) {
	if len(v) == 0 {
		return v, "end"
	}
	depth := 0
	for {
		switch {
		case len(v) == 0:
			return v, "end"
		case v[0] == '(':
			depth++
			v = v[1:]
		case v[0] == ')':
			depth--
			v = v[1:]
		case v[0] == '"':
			i := 1
			for i < len(v) && v[i] != '"' {
				if v[i] == '\r' || v[i] == '\n' || v[i] == 0 || v[i] >= 0x80 {
					return v, "bad byte in a quoted string"
				}
				if v[i] == '\\' {
					if i++; i >= len(v) || v[i] != '"' && v[i] != '\\' {
						return v, "bad escape"
					}
				}
				i++
			}
			if i >= len(v) {
				return v, "open string"
			}
			v = v[i+1:]
		case v[0] == '{':
			var n int
			end := bytes.Index(v, []byte("}\r\n"))
			if _, err := fmt.Sscanf(string(v[:end+1]), "{%d}", &n); err != nil || len(v) < end+3+n {
				return v, "bad literal"
			}
			if bytes.IndexByte(v[end+3:end+3+n], 0) >= 0 {
				return v, "NUL in a literal"
			}
			v = v[end+3+n:]
		default:
			i := 0
			for i < len(v) && (v[i] >= '0' && v[i] <= '9' || v[i] >= 'A' && v[i] <= 'Z') {
				i++
			}
			if i == 0 {
				return v, "bad byte"
			}
			v = v[i:]
		}
		if depth == 0 {
			return v, ""
		}
		if depth < 0 {
			return v, "unbalanced"
		}
		if len(v) > 0 && v[0] == ' ' {
			v = v[1:]
		}
	}
}

// readValue reads what readList has accepted: a list is []any, a string string,
// NIL nil, a number its digits.
func readValue(v []byte) (value any, rest []byte) {
	switch v[0] {
	case '(':
		list := []any{}
		for v = v[1:]; v[0] != ')'; {
			if v[0] == ' ' {
				v = v[1:]
			}
			value, v = readValue(v)
			list = append(list, value)
		}
		return list, v[1:]
	case '"':
		var s []byte
		i := 1
		for ; v[i] != '"'; i++ {
			if v[i] == '\\' {
				i++
			}
			s = append(s, v[i])
		}
		return string(s), v[i+1:]
	case '{':
		var n int
		end := bytes.IndexByte(v, '\n') + 1
		fmt.Sscanf(string(v[:end]), "{%d}", &n)
		return string(v[end : end+n]), v[end+n:]
	}
	i := bytes.IndexAny(v, " ()")
	if i < 0 {
		i = len(v)
	}
	if string(v[:i]) == "NIL" {
		return nil, v[i:]
	}
	return string(v[:i]), v[i:]
}
