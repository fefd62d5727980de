package crypt

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"sync"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// KeyOptions are the keys in the settings file that passwd files and databases share.
type KeyOptions struct {
	// Scram says that SCRAM is offered to people of the directory: those whose
	// password is stored readable or as SCRAM keys, and those of whom Upgrade made
	// keys. Others cannot sign in by it.
	Scram bool `toml:"scram"`
	// Upgrade makes SCRAM keys of every right password and keeps them in Postern's
	// own records, until the directory says another password.
	Upgrade bool `toml:"upgrade"`
}

// Records is what Keys needs of a store.Engine.
type Records interface {
	Records(ctx context.Context, kind, prefix string) ([]store.Record, error)
	PutRecords(ctx context.Context, records []store.Record) error
}

// Keeper says where Keys keeps what it makes.
type Keeper struct {
	Records    Records
	Directory  string // the directory's name
	Iterations int    // of SCRAM keys; at least 4096
	Log        *slog.Logger
}

// Keys gives the SCRAM keys of people whose stored passwords are in another form.
type Keys struct {
	k       Keeper
	upgrade bool
	secret  []byte // of the salts of readable passwords

	mu    sync.Mutex
	known map[string]*known // by identifier; what is made anew costs a few ms
}

// known is what was made of one stored password of somebody.
type known struct {
	stored  [sha256.Size]byte // with Keys' secret
	derived map[directory.Hash]directory.ScramKeys
	record  uint64 // the revision of the record that belongs to stored, 0 for none
}

// maxKnown bounds Keys.known.
const maxKnown = 1 << 16

// keysKind is the kind of the records: the key is directory and identifier.
const keysKind = "directory-keys"

// record is what is kept. Of is derived from the stored password as SCRAM derives its
// keys, so that it says of it no more, and no faster, than the keys say of the
// password.
type record struct {
	Of   directory.ScramKeys   `json:"of"`
	Keys []directory.ScramKeys `json:"keys"`
}

// NewKeys makes a Keys. k needs Records and Directory only for KeyOptions.Upgrade.
func NewKeys(o KeyOptions, k Keeper) *Keys {
	if k.Iterations < 4096 {
		k.Iterations = 4096
	}
	if k.Log == nil {
		k.Log = slog.New(slog.DiscardHandler)
	}
	secret := make([]byte, 32)
	rand.Read(secret) // never fails (crypto/rand)
	return &Keys{k: k, upgrade: o.Upgrade && k.Records != nil, secret: secret, known: map[string]*known{}}
}

// Of gives the keys of somebody with a stored password: KindNotFound when there are
// none, KindUnavailable.
func (k *Keys) Of(ctx context.Context, id, stored string, h *Hash, hash directory.Hash) (directory.ScramKeys, error) {
	none := directory.ScramKeys{}
	if own, ok := h.ScramKeys(hash); ok {
		return own, nil
	}
	if password, ok := h.Plain(); ok {
		return k.derive(id, stored, password, hash)
	}
	if k.upgrade {
		r, revision, err := k.read(ctx, id)
		if err != nil {
			return none, err
		}
		if r != nil && !k.belongs(id, stored, r, revision) {
			k.drop(ctx, id, revision)
			r = nil
		}
		if r != nil {
			for _, keys := range r.Keys {
				if keys.Hash == hash {
					return keys, nil
				}
			}
		}
	}
	return none, mail.Errorf(mail.KindNotFound, "")
}

// Proved takes that password is the one that is stored, and keeps keys of it. What
// goes wrong is logged: the sign-in is as right as before.
func (k *Keys) Proved(ctx context.Context, id, stored string, h *Hash, password string) {
	if _, readable := h.Plain(); !k.upgrade || readable {
		return
	}
	r, revision, err := k.read(ctx, id)
	if err == nil && (r == nil || !k.belongs(id, stored, r, revision)) {
		err = k.write(ctx, id, stored, password, revision)
	}
	if err != nil && mail.KindOf(err) != mail.KindConflict {
		k.k.Log.WarnContext(ctx, "the SCRAM keys of a password could not be kept", "directory", k.k.Directory, "name", id, "error", err)
	}
}

