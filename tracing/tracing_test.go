package tracing

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	pb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/postern-mail/postern/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a collector.
type receiver struct {
	mu    sync.Mutex
	spans []*pb.Span
	bad   []string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var in io.Reader = q.Body
	if q.Header.Get("Content-Encoding") == "gzip" {
		in, _ = gzip.NewReader(q.Body)
	}
	body, err := io.ReadAll(in)
	var export collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &export)
	}
	if err != nil || q.URL.Path != "/v1/traces" {
		r.bad = append(r.bad, fmt.Sprint(q.URL.Path, err))
	}
	for _, resource := range export.ResourceSpans {
		if !strings.Contains(resource.Resource.String(), "mail.example.org") {
			r.bad = append(r.bad, "no server: "+resource.Resource.String())
		}
		for _, scope := range resource.ScopeSpans {
			r.spans = append(r.spans, scope.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (r *receiver) named(name string) *pb.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func collecting(t *testing.T) (*receiver, string) {
	r := &receiver{}
	server := httptest.NewServer(r)
	t.Cleanup(func() {
		server.Close()
		for _, b := range r.bad {
			t.Error(b)
		}
	})
	return r, server.URL
}

// TestSpans: a session with its commands and deliveries, and a cmdlet.
func TestSpans(t *testing.T) {
	r, url := collecting(t)
	tracer, err := Open(Options{Endpoint: url, Sample: 1, Server: "mail.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Minute)
	s := tracer.Session("LMTP", "10.0.0.5", began)
	s.Command("MAIL", began.Add(time.Second), true)
	s.Command("", began.Add(2*time.Second), false)
	s.Delivery(1234, began.Add(3*time.Second), time.Second, "OverQuota")
	for range 2 * maxCommands {
		s.Command("NOOP", time.Now(), true)
	}
	s.End(true, "SCRAM-SHA-256", 10, 20)
	tracer.Cmdlet("Get-Mailbox", began, "OK")
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	session := r.named("LMTP session")
	if session == nil {
		t.Fatal("no session")
	}
	for _, part := range []string{"client.address", "10.0.0.5", "postern.commands", "2002", "SCRAM-SHA-256"} {
		if !strings.Contains(fmt.Sprint(session.Attributes), part) {
			t.Errorf("no %s in %v", part, session.Attributes)
		}
	}
	for name, failed := range map[string]bool{"MAIL": false, "unknown command": true, "delivery": true} {
		span := r.named(name)
		switch {
		case span == nil:
			t.Error("no", name)
		case !bytes.Equal(span.ParentSpanId, session.SpanId) || !bytes.Equal(span.TraceId, session.TraceId):
			t.Errorf("%s is not the session's", name)
		case (span.Status.GetCode() == pb.Status_STATUS_CODE_ERROR) != failed:
			t.Error(name, span.Status)
		case span.StartTimeUnixNano < session.StartTimeUnixNano || span.EndTimeUnixNano < span.StartTimeUnixNano:
			t.Error(name, "has impossible times")
		}
	}
	if d := r.named("delivery"); d.EndTimeUnixNano-d.StartTimeUnixNano != uint64(time.Second) {
		t.Error("a delivery of", time.Duration(d.EndTimeUnixNano-d.StartTimeUnixNano))
	}
	if c := r.named("Get-Mailbox"); c == nil || len(c.ParentSpanId) != 0 {
		t.Error(c)
	}
	if n := len(r.spans); n > maxCommands+3 {
		t.Error("spans:", n)
	}
}

// TestSampled: about the part of sessions that was asked for.
func TestSampled(t *testing.T) {
	_, url := collecting(t)
	tracer, err := Open(Options{Endpoint: url, Sample: 0.5, Server: "mail.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	traced := 0
	for range 1000 {
		if s := tracer.Session("POP3", "", time.Now()); s != nil {
			traced++
			s.End(false, "", 0, 0)
		}
	}
	if traced < 350 || traced > 650 {
		t.Error(traced)
	}
	if err := tracer.Close(); err != nil {
		t.Error(err)
	}
}

// TestOff: without an endpoint there is nothing, and it costs nothing.
func TestOff(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	tracer, err := Open(Options{})
	if err != nil || tracer != nil {
		t.Fatal(tracer, err)
	}
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		s := tracer.Session("POP3", "10.0.0.5", now)
		s.Command("RETR", now, true)
		s.Delivery(1, now, 0, "OK")
		s.End(true, "", 0, 0)
		tracer.Cmdlet("Get-Mailbox", now, "OK")
	}); n != 0 {
		t.Error("allocations:", n)
	}
	if err := tracer.Close(); err != nil {
		t.Error(err)
	}
}

// TestEndpoint: the variable switches it on, nonsense is refused.
func TestEndpoint(t *testing.T) {
	r, url := collecting(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	tracer, err := Open(Options{Server: "mail.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	tracer.Cmdlet("Get-Service", time.Now(), "NoPermission")
	if err := tracer.Close(); err != nil || r.named("Get-Service") == nil {
		t.Error(err)
	}
	for _, bad := range []string{"127.0.0.1:4318", "ftp://x", "http://", "http://user:secret@x", "\x00"} {
		if _, err := Endpoint(bad); mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if u, err := Endpoint("https://x/otlp/v1/traces"); err != nil || u != "https://x/otlp/v1/traces" {
		t.Error(u, err)
	}
}

// TestNobodyListens: a collector that refuses holds nobody up, and the log says so
// once.
func TestNobodyListens(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer server.Close()
	var log bytes.Buffer
	tracer, err := Open(Options{Endpoint: server.URL, Sample: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 {
		tracer.Cmdlet("Get-Service", time.Now(), "OK")
	}
	began := time.Now()
	if err := tracer.Close(); err != nil || time.Since(began) > 2*closeTimeout {
		t.Error(err, time.Since(began))
	}
	if n := strings.Count(log.String(), "does not take traces"); n != 1 {
		t.Error(n, log.String())
	}
}
