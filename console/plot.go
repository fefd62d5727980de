package console

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/postern-mail/postern/statistics"
)

// Line is one series of a plot.
type Line struct {
	Name   string // in the visitor's language
	Class  string // of its colour in console.css
	Points []statistics.Point

	Path, Area string // of the SVG
	Total      string
}

// Plot is series over time, drawn as SVG, with the same as a table.
type Plot struct {
	*Visit
	ID, Name      string
	Width, Height int
	Lines         []Line
	Ticks         []tick // at the left
	Hours         []tick // below
	Summary       string // in words
	Rows          []plotRow
	Empty         bool // nothing is known of the time
}

type tick struct {
	At   float64 // pixels
	Text string
}

type plotRow struct {
	Time  time.Time
	Cells []string
}

// The picture, in its own pixels.
const (
	plotWidth, plotHeight           = 560, 190
	plotLeft, plotRight             = 44, 8
	plotTop, plotBottom             = 10, 26
	plotInnerWidth, plotInnerHeight = plotWidth - plotLeft - plotRight, plotHeight - plotTop - plotBottom
	maxPlotRows                     = 200
)

// plot draws lines over the time from..to.
func (v *Visit) plot(id, name string, from, to time.Time, lines ...Line) *Plot {
	p := &Plot{Visit: v, ID: id, Name: name, Width: plotWidth, Height: plotHeight, Lines: lines, Empty: true}
	top := 0.0
	for _, l := range lines {
		for _, point := range l.Points {
			if point.Known {
				p.Empty = false
				top = math.Max(top, point.Value)
			}
		}
	}
	top, step := scale(top)
	x := func(t time.Time) float64 {
		return plotLeft + plotInnerWidth*math.Min(1, math.Max(0, float64(t.Sub(from))/float64(to.Sub(from))))
	}
	y := func(value float64) float64 { return plotTop + plotInnerHeight*(1-value/top) }
	for value := 0.0; value <= top+step/2; value += step {
		p.Ticks = append(p.Ticks, tick{y(value), v.Number(int64(value))})
	}
	p.hours(from, to, x)
	var words []string
	for i := range p.Lines {
		l := &p.Lines[i]
		l.Path, l.Area = draw(l.Points, x, y, y(0))
		sum, most := 0.0, 0.0
		for _, point := range l.Points {
			sum, most = sum+point.Value, math.Max(most, point.Value)
		}
		l.Total = v.Number(int64(sum))
		if id == "connections" {
			l.Total = v.T("at most %s", int64(most))
		}
		words = append(words, l.Name+": "+l.Total)
	}
	p.Summary = name + ". " + strings.Join(words, ", ")
	p.table()
	return p
}

// draw makes the paths of a line and of what is below it; gaps stay gaps, and a
// point between two of them is a dot.
func draw(points []statistics.Point, x func(time.Time) float64, y func(float64) float64, floor float64) (line, area string) {
	var l, a strings.Builder
	for i := 0; i < len(points); i++ {
		if !points[i].Known {
			continue
		}
		from := i
		for ; i < len(points) && points[i].Known; i++ {
			to := "L"
			if i == from {
				to = "M"
				fmt.Fprintf(&a, "M%.1f %.1f", x(points[i].Time), floor)
			}
			fmt.Fprintf(&l, "%s%.1f %.1f", to, x(points[i].Time), y(points[i].Value))
			fmt.Fprintf(&a, "L%.1f %.1f", x(points[i].Time), y(points[i].Value))
		}
		if i == from+1 {
			l.WriteString("h0.1")
		}
		fmt.Fprintf(&a, "L%.1f %.1fZ", x(points[i-1].Time), floor)
	}
	return l.String(), a.String()
}

// scale gives a round top at or above value and the step of its ticks.
func scale(value float64) (top, step float64) {
	step = 1
	for i := 0; step*4 < value; i++ { // 1, 2, 5, 10, 20, …
		step *= []float64{2, 2.5, 2}[i%3]
	}
	return step * math.Max(2, math.Ceil(value/step)), step
}

// hours places about six times below the picture.
func (p *Plot) hours(from, to time.Time, x func(time.Time) float64) {
	step := 24 * time.Hour
	for _, s := range []time.Duration{10 * time.Minute, 4 * time.Hour} {
		if to.Sub(from) <= 6*s+time.Minute {
			step = s
			break
		}
	}
	_, offset := from.Zone()
	zone := time.Duration(offset) * time.Second
	for t := from.Add(zone).Truncate(step).Add(step).Add(-zone); t.Before(to); t = t.Add(step) {
		text := p.Clock(t)
		if step == 24*time.Hour {
			text = p.Day(t)
		}
		if at := x(t); at > plotLeft+14 && at < plotWidth-plotRight-14 {
			p.Hours = append(p.Hours, tick{at, text})
		}
	}
}

// table gives the numbers of the times at which something is known.
func (p *Plot) table() {
	if len(p.Lines) == 0 {
		return
	}
	for i, first := range p.Lines[0].Points {
		row, any := plotRow{Time: first.Time}, false
		for _, l := range p.Lines {
			cell := "–"
			if i < len(l.Points) && l.Points[i].Known {
				cell = p.Number(int64(l.Points[i].Value))
				any = any || l.Points[i].Value != 0
			}
			row.Cells = append(row.Cells, cell)
		}
		if any {
			p.Rows = append(p.Rows, row)
		}
	}
	if n := len(p.Rows); n > maxPlotRows {
		p.Rows = p.Rows[n-maxPlotRows:]
	}
}
