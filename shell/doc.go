// Package shell is a PowerShell-like face of package manage: it reads a line as
// PowerShell does, asks the server for what its cmdlets and parameters are, runs
// them through the management API, and shows the objects that come back. It runs
// one cmdlet from a command line, lines from a file, or a conversation.
package shell
