package embedded

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// What nothing refers to any more of the files of bodies is given back here.

const (
	// reclaimEvery is how often reclaim looks for files with waste.
	reclaimEvery = time.Minute
	// reclaimSoonest is how often at most, where bodies are packed sooner than that.
	reclaimSoonest = 5 * time.Second
	// reclaimPause is between two files that it only looks at, so that a large store
	// is not read at once.
	reclaimPause = time.Second
	// worthIt: a file with a third of waste is worth moving the rest.
	worthIt = 3
	// moveAtOnce is how many bytes are moved, and synced, before others may go on: a
	// disk takes milliseconds for them.
	moveAtOnce = 1 << 20
)

func (b *bodyFiles) start() {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.done = cancel, make(chan struct{})
	go func() {
		defer close(b.done)
		tick := time.NewTicker(max(min(reclaimEvery, b.packAfter), reclaimSoonest))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := b.reclaim(ctx, reclaimPause); err != nil && ctx.Err() == nil {
				b.engine.log.Error("space of expunged messages cannot be given back", "folder", b.dir, "error", err)
			}
		}
	}()
}

// stop waits for the goroutine.
func (b *bodyFiles) stop() {
	if b.cancel != nil {
		b.cancel()
		<-b.done
	}
}

// candidates gives the files to look at, those with the most waste first, and those that
// are to be packed. Those whose changes are not made yet are not among them; one that is
// written to is sealed if it should be.
func (b *bodyFiles) candidates() []*bodyFile {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*bodyFile
	for _, f := range b.files {
		writing := f == b.current || f == b.packing
		wanted := f.wasted > 0 && f.wasted*worthIt >= f.size || b.due(f)
		if f.pending > 0 || f.damaged || !wanted && (!b.unknown || writing) {
			continue
		}
		switch f {
		case b.current:
			b.current = nil
		case b.packing:
			b.packing = nil
		}
		b.seal(f)
		list = append(list, f)
	}
	b.unknown = false
	slices.SortFunc(list, func(x, y *bodyFile) int {
		return cmp.Or(cmp.Compare(y.wasted, x.wasted), cmp.Compare(x.number, y.number))
	})
	return list
}

// reclaim looks at the files that may have waste and gives it back.
func (b *bodyFiles) reclaim(ctx context.Context, pause time.Duration) error {
	for _, f := range b.candidates() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.clean(ctx, f, pause); err != nil {
			return err
		}
		wait(ctx, pause)
	}
	return nil
}

// wait waits, unless ctx ends before.
func wait(ctx context.Context, d time.Duration) {
	if d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
}

// needed is a body that a key still leads to.
type needed struct {
	head headed
	at   spot
}

// survey reads the heads of a file and gives the bodies that are needed.
func (b *bodyFiles) survey(ctx context.Context, f *bodyFile) (list []needed, err error) {
	for at := int64(0); at < f.size; {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		h, ok, err := readHead(f.in, spot{offset: at}, f.size-at)
		if err != nil {
			return nil, b.engine.readError(err)
		}
		if !ok {
			// It is what was not durable yet when the power was cut, and needed by
			// nobody; or it is damaged. The keys know.
			return b.surveyKeys(ctx, f)
		}
		s := spot{f.number, at, h.size, h.stored}
		leads, err := b.leads(h.account, h.email, s)
		if err != nil {
			return nil, err
		}
		if leads {
			list = append(list, needed{h, s})
		}
		at += s.length()
	}
	return list, nil
}

// surveyKeys is survey for a file that cannot be read from head to head.
func (b *bodyFiles) surveyKeys(ctx context.Context, f *bodyFile) (list []needed, err error) {
	it, err := b.engine.db.NewIter(&pebble.IterOptions{LowerBound: []byte{zoneBodies}, UpperBound: []byte{zoneBodies + 1}})
	if err != nil {
		return nil, b.engine.readError(err)
	}
	for valid := it.First(); valid && err == nil; valid = it.Next() {
		k := it.Key()
		// Bodies that are in Pebble are not read.
		if small := it.LazyValue(); small.Len() > maxSpot || len(k) != accountPrefix+8+4 {
			continue
		}
		var v []byte
		if v, err = b.engine.value(it); err != nil {
			break
		}
		if s, is, ok := decodeSpot(v); is && ok && s.file == f.number {
			id, m := mail.AccountID(binary.BigEndian.Uint64(k[1:])), mail.EmailID(binary.BigEndian.Uint64(k[accountPrefix:]))
			h, ok, x := readHead(f.in, s, s.length())
			if err = x; err == nil && (!ok || h.account != id || h.email != m) {
				err = damaged("message %v of account %v", m, id)
			}
			list = append(list, needed{h, s})
		}
		if err == nil {
			err = ctx.Err()
		}
	}
	err = b.engine.finish(it, err)
	return list, err
}

