package message

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
	"testing"

	gomessage "github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset"
	gomail "github.com/emersion/go-message/mail"
	"github.com/jhillyerd/enmime/v2"
	"pgregory.net/rapid"
)

// generated is a part of a well-formed message, with what must be read of it.
type generated struct {
	mediaType string
	filename  string
	content   string // decoded, in UTF-8 when it is text
	children  []*generated
}

var contents = rapid.SampledFrom([]string{"", "hi", "hello\r\nworld\r\n", "Grüße, señor", "日本語のテキスト\r\n", "a=b  \r\n--not a boundary\r\n.\r\nFrom here", strings.Repeat("long line ", 40)})
var fileNames = rapid.SampledFrom([]string{"", "a.txt", "a b;c.pdf", "Müller.png", "日本.doc", "qu\"ote\\.x", strings.Repeat("länge", 30) + ".bin"})
var subjects = rapid.SampledFrom([]string{"plain", "Grüße aus München", "日本語の件名です", "mixed ASCII and Ünïcödé words", strings.Repeat("very long süßject ", 12) + "end"})

var people = rapid.SampledFrom([]string{"a@example.org", "<b@example.org>", "Carol <c@example.org>", "Dora D. Dean <d.d@example.org>",
	"\"E, \\\"e\\\"\" <e@example.org>", "=?utf-8?q?F=C3=BCr?= =?utf-8?q?_x?= <f+x@example.org>", "\"g g\"@example.org", "H (comment) <h@[192.0.2.1]>"})

// generate writes a random part and gives what it is.
func generate(rt *rapid.T, w *strings.Builder, depth int, id *int) *generated {
	g := &generated{}
	if depth < 4 && rapid.IntRange(0, 2).Draw(rt, "branch") > 0 {
		*id++
		// Boundaries that begin one another, and end in what looks like a close.
		boundary := fmt.Sprintf("b%s=_%d", strings.Repeat("x", depth), *id) + strings.Repeat("-", rapid.IntRange(0, 1).Draw(rt, "dash"))
		g.mediaType = "multipart/" + rapid.SampledFrom([]string{"mixed", "alternative", "related"}).Draw(rt, "multi")
		fmt.Fprintf(w, "Content-Type: %s;\r\n boundary=\"%s\"\r\n\r\n", g.mediaType, boundary)
		if rapid.Bool().Draw(rt, "preamble") {
			w.WriteString("This is a preamble.\r\n--like a boundary\r\n")
		}
		for range rapid.IntRange(1, 3).Draw(rt, "children") {
			fmt.Fprintf(w, "--%s\r\n", boundary)
			g.children = append(g.children, generate(rt, w, depth+1, id))
			w.WriteString("\r\n")
		}
		fmt.Fprintf(w, "--%s--\r\n", boundary)
		if rapid.Bool().Draw(rt, "epilogue") {
			w.WriteString("epilogue\r\n")
		}
		return g
	}
	g.mediaType = rapid.SampledFrom([]string{"text/plain", "text/html", "application/octet-stream", "image/png"}).Draw(rt, "type")
	g.content = contents.Draw(rt, "content")
	g.filename = fileNames.Draw(rt, "filename")
	params := map[string]string{}
	bytes := []byte(g.content)
	if strings.HasPrefix(g.mediaType, "text/") {
		params["charset"] = "utf-8"
		if latin, err := latin1(g.content); err == nil && rapid.Bool().Draw(rt, "latin") {
			params["charset"], bytes = "iso-8859-1", latin
		}
	}
	fmt.Fprintf(w, "Content-Type: %s\r\n", mime.FormatMediaType(g.mediaType, params))
	if g.filename != "" {
		fmt.Fprintf(w, "Content-Disposition: attachment;\r\n %s\r\n", disposition(rt, g.filename))
	}
	switch rapid.SampledFrom([]string{"base64", "quoted-printable", "8bit"}).Draw(rt, "encoding") {
	case "base64":
		w.WriteString("Content-Transfer-Encoding: base64\r\n\r\n")
		s := base64.StdEncoding.EncodeToString(bytes)
		for ; len(s) > 76; s = s[76:] {
			w.WriteString(s[:76] + "\r\n")
		}
		w.WriteString(s)
	case "quoted-printable":
		w.WriteString("Content-Transfer-Encoding: Quoted-Printable\r\n\r\n")
		q := quotedprintable.NewWriter(w)
		q.Write(bytes)
		q.Close()
	default:
		w.WriteString("Content-Transfer-Encoding: 8bit\r\n\r\n")
		w.Write(bytes)
	}
	return g
}

