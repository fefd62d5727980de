package imap

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

// ANNOTATE-EXPERIMENT-1 (RFC 5257): named texts that clients keep with messages and with
// their parts. Names of entries and attributes are case-sensitive.

const (
	// maxAnnotations is how many entries, or values, one command may name.
	maxAnnotations = 100
	// maxSortedValue is how many bytes of a value SORT compares.
	maxSortedValue = message.MaxSortText
)

// annotationAttribute is a row of the table of attributes (RFC 5257, 3.2.2).
type annotationAttribute struct {
	name   string // with its suffix
	shared bool
	size   bool // of the value, not the value itself
}

var annotationAttributes = []annotationAttribute{
	{name: "value.priv"}, {name: "value.shared", shared: true},
	{name: "size.priv", size: true}, {name: "size.shared", size: true, shared: true},
}

// attributesOf gives the attributes that a name stands for: without a suffix both.
func attributesOf(name string) (out []annotationAttribute) {
	for _, a := range annotationAttributes {
		if short, _, _ := strings.Cut(a.name, "."); a.name == name || short == name {
			out = append(out, a)
		}
	}
	return out
}

// errAttribute refuses attributes that there are not, or that a command does not take.
const errAttribute = "An annotation has no such attribute here."

// annotationEntry checks the name of an entry, which has no wildcards, and gives the part of
// the message that it is about, nil for the message itself. why says what is wrong.
//
//	entry = astring  ; slash-separated path to entry, MUST NOT contain "*" or "%"
func annotationEntry(name string) (part []int, why string) {
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c >= 0x7f || c == '*' || c == '%' {
			return nil, "The name of an entry has a character that it cannot have."
		}
	}
	switch {
	case !strings.HasPrefix(name, "/"):
		return nil, "The name of an entry begins with /."
	case strings.Contains(name, "//"), strings.HasSuffix(name, "/"):
		return nil, "The name of an entry has no empty part."
	case len(name) > store.MaxAnnotationName:
		return nil, "The name of an entry is too long."
	}
	levels := strings.Split(name[1:], "/")
	if c := name[1]; c >= '0' && c <= '9' {
		for _, digits := range strings.Split(levels[0], ".") {
			n, err := strconv.ParseUint(digits, 10, 32)
			if err != nil || digits[0] == '0' || len(part) == maxSectionDepth {
				return nil, "The name of an entry has a part number that cannot be."
			}
			part = append(part, int(min(n, 1<<30)))
		}
		levels = levels[1:]
	}
	top := ""
	if len(levels) > 0 {
		top = levels[0]
	}
	switch {
	case top == "flags" && part == nil:
		return nil, "The entry /flags is reserved." // RFC 5257, 3.5
	case len(levels) == 0, (top == "vendor" || top == "flags") && len(levels) == 1:
		return nil, "This entry has too few parts to have a value."
	}
	return part, ""
}

// isPartFlag tells whether an entry is one of the flags of a part (RFC 5257, 3.2.1).
func isPartFlag(entry string) bool {
	levels := strings.Split(entry, "/")
	return len(levels) > 2 && levels[2] == "flags" && levels[1][0] >= '0' && levels[1][0] <= '9'
}

// readEntry reads the name of an entry; see annotationEntry.
func readEntry(d *wire.Decoder) (name string, part []int) {
	name = d.AString()
	if d.Err() == nil {
		var why string
		if part, why = annotationEntry(name); why != "" {
			d.Bad(why)
		}
	}
	return name, part
}

// annotating are changes of annotations as the client wrote them.
type annotating struct {
	store.Annotations
	parts [][]int // that the message must have
}

// readAnnotating reads changes of annotations.
//
//	att-annotate = "ANNOTATION" SP "(" entry-att *(SP entry-att) ")"
//	entry-att    = entry SP "(" att-value *(SP att-value) ")"
//	att-value    = attrib SP value
//	attrib       = astring  ; "value.priv" or "value.shared" to be changed
//	value        = nstring / literal8
func readAnnotating(d *wire.Decoder) *annotating {
	a := &annotating{}
	values := 0
	d.List(func() {
		entry, part := readEntry(d)
		if part != nil {
			a.parts = append(a.parts, part)
		}
		d.SP()
		before := values
		d.List(func() {
			if values++; values > maxAnnotations {
				d.Fail(mail.Errorf(mail.KindLimit, "Too many entries are named."))
			}
			list := &a.Private
			switch name := d.AString(); name {
			case "value.priv":
			case "value.shared":
				list = &a.Shared
			case "value":
				d.Bad("An annotation is changed as value.priv or value.shared.")
			case "size", "size.priv", "size.shared":
				d.Bad("The size of an annotation is what its value has.")
			default:
				d.Bad(errAttribute)
			}
			d.SP()
			x := store.Annotation{Entry: entry, Value: readValue(d)}
			switch {
			case d.Err() != nil:
			case slices.ContainsFunc(*list, func(y store.Annotation) bool { return y.Entry == entry }):
				d.Bad("An annotation stands there twice.")
			case isPartFlag(entry) && x.Value != nil && string(x.Value) != "0" && string(x.Value) != "1":
				d.Bad(`The value of a flag is "1", "0" or NIL.`)
			}
			*list = append(*list, x)
		})
		if values == before {
			d.Bad("The name of an attribute is expected.")
		}
	})
	if values == 0 {
		d.Bad("The name of an entry is expected.")
	}
	if d.Err() == nil {
		d.Fail(annotateError(a.Check()))
	}
	return a
}

