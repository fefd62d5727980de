// Package embedded is Postern's own directory: its entries are records of the
// store. All of them are held in memory (about 1 KiB each), because every login
// and every delivery asks; records are written through, and read again when
// another server changed them.
package embedded

import (
	"context"
	"crypto/rand"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/seal"
	"github.com/postern-mail/postern/store"
)

// Records is what the directory needs of a store.Engine.
type Records interface {
	Records(ctx context.Context, kind, prefix string) ([]store.Record, error)
	PutRecords(ctx context.Context, records []store.Record) error
}

// Options may be left zero.
type Options struct {
	// Argon2 is the price of passwords that are set from now on; those that are
	// set already keep theirs. Zero is DefaultArgon2.
	Argon2 Argon2
	// ScramIterations of passwords that are set from now on; at least 4096, zero
	// is DefaultScramIterations.
	ScramIterations int
	// Gate bounds the verifications; a Memory of 0 is directory.TotalMemory.
	Gate directory.GateLimits
	// Key seals the passwords that the server must be able to read; nil keeps none.
	Key *seal.Key
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Rand gives salts; nil is crypto/rand.
	Rand io.Reader
}

// DefaultScramIterations is eight times what RFC 7677, 4 asks at least. The server
// pays it only when a password is set, but the client at every login, on a telephone
// too; and clients made with Cyrus SASL refuse more than 65,536.
const DefaultScramIterations = 32768

// Directory is a directory.Writable. Its methods are called from many goroutines.
type Directory struct {
	records    Records
	cost       Argon2
	iterations int
	now        func() time.Time
	rand       io.Reader

	secret []byte // for fake SCRAM keys, the same for good
	dummy  phc    // what an unknown name's password is verified against
	gate   *directory.Gate
	key    *seal.Key // of readable passwords, nil when none are kept

	verifications atomic.Int64 // for tests: how often the price was paid

	writing sync.Mutex // one change at a time, and none during Refresh

	mu      sync.RWMutex
	byName  map[string]*held
	aliases map[string]alias
	names   map[mail.AccountID]string // the name of an account; nil until somebody asks
}

// alias is an alias's record in memory.
type alias struct {
	name     string
	revision uint64
}

var (
	_ directory.Writable = (*Directory)(nil)
	_ directory.Readable = (*Directory)(nil)
	_ directory.Named    = (*Directory)(nil)
)

// Open reads all entries. KindUnavailable, KindCorrupt.
func Open(ctx context.Context, records Records, o Options) (*Directory, error) {
	d := &Directory{records: records, cost: o.Argon2, iterations: o.ScramIterations, now: o.Now, rand: o.Rand}
	if d.cost == (Argon2{}) {
		d.cost = DefaultArgon2
	}
	if d.iterations == 0 {
		d.iterations = DefaultScramIterations
	}
	if !d.cost.sane() || d.iterations < 4096 {
		return nil, mail.Errorf(mail.KindBadArgument, "The price of passwords is out of bounds.")
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.rand == nil {
		d.rand = rand.Reader
	}
	if err := d.openSecret(ctx); err != nil {
		return nil, err
	}
	if o.Gate.Memory == 0 {
		o.Gate.Memory = directory.TotalMemory
	}
	d.gate = directory.NewGate(o.Gate)
	salt := make([]byte, directory.SaltSize)
	if err := d.read(salt); err != nil {
		return nil, err
	}
	d.dummy = phc{d.cost, salt, make([]byte, argon2Size)}
	d.key = o.Key
	return d, d.Refresh(ctx)
}

func (d *Directory) read(b []byte) error {
	_, err := io.ReadFull(d.rand, b)
	return mail.Wrap(mail.KindUnavailable, err)
}

// openSecret reads the secret, or makes it when this is the first Open.
func (d *Directory) openSecret(ctx context.Context) error {
	fresh := make([]byte, 32)
	if err := d.read(fresh); err != nil {
		return err
	}
	for range 2 {
		records, err := d.records.Records(ctx, secretKind, secretKey)
		if err != nil {
			return mail.Wrap(mail.KindUnavailable, err)
		}
		if len(records) > 0 {
			d.secret = records[0].Value
			return nil
		}
		err = d.records.PutRecords(ctx, []store.Record{{Kind: secretKind, Key: secretKey, Value: fresh}})
		if err == nil {
			d.secret = fresh
			return nil
		}
		if mail.KindOf(err) != mail.KindConflict { // another server was first: read its secret
			return err
		}
	}
	return mail.Errorf(mail.KindUnavailable, "The directory's secret can neither be read nor written.")
}

// Nobody gives what the SCRAM keys of unknown names are made with
// (directory.UnmatchableScramKeys), so that another directory's look the same.
func (d *Directory) Nobody() (secret []byte, iterations int) { return d.secret, d.iterations }

// Refresh reads all entries again: what an announcement of another server's change
// asks for. On an error what was known stays.
func (d *Directory) Refresh(ctx context.Context) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	return d.refresh(ctx)
}

