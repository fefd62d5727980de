// Package clock gives tests a Postern whose clock they set: a real process, of which every
// reading of the time of day is that of the machine and so much more or less, from one
// reading to the next. It is what a machine does whose clock is set: what counts elapsed
// time (CLOCK_MONOTONIC) goes on as it was.
//
// Go asks the kernel's vDSO for the time, which no library of the system stands between; so
// the program is built with one more file (go build -overlay), that puts itself there. It is
// in no release.
package clock

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// Files are what the program is built with, by path below the module's root. Elsewhere than on
// Linux on amd64 they do nothing.
func Files() map[string]string {
	return map[string]string{"clock_on_purpose.go": program, "clock_on_purpose_linux_amd64.s": assembly}
}

// Build builds the program, and gives its path.
func Build(t testing.TB) string {
	t.Helper()
	folder := t.TempDir()
	overlay, err := server.Overlay(folder, Files())
	path := filepath.Join(folder, "postern")
	if err == nil {
		err = server.Build(path, "-overlay", overlay)
	}
	if err != nil {
		t.Fatalf("building with a clock that can be set: %v", err)
	}
	return path
}

// Clock is the clock of the programs that have its Env.
type Clock struct {
	t    testing.TB
	file *os.File
}

// New makes one that goes as the machine's. The test is NotTested where no clock can be set.
func New(t testing.TB) *Clock {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		server.NotTested(t, "a clock is set on Linux on amd64 only")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "clock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	c := &Clock{t, f}
	c.Set(0)
	return c
}

// Env makes a program have the clock.
func (c *Clock) Env() string { return "POSTERN_CLOCK=" + c.file.Name() }

// Set sets it so far ahead of the machine's, in whole seconds; behind it when ahead is
// negative. Programs that run have the new time at once.
func (c *Clock) Set(ahead time.Duration) {
	c.t.Helper()
	if _, err := c.file.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(int64(ahead/time.Second))), 0); err != nil {
		c.t.Fatal(err)
	}
}

// program has the runtime call clockSet instead of the vDSO's clock_gettime. The test writes
// to the file that is mapped here.
const program = `//go:build linux && amd64

package main

import (
	"os"
	"syscall"
	"unsafe"
)

//go:linkname vdsoClockgettimeSym runtime.vdsoClockgettimeSym
var vdsoClockgettimeSym uintptr

var (
	clockReal  uintptr
	clockAhead *int64
)

func clockSetAddress() uintptr

func init() {
	path := os.Getenv("POSTERN_CLOCK")
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	page, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	f.Close()
	if vdsoClockgettimeSym == 0 {
		panic("the kernel has no vDSO")
	}
	clockAhead, clockReal = (*int64)(unsafe.Pointer(&page[0])), vdsoClockgettimeSym
	vdsoClockgettimeSym = clockSetAddress()
}
`

// assembly is called as C's int clock_gettime(clockid_t, struct timespec *), on a thread's
// own stack.
const assembly = `#include "textflag.h"

TEXT clockSet<>(SB), NOSPLIT|NOFRAME, $0
	PUSHQ	DI
	PUSHQ	SI
	SUBQ	$8, SP
	MOVQ	·clockReal(SB), AX
	CALL	AX
	ADDQ	$8, SP
	POPQ	SI
	POPQ	DI
	CMPL	DI, $0 // CLOCK_REALTIME
	JNE	done
	MOVQ	·clockAhead(SB), CX
	MOVQ	(CX), CX
	ADDQ	CX, (SI) // seconds
done:
	RET

TEXT ·clockSetAddress(SB), NOSPLIT, $0-8
	LEAQ	clockSet<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
`