// readValue reads a value of an annotation or of metadata; nil is NIL.
//
//	value = nstring / literal8
func readValue(d *wire.Decoder) []byte {
	if d.TryWord("NIL") {
		return nil
	}
	return append([]byte{}, d.Binary()...)
}

// writeValue writes what readValue reads.
func writeValue(e *wire.Encoder, value []byte) {
	switch {
	case value == nil:
		e.Nil()
	case bytes.IndexByte(value, 0) >= 0:
		e.Literal8(value)
	default:
		e.String(string(value))
	}
}

// annotateError gives err of a change of annotations with its response code (RFC 5257, 4.5).
func annotateError(err error) error {
	if err != nil {
		switch mail.KindOf(err) {
		case mail.KindTooBig:
			return withCode("ANNOTATE TOOBIG", err)
		case mail.KindLimit:
			return withCode("ANNOTATE TOOMANY", err)
		}
	}
	return err
}

// errNoPart refuses an entry of a part that a message has not (RFC 5257, 3.2.1).
var errNoPart = &wire.SyntaxError{Text: "A message has no such part."}

// lacksPart tells whether a message is without one of parts, as far as its summary tells.
func lacksPart(sum message.Summary, parts [][]int) bool {
	return len(sum.BodyStructure()) > 0 && slices.ContainsFunc(parts, func(path []int) bool {
		_, ok := sum.Locate(message.Section{Path: path})
		return !ok
	})
}

// haveParts gives an error unless each of the messages seqs has all parts.
func (s *session) haveParts(seqs mail.NumSet, parts [][]int) error {
	if len(parts) == 0 {
		return nil
	}
	var ids []mail.EmailID
	var err error
	look := func() {
		err = s.mailbox.Summaries(s.ctx, ids, func(_ int, sum message.Summary) error {
			if lacksPart(sum, parts) {
				return errNoPart
			}
			return nil
		})
		ids = ids[:0]
	}
	s.mailbox.View().EachSeq(seqs, func(_ uint32, m *store.Message) bool {
		if ids = append(ids, m.Email); len(ids) == fetchBatch {
			look()
		}
		return err == nil
	})
	if err == nil && len(ids) > 0 {
		look()
	}
	return err
}

// writeAnnotationsCode writes what annotations the selected mailbox takes (RFC 5257, 4.1).
//
//	ann-size = "NONE" / (("READ-ONLY" / nz-number) [SP "NOPRIVATE"])
func (s *session) writeAnnotationsCode() {
	if s.off("ANNOTATE-EXPERIMENT-1") {
		return
	}
	s.enc.Untagged().Const("OK [ANNOTATIONS ")
	if s.mailbox.ReadOnly() {
		s.enc.Const("READ-ONLY")
	} else {
		s.enc.Number(store.MaxAnnotationValue)
	}
	s.enc.Const("] Annotations.").CRLF()
}

// annotationItem is the FETCH item ANNOTATION.
type annotationItem struct {
	entries    []entryMatch
	attributes []annotationAttribute
}

// entryMatch is an entry that is asked for, or a pattern of entries.
type entryMatch struct {
	name    string
	pattern *wire.Pattern // nil for one entry
}

func (m *entryMatch) matches(entry string) bool {
	if m.pattern == nil {
		return m.name == entry
	}
	return m.pattern.Match(entry)
}

// readEntryMatch reads an entry-match, and gives the part that it is about when it names one.
//
//	entry-match = list-mailbox  ; MAY contain "*" or "%" for use as wild cards
func readEntryMatch(d *wire.Decoder) (m entryMatch, part []int) {
	m.name = d.EntryMatch()
	if d.Err() != nil {
		return m, nil
	}
	if !strings.ContainsAny(m.name, "*%") {
		var why string
		if part, why = annotationEntry(m.name); why != "" {
			d.Bad(why)
		}
		return m, part
	}
	for i := range len(m.name) {
		if c := m.name[i]; c < 0x20 || c >= 0x7f {
			d.Bad("The name of an entry has a character that it cannot have.")
		}
	}
	var err error
	m.pattern, err = wire.Compile(m.name, '/')
	d.Fail(err)
	return m, nil
}

