package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// lookup is Pebble's Get, which in v2.1.7 gives an empty value and no error when a
// value in a blob file cannot be read; its closer is an iterator that knows.
func (e *Engine) lookup(key []byte) (v []byte, closer io.Closer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = e.panicked(r)
		}
	}()
	if err := e.spoiled.is(key); err != nil {
		return nil, nil, err
	}
	writes := e.spoiled.writes.Load()
	defer func() {
		if err != nil && pebble.IsCorruptionError(err) {
			e.spoiled.add(key, err, writes)
		}
	}()
	v, closer, err = e.db.Get(key)
	if err == nil && len(v) == 0 {
		if it, ok := closer.(interface{ Error() error }); ok && it.Error() != nil {
			err = it.Error()
			closer.Close()
		}
	}
	return v, closer, err
}

// spoiled remembers keys whose block is damaged, for some time: Pebble v2.1.7 looks for the
// bit that flipped each time that it reads such a block, which takes a second of processor
// time, and a client asks again and again.
type spoiled struct {
	some   atomic.Bool   // there are any
	writes atomic.Uint64 // changes that became visible
	mu     sync.Mutex
	keys   map[string]spoiledKey
}

type spoiledKey struct {
	err   error
	until time.Time
}

const (
	// spoiledFor is how long a key is not read again.
	spoiledFor = 5 * time.Minute
	maxSpoiled = 4096
)

// is gives the error of a key that is known to be damaged.
func (s *spoiled) is(key []byte) error {
	if !s.some.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.keys[string(key)]; ok && time.Now().Before(k.until) {
		return k.err
	}
	return nil
}

// add remembers a key that was read when writes was as many, unless it may have been
// written since.
func (s *spoiled) add(key []byte, err error, writes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writes.Load() != writes {
		return
	}
	if s.keys == nil || len(s.keys) >= maxSpoiled {
		s.keys = map[string]spoiledKey{}
	}
	s.keys[string(key)] = spoiledKey{err, time.Now().Add(spoiledFor)}
	s.some.Store(true)
}

// written forgets what batch is about to write, or to remove; done is to be called when
// that is visible.
func (s *spoiled) written(batch *pebble.Batch) (done func()) {
	s.visible()
	if !s.some.Load() {
		return s.visible
	}
	var again []string
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := batch.Reader(); ; {
		kind, key, value, ok, err := r.Next()
		if !ok || err != nil {
			break
		}
		if kind != pebble.InternalKeyKindRangeDelete {
			if _, ok := s.keys[string(key)]; ok {
				again = append(again, string(key))
			}
			continue
		}
		for k := range s.keys {
			if k >= string(key) && k < string(value) {
				again = append(again, k)
			}
		}
	}
	return func() {
		s.visible()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, k := range again {
			delete(s.keys, k)
		}
	}
}

// visible lets nobody add what was read before.
func (s *spoiled) visible() { s.writes.Add(1) }

// value gives the value that an iterator stands at.
func (e *Engine) value(it *pebble.Iterator) (v []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = e.panicked(r)
		}
	}()
	v, err = it.ValueAndErr()
	return v, e.readError(err)
}

// get gives the value at key to use, valid while it runs; found is false when
// there is none.
func (e *Engine) get(key []byte, use func(value []byte) error) (found bool, err error) {
	v, closer, err := e.lookup(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, e.readError(err)
	}
	if v == nil {
		v = []byte{}
	}
	err = use(v)
	if x := closer.Close(); err == nil {
		err = e.readError(x)
	}
	return true, err
}

// scan walks over the keys from lower to before upper with use, which may stop it
// by returning false; key and value are valid until use returns.
func (e *Engine) scan(ctx context.Context, lower, upper []byte, use func(key, value []byte) (bool, error)) error {
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return e.readError(err)
	}
	return e.finish(it, e.walk(ctx, it, it.First(), use))
}

// walk goes on from where it stands, which is valid.
func (e *Engine) walk(ctx context.Context, it *pebble.Iterator, valid bool, use func(key, value []byte) (bool, error)) error {
	for n := 0; valid; n++ {
		if n%1024 == 1023 && ctx.Err() != nil {
			return mail.Wrap(mail.KindUnavailable, ctx.Err())
		}
		v, err := e.value(it)
		if err != nil {
			return err
		}
		more, err := use(it.Key(), v)
		if err != nil || !more {
			return err
		}
		valid = it.Next()
	}
	return e.readError(it.Error())
}

// finish closes it and gives the first error.
func (e *Engine) finish(it *pebble.Iterator, err error) error {
	if x := it.Close(); err == nil {
		err = e.readError(x)
	}
	return err
}

func noAccount(id mail.AccountID) error {
	return mail.Errorf(mail.KindNotFound, "there is no account %v", id)
}

func noMailbox(mailbox mail.MailboxID) error {
	return mail.Errorf(mail.KindNotFound, "there is no mailbox %v", mailbox)
}

