package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// unmapProgram lets go of the pages of the program's own file, code and constants, which
// it has mapped, and gives how many bytes of address space those are. They stay in the page cache, as
// long as there is room for them, and what is used again is mapped again with the first use. Each
// fault maps 64 KiB around it, so that after the start, when everything is used
// once, nearly the whole file is.
func unmapProgram() (bytes uintptr) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		from, to, ok := constant(s, program)
		if !ok {
			continue
		}
		if _, _, no := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); no == 0 {
			bytes += to - from
		}
	}
	return bytes
}

// constant reads the line on which s stands, and tells whether a mapping of the program begins there
// that nothing has been written to, neither by the linker nor by a debugger: it would be lost.
func constant(s *bufio.Scanner, program string) (from, to uintptr, ok bool) {
	line := s.Bytes()
	if !bytes.HasSuffix(line, []byte(program)) {
		return 0, 0, false
	}
	var rights string
	if n, _ := fmt.Sscanf(string(line), "%x-%x %s", &from, &to, &rights); n != 3 || rights != "r--p" && rights != "r-xp" {
		return 0, 0, false
	}
	for s.Scan() {
		if value, found := bytes.CutPrefix(s.Bytes(), []byte("Anonymous:")); found {
			return from, to, bytes.Equal(bytes.TrimSpace(value), []byte("0 kB"))
		}
	}
	return 0, 0, false
}
