package sandbox

import "golang.org/x/sys/unix"

const (
	architecture = unix.AUDIT_ARCH_AARCH64
	newest       = unix.SYS_RSEQ_SLICE_YIELD
)

var oldCalls []uintptr

var oldProgramCalls []uintptr
