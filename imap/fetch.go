package imap

import (
	"errors"
	"slices"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

const (
	// fetchBatch is how many summaries are asked of the store at once.
	fetchBatch = 256
	// fetchLate bounds the bytes of summaries that wait for their message to be
	// opened.
	fetchLate = 1 << 20
)

// errLate ends a reading of summaries because fetchLate is reached.
var errLate = errors.New("enough messages wait to be opened")

// errGone is the answer to a command that named messages which are expunged and of
// which the client was not told yet (RFC 2180, 4.1.2; RFC 5530, 3).
var errGone = mail.Errorf(mail.KindExpunged, "Some of the messages no longer exist.")

// fetch is FETCH and UID FETCH (RFC 3501, 6.4.5).
func (s *session) fetch(r *request) error {
	f, err := readFetch(s.dec)
	if err != nil {
		return err
	}
	if f.vanished && !(r.uid && f.changed && s.qresync) {
		return &wire.SyntaxError{Text: "VANISHED needs UID FETCH, CHANGEDSINCE and ENABLE QRESYNC."}
	}
	if f.partial.given() && !r.uid {
		return &wire.SyntaxError{Text: "PARTIAL needs UID FETCH."}
	}
	seqs, err := s.seqsOf(f.set, r.uid)
	if err != nil {
		return err
	}
	if f.partial.given() {
		if limit := s.messageLimit(); limit > 0 && f.partial.width() > uint64(limit) {
			return errTooMany(limit, 0)
		}
		seqs = f.partial.of(seqs)
	}
	seqs = s.newest(r, seqs, func(m *store.Message) bool { return !f.changed || m.ModSeq > f.since })
	if f.has(itemModSeq) {
		s.enableCondstore()
	}
	if err := s.haveParts(seqs, f.parts); err != nil {
		return err
	}
	w := &fetching{s: s, r: r, fetch: f, uid: r.uid, retells: s.retells(f)}
	if f.setsSeen() && !s.mailbox.ReadOnly() && s.mailbox.Rights().Has(mail.RightSeen) {
		if seqs, err = w.markSeen(seqs); err != nil || s.over {
			return err
		}
	}
	w.view = s.mailbox.View()
	w.keywords = s.mailbox.Record().Keywords
	if f.vanished {
		if err := w.writeVanished(); err != nil {
			return err
		}
	}
	err = w.writeAll(seqs)
	w.tellDowngraded(r)
	if err != nil {
		w.tellRest()
		return err
	}
	if w.gone && !r.uid {
		return errGone
	}
	return w.fault
}

// fetching is a FETCH at work.
type fetching struct {
	*fetch
	retells
	s        *session
	r        *request
	uid      bool // UID stands in every response
	view     *store.Snapshot
	keywords []string

	marked mail.NumSet // UIDs whose \Seen this FETCH set: their FLAGS are told
	told   mail.UID    // those up to this one are

	downgraded mail.NumSet // UIDs of which the client was given a surrogate

	gone  bool  // a message was passed over because it no longer exists
	fault error // the first other fault of a message that was passed over

	// Of the message under way and kept for the next.
	pieces  []piece // one for each item
	scratch []byte  // of pieces that are ready
	block   []byte  // fields of a header block
	source  bodySource
	zone    *time.Location // for minutes
	minutes int16

	// annotations reads those that are asked for; nil if none are. notes are those of the
	// message under way.
	annotations *store.AnnotationReader
	notes       store.Annotations

	// The batch under way.
	seqs     []uint32
	messages []*store.Message
	ids      []mail.EmailID
	late     []lateMessage
}

// lateMessage is a message that must be opened.
type lateMessage struct {
	place   int // in the batch
	summary message.Summary
}

// each calls do for the messages of seqs that are to be told of.
func (w *fetching) each(seqs mail.NumSet, do func(seq uint32, m *store.Message) bool) {
	w.view.EachSeq(seqs, func(seq uint32, m *store.Message) bool {
		if m.Gone {
			w.gone = true
			return true
		}
		if w.changed && m.ModSeq <= w.since {
			return true
		}
		return do(seq, m)
	})
}

// markSeen sets \Seen on the messages that this FETCH reads, in one change, moves
// the view on to it and gives their sequence numbers there.
func (w *fetching) markSeen(seqs mail.NumSet) (mail.NumSet, error) {
	s := w.s
	w.view = s.mailbox.View()
	var unseen, known mail.NumSet
	w.each(seqs, func(_ uint32, m *store.Message) bool {
		if m.Flags.Has(mail.Seen) {
			known.Add(uint32(m.UID))
		} else {
			unseen.Add(uint32(m.UID))
		}
		return true
	})
	if newest := s.mailbox.Newest(); newest != w.view && len(known) > 0 {
		// Somebody may have taken \Seen away of which the client was not told yet.
		var again mail.NumSet
		newest.EachUID(known, func(_ uint32, m *store.Message) bool {
			if !m.Flags.Has(mail.Seen) {
				again.Add(uint32(m.UID))
			}
			return true
		})
		unseen = unseen.Union(again)
	}
	if len(unseen) == 0 {
		return seqs, nil
	}
	uids := w.view.UIDsOf(seqs)
	p := s.toil(w.r, unseen.Len())
	stored, err := s.mailbox.StoreFlags(s.ctx, unseen, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}, nil)
	p.stop()
	if err != nil {
		return nil, err
	}
	w.marked = stored.Changed
	s.update(w.uid, func(m *store.Message) bool { return w.marked.Contains(uint32(m.UID)) })
	if s.over {
		return nil, nil
	}
	return s.mailbox.View().Seqs(uids), nil
}

