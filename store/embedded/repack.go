package embedded

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

const (
	// repackAbove deltas, and a sixteenth of the mailbox's size, are too many.
	repackAbove    = 512
	repackFraction = 16
	// runCost is how many entries of a run cost as much to read as a delta. So
	// runs may have as many entries as the mailbox before they are packed, and a
	// burst of large changes is packed once or twice.
	runCost = 16
	// maxPlanned is how many deltas are packed by one batch when there are no runs.
	maxPlanned = 1 << 16
	// maxVanished Expunged of a mailbox are kept, or less when their values take
	// more than maxVanishedBytes; it is looked after pruneEvery new ones.
	maxVanished      = 4096
	maxVanishedBytes = 4 << 20
	pruneEvery       = 1024
	// maxCounts and maxQueue bound what is remembered of mailboxes with deltas.
	// What is forgotten is found again by the next Messages.
	maxCounts = 1 << 16
	maxQueue  = 1 << 10
)

// place is a mailbox in an account.
type place struct {
	account mail.AccountID
	mailbox mail.MailboxID
}

// counts is what was written to a mailbox since it was packed or pruned last, as
// far as this process knows.
type counts struct {
	deltas, size, vanished int
	queued                 bool
}

// repacking packs deltas into chunks and forgets old Expunged, in one goroutine.
type repacking struct {
	engine *Engine
	cancel context.CancelFunc // nil until started
	done   chan struct{}
	queue  chan place

	mu     sync.Mutex
	counts map[place]*counts
}

func (r *repacking) start(e *Engine) {
	ctx, cancel := context.WithCancel(context.Background())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.engine, r.cancel = e, cancel
	r.done = make(chan struct{})
	r.queue = make(chan place, maxQueue)
	r.counts = map[place]*counts{}
	go r.run(ctx)
}

// stop waits for the goroutine.
func (r *repacking) stop() {
	if r.cancel != nil {
		r.cancel()
		<-r.done
	}
}

func (r *repacking) run(ctx context.Context) {
	defer close(r.done)
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-r.queue:
			if err := r.work(ctx, p); err != nil && ctx.Err() == nil {
				r.engine.log.Error("packing a mailbox's index failed", "account", p.account, "mailbox", p.mailbox, "error", err)
			}
		}
	}
}

