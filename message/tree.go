package message

import (
	"bytes"
	"strings"
)

// Message is a message that was read. It holds on to the bytes, which must not
// change while it is used.
type Message struct {
	raw     []byte
	parts   []part // in order of appearance, a part before what it contains
	kept    []byte // kept fields of the message's own header
	keptAll bool   // kept holds all of them
	lines   int    // line feeds in raw
	// global: BODYSTRUCTURE gives message/global an envelope; see ShowGlobal.
	global bool
	work   int // bytes that the tree's reader looked at, for the test of linearity
}

type partKind uint8

const (
	leaf      partKind = iota
	multipart          // contains parts
	nested             // message/rfc822 or message/global: contains one message
	opaque             // beyond a limit
)

type span struct{ start, end int }

// part is one part, or a message: the whole one or that of a message/rfc822.
type part struct {
	headerStart, bodyStart, bodyEnd int

	lines    int // line feeds in the body
	next     int // index in parts after the last one that this contains
	kind     partKind
	repeated bool // a To, Cc or Bcc field occurs more than once
	digest   bool // its parts are messages when they do not say otherwise
	// mediaType and subtype are as received, or the default; charset is the
	// parameter, nil when there is none.
	mediaType, subtype, charset []byte
	fields                      [numSlots]span // values of the first field of each name
}

// field gives the value of a field, as it stands, and whether there is one.
func (m *Message) field(p *part, s slot) ([]byte, bool) {
	f := p.fields[s]
	return m.raw[f.start:f.end], f.end > 0
}

type reader struct {
	*Message
	lim        Limits
	headerLeft int
	pos        int
	bounds     boundaries
	// hit is the level of the boundary line before pos, which starts at hitStart,
	// -1 at the end of the message; closing tells its form; contentEnd is where
	// what stood before it ends.
	hit        int
	hitStart   int
	closing    bool
	contentEnd int

	counted, lineCount int // line feeds in raw[:counted]
	params             []param
}

// Parse reads a message. It takes time and memory linear in raw, and never fails.
// The Message refers to raw.
func Parse(raw []byte, lim Limits) *Message {
	m := &Message{raw: raw, keptAll: true, parts: make([]part, 0, 1)}
	r := reader{Message: m, lim: lim, headerLeft: lim.TotalHeaderBytes, hit: -1}
	r.part(1, false, true)
	m.lines = r.linesTo(len(raw))
	m.work = r.work + r.bounds.tried
	return m
}

// linesTo counts the line feeds before off. It is called with offsets that never
// descend, so that every byte is counted once.
func (r *reader) linesTo(off int) int {
	if off > r.counted {
		r.lineCount += bytes.Count(r.raw[r.counted:off], newline)
		r.counted = off
	}
	return r.lineCount
}

var newline = []byte{'\n'}

// part reads the part at pos and everything in it. When it returns, pos is after
// the boundary line that ended it, which is not one of its own.
func (r *reader) part(depth int, digest, root bool) {
	self := len(r.parts)
	r.parts = append(r.parts, part{headerStart: r.pos})
	full := len(r.parts) >= r.lim.Parts && !root
	complete, ended := false, false
	if !full {
		complete, ended = r.header(&r.parts[self], root)
	}
	p := &r.parts[self]
	p.bodyStart = r.pos
	if ended {
		p.bodyStart = r.contentEnd
	}
	before := r.linesTo(p.bodyStart)
	switch {
	case !complete:
		// The rest of the message, whatever boundaries it has, is this part.
		r.keptAll = r.keptAll && !root // a field may be cut in two
		p.setOpaque()
		r.toEnd()
	case ended:
		r.contentType(p, digest)
		if p.kind == multipart || p.kind == nested {
			r.onlyPart(r.contentEnd)
		}
	default:
		boundary := r.contentType(p, digest)
		if (p.kind == multipart || p.kind == nested) && depth >= r.lim.Depth {
			p.setOpaque()
		}
		switch p.kind {
		case multipart:
			r.multipart(self, depth, boundary)
		case nested:
			r.part(depth+1, false, false)
		default:
			r.toBoundary(r.pos)
		}
	}
	p = &r.parts[self] // the slice may have moved
	p.bodyEnd = max(r.contentEnd, p.bodyStart)
	p.lines = r.linesTo(p.bodyEnd) - before
	p.next = len(r.parts)
}

func (p *part) setOpaque() {
	p.kind = opaque
	p.mediaType, p.subtype, p.charset = []byte("application"), []byte("octet-stream"), nil
}

// multipart reads the parts of the multipart with index self.
func (r *reader) multipart(self, depth int, boundary []byte) {
	start := r.pos
	if len(boundary) == 0 {
		r.toBoundary(start)
		r.onlyPart(start)
		return
	}
	level := len(r.bounds.open)
	digest := r.parts[self].digest
	r.bounds.push(boundary)
	r.toBoundary(start) // the preamble
	if r.hit != level || r.closing {
		// RFC 2046, 5.1.1 wants at least one part: all of the body is it.
		r.onlyPart(start)
	}
	for r.hit == level && !r.closing {
		r.part(depth+1, digest, false)
	}
	own := r.hit == level
	r.bounds.pop()
	if own {
		// The line break of the closing line may be that of the next boundary.
		r.toBoundary(r.hitStart) // the epilogue
	}
}

// onlyPart gives a multipart or message/rfc822 in which none was found its one
// part: text/plain without a header that spans from start to contentEnd.
func (r *reader) onlyPart(start int) {
	end := max(r.contentEnd, start)
	before := r.linesTo(start)
	r.parts = append(r.parts, part{
		headerStart: start, bodyStart: start, bodyEnd: end,
		lines: r.linesTo(end) - before, next: len(r.parts) + 1,
		mediaType: []byte("text"), subtype: []byte("plain"),
	})
}

