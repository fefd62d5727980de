package imap

import (
	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// storing is a STORE as the client wrote it.
type storing struct {
	set            wire.SeqSet
	unchangedSince *mail.ModSeq // nil: without condition
	silent         bool
	change         store.FlagChange
	annotating     *annotating // nil: flags are changed
}

// readStore reads the arguments of STORE and UID STORE.
//
//	store = "STORE" SP sequence-set [SP "(" store-modifier *(SP store-modifier) ")"]
//	        SP store-att-flags
//	store-modifier = "UNCHANGEDSINCE" SP mod-sequence-valzer
//	store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP
//	                  (flag-list / (flag *(SP flag))) / att-annotate
func readStore(d *wire.Decoder) (*storing, error) {
	c := &storing{}
	d.SP()
	c.set = d.SequenceSet()
	d.SP()
	if d.Peek() == '(' {
		d.List(func() {
			if string(d.Word()) != "UNCHANGEDSINCE" || c.unchangedSince != nil {
				d.Bad("unknown modifier of STORE")
				return
			}
			d.SP()
			since := d.ModSeq()
			c.unchangedSince = &since
		})
		if c.unchangedSince == nil {
			d.Bad("expected a modifier")
		}
		d.SP()
	}
	switch string(d.Word()) {
	case "ANNOTATION":
		// Silent, and no flag is another one (RFC 5257, 4.5).
		c.silent, c.change.Op = true, store.FlagsAdd
		d.SP()
		c.annotating = readAnnotating(d)
		d.End()
		return c, d.Err()
	case "FLAGS":
		c.change.Op = store.FlagsSet
	case "FLAGS.SILENT":
		c.change.Op, c.silent = store.FlagsSet, true
	case "+FLAGS":
		c.change.Op = store.FlagsAdd
	case "+FLAGS.SILENT":
		c.change.Op, c.silent = store.FlagsAdd, true
	case "-FLAGS":
		c.change.Op = store.FlagsRemove
	case "-FLAGS.SILENT":
		c.change.Op, c.silent = store.FlagsRemove, true
	default:
		d.Bad("unknown item of STORE")
	}
	d.SP()
	c.change.Flags, c.change.Keywords = d.Flags()
	d.End()
	return c, d.Err()
}

// storeFlags is STORE and UID STORE (RFC 3501, 6.4.6; RFC 7162, 3.1.3; RFC 5257, 4.5).
func (s *session) storeFlags(r *request) error {
	c, err := readStore(s.dec)
	if err != nil {
		return err
	}
	seqs, err := s.seqsOf(c.set, r.uid)
	if err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	if c.unchangedSince != nil {
		s.enableCondstore()
	}
	before := s.mailbox.View()
	uids := before.UIDsOf(s.newest(r, seqs, nil))
	if len(uids) == 0 {
		return nil
	}
	if a := c.annotating; a != nil {
		if err := s.haveParts(seqs, a.parts); err != nil {
			return err
		}
	}
	p := s.toil(r, uids.Len())
	var stored store.Stored
	if a := c.annotating; a != nil {
		stored, err = s.mailbox.Annotate(s.ctx, uids, a.Annotations, c.unchangedSince)
		err = annotateError(err)
		s.annotated = stored.ModSeq
	} else {
		stored, err = s.mailbox.StoreFlags(s.ctx, uids, c.change, c.unchangedSince)
	}
	p.stop()
	if err != nil {
		return err
	}
	s.update(r.uid, func(m *store.Message) bool { return uids.Contains(uint32(m.UID)) })
	if s.over {
		return nil
	}
	gone := s.tellStored(r, c, before, uids, stored)
	switch {
	case len(stored.Failed) > 0:
		failed := stored.Failed
		if !r.uid {
			failed = s.mailbox.View().Seqs(failed)
		}
		r.code, r.text = "MODIFIED "+failed.String(), "Some messages were changed by somebody else."
	case gone && !r.uid:
		return errGone
	}
	return nil
}

// tellStored writes the FETCH responses that STORE owes for the messages with
// uids: flags, unless .SILENT and they are as the client computes them from what it
// was told before; with CONDSTORE always the MODSEQ of what changed. It tells
// whether some messages no longer exist.
func (s *session) tellStored(r *request, c *storing, before *store.Snapshot, uids mail.NumSet, stored store.Stored) (gone bool) {
	mask := c.change.Flags
	for _, k := range c.change.Keywords {
		if i := mail.KeywordIndex(s.mailbox.Record().Keywords, k); i >= 0 {
			mask |= mail.Keyword(i)
		}
	}
	view := s.mailbox.View()
	if view.Gone() > 0 {
		view.EachUID(uids, func(_ uint32, m *store.Message) bool {
			gone = m.Gone
			return !gone
		})
	}
	// Who hears NO cannot know what was done all the same, whether it asked or not.
	silent := c.silent && (!gone || r.uid)
	view.EachUID(uids, func(seq uint32, m *store.Message) bool {
		uid := uint32(m.UID)
		switch {
		case m.Gone:
		case !silent || stored.Failed.Contains(uid) || m.Flags != expectedFlags(c.change.Op, before, m.UID, mask):
			s.writeFlags(seq, m, r.uid)
		case s.condstore && (c.unchangedSince != nil || stored.Changed.Contains(uid)):
			s.writeModSeq(seq, m, r.uid)
		}
		return s.enc.Err() == nil
	})
	return gone
}

// expectedFlags gives the flags that a client expects after a STORE of mask on a
// message that is in the view before.
func expectedFlags(op store.FlagOp, before *store.Snapshot, uid mail.UID, mask mail.Flags) mail.Flags {
	seq, _ := before.Seq(uid)
	m := before.At(seq)
	switch {
	case op == store.FlagsSet || m == nil:
		return mask
	case op == store.FlagsAdd:
		return m.Flags | mask
	}
	return m.Flags &^ mask
}

// writeModSeq writes the FETCH response that tells of a message's MODSEQ alone.
func (s *session) writeModSeq(seq uint32, m *store.Message, withUID bool) {
	e := s.enc
	s.beginFetch(seq, m)
	if withUID && !s.uidOnly || s.tellsUID() {
		e.Const("UID ").Number(uint64(m.UID)).SP()
	}
	e.Const("MODSEQ (").Number(uint64(m.ModSeq)).Const("))").CRLF()
}
