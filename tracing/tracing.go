// Package tracing sends spans of sessions, commands, deliveries and cmdlets to an
// OpenTelemetry collector (OTLP over HTTP). Their attributes are few and come from
// tables, but for a client's address; none holds a name, a mailbox or a secret. A
// part of the sessions is traced, with all that happens in them; what the collector
// does not take in time is dropped, and nobody waits for it.
package tracing

import (
	"cmp"
	"context"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/postern-mail/postern/mail"
)

const (
	// DefaultSample is the part of sessions, and of cmdlets, that is traced.
	DefaultSample = 0.1
	// maxCommands bounds the spans of one session, which may last for days.
	maxCommands = 1000
	// closeTimeout is what the last spans have.
	closeTimeout = 5 * time.Second
	// exportTimeout is what the collector has.
	exportTimeout = 10 * time.Second
	// complainEvery is how often the log hears of a collector that does not answer.
	complainEvery = 5 * time.Minute
)

// Options say where spans go.
type Options struct {
	// Endpoint is the collector's URL, such as http://127.0.0.1:4318; "" takes
	// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT.
	Endpoint string
	// Sample is the part of sessions that is traced, 0 to 1; DefaultSample when it is
	// 0. OTEL_TRACES_SAMPLER, when it is set, decides instead.
	Sample float64
	// Server is the server's name, in every span.
	Server string
	Log    *slog.Logger
}

// Tracer sends spans. Its methods may be called from any goroutine; a nil Tracer
// sends none. Close it.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// Open makes a Tracer, nil when no endpoint is named. The collector need not answer
// yet. KindBadArgument for an endpoint that is no URL.
func Open(o Options) (*Tracer, error) {
	if o.Endpoint == "" && os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil, nil
	}
	settings := []otlptracehttp.Option{otlptracehttp.WithTimeout(exportTimeout)}
	if o.Endpoint != "" {
		u, err := Endpoint(o.Endpoint)
		if err != nil {
			return nil, err
		}
		settings = append(settings, otlptracehttp.WithEndpointURL(u))
	}
	exporter, err := otlptracehttp.New(context.Background(), settings...)
	if err != nil {
		return nil, &mail.Error{Kind: mail.KindBadArgument, Text: "The traces cannot be sent.", Cause: err}
	}
	parts := []sdk.TracerProviderOption{
		sdk.WithBatcher(&quiet{SpanExporter: exporter, log: o.Log}),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "postern"), attribute.String("service.instance.id", o.Server))),
	}
	if os.Getenv("OTEL_TRACES_SAMPLER") == "" {
		parts = append(parts, sdk.WithSampler(sdk.TraceIDRatioBased(cmp.Or(o.Sample, DefaultSample))))
	}
	provider := sdk.NewTracerProvider(parts...)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/postern-mail/postern")}, nil
}

// Endpoint gives the URL that spans are posted to. KindBadArgument.
func Endpoint(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", mail.Errorf(mail.KindBadArgument, "%q is not the URL of a collector, such as http://127.0.0.1:4318.", endpoint)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// Close sends what is left, for at most closeTimeout.
func (t *Tracer) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return mail.Wrap(mail.KindUnavailable, t.provider.Shutdown(ctx))
}

// Session is the span of one connection. A nil Session is not traced.
type Session struct {
	tracer trace.Tracer
	ctx    context.Context // holds the span
	span   trace.Span

	mu       sync.Mutex
	commands int
}

// Session begins the span of a connection to a service. address is the client's,
// without a port; "" for a Unix socket. It is nil when this one is not traced. End
// it.
func (t *Tracer) Session(service, address string, began time.Time) *Session {
	if t == nil {
		return nil
	}
	ctx, span := t.tracer.Start(context.Background(), service+" session", trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("postern.service", service), attribute.String("client.address", address)))
	if !span.IsRecording() {
		return nil
	}
	return &Session{tracer: t.tracer, ctx: ctx, span: span}
}

// Command adds a span of a command that has ended. name is from the protocol's
// table, "" for one that is not there.
func (s *Session) Command(name string, began time.Time, ok bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.commands++
	beyond := s.commands > maxCommands
	s.mu.Unlock()
	if beyond {
		return
	}
	s.child(cmp.Or(name, "unknown command"), began, ok)
}

// Delivery adds a span of one message for one mailbox; outcome is "OK" or the name
// of a mail.Kind.
func (s *Session) Delivery(bytes int64, began time.Time, took time.Duration, outcome string) {
	if s == nil {
		return
	}
	_, span := s.tracer.Start(s.ctx, "delivery", trace.WithTimestamp(began),
		trace.WithAttributes(attribute.Int64("postern.bytes", bytes), attribute.String("postern.outcome", outcome)))
	end(span, outcome == "OK", began.Add(took))
}

func (s *Session) child(name string, began time.Time, ok bool) {
	_, span := s.tracer.Start(s.ctx, name, trace.WithTimestamp(began))
	end(span, ok, time.Now())
}

func end(span trace.Span, ok bool, at time.Time) {
	if !ok {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(at))
}

// End ends the session. mechanism is how the user signed in, "" when nobody did.
func (s *Session) End(tls bool, mechanism string, in, out int64) {
	if s == nil {
		return
	}
	s.mu.Lock()
	commands := s.commands
	s.mu.Unlock()
	s.span.SetAttributes(attribute.Bool("tls", tls), attribute.String("postern.mechanism", mechanism),
		attribute.Int("postern.commands", commands), attribute.Int64("postern.bytes_in", in), attribute.Int64("postern.bytes_out", out))
	s.span.End()
}

// Cmdlet sends the span of a cmdlet that has ended; outcome as of Delivery.
func (t *Tracer) Cmdlet(name string, began time.Time, outcome string) {
	if t == nil {
		return
	}
	_, span := t.tracer.Start(context.Background(), name, trace.WithTimestamp(began), trace.WithNewRoot(),
		trace.WithAttributes(attribute.String("postern.outcome", outcome)))
	end(span, outcome == "OK", time.Now())
}

// quiet logs now and then that the collector does not take spans.
type quiet struct {
	sdk.SpanExporter
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
}

// ExportSpans implements sdk.SpanExporter.
func (q *quiet) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	if err == nil || q.log == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := time.Now(); now.Sub(q.last) >= complainEvery {
		q.last = now
		q.log.Warn("the collector does not take traces; they are dropped", "spans", len(spans), "error", err)
	}
	return nil // the SDK would write it to standard error
}
