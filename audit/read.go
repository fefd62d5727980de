package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Query says which entries are looked for; what is zero restricts nothing.
type Query struct {
	Start, End time.Time // Start <= Time < End
	Before     uint64    // only sequence numbers below it: the next page of an answer
	// Matches tells whether an entry is wanted; nil is all.
	Matches func(*Entry) bool
	Limit   int // at most so many entries; 1,000 when it is 0, never more than 10,000
}

// Bounds of an answer.
const (
	defaultLimit = 1000
	maxLimit     = 10000
	maxFound     = 16 << 20 // bytes of lines in one answer
	clockSlack   = 24 * time.Hour
)

// Search gives entries, the newest first, and whether there are more. Lines that
// are no entries are passed over: Verify is who names them. Records made while the
// clock was more than a day slow may be missed when Start is given.
func (l *Log) Search(ctx context.Context, q Query) (found []Entry, more bool, err error) {
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	q.Limit = min(q.Limit, maxLimit)
	all, err := files(l.Dir)
	if err != nil {
		return nil, false, err
	}
	bytes := 0
	for _, path := range slices.Backward(all) {
		if first, _, _ := firstOf(path); q.Before > 0 && first >= q.Before {
			continue
		}
		part := page{limit: q.Limit - len(found), bytes: maxFound - bytes}
		newest := time.Time{}
		err := each(ctx, path, math.MaxInt64, func(line []byte, _ int, whole bool) bool {
			e, err := decode(line)
			if err != nil || !whole {
				return true
			}
			if e.Time.After(newest) {
				newest = e.Time
			}
			if q.Wants(e) {
				part.add(*e, len(line))
			}
			return true
		})
		if err != nil {
			return nil, false, err
		}
		slices.Reverse(part.entries)
		found = append(found, part.entries...)
		bytes += part.used
		if part.dropped {
			return found, true, nil
		}
		if !q.Start.IsZero() && newest.Before(q.Start.Add(-clockSlack)) {
			break
		}
	}
	return found, false, nil
}

// Wants tells whether the query asks for an entry.
func (q *Query) Wants(e *Entry) bool {
	switch {
	case q.Before > 0 && e.Sequence >= q.Before,
		!q.Start.IsZero() && e.Time.Before(q.Start),
		!q.End.IsZero() && !e.Time.Before(q.End):
		return false
	}
	return q.Matches == nil || q.Matches(e)
}

// page keeps the last entries that were added, within limit and bytes.
type page struct {
	limit, bytes int
	entries      []Entry
	sizes        []int
	used         int
	dropped      bool
}

func (p *page) add(e Entry, size int) {
	p.entries, p.sizes, p.used = append(p.entries, e), append(p.sizes, size), p.used+size
	for len(p.entries) > p.limit || p.used > p.bytes {
		p.used -= p.sizes[0]
		p.entries, p.sizes = p.entries[1:], p.sizes[1:]
		p.dropped = true
	}
}

// each calls f with the lines in the first size bytes of a file, and their numbers
// from 1, until f gives false.
func each(ctx context.Context, path string, size int64, f func(line []byte, number int, whole bool) bool) error {
	file, err := os.Open(path)
	if err != nil {
		return &mail.Error{Kind: mail.KindUnavailable, Text: "the audit log cannot be read", Cause: err}
	}
	defer file.Close()
	return eachOf(ctx, newLines(io.LimitReader(file, size)), f)
}

func eachOf(ctx context.Context, lines *lines, f func(line []byte, number int, whole bool) bool) error {
	for {
		if err := ctx.Err(); err != nil {
			return mail.Wrap(mail.KindUnavailable, err)
		}
		line, whole, err := lines.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !f(line, lines.n, whole) {
			return nil
		}
	}
}

// Verdict is what Verify found.
type Verdict struct {
	Records uint64 // that were proven
	Files   int
	First   Head // of the first proven record
	Last    Head // of the last; note it elsewhere, and give it to Verify later
	Fault   *Fault
}

// Fault is the first thing that is wrong with a log.
type Fault struct {
	File     string // its name, "" when a whole file or the end is missing
	Line     int    // 1 for the first, 0 when no line is to blame
	Sequence uint64 // of the record that is wrong or missing
	Problem  string // what is wrong, a sentence
}

// Verify reads the whole log and proves its chain, or names the first thing that is
// wrong. after, when it is not zero, is a head that was noted earlier: the log must
// hold it, only what follows it is proven, and files before it may have been put
// away. Records that are appended meanwhile are left out.
func (l *Log) Verify(ctx context.Context, after Head) (Verdict, error) {
	all, sizes, head, ahead, err := l.now(ctx)
	if err != nil {
		return Verdict{}, err
	}
	c := chain{anchor: after, until: head, ahead: ahead, last: Head{0, genesis}}
	if after.Sequence > 0 {
		for len(all) > 1 { // begin with the file that holds the record after the anchor
			if first, _, _ := firstOf(all[1]); first > after.Sequence {
				break
			}
			all, sizes = all[1:], sizes[1:]
		}
	}
	for i, path := range all {
		c.verdict.Files++
		c.file = filepath.Base(path)
		err := each(ctx, path, sizes[i], c.line)
		if err != nil {
			return Verdict{}, err
		}
		if c.verdict.Fault != nil {
			return c.verdict, nil
		}
	}
	c.end()
	return c.verdict, nil
}

