package settings

import "time"

// What holds for the mail store is the server's, and kept with the settings of the Console,
// as that of ACME is. Get-MailboxDatabase and Set-MailboxDatabase are its cmdlets.

// DeletedItemRetention is how long expunged messages can be brought back.
var DeletedItemRetention = span(Row{
	Name: "DeletedItemRetention", Noun: "MailboxDatabase", Page: MailboxDatabase, Services: []Service{Console},
	Help: "How long what was deleted from a mailbox for good (expunged) can be brought back with Restore-RecoverableItem; until then it takes its space. 00:00:00: not at all. Mailboxes can have a time of their own: Set-Mailbox -RetainDeletedItemsFor.",
}, bounds[time.Duration]{14 * 24 * time.Hour, 0, 3650 * 24 * time.Hour})

// RecoverableItemsQuota bounds the expunged messages that a mailbox keeps.
var RecoverableItemsQuota = size(Row{
	Name: "RecoverableItemsQuota", Noun: "MailboxDatabase", Page: MailboxDatabase, Services: []Service{Console},
	Help: "How much of what was deleted for good each mailbox keeps so, beside its own quota; beyond it the oldest goes first. Mailboxes can have a bound of their own: Set-Mailbox -RecoverableItemsQuota.",
}, bounds[int64]{30 << 30, 1 << 20, 1 << 50})