// head reads an account's head; found is false when there is none.
func (e *Engine) head(id mail.AccountID) (a store.AccountRecord, found bool, err error) {
	found, err = e.get(headKey(id), func(v []byte) error {
		var err error
		a, err = decodeHead(id, v)
		return err
	})
	return a, found, err
}

// Account implements store.Engine.
func (e *Engine) Account(ctx context.Context, id mail.AccountID) (store.AccountState, error) {
	if err := e.enter(ctx); err != nil {
		return store.AccountState{}, err
	}
	defer e.leave()
	first := headKey(id)
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: first, UpperBound: kindKey(id, kindSubscriptions+1)})
	if err != nil {
		return store.AccountState{}, e.readError(err)
	}
	var s store.AccountState
	err = e.walk(ctx, it, it.First(), func(k, v []byte) (bool, error) {
		if string(k) != string(first) {
			return false, noAccount(id)
		}
		s.Account, err = decodeHead(id, v)
		return false, err
	})
	if err == nil && s.Account.ID == 0 {
		err = noAccount(id)
	}
	if err == nil {
		err = e.walk(ctx, it, it.SeekGE(kindKey(id, kindMailboxes)), func(k, v []byte) (bool, error) {
			if k[accountPrefix] == kindSubscriptions {
				s.Subscriptions = append(s.Subscriptions, string(k[kindPrefix:]))
				return true, nil
			}
			if len(k) != kindPrefix+4 {
				return false, damaged("the list of mailboxes of account %v", id)
			}
			m, err := decodeMailbox(mail.MailboxID(binary.BigEndian.Uint32(k[kindPrefix:])), v)
			s.Mailboxes = append(s.Mailboxes, m)
			return true, err
		})
	}
	if err = e.finish(it, err); err != nil {
		return store.AccountState{}, err
	}
	return s, nil
}

// Accounts implements store.Engine.
func (e *Engine) Accounts(ctx context.Context) ([]mail.AccountID, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	var ids []mail.AccountID
	err := e.scan(ctx, []byte{zoneHeads}, []byte{zoneHeads + 1}, func(k, _ []byte) (bool, error) {
		if len(k) != accountPrefix {
			return false, damaged("the list of accounts")
		}
		ids = append(ids, mail.AccountID(binary.BigEndian.Uint64(k[1:])))
		return true, nil
	})
	return ids, err
}

// Messages implements store.Engine.
func (e *Engine) Messages(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) ([]store.Message, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	x, err := e.index(ctx, id, mailbox, since)
	if err != nil {
		if mail.KindOf(err) == mail.KindCorrupt && since == 0 {
			return e.salvage(ctx, id, mailbox), err
		}
		return nil, err
	}
	e.repacking.seen(place{id, mailbox}, len(x.deltas), len(x.entries))
	out := merge(x.entries, x.deltas)
	if since > 0 {
		out = slices.DeleteFunc(out, func(m store.Message) bool { return m.ModSeq <= since })
	}
	return out, nil
}

// index is what is stored of a mailbox's index, not yet merged.
type index struct {
	entries []store.Message // those of chunks
	deltas  []store.Message // with Gone set: expunged

	// Until settle: the run that is being added, and those before it, the longer
	// ones first, so that many are merged in little more time than one.
	run    []store.Message
	runSeq mail.ModSeq
	runs   [][]store.Message
}

// maxHint bounds the memory that a mailbox's counter alone can make us take.
const maxHint = 1 << 20

// index reads the index of a mailbox; KindNotFound. Entries up to since are left
// out where that is easy.
func (e *Engine) index(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) (x index, err error) {
	it, err := e.db.NewIter(&pebble.IterOptions{
		LowerBound: mailboxKey(id, mailbox),
		UpperBound: contentsKey(id, mailbox, partVanished),
	})
	if err != nil {
		return x, e.readError(err)
	}
	m, err := e.mailboxAt(it, id, mailbox)
	if err == nil {
		if since == 0 {
			x.entries = make([]store.Message, 0, min(m.Messages, maxHint))
		}
		err = e.walk(ctx, it, it.SeekGE(contentsKey(id, mailbox, partRun)), func(k, v []byte) (bool, error) {
			return true, x.add(id, mailbox, since, k, v)
		})
		x.settle()
	}
	return x, e.finish(it, err)
}

