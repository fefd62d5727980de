package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// totals are the sums at the end, each with the figures that it is of.
var totals = []struct {
	name string
	of   []string
}{
	{"cycles survived", []string{"cycles survived", "cycles survived while messages are brought back", "kills in the midst of a backup", "kills in the midst of a restore"}},
	{"operations checked", []string{"operations checked", "operations of them checked", "commands of them"}},
	{"messages and values read and compared", []string{
		"messages read and compared", "messages of them read and compared", "values of metadata, annotations and rights explained", "messages looked for", "messages compared after a restore",
	}},
	{"bytes looked through for what is another's", []string{"bytes heard and looked through"}},
	{"faults injected", []string{
		"states after a power cut", "states after a power cut while messages are brought back", "power cuts of ext4", "file operations made to fail", "system calls made to fail", "files damaged",
		"bits flipped in a backup, each found and named", "times that the clock was set",
	}},
	{"inputs tried", []string{
		"command sequences played", "inputs tried", "commands and handshakes put behind STARTTLS, none obeyed", "commands put in between and into TLS, none obeyed", "broken TLS handshakes",
		"compression bombs", "messages made to cost much", "texts that want to be lines",
	}},
}

// held are what a connection can hold that has not logged in: the most of those figures whose
// names begin with holds and end so.
var held = []struct{ name, end string }{
	{"KiB that a connection holds before login, in the clear", "(goal 8)"},
	{"KiB that it holds over TLS", "(goal 24)"},
	{"KiB that it holds when it attacks", "(goal 64)"},
}

const holds = "KiB of a connection before login, "

// zeros are what there must be none of.
var zeros = []string{"lost", "duplicated", "crossed over", "panics"}

// sums adds up rows.
type sums struct {
	figures      map[string]int64
	held         []float64 // as the table of that name; 0: not measured
	kept, broken []proof
}

func (s *sums) add(p proof, figures []figure, proven bool) {
	if s.figures == nil {
		s.figures, s.held = map[string]int64{}, make([]float64, len(held))
	}
	for _, f := range figures {
		for i, h := range held {
			if n, err := strconv.ParseFloat(f.value, 64); err == nil && strings.HasPrefix(f.name, holds) && strings.HasSuffix(f.name, h.end) {
				s.held[i] = max(s.held[i], n)
			}
		}
		if n, err := strconv.ParseInt(f.value, 10, 64); err == nil {
			s.figures[f.name] += n
		}
	}
	if proven {
		s.kept = append(s.kept, p)
	} else {
		s.broken = append(s.broken, p)
	}
}

// print writes them. Of what there must be none it says zero only where a row has proven it
// and none has failed.
func (s *sums) print(out io.Writer) {
	fmt.Fprintf(out, "Together: %d of %d promises kept\n", len(s.kept), len(s.kept)+len(s.broken))
	for _, t := range totals {
		n := int64(0)
		for _, name := range t.of {
			n += s.figures[name]
		}
		if n > 0 {
			fmt.Fprintf(out, "    %-60s %12d\n", t.name, n)
		}
	}
	for i, n := range s.held {
		if n > 0 {
			fmt.Fprintf(out, "    %-60s %12.1f\n", held[i].name, n)
		}
	}
	says := func(list []proof, zero string) int {
		n := 0
		for _, p := range list {
			if slices.Contains(strings.Split(p.none, ", "), zero) {
				n++
			}
		}
		return n
	}
	for _, zero := range zeros {
		switch kept, broken := says(s.kept, zero), says(s.broken, zero); {
		case broken > 0:
			fmt.Fprintf(out, "    %-60s %12s\n", zero, "NOT PROVEN")
		case kept > 0:
			fmt.Fprintf(out, "    %-60s %12d\n", zero, 0)
		}
	}
}