// leads tells whether the key of a body leads to s.
func (b *bodyFiles) leads(id mail.AccountID, m mail.EmailID, s spot) (yes bool, err error) {
	_, err = b.engine.get(bodyKey(id, m, 0), func(v []byte) error {
		now, is, ok := decodeSpot(v)
		yes = is && ok && now == s
		return nil
	})
	return yes, err
}

// clean moves what is needed of f elsewhere and removes f, if it has waste enough or is
// to be packed. It rests between as long as it works, so that it is never what others
// wait for.
func (b *bodyFiles) clean(ctx context.Context, f *bodyFile, pause time.Duration) error {
	if r, err := b.reader(f.number); r == nil || err != nil {
		return err
	}
	defer b.returned(f)
	list, err := b.survey(ctx, f)
	if err != nil {
		return b.leave(f, err)
	}
	live := int64(0)
	for _, n := range list {
		live += n.at.length()
	}
	b.mu.Lock()
	f.wasted = f.size - live
	b.mu.Unlock()
	b.mu.Lock()
	due := b.due(f)
	b.mu.Unlock()
	if (f.size-live)*worthIt < f.size && !due {
		return nil
	}
	var z *zstd.Encoder
	if due || f.packed {
		z = encoder()
		defer z.Close()
	}
	for len(list) > 0 {
		begun := time.Now()
		some, size := 0, int64(0)
		for ; some < len(list) && (some == 0 || size < moveAtOnce); some++ {
			size += list[some].at.size
		}
		if !b.room(size) {
			return nil
		}
		if err := b.move(ctx, f, list[:some], z); err != nil {
			return b.leave(f, err)
		}
		list = list[some:]
		wait(ctx, min(pause, time.Since(begun)))
	}
	return b.remove(f)
}

// room tells whether the disk has room to move size bytes: moving must not be what fills
// it. A file of which nothing is needed goes without.
func (b *bodyFiles) room(size int64) bool {
	e := b.engine
	use, err := e.disk.GetDiskUsage(e.dir)
	return err != nil || e.reserve < 0 || use.AvailBytes > uint64(2*size+e.reserve/2)
}

// leave lets reclaim leave a damaged file alone from now on.
func (b *bodyFiles) leave(f *bodyFile, err error) error {
	if mail.KindOf(err) == mail.KindCorrupt {
		b.mu.Lock()
		defer b.mu.Unlock()
		f.damaged = true
	}
	return err
}

// move writes bodies of f anew, packed with z, and makes their keys lead there.
func (b *bodyFiles) move(ctx context.Context, f *bodyFile, list []needed, z *zstd.Encoder) error {
	e := b.engine
	emails := map[mail.AccountID][]store.Email{}
	from := map[mail.EmailID]spot{}
	for _, n := range list {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		body := &filedBody{headed: n.head, spot: n.at, file: f, engine: e, number: -1}
		p := make([]byte, n.at.size)
		if _, err := body.ReadAt(p, 0); err != nil {
			return err
		}
		emails[n.head.account] = append(emails[n.head.account], store.Email{ID: n.head.email, Body: p})
	}
	for id, emails := range emails {
		clear(from)
		for _, n := range list {
			if n.head.account == id {
				from[n.head.email] = n.at
			}
		}
		if err := b.moveAccount(id, emails, from, z); err != nil {
			return err
		}
	}
	return nil
}

func (b *bodyFiles) moveAccount(id mail.AccountID, emails []store.Email, from map[mail.EmailID]spot, z *zstd.Encoder) error {
	e := b.engine
	all, err := b.write(id, emails, 0, z)
	defer func() { b.release(all) }()
	if err != nil {
		return err
	}
	batch := e.db.NewBatch()
	sh := e.shard(id)
	sh.Lock()
	for i := range emails {
		leads, err := b.leads(id, emails[i].ID, from[emails[i].ID])
		if err == nil && leads {
			err = batch.Set(bodyKey(id, emails[i].ID, 0), all[i].spot.append(nil), nil)
		}
		if err != nil {
			sh.Unlock()
			batch.Close()
			return err
		}
		if !leads {
			b.waste(all[i].spot)
		}
	}
	wait, err := e.apply(batch)
	sh.Unlock()
	if err != nil {
		return err
	}
	return wait()
}

// remove removes a file to which no key leads.
func (b *bodyFiles) remove(f *bodyFile) error {
	b.staying.Lock()
	defer b.staying.Unlock()
	e := b.engine
	batch := e.db.NewBatch()
	if err := batch.Delete(bodyFileKey(f.number), nil); err != nil {
		return err
	}
	wait, err := e.apply(batch)
	if err == nil {
		err = wait()
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	delete(b.files, f.number)
	f.gone = true
	b.mu.Unlock()
	return e.disk.Remove(b.name(f.number))
}
