//go:build cgo

package sandbox

// loads: the C library maps parts of itself, such as those that look users up, as code when they
// are needed.
const loads = true
