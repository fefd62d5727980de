package imap

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/convert"
	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

// CONVERT (RFC 5259) gives parts of messages in other forms; package convert makes them.
// Nothing in the mailbox changes, \Seen neither.

const (
	// maxConvertMessages and maxConvertParts are how many messages, and parts of each, one
	// CONVERT may name (RFC 5259, 8.5).
	maxConvertMessages = 20
	maxConvertParts    = 10
	// maxConvertParams bounds the parameters, and maxConvertParam their bytes.
	maxConvertParams = 20
	maxConvertParam  = 200

	// keptConversions is how many results a session keeps for the next command, as clients
	// ask for the size first (RFC 5259, 8.5); keptBytes bounds each.
	keptConversions = 2
	keptBytes       = 512 << 10

	// maxConverting is how many conversions the server does at once, and convertWait how
	// long one waits for its turn.
	maxConverting = 2
	convertWait   = 10 * time.Second
)

// converters lets few conversions run at once: they take a processor each, and memory.
type converters struct {
	once  sync.Once
	turns chan struct{}
}

// enter waits for a turn; false when none comes soon. leave gives it back.
func (c *converters) enter(ctx context.Context) bool {
	c.once.Do(func() { c.turns = make(chan struct{}, maxConverting) })
	ctx, cancel := context.WithTimeout(ctx, convertWait)
	defer cancel()
	select {
	case c.turns <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *converters) leave() { <-c.turns }

// convertKind is what an item of CONVERT gives.
type convertKind uint8

const (
	convertBinary convertKind = iota
	convertSize
	convertStructure
	convertHeader
	convertAvailable
)

// convertItem is one item of a CONVERT.
type convertItem struct {
	kind convertKind
	fetchItem
}

// conversion is a CONVERT as the client wrote it.
type conversion struct {
	set    wire.SeqSet
	target string // in lower case; "" is for the server to choose
	params []convert.Parameter
	items  []convertItem
	uid    bool // UID is asked for
}

// convertItems is the table of items that name a section.
var convertItems = map[string]convertKind{
	"BINARY": convertBinary, "BINARY.SIZE": convertSize, "BODYPARTSTRUCTURE": convertStructure, "BODY": convertHeader,
	"AVAILABLECONVERSIONS": convertAvailable,
}

// readConversion reads the arguments of CONVERT and UID CONVERT.
//
//	convert        = "CONVERT" SP sequence-set SP convert-params SP
//	                 (convert-att / "(" convert-att *(SP convert-att) ")")
//	convert-params = "(" (quoted-to-mime-type / "NIL") [SP "(" transcoding-params ")"] ")"
//	transcoding-params = transcoding-param *(SP transcoding-param)
//	transcoding-param  = astring SP astring
func readConversion(d *wire.Decoder) (*conversion, error) {
	c := &conversion{}
	d.SP()
	c.set = d.SequenceSet()
	d.SP()
	d.Open()
	if text, given := d.NString(); given {
		c.target = strings.ToLower(text)
		if d.Err() == nil && !isMediaType(c.target) {
			d.Bad("A media type such as \"text/plain\" or NIL is expected.")
		}
	}
	if d.TrySP() {
		d.Open()
		for d.Err() == nil {
			p := convert.Parameter{Name: d.AString()}
			d.SP()
			p.Value = d.AString()
			if d.Err() == nil && (p.Name == "" || len(p.Name) > maxConvertParam || len(p.Value) > maxConvertParam || len(c.params) == maxConvertParams) {
				d.Fail(mail.Errorf(mail.KindLimit, "A conversion has at most %d parameters, each of at most %d bytes.", maxConvertParams, maxConvertParam))
			}
			if slices.ContainsFunc(c.params, func(o convert.Parameter) bool { return strings.EqualFold(o.Name, p.Name) }) {
				d.Bad("A parameter stands there twice.")
			}
			c.params = append(c.params, p)
			if !d.TrySP() {
				break
			}
		}
		d.Close()
	}
	d.Close()
	d.SP()
	if d.Peek() == '(' {
		d.Open()
		c.readItem(d)
		for d.TrySP() {
			c.readItem(d)
		}
		d.Close()
	} else {
		c.readItem(d)
	}
	d.End()
	return c, d.Err()
}

// isMediaType tells what a media type can be (RFC 6838, 4.2).
func isMediaType(text string) bool {
	typ, sub, ok := strings.Cut(text, "/")
	name := func(s string) bool {
		return s != "" && len(s) <= 127 && !strings.ContainsFunc(s, func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("!#$&-^_.+", r)
		})
	}
	return ok && name(typ) && name(sub)
}