// readAnnotationItem reads what follows the name of the FETCH item.
//
//	fetch-att =/ "ANNOTATION" SP "(" entries SP attribs ")"
//	entries    = entry-match / "(" entry-match *(SP entry-match) ")"
//	attribs    = attrib / "(" attrib *(SP attrib) ")"
func (f *fetch) readAnnotationItem(d *wire.Decoder) {
	item := &annotationItem{}
	entry := func() {
		if f.entries++; f.entries > maxAnnotations {
			d.Fail(mail.Errorf(mail.KindLimit, "Too many entries are named."))
			return
		}
		m, part := readEntryMatch(d)
		if m.pattern != nil {
			if f.patternBytes += len(m.name); f.patternBytes > maxPatternBytes {
				d.Fail(mail.Errorf(mail.KindLimit, "Too many entries are named."))
			}
		}
		item.entries = append(item.entries, m)
		if part != nil {
			f.parts = append(f.parts, part)
		}
	}
	attribute := func() {
		found := attributesOf(d.AString())
		if len(found) == 0 {
			d.Bad(errAttribute)
		}
		for _, a := range found {
			if !slices.Contains(item.attributes, a) {
				item.attributes = append(item.attributes, a)
			}
		}
	}
	oneOrList := func(read func()) {
		if d.Peek() == '(' {
			d.List(read)
		} else {
			read()
		}
	}
	d.SP()
	if !d.Open() {
		return
	}
	oneOrList(entry)
	d.SP()
	oneOrList(attribute)
	d.Close()
	switch {
	case d.Err() != nil:
	case len(item.entries) == 0:
		d.Bad("The name of an entry is expected.")
	case len(item.attributes) == 0:
		d.Bad("The name of an attribute is expected.")
	default:
		f.add(d, fetchItem{kind: itemAnnotation, label: "ANNOTATION ", annotation: item})
	}
}

// asks tells whether the item asks for shared annotations, or for private ones.
func (item *annotationItem) asks(shared bool) bool {
	return slices.ContainsFunc(item.attributes, func(a annotationAttribute) bool { return a.shared == shared })
}

// appendEntries appends the names of the entries that are told of a message: those that are
// asked for by name, and of those that a pattern matches what has one of the values asked for.
func (item *annotationItem) appendEntries(names []string, notes store.Annotations) []string {
	add := func(name string) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i := range item.entries {
		m := &item.entries[i]
		if m.pattern == nil {
			add(m.name)
			continue
		}
		match := func(list []store.Annotation) {
			for _, x := range list {
				if x.Value != nil && m.matches(x.Entry) {
					add(x.Entry)
				}
			}
		}
		if item.asks(false) {
			match(notes.Private)
		}
		if item.asks(true) {
			match(notes.Shared)
		}
	}
	return names
}

// write writes the value of the FETCH item.
//
//	msg-att-dynamic =/ "ANNOTATION" SP ("(" entry-att *(SP entry-att) ")" / "(" entry *(SP entry) ")")
func (item *annotationItem) write(e *wire.Encoder, names []string, notes store.Annotations) {
	e.Open()
	for i, name := range names {
		if i > 0 {
			e.SP()
		}
		e.AString(name).SP().Open()
		for j, a := range item.attributes {
			if j > 0 {
				e.SP()
			}
			e.RawString(a.name).SP()
			value := notes.Of(name, a.shared)
			if a.size {
				value = strconv.AppendInt(nil, int64(len(value)), 10)
			}
			writeValue(e, value)
		}
		e.Close()
	}
	e.Close()
}

// changedAnnotations gives the entries of a message that others changed since the client
// was told of the message as before has it. reader is nil if it did not ask for that.
func (s *session) changedAnnotations(reader *store.AnnotationReader, before *store.Snapshot, m *store.Message) (entries []string) {
	if reader == nil || !m.Annotated {
		return nil
	}
	seq, ok := before.Seq(m.UID)
	if !ok {
		return nil // it is told of as new
	}
	since := before.At(seq).ModSeq
	notes, err := reader.Of(s.ctx, m)
	if err != nil {
		return nil // the next command that asks for them says so
	}
	for _, x := range slices.Concat(notes.Private, notes.Shared) {
		if x.ModSeq > since && x.ModSeq != s.annotated && !slices.Contains(entries, x.Entry) {
			entries = append(entries, x.Entry)
		}
	}
	return entries
}

