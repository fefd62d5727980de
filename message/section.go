package message

// SectionKind is what of a part a section names (RFC 3501, 6.4.5).
type SectionKind uint8

// The kinds of section.
const (
	// Whole is the part's content, or with an empty path the whole message.
	Whole SectionKind = iota
	// Header is the header block of a message, with its empty line.
	Header
	// HeaderFields is the fields of that block whose names are in Names.
	HeaderFields
	// HeaderFieldsNot is the fields of that block whose names are not in Names.
	HeaderFieldsNot
	// Text is what follows the header block of a message.
	Text
	// MIME is the header block of a part, with its empty line.
	MIME
)

// Section names a piece of a message, such as 2.1.HEADER.
type Section struct {
	Path  []int // part numbers, each at least 1; empty for the message itself
	Kind  SectionKind
	Names []string // of HeaderFields and HeaderFieldsNot
}

// Part is what BINARY needs to know of a part.
type Part struct {
	Type     string // in lower case, such as text/plain
	Encoding string // content transfer encoding in lower case; 7bit when none is given
	Charset  string // as received; empty when none is given
	Filename string // in UTF-8; empty when none is given
	Header   Range  // the part's header block
	Body     Range  // its content, encoded
	Lines    int    // line feeds in Body
}

// Multipart tells whether the part contains parts, so that it has no content of
// its own to decode.
func (p Part) Multipart() bool { return len(p.Type) > 10 && p.Type[:10] == "multipart/" }

// Locate gives where a section lies, or false when there is none: a part that
// does not exist, HEADER or TEXT of a part that is no message/rfc822, MIME of the
// message itself. For HeaderFields and HeaderFieldsNot it gives the header block,
// for FilterFields.
func (s Summary) Locate(sec Section) (Range, bool) {
	t := s.tree()
	if t == nil {
		return Range{}, false
	}
	i := 0 // the message that Header and Text are of
	if len(sec.Path) > 0 {
		p, ok := t.find(sec.Path)
		if !ok {
			return Range{}, false
		}
		r := t.record(p)
		switch sec.Kind {
		case Whole:
			return s.within(r.bodyStart, r.bodyEnd)
		case MIME:
			return s.within(r.headerStart, r.bodyStart)
		}
		if r.kind != nested || p+1 >= t.count() {
			return Range{}, false
		}
		i = p + 1
	}
	r := t.record(i)
	switch sec.Kind {
	case Whole:
		return s.within(r.headerStart, r.bodyEnd)
	case Header, HeaderFields, HeaderFieldsNot:
		return s.within(r.headerStart, r.bodyStart)
	case Text:
		return s.within(r.bodyStart, r.bodyEnd)
	}
	return Range{}, false
}

// within gives a range that lies in the message, whatever the blob says.
func (s Summary) within(start, end int64) (Range, bool) {
	if start < 0 || end < start || end > s.Size() {
		return Range{}, false
	}
	return Range{start, end}, true
}

// Part gives the part that path names. An empty path names the whole message as
// if it were the content of a message/rfc822 part.
func (s Summary) Part(path []int) (Part, bool) {
	t := s.tree()
	if t == nil {
		return Part{}, false
	}
	if len(path) == 0 {
		r := t.record(0)
		return Part{Type: "message/rfc822", Encoding: "binary", Body: Range{r.headerStart, r.bodyEnd}, Lines: s.Lines()}, true
	}
	i, ok := t.find(path)
	if !ok {
		return Part{}, false
	}
	part := t.part(i)
	_, ok = s.within(part.Header.Start, part.Body.End)
	return part, ok && part.Header.End == part.Body.Start
}

// find gives the index of the part that path, which is not empty, names.
func (t tree) find(path []int) (int, bool) {
	outer := 0 // the message or multipart whose parts the next number counts
	for depth, n := range path {
		p := outer
		if t.record(outer).kind == multipart {
			var ok bool
			if p, ok = t.child(outer, n); !ok {
				return 0, false
			}
		} else if n != 1 {
			// A message that is not multipart has one part, its text.
			return 0, false
		}
		if depth == len(path)-1 {
			return p, true
		}
		switch r := t.record(p); {
		case r.kind == nested:
			outer = p + 1
		case r.kind == multipart && p != outer:
			outer = p
		default:
			return 0, false
		}
	}
	return 0, false
}
