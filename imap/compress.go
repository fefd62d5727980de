package imap

import (
	"github.com/postern-mail/postern/deflate"
	"github.com/postern-mail/postern/imap/wire"
)

// compression is what COMPRESS put between the grammar and the connection.
type compression struct {
	r *deflate.Reader
	w *deflate.Writer
	// received and sent are the bytes of before.
	received, sent int64
}

// close gives everything back; nil is nothing.
func (z *compression) close() {
	if z != nil {
		z.w.Close()
	}
}

// compress is COMPRESS (RFC 4978, 3). Both directions are compressed from the answer's
// CRLF on. What the client sent behind the command already belongs to that.
//
// Each response is flushed. A client that sends more than deflate.MaxRatio bytes for
// each byte of its own, after the first deflate.Slack, is ended.
//
//	compress  = "COMPRESS" SP algorithm
//	algorithm = "DEFLATE"
func (s *session) compress(r *request) error {
	d := s.dec
	d.SP()
	if string(d.Word()) != "DEFLATE" {
		d.Bad("DEFLATE is the only compression here.")
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	if s.compressed != nil {
		return withCode("COMPRESSIONACTIVE", &wire.SyntaxError{Text: "DEFLATE is active already, by COMPRESS."})
	}
	r.text = "DEFLATE active."
	s.answer(r, nil)
	if err := s.enc.Flush(); err != nil {
		s.over = true
		return err
	}
	z := &compression{w: s.server.compressors.Writer(s.conn)}
	z.received, z.sent = s.conn.Bytes()
	first := d.Unread()
	z.received -= int64(len(first) + len(s.spare))
	z.r = deflate.NewReader(input{s}, first)
	s.compressed = z
	d.Reset(z.r)
	s.enc.Reset(z.w)
	s.tag = nil
	return nil
}