func (d *Directory) refresh(ctx context.Context) error {
	records, err := d.records.Records(ctx, RecordKind, "")
	if err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	byName, aliases := map[string]*held{}, map[string]alias{}
	for _, r := range records {
		v, err := decode(r)
		if err != nil {
			return err
		}
		if v.Account != nil {
			byName[r.Key] = &held{*v.Account, r.Key, r.Revision}
		} else {
			aliases[r.Key] = alias{v.Alias, r.Revision}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.byName, d.aliases, d.names = byName, aliases, nil
	return nil
}

// find gives the account that a name or alias means, nil when there is none.
func (d *Directory) find(name string) *held {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if h := d.byName[name]; h != nil {
		return h
	}
	return d.byName[d.aliases[name].name]
}

// NameOf is part of directory.Named.
func (d *Directory) NameOf(ctx context.Context, account mail.AccountID) (string, error) {
	d.mu.RLock()
	name, known := d.names[account], d.names != nil
	d.mu.RUnlock()
	if !known {
		// Where nothing is shared nobody asks.
		d.mu.Lock()
		defer d.mu.Unlock()
		d.names = make(map[mail.AccountID]string, len(d.byName))
		for name, h := range d.byName {
			d.names[h.ID] = name
		}
		name = d.names[account]
	}
	return name, mail.Wrap(mail.KindUnavailable, ctx.Err())
}

// Lookup is part of directory.Directory.
func (d *Directory) Lookup(ctx context.Context, name string) (*directory.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	h := d.find(name)
	if h == nil {
		return nil, mail.Errorf(mail.KindNotFound, "There is no such mailbox.")
	}
	return h.entry(), nil
}

// CheckPassword is part of directory.Directory.
func (d *Directory) CheckPassword(ctx context.Context, name, password string) (*directory.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	if password == "" {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	h, against := d.find(name), d.dummy
	if h != nil && h.Password != "" {
		var err error
		if against, err = parsePHC(h.Password); err != nil {
			return nil, err
		}
	}
	done, err := d.gate.Enter(ctx, against.cost.memory())
	if err != nil {
		return nil, err
	}
	defer done()
	// Unknown names and entries without a password pay the same price: no
	// password gives the dummy's hash of zeros.
	if !d.verify(against, password) || h == nil || h.Password == "" {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return h.entry(), nil
}

// ScramKeys is part of directory.Directory.
func (d *Directory) ScramKeys(ctx context.Context, name string, hash directory.Hash) (*directory.Entry, directory.ScramKeys, error) {
	if err := ctx.Err(); err != nil {
		return nil, directory.ScramKeys{}, mail.Wrap(mail.KindUnavailable, err)
	}
	// Made for every name, so that a known one is not answered faster.
	fake, err := directory.UnmatchableScramKeys(hash, name, d.secret, d.iterations)
	if err != nil {
		return nil, directory.ScramKeys{}, err
	}
	if h := d.find(name); h != nil {
		for _, k := range h.Scram {
			if k.Hash == hash {
				return h.entry(), directory.ScramKeys(k), nil
			}
		}
	}
	return nil, fake, nil
}

// HasReadable is part of directory.Readable.
func (d *Directory) HasReadable() bool { return d.key != nil }

// CheckAnswer is part of directory.Readable.
func (d *Directory) CheckAnswer(ctx context.Context, name string, right func([]byte) bool) (*directory.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	h := d.find(name)
	password, known := d.secret, h != nil && len(h.Sealed) > 0
	switch {
	case known && d.key == nil:
		return nil, mail.Errorf(mail.KindUnavailable, "The key of readable passwords is not there.")
	case known:
		var err error
		if password, err = d.key.Open(h.Sealed, sealedAbout(h.ID)); err != nil {
			return nil, err
		}
	case d.key != nil:
		d.key.Open(d.secret, "") // which fails, and takes as long
	}
	if !right(password) || !known {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return h.entry(), nil
}

// List is part of directory.Writable.
func (d *Directory) List(ctx context.Context) ([]directory.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	d.mu.RLock()
	entries := make([]directory.Entry, 0, len(d.byName))
	for _, h := range d.byName {
		entries = append(entries, *h.entry())
	}
	d.mu.RUnlock()
	slices.SortFunc(entries, func(a, b directory.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}
