package statistics

import (
	"time"

	"github.com/postern-mail/postern/settings"
)

// Metric is something of which there is a series.
type Metric string

// The metrics. All but Connections count what happened within a point's step;
// Connections is the most that were open at the end of a minute of it.
const (
	SignIns     Metric = "SignIns"     // logins that were let in
	Refusals    Metric = "Refusals"    // logins that were refused
	Connections Metric = "Connections" // open connections
	Deliveries  Metric = "Deliveries"  // messages put into mailboxes by LMTP
	BytesIn     Metric = "BytesIn"     // bytes from clients, inside TLS
	BytesOut    Metric = "BytesOut"    // bytes to clients, inside TLS
)

// Metrics lists them in the order in which they are shown.
var Metrics = []Metric{SignIns, Refusals, Connections, Deliveries, BytesIn, BytesOut}

// How long series are kept, and how many points Series gives at most.
const (
	MinutesKept = 48 * time.Hour      // by the minute
	HoursKept   = 30 * 24 * time.Hour // by the hour
	MaxPoints   = 3000
)

// Point is one value of a series.
type Point struct {
	Time  time.Time // when its step begins, UTC
	Value float64
	// Known is false for a gap: the server did not run in any part of the step.
	Known bool
}

// Delivered counts messages put into mailboxes.
func (h *History) Delivered(n int) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.series.count(Deliveries, settings.LMTP, int64(n))
}

// Series gives a metric of a service, "" for all services together, from the step
// that holds from up to but without to, oldest first; the minute under way is not in
// it yet. step is rounded up to whole minutes, to whole hours when from is longer
// ago than MinutesKept, and as far as needed to give at most MaxPoints. Steps begin
// at whole multiples of step since the Unix epoch. What is longer ago than HoursKept
// is left out; a metric that the service does not have gives nothing.
func (h *History) Series(m Metric, s settings.Service, from, to time.Time, step time.Duration) []Point {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Unix(h.series.minute*60, 0)
	unit := time.Minute
	if from.Before(now.Add(-MinutesKept)) {
		unit = time.Hour
		from = maxTime(from, now.Add(-HoursKept))
	}
	if now.Before(to) {
		to = now
	}
	if !from.Before(to) {
		return nil
	}
	step = (max(step, unit) + unit - 1) / unit * unit
	for to.Sub(from)/step >= MaxPoints-1 {
		step += unit
	}

	var lines []*line
	for _, service := range settings.Services {
		if l := h.series.lines[lineKey{m, service}]; l != nil && (s == "" || s == service) {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	each := int64(step / unit)
	first := floorDiv(from.Unix(), int64(step/time.Second))
	last := floorDiv(to.Add(-1).Unix(), int64(step/time.Second))
	points := make([]Point, 0, last-first+1)
	for n := first; n <= last; n++ {
		p := Point{Time: time.Unix(n*int64(step/time.Second), 0).UTC()}
		for _, l := range lines {
			ring := &l.minutes
			if unit == time.Hour {
				ring = &l.hours
			}
			if v := ring.over(n*each, each, m); v >= 0 {
				p.Known = true
				p.Value += float64(v)
			}
		}
		points = append(points, p)
	}
	return points
}

func maxTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// minuteOf numbers the minutes since the Unix epoch.
func minuteOf(t time.Time) int64 { return max(0, t.Unix()/60) }

// gap stands for what is not known.
const gap = -1

// ring holds the values of the steps up to head, those before the ring's length
// forgotten.
type ring struct {
	head   int64 // the number of the latest step
	values []int64
}

func newRing(head int64, kept int) ring {
	r := ring{head: head, values: make([]int64, kept)}
	for i := range r.values {
		r.values[i] = gap
	}
	return r
}

func (r *ring) at(n int64) *int64 { return &r.values[n%int64(len(r.values))] }

// get gives a step's value, gap for one that is not known.
func (r *ring) get(n int64) int64 {
	if n < 0 || n > r.head || n <= r.head-int64(len(r.values)) {
		return gap
	}
	return *r.at(n)
}

// advance goes on to a later step; what lies between is not known.
func (r *ring) advance(n int64) {
	for s := max(r.head+1, n-int64(len(r.values))+1); s <= n; s++ {
		*r.at(s) = gap
	}
	r.head = max(r.head, n)
}

// add merges a value into the latest step.
func (r *ring) add(v int64, m Metric) { p := r.at(r.head); *p = merge(*p, v, m) }

// over merges so many steps from n.
func (r *ring) over(n, count int64, m Metric) int64 {
	v := int64(gap)
	for i := range count {
		if one := r.get(n + i); one >= 0 {
			v = merge(v, one, m)
		}
	}
	return v
}

// merge joins the values of two steps.
func merge(a, b int64, m Metric) int64 {
	switch {
	case a < 0:
		return b
	case m == Connections:
		return max(a, b)
	}
	return a + b
}

// lineKey names a line.
type lineKey struct {
	metric  Metric
	service settings.Service
}

// line is one metric of one service.
type line struct {
	now     int64 // of the minute under way
	minutes ring
	hours   ring
}

// series holds all lines. Its owner holds a lock.
type series struct {
	minute int64 // the one under way
	lines  map[lineKey]*line
	read   map[settings.Service]Reading // at the end of the last minute
}

func newSeries(minute int64) series {
	s := series{minute: minute, lines: map[lineKey]*line{}, read: map[settings.Service]Reading{}}
	for _, m := range Metrics {
		for _, service := range settings.Services {
			if applies(m, service) {
				s.lines[lineKey{m, service}] = &line{
					minutes: newRing(max(0, minute-1), int(MinutesKept/time.Minute)),
					hours:   newRing(max(0, minute-1)/60, int(HoursKept/time.Hour)),
				}
			}
		}
	}
	return s
}

// applies tells whether a service can have a metric.
func applies(m Metric, s settings.Service) bool {
	switch m {
	case SignIns, Refusals:
		return s != settings.LMTP
	case Deliveries:
		return s == settings.LMTP
	}
	return true
}

// count counts in the minute under way.
func (s *series) count(m Metric, service settings.Service, n int64) {
	if l := s.lines[lineKey{m, service}]; l != nil {
		l.now += n
	}
}

// take counts what the readings have more than the last ones.
func (s *series) take(readings map[settings.Service]Reading) {
	for service, r := range readings {
		before := s.read[service]
		s.count(BytesIn, service, max(0, r.BytesIn-before.BytesIn))
		s.count(BytesOut, service, max(0, r.BytesOut-before.BytesOut))
		s.read[service] = r
	}
}

// advance ends the minute under way when it is over, and tells whether it was. What
// happened since counts to it, even if the clock or the machine made it longer.
// Without readings it is not known how many connections are open.
func (s *series) advance(minute int64, readings map[settings.Service]Reading) bool {
	if minute <= s.minute {
		return false
	}
	s.take(readings)
	for k, l := range s.lines {
		if k.metric == Connections {
			if readings == nil {
				continue
			}
			l.now = int64(readings[k.service].Connections)
		}
		l.minutes.advance(s.minute)
		l.hours.advance(s.minute / 60)
		l.minutes.add(l.now, k.metric)
		l.hours.add(l.now, k.metric)
		l.now = 0
	}
	s.minute = minute
	return true
}