// now gives the log as it is between two records: its files with their sizes, and
// the head that they must end with; ahead when writing has failed since.
func (l *Log) now(ctx context.Context) (all []string, sizes []int64, head Head, ahead bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	head, ahead = l.head, l.file == nil
	if l.Keeper != nil {
		kept, err := l.Keeper.LoadHead(ctx)
		if err != nil {
			return nil, nil, head, ahead, err
		}
		if kept.Sequence > head.Sequence {
			head = kept
		}
	}
	if all, err = files(l.Dir); err != nil {
		return nil, nil, head, ahead, err
	}
	for _, path := range all {
		info, err := os.Stat(path)
		if err != nil {
			return nil, nil, head, ahead, &mail.Error{Kind: mail.KindUnavailable, Text: "the audit log cannot be read", Cause: err}
		}
		sizes = append(sizes, info.Size())
	}
	return all, sizes, head, ahead, nil
}

// chain follows the lines of a log.
type chain struct {
	anchor  Head
	until   Head // the head when the proof began
	ahead   bool // a record behind it may be there, of which nobody was told
	last    Head
	lastAt  place
	bad     []byte // lines that are no records, which only a notice about them may follow
	badAt   place  // of the first of them
	file    string
	verdict Verdict
}

type place struct {
	file string
	line int
}

func (c *chain) fault(at place, sequence uint64, format string, args ...any) {
	if c.verdict.Fault == nil {
		c.verdict.Fault = &Fault{at.file, at.line, sequence, fmt.Sprintf(format, args...)}
	}
}

// before tells whether the anchor has not been reached.
func (c *chain) before() bool { return c.last.Sequence < c.anchor.Sequence }

// line looks at a line and tells whether to go on.
func (c *chain) line(line []byte, number int, whole bool) bool {
	c.look(line, number, whole)
	return c.verdict.Fault == nil
}

func (c *chain) look(line []byte, number int, whole bool) {
	at := place{c.file, number}
	e, err := decode(line)
	if err != nil || !whole {
		if c.bad == nil {
			c.badAt = at
		}
		c.bad = addBad(c.bad, line, whole)
		return
	}
	if c.bad != nil && !c.before() && !bytes.Equal(e.Torn, c.bad) {
		c.broken() // only the notice about it may stand behind what is no record
		return
	}
	torn := c.bad
	c.bad = nil
	if c.before() {
		switch {
		case e.Sequence == c.anchor.Sequence && e.Hash != c.anchor.Hash:
			c.fault(at, e.Sequence, "It is not the record that was noted: its hash is %s.", e.Hash)
		case e.Sequence > c.anchor.Sequence+1:
			c.fault(at, c.anchor.Sequence+1, "%s missing.", span(c.anchor.Sequence+1, e.Sequence-1))
		case e.Sequence == c.anchor.Sequence+1 && e.Previous != c.anchor.Hash:
			c.fault(at, e.Sequence, "It does not follow the record that was noted.")
		case e.Sequence >= c.anchor.Sequence:
			c.take(e, at)
		}
		return
	}
	next := c.last.Sequence + 1
	switch {
	case e.Sequence > next:
		c.fault(at, next, "%s missing: line %d of %s is record %d.", span(next, e.Sequence-1), at.line, at.file, e.Sequence)
	case e.Sequence < next:
		c.fault(at, e.Sequence, "It stands where record %d belongs: it was inserted, or records changed places.", next)
	case e.Previous != c.last.Hash && c.last.Sequence == 0:
		c.fault(at, e.Sequence, "It does not begin a log: what it was chained to is missing.")
	case e.Previous != c.last.Hash:
		c.fault(c.lastAt, c.last.Sequence, "It was replaced: record %d was chained to another.", e.Sequence)
	case torn == nil && len(e.Torn) > 0:
		c.fault(at, e.Sequence, "The broken line that it speaks of was removed.")
	default:
		c.take(e, at)
	}
}

func (c *chain) take(e *Entry, at place) {
	if c.verdict.Records++; c.verdict.Records == 1 {
		c.verdict.First = e.Head()
	}
	c.last, c.lastAt, c.verdict.Last = e.Head(), at, e.Head()
}

// broken names the line that is no record.
func (c *chain) broken() {
	c.fault(c.badAt, c.last.Sequence+1, "The line is not the record that was written: it was changed, or something was inserted.")
}

// end compares the end with the head that is known.
func (c *chain) end() {
	switch {
	case c.bad != nil && !c.before():
		c.broken()
	case c.before():
		c.fault(place{}, c.anchor.Sequence, "The log ends before the record that was noted.")
	case c.last.Sequence < c.until.Sequence:
		c.fault(place{}, c.last.Sequence+1, "%s missing: the end was cut off.", span(c.last.Sequence+1, c.until.Sequence))
	case c.last.Sequence > c.until.Sequence && !c.ahead:
		c.fault(c.lastAt, c.until.Sequence+1, "It was written by somebody else: the server's last record is %d.", c.until.Sequence)
	case c.last.Sequence == c.until.Sequence && c.until.Sequence > 0 && c.last.Hash != c.until.Hash:
		c.fault(c.lastAt, c.last.Sequence, "It is not the record that was written last: it was replaced.")
	}
}

func span(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("Record %d is", from)
	}
	return fmt.Sprintf("Records %d to %d are", from, to)
}