// readItem consumes a convert-att.
//
//	convert-att = "UID" / "BODYPARTSTRUCTURE" section-convert /
//	              "BINARY" section-convert [partial] / "BINARY.SIZE" section-convert /
//	              "BODY[HEADER]" / "BODY[" section-part ".HEADER]" /
//	              "BODY[" section-part ".MIME]" / "AVAILABLECONVERSIONS" section-convert
func (c *conversion) readItem(d *wire.Decoder) {
	name := string(d.Item())
	if name == "UID" {
		c.uid = true
		return
	}
	kind, known := convertItems[name]
	if d.Err() == nil && (!known || d.Peek() != '[') {
		d.Bad("unknown item of CONVERT")
		return
	}
	item := convertItem{kind: kind}
	item.section = readSection(d, kind == convertHeader)
	label := name + sectionText(item.section)
	if kind == convertBinary && d.Peek() == '<' {
		item.readCut(d)
		label += "<" + strconv.FormatInt(item.offset, 10) + ">"
	}
	if kind == convertHeader && d.Err() == nil {
		switch {
		case item.section.Kind != message.Header && item.section.Kind != message.MIME:
			d.Bad("unknown item of CONVERT")
		case c.target != "" || c.param(convert.Charset) == "":
			d.Bad("BODY needs NIL and the parameter CHARSET.")
		}
	}
	item.label = label + " "
	if d.Err() == nil && len(c.items) == maxFetchItems {
		d.Fail(mail.Errorf(mail.KindLimit, "At most %d items can be fetched at once.", maxFetchItems))
	}
	c.items = append(c.items, item)
}

// param gives the value of a parameter, "" without it.
func (c *conversion) param(name string) string {
	for _, p := range c.params {
		if strings.EqualFold(p.Name, name) {
			return p.Value
		}
	}
	return ""
}

// parts counts the parts that the items name.
func (c *conversion) parts() int {
	paths := map[string]bool{}
	for i := range c.items {
		paths[sectionText(message.Section{Path: c.items[i].section.Path})] = true
	}
	return len(paths)
}

// convert is CONVERT and UID CONVERT (RFC 5259, 6).
func (s *session) convert(r *request) error {
	c, err := readConversion(s.dec)
	if err != nil {
		return err
	}
	if s.uidOnly {
		return mail.Errorf(mail.KindCannot, "CONVERTED needs message sequence numbers, which UIDONLY has switched off.")
	}
	seqs, err := s.seqsOf(c.set, r.uid)
	if err != nil {
		return err
	}
	if seqs.Len() > maxConvertMessages {
		return withCode("MAXCONVERTMESSAGES "+strconv.Itoa(maxConvertMessages), mail.Errorf(mail.KindLimit, "At most %d messages can be converted at once.", maxConvertMessages))
	}
	if c.parts() > maxConvertParts {
		return withCode("MAXCONVERTPARTS "+strconv.Itoa(maxConvertParts), mail.Errorf(mail.KindLimit, "At most %d parts can be converted at once.", maxConvertParts))
	}
	w := &converting{s: s, conversion: c}
	w.uid = w.uid || r.uid
	view := s.mailbox.View()
	view.EachSeq(seqs, func(seq uint32, m *store.Message) bool {
		if m.Gone {
			w.gone = true
			return true
		}
		err = w.convert(seq, m)
		if mail.KindOf(err) == mail.KindExpunged {
			w.gone, err = true, nil
		}
		return err == nil && s.enc.Err() == nil
	})
	switch {
	case err != nil:
		return err
	case w.fault != nil:
		return w.fault
	case w.done > 0:
		return nil // RFC 5259, 9
	case w.gone && !r.uid:
		return errGone
	case w.failed == 0:
		return nil
	case w.busy == w.failed:
		return errBusy
	}
	return mail.Errorf(mail.KindCannot, "Nothing of that could be converted.")
}

