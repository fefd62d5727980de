// Package settings holds every live setting of a service as one typed row. The
// shell's parameters and completion, the help, the JSON schema, the check, the
// default and the documentation follow from the row; code reads a value through
// the row's typed handle:
//
//	limit := settings.MaxCommandSize.Of(values)
//
// Values is an immutable snapshot for one service; Live holds the current one of
// each service, and changes it: checked, applied, kept, published, in that order.
package settings
