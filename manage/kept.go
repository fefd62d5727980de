package manage

import (
	"context"
	"encoding/json"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Records keeps small named things; store.Engine says what its methods do.
type Records interface {
	Records(ctx context.Context, kind, prefix string) ([]store.Record, error)
	PutRecords(ctx context.Context, records []store.Record) error
}

// keptUnder gives what the records of kind whose key begins with prefix keep, by key. of
// notes the record and says where its JSON goes.
func keptUnder[T any](ctx context.Context, records Records, kind, prefix string, of func(*T, store.Record) any) ([]T, error) {
	found, err := records.Records(ctx, kind, prefix)
	if err != nil {
		return nil, err
	}
	var list []T
	for _, r := range found {
		var v T
		if err := json.Unmarshal(r.Value, of(&v, r)); err != nil {
			return nil, &mail.Error{Kind: mail.KindCorrupt, Cause: err}
		}
		list = append(list, v)
	}
	return list, nil
}

// keptList is a list that is kept as one record, so that each change of it is
// computed from what it was: of two administrators who remove one another at the
// same time, the second is told.
type keptList[T any] struct {
	records   Records
	kind, key string
	first     []T // what holds as long as nothing was kept
}

// load gives the list, and its record.
func (k keptList[T]) load(ctx context.Context) ([]T, store.Record, error) {
	none := store.Record{Kind: k.kind, Key: k.key}
	records, err := k.records.Records(ctx, k.kind, k.key)
	if err != nil {
		return nil, none, err
	}
	for _, r := range records {
		if r.Key != k.key {
			continue
		}
		var list []T
		if err := json.Unmarshal(r.Value, &list); err != nil {
			return nil, none, &mail.Error{Kind: mail.KindCorrupt, Cause: err}
		}
		return list, r, nil
	}
	return k.first, none, nil
}

// keptTries is how often a change is computed anew when others are faster.
const keptTries = 5

// change computes a new list and keeps it. An error of compute changes nothing.
// compute does not write into the list that it gets.
func (k keptList[T]) change(ctx context.Context, compute func([]T) ([]T, error)) error {
	for try := 1; ; try++ {
		list, record, err := k.load(ctx)
		if err != nil {
			return err
		}
		if list, err = compute(list); err != nil {
			return err
		}
		if list == nil {
			list = []T{} // an empty list is kept too: first holds no more
		}
		if record.Value, err = json.Marshal(list); err != nil {
			return mail.Wrap(mail.KindServerBug, err)
		}
		err = k.records.PutRecords(ctx, []store.Record{record})
		if err == nil || mail.KindOf(err) != mail.KindConflict || try == keptTries {
			return err
		}
	}
}