// count changes a mailbox's counts and queues it when there is something to do.
func (r *repacking) count(p place, update func(*counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts[p]
	if c == nil {
		for old, x := range r.counts {
			if len(r.counts) < maxCounts {
				break
			}
			if !x.queued {
				delete(r.counts, old)
			}
		}
		c = &counts{}
		r.counts[p] = c
	}
	update(c)
	if !c.queued && (c.deltas > max(repackAbove, c.size/repackFraction) || c.vanished >= pruneEvery) {
		select {
		case r.queue <- p:
			c.queued = true
		default:
		}
	}
}

// wrote counts what a batch wrote.
func (r *repacking) wrote(b *store.Batch) {
	cost := func(n int) int {
		if from := r.engine.runFrom; n > from {
			return max(from, n/runCost)
		}
		return n
	}
	for i := range b.Messages {
		r.count(place{b.Account.ID, b.Messages[i].Mailbox}, func(c *counts) { c.deltas += cost(len(b.Messages[i].Entries)) })
	}
	for i := range b.Expunged {
		r.count(place{b.Account.ID, b.Expunged[i].Mailbox}, func(c *counts) {
			c.deltas += cost(int(b.Expunged[i].UIDs.Len()))
			c.vanished++
		})
	}
	for i := range b.Mailboxes {
		r.mu.Lock()
		if c := r.counts[place{b.Account.ID, b.Mailboxes[i].ID}]; c != nil {
			c.size = int(b.Mailboxes[i].Messages)
		}
		r.mu.Unlock()
	}
}

// seen corrects the counts by what was found in the store.
func (r *repacking) seen(p place, deltas, size int) {
	if deltas > repackAbove {
		r.count(p, func(c *counts) { c.deltas, c.size = deltas, size })
	}
}

// work packs and prunes one mailbox.
func (r *repacking) work(ctx context.Context, p place) error {
	r.mu.Lock()
	c := *r.counts[p]
	r.mu.Unlock()
	left, err := 0, error(nil)
	if c.deltas > repackAbove {
		left, err = r.engine.repack(ctx, p)
	}
	if err == nil && c.vanished >= pruneEvery {
		err = r.engine.prune(ctx, p)
	}
	r.count(p, func(c *counts) {
		c.queued, c.deltas = false, left
		if c.vanished >= pruneEvery {
			c.vanished = 0
		}
	})
	return err
}

// optimistic is how often a plan is made beside Commits of the same account before
// they have to wait for one.
const optimistic = 2

// repack packs the deltas of a mailbox, at most maxPlanned of them, and gives how
// many are left.
func (e *Engine) repack(ctx context.Context, p place) (left int, err error) {
	sh := e.shard(p.account)
	for try := 0; ; try++ {
		alone := try == optimistic
		sh.Lock()
		commits := sh.commits
		if !alone {
			sh.Unlock()
		}
		batch, left, err := e.planned(ctx, p)
		if !alone {
			sh.Lock()
		}
		current := sh.commits == commits
		if err == nil && batch != nil && current && e.refused() == nil {
			// Nobody waits for it: a log that ends before it has the deltas.
			_, err = e.apply(batch)
			batch = nil
		}
		sh.Unlock()
		if batch != nil {
			batch.Close()
		}
		if current || err != nil {
			return left, err
		}
	}
}

// planned makes the batch that packs p, nil when there is nothing to do.
func (e *Engine) planned(ctx context.Context, p place) (batch *pebble.Batch, left int, err error) {
	it, err := e.db.NewIter(&pebble.IterOptions{
		LowerBound: mailboxKey(p.account, p.mailbox),
		UpperBound: contentsKey(p.account, p.mailbox, partVanished),
	})
	if err != nil {
		return nil, 0, e.readError(err)
	}
	if _, err := e.mailboxAt(it, p.account, p.mailbox); err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			err = nil
		}
		return nil, 0, e.finish(it, err)
	}
	var x index
	var runs [][]byte
	err = e.walk(ctx, it, it.SeekGE(contentsKey(p.account, p.mailbox, partRun)), func(k, v []byte) (bool, error) {
		if k[contentsPrefix-1] != partRun {
			return false, nil
		}
		runs = append(runs, slices.Clone(k))
		return true, x.add(p.account, p.mailbox, 0, k, v)
	})
	if err == nil {
		err = e.walk(ctx, it, it.SeekGE(contentsKey(p.account, p.mailbox, partDelta)), func(k, v []byte) (bool, error) {
			// Beside runs none is left, or an older one could come back.
			if len(x.deltas) >= maxPlanned && len(runs) == 0 {
				left++
				return true, nil
			}
			return true, x.add(p.account, p.mailbox, 0, k, v)
		})
	}
	deltas := len(x.deltas)
	x.settle()
	if err != nil || len(x.deltas) == 0 {
		return nil, 0, e.finish(it, err)
	}
	var firsts []mail.UID
	err = e.walk(ctx, it, it.SeekGE(contentsKey(p.account, p.mailbox, partChunk)), func(k, v []byte) (bool, error) {
		if k[contentsPrefix-1] != partChunk || len(k) != contentsPrefix+4 {
			return false, nil
		}
		firsts = append(firsts, mail.UID(binary.BigEndian.Uint32(k[contentsPrefix:])))
		return true, nil
	})
	w := &packer{change: change{engine: e, id: p.account, batch: e.db.NewBatch(), err: err}, mailbox: p.mailbox}
	w.pack(it, firsts, x.deltas)
	for _, k := range runs {
		w.delete(k)
	}
	if deltas > 0 {
		w.forget(x.deltas[len(x.deltas)-1].UID)
	}
	if err := e.finish(it, w.err); err != nil {
		w.batch.Close()
		return nil, 0, err
	}
	return w.batch, left, nil
}

