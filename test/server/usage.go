package server

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Memory is a row of the process's memory, in bytes: of /proc/PID/status, such as VmRSS (what
// it has, the program's own pages included) and VmHWM (the most it ever had), or of
// /proc/PID/smaps_rollup, such as Pss_Anon (what it has written itself: no file backs it). What the
// kernel keeps for sockets is in none of them. Where the system does not tell, the test is NotTested.
func (s *Server) Memory(row string) int64 {
	s.t.Helper()
	for _, file := range []string{"status", "smaps_rollup"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.PID(), file))
		if err != nil {
			NotTested(s.t, "the system does not tell how much memory a process has: %v", err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) == 3 && fields[0] == row+":" {
				kib, err := strconv.ParseInt(fields[1], 10, 64)
				if err != nil {
					s.t.Fatal(err)
				}
				return kib << 10
			}
		}
	}
	s.t.Fatalf("the process's memory has no %s", row)
	return 0
}

// ProcessorTime is what the process has used so far, in all its threads, in steps of 10 ms.
// Where the system does not tell, the test is NotTested.
func (s *Server) ProcessorTime() time.Duration {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	if err != nil {
		NotTested(s.t, "the system does not tell what a process has used: %v", err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		s.t.Fatalf("the process's times: %q", text)
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		s.t.Fatalf("the process's times: %q", text)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
