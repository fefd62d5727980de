// Package release tests what is released, and what it is made of: two builds give equal bytes, checksums are
// signed, each module is known and its licence allowed.
package release
