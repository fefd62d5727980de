// Package manage is the management API: one table of cmdlets (cmdlets.go), one
// file a noun. A row says everything there is to know about a cmdlet but its
// work: parameters, the role it needs, what it shows, examples. The shell, the
// HTTP endpoints, the help and the audit record follow from it.
//
// A cmdlet reads and checks all it was given, says what it would change, and only
// then does it; -WhatIf stops before the last step, and -Confirm asks there.
package manage
