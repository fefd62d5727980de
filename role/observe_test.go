package role

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/user"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
)

// started gives a server that serves on loopback until the test ends.
func started(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Open(context.Background(), c, Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, name := range settings.Services {
		b := at("127.0.0.1:0")
		if name == settings.Console {
			b.SSL, b.Clear = b.Clear, nil
		}
		s.service(name).bindings = func() listener.Bindings { return b }
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// talk plays lines over a connection that is closed at the end; each answer's first
// line is read.
func talk(t *testing.T, address string, lines ...string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	b := make([]byte, 4096)
	for _, line := range lines {
		if _, err := conn.Read(b); err != nil {
			t.Fatal(line, err)
		}
		if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	io.ReadAll(conn)
}

// TestMetrics: what happens is counted, on the address without a sign-in and, with
// a token, at the console's.
func TestMetrics(t *testing.T) {
	c := config(t)
	c.Metrics = "127.0.0.1:0"
	s := started(t, c)
	talk(t, s.Addrs(settings.IMAP4).Clear[0].String(), "a NOOP", "b HOCUS", "c AUTHENTICATE PLAIN", "d LOGOUT")
	talk(t, s.Addrs(settings.POP3).Clear[0].String(), "LANG", "STAT", "QUIT")
	talk(t, s.Addrs(settings.LMTP).Clear[0].String(), "LHLO x", "RCPT TO:<x@example.org>", "QUIT")
	if _, err := s.manage.Run(t.Context(), manage.Caller{}, "Get-Service", nil); mail.KindOf(err) != mail.KindNoPermission {
		t.Fatal(err)
	}

	status, text := get(t, "http://"+s.MetricsAddr()+"/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil || status != 200 {
		t.Fatal(status, err)
	}
	failures := map[string]float64{}
	for _, one := range families["postern_command_failures_total"].Metric {
		failures[one.Label[1].GetValue()+" "+one.Label[0].GetValue()] = one.GetCounter().GetValue()
	}
	for command, want := range map[string]float64{
		"POP3 STAT": 1, "POP3 QUIT": 0, "LMTP RCPT": 1, "LMTP LHLO": 0, "IMAP4 unknown": 1, "IMAP4 AUTHENTICATE": 1, "IMAP4 LOGOUT": 0,
	} {
		if failures[command] != want {
			t.Errorf("%s: %v failures, want %v", command, failures[command], want)
		}
	}
	for metric, want := range map[string]string{
		"postern_command_seconds":            `service=IMAP4 command=NOOP`,
		"postern_command_failures_total":     `service=IMAP4 command=unknown`,
		"postern_sign_ins_total":             `service=IMAP4 mechanism=PLAIN tls=false outcome=PrivacyRequired`,
		"postern_cmdlets_total":              `cmdlet=Get-Service outcome=NoPermission`,
		"postern_store_sync_seconds":         ``,
		"postern_certificate_expiry_seconds": `certificate=`,
		"postern_ready":                      ``,
	} {
		found := false
		if f := families[metric]; f != nil {
			for _, one := range f.Metric {
				all := true
				labels := ""
				for _, l := range one.Label {
					labels += fmt.Sprintf("%s=%s ", l.GetName(), l.GetValue())
				}
				for part := range strings.FieldsSeq(want) {
					all = all && strings.Contains(labels, part)
				}
				found = found || all
			}
		}
		if !found {
			t.Errorf("%s: no %q in %v", metric, want, families[metric])
		}
	}
	for _, secret := range []string{"HOCUS", c.Data} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is told", secret)
		}
	}
	if n := s.Statistics().SignIns(time.Time{}, statistics.Filter{Service: settings.IMAP4}); len(n) != 1 || n[0].Outcome != "PrivacyRequired" {
		t.Error(n)
	}

	web := s.webHandler()
	ask := func(method, path, authorization string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "https://localhost"+path, nil)
		r.RemoteAddr = "127.0.0.1:1"
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		web.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s %s: %d %.200s", method, path, w.Code, w.Body)
		}
	}
	// On the first start root and the server's own user are administrators.
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	caller, err := s.manage.CallerOf(t.Context(), "unix:"+me.Username, "test", manage.WaySocket)
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.manage.Run(t.Context(), caller, "New-ApiToken", []byte(`{"Name":"prometheus","Role":"View-Only Administrator"}`))
	if err != nil {
		t.Fatal(err)
	}
	token, _ := made.Objects[0].Value("Token")
	ask("GET", "/metrics", "", 401)
	ask("GET", "/metrics", "Bearer nonsense", 401)
	ask("GET", "/metrics", fmt.Sprintf("Bearer %v", token), 200)
	ask("POST", "/metrics", fmt.Sprintf("Bearer %v", token), 405)
	ask("GET", "/healthz", "", 200)
	ask("GET", "/readyz", "", 200)
}