// tellRest tells of the \Seen that was set on messages which were not reached.
func (w *fetching) tellRest() {
	if w.told == mail.MaxNum {
		return
	}
	rest := w.marked.Intersect(mail.NumSet{{First: uint32(w.told) + 1, Last: mail.MaxNum}})
	w.view.EachUID(rest, func(seq uint32, m *store.Message) bool {
		w.s.writeFlags(seq, m, w.uid)
		return w.s.enc.Err() == nil
	})
}

// writeVanished writes which of the UIDs asked for were expunged since (RFC 7162,
// 3.2.6).
func (w *fetching) writeVanished() error {
	s := w.s
	asked := s.saved
	if !w.set.Saved {
		// "*" reaches up to the highest UID that there ever was, which may be gone.
		asked = w.set.Resolve(uint32(max(w.view.Mailbox.UIDNext, 2) - 1))
	}
	vanished, err := s.mailbox.Vanished(s.ctx, w.since)
	if err != nil {
		return err
	}
	if vanished = vanished.Intersect(asked); len(vanished) > 0 {
		s.enc.Untagged().Const("VANISHED (EARLIER) ").NumSet(vanished).CRLF()
	}
	return nil
}

// writeAll answers for the messages of seqs.
func (w *fetching) writeAll(seqs mail.NumSet) (err error) {
	if w.has(itemAnnotation) {
		w.annotations = w.s.mailbox.Annotations()
	}
	if w.readsSummary() {
		return w.readAll(seqs)
	}
	w.each(seqs, func(seq uint32, m *store.Message) bool {
		switch err = w.annotate(m); {
		case err == nil:
			w.write(seq, m, nil, nil)
		case mail.KindOf(err) == mail.KindExpunged:
			w.gone, err = true, nil
		}
		return err == nil && w.s.enc.Err() == nil
	})
	return err
}

// readAll answers from summaries, and where these do not suffice from the messages
// themselves. What the store hands over goes straight to the client, who thereby
// sets the pace.
func (w *fetching) readAll(seqs mail.NumSet) error {
	w.pieces = make([]piece, len(w.items))
	var err error
	w.each(seqs, func(seq uint32, m *store.Message) bool {
		w.seqs = append(w.seqs, seq)
		w.messages = append(w.messages, m)
		w.ids = append(w.ids, m.Email)
		if len(w.ids) == fetchBatch {
			err = w.readBatch()
		}
		return err == nil
	})
	if err == nil && len(w.ids) > 0 {
		err = w.readBatch()
	}
	return err
}