// Forget removes the keys of somebody who is not there any more.
func (k *Keys) Forget(ctx context.Context, id string) {
	if k.k.Records == nil {
		return
	}
	_, revision, err := k.read(ctx, id)
	if err == nil && revision != 0 {
		k.drop(ctx, id, revision)
	}
	if err != nil {
		k.k.Log.WarnContext(ctx, "the SCRAM keys of a person who is gone could not be removed", "directory", k.k.Directory, "name", id, "error", err)
	}
}

func (k *Keys) key(id string) string { return k.k.Directory + "/" + id }

func (k *Keys) read(ctx context.Context, id string) (*record, uint64, error) {
	list, err := k.k.Records.Records(ctx, keysKind, k.key(id))
	if err != nil {
		return nil, 0, mail.Wrap(mail.KindUnavailable, err)
	}
	for _, s := range list {
		if s.Key != k.key(id) {
			continue
		}
		var r record
		if err := json.Unmarshal(s.Value, &r); err != nil || r.Of.Iterations > maxRounds {
			return nil, s.Revision, nil // damaged: it is made anew
		}
		return &r, s.Revision, nil
	}
	return nil, 0, nil
}

func (k *Keys) write(ctx context.Context, id, stored, password string, revision uint64) error {
	r := record{}
	var err error
	if r.Of, err = k.fresh(directory.SHA256, stored); err != nil {
		return err
	}
	for _, hash := range directory.Hashes {
		keys, err := k.fresh(hash, password)
		if err != nil {
			return err
		}
		r.Keys = append(r.Keys, keys)
	}
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return k.k.Records.PutRecords(ctx, []store.Record{{Kind: keysKind, Key: k.key(id), Value: value, Revision: revision}})
}

// drop removes a record of an older password.
func (k *Keys) drop(ctx context.Context, id string, revision uint64) {
	err := k.k.Records.PutRecords(ctx, []store.Record{{Kind: keysKind, Key: k.key(id), Revision: revision}})
	if err != nil && mail.KindOf(err) != mail.KindConflict {
		k.k.Log.WarnContext(ctx, "the SCRAM keys of an older password could not be removed", "directory", k.k.Directory, "name", id, "error", err)
	}
}

func (k *Keys) fresh(hash directory.Hash, text string) (directory.ScramKeys, error) {
	salt := make([]byte, directory.SaltSize)
	rand.Read(salt)
	return directory.NewScramKeys(hash, text, salt, k.k.Iterations)
}

// belongs tells whether a record was made while stored was what the directory said.
func (k *Keys) belongs(id, stored string, r *record, revision uint64) bool {
	if k.of(id, stored, func(o *known) bool { return o.record == revision }) {
		return true
	}
	of, err := directory.NewScramKeys(directory.SHA256, stored, r.Of.Salt, r.Of.Iterations)
	if err != nil || !equal(of.StoredKey, r.Of.StoredKey) {
		return false
	}
	k.of(id, stored, func(o *known) bool { o.record = revision; return true })
	return true
}

// derive makes the keys of a readable password: always the same as long as the
// process runs.
func (k *Keys) derive(id, stored, password string, hash directory.Hash) (keys directory.ScramKeys, err error) {
	if k.of(id, stored, func(o *known) (ok bool) { keys, ok = o.derived[hash]; return ok }) {
		return keys, nil
	}
	salt := k.digest("salt " + string(hash) + " " + id + " " + stored)
	keys, err = directory.NewScramKeys(hash, password, salt[:directory.SaltSize], k.k.Iterations)
	if err == nil {
		k.of(id, stored, func(o *known) bool { o.derived[hash] = keys; return true })
	}
	return keys, err
}

// of calls f with what is known of a stored password of somebody.
func (k *Keys) of(id, stored string, f func(*known) bool) bool {
	digest := k.digest("stored " + stored)
	k.mu.Lock()
	defer k.mu.Unlock()
	o := k.known[id]
	if o == nil || o.stored != digest {
		if len(k.known) >= maxKnown {
			clear(k.known)
		}
		o = &known{stored: digest, derived: map[directory.Hash]directory.ScramKeys{}}
		k.known[id] = o
	}
	return f(o)
}

func (k *Keys) digest(text string) (d [sha256.Size]byte) {
	m := hmac.New(sha256.New, k.secret)
	m.Write([]byte(text))
	m.Sum(d[:0])
	return d
}
