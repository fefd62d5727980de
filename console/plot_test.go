package console

import (
	"testing"
	"time"

	"github.com/postern-mail/postern/statistics"
)

func TestDraw(t *testing.T) {
	at := func(i int, value float64, known bool) statistics.Point {
		return statistics.Point{Time: time.Unix(int64(i), 0), Value: value, Known: known}
	}
	x := func(t time.Time) float64 { return float64(t.Unix()) }
	y := func(v float64) float64 { return 10 - v }
	for _, c := range []struct {
		points     []statistics.Point
		line, area string
	}{
		{nil, "", ""},
		{[]statistics.Point{at(1, 0, false)}, "", ""},
		{[]statistics.Point{at(1, 2, true), at(2, 3, true)}, "M1.0 8.0L2.0 7.0", "M1.0 10.0L1.0 8.0L2.0 7.0L2.0 10.0Z"},
		{[]statistics.Point{at(1, 2, true), at(2, 0, false), at(3, 4, true)}, "M1.0 8.0h0.1M3.0 6.0h0.1", "M1.0 10.0L1.0 8.0L1.0 10.0ZM3.0 10.0L3.0 6.0L3.0 10.0Z"},
	} {
		line, area := draw(c.points, x, y, 10)
		if line != c.line || area != c.area {
			t.Errorf("%v: %s, %s", c.points, line, area)
		}
	}
}

func TestScale(t *testing.T) {
	for _, c := range [][3]float64{{0, 2, 1}, {1, 2, 1}, {3, 3, 1}, {5, 6, 2}, {15, 15, 5}, {41, 60, 20}, {999, 1000, 500}, {68, 80, 20}, {1e6, 1e6, 5e5}} {
		if top, step := scale(c[0]); top != c[1] || step != c[2] {
			t.Errorf("%v: %v, %v", c[0], top, step)
		}
	}
}
