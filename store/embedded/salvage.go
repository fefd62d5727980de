package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// What is damaged is passed by here, to give what can still be read beside it.

// salvage gives the entries of a mailbox's index that can still be read.
func (e *Engine) salvage(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID) []store.Message {
	var x index
	e.readable(ctx, contentsKey(id, mailbox, partRun), contentsKey(id, mailbox, partVanished), func(k, v []byte) {
		// What does not decode is left out; a chunk may have given some of its entries.
		n, m := len(x.entries), len(x.deltas)
		if x.add(id, mailbox, 0, k, v) != nil {
			x.entries, x.deltas = x.entries[:n], x.deltas[:m]
		}
	})
	x.settle()
	return merge(x.entries, x.deltas)
}

// readable calls use with the keys and values from lower to before upper that can be read.
// Keys have a contentsPrefix.
func (e *Engine) readable(ctx context.Context, lower, upper []byte, use func(key, value []byte)) {
	for lower != nil && ctx.Err() == nil {
		it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			return
		}
		last := append([]byte(nil), lower...)
		for valid := it.First(); valid; valid = it.Next() {
			last = append(last[:0], it.Key()...)
			// A value in a blob file may be damaged alone.
			if v, err := e.value(it); err == nil {
				use(it.Key(), v)
			}
		}
		err = it.Error()
		it.Close()
		if err == nil {
			return
		}
		lower = e.beyond(last, upper)
	}
}

// beyond gives where behind at, in a block that cannot be read, reading works again; nil
// when nowhere before upper. The five bytes from a key's part on are its number.
func (e *Engine) beyond(at, upper []byte) []byte {
	const number = contentsPrefix - 1
	key := func(n uint64) []byte {
		k := append([]byte(nil), at[:number]...)
		return append(k, byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	works := func(n uint64) bool {
		it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: key(n), UpperBound: upper})
		if err != nil {
			return false
		}
		it.First()
		return errors.Join(it.Error(), it.Close()) == nil
	}
	var from [5]byte
	copy(from[:], at[number:])
	first := uint64(from[0])<<32 + uint64(binary.BigEndian.Uint32(from[1:])) + 1
	step, end := uint64(1), uint64(upper[number])<<32
	for first+step < end && !works(first+step) {
		step *= 2
	}
	if first+step >= end {
		return nil
	}
	return key(first + uint64(sort.Search(int(step), func(n int) bool { return works(first + uint64(n)) })))
}

// References implements store.Engine.
func (e *Engine) References(ctx context.Context, id mail.AccountID) ([]store.Reference, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	prefix := inAccount(zoneBodies, id)
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, e.readError(err)
	}
	var out []store.Reference
	for valid := it.First(); valid; valid = it.Next() { // without the values
		k := it.Key()
		if len(k) != accountPrefix+8+4 {
			err = damaged("the list of messages of account %v", id)
			break
		}
		m := mail.EmailID(binary.BigEndian.Uint64(k[accountPrefix:]))
		if n := len(out); n == 0 || out[n-1].Email != m {
			out = append(out, store.Reference{Email: m, Delta: 1})
		}
	}
	if err == nil {
		err = e.readError(it.Error())
	}
	if err = e.finish(it, err); err != nil {
		return nil, err
	}
	prefix = kindKey(id, kindEmails)
	err = e.scan(ctx, prefix, after(prefix), func(k, v []byte) (bool, error) {
		x, ok := decodeStored(v)
		if !ok || len(k) != kindPrefix+8 {
			return false, damaged("a count of account %v", id)
		}
		m := mail.EmailID(binary.BigEndian.Uint64(k[kindPrefix:]))
		i := sort.Search(len(out), func(i int) bool { return out[i].Email >= m })
		if i < len(out) && out[i].Email == m {
			out[i].Delta = int(x.references)
		}
		return true, nil
	})
	return out, err
}