// readBatch answers for the batch and empties it.
func (w *fetching) readBatch() error {
	for done := 0; done < len(w.ids); {
		if w.s.lost() {
			return errMailboxLost
		}
		from, size := done, 0
		err := w.s.mailbox.Summaries(w.s.ctx, w.ids[from:], func(i int, sum message.Summary) error {
			done = from + i + 1
			m := w.messages[from+i]
			opened := w.prepare(m, sum) || w.annotations != nil && w.s.mailbox.Annotated(m)
			switch {
			case sum == nil:
				w.passOver(from+i, errGone)
			case opened:
				// Not within this call: the engine may be reading.
				w.late = append(w.late, lateMessage{from + i, slices.Clone(sum)})
				if size += len(sum); size > fetchLate {
					return errLate
				}
			case len(w.late) > 0:
				// In order behind those that are opened.
				w.late = append(w.late, lateMessage{from + i, slices.Clone(sum)})
				size += len(sum)
			default:
				w.notes = store.Annotations{}
				w.write(w.seqs[from+i], m, sum, nil)
			}
			return w.s.enc.Err()
		})
		if err != nil && !errors.Is(err, errLate) {
			return err
		}
		for _, l := range w.late {
			if err := w.open(l); err != nil {
				return err
			}
		}
		clear(w.late)
		w.late = w.late[:0]
	}
	w.seqs, w.messages, w.ids = w.seqs[:0], w.messages[:0], w.ids[:0]
	return nil
}

// open answers for a message whose content is needed.
func (w *fetching) open(l lateMessage) error {
	s, m := w.s, w.messages[l.place]
	if s.lost() {
		return errMailboxLost // the client sets the pace, which can be slow
	}
	if err := w.annotate(m); err != nil {
		return w.fail(l.place, err)
	}
	if !w.prepare(m, l.summary) {
		w.write(w.seqs[l.place], m, l.summary, nil)
		return s.enc.Err()
	}
	body, err := s.mailbox.Body(s.ctx, m.Email)
	if err != nil {
		return w.fail(l.place, err)
	}
	defer body.Close()
	if len(l.summary.BodyStructure()) == 0 {
		// Of another version, or damaged: it is made anew.
		raw, err := wholeBody(body)
		if err != nil {
			return w.fail(l.place, err)
		}
		l.summary = message.Parse(raw, message.DefaultLimits).Summary()
		w.prepareItems(l.summary)
	}
	if w.retells.of(l.summary) {
		told, summary, done, err := w.retell(m, body)
		if err != nil {
			return w.fail(l.place, err)
		}
		defer done()
		body, l.summary = told, summary
		w.prepareItems(summary)
	}
	if err := w.load(body, l.summary); err != nil {
		return w.fail(l.place, err)
	}
	w.write(w.seqs[l.place], m, l.summary, body)
	if cap(w.scratch)+cap(w.block) > fetchLate {
		w.scratch, w.block = nil, nil
	}
	return s.enc.Err()
}

// annotate reads the annotations of a message that is told of next.
func (w *fetching) annotate(m *store.Message) (err error) {
	if w.annotations != nil {
		w.notes, err = w.annotations.Of(w.s.ctx, m)
	}
	return err
}

// mute tells whether a FETCH response would say nothing of a message: nothing but annotations
// is asked for, by patterns that match none.
func (w *fetching) mute() bool {
	if w.annotations == nil {
		return false
	}
	for i := range w.items {
		if a := w.items[i].annotation; a == nil || len(a.appendEntries(nil, w.notes)) > 0 {
			return false
		}
	}
	return true
}

