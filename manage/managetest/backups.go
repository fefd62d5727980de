package managetest

import (
	"context"
	"time"

	"github.com/postern-mail/postern/backup"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/store"
)

// Backups are backups that are told, and not made.
type Backups struct {
	List    []backup.Point
	Damages []backup.Damage
	Brought []manage.BroughtMailbox
	// Wait, when it is not nil, is received from before a backup is made; Ended is sent to
	// when the caller goes instead.
	Wait, Ended chan struct{}
}

// Backup implements manage.Backups.
func (b *Backups) Backup(ctx context.Context, path string, keep int, withoutKeys bool, progress func(done, all int64)) (backup.Made, error) {
	if path == "/full" {
		return backup.Made{}, mail.Errorf(mail.KindNoSpace, "The backup in /full was not made, and the ones before are whole: its disk is full.")
	}
	progress(1<<20, 4<<20)
	if b.Wait != nil {
		select {
		case <-b.Wait:
		case <-ctx.Done():
			b.Ended <- struct{}{}
			return backup.Made{}, mail.Wrap(mail.KindUnavailable, ctx.Err())
		}
	}
	progress(4<<20, 4<<20)
	p := backup.Point{Time: Now, Server: ServerName, Program: "v1.0.0", Files: 7, Bytes: 4 << 20}
	b.List = append(b.List, p)
	made := backup.Made{Point: p, Copied: 1 << 20}
	if keep > 0 && len(b.List) > keep {
		made.Removed = len(b.List) - keep
		b.List = b.List[made.Removed:]
	}
	return made, nil
}

// Points implements manage.Backups.
func (b *Backups) Points(_ context.Context, path string) ([]backup.Point, []backup.Damage, error) {
	if len(b.List) == 0 {
		return nil, nil, mail.Errorf(mail.KindNotFound, "There is no backup in %s.", path)
	}
	return b.List, nil, nil
}

// At implements manage.Backups.
func (b *Backups) At(ctx context.Context, path string, t time.Time) (backup.Point, error) {
	list, _, err := b.Points(ctx, path)
	if err != nil {
		return backup.Point{}, err
	}
	return list[len(list)-1], nil
}

// Verify implements manage.Backups.
func (b *Backups) Verify(_ context.Context, _ string, _ time.Time, each func(backup.Damage) error, progress func(done, all int64)) (backup.Verified, error) {
	for _, d := range b.Damages {
		if err := each(d); err != nil {
			return backup.Verified{}, err
		}
	}
	progress(4<<20, 4<<20)
	return backup.Verified{Points: len(b.List), Objects: 7, Bytes: 4 << 20}, nil
}

// BringBack implements manage.Backups.
func (b *Backups) BringBack(_ context.Context, _ string, m manage.BroughtMailbox, progress func(done, all int64)) (store.BroughtBack, error) {
	b.Brought = append(b.Brought, m)
	progress(12, 12)
	if m.Missing {
		return store.BroughtBack{}, nil
	}
	return store.BroughtBack{Into: m.Into, Mailboxes: 6, Messages: 12, Bytes: 34567}, nil
}
