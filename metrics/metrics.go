package metrics

import (
	"maps"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxCommands bounds the names of commands of one service, should a protocol ever
// hand over what is not from its table.
const maxCommands = 128

// Service is what a service says of itself when it is asked.
type Service struct {
	Name              string
	Up                bool
	Open, LoggedIn    int
	Accepted, Refused int64
	Panics            int64
	BytesIn, BytesOut int64
}

// Certificate is one that a service may show.
type Certificate struct {
	Thumbprint string
	NotAfter   time.Time
}

// Sources are asked at each scrape, from any goroutine.
type Sources struct {
	Services     func() []Service
	Certificates func() []Certificate
	Throttled    func() int64 // sign-ins refused by the brake so far
	Ready        func() bool
}

// Metrics holds the numbers. Its methods may be called from any goroutine; a nil
// Metrics counts nothing.
type Metrics struct {
	registry *prometheus.Registry
	sources  atomic.Pointer[Sources]

	signIns, commandFailures, deliveries, storeErrors, cmdlets *prometheus.CounterVec
	deliveredBytes                                             prometheus.Counter
	signInSeconds, commandSeconds                              *prometheus.HistogramVec
	deliverySeconds, commitSeconds, syncSeconds                prometheus.Observer
}

// New makes Metrics in a registry of their own.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.signIns, m.commandFailures = m.counter(signIns), m.counter(commandFailures)
	m.deliveries, m.storeErrors, m.cmdlets = m.counter(deliveries), m.counter(storeErrors), m.counter(cmdlets)
	m.deliveredBytes = m.counter(deliveredBytes).WithLabelValues()
	m.signInSeconds, m.commandSeconds = m.histogram(signInSeconds), m.histogram(commandSeconds)
	m.deliverySeconds = m.histogram(deliverySeconds).WithLabelValues()
	m.commitSeconds, m.syncSeconds = m.histogram(commitSeconds).WithLabelValues(), m.histogram(syncSeconds).WithLabelValues()
	m.registry.MustRegister(asked{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) counter(row *Metric) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: row.Name, Help: row.Help}, row.Labels)
	m.registry.MustRegister(v)
	return v
}

func (m *Metrics) histogram(row *Metric) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: row.Name, Help: row.Help, Buckets: row.Buckets}, row.Labels)
	m.registry.MustRegister(v)
	return v
}

// Ask says where the numbers come from that are asked for at each scrape. Before,
// they are left out.
func (m *Metrics) Ask(s Sources) { m.sources.Store(&s) }

// Handler serves the numbers in Prometheus's forms. It does not ask who asks.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second})
}

// SignIn counts a decided sign-in. mechanism is a name of a table, outcome "OK" or
// the name of a mail.Kind.
func (m *Metrics) SignIn(service, mechanism string, tls bool, outcome string, took time.Duration) {
	if m == nil {
		return
	}
	m.signIns.WithLabelValues(service, mechanism, strconv.FormatBool(tls), outcome).Inc()
	m.signInSeconds.WithLabelValues(service).Observe(took.Seconds())
}

// Delivery counts a message for a mailbox; outcome as of SignIn.
func (m *Metrics) Delivery(outcome string, bytes int64, took time.Duration) {
	if m == nil {
		return
	}
	m.deliveries.WithLabelValues(outcome).Inc()
	if outcome == "OK" {
		m.deliveredBytes.Add(float64(bytes))
		m.deliverySeconds.Observe(took.Seconds())
	}
}

// Commit takes how long a change of the store took until it was visible.
func (m *Metrics) Commit(took time.Duration) {
	if m != nil {
		m.commitSeconds.Observe(took.Seconds())
	}
}

// Sync takes how long a change waited to be on disk.
func (m *Metrics) Sync(took time.Duration) {
	if m != nil {
		m.syncSeconds.Observe(took.Seconds())
	}
}

// StoreError counts a failed change; kind is the name of a mail.Kind.
func (m *Metrics) StoreError(kind string) {
	if m != nil {
		m.storeErrors.WithLabelValues(kind).Inc()
	}
}

// Cmdlet counts a run; cmdlet is a name of the table, outcome as of SignIn.
func (m *Metrics) Cmdlet(cmdlet, outcome string) {
	if m != nil {
		m.cmdlets.WithLabelValues(cmdlet, outcome).Inc()
	}
}

// Commands counts the commands of one service.
type Commands struct {
	metrics *Metrics
	service string
	byName  atomic.Pointer[map[string]*command] // replaced, never changed

	mu sync.Mutex // held while byName is replaced
}

type command struct {
	seconds  prometheus.Observer
	failures prometheus.Counter
}

// Commands makes the counts of a service.
func (m *Metrics) Commands(service string) *Commands {
	c := &Commands{metrics: m, service: service}
	c.byName.Store(&map[string]*command{})
	return c
}

// Command counts a command by its name in the protocol's table, "" for one that is
// not there. It allocates nothing once the name was seen.
func (c *Commands) Command(name string, took time.Duration, ok bool) {
	if c.metrics == nil {
		return
	}
	n := (*c.byName.Load())[name]
	if n == nil {
		n = c.add(name)
	}
	n.seconds.Observe(took.Seconds())
	if !ok {
		n.failures.Inc()
	}
}

func (c *Commands) add(name string) *command {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := *c.byName.Load()
	if n := known[name]; n != nil {
		return n
	}
	label := name
	switch {
	case name == "":
		label = "unknown"
	case len(known) >= maxCommands:
		label = "others"
	}
	n := &command{c.metrics.commandSeconds.WithLabelValues(c.service, label), c.metrics.commandFailures.WithLabelValues(c.service, label)}
	if label != "others" {
		next := maps.Clone(known)
		next[name] = n
		c.byName.Store(&next)
	}
	return n
}

// asked collects what is asked for at each scrape.
type asked struct{ m *Metrics }

// askedRows are its rows.
var askedRows = []*Metric{ready, up, connections, sessions, accepted, refused, panics, bytesIn, bytesOut, throttled, expiry}

var askedDescriptions = func() map[*Metric]*prometheus.Desc {
	d := map[*Metric]*prometheus.Desc{}
	for _, row := range askedRows {
		d[row] = prometheus.NewDesc(row.Name, row.Help, row.Labels, nil)
	}
	return d
}()

// Describe implements prometheus.Collector.
func (asked) Describe(out chan<- *prometheus.Desc) {
	for _, row := range askedRows {
		out <- askedDescriptions[row]
	}
}

// Collect implements prometheus.Collector.
func (a asked) Collect(out chan<- prometheus.Metric) {
	s := a.m.sources.Load()
	if s == nil {
		return
	}
	give := func(row *Metric, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if row.Type == Counter {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(askedDescriptions[row], kind, value, labels...)
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	give(ready, truth(s.Ready()))
	for _, v := range s.Services() {
		give(up, truth(v.Up), v.Name)
		give(connections, float64(v.Open), v.Name)
		give(sessions, float64(v.LoggedIn), v.Name)
		give(accepted, float64(v.Accepted), v.Name)
		give(refused, float64(v.Refused), v.Name)
		give(panics, float64(v.Panics), v.Name)
		give(bytesIn, float64(v.BytesIn), v.Name)
		give(bytesOut, float64(v.BytesOut), v.Name)
	}
	give(throttled, float64(s.Throttled()))
	seen := map[string]bool{}
	for _, c := range s.Certificates() {
		if !seen[c.Thumbprint] {
			seen[c.Thumbprint] = true
			give(expiry, time.Until(c.NotAfter).Seconds(), c.Thumbprint)
		}
	}
}
