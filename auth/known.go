package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// KnownNetwork is a network from which somebody signed in: an IPv4 address or an IPv6
// /64, as one customer has it.
type KnownNetwork struct {
	Network netip.Prefix `json:"network"`
	First   time.Time    `json:"first"`
	Last    time.Time    `json:"last"` // right to a day
}

// Bounds of known networks.
const (
	// KnownFor is how long a network stays known after the last login from it.
	KnownFor = 90 * 24 * time.Hour
	// MaxKnownNetworks of one name; the one that was not used for longest goes.
	MaxKnownNetworks = 16

	// KnownNetworkKind is the kind of the records.
	KnownNetworkKind = "known-network"

	knownStep  = 24 * time.Hour // the precision of Last: how rarely it is written
	maxKnown   = 1 << 14        // names in memory
	knownTries = 5              // to write, when another server writes too
)

// Records is what KnownNetworks needs of a store.Engine.
type Records interface {
	Records(ctx context.Context, kind, prefix string) ([]store.Record, error)
	PutRecords(ctx context.Context, records []store.Record) error
}

// KnownNetworks keeps from where accounts sign in, a record for each name that clients
// give. Names and not accounts, because it is asked before any directory is: whether a
// name means anybody is not to be told by the time that takes. Its methods are called
// from many goroutines.
type KnownNetworks struct {
	records Records
	now     func() time.Time

	mu    sync.Mutex
	names *table[string, *knownName] // those used last; never changed, only replaced
}

// knownName is what is kept of a name.
type knownName struct {
	key      string
	revision uint64

	Name     string         `json:"name"`
	Account  mail.AccountID `json:"account"` // whose networks they are
	Networks []KnownNetwork `json:"networks"`
}

// NewKnownNetworks makes one. With nil records it forgets all when the process ends; now
// is time.Now when it is nil.
func NewKnownNetworks(records Records, now func() time.Time) *KnownNetworks {
	if now == nil {
		now = time.Now
	}
	if records == nil {
		records = &passing{rows: newTable[string, store.Record](maxKnown)}
	}
	return &KnownNetworks{records: records, now: now, names: newTable[string, *knownName](maxKnown)}
}

// knownKey is of one length, so that none is another's beginning.
func knownKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// Known tells whether name signed in from a network lately.
func (k *KnownNetworks) Known(ctx context.Context, name string, network netip.Prefix) (bool, error) {
	if name == "" || !network.IsValid() {
		return false, nil
	}
	row, err := k.get(ctx, name)
	if err != nil {
		return false, err
	}
	_, known := k.find(row, network)
	return known, nil
}

func (k *KnownNetworks) find(row *knownName, network netip.Prefix) (KnownNetwork, bool) {
	i := slices.IndexFunc(row.Networks, func(n KnownNetwork) bool { return n.Network == network })
	if i < 0 || k.now().Sub(row.Networks[i].Last) >= KnownFor {
		return KnownNetwork{}, false
	}
	return row.Networks[i], true
}

// get gives what is kept of a name; it may be nothing.
func (k *KnownNetworks) get(ctx context.Context, name string) (*knownName, error) {
	k.mu.Lock()
	row, ok := k.names.get(name)
	k.mu.Unlock()
	if ok {
		return row, nil
	}
	return k.read(ctx, name)
}

