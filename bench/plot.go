package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
)

// panel is a small diagram: costs over sizes, both logarithmic.
type panel struct {
	title, unit, x string
	curves         []curve
}

// The measures of a plot, in its own units.
const (
	plotColumns = 3
	panelWidth  = 360
	panelHeight = 240
	panelLeft   = 76
	panelTop    = 46
	panelRight  = 34
	panelBottom = 44
)

// draw gives the panels as an SVG picture that is readable on light and dark pages.
func draw(panels []panel) []byte {
	var b bytes.Buffer
	rows := (len(panels) + plotColumns - 1) / plotColumns
	width, height := plotColumns*panelWidth, rows*panelHeight+30
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="How costs grow">
<style>
svg { --paper: #ffffff; --ink: #24292f; --soft: #57606a; --line: #d8dee4; --c0: #0b6bcb; --c1: #b35900; --c2: #6f42c1 }
@media (prefers-color-scheme: dark) { svg { --paper: #0d1117; --ink: #e6edf3; --soft: #9da7b3; --line: #30363d; --c0: #58a6ff; --c1: #f0a04b; --c2: #bc8cff } }
.paper { fill: var(--paper) } text { font: 11px system-ui, sans-serif; fill: var(--soft) } .title { fill: var(--ink); font-weight: 600 }
.grid { stroke: var(--line); fill: none } .s0 { --s: var(--c0) } .s1 { --s: var(--c1) } .s2 { --s: var(--c2) }
.curve { fill: none; stroke: var(--s); stroke-width: 2 } .dot { fill: var(--s) } .name { fill: var(--ink) }
</style>
<rect class="paper" width="%d" height="%d"/>
`, width, height, width, height, width, height)
	for i, name := range peerNames {
		fmt.Fprintf(&b, `<g class="s%d"><path class="curve" d="M%d 18h22"/>%s<text class="name" x="%d" y="22">%s</text></g>`+"\n", i, panelLeft+i*110, mark(i, float64(panelLeft+i*110+11), 18), panelLeft+i*110+28, name)
	}
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", i%plotColumns*panelWidth, 30+i/plotColumns*panelHeight)
		p.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// mark is the shape of a peer's points, so that colour is not all that tells them apart.
func mark(peer int, x, y float64) string {
	switch peer {
	case 0:
		return fmt.Sprintf(`<circle class="dot" cx="%.1f" cy="%.1f" r="4"/>`, x, y)
	case 1:
		return fmt.Sprintf(`<rect class="dot" x="%.1f" y="%.1f" width="7" height="7"/>`, x-3.5, y-3.5)
	}
	return fmt.Sprintf(`<path class="dot" d="M%.1f %.1fl4.5 8h-9z"/>`, x, y-5)
}

func (p panel) draw(b *bytes.Buffer) {
	low, high := math.Inf(1), math.Inf(-1)
	first, last := math.Inf(1), math.Inf(-1)
	for _, c := range p.curves {
		for _, q := range c.points {
			if q.cost > 0 {
				low, high = min(low, q.cost), max(high, q.cost)
			}
			first, last = min(first, float64(q.n)), max(last, float64(q.n))
		}
	}
	title, rest := wrap(p.title, 46)
	fmt.Fprintf(b, `<text class="title" x="%d" y="16">%s</text>`, 12, html.EscapeString(title))
	fmt.Fprintf(b, `<text class="title" x="%d" y="30">%s</text>`+"\n", 12, html.EscapeString(rest))
	if math.IsInf(low, 0) {
		return // nothing was measured
	}
	// At least two decades, so that noise does not look like growth.
	bottom, top := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	for top-bottom < 2 {
		if bottom--; top-bottom < 2 {
			top++
		}
	}
	left, right := math.Log10(first), math.Log10(last)
	x := func(n int) float64 {
		return panelLeft + (math.Log10(float64(n))-left)/max(right-left, 1)*(panelWidth-panelLeft-panelRight)
	}
	y := func(cost float64) float64 {
		return panelHeight - panelBottom - (math.Log10(cost)-bottom)/(top-bottom)*(panelHeight-panelTop-panelBottom)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (panelLeft+panelWidth-panelRight)/2, panelHeight-panelBottom+30, p.x)
	for e := bottom; e <= top; e++ {
		at := y(math.Pow(10, e))
		fmt.Fprintf(b, `<path class="grid" d="M%d %.1fH%d"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", panelLeft, at, panelWidth-panelRight, panelLeft-6, at+4, tick(e, p.unit))
	}
	for e := math.Ceil(left); e <= right; e++ {
		at := x(int(math.Pow(10, e)))
		fmt.Fprintf(b, `<path class="grid" d="M%.1f %dV%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", at, panelTop, panelHeight-panelBottom, at, panelHeight-panelBottom+15, thousands(int(math.Pow(10, e))))
	}
	for _, c := range p.curves {
		i := slices.Index(peerNames, c.peer)
		var path, dots bytes.Buffer
		for _, q := range c.points {
			if q.cost <= 0 || math.IsNaN(q.cost) {
				continue
			}
			sign := "L"
			if path.Len() == 0 {
				sign = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", sign, x(q.n), y(q.cost))
			dots.WriteString(mark(i, x(q.n), y(q.cost)))
		}
		fmt.Fprintf(b, `<g class="s%d"><path class="curve" d="%s"/>%s</g>`+"\n", i, path.String(), dots.String())
	}
}

// tick is a power of ten in words.
func tick(e float64, unit string) string {
	if e >= 0 {
		return thousands(int(math.Pow(10, e))) + " " + unit
	}
	return fmt.Sprintf("%.*f %s", int(-e), math.Pow(10, e), unit)
}

// wrap cuts a title in two lines of at most n letters.
func wrap(text string, n int) (first, rest string) {
	if len(text) <= n {
		return text, ""
	}
	for i := n; i > 0; i-- {
		if text[i] == ' ' {
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}
