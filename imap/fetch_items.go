package imap

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

// maxFetchItems bounds the different items of one FETCH.
const maxFetchItems = 100

// itemKind is what a FETCH item gives.
type itemKind uint8

const (
	itemFlags itemKind = iota
	itemUID
	itemInternalDate
	itemSize
	itemModSeq
	itemEmailID
	itemThreadID
	itemSaveDate
	itemAnnotation // of which the index says whether there is anything; see annotate.go
	// All of the above are in the mailbox's index, the following are not.
	itemEnvelope
	itemBody
	itemBodyStructure
	itemPreview
	itemSection    // BODY[…] and the RFC822 items
	itemBinary     // BINARY[…]
	itemBinarySize // BINARY.SIZE[…]
)

// fetchItem is one item of a FETCH.
type fetchItem struct {
	kind    itemKind
	label   string // its name in the response, with a space behind it
	section message.Section
	partial bool  // only count bytes from offset on
	offset  int64 // in bytes
	count   int64 // in bytes, at least 1
	seen    bool  // asking for it sets \Seen
	kept    bool  // header fields that summaries keep
	// annotation is what ANNOTATION asks for; nil for all others.
	annotation *annotationItem
}

// plainItem is a row of the table of items that are only a name.
type plainItem struct {
	name    string
	as      string // what the response calls it; "" for name
	kind    itemKind
	section message.SectionKind
	seen    bool
}

// plainItems is the table of items that are only a name (RFC 3501, 6.4.5; RFC
// 7162, 3.1.4.2; RFC 8474, 5; RFC 8514, 4; RFC 8970, 3).
var plainItems = []plainItem{
	{name: "FLAGS", kind: itemFlags},
	{name: "UID", kind: itemUID},
	{name: "INTERNALDATE", kind: itemInternalDate},
	{name: "RFC822.SIZE", kind: itemSize},
	{name: "MODSEQ", kind: itemModSeq},
	{name: "EMAILID", kind: itemEmailID},
	{name: "THREADID", kind: itemThreadID},
	{name: "SAVEDATE", kind: itemSaveDate},
	{name: "ENVELOPE", kind: itemEnvelope},
	{name: "BODY", kind: itemBody},
	{name: "BODYSTRUCTURE", kind: itemBodyStructure},
	{name: "PREVIEW", kind: itemPreview},
	{name: "RFC822", kind: itemSection, section: message.Whole, seen: true},
	{name: "RFC822.HEADER", kind: itemSection, section: message.Header},
	{name: "RFC822.TEXT", kind: itemSection, section: message.Text, seen: true},
	// Outlook asks for these two of IMAP4's first edition (RFC 2062; docs/compatibility.md).
	{name: "RFC822.PEEK", as: "RFC822", kind: itemSection, section: message.Whole},
	{name: "RFC822.TEXT.PEEK", as: "RFC822.TEXT", kind: itemSection, section: message.Text},
}

// fetchMacros are names for lists of items; they stand alone (RFC 3501, 6.4.5).
var fetchMacros = []struct {
	name  string
	items []string
}{
	{"ALL", []string{"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"}},
	{"FAST", []string{"FLAGS", "INTERNALDATE", "RFC822.SIZE"}},
	{"FULL", []string{"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"}},
}

// fetch is a FETCH as the client wrote it.
type fetch struct {
	set   wire.SeqSet
	items []fetchItem

	changed  bool        // CHANGEDSINCE was given
	since    mail.ModSeq // of CHANGEDSINCE
	vanished bool        // VANISHED was given
	partial  partialRange

	entries      int     // of annotations, that were named
	patternBytes int     // of those that are patterns
	parts        [][]int // of which annotations are named
}

// has tells whether an item of this kind is asked for.
func (f *fetch) has(k itemKind) bool {
	for i := range f.items {
		if f.items[i].kind == k {
			return true
		}
	}
	return false
}

// setsSeen tells whether an item sets \Seen.
func (f *fetch) setsSeen() bool {
	for i := range f.items {
		if f.items[i].seen {
			return true
		}
	}
	return false
}

// readsSummary tells whether an item needs more than the mailbox's index.
func (f *fetch) readsSummary() bool {
	for i := range f.items {
		if f.items[i].kind >= itemEnvelope {
			return true
		}
	}
	return false
}

// find gives the place of an item that asks for just the same, or -1. The same label does
// not suffice: BODY[]<0.10> and BODY[]<0.20> both answer as BODY[]<0>.
func (f *fetch) find(item *fetchItem) int {
	return slices.IndexFunc(f.items, func(g fetchItem) bool {
		return g.label == item.label && g.count == item.count && g.annotation == item.annotation
	})
}