// fail passes a message over if err is about that message, and gives err if it is
// about more.
func (w *fetching) fail(place int, err error) error {
	switch mail.KindOf(err) {
	case mail.KindExpunged, mail.KindUnknownCTE, mail.KindCorrupt:
		w.passOver(place, err)
		return w.s.enc.Err()
	}
	return err
}

// passOver leaves a message out because of err.
func (w *fetching) passOver(place int, err error) {
	m := w.messages[place]
	if mail.KindOf(err) == mail.KindExpunged {
		w.gone = true
		return
	}
	if w.fault == nil {
		w.fault = err
	}
	if w.marked.Contains(uint32(m.UID)) {
		w.s.writeFlags(w.seqs[place], m, w.uid)
	}
	w.told = m.UID
}

// write writes the FETCH response of one message. summary may be nil when only the
// index is asked for, body when no piece is in it.
func (w *fetching) write(seq uint32, m *store.Message, summary message.Summary, body store.Body) {
	if w.mute() {
		return
	}
	e := w.s.enc
	w.s.beginFetch(seq, m)
	start := true
	next := func() *wire.Encoder {
		if !start {
			e.SP()
		}
		start = false
		return e
	}
	implied := len(w.marked) > 0 && w.marked.Contains(uint32(m.UID))
	if w.uid && !w.s.uidOnly || implied && w.s.tellsUID() {
		next().Const("UID ").Number(uint64(m.UID))
	}
	uid := !start
	for i := range w.items {
		item := &w.items[i]
		if item.kind == itemUID && uid {
			continue
		}
		var entries []string
		if item.kind == itemAnnotation {
			if entries = item.annotation.appendEntries(nil, w.notes); len(entries) == 0 {
				continue
			}
		}
		next().RawString(item.label)
		switch item.kind {
		case itemFlags:
			e.Flags(m.Flags, w.keywords, w.s.isRecent(m.UID))
			implied = implied && w.s.condstore && !w.has(itemModSeq)
			if implied {
				e.Const(" MODSEQ (").Number(uint64(m.ModSeq)).Close()
				implied = false
			}
		case itemUID:
			e.Number(uint64(m.UID))
		case itemInternalDate:
			e.DateTime(time.Unix(m.InternalDate, 0).In(w.location(m.Zone)))
		case itemSize:
			e.Number(uint64(m.Size))
		case itemModSeq:
			e.Open().Number(uint64(m.ModSeq)).Close()
		case itemEmailID:
			e.Open().Atom(w.s.objectID(m.Email.String())).Close()
		case itemThreadID:
			if m.Thread == 0 {
				e.Nil()
			} else {
				e.Open().Atom(w.s.objectID(m.Thread.String())).Close()
			}
		case itemSaveDate:
			if m.Saved == 0 {
				e.Nil()
			} else {
				e.DateTime(time.Unix(m.Saved, 0).UTC())
			}
		case itemAnnotation:
			item.annotation.write(e, entries, w.notes)
		case itemEnvelope:
			e.Raw(summary.Envelope())
		case itemBody:
			e.Raw(summary.Body())
		case itemBodyStructure:
			e.Raw(summary.BodyStructure())
		case itemPreview:
			e.String(summary.Preview())
		default:
			w.writePiece(item, &w.pieces[i], summary, body)
		}
	}
	if implied {
		next().Const("FLAGS ").Flags(m.Flags, w.keywords, w.s.isRecent(m.UID))
		if w.s.condstore && !w.has(itemModSeq) {
			e.Const(" MODSEQ (").Number(uint64(m.ModSeq)).Close()
		}
	}
	e.Close().CRLF()
	w.told = m.UID
}

// location gives the zone that is minutes east of UTC.
func (w *fetching) location(minutes int16) *time.Location {
	if minutes == 0 {
		return time.UTC
	}
	if w.zone == nil || w.minutes != minutes {
		w.zone, w.minutes = time.FixedZone("", int(minutes)*60), minutes
	}
	return w.zone
}
