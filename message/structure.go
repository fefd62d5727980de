package message

import "bytes"

// ShowGlobal has the summary's body structure give the message in a message/global part
// its envelope and structure, as IMAP4rev2 does (RFC 9051, 7.5.2). For IMAP4rev1 such a
// part is one that is not looked into.
func (m *Message) ShowGlobal() *Message {
	m.global = true
	return m
}

// structure appends the body structure of part i: BODYSTRUCTURE, or with
// !extended the form without extension data, BODY (RFC 3501, 7.4.2).
func (m *Message) structure(o *output, i int, extended bool) {
	p := &m.parts[i]
	o.b = append(o.b, '(')
	if p.kind == multipart {
		for c := i + 1; c < p.next; c = m.parts[c].next {
			m.structure(o, c, extended)
		}
		o.b = append(o.b, ' ')
		o.string(p.subtype)
		if extended {
			o.b = append(o.b, ' ')
			m.typeParams(o, p)
			m.extension(o, p)
		}
		o.b = append(o.b, ')')
		return
	}
	o.string(p.mediaType)
	o.b = append(o.b, ' ')
	o.string(p.subtype)
	o.b = append(o.b, ' ')
	m.typeParams(o, p)
	o.b = append(o.b, ' ')
	m.unstructured(o, p, slotID)
	o.b = append(o.b, ' ')
	m.unstructured(o, p, slotDescription)
	o.b = append(o.b, ' ')
	if e := m.encoding(p); len(e) == 0 {
		o.text(`"7bit"`)
	} else {
		o.string(e)
	}
	o.b = append(o.b, ' ')
	o.number(p.bodyEnd - p.bodyStart)
	switch {
	case p.kind == nested && (m.global || !p.global()):
		o.b = append(o.b, ' ')
		m.envelope(o, i+1)
		o.b = append(o.b, ' ')
		m.structure(o, i+1, extended)
		o.b = append(o.b, ' ')
		o.number(p.lines)
	case equalFold(p.mediaType, "text"):
		o.b = append(o.b, ' ')
		o.number(p.lines)
	}
	if extended {
		o.b = append(o.b, ' ')
		v, ok := m.field(p, slotMD5)
		o.nstring(trim(v), ok)
		m.extension(o, p)
	}
	o.b = append(o.b, ')')
}

// encoding gives a part's content transfer encoding as received, empty when there
// is none.
func (m *Message) encoding(p *part) []byte {
	v, _ := m.field(p, slotEncoding)
	if p.kind == opaque {
		return nil
	}
	v = skipSpace(v)
	e, _ := token(v)
	return e
}

// typeParams appends the parameters of a part's Content-Type. Plain text without
// a charset is in US-ASCII (RFC 2046, 4.1.2).
func (m *Message) typeParams(o *output, p *part) {
	var params []param
	if v, ok := m.field(p, slotType); ok && p.kind != opaque {
		if _, _, rest, ok := mediaType(v); ok {
			params = appendParams(params, rest)
		}
	}
	if p.charset == nil && equalFold(p.mediaType, "text") && equalFold(p.subtype, "plain") {
		params = append(params, param{[]byte("charset"), []byte("us-ascii")})
	}
	o.params(params)
}

// params appends body-fld-param (RFC 3501, 9).
func (o *output) params(params []param) {
	if len(params) == 0 || o.budget <= 0 {
		o.text("NIL")
		return
	}
	o.b = append(o.b, '(')
	for i, p := range params {
		if i > 0 {
			o.b = append(o.b, ' ')
		}
		o.string(p.name)
		o.b = append(o.b, ' ')
		o.string(p.value)
		o.budget -= 8
	}
	o.b = append(o.b, ')')
}

// extension appends disposition, language and location.
func (m *Message) extension(o *output, p *part) {
	o.b = append(o.b, ' ')
	if d, params := m.disposition(p); len(d) > 0 {
		o.b = append(o.b, '(')
		o.string(d)
		o.b = append(o.b, ' ')
		o.params(params)
		o.b = append(o.b, ')')
	} else {
		o.text("NIL")
	}
	o.b = append(o.b, ' ')
	m.languages(o, p)
	o.b = append(o.b, ' ')
	v, ok := m.field(p, slotLocation)
	if bytes.IndexByte(v, '\n') != len(v)-1 {
		v = bytes.Join(bytes.Fields(v), nil) // RFC 2557, 4.4.2: folding does not count
	}
	o.nstring(trim(v), ok)
}

// disposition gives a part's Content-Disposition, empty when there is none
// (RFC 2183).
func (m *Message) disposition(p *part) ([]byte, []param) {
	v, ok := m.field(p, slotDisposition)
	if !ok || p.kind == opaque {
		return nil, nil
	}
	d, rest := token(skipSpace(v))
	if len(d) == 0 {
		return nil, nil
	}
	return d, appendParams(nil, rest)
}

// languages appends the list of Content-Language (RFC 3282), or NIL.
func (m *Message) languages(o *output, p *part) {
	v, _ := m.field(p, slotLanguage)
	start := len(o.b)
	for o.budget > 0 {
		v = skipSpace(v)
		tag, rest := token(v)
		if len(tag) > 0 {
			if len(o.b) == start {
				o.b = append(o.b, '(')
			} else {
				o.b = append(o.b, ' ')
			}
			o.string(tag)
			o.budget -= 8
		}
		i := bytes.IndexByte(rest, ',')
		if i < 0 {
			break
		}
		v = rest[i+1:]
	}
	if len(o.b) == start {
		o.text("NIL")
		return
	}
	o.b = append(o.b, ')')
}