// writeChange writes the FETCH response that tells of a change by others: of flags, and of
// annotations by the names of their entries alone (RFC 5257, 4.4).
func (s *session) writeChange(seq uint32, m *store.Message, flags bool, entries []string, withUID bool) {
	e := s.enc
	s.beginFetch(seq, m)
	if withUID && !s.uidOnly || s.tellsUID() {
		e.Const("UID ").Number(uint64(m.UID)).SP()
	}
	if flags {
		e.Const("FLAGS ").Flags(m.Flags, s.mailbox.Record().Keywords, s.isRecent(m.UID)).SP()
	}
	e.Const("ANNOTATION (")
	for i, name := range entries {
		if i > 0 {
			e.SP()
		}
		e.AString(name)
	}
	e.Close()
	if s.condstore {
		e.Const(" MODSEQ (").Number(uint64(m.ModSeq)).Close()
	}
	e.Close().CRLF()
}

// noteKey is what the search key ANNOTATION looks at.
type noteKey struct {
	entry           entryMatch
	private, shared bool
	none            bool // that there is no value is looked for
}

// annotationKey reads the search key ANNOTATION (RFC 5257, 4.8). NIL is no string: it finds the
// messages of which no such annotation has a value.
//
//	search-key =/ "ANNOTATION" SP entry-match SP att-search SP value
//	att-search  = "value" / "value.priv" / "value.shared"
func annotationKey(p *searchReader) *searchKey {
	d := p.d
	n := &noteKey{}
	d.SP()
	n.entry, _ = readEntryMatch(d)
	d.SP()
	found := attributesOf(d.AString())
	if len(found) == 0 || found[0].size {
		d.Bad("The attribute is value, value.priv or value.shared.")
	}
	for _, a := range found {
		n.private, n.shared = n.private || !a.shared, n.shared || a.shared
	}
	d.SP()
	value := readValue(d)
	n.none = value == nil
	plain := p.convert(value)
	return &searchKey{op: opAnnotation, note: n, plain: plain, text: message.Fold([]byte{}, plain)}
}

// matchNote compares with the search key ANNOTATION.
func (s *searcher) matchNote(k *searchKey, c *candidate) verdict {
	switch {
	case c.memo != nil && c.memo[k.memo] != unknown:
		return c.memo[k.memo]
	case !c.noted && s.mailbox.Annotated(c.m):
		return unknown
	}
	v := verdictOf(s.hasNote(k, c.notes))
	if c.memo != nil {
		c.memo[k.memo] = v
	}
	return v
}

func (s *searcher) hasNote(k *searchKey, notes store.Annotations) bool {
	has := func(list []store.Annotation) bool {
		return slices.ContainsFunc(list, func(x store.Annotation) bool {
			switch {
			case x.Value == nil || !k.note.entry.matches(x.Entry):
				return false
			case k.note.none:
				return true
			case s.by != nil:
				s.scratch = s.by.key(s.scratch[:0], x.Value)
				return bytes.Contains(s.scratch, k.exact)
			}
			s.scratch = message.Fold(s.scratch[:0], x.Value)
			return bytes.Contains(s.scratch, k.text)
		})
	}
	found := k.note.private && has(notes.Private) || k.note.shared && has(notes.Shared)
	return found != k.note.none
}

// readAnnotation reads what follows the sort key ANNOTATION (RFC 5257, 4.9).
//
//	sort-key =/ "ANNOTATION" SP entry SP att-sort
//	att-sort  = "value.priv" / "value.shared"
func (o *sortOrder) readAnnotation(d *wire.Decoder) {
	d.SP()
	o.entry, _ = readEntry(d)
	d.SP()
	switch d.AString() {
	case "value.priv":
	case "value.shared":
		o.shared = true
	default:
		d.Bad("The attribute is value.priv or value.shared.")
	}
}

// noteReader reads what SORT compares by the sort key ANNOTATION, of messages in their order.
func (s *session) noteReader() func(m *store.Message, o *sortOrder) ([]byte, error) {
	reader := s.mailbox.Annotations()
	return func(m *store.Message, o *sortOrder) ([]byte, error) {
		notes, err := reader.Of(s.ctx, m)
		if mail.KindOf(err) == mail.KindExpunged { // it was found, and has none any more
			err = nil
		}
		return notes.Of(o.entry, o.shared), err
	}
}

// setNotes takes the values of an annotation, as the comparator compares them. A message
// without comes first, as one without a header field.
func (c *sortColumn) setNotes(messages []*store.Message, read func(m *store.Message) ([]byte, error), by *comparator) error {
	c.makeTexts()
	for i, m := range messages {
		start := len(c.texts)
		value, err := read(m)
		if err != nil {
			return err
		}
		c.texts = by.key(c.texts, value[:min(len(value), maxSortedValue)])
		c.endText(i, start)
	}
	return nil
}
