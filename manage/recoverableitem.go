package manage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// MoreRecoverableItems is the warning that not all were shown.
const MoreRecoverableItems = "There are more recoverable messages than are shown; -ResultSize unlimited shows all."

// recoverableFilters are the parameters that say which messages are meant.
var recoverableFilters = []string{"EntryID", "SubjectContains", "LastParentFolder", "FilterStartTime", "FilterEndTime"}

// recoverableItems gives the mailbox that -Identity means, and those of its recoverable
// messages that the other parameters mean.
func (c *Call) recoverableItems(ctx context.Context) (e *directory.Entry, list []store.RecoverableItem, more bool, err error) {
	if e, err = c.entry(ctx); err == nil {
		err = hasMailbox(e)
	}
	if err != nil {
		return nil, nil, false, err
	}
	f := store.RecoverableFilter{Subject: c.Text("SubjectContains"), Folder: c.Text("LastParentFolder"), From: c.Time("FilterStartTime"), Until: c.Time("FilterEndTime"), Most: standardResults,
		Progress: c.counted("Looking through deleted messages")}
	if c.Given("ResultSize") {
		f.Most = int(c.Number("ResultSize"))
	}
	ids, err := settings.ApplyListEdit(c.List("EntryID"), nil, func(id string) (string, error) { return id, nil })
	if err != nil {
		return nil, nil, false, wrong("EntryID", "EntryID %s", mail.TextOf(err))
	}
	for _, id := range ids {
		f.IDs = append(f.IDs, store.RecoverableID(id))
	}
	if len(ids) > 0 && !c.Given("ResultSize") {
		f.Most = 0
	}
	a, err := c.Folders.Account(ctx, e.Account)
	if err != nil {
		return nil, nil, false, err
	}
	defer a.Close()
	list, more, err = a.Recoverable(ctx, f)
	return e, list, more, err
}

// recoverableObject shows a message. What its sender and a client wrote is bounded and
// without control characters.
func recoverableObject(e *directory.Entry, item *store.RecoverableItem) Object {
	by := item.By
	actedFor := ""
	if by.ActedBy != "" {
		actedFor = by.User
	}
	shown := func(text string) string { return protolog.Printable(text, shownPlace) }
	return Object{
		{"Identity", e.Name},
		{"EntryID", string(item.ID)},
		{"Subject", shown(item.Subject)},
		{"From", shown(item.From)},
		{"Size", int64(item.Size)},
		{"LastParentPath", item.Folder},
		{"ReceivedTime", moment(time.Unix(item.InternalDate, 0))},
		{"DeletedTime", moment(item.Deleted)},
		{"ExpiryTime", moment(item.Until)},
		{"DeletedBy", shown(by.Who())},
		{"ActedFor", shown(actedFor)},
		{"Mechanism", by.Mechanism},
		{"AppPassword", shown(by.AppPassword)},
		{"Protocol", by.Protocol},
		{"Client", shown(by.Client)},
		{"ClientAddress", by.Address},
		{"SessionId", by.Session},
		{"Email", item.Email.String()},
	}
}

// getRecoverableItem shows one object a message, what was deleted last first.
func getRecoverableItem(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, list, more, err := c.recoverableItems(ctx)
	if err != nil {
		return nil, err
	}
	c.result.Units = map[string]string{"Size": "bytes"}
	for i := range list {
		c.Add(recoverableObject(e, &list[i]))
	}
	if more {
		c.Warn(MoreRecoverableItems)
	}
	return nil, nil
}