// add puts an item into the list unless it is there.
func (f *fetch) add(d *wire.Decoder, item fetchItem) {
	if i := f.find(&item); i >= 0 {
		f.items[i].seen = f.items[i].seen || item.seen
		return
	}
	if len(f.items) == maxFetchItems {
		d.Fail(mail.Errorf(mail.KindLimit, "At most %d items can be fetched at once.", maxFetchItems))
		return
	}
	f.items = append(f.items, item)
}

// addNamed puts the item called name into the list, or says that there is none.
func (f *fetch) addNamed(d *wire.Decoder, name string) bool {
	for i := range plainItems {
		if p := &plainItems[i]; p.name == name {
			label := p.as
			if label == "" {
				label = p.name
			}
			f.add(d, fetchItem{kind: p.kind, label: label + " ", section: message.Section{Kind: p.section}, seen: p.seen})
			return true
		}
	}
	return false
}

// readFetch reads the arguments of FETCH and UID FETCH.
//
//	fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" /
//	        fetch-att / "(" fetch-att *(SP fetch-att) ")") [fetch-modifiers]
//	fetch-modifiers = SP "(" fetch-modifier *(SP fetch-modifier) ")"
//	fetch-modifier = "CHANGEDSINCE" SP mod-sequence-value / "VANISHED" /
//	                 "PARTIAL" SP partial-range
func readFetch(d *wire.Decoder) (*fetch, error) {
	f := &fetch{}
	d.SP()
	f.set = d.SequenceSet()
	d.SP()
	preview := false // the only item is PREVIEW: a list behind it may be its own
	if d.Peek() == '(' {
		f.readItems(d)
	} else {
		name := string(d.Item())
		preview = name == "PREVIEW"
		macro := false
		for _, m := range fetchMacros {
			if m.name == name {
				macro = true
				for _, item := range m.items {
					f.addNamed(d, item)
				}
			}
		}
		if !macro {
			f.readItem(d, name)
		}
	}
	if d.TrySP() {
		lazy, some := false, false
		d.List(func() { lazy, some = f.readModifier(d, preview) || lazy, true })
		if lazy && d.TrySP() {
			some = false
			d.List(func() { f.readModifier(d, false); some = true })
		}
		if !some {
			d.Bad("expected a modifier")
		}
	}
	if f.changed {
		f.addNamed(d, "MODSEQ")
	}
	d.End()
	return f, d.Err()
}

// readItems reads a list of fetch-att.
func (f *fetch) readItems(d *wire.Decoder) {
	d.Open()
	for d.Err() == nil {
		name := string(d.Item())
		f.readItem(d, name)
		if !d.TrySP() {
			break
		}
		if name == "PREVIEW" && d.Peek() == '(' {
			lazy := false
			d.List(func() {
				if lazy = isLazy(d.Word()); !lazy {
					d.Bad("unknown modifier of PREVIEW")
				}
			})
			if !lazy {
				d.Bad("expected a modifier")
			}
			if !d.TrySP() {
				break
			}
		}
	}
	d.Close()
}

// isLazy tells whether word is LAZY, the modifier of PREVIEW that asks for no more
// than what is at hand (RFC 8970, 4). Here that is all.
func isLazy(word []byte) bool { return string(word) == "LAZY" }

// readModifier reads a fetch-modifier, or with preview a preview-mod, of which it
// tells.
func (f *fetch) readModifier(d *wire.Decoder, preview bool) (lazy bool) {
	switch word := d.Word(); {
	case preview && isLazy(word):
		return true
	case string(word) == "CHANGEDSINCE":
		d.SP()
		f.changed, f.since = true, d.ModSeq()
	case string(word) == "VANISHED":
		f.vanished = true
	case string(word) == "PARTIAL":
		if f.partial.given() {
			d.Bad("PARTIAL is given twice")
		}
		f.partial = readPartial(d)
	default:
		d.Bad("unknown modifier of FETCH")
	}
	return false
}

