package managetest

import (
	"context"
	"slices"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Store is a mail store that says which damages it has.
type Store struct {
	Damages map[mail.AccountID][]store.Damage
	IDs     []mail.AccountID // of accounts
}

// Accounts implements manage.Store.
func (s *Store) Accounts(context.Context) ([]mail.AccountID, error) { return slices.Clone(s.IDs), nil }

// Verify implements manage.Store.
func (s *Store) Verify(_ context.Context, id mail.AccountID, each func(store.Damage) error, progress func(done, all int)) (store.Verified, error) {
	if !slices.Contains(s.IDs, id) {
		return store.Verified{}, mail.Errorf(mail.KindNotFound, "there is no account %v", id)
	}
	for _, d := range s.Damages[id] {
		if err := each(d); err != nil {
			return store.Verified{}, err
		}
	}
	if progress != nil {
		for i := range 12 {
			progress(i+1, 12)
		}
	}
	return store.Verified{Mailboxes: 6, Messages: 12, Bytes: 34567}, nil
}

// Repair implements manage.Store.
func (s *Store) Repair(_ context.Context, id mail.AccountID, progress func(stage store.RepairStage, done, all int)) (done []store.Repair, err error) {
	for i, d := range s.Damages[id] {
		done = append(done, store.Repair{Part: d.Part, Mailbox: d.Mailbox, UID: d.UID, Lost: d.Part == store.DamagedBody, Detail: "Mended."})
		progress(store.RepairMends, i+1, len(s.Damages[id]))
	}
	delete(s.Damages, id)
	return done, nil
}