// wantedItems is recoverableItems for a cmdlet that does something with them: what is meant
// must be said, and what becomes of it is.
func (c *Call) wantedItems(ctx context.Context, becomes string) (e *directory.Entry, list []store.RecoverableItem, err error) {
	if !c.Given("ResultSize") && !slices.ContainsFunc(recoverableFilters, c.Given) {
		return nil, nil, hinted(mail.Errorf(mail.KindBadArgument, "%s needs to know which messages are meant", c.Cmdlet.Name),
			"-EntryID names them as Get-RecoverableItem shows them; -SubjectContains, -LastParentFolder, -FilterStartTime and -FilterEndTime choose; -ResultSize unlimited is all.")
	}
	// A variable of a script that is empty means nothing, not everything.
	for _, name := range recoverableFilters {
		if l := c.List(name); c.Given(name) && c.Text(name) == "" && len(l.Set)+len(l.Add) == 0 && c.Time(name).IsZero() {
			return nil, nil, about(name, mail.Errorf(mail.KindBadArgument, "%s is empty and says of no message that it is meant", name))
		}
	}
	e, list, more, err := c.recoverableItems(ctx)
	if err != nil {
		return nil, nil, err
	}
	if ids := c.List("EntryID"); len(list) == 0 && len(ids.Add)+len(ids.Set) > 0 {
		return nil, nil, about("EntryID", hinted(mail.Errorf(mail.KindNotFound, "no recoverable message of %s has this EntryID", e.Name), "It was restored or removed, or its time is up. Get-RecoverableItem lists what there is."))
	}
	if more {
		c.Warn("There are more such messages; these are the ones that were deleted last.")
	}
	if len(list) == 0 {
		c.Note("There is no such message.")
	}
	// One change a folder: subjects are nothing for the audit log.
	folders := map[string]int{}
	for i := range list {
		folders[list[i].Folder]++
	}
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		what := "1 recoverable message"
		if n := folders[folder]; n > 1 {
			what = fmt.Sprintf("%d recoverable messages", n)
		}
		c.Change(e.Name, folder, what, becomes)
	}
	return e, list, nil
}

// partOfItems is how many messages are restored or removed before it is told how far that is:
// about as many as the store does in one change.
const partOfItems = 256

// inParts calls do with the ids of list, what was deleted first first, some at a time.
func (c *Call) inParts(activity string, list []store.RecoverableItem, do func(ids []store.RecoverableID) error) error {
	ids := make([]store.RecoverableID, 0, len(list))
	for i := range slices.Backward(list) {
		ids = append(ids, list[i].ID)
	}
	tell := c.counted(activity)
	done := 0
	for part := range slices.Chunk(ids, partOfItems) {
		tell(done, len(ids))
		if err := do(part); err != nil {
			return err
		}
		done += len(part)
	}
	tell(done, len(ids))
	return nil
}

// restoreRecoverableItem shows one object a message.
func restoreRecoverableItem(ctx context.Context, c *Call) (func(context.Context) error, error) {
	target, becomes := "", "restored"
	if c.Given("TargetFolder") {
		var err error
		if target, err = store.CleanName(c.Text("TargetFolder")); err != nil {
			return nil, about("TargetFolder", mail.Errorf(mail.KindBadArgument, "TargetFolder is no name for a folder: %s", mail.TextOf(err)))
		}
		becomes = "restored to " + target
	}
	e, list, err := c.wantedItems(ctx, becomes)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return func(ctx context.Context) error {
		a, err := c.Folders.Account(ctx, e.Account)
		if err != nil {
			return err
		}
		defer a.Close()
		places := map[store.RecoverableID]store.Restored{}
		err = c.inParts("Restoring messages", list, func(ids []store.RecoverableID) error {
			done, err := a.Restore(ctx, target, ids...)
			for _, d := range done {
				places[d.ID] = d
			}
			return err
		})
		if len(places) > 0 {
			event.MailRestored.Log(ctx, c.Log, "mailbox", e.Name, "messages", len(places), "by", c.Caller.Name)
		}
		if err != nil {
			return partly(err, "restored", len(places), len(list))
		}
		for i := range list {
			d, ok := places[list[i].ID]
			o := Object{
				{"Identity", e.Name}, {"EntryID", string(list[i].ID)}, {"Subject", protolog.Printable(list[i].Subject, shownPlace)}, {"LastParentPath", list[i].Folder},
				{"RestoredFolderPath", d.Mailbox}, {"UID", int64(d.UID)}, {"WasRestoredSuccessfully", ok},
			}
			if !ok {
				c.Warn("Some were not there any more: they were restored or removed meanwhile, or their time was up.")
			}
			c.Add(o)
		}
		return nil
	}, nil
}

