package settings

import (
	"context"
	"slices"
	"sync"

	"github.com/postern-mail/postern/mail"
)

// MemoryKeeper is a Keeper that forgets at exit, for tests and trials. Its zero
// value is empty.
type MemoryKeeper struct {
	mu   sync.Mutex
	rows []Stored // guarded by mu
}

// Load implements Keeper.
func (k *MemoryKeeper) Load(context.Context) ([]Stored, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.rows), nil
}

// Save implements Keeper.
func (k *MemoryKeeper) Save(_ context.Context, rows []Stored) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := slices.Clone(k.rows)
	for _, row := range rows {
		i := slices.IndexFunc(next, func(s Stored) bool {
			return s.Server == row.Server && s.Service == row.Service && s.Name == row.Name
		})
		have := uint64(0)
		if i >= 0 {
			have = next[i].Revision
		}
		if have != row.Revision {
			return mail.Errorf(mail.KindConflict, "%s of %s was changed meanwhile; look at it and try again", row.Name, row.Service)
		}
		row.Revision++
		switch {
		case row.Value == "" && i >= 0:
			next = slices.Delete(next, i, i+1)
		case i >= 0:
			next[i] = row
		case row.Value != "":
			next = append(next, row)
		}
	}
	k.rows = next
	return nil
}
