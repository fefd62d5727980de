package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tree gives the process ids of pid and all its descendants.
func tree(pid int) []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	check(err)
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f := stat(id); f != nil {
			parent, _ := strconv.Atoi(f[1])
			children[parent] = append(children[parent], id)
		}
	}
	out := []int{pid}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out
}

// stat gives the fields of /proc/PID/stat behind the command's name: the first is
// the state, the second the parent.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	s := string(text)
	return strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
}

// cpu is the processor time that a process tree has used, ended children
// included. Only of those the kernel counts in steps of 10 ms.
func cpu(pid int) time.Duration {
	var used time.Duration
	for _, id := range tree(pid) {
		f := stat(id)
		if f == nil {
			continue
		}
		for _, i := range []int{13, 14} { // cutime cstime
			n, _ := strconv.ParseInt(f[i], 10, 64)
			used += time.Duration(n) * 10 * time.Millisecond
		}
		// clock_getcpuclockid(3): a process's own clock, to the nanosecond.
		const schedClock = 2
		var t unix.Timespec
		if unix.ClockGettime(int32(^id<<3|schedClock), &t) == nil {
			used += time.Duration(t.Nano())
		}
	}
	return used
}

// memory is the proportional set size of a process tree in bytes: pages that
// several processes share are counted once, those of programs and libraries too.
func memory(pid int) int64 { return rollup(pid, "Pss:") }

// private is the part of memory that no file backs, shared memory included: what a
// process has written itself.
func private(pid int) int64 { return rollup(pid, "Pss_Anon:", "Pss_Shmem:") }

// available is the memory in bytes that programs may still take.
func available() float64 { return float64(kib("/proc/meminfo", "MemAvailable:")) }

// rollup sums rows of /proc/PID/smaps_rollup over a process tree, in bytes.
func rollup(pid int, rows ...string) (sum int64) {
	for _, id := range tree(pid) {
		sum += kib(fmt.Sprintf("/proc/%d/smaps_rollup", id), rows...)
	}
	return sum
}

// kib sums rows of a file below /proc that counts KiB, in bytes; of a process that has ended it
// is 0.
func kib(file string, rows ...string) (sum int64) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && slices.Contains(rows, f[0]) {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			sum += n << 10
		}
	}
	return sum
}
