// Package role puts a server together. It is the only package that knows
// everything: mailbox.go lists the parts of the Mailbox role, which keeps the
// mail, clientaccess.go those of the Client Access role, which serves mail
// clients, drivers.go the engines and directories that there are. No mail logic
// stands here.
package role
