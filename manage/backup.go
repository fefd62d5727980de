package manage

import (
	"context"
	"fmt"
	"time"

	"github.com/postern-mail/postern/backup"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Backups makes and reads backups of this server, in folders of its host. A path is
// absolute. KindCannot for a store that keeps nothing in files; the other errors are those
// of package backup.
type Backups interface {
	// Backup makes a point, and leaves the last keep points, all with 0. withoutKeys
	// leaves out the keys of certificates and of sealed secrets.
	Backup(ctx context.Context, path string, keep int, withoutKeys bool, progress func(done, all int64)) (backup.Made, error)
	// Points gives the points, the oldest first, and what of them cannot be read.
	Points(ctx context.Context, path string) ([]backup.Point, []backup.Damage, error)
	// At gives the last point not after t, of the zero time the last.
	At(ctx context.Context, path string, t time.Time) (backup.Point, error)
	// Verify reads all that points need, of the one not after at unless that is zero.
	Verify(ctx context.Context, path string, at time.Time, each func(backup.Damage) error, progress func(done, all int64)) (backup.Verified, error)
	// BringBack puts the mail of a mailbox as it was at a point into one of this server.
	BringBack(ctx context.Context, path string, m BroughtMailbox, progress func(done, all int64)) (store.BroughtBack, error)
}

// BroughtMailbox is a mailbox of a backup on its way back.
type BroughtMailbox struct {
	Point   backup.Point
	Name    string         // prepared; at that moment, if Account was not there
	Account mail.AccountID // that has the name now, 0 when none has
	To      mail.AccountID
	Into    string // the folder
	Missing bool   // only what To has no more
}

// backupStore shows what was copied.
func backupStore(_ context.Context, c *Call) (func(context.Context) error, error) {
	path := c.Text("Path")
	c.Change(path, "Backup", nil, "what the server has now")
	return func(ctx context.Context) error {
		began := time.Now()
		made, err := c.Backups.Backup(ctx, path, int(c.Number("Keep")), c.Bool("WithoutKeys"), c.progress("Copying", "bytes"))
		if err != nil {
			event.BackupFailed.Log(ctx, c.Log, "path", path, "error", err)
			return about("Path", err)
		}
		event.BackedUp.Log(ctx, c.Log, "path", path, "time", made.Time, "bytes", made.Bytes, "copied", made.Copied, "took", time.Since(began).Round(time.Millisecond))
		c.Add(Object{{"Path", path}, {"Time", stamp(made.Time)}, {"Files", int64(made.Files)}, {"Size", made.Bytes}, {"Copied", made.Copied}, {"Removed", int64(made.Removed)}})
		c.result.Units = map[string]string{"Size": "bytes", "Copied": "bytes"}
		for _, d := range made.Unread {
			c.Warn(d.Detail + " Therefore nothing was removed.")
		}
		return nil
	}, nil
}

// stamp writes the time of a point, so that -PointInTime takes it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// getBackup shows one object a point.
func getBackup(ctx context.Context, c *Call) (func(context.Context) error, error) {
	points, damages, err := c.Backups.Points(ctx, c.Text("Path"))
	if err != nil {
		return nil, about("Path", err)
	}
	for _, p := range points {
		c.Add(Object{{"Path", c.Text("Path")}, {"Time", stamp(p.Time)}, {"Server", p.Server}, {"Files", int64(p.Files)}, {"Size", p.Bytes}, {"Version", p.Program}})
	}
	c.result.Units = map[string]string{"Size": "bytes"}
	for _, d := range damages {
		c.Warn(d.Detail)
	}
	return nil, nil
}

// testBackup shows one object a damage, or one that says that there is none.
func testBackup(ctx context.Context, c *Call) (func(context.Context) error, error) {
	path := c.Text("Path")
	damages := 0
	seen, err := c.Backups.Verify(ctx, path, c.Time("PointInTime"), func(d backup.Damage) error {
		damages++
		when := any(nil)
		if !d.Time.IsZero() {
			when = stamp(d.Time)
		}
		c.Add(Object{{"Result", string(Fail)}, {"Damaged", d.Path}, {"Time", when}, {"Points", int64(d.Points)}, {"File", d.File}, {"Detail", d.Detail}})
		return nil
	}, c.progress("Reading", "bytes"))
	if err != nil {
		return nil, about("Path", err)
	}
	if damages > 0 {
		event.BackupDamaged.Log(ctx, c.Log, "path", path, "damages", damages)
		c.result.ExitCode = 1
		c.Note("Remove a damaged file of the folder objects: the next Backup-Store copies it again if the server still has it.")
		return nil, nil
	}
	c.Add(Object{{"Result", string(Pass)}, {"Damaged", ""}, {"Time", nil}, {"Points", int64(seen.Points)}, {"File", ""}, {"Detail", fmt.Sprintf("%d files with %d bytes were read, which %d points need.", seen.Objects, seen.Bytes, seen.Points)}})
	return nil, nil
}

// intoLayout is the time in the name of the folder that is restored into.
const intoLayout = "2006-01-02 15.04"

// restoreStore puts one mailbox back. The whole store is the work of a server that does
// not run.
func restoreStore(ctx context.Context, c *Call) (func(context.Context) error, error) {
	path := c.Text("Path")
	if !c.Given("Mailbox") {
		return nil, about("Mailbox", hinted(mail.Errorf(mail.KindCannot, "the whole store is restored while the server is stopped; the running one restores a mailbox"),
			"Name it with -Mailbox; or stop the server and run: postern restore "+path))
	}
	name, err := directory.PrepareName(c.Text("Mailbox"))
	if err != nil {
		return nil, about("Mailbox", err)
	}
	m := BroughtMailbox{Name: name, Missing: c.Bool("Missing")}
	now, err := c.Directory.Lookup(ctx, name)
	switch {
	case err == nil:
		m.Name, m.Account = now.Name, now.Account
	case mail.KindOf(err) != mail.KindNotFound:
		return nil, err
	case !c.Given("TargetMailbox"):
		return nil, about("Mailbox", hinted(mail.Errorf(mail.KindNotFound, "there is no mailbox %q now", c.Text("Mailbox")),
			"New-Mailbox makes it again, or -TargetMailbox says where its mail is to go."))
	}
	to := now
	if c.Given("TargetMailbox") {
		if to, err = c.lookup(ctx, "TargetMailbox"); err != nil {
			return nil, err
		}
	}
	if err := hasMailbox(to); err != nil {
		return nil, err
	}
	if m.Missing && to.Account != m.Account {
		return nil, wrong("Missing", "-Missing is for a mailbox that is restored into itself")
	}
	if m.Point, err = c.Backups.At(ctx, path, c.Time("PointInTime")); err != nil {
		return nil, about("Path", err)
	}
	m.To, m.Into = to.Account, "Restored "+m.Point.Time.Format(intoLayout)
	c.Change(to.Name, "Folder", nil, m.Into)
	return func(ctx context.Context) error {
		done, err := c.Backups.BringBack(ctx, path, m, c.progress("Restoring messages", ""))
		if err != nil {
			if done.Messages > 0 {
				if m.To == m.Account {
					return hinted(err, fmt.Sprintf("%d messages are in %s already; with -Missing it goes on with the others.", done.Messages, done.Into))
				}
				return hinted(err, fmt.Sprintf("%d messages are in %s already; they can be deleted there.", done.Messages, done.Into))
			}
			if m.Missing && mail.KindOf(err) == mail.KindCannot {
				return about("Missing", hinted(err, "Without -Missing all of them come back."))
			}
			if mail.KindOf(err) == mail.KindBadArgument {
				return about("Mailbox", hinted(err, fmt.Sprintf("If its mail is to come here, name that one, and this one with -TargetMailbox %s.", to.Name)))
			}
			return about("Path", err)
		}
		if done.Into == "" {
			c.Note("The mailbox still has every message of the backup.")
			return nil
		}
		event.MailboxRestored.Log(ctx, c.Log, "mailbox", to.Name, "path", path, "time", m.Point.Time, "messages", done.Messages)
		c.Add(Object{{"Identity", to.Name}, {"Time", stamp(m.Point.Time)}, {"Folder", done.Into}, {"Folders", int64(done.Mailboxes)}, {"Messages", int64(done.Messages)}, {"Size", done.Bytes}, {"Unread", int64(len(done.Unread))}})
		c.result.Units = map[string]string{"Size": "bytes"}
		for _, d := range done.Unread {
			c.Warn(fmt.Sprintf("The message %d of %s could not be restored: %s", d.UID, d.Mailbox, d.Detail))
		}
		if len(done.Unread) > 0 {
			c.result.ExitCode = 1
		}
		return nil
	}, nil
}
