package console

import (
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/shell"
)

// ofDeleted is the part of a mailbox's page that shows what can be brought back.
const ofDeleted = "deleted"

// recoverableAtOnce is how many messages are on the page.
const recoverableAtOnce = 100

// recoverable is a message that was deleted and can be brought back. Of its content only
// subject and sender are shown.
type recoverable struct {
	Subject, From, Folder  string
	Size                   int64
	Received, Deleted      time.Time
	By, How, Client, Where string
	Restore, Remove        *Form
}

// mailboxDeleted shows what was deleted for good and can be brought back.
func (v *Visit) mailboxDeleted(data *mailboxData, identity []shell.Argument) error {
	data.Keeps = textOf(data.Mailbox.object, "RetainDeletedItemsFor")
	data.Search = v.search(
		&Input{Name: "subject", Label: "In the subject", Parameter: "SubjectContains"},
		&Input{Name: "folder", Label: "Folder", Parameter: "LastParentFolder", Hint: "INBOX"},
		&Input{Name: "since", Label: "Deleted since", Parameter: "FilterStartTime", Type: "datetime-local"},
	)
	data.Search.Hidden = []Input{{Name: "name", Value: data.Mailbox.Name}}
	arguments := append(append(slices.Clone(identity), data.Search.Arguments()...), shell.Argument{Name: "ResultSize", Value: recoverableAtOnce})
	result, err := v.Run("Get-RecoverableItem", arguments...)
	if err != nil {
		if data.Search.fault(v, err) {
			return nil
		}
		return err
	}
	data.Warnings = append(data.Warnings, slices.DeleteFunc(result.Warnings, func(w string) bool { return w == manage.MoreRecoverableItems })...)
	data.MoreDeleted = len(result.Warnings) > 0
	for _, o := range result.Objects {
		r := &recoverable{
			Subject: textOf(o, "Subject"), From: textOf(o, "From"), Folder: textOf(o, "LastParentPath"), Size: intOf(o, "Size"),
			Received: timeOf(o, "ReceivedTime"), Deleted: timeOf(o, "DeletedTime"), By: textOf(o, "DeletedBy"),
			Client: textOf(o, "Client"), Where: textOf(o, "ClientAddress"),
		}
		r.How = strings.TrimSpace(textOf(o, "Protocol") + " " + textOf(o, "Mechanism"))
		if app := textOf(o, "AppPassword"); app != "" {
			r.How += " (" + app + ")"
		}
		id := textOf(o, "EntryID")
		fixed := append(slices.Clone(identity), shell.Argument{Name: "EntryID", Value: id})
		r.Restore = v.Add(&Form{ID: formID("restore", id), Title: "Message restored", Submit: "Restore", Cmdlet: "Restore-RecoverableItem", Fixed: fixed,
			Help: "It comes back into its folder, as it was. Mail programs fetch it as a new message."})
		r.Remove = v.Add(&Form{ID: formID("purge", id), Title: "Message removed", Submit: "Remove", Cmdlet: "Remove-RecoverableItem", Fixed: fixed, Danger: true,
			Help: "Nobody can bring it back then. It cannot be undone."})
		data.Deleted = append(data.Deleted, r)
	}
	return nil
}
