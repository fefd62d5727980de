package imap

import (
	"io"

	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// Messages of which FETCH gives something else than what is stored. Their summaries say
// so, and what FETCH answers then comes of a message and a summary that are made for
// it: whatever is asked for fits together. RFC822.SIZE alone is that of the stored
// message (RFC 6858, 3).

// retells says of which messages FETCH gives something else.
type retells struct {
	// downgrade: where a header has UTF-8 (RFC 6858).
	downgrade bool
	// global: where there is a message/global, of which a client sees the structure
	// that knows what that is (RFC 9051, 7.5.2).
	global bool
}

// retells says what this FETCH gives otherwise.
func (s *session) retells(f *fetch) (t retells) {
	if s.utf8 || s.rev2 {
		t.global = f.has(itemBody) || f.has(itemBodyStructure)
		return t
	}
	if !settings.MessageDowngradeEnabled.Of(s.server.settings()) {
		return t
	}
	for i := range f.items {
		if k := f.items[i].kind; k >= itemEnvelope && k != itemPreview {
			t.downgrade = true
		}
	}
	return t
}

// of tells whether a message is among them.
func (t retells) of(sum message.Summary) bool {
	return t.downgrade && sum.Internationalized() || t.global && sum.HasGlobal()
}

// retell gives what stands for a message that is among them. Its memory is counted
// until done.
func (w *fetching) retell(m *store.Message, body store.Body) (_ store.Body, _ message.Summary, done func(), err error) {
	done = func() {}
	raw, err := wholeBody(body)
	if err != nil {
		return nil, nil, done, err
	}
	read := message.Parse(raw, message.DefaultLimits)
	if !w.downgrade {
		return body, read.ShowGlobal().Summary(), done, nil
	}
	st := w.s.server.Store
	if done, err = st.Reserve(w.s.ctx, min(2*int64(len(raw)), st.MaxMessage())); err != nil {
		return nil, nil, func() {}, err
	}
	if text := read.Surrogate(); text != nil {
		w.downgraded.Add(uint32(m.UID))
		body, read = surrogate(text), message.Parse(text, message.DefaultLimits)
	}
	return body, read.Summary(), done, nil
}

// tellDowngraded says of which messages the client was given a surrogate.
//
//	resp-text-code =/ "DOWNGRADED" SP sequence-set ; of UIDs: RFC 6858, 3
func (w *fetching) tellDowngraded(r *request) {
	if len(w.downgraded) > 0 {
		r.code = "DOWNGRADED " + w.downgraded.String()
	}
}

// surrogate is the content of a message that stands for a stored one.
type surrogate []byte

var _ store.Body = surrogate(nil)

func (b surrogate) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (b surrogate) Part(off int64) ([]byte, error) {
	if off >= int64(len(b)) {
		return nil, io.EOF
	}
	return b[off:], nil
}

func (b surrogate) Size() int64   { return int64(len(b)) }
func (b surrogate) Bytes() []byte { return b }
func (b surrogate) Close() error  { return nil }
