package convert

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

const (
	// maxText is how many bytes a text may have.
	maxText = 4 << 20
	// maxReplacement bounds what stands for a character.
	maxReplacement = 16
)

// plainText gives text in another charset.
func plainText(s Source, to string, v values) (Result, *Fault) {
	if len(s.Data) > maxText {
		return Result{}, TooLarge()
	}
	text, fault := s.text()
	if fault != nil {
		return Result{}, fault
	}
	return encoded(text, to, v)
}

// htmlText gives the text of an HTML document.
func htmlText(s Source, to string, v values) (Result, *Fault) {
	if len(s.Data) > maxText {
		return Result{}, TooLarge()
	}
	if s.Charset == "" {
		s.Charset = message.HTMLCharset(s.Data)
	}
	text, fault := s.text()
	if fault != nil {
		return Result{}, fault
	}
	return encoded(fromHTML(text), to, v)
}

// text gives the source in UTF-8.
func (s Source) text() (string, *Fault) {
	text, err := message.ToUTF8(s.Charset, s.Data)
	if err != nil {
		return "", &Fault{Err: mail.Errorf(mail.KindUnknownCharset, "The charset of that part is not known.")}
	}
	return text, nil
}

// encoded gives text in the charset that is asked for, UTF-8 when none is.
func encoded(text, to string, v values) (Result, *Fault) {
	charset, given := v[Charset]
	if !given {
		charset = "utf-8"
	}
	if len(v[Replacement]) > maxReplacement {
		return Result{}, v.fault(mail.Errorf(mail.KindBadArgument, "A replacement has at most %d bytes.", maxReplacement), Replacement)
	}
	data, err := message.EncodeCharset(charset, text, v[Replacement])
	if err != nil {
		return Result{}, v.fault(err, Charset, Replacement)
	}
	return Result{to, strings.ToLower(charset), data}, nil
}