// packer fills a batch with the chunks that change.
type packer struct {
	change
	mailbox mail.MailboxID
	pending []store.Message // taken out of old chunks, not yet in new ones
	taken   []store.Message // memory for one chunk
}

// pack merges deltas into the chunks that begin with firsts. A chunk that no delta
// touches stays as it is, unless a neighbour became too small.
func (w *packer) pack(it *pebble.Iterator, firsts []mail.UID, deltas []store.Message) {
	rest := deltas
	for i, first := range firsts {
		n := 0
		for n < len(rest) && (i == len(firsts)-1 || rest[n].UID < firsts[i+1]) {
			n++
		}
		if w.err != nil || n == 0 && len(w.pending) == 0 {
			continue
		}
		w.pending = append(w.pending, merge(w.take(it, first), rest[:n])...)
		rest = rest[n:]
		w.put(chunkEntries / 2)
	}
	if len(firsts) == 0 {
		w.pending = merge(nil, rest)
	}
	w.put(1)
}

// forget removes the deltas up to last.
func (w *packer) forget(last mail.UID) {
	end := contentsKey(w.id, w.mailbox, partDelta+1)
	if last+1 != 0 {
		end = deltaKey(w.id, w.mailbox, last+1)
	}
	w.deleteRange(contentsKey(w.id, w.mailbox, partDelta), end)
}

// take reads a chunk and removes it.
func (w *packer) take(it *pebble.Iterator, first mail.UID) []store.Message {
	key := chunkKey(w.id, w.mailbox, first)
	w.delete(key)
	x := index{entries: w.taken[:0]}
	if it.SeekGE(key) {
		v, err := w.engine.value(it)
		if err == nil {
			err = x.add(w.id, w.mailbox, 0, it.Key(), v)
		}
		if w.err == nil {
			w.err = w.engine.readError(err)
		}
	}
	if err := it.Error(); err != nil && w.err == nil {
		w.err = w.engine.readError(err)
	}
	w.taken = x.entries
	return x.entries
}

// put writes what is pending as chunks, but not a last one below least entries.
func (w *packer) put(least int) {
	rest := w.pending
	for len(rest) > 0 && len(rest) >= least {
		n := len(rest)
		if n >= 2*chunkEntries {
			n = chunkEntries
		}
		w.buf = appendChunk(w.buf[:0], rest[:n])
		w.set(chunkKey(w.id, w.mailbox, rest[0].UID), w.buf)
		rest = rest[n:]
	}
	w.pending = w.pending[:copy(w.pending, rest)]
}

// prune forgets the oldest Expunged of a mailbox beyond the bounds.
func (e *Engine) prune(ctx context.Context, p place) error {
	sh := e.shard(p.account)
	sh.Lock()
	defer sh.Unlock()
	type kept struct {
		modSeq mail.ModSeq
		bytes  int
	}
	var all []kept
	total := 0
	lower := contentsKey(p.account, p.mailbox, partVanished)
	err := e.scan(ctx, lower, contentsKey(p.account, p.mailbox, partForgotten), func(k, v []byte) (bool, error) {
		if len(k) != contentsPrefix+8 {
			return false, damaged("the memory of mailbox %v of account %v", p.mailbox, p.account)
		}
		all = append(all, kept{mail.ModSeq(binary.BigEndian.Uint64(k[contentsPrefix:])), len(v)})
		total += len(v)
		return true, nil
	})
	n := 0
	for ; err == nil && n < len(all) && (len(all)-n > maxVanished || total > maxVanishedBytes); n++ {
		total -= all[n].bytes
	}
	if err != nil || n == 0 || e.refused() != nil {
		return err
	}
	c := change{engine: e, id: p.account, batch: e.db.NewBatch()}
	c.deleteRange(lower, vanishedKey(p.account, p.mailbox, all[n-1].modSeq+1))
	c.set(forgottenKey(p.account, p.mailbox), binary.AppendUvarint(nil, uint64(all[n-1].modSeq)))
	if c.err != nil {
		c.batch.Close()
		return c.err
	}
	_, err = e.apply(c.batch)
	return err
}
