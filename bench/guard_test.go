package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestReadRatios: the page that `make bench` wrote has every row of a quick look, with the
// figures that stand there.
func TestReadRatios(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", recordPage))
	if err != nil {
		t.Fatal(err)
	}
	ratios, err := readRatios(string(text), "Dovecot")
	if err != nil {
		t.Fatal(err)
	}
	above, quick := "", 0
	for _, row := range rates {
		name := fullName(&above, row.name)
		if row.quick == 0 {
			continue
		}
		quick++
		if r, ok := ratios[name]; !ok || !(r > 0.05 && r < 5000) {
			t.Errorf("%s: %v", name, r)
		}
	}
	if quick < 10 {
		t.Errorf("only %d rows are quick", quick)
	}
}

func TestReadRatiosOfPage(t *testing.T) {
	const page = `# Beside

| Workload | Postern | Dovecot | Cyrus a second | × best | ± | CPU of each: Postern | Dovecot | Cyrus | × best | goal | | the machine's limit | reached |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| a | 1 | 2 | 3 | 4 × | 2 % | 10.0 µs | 40.0 µs | 20.0 µs | 2.00 × | | met | — | — |
| the same over TLS * | 1 | 2 | 3 | 4 × | 2 % | 10 k µs | 4.40 M µs | 1979 µs | 7.76 × | | met | — | — |
| b | 1 | — | 3 | 4 × | 2 % | 10.0 µs | — | 20.0 µs | 2.00 × | | met | — | — |

| Less is better | Postern | Dovecot |
| --- | --- | --- |
| c | 1 ms | 2 ms |
`
	ratios, err := readRatios(page, "Dovecot")
	if err != nil || len(ratios) != 2 || ratios["a"] != 4 || ratios["a: the same over TLS"] != 440 {
		t.Errorf("%v, %v", ratios, err)
	}
	if _, err := readRatios(page, "James"); err == nil {
		t.Error("a server that is not there has ratios")
	}
	if _, err := readRatios("nothing", "Dovecot"); err == nil {
		t.Error("no page has ratios")
	}
	for _, f := range []float64{0.07, 1.57, 92, 713, 58_000, 4.4e6} {
		if got := readMicros(micros(f)); math.Abs(got-f) > f/100 {
			t.Errorf("%v was read as %v", f, got)
		}
	}
}