// readItem reads what follows the name of a fetch-att.
//
//	fetch-att = "ENVELOPE" / … / "BODY" section ["<" number "." nz-number ">"] /
//	            "BODY.PEEK" section ["<" number "." nz-number ">"] /
//	            "BINARY" [".PEEK"] section-binary [partial] /
//	            "BINARY.SIZE" section-binary /
//	            "PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"] /
//	            "ANNOTATION" SP "(" entries SP attribs ")"
func (f *fetch) readItem(d *wire.Decoder, name string) {
	if name == "ANNOTATION" {
		f.readAnnotationItem(d)
		return
	}
	if d.Peek() != '[' {
		if d.Err() == nil && !f.addNamed(d, name) {
			d.Bad("unknown item of FETCH")
		}
		return
	}
	item := fetchItem{kind: itemSection}
	label := "BODY"
	switch name {
	case "BODY":
		item.seen = true
	case "BODY.PEEK":
	case "BINARY":
		item.kind, item.seen, label = itemBinary, true, "BINARY"
	case "BINARY.PEEK":
		item.kind, label = itemBinary, "BINARY"
	case "BINARY.SIZE":
		item.kind, label = itemBinarySize, "BINARY.SIZE"
	default:
		d.Bad("this item of FETCH has no sections")
		return
	}
	item.section = readSection(d, item.kind == itemSection)
	label += sectionText(item.section)
	if d.Peek() == '<' && item.kind != itemBinarySize {
		item.readCut(d)
		label += "<" + strconv.FormatInt(item.offset, 10) + ">"
	}
	if d.Err() != nil {
		return
	}
	item.label = label + " "
	item.kept = item.section.Kind == message.HeaderFields && len(item.section.Path) == 0 &&
		!slices.ContainsFunc(item.section.Names, func(name string) bool { return !message.Kept(name) })
	f.add(d, item)
}

// readCut consumes which bytes are wanted (RFC 9051, 9 partial).
//
//	partial = "<" number64 "." nz-number64 ">"
func (item *fetchItem) readCut(d *wire.Decoder) {
	d.Byte('<')
	item.partial = true
	item.offset = d.Number64()
	d.Byte('.')
	item.count = d.NZNumber64()
	d.Byte('>')
}

// maxSectionDepth bounds the numbers in a section: deeper than any part is.
const maxSectionDepth = 110

// readSection reads a section, or with texts false only its numbers.
//
//	section = "[" [section-spec] "]"
//	section-spec = section-msgtext / (section-part ["." section-text])
//	section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"
//	section-text = section-msgtext / "MIME"
//	section-binary = "[" [section-part] "]"
func readSection(d *wire.Decoder, texts bool) (sec message.Section) {
	d.Byte('[')
	for dot := false; d.Err() == nil; {
		if c := d.Peek(); c >= '0' && c <= '9' {
			if len(sec.Path) == maxSectionDepth {
				d.Bad("the section has too many numbers")
				return sec
			}
			n := d.NZNumber()
			if n > 1<<30 {
				n = 1 << 30 // no part has it, and it is an int everywhere
			}
			sec.Path = append(sec.Path, int(n))
			if dot = d.TryByte('.'); dot {
				continue
			}
			break
		}
		if d.Peek() == ']' && !dot {
			break
		}
		if !texts {
			d.Bad("expected a part number")
			return sec
		}
		readSectionText(d, &sec)
		break
	}
	d.Byte(']')
	return sec
}

// readSectionText reads a section-text.
func readSectionText(d *wire.Decoder, sec *message.Section) {
	switch name := string(d.Word()); name {
	case "HEADER":
		sec.Kind = message.Header
	case "TEXT":
		sec.Kind = message.Text
	case "MIME":
		if sec.Kind = message.MIME; len(sec.Path) == 0 {
			d.Bad("MIME needs a part number")
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		sec.Kind = message.HeaderFields
		if name == "HEADER.FIELDS.NOT" {
			sec.Kind = message.HeaderFieldsNot
		}
		d.SP()
		d.List(func() { sec.Names = append(sec.Names, d.AString()) })
		if len(sec.Names) == 0 {
			d.Bad("expected the name of a header field")
		}
	default:
		d.Bad("unknown section")
	}
}

// sectionText gives a section as the response names it, in brackets.
func sectionText(sec message.Section) string {
	var b bytes.Buffer
	e := wire.NewEncoder(&b)
	e.Const("[")
	for i, n := range sec.Path {
		if i > 0 {
			e.Const(".")
		}
		e.Number(uint64(n))
	}
	if len(sec.Path) > 0 && sec.Kind != message.Whole {
		e.Const(".")
	}
	switch sec.Kind {
	case message.Header:
		e.Const("HEADER")
	case message.Text:
		e.Const("TEXT")
	case message.MIME:
		e.Const("MIME")
	case message.HeaderFields:
		e.Const("HEADER.FIELDS ")
	case message.HeaderFieldsNot:
		e.Const("HEADER.FIELDS.NOT ")
	}
	for i, name := range sec.Names {
		if i == 0 {
			e.Open()
		} else {
			e.SP()
		}
		e.AString(name)
	}
	if len(sec.Names) > 0 {
		e.Close()
	}
	e.Const("]")
	e.Flush()
	return b.String()
}
