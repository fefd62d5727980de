package store

import (
	"container/list"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

const (
	// columnBatch is how many summaries are read at once.
	columnBatch = 512
	// columnHeader bounds what is read of a header of which the summary has not all
	// that is needed.
	columnHeader = 1 << 20
	// columnDirect: fields of less than one of so many messages that are not yet in a
	// column are read alone, without making the column.
	columnDirect = 8
)

// errColumn: a column has more than its offsets can say.
var errColumn = mail.Errorf(mail.KindLimit, "The mailbox is too large to be sorted.")

// Column holds one message.SortField of some messages. It never changes and may be
// read from several goroutines.
type Column struct {
	rows
	places []uint32 // of the messages in rows; noRow
}

// Bytes is how much the fields of the messages that were asked for have together.
func (c *Column) Bytes() int64 {
	if len(c.places) == len(c.uids) {
		return int64(len(c.bytes))
	}
	n := 0
	for i := range c.places {
		n += len(c.Row(i))
	}
	return int64(n)
}

const noRow = math.MaxUint32

// Row gives the field of the i-th message that was asked for, empty when it has none
// or was expunged meanwhile. It is not to be altered.
func (c *Column) Row(i int) []byte {
	p := c.places[i]
	if p == noRow {
		return nil
	}
	start := uint32(0)
	if p > 0 {
		start = c.ends[p-1]
	}
	return c.bytes[start:c.ends[p]]
}

// rows are fields of messages of one mailbox, ascending by UID. They grow in place
// beyond what copies of the struct see.
type rows struct {
	uids  []mail.UID
	ends  []uint32 // of each row in bytes
	bytes []byte
}

func (r *rows) add(uid mail.UID, b []byte) {
	r.bytes = append(r.bytes, b...)
	r.uids = append(r.uids, uid)
	r.ends = append(r.ends, uint32(len(r.bytes)))
}

// last is the highest UID, 0 when there is none.
func (r *rows) last() mail.UID {
	if n := len(r.uids); n > 0 {
		return r.uids[n-1]
	}
	return 0
}

func (r *rows) weight() int64 {
	return int64(256 + 4*cap(r.uids) + 4*cap(r.ends) + cap(r.bytes))
}

// column gives the rows of messages, which are ascending by UID.
func (r *rows) column(messages []*Message) Column {
	c := Column{rows: *r, places: make([]uint32, len(messages))}
	p := 0
	for i, m := range messages {
		if p < len(r.uids) && r.uids[p] < m.UID {
			// Nearly always the next one; otherwise far away as likely as near.
			if p++; p < len(r.uids) && r.uids[p] < m.UID {
				n, _ := slices.BinarySearch(r.uids[p:], m.UID)
				p += n
			}
		}
		c.places[i] = noRow
		if p < len(r.uids) && r.uids[p] == m.UID {
			c.places[i] = uint32(p)
		}
	}
	return c
}

// without gives the rows of the messages that are in view, in memory of their own.
func (r *rows) without(view *Snapshot) rows {
	var out rows
	p := 0
	view.EachSeq(view.All(), func(_ uint32, m *Message) bool {
		for p < len(r.uids) && r.uids[p] < m.UID {
			p++
		}
		if p < len(r.uids) && r.uids[p] == m.UID {
			start := uint32(0)
			if p > 0 {
				start = r.ends[p-1]
			}
			out.add(m.UID, r.bytes[start:r.ends[p]])
		}
		return true
	})
	return out
}

// columns keeps columns of mailboxes in memory, those that were used last, up to a
// number of bytes. A UID's message never changes, so a column is only ever added to.
type columns struct {
	most int64

	mu    sync.Mutex
	kept  map[columnKey]*keptColumn
	used  list.List // of *keptColumn, the oldest first
	bytes int64
}

type columnKey struct {
	account mail.AccountID
	mailbox mail.MailboxID
	field   message.SortField
}

type keptColumn struct {
	key  columnKey
	turn chan struct{} // holds one token while somebody reads or adds to rows
	rows rows

	// Guarded by columns.mu.
	place *list.Element // nil when it is not kept any more
	bytes int64
}

// take gives a column, which nobody else has until it is put back.
func (c *columns) take(ctx context.Context, key columnKey) (*keptColumn, error) {
	c.mu.Lock()
	k := c.kept[key]
	if k == nil {
		k = &keptColumn{key: key, turn: make(chan struct{}, 1)}
		if c.kept == nil {
			c.kept = map[columnKey]*keptColumn{}
		}
		c.kept[key] = k
		k.place = c.used.PushBack(k)
	} else {
		c.used.MoveToBack(k.place)
	}
	c.mu.Unlock()
	select {
	case k.turn <- struct{}{}:
		return k, nil
	case <-ctx.Done():
		return nil, mail.Wrap(mail.KindUnavailable, ctx.Err())
	}
}

// put gives a column back and forgets the oldest while there are too many bytes.
func (c *columns) put(k *keptColumn) {
	weight := k.rows.weight()
	<-k.turn
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.place == nil {
		return
	}
	c.bytes += weight - k.bytes
	k.bytes = weight
	for c.bytes > c.most {
		c.forget(c.used.Front().Value.(*keptColumn))
	}
}

func (c *columns) forget(k *keptColumn) {
	c.used.Remove(k.place)
	c.bytes -= k.bytes
	k.place = nil
	delete(c.kept, k.key)
}

// forgetAccount forgets all of an account that is gone.
func (c *columns) forgetAccount(id mail.AccountID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, k := range c.kept {
		if key.account == id {
			c.forget(k)
		}
	}
}

// Columns gives each of fields, which are ascending, of messages of the view, which
// are ascending by UID. What is not in memory is computed of their summaries, and of
// their headers where those are too long. KindLimit when it is more than 4 GiB.
func (m *Mailbox) Columns(ctx context.Context, messages []*Message, fields ...message.SortField) ([]Column, error) {
	cache := &m.account.store.columns
	taken := make([]*keptColumn, 0, len(fields))
	defer func() {
		for _, k := range taken {
			cache.put(k)
		}
	}()
	for _, f := range fields {
		k, err := cache.take(ctx, columnKey{m.account.id, m.box.id, f})
		if err != nil {
			return nil, err
		}
		taken = append(taken, k)
	}
	out := make([]Column, len(fields))
	if len(messages) == 0 {
		return out, nil
	}
	known := mail.UID(math.MaxUint32)
	for _, k := range taken {
		if len(k.rows.uids) > 2*m.view.Len()+columnBatch {
			k.rows = k.rows.without(m.view)
		}
		known = min(known, k.rows.last())
	}
	target := make([]*rows, len(fields))
	if missing, wanted := missing(m.view, messages, known); wanted > 0 && wanted*columnDirect < missing {
		// Rows of their own, for all that are asked for.
		for i := range target {
			target[i] = &rows{}
		}
		if err := m.compute(ctx, messages, fields, target); err != nil {
			return nil, err
		}
	} else {
		for i, k := range taken {
			target[i] = &k.rows
		}
		if wanted > 0 {
			all := make([]*Message, 0, missing)
			m.view.EachUID(mail.NumSet{{First: uint32(known) + 1, Last: mail.MaxNum}}, func(_ uint32, msg *Message) bool {
				if !msg.Gone {
					all = append(all, msg)
				}
				return true
			})
			if err := m.compute(ctx, all, fields, target); err != nil {
				return nil, err
			}
		}
	}
	for i, r := range target {
		out[i] = r.column(messages)
	}
	return out, nil
}

// missing says how many messages of view, and of those that are wanted, have a UID
// above known.
func missing(view *Snapshot, messages []*Message, known mail.UID) (all, wanted int) {
	i, _ := slices.BinarySearchFunc(messages, known, func(m *Message, uid mail.UID) int {
		if m.UID <= uid {
			return -1
		}
		return 1
	})
	if known == math.MaxUint32 {
		return 0, 0
	}
	return view.Len() - view.search(known+1), len(messages) - i
}

// compute adds the fields of messages to target where they are beyond what it has.
func (m *Mailbox) compute(ctx context.Context, messages []*Message, fields []message.SortField, target []*rows) error {
	var ids []mail.EmailID
	var late []lateHeader
	var values [][]byte   // of the batch, len(fields) for each message
	var arena, own []byte // arena holds values
	for len(messages) > 0 {
		batch := messages[:min(columnBatch, len(messages))]
		messages = messages[len(batch):]
		ids, late, values, arena = ids[:0], late[:0], slices.Grow(values[:0], len(batch)*len(fields))[:len(batch)*len(fields)], arena[:0]
		for _, msg := range batch {
			ids = append(ids, msg.Email)
		}
		err := m.Summaries(ctx, ids, func(i int, sum message.Summary) error {
			header, whole := sum.KeptHeader()
			for n, f := range fields {
				at := len(arena)
				switch {
				case sum == nil: // expunged meanwhile
				case f == message.SortDate:
					arena = sum.SortDate(arena)
				case whole:
					arena = message.AppendSortField(arena, f, header)
				case n == 0 || fields[n-1] == message.SortDate:
					late = append(late, lateHeader{i, sum.HeaderSize()})
				}
				values[i*len(fields)+n] = arena[at:len(arena):len(arena)]
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, l := range late {
			header, err := m.header(ctx, batch[l.place].Email, l.size, own)
			if err != nil {
				return err
			}
			own = header
			for n, f := range fields {
				if f != message.SortDate {
					values[l.place*len(fields)+n] = message.AppendSortField(nil, f, header)
				}
			}
		}
		for n, r := range target {
			last := r.last()
			for i, msg := range batch {
				if msg.UID <= last {
					continue
				}
				value := values[i*len(fields)+n]
				if len(r.bytes)+len(value) > math.MaxUint32-1 {
					return errColumn
				}
				r.add(msg.UID, value)
			}
		}
	}
	return nil
}

// lateHeader is a message of which the header itself is to be read.
type lateHeader struct {
	place int // in the batch
	size  int64
}

// header reads the header of a message into b, nothing when it is gone.
func (m *Mailbox) header(ctx context.Context, id mail.EmailID, size int64, b []byte) ([]byte, error) {
	body, err := m.Body(ctx, id)
	if err != nil {
		if mail.KindOf(err) == mail.KindExpunged {
			return b[:0], nil
		}
		return nil, err
	}
	defer body.Close()
	n := int(min(body.Size(), size, columnHeader))
	b = slices.Grow(b[:0], n)[:n]
	if n, err = body.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}
