package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// recordPage has the figures that a quick look compares with: what `make bench` wrote last.
const recordPage = "docs/benchmark.md"

// tries is how often a row is measured that seems to have gone back; the best counts.
const tries = 3

// guard measures the rows that a quick look has and compares the processor time of each
// operation, against Dovecot's in the same run, with that of page. It fails, and names them,
// when some rows have gone back.
func (b *bench) guard(out io.Writer, page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	record, err := readRatios(string(text), "Dovecot")
	if err != nil {
		return fmt.Errorf("%s: %v", page, err)
	}
	if !slices.Equal(b.names(), []string{"Postern", "Dovecot"}) {
		return fmt.Errorf("a quick look is beside Dovecot alone")
	}
	fmt.Fprintf(out, "%-58s %10s %10s %8s %8s\n", "processor time of each", "Postern", "Dovecot", "ratio", "was")
	above, back, compared := "", []string(nil), 0
	for _, row := range rates {
		name := fullName(&above, row.name)
		was, known := record[name]
		if row.quick == 0 || b.ctx.Err() != nil {
			continue
		}
		if !known {
			fmt.Fprintf(out, "%-58s is not in %s\n", name, page)
			continue
		}
		compared++
		ratio, own, other := 0.0, math.NaN(), math.NaN()
		for try := 0; try < tries && ratio < row.quick*was && b.ctx.Err() == nil; try++ {
			results := b.rate(row)
			for i, r := range results {
				if r.err != nil {
					return fmt.Errorf("%s, %s: %v", name, b.peers[i].name, r.err)
				}
			}
			mine, others := results[0].cpu.median(), results[1].cpu.median()
			if others/mine > ratio {
				ratio, own, other = others/mine, mine, others
			}
		}
		verdict := ""
		if ratio < row.quick*was {
			verdict = "  WENT BACK"
			back = append(back, fmt.Sprintf("%s: Dovecot takes %s Postern's processor time, and took %s; at least %s is expected", name, times(ratio), times(was), times(row.quick*was)))
		}
		fmt.Fprintf(out, "%-58s %10s %10s %8s %8s%s\n", name, micros(own), micros(other), times(ratio), times(was), verdict)
	}
	switch {
	case b.ctx.Err() != nil:
		return b.ctx.Err()
	case len(back) > 0:
		return fmt.Errorf("%d of %d rows went back from %s, in each of %d tries:\n  %s", len(back), compared, page, tries, strings.Join(back, "\n  "))
	case compared == 0:
		return fmt.Errorf("%s has none of the rows", page)
	}
	fmt.Fprintf(out, "none of %d rows went back\n", compared)
	return nil
}

// readRatios reads a page that report wrote and gives, by the rows' full names, how many
// times Postern's processor time of each operation the peer takes.
func readRatios(page, peer string) (map[string]float64, error) {
	ratios, above := map[string]float64{}, ""
	own, other := -1, -1 // columns
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") {
			if own >= 0 {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == "Workload":
			own = slices.Index(cells, "CPU of each: Postern")
			if own >= 0 {
				if i := slices.Index(cells[own:], peer); i > 0 {
					other = own + i
				}
			}
			if other < 0 {
				return nil, fmt.Errorf("the table of workloads has no processor time of Postern and %s", peer)
			}
		case own < 0 || strings.HasPrefix(cells[0], "---"):
		case len(cells) <= other:
			return nil, fmt.Errorf("the row %q is cut off", cells[0])
		default:
			// A star says that the row was measured on another day.
			name := fullName(&above, strings.TrimSpace(strings.TrimSuffix(cells[0], "*")))
			mine, others := readMicros(cells[own]), readMicros(cells[other])
			if mine > 0 && others > 0 {
				ratios[name] = others / mine
			}
		}
	}
	if own < 0 {
		return nil, fmt.Errorf("there is no table of workloads")
	}
	return ratios, nil
}

// readMicros reads what micros wrote; NaN when it is none.
func readMicros(text string) float64 {
	number, ok := strings.CutSuffix(text, " µs")
	factor := 1.0
	for suffix, f := range map[string]float64{" k": 1e3, " M": 1e6} {
		if n, found := strings.CutSuffix(number, suffix); found {
			number, factor = n, f
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil {
		return math.NaN()
	}
	return f * factor
}