// add takes one key and value of an index.
func (x *index) add(id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq, k, v []byte) error {
	if len(k) == contentsPrefix+4 {
		uid := mail.UID(binary.BigEndian.Uint32(k[contentsPrefix:]))
		switch k[contentsPrefix-1] {
		case partChunk:
			n := len(x.entries)
			last := mail.UID(0)
			if n > 0 {
				last = x.entries[n-1].UID
			}
			var ok bool
			x.entries, ok = decodeChunk(x.entries, v, since)
			if ok && (len(x.entries) == n || x.entries[n].UID >= uid && x.entries[n].UID > last) {
				return nil
			}
		case partDelta:
			if len(v) == 0 {
				x.deltas = append(x.deltas, store.Message{UID: uid, Gone: true})
				return nil
			}
			n := len(x.deltas)
			var ok bool
			x.deltas, ok = decodeChunk(x.deltas, v, 0)
			if ok && len(x.deltas) == n+1 && x.deltas[n].UID == uid {
				return nil
			}
		}
	}
	if len(k) == contentsPrefix+12 && k[contentsPrefix-1] == partRun {
		if x.addRun(since, mail.ModSeq(binary.BigEndian.Uint64(k[contentsPrefix:])), v) {
			return nil
		}
	}
	return damaged("the index of mailbox %v of account %v", mailbox, id)
}

// addRun takes one value of the runs of the change modSeq. What is not above since
// may be left out, whatever it replaces, but not what is expunged.
func (x *index) addRun(since, modSeq mail.ModSeq, v []byte) bool {
	n := len(x.run)
	var ok bool
	if len(v) > 0 && v[0] == layoutGone {
		x.run, ok = decodeGone(x.run, v)
	} else {
		x.run, ok = decodeChunk(x.run, v, since)
	}
	if n > 0 && len(x.run) > n && (modSeq != x.runSeq || x.run[n].UID <= x.run[n-1].UID) {
		next := slices.Clone(x.run[n:])
		x.runs = append(x.runs, x.run[:n:n])
		x.run = next
		for n := len(x.runs); n > 1 && len(x.runs[n-2]) < 2*len(x.runs[n-1]); n-- {
			x.runs = append(x.runs[:n-2], overlay(x.runs[n-2], x.runs[n-1]))
		}
	}
	x.runSeq = modSeq
	return ok
}

// settle makes runs and deltas one list, when all were added.
func (x *index) settle() {
	all := x.run
	for i := len(x.runs) - 1; i >= 0; i-- {
		all = overlay(x.runs[i], all)
	}
	x.deltas = overlay(all, x.deltas)
	x.runs, x.run = nil, nil
}

// mailboxAt reads the mailbox's record with an iterator whose lower bound it is.
func (e *Engine) mailboxAt(it *pebble.Iterator, id mail.AccountID, mailbox mail.MailboxID) (m store.MailboxRecord, err error) {
	err = noMailbox(mailbox)
	if !it.First() || string(it.Key()) != string(mailboxKey(id, mailbox)) {
		if x := it.Error(); x != nil {
			err = e.readError(x)
		}
		return m, err
	}
	v, err := e.value(it)
	if err != nil {
		return m, err
	}
	return decodeMailbox(mailbox, v)
}

// Vanished implements store.Engine. The last 4,096 Expunged of a mailbox are
// remembered, or some more, and of many large ones the last 4 MiB.
func (e *Engine) Vanished(ctx context.Context, id mail.AccountID, mailbox mail.MailboxID, since mail.ModSeq) (mail.NumSet, bool, error) {
	if err := e.enter(ctx); err != nil {
		return nil, false, err
	}
	defer e.leave()
	it, err := e.db.NewIter(&pebble.IterOptions{
		LowerBound: mailboxKey(id, mailbox),
		UpperBound: contentsKey(id, mailbox, partForgotten+1),
	})
	if err != nil {
		return nil, false, e.readError(err)
	}
	var uids mail.NumSet
	complete := true
	if _, err = e.mailboxAt(it, id, mailbox); err == nil && since+1 != 0 {
		err = e.walk(ctx, it, it.SeekGE(vanishedKey(id, mailbox, since+1)), func(k, v []byte) (bool, error) {
			if k[contentsPrefix-1] == partForgotten {
				forgotten, ok := decodeUvarint(v)
				complete = since >= mail.ModSeq(forgotten)
				if !ok {
					return false, damaged("the memory of mailbox %v of account %v", mailbox, id)
				}
				return true, nil
			}
			set, ok := decodeNumSet(v)
			if !ok {
				return false, damaged("the memory of mailbox %v of account %v", mailbox, id)
			}
			for _, r := range set {
				uids.AddRange(r.First, r.Last)
			}
			return true, nil
		})
	}
	if err = e.finish(it, err); err != nil {
		return nil, false, err
	}
	return uids, complete, nil
}

// Threads implements store.Engine.
func (e *Engine) Threads(ctx context.Context, id mail.AccountID, keys []store.ThreadKey) ([]mail.ThreadID, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	out := make([]mail.ThreadID, len(keys))
	for i, k := range keys {
		_, err := e.get(threadKey(id, k), func(v []byte) error {
			t, ok := decodeUvarint(v)
			if !ok {
				return damaged("a thread of account %v", id)
			}
			out[i] = mail.ThreadID(t)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