// errBusy is said when no conversion could be tried now.
var errBusy = withCode("TEMPFAIL", mail.Errorf(mail.KindUnavailable, "The server converts too much at this moment; please try again later."))

// converting is a CONVERT at work.
type converting struct {
	*conversion
	s *session

	fault  error // of what is kept
	gone   bool  // a message is no longer there
	done   int   // items that were answered with what they ask for
	failed int   // others
	busy   int   // of these, for want of a turn

	// The message under way.
	message *store.Message
	content store.Body
	summary message.Summary
}

// converted is a conversion that a session keeps.
type converted struct {
	email  mail.EmailID
	how    string // section, target and parameters
	result convert.Result
}

// convert answers for one message.
func (w *converting) convert(seq uint32, m *store.Message) error {
	s := w.s
	body, err := s.mailbox.Body(s.ctx, m.Email)
	if err != nil {
		return err
	}
	defer body.Close()
	w.message, w.content = m, body
	if w.summary, err = s.summaryOf(s.mailbox, m, body); err != nil {
		return err
	}
	e := s.enc
	e.Untagged().Number(uint64(seq)).Const(" CONVERTED (TAG ").String(s.request.tag).Const(") (")
	first := true
	if w.uid {
		e.Const("UID ").Number(uint64(m.UID))
		first = false
	}
	for i := range w.items {
		item := &w.items[i]
		if !first {
			e.SP()
		}
		first = false
		e.RawString(item.label)
		w.writeItem(item)
	}
	e.Close().CRLF()
	return e.Err()
}

// writeItem writes what an item asks for, or why it does not.
func (w *converting) writeItem(item *convertItem) {
	e := w.s.enc
	if item.kind == convertHeader {
		w.writeHeader(item)
		return
	}
	part, there := w.summary.Part(item.section.Path)
	target := w.target
	if target == "" {
		target = convert.Default(part.Type)
	}
	if !there {
		w.failed++
		w.writeFault("", cmp.Or(target, "application/octet-stream"), &convert.Fault{Err: mail.Errorf(mail.KindNotFound, "The message has no such part.")})
		return
	}
	if item.kind == convertAvailable {
		types, fault := convert.Targets(part.Type, w.target, w.params)
		if fault != nil {
			w.failed++
			w.writeFault(part.Type, cmp.Or(target, part.Type), fault)
			return
		}
		w.done++
		e.Const("((")
		for i, t := range types {
			if i > 0 {
				e.SP()
			}
			e.String(t)
		}
		e.Const("))")
		return
	}
	result, fault := w.run(item.section.Path, part, cmp.Or(target, part.Type))
	if fault != nil {
		w.failed++
		w.writeFault(part.Type, cmp.Or(target, part.Type), fault)
		return
	}
	w.done++
	switch item.kind {
	case convertSize:
		e.Number(uint64(len(result.Data)))
	case convertStructure:
		b, _ := w.summary.PartStructure(item.section.Path)
		e.Raw(b.Holding(message.Content{
			Type: result.Type, Charset: result.Charset, Encoding: "binary", Size: int64(len(result.Data)), Lines: int64(bytes.Count(result.Data, []byte{'\n'})),
		}))
	default:
		cut := item.cut(message.Range{Start: 0, End: int64(len(result.Data))})
		writeText(e, result.Data[cut.Start:cut.End], bytes.IndexByte(result.Data, 0) >= 0)
	}
}