func latin1(s string) ([]byte, error) {
	var b []byte
	for _, r := range s {
		if r > 0xff {
			return nil, fmt.Errorf("not latin-1")
		}
		b = append(b, byte(r))
	}
	return b, nil
}

// disposition writes the filename in one of the forms that are well formed.
func disposition(rt *rapid.T, name string) string {
	ascii := isASCII([]byte(name))
	if ascii && !strings.ContainsAny(name, `"\`) {
		return `filename="` + name + `"`
	}
	encoded := "utf-8''" + string(appendPercent(nil, []byte(name)))
	if len(encoded) < 60 && rapid.Bool().Draw(rt, "one piece") {
		return "filename*=" + encoded
	}
	var pieces []string
	for n := 0; len(encoded) > 0; n++ {
		cut := min(len(encoded), 50)
		for cut < len(encoded) && cut > 2 && (encoded[cut-1] == '%' || encoded[cut-2] == '%') {
			cut++
		}
		cut = min(cut, len(encoded))
		pieces = append(pieces, fmt.Sprintf("filename*%d*=%s", n, encoded[:cut]))
		encoded = encoded[cut:]
	}
	return strings.Join(pieces, ";\r\n ")
}

func generateMessage(rt *rapid.T) (raw []byte, g *generated, subject string) {
	var w strings.Builder
	subject = subjects.Draw(rt, "subject")
	word := rapid.SampledFrom([]mime.WordEncoder{mime.QEncoding, mime.BEncoding}).Draw(rt, "word")
	fmt.Fprintf(&w, "From: %s <anna@example.org>\r\nTo: bob@example.net, \"Carol, C.\" <carol@example.net>\r\n", word.Encode("utf-8", "Anna Müller"))
	if people := rapid.SliceOfN(people, 0, 5).Draw(rt, "cc"); len(people) > 0 {
		fmt.Fprintf(&w, "Cc: %s\r\n", strings.Join(people, rapid.SampledFrom([]string{",", ", ", ",\r\n ", " ,\t"}).Draw(rt, "comma")))
	}
	fmt.Fprintf(&w, "Subject: %s\r\n", strings.ReplaceAll(word.Encode("utf-8", subject), "?= =?", "?=\r\n =?"))
	w.WriteString("Date: Mon, 6 Jan 2025 10:11:12 +0100\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n")
	id := 0
	g = generate(rt, &w, 1, &id)
	return []byte(w.String()), g, subject
}

// TestOracles compares what this package, go-message and enmime read of
// well-formed messages with what was written.
func TestOracles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		raw, g, subject := generateMessage(rt)
		m := Parse(raw, DefaultLimits)
		s := m.Summary()
		check(t, raw, m, s)
		header, _ := s.KeptHeader()
		for v := range DecodedField(header, "subject") {
			if v != subject {
				rt.Fatalf("subject %q, not %q", v, subject)
			}
		}
		e, err := gomessage.Read(bytes.NewReader(raw))
		if err != nil {
			rt.Fatal(err)
		}
		h := gomail.Header{Header: e.Header}
		for name, want := range map[string]string{"Subject": must(h.Subject()), "Message-ID": "<" + must(h.MessageID()) + ">"} {
			for v := range DecodedField(raw, name) {
				if v != want {
					rt.Fatalf("%s %q, go-message reads %q", name, v, want)
				}
			}
		}
		for i, name := range []string{"From", "To", "Cc"} {
			want, err := h.AddressList(name)
			if err != nil {
				rt.Fatal(err)
			}
			list, _ := readValue(s.Envelope())
			field := list.([]any)[[]int{2, 5, 6}[i]]
			got, _ := field.([]any)
			if len(got) != len(want) {
				rt.Fatalf("%s is %v, go-message reads %v", name, got, want)
			}
			for i, w := range want {
				a := got[i].([]any)
				personal, _ := a[0].(string)
				if decodeWords(personal) != w.Name || a[2].(string)+"@"+a[3].(string) != w.Address {
					rt.Fatalf("%s is %q, go-message reads %v", name, a, w)
				}
			}
		}
		date, err := h.Date()
		if sent, ok := s.Sent(); err != nil || !ok || !sent.Equal(date) {
			rt.Fatalf("sent %v, go-message reads %v %v", sent, date, err)
		}
		root, err := enmime.ReadParts(bytes.NewReader(raw))
		if err != nil {
			rt.Fatal(err)
		}
		var path []int
		if len(g.children) == 0 {
			path = []int{1}
		}
		compare(rt, raw, s, g, e, root, path)
	})
}

func must(s string, err error) string { return s }

func compare(rt *rapid.T, raw []byte, s Summary, g *generated, e *gomessage.Entity, part *enmime.Part, path []int) {
	gotType, _, _ := e.Header.ContentType()
	if len(g.children) > 0 {
		if len(path) > 0 {
			if p, ok := s.Part(path); !ok || p.Type != g.mediaType {
				rt.Fatalf("%v is %+v, not %s", path, p, g.mediaType)
			}
		}
		r := e.MultipartReader()
		if r == nil || gotType != g.mediaType {
			rt.Fatalf("%v: go-message reads %s", path, gotType)
		}
		child := part.FirstChild
		for i, c := range g.children {
			sub, err := r.NextPart()
			if err != nil || child == nil {
				rt.Fatalf("%v: %v %v", path, err, child)
			}
			compare(rt, raw, s, c, sub, child, append(path[:len(path):len(path)], i+1))
			child = child.NextSibling
		}
		if _, ok := s.Part(append(path[:len(path):len(path)], len(g.children)+1)); ok || child != nil {
			rt.Fatalf("%v has too many parts", path)
		}
		return
	}
	p, ok := s.Part(path)
	if !ok || p.Type != g.mediaType || p.Filename != cut(g.filename) {
		rt.Fatalf("%v is %+v, not %s %q", path, p, g.mediaType, g.filename)
	}
	r, err := Decode(p.Encoding, bytes.NewReader(raw[p.Body.Start:p.Body.End]))
	if err != nil {
		rt.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		rt.Fatal(err)
	}
	text := string(b)
	if p.Charset != "" {
		if text, err = ConvertCharset(p.Charset, b); err != nil {
			rt.Fatal(err)
		}
	}
	if text != g.content {
		rt.Fatalf("%v holds %q, not %q", path, text, g.content)
	}
	if b, err := io.ReadAll(e.Body); err != nil || string(b) != g.content {
		rt.Fatalf("%v: go-message reads %q, %v, not %q", path, b, err, g.content)
	}
	if got := part.FileName; got != g.filename {
		rt.Fatalf("%v: enmime reads the name %q, not %q", path, got, g.filename)
	}
	if part.ContentType != g.mediaType {
		rt.Fatalf("%v: enmime reads %s", path, part.ContentType)
	}
	if got := string(part.Content); strings.TrimRight(got, "\r\n") != strings.TrimRight(g.content, "\r\n") {
		rt.Fatalf("%v: enmime reads %q, not %q", path, got, g.content)
	}
}

func cut(s string) string { return string(cutUTF8([]byte(s), maxRecorded)) }
