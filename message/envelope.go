package message

// envelope appends the ENVELOPE of the message that is part i (RFC 3501, 7.4.2).
func (m *Message) envelope(o *output, i int) {
	p := &m.parts[i]
	o.b = append(o.b, '(')
	m.unstructured(o, p, slotDate)
	o.b = append(o.b, ' ')
	m.unstructured(o, p, slotSubject)
	o.b = append(o.b, ' ')
	start := len(o.b)
	m.addressField(o, p, slotFrom)
	end := len(o.b)
	for _, s := range [...]slot{slotSender, slotReplyTo} {
		o.b = append(o.b, ' ')
		if !m.addressField(o, p, s) {
			// RFC 3501, 7.4.2: they default to From.
			o.b = o.b[:len(o.b)-len("NIL")]
			if o.budget -= end - start; o.budget < 0 {
				o.text("NIL")
			} else {
				o.b = append(o.b, o.b[start:end]...)
			}
		}
	}
	for _, s := range [...]slot{slotTo, slotCc, slotBcc} {
		o.b = append(o.b, ' ')
		m.addressField(o, p, s)
	}
	o.b = append(o.b, ' ')
	m.unstructured(o, p, slotInReplyTo)
	o.b = append(o.b, ' ')
	m.unstructured(o, p, slotMessageID)
	o.b = append(o.b, ')')
}

func (m *Message) unstructured(o *output, p *part, s slot) {
	v, ok := m.field(p, s)
	o.nstring(trim(v), ok)
}

// addressField appends an address list, or NIL and false when there is no
// address. Several To, Cc or Bcc fields count as one (RFC 5322, 4.5.3).
func (m *Message) addressField(o *output, p *part, s slot) bool {
	start := len(o.b)
	o.b = append(o.b, '(')
	if v, ok := m.field(p, s); ok {
		o.addresses(v)
		if p.repeated && (s == slotTo || s == slotCc || s == slotBcc) {
			header := m.raw[:p.bodyStart]
			for off := p.fields[s].end; off < len(header); {
				f := nextField(header, off)
				if known := lookUpField(header[f.start:f.nameEnd]); known != nil && known.slot == s {
					o.addresses(header[f.value:f.end])
				}
				off = f.end
			}
		}
	}
	if len(o.b) == start+1 {
		o.b = append(o.b[:start], "NIL"...)
		return false
	}
	o.b = append(o.b, ')')
	return true
}
