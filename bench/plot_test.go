package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"testing"
)

// TestDraw: a plot is well-formed whatever was measured. PLOT names a file to look at it.
func TestDraw(t *testing.T) {
	var panels []panel
	for _, g := range growths {
		for i, c := range g.costs {
			p := panel{title: c.name, unit: c.unit, x: g.of}
			for j, name := range peerNames[:3-i%2] {
				line := curve{peer: name}
				for k, n := range g.sizes[:len(g.sizes)-j%2] {
					line.points = append(line.points, point{n, float64(i*(j+1)) * 7 * float64(1+k*i%5)})
				}
				p.curves = append(p.curves, line)
			}
			panels = append(panels, p)
		}
	}
	panels = append(panels, panel{title: "nothing < was & measured", unit: "µs"})
	picture := draw(panels)
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Contains(picture, []byte("NaN")) || bytes.Contains(picture, []byte("Inf")) {
		t.Error("a coordinate is not a number")
	}
	if name := os.Getenv("PLOT"); name != "" {
		if err := os.WriteFile(name, picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