// toBoundary moves pos, which is at the start of a line, after the next line that
// begins with a boundary of an open multipart, or to the end of the message. The
// line break before a boundary belongs to it (RFC 2046, 5.1.1), but nothing
// before floor.
func (r *reader) toBoundary(floor int) {
	raw := r.raw
	if len(r.bounds.open) == 0 {
		r.toEnd()
		return
	}
	for at, start := r.pos, r.pos; ; {
		if bytes.HasPrefix(raw[at:], dashes) && r.boundaryLine(at) {
			r.work += r.pos - start
			end := at
			if end > floor && raw[end-1] == '\n' {
				end--
				if end > floor && raw[end-1] == '\r' {
					end--
				}
			}
			r.contentEnd = end
			return
		}
		i := bytes.Index(raw[at:], lineDashes)
		if i < 0 {
			r.work += len(raw) - start
			r.toEnd()
			return
		}
		at += i + 1
	}
}

// toEnd moves pos to the end of the message.
func (r *reader) toEnd() {
	r.pos, r.hit, r.contentEnd = len(r.raw), -1, len(r.raw)
}

var dashes, lineDashes = []byte("--"), []byte("\n--")

// boundaryLine tells whether the line at off, which begins with two hyphens, is a
// boundary of an open multipart; if so it sets hit and closing and moves pos after it.
func (r *reader) boundaryLine(off int) bool {
	level, closing := r.bounds.match(r.raw[off+2:])
	if level < 0 {
		return false
	}
	r.hit, r.hitStart, r.closing = level, off, closing
	r.pos = lineEnd(r.raw, off)
	return true
}

// header reads the header block at pos. ended tells that a boundary, not an empty
// line, ended it; complete is false when a limit cut it. Only the message's own
// fields are kept.
func (r *reader) header(p *part, root bool) (complete, ended bool) {
	raw, start := r.raw, r.pos
	limit := min(r.lim.HeaderBytes, r.headerLeft)
	var f field
	open := false
	for r.pos < len(raw) {
		end := lineEnd(raw, r.pos)
		if end-start > limit {
			if r.pos == start {
				// Not even one line fits; the block must still end somewhere.
				r.pos = start + limit
			}
			break
		}
		c := raw[r.pos]
		if isBlank(raw, r.pos, end) {
			r.pos = end
			complete = true
			break
		}
		if c == '-' && len(r.bounds.open) > 0 && bytes.HasPrefix(raw[r.pos:], dashes) {
			if at := r.pos; r.boundaryLine(at) {
				r.contentEnd = at
				complete, ended = true, true
				break
			}
		}
		if (c == ' ' || c == '\t') && open {
			f.end = end
		} else {
			if open {
				r.keep(p, f, root)
			}
			f, open = splitField(raw, r.pos, end), true
		}
		r.pos = end
	}
	if open {
		r.keep(p, f, root)
	}
	if r.pos == len(raw) && !ended {
		complete = true
	}
	stop := r.pos
	if ended {
		stop = r.contentEnd
	}
	r.headerLeft -= stop - start
	r.work += stop - start
	return complete, ended
}

// keep notes a field of part p.
func (r *reader) keep(p *part, f field, root bool) {
	known := lookUpField(r.raw[f.start:f.nameEnd])
	if known == nil {
		return
	}
	if s := known.slot; s < numSlots {
		if p.fields[s].end == 0 {
			p.fields[s] = span{f.value, f.end}
		} else if s == slotTo || s == slotCc || s == slotBcc {
			p.repeated = true
		}
	}
	if !root || !known.kept || !r.keptAll {
		return
	}
	if len(r.kept)+f.end-f.start > MaxKeptBytes {
		r.kept, r.keptAll = nil, false
		return
	}
	if r.kept == nil {
		r.kept = make([]byte, 0, 1024)
	}
	r.kept = append(r.kept, r.raw[f.start:f.end]...)
}

// contentType sets the type of p from its Content-Type field, with the defaults
// of RFC 2045, 5.2 and RFC 2046, 5.1.5, and gives the boundary of a multipart.
func (r *reader) contentType(p *part, digest bool) (boundary []byte) {
	v, ok := r.field(p, slotType)
	var rest []byte
	if ok {
		p.mediaType, p.subtype, rest, ok = mediaType(v)
	}
	if !ok {
		if p.mediaType, p.subtype = []byte("text"), []byte("plain"); digest {
			p.mediaType, p.subtype, p.kind = []byte("message"), []byte("rfc822"), nested
		}
		return nil
	}
	switch {
	case equalFold(p.mediaType, "multipart"):
		p.kind = multipart
		p.digest = equalFold(p.subtype, "digest")
	case equalFold(p.mediaType, "message") && equalFold(p.subtype, "rfc822"):
		p.kind = nested
	case equalFold(p.mediaType, "message") && equalFold(p.subtype, "global"):
		// It may be encoded (RFC 6532, 3.7), and then it is a leaf.
		switch e := r.encoding(p); strings.ToLower(string(e)) {
		case "", "7bit", "8bit", "binary":
			p.kind = nested
		}
	}
	r.params = appendParams(r.params[:0], rest)
	for _, a := range r.params {
		switch {
		case boundary == nil && equalFold(a.name, "boundary"):
			boundary = bytes.TrimRight(a.value, " \t")
		case boundary == nil && equalFold(a.name, "boundary*"):
			boundary = extendedValue(a.value)
		case p.charset == nil && equalFold(a.name, "charset"):
			p.charset = trim(a.value)
		case p.charset == nil && equalFold(a.name, "charset*"):
			p.charset = trim(extendedValue(a.value))
		}
	}
	return boundary
}
