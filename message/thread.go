package message

import "bytes"

// MaxReferences bounds References.
const MaxReferences = 100

// MessageID gives the message's identifier without its angle brackets and white
// space, empty when there is none.
func (m *Message) MessageID() string {
	v, _ := m.field(&m.parts[0], slotMessageID)
	id, _ := nextID(v)
	if id == nil {
		// Some senders forget the brackets.
		id = trim(v)
		if i := bytes.IndexAny(id, " \t\r\n"); i >= 0 {
			id = id[:i]
		}
	}
	return string(bounded(id, maxID))
}

// References gives the identifiers of the messages that this one follows, as
// MessageID gives them: those of References, oldest first, and then those of
// In-Reply-To that are not yet there; the last MaxReferences of them.
func (m *Message) References() []string {
	var ids []string
	for _, s := range [...]slot{slotReferences, slotInReplyTo} {
		v, _ := m.field(&m.parts[0], s)
		// Reading backwards would find the last ones first; forwards in a ring is linear too.
		var ring [MaxReferences]string
		n := 0
		for {
			var id []byte
			if id, v = nextID(v); id == nil {
				break
			}
			ring[n%MaxReferences] = string(id)
			n++
		}
		for i := max(0, n-MaxReferences); i < n; i++ {
			if id := ring[i%MaxReferences]; s == slotReferences || !contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids[max(0, len(ids)-MaxReferences):]
}

func contains(ids []string, id string) bool {
	for _, have := range ids {
		if have == id {
			return true
		}
	}
	return false
}

// maxID bounds an identifier: no line may be longer (RFC 5322, 2.1.1).
const maxID = 998

// nextID gives the next identifier of v, without white space (RFC 5322, 4.5.4
// allows it), and what follows. It is nil at the end. Quoting is left as it is:
// two senders that quote differently do not answer each other.
func nextID(v []byte) (id, rest []byte) {
	for {
		open := bytes.IndexByte(v, '<')
		if open < 0 {
			return nil, nil
		}
		v = v[open+1:]
		end := bytes.IndexAny(v, "<>")
		if end < 0 {
			return nil, nil
		}
		id = trim(v[:end])
		if v[end] == '<' || len(id) == 0 || len(id) > maxID {
			v = v[end:]
			continue
		}
		v = v[end+1:]
		if bytes.ContainsAny(id, " \t\r\n") {
			id = bytes.Join(bytes.Fields(id), nil)
		}
		return id, v
	}
}