// removeRecoverableItem removes messages for good.
func removeRecoverableItem(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, list, err := c.wantedItems(ctx, "removed for good")
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return func(ctx context.Context) error {
		a, err := c.Folders.Account(ctx, e.Account)
		if err != nil {
			return err
		}
		defer a.Close()
		n := 0
		err = c.inParts("Removing messages", list, func(ids []store.RecoverableID) error {
			gone, err := a.Forget(ctx, ids...)
			n += gone
			return err
		})
		if n > 0 {
			event.MailPurged.Log(ctx, c.Log, "mailbox", e.Name, "messages", n, "by", c.Caller.Name)
		}
		if err != nil {
			return partly(err, "removed", n, len(list))
		}
		c.Add(Object{{"Identity", e.Name}, {"Removed", int64(n)}})
		return nil
	}, nil
}

// partly adds to an error how much was done before it.
func partly(err error, what string, done, all int) error {
	if done == 0 {
		return err
	}
	why := mail.TextOf(err)
	if errors.Is(err, context.Canceled) {
		why = "it was ended"
	}
	return &mail.Error{Kind: mail.KindOf(err), Cause: err, Text: fmt.Sprintf("%d of %d messages were %s, then: %s", done, all, what, why)}
}

// databaseDefault is the word that gives a mailbox back the bound of Set-MailboxDatabase.
const databaseDefault = "Default"

// keep reads -RetainDeletedItemsFor and -RecoverableItemsQuota into what holds for a mailbox.
func (c *Call) keep(now store.Keep) (store.Keep, error) {
	if c.Given("RetainDeletedItemsFor") {
		switch text := c.Text("RetainDeletedItemsFor"); {
		case strings.EqualFold(text, databaseDefault):
			now.Retention = 0
		default:
			d, err := settings.ParseSpan(text)
			if err != nil || d > 3650*24*time.Hour {
				return now, wrong("RetainDeletedItemsFor", "RetainDeletedItemsFor is a time span up to 3650.00:00:00 (hours:minutes:seconds, days before a dot), or %s, not %q", databaseDefault, text)
			}
			if now.Retention = int64(d / time.Second); d == 0 {
				now.Retention = -1
			}
		}
	}
	if c.Given("RecoverableItemsQuota") {
		text := c.Text("RecoverableItemsQuota")
		n, ok := settings.ParseNumber(text)
		switch {
		case strings.EqualFold(text, databaseDefault):
			now.Quota = 0
		case strings.EqualFold(text, unlimited):
			now.Quota = -1
		case ok && n > 0:
			now.Quota = n
		default:
			return now, wrong("RecoverableItemsQuota", "RecoverableItemsQuota is a size such as 500MB or 2GB, unlimited, or %s, not %q", databaseDefault, text)
		}
	}
	return now, nil
}

// keepObject shows what holds for the recoverable messages of a mailbox.
func (c *Call) keepObject(own store.Keep) Object {
	v := c.Settings.Current(settings.Console)
	retention, quota := settings.DeletedItemRetention.Of(v), settings.RecoverableItemsQuota.Of(v)
	if own.Retention != 0 {
		retention = time.Duration(max(own.Retention, 0)) * time.Second
	}
	if own.Quota != 0 {
		quota = max(own.Quota, 0)
	}
	return Object{
		{"RetainDeletedItemsFor", settings.FormatSpan(retention)},
		{"UseDatabaseRetentionDefaults", own.Retention == 0},
		{"RecoverableItemsQuota", limit(quota)},
		{"UseDatabaseQuotaDefaults", own.Quota == 0},
	}
}

// kept gives what a mailbox has recoverable; the zero value when the store does not know it.
func (c *Call) kept(ctx context.Context, id mail.AccountID) (store.Kept, error) {
	a, err := c.Folders.Account(ctx, id)
	if err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			err = nil
		}
		return store.Kept{}, err
	}
	defer a.Close()
	return a.Kept(), nil
}
