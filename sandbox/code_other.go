//go:build !cgo

package sandbox

// loads: all code of the process is there from the start, as in a release.
const loads = false