func at(address string) listener.Bindings {
	return listener.Bindings{Clear: []netip.AddrPort{netip.MustParseAddrPort(address)}}
}

// TestReady: who looks learns that something does not run, and not more; what an
// administrator stopped is meant to be so.
func TestReady(t *testing.T) {
	c := config(t)
	c.Metrics = "127.0.0.1:0"
	s := started(t, c)
	base := "http://" + s.MetricsAddr()
	want := func(path string, status int, part string) {
		t.Helper()
		if got, text := get(t, base+path); got != status || !strings.Contains(text, part) {
			t.Errorf("%s: %d %s", path, got, text)
		}
	}
	want("/healthz", 200, `"alive"`)
	want("/readyz", 200, `"ready"`)
	if err := (services{s}).Stop(t.Context(), settings.POP3); err != nil {
		t.Fatal(err)
	}
	want("/readyz", 200, `"ready"`)

	// Its address is taken when it starts again.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	s.pop3.bindings = func() listener.Bindings { return at(taken) }
	if err := (services{s}).Start(t.Context(), settings.POP3); err == nil {
		t.Fatal("started")
	}
	want("/readyz", 503, `{"status":"not ready","problems":["POP3 does not run."]}`)
	want("/healthz", 200, `"alive"`)
	if _, text := get(t, base+"/readyz"); strings.Contains(text, taken) {
		t.Error("an address is told")
	}
	s.pop3.bindings = func() listener.Bindings { return at("127.0.0.1:0") }
	if err := (services{s}).Start(t.Context(), settings.POP3); err != nil {
		t.Fatal(err)
	}
	want("/readyz", 200, `"ready"`)

	// The store is gone.
	s.probe.mu.Lock()
	s.probe.at = time.Time{}
	s.probe.mu.Unlock()
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	want("/readyz", 503, `The store cannot be written to.`)
	s.stopping.Store(true)
	want("/readyz", 503, `The server is stopping.`)
	want("/nothing", 404, "")
}

// TestTraces: sessions, commands, deliveries and cmdlets reach the collector, and
// nothing of what people said.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	var got []string
	var raw bytes.Buffer
	collecting := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		var export collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &export)
		}
		if err != nil {
			t.Error(err)
		}
		raw.Write(body)
		for _, resource := range export.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					got = append(got, span.Name)
				}
			}
		}
	}))
	defer collecting.Close()
	c := config(t)
	c.Traces, c.TracesSample = collecting.URL, 1
	s := started(t, c)
	caller := manage.Caller{Name: "test", Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
	if _, err := s.manage.Run(t.Context(), caller, "New-Mailbox", []byte(`{"Name":"alice@example.org","Password":"hidden-1"}`)); err != nil {
		t.Fatal(err)
	}
	talk(t, s.Addrs(settings.IMAP4).Clear[0].String(), `a LOGIN alice@example.org hidden-2`, "b HIDDEN-3", "c LOGOUT")
	talk(t, s.Addrs(settings.LMTP).Clear[0].String(), "LHLO hidden-4", "MAIL FROM:<hidden-5@example.org>", "RCPT TO:<alice@example.org>", "DATA", "Subject: hidden-6\r\n\r\n.", "QUIT")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"IMAP4 session", "LOGIN", "unknown command", "LOGOUT", "LMTP session", "RCPT", "DATA", "delivery", "New-Mailbox"} {
		if !slices.Contains(got, want) {
			t.Errorf("no span %q in %q", want, got)
		}
	}
	if text := strings.ToLower(raw.String()); strings.Contains(text, "hidden") || strings.Contains(text, "alice") {
		t.Error("what people said is told")
	}
	s.sessions.Range(func(any, any) bool {
		t.Error("a session is kept")
		return true
	})
}
