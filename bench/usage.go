package main

import (
	"bufio"
	"fmt"
	"os"
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
func memory(pid int) int64 {
	var sum int64
	for _, id := range tree(pid) {
		f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", id))
		if err != nil {
			continue
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			if v, ok := strings.CutPrefix(s.Text(), "Pss:"); ok {
				kb, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
				sum += kb << 10
			}
		}
		f.Close()
	}
	return sum
}
