// Package metrics counts what the server does, for monitoring. One table says which
// metrics there are; Prometheus, the page of docs and the dashboard for Grafana
// follow from it. No label ever holds what a client sent.
package metrics

// Type is a Prometheus type.
type Type string

// The types.
const (
	Counter   Type = "counter"   // since the server started
	Gauge     Type = "gauge"     // now
	Histogram Type = "histogram" // seconds
)

// Metric is one row of the table.
type Metric struct {
	Name   string
	Type   Type
	Labels []string
	// Buckets are the upper bounds of a Histogram, in seconds, ascending.
	Buckets []float64
	Help    string // a sentence
	Panel   Panel
}

// Panel is how the dashboard shows a metric.
type Panel struct {
	Title  string
	Query  string // PromQL; "" for the usual one of the type
	Legend string
	Unit   string // Grafana's: "short", "s", "Bps", "ops"
}

// The bounds of histograms: of what is answered from memory and of what waits for
// a disk or for somebody.
var (
	fast = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}
	slow = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
)

// The metrics.
var (
	up = &Metric{"postern_service_up", Gauge, []string{"service"}, nil, "1 while the service runs, else 0.",
		Panel{Title: "Services that run", Legend: "{{service}}", Unit: "short"}}
	connections = &Metric{"postern_connections", Gauge, []string{"service"}, nil, "Open connections.",
		Panel{Title: "Connections", Legend: "{{service}}", Unit: "short"}}
	sessions = &Metric{"postern_sessions", Gauge, []string{"service"}, nil, "Open connections that are logged in; for LMTP and the console, which have no login of their own, all.",
		Panel{Title: "Sessions", Legend: "{{service}}", Unit: "short"}}
	accepted = &Metric{"postern_connections_accepted_total", Counter, []string{"service"}, nil, "Connections that came, those turned away included.",
		Panel{Title: "New connections", Legend: "{{service}}", Unit: "ops"}}
	refused = &Metric{"postern_connections_refused_total", Counter, []string{"service"}, nil, "Connections that were turned away because of a limit.",
		Panel{Title: "Connections turned away", Legend: "{{service}}", Unit: "ops"}}
	panics = &Metric{"postern_session_panics_total", Counter, []string{"service"}, nil, "Sessions that ended by a fault of the server.",
		Panel{Title: "Faults of the server", Query: "increase(postern_session_panics_total[1h])", Legend: "{{service}}", Unit: "short"}}
	bytesIn = &Metric{"postern_received_bytes_total", Counter, []string{"service"}, nil, "Bytes from clients, inside TLS.",
		Panel{Title: "Bytes from clients", Legend: "{{service}}", Unit: "Bps"}}
	bytesOut = &Metric{"postern_sent_bytes_total", Counter, []string{"service"}, nil, "Bytes to clients, inside TLS.",
		Panel{Title: "Bytes to clients", Legend: "{{service}}", Unit: "Bps"}}

	signIns = &Metric{"postern_sign_ins_total", Counter, []string{"service", "mechanism", "tls", "outcome"}, nil, "Decided sign-ins; outcome is OK or the kind of the error.",
		Panel{Title: "Sign-ins", Query: "sum by (service, outcome) (rate(postern_sign_ins_total[5m]))", Legend: "{{service}} {{outcome}}", Unit: "ops"}}
	signInSeconds = &Metric{"postern_sign_in_seconds", Histogram, []string{"service"}, slow, "How long the deciding step of a sign-in took, delays against guessing included.",
		Panel{Title: "Sign-in time", Legend: "{{service}}", Unit: "s"}}
	throttled = &Metric{"postern_sign_ins_throttled_total", Counter, nil, nil, "Sign-ins that were refused because too many of the same account or network waited.",
		Panel{Title: "Sign-ins refused by the brake", Legend: "throttled", Unit: "ops"}}

	commandSeconds = &Metric{"postern_command_seconds", Histogram, []string{"service", "command"}, fast, "How long commands took, waiting for the rest of their arguments included; IDLE takes as long as the client likes.",
		Panel{Title: "Command time", Query: `histogram_quantile(0.95, sum by (le, service, command) (rate(postern_command_seconds_bucket{command!="IDLE"}[5m])))`, Legend: "{{service}} {{command}}", Unit: "s"}}
	commandFailures = &Metric{"postern_command_failures_total", Counter, []string{"service", "command"}, nil, "Commands that were answered with NO, BAD, -ERR, 4xx or 5xx.",
		Panel{Title: "Failed commands", Legend: "{{service}} {{command}}", Unit: "ops"}}

	deliveries = &Metric{"postern_deliveries_total", Counter, []string{"outcome"}, nil, "Messages for a mailbox that came by LMTP; outcome is OK or the kind of the error.",
		Panel{Title: "Deliveries", Legend: "{{outcome}}", Unit: "ops"}}
	deliveredBytes = &Metric{"postern_delivered_bytes_total", Counter, nil, nil, "Bytes of messages put into mailboxes by LMTP.",
		Panel{Title: "Delivered bytes", Legend: "bytes", Unit: "Bps"}}
	deliverySeconds = &Metric{"postern_delivery_seconds", Histogram, nil, slow, "How long a delivery took from the whole message to the disk.",
		Panel{Title: "Delivery time", Legend: "95 %", Unit: "s"}}

	commitSeconds = &Metric{"postern_store_commit_seconds", Histogram, nil, fast, "How long a change of the store took until it was visible.",
		Panel{Title: "Store: change", Legend: "95 %", Unit: "s"}}
	syncSeconds = &Metric{"postern_store_sync_seconds", Histogram, nil, slow, "How long a change then waited to be on disk; changes share a sync.",
		Panel{Title: "Store: sync", Legend: "95 %", Unit: "s"}}
	storeErrors = &Metric{"postern_store_errors_total", Counter, []string{"kind"}, nil, "Changes of the store that failed, by the kind of the error; a Conflict is tried again.",
		Panel{Title: "Store: errors", Legend: "{{kind}}", Unit: "ops"}}

	cmdlets = &Metric{"postern_cmdlets_total", Counter, []string{"cmdlet", "outcome"}, nil, "Runs of cmdlets; outcome is OK or the kind of the error.",
		Panel{Title: "Cmdlets", Legend: "{{cmdlet}} {{outcome}}", Unit: "ops"}}

	expiry = &Metric{"postern_certificate_expiry_seconds", Gauge, []string{"certificate"}, nil, "Seconds until the certificate expires, below 0 when it has; certificate is its thumbprint.",
		Panel{Title: "Certificates expire in", Legend: "{{certificate}}", Unit: "s"}}
	ready = &Metric{"postern_ready", Gauge, nil, nil, "1 while /readyz says that the server is ready, else 0.",
		Panel{Title: "Ready", Legend: "ready", Unit: "short"}}
)

// Table lists the metrics in the order in which they are shown. Beside them stand
// those of the Go runtime (go_) and of the process (process_), as the Prometheus
// library has them.
var Table = []*Metric{
	ready, up, connections, sessions, accepted, refused, panics, bytesIn, bytesOut,
	signIns, signInSeconds, throttled, commandSeconds, commandFailures,
	deliveries, deliveredBytes, deliverySeconds, commitSeconds, syncSeconds, storeErrors, cmdlets, expiry,
}