// fromHTML gives the text that a person reads in a document: paragraphs, lists and rows of
// tables are lines, cells are apart by tabs, images are their alternative text. It reads
// text once, and what it gives is not much longer.
func fromHTML(text string) string {
	z := html.NewTokenizer(strings.NewReader(text))
	var w textWriter
	for {
		switch z.Next() {
		case html.ErrorToken:
			return w.done()
		case html.TextToken:
			if w.skipped == 0 {
				w.text(z.Text())
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, attributes := z.TagName()
			w.start(atom.Lookup(name), z, attributes)
		case html.EndTagToken:
			name, _ := z.TagName()
			w.end(atom.Lookup(name))
		}
	}
}

// textWriter puts lines together.
type textWriter struct {
	out     []byte
	breaks  int  // line breaks that are due before the next text
	space   bool // a blank is due
	cell    bool // a tab is due
	row     bool // the row has a cell
	pre     int  // depth of <pre>
	skipped int  // depth of what is not shown
	lists   []int
}

func (w *textWriter) lines(n int) {
	w.space, w.cell = false, false
	if len(w.out) > 0 {
		w.breaks = max(w.breaks, n)
	}
}

// begin writes what is due before a text.
func (w *textWriter) begin() {
	for ; w.breaks > 0; w.breaks-- {
		w.out = append(w.out, "\r\n"...)
		w.space, w.cell = false, false
	}
	switch {
	case w.cell:
		w.out = append(w.out, '\t')
	case w.space && len(w.out) > 0 && w.out[len(w.out)-1] != '\n':
		w.out = append(w.out, ' ')
	}
	w.space, w.cell = false, false
}

func (w *textWriter) text(s []byte) {
	if w.pre > 0 {
		for len(s) > 0 {
			i := bytes.IndexByte(s, '\n')
			line := s
			if i >= 0 {
				line = s[:i]
			}
			if line = bytes.TrimSuffix(line, []byte("\r")); len(line) > 0 {
				w.begin()
				w.out = append(w.out, line...)
			}
			if i < 0 {
				return
			}
			w.breaks++
			s = s[i+1:]
		}
		return
	}
	for i, word := range bytes.FieldsFunc(s, isBlank) {
		if i > 0 || isBlank(rune(s[0])) {
			w.space = true
		}
		w.begin()
		w.out = append(w.out, word...)
	}
	if len(s) > 0 && isBlank(rune(s[len(s)-1])) {
		w.space = true
	}
}

// isBlank tells the white space of HTML; that which keeps words together is none.
func isBlank(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\f' }

func (w *textWriter) start(a atom.Atom, z *html.Tokenizer, attributes bool) {
	switch a {
	case atom.Script, atom.Style, atom.Title, atom.Template:
		w.skipped++
	case atom.Br:
		if w.breaks < 2 {
			w.breaks++
		}
		w.space, w.cell = false, false
	case atom.Hr:
		w.lines(1)
		w.text([]byte("--------"))
		w.lines(1)
	case atom.Pre:
		w.lines(2)
		w.pre++
	case atom.Ul:
		w.list(-1)
	case atom.Ol:
		w.list(0)
	case atom.Li:
		w.lines(1)
		w.item()
	case atom.Tr:
		w.lines(1)
		w.row = false
	case atom.Td, atom.Th:
		w.cell, w.space = w.row, false
		w.row = true
	case atom.Img:
		if w.skipped == 0 && attributes {
			w.image(z)
		}
	default:
		if n := blockLines[a]; n > 0 {
			w.lines(n)
		}
	}
}

func (w *textWriter) end(a atom.Atom) {
	switch a {
	case atom.Script, atom.Style, atom.Title, atom.Template:
		w.skipped = max(w.skipped-1, 0)
	case atom.Pre:
		w.pre = max(w.pre-1, 0)
		w.lines(2)
	case atom.Ul, atom.Ol:
		w.lists = w.lists[:max(len(w.lists)-1, 0)]
		w.lines(1)
		if len(w.lists) == 0 {
			w.lines(2)
		}
	case atom.Li, atom.Tr:
		w.lines(1)
	default:
		if n := blockLines[a]; n > 0 {
			w.lines(n)
		}
	}
}

// maxLists bounds how deep lists are counted.
const maxLists = 20

func (w *textWriter) list(first int) {
	w.lines(2)
	if len(w.lists) > 0 {
		w.breaks = min(w.breaks, 1)
	}
	if len(w.lists) < maxLists {
		w.lists = append(w.lists, first)
	}
}

// item writes what stands before an item of a list.
func (w *textWriter) item() {
	n := len(w.lists)
	if n == 0 || w.skipped > 0 {
		return
	}
	w.begin()
	w.out = append(w.out, strings.Repeat("  ", n-1)...)
	if at := &w.lists[n-1]; *at < 0 {
		w.out = append(w.out, '*')
	} else {
		*at++
		w.out = append(strconv.AppendInt(w.out, int64(*at), 10), '.')
	}
	w.space = true
}

func (w *textWriter) image(z *html.Tokenizer) {
	for {
		key, value, more := z.TagAttr()
		if string(key) == "alt" && len(value) > 0 {
			w.text(value)
		}
		if !more {
			return
		}
	}
}

// blockLines are how many line breaks stand around elements that are blocks.
var blockLines = map[atom.Atom]int{
	atom.P: 2, atom.H1: 2, atom.H2: 2, atom.H3: 2, atom.H4: 2, atom.H5: 2, atom.H6: 2, atom.Blockquote: 2, atom.Table: 2, atom.Dl: 2,
	atom.Div: 1, atom.Section: 1, atom.Article: 1, atom.Header: 1, atom.Footer: 1, atom.Nav: 1, atom.Main: 1, atom.Aside: 1, atom.Address: 1,
	atom.Figure: 1, atom.Figcaption: 1, atom.Form: 1, atom.Fieldset: 1, atom.Dt: 1, atom.Dd: 1, atom.Center: 1, atom.Caption: 1, atom.Body: 1, atom.Html: 1,
}

// done gives the text, which ends in a line break unless it is empty.
func (w *textWriter) done() string {
	if len(w.out) > 0 {
		w.out = append(w.out, "\r\n"...)
	}
	return string(w.out)
}