func (k *KnownNetworks) read(ctx context.Context, name string) (*knownName, error) {
	row := &knownName{key: knownKey(name), Name: name}
	records, err := k.records.Records(ctx, KnownNetworkKind, row.key)
	if err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	for _, r := range records {
		row.revision = r.Revision
		if err := json.Unmarshal(r.Value, row); err != nil {
			return nil, &mail.Error{Kind: mail.KindCorrupt, Text: "The known networks of a name cannot be read.", Cause: err}
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names.put(name, row)
	return row, nil
}

// Forget drops what is in memory, so that it is read again: other servers have changed
// records.
func (k *KnownNetworks) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names = newTable[string, *knownName](maxKnown)
}

// Add notes that account signed in as name from a network. It writes when the network
// is new to the name, or was last noted a day ago. first tells that it is new to a name
// that has others.
func (k *KnownNetworks) Add(ctx context.Context, account mail.AccountID, name string, network netip.Prefix) (first bool, err error) {
	if !network.IsValid() {
		return false, nil
	}
	err = k.change(ctx, name, func(row *knownName) bool {
		now := k.now().UTC()
		if row.Account != account {
			row.Account, row.Networks = account, nil // of somebody who had the name before
		}
		row.Networks = slices.DeleteFunc(row.Networks, func(n KnownNetwork) bool { return now.Sub(n.Last) >= KnownFor })
		if i := slices.IndexFunc(row.Networks, func(n KnownNetwork) bool { return n.Network == network }); i >= 0 {
			first = false
			if now.Sub(row.Networks[i].Last) < knownStep {
				return false
			}
			row.Networks[i].Last = now
			return true
		}
		first = len(row.Networks) > 0
		if len(row.Networks) >= MaxKnownNetworks {
			slices.SortStableFunc(row.Networks, func(a, b KnownNetwork) int { return a.Last.Compare(b.Last) })
			row.Networks = slices.Delete(row.Networks, 0, len(row.Networks)-MaxKnownNetworks+1)
		}
		row.Networks = append(row.Networks, KnownNetwork{network, now, now})
		return true
	})
	return first, err
}

// Remove forgets a network of a name, or all when it is the zero value: the next login
// from there is a stranger's. It tells whether there was any.
func (k *KnownNetworks) Remove(ctx context.Context, name string, network netip.Prefix) (had bool, err error) {
	err = k.change(ctx, name, func(row *knownName) bool {
		before := len(row.Networks)
		row.Networks = slices.DeleteFunc(row.Networks, func(n KnownNetwork) bool { return !network.IsValid() || n.Network == network })
		had = len(row.Networks) < before
		return had
	})
	return had, err
}

// Of lists the networks that are known to an account by a name, the latest used first.
func (k *KnownNetworks) Of(ctx context.Context, account mail.AccountID, name string) ([]KnownNetwork, error) {
	row, err := k.get(ctx, name)
	if err != nil || row.Account != account {
		return nil, err
	}
	list := slices.Clone(row.Networks)
	list = slices.DeleteFunc(list, func(n KnownNetwork) bool { return k.now().Sub(n.Last) >= KnownFor })
	slices.SortStableFunc(list, func(a, b KnownNetwork) int {
		return cmp.Or(b.Last.Compare(a.Last), a.Network.Addr().Compare(b.Network.Addr()))
	})
	return list, nil
}

// change keeps what alter makes of a name's row, unless alter gives false. It is run
// again after a conflict.
func (k *KnownNetworks) change(ctx context.Context, name string, alter func(*knownName) bool) error {
	row, err := k.get(ctx, name)
	for try := 1; err == nil; try++ {
		next := *row
		next.Networks = slices.Clone(row.Networks)
		if !alter(&next) {
			return nil
		}
		if err = k.write(ctx, &next); err == nil || mail.KindOf(err) != mail.KindConflict || try == knownTries {
			return err
		}
		row, err = k.read(ctx, name)
	}
	return err
}

func (k *KnownNetworks) write(ctx context.Context, row *knownName) error {
	record := store.Record{Kind: KnownNetworkKind, Key: row.key, Revision: row.revision}
	if len(row.Networks) > 0 {
		var err error
		if record.Value, err = json.Marshal(row); err != nil {
			return mail.Wrap(mail.KindServerBug, err)
		}
	}
	if err := k.records.PutRecords(ctx, []store.Record{record}); err != nil {
		return err
	}
	if row.revision++; record.Value == nil {
		row.revision = 0 // as of what was removed
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names.put(row.Name, row)
	return nil
}

// passing keeps records for as long as the process lives, those used last.
type passing struct {
	mu   sync.Mutex
	rows *table[string, store.Record]
}

// Records implements Records for whole keys.
func (p *passing) Records(_ context.Context, _, key string) ([]store.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := p.rows.get(key); ok {
		return []store.Record{r}, nil
	}
	return nil, nil
}

// PutRecords implements Records.
func (p *passing) PutRecords(_ context.Context, records []store.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range records {
		if was, _ := p.rows.get(r.Key); was.Revision != r.Revision {
			return mail.Errorf(mail.KindConflict, "")
		}
		if r.Revision++; r.Value == nil {
			p.rows.remove(r.Key)
		} else {
			p.rows.put(r.Key, r)
		}
	}
	return nil
}