// run converts a part, unless the session kept it.
func (w *converting) run(path []int, part message.Part, target string) (convert.Result, *convert.Fault) {
	s := w.s
	how := sectionText(message.Section{Path: path}) + target
	for _, p := range w.params {
		how += "\x00" + strings.ToLower(p.Name) + "\x00" + p.Value
	}
	for i, k := range s.converted {
		if k.email == w.message.Email && k.how == how {
			// The one that was used last goes last.
			s.converted = append(slices.Delete(s.converted, i, i+1), k)
			return k.result, nil
		}
	}
	if _, fault := convert.Targets(part.Type, target, w.params); fault != nil {
		return convert.Result{}, fault
	}
	ctx, done := s.conn.Attend(s.ctx)
	turn := s.server.converters.enter(ctx)
	done()
	if !turn {
		w.busy++
		return convert.Result{}, &convert.Fault{Err: errBusy}
	}
	defer s.server.converters.leave()
	r, err := (&piece{span: part.Body, encoding: part.Encoding}).decoder(w.content)
	if err != nil {
		return convert.Result{}, &convert.Fault{Err: err} // an encoding that is not known
	}
	data, err := io.ReadAll(io.LimitReader(r, convert.MaxSource+1))
	if err != nil {
		w.fault = mail.Wrap(mail.KindCorrupt, err)
		return convert.Result{}, &convert.Fault{Err: w.fault}
	}
	result, fault := convert.Run(convert.Source{Type: part.Type, Charset: part.Charset, Data: data}, target, w.params)
	if fault == nil && len(result.Data) <= keptBytes {
		if len(s.converted) == keptConversions {
			s.converted = slices.Delete(s.converted, 0, 1)
		}
		s.converted = append(s.converted, converted{w.message.Email, how, result})
	}
	return result, fault
}

// writeHeader writes a header block in another charset. Of what there is not it writes
// NIL, as FETCH does.
func (w *converting) writeHeader(item *convertItem) {
	var text []byte
	span, ok := w.summary.Locate(item.section)
	if ok = ok && span.Len() <= maxConvertHeader; ok {
		block, err := store.ReadSpan(w.content, span)
		if err != nil {
			w.fault = err
		} else {
			text, err = message.RecodeHeader(block, w.param(convert.Charset), w.param(convert.Replacement))
		}
		ok = err == nil
	}
	if !ok {
		w.failed++
		w.s.enc.Nil()
		return
	}
	w.done++
	if w.summary.HasNUL() {
		replaceNUL(text)
	}
	writeText(w.s.enc, text, false)
}

// maxConvertHeader is how many bytes a header may have of which the charset is converted.
const maxConvertHeader = 1 << 20

// writeFault says why a part is not converted.
//
//	converterror-phrase = "(" "ERROR" SP convert-err-descript SP convert-error-code ")"
//	convert-error-code  = "TEMPFAIL" [SP nz-number] / bad-params
//	bad-params          = "BADPARAMETERS" 1*(SP (quoted-from-mime-type / nil)
//	                      SP mimetype-and-params)
func (w *converting) writeFault(from, to string, f *convert.Fault) {
	e := w.s.enc.Const("(ERROR ").String(w.s.language.sayError(f.Err)).SP()
	if f.Err == errBusy {
		e.Const("TEMPFAIL 1)")
		return
	}
	e.Const("BADPARAMETERS ").NString(from, from != "").SP().String(to)
	for i, p := range f.Parameters {
		if i == 0 {
			e.Const(" (")
		} else {
			e.SP()
		}
		e.String(p.Name).SP().String(p.Value)
	}
	if len(f.Parameters) > 0 {
		e.Close()
	}
	e.Close()
}

// conversions is CONVERSIONS (RFC 5259, 5.1).
//
//	conversions-cmd = "CONVERSIONS" SP from-mime-type-req SP to-mime-type-req
//	mime-type-req   = "*" / (type-name "/" "*") / concrete-mime-type
func (s *session) conversions(*request) error {
	d := s.dec
	d.SP()
	from := s.readMediaPattern()
	d.SP()
	to := s.readMediaPattern()
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	for i := range convert.Table {
		r := &convert.Table[i]
		if !matchesMedia(from, r.From) || !matchesMedia(to, r.To) {
			continue
		}
		e := s.enc.Untagged().Const("CONVERSION ").String(r.From).SP().String(r.To).Const(" (")
		for i, p := range r.Parameters {
			if i > 0 {
				e.SP()
			}
			e.String(p)
		}
		e.Close().CRLF()
	}
	return nil
}

func (s *session) readMediaPattern() string {
	text := strings.ToLower(s.dec.AString())
	plain := text
	if typ, ok := strings.CutSuffix(text, "/*"); ok {
		plain = typ + "/x"
	}
	if s.dec.Err() == nil && text != "*" && !isMediaType(plain) {
		s.dec.Bad("A media type such as \"text/*\" is expected.")
	}
	return text
}

func matchesMedia(pattern, media string) bool {
	typ, wild := strings.CutSuffix(pattern, "*")
	return pattern == media || wild && strings.HasPrefix(media, typ)
}
