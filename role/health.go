package role

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
	"github.com/postern-mail/postern/store"
)

// metricsConnections bounds those to the address without a sign-in.
const metricsConnections = 64

// probeEvery is how often the store is tried at most: each time a record is written.
const probeEvery = 10 * time.Second

const healthKind = "health"

// probe remembers what writing to the store gave last.
type probe struct {
	mu   sync.Mutex // held while the store is tried
	at   time.Time
	last error
}

// writable tries to write to the store, at most once in probeEvery. While a disk
// hangs so does it, and whoever waits for it.
func (s *Server) writable(ctx context.Context) error {
	p := &s.probe
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.at.IsZero() && time.Since(p.at) < probeEvery {
		return p.last
	}
	// What is remembered must not come from a caller who went away.
	p.last = s.touch(context.WithoutCancel(ctx))
	p.at = time.Now()
	if p.last != nil {
		s.log.Warn("the store cannot be written to", "error", p.last)
	}
	return p.last
}

// touch writes the server's record of health.
func (s *Server) touch(ctx context.Context) error {
	records, err := s.store.Records(ctx, healthKind, s.config.Name)
	if err != nil {
		return err
	}
	r := store.Record{Kind: healthKind, Key: s.config.Name, Value: []byte(time.Now().UTC().Format(time.RFC3339))}
	for _, have := range records {
		if have.Key == r.Key {
			r.Revision = have.Revision
		}
	}
	return s.store.PutRecords(ctx, []store.Record{r})
}

// unready says why the server cannot do its work, nothing when it can: the store
// takes no changes, a service that is to run does not, or the server stops. A
// service that an administrator stopped is not to run. The texts hold no secret:
// everybody may read them.
func (s *Server) unready(ctx context.Context) []string {
	if s.stopping.Load() {
		return []string{"The server is stopping."}
	}
	var why []string
	if s.writable(ctx) != nil {
		why = append(why, "The store cannot be written to.")
	}
	for _, name := range settings.Services {
		svc := s.service(name)
		if svc == nil || settings.StartupType.Of(s.settings.Current(name)) != settings.Automatic {
			continue
		}
		svc.mu.Lock()
		state, problem := svc.state, svc.problem
		svc.mu.Unlock()
		if state == manage.Starting || state == manage.Stopped && problem != "" {
			why = append(why, fmt.Sprintf("%s does not run.", name))
		}
	}
	return why
}

// Alive returns when the parts that every request needs have answered: the services'
// locks, the settings, the store's records. It hangs when one of them does. A disk
// that takes no changes is /readyz's affair: mail can still be read.
func (s *Server) Alive(ctx context.Context) error {
	for _, name := range settings.Services {
		if svc := s.service(name); svc != nil {
			svc.Open()
			s.settings.Current(name)
		}
	}
	s.statistics.Series(statistics.SignIns, "", time.Now().Add(-time.Minute), time.Now(), time.Minute)
	_, err := s.store.Records(ctx, healthKind, s.config.Name)
	return err
}

// health serves /healthz, /readyz and, behind guard, /metrics.
func (s *Server) health(guard func(http.Handler) http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { tell(w, "alive", nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { tell(w, "ready", s.unready(r.Context())) })
	mux.Handle("GET /metrics", guard(s.metrics.Handler()))
	return mux
}

// tell answers 200, or 503 when there are problems.
func tell(w http.ResponseWriter, status string, problems []string) {
	code := http.StatusOK
	if len(problems) > 0 {
		status, code = "not "+status, http.StatusServiceUnavailable
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(struct { // a client that is gone need not know
		Status   string   `json:"status"`
		Problems []string `json:"problems,omitempty"`
	}{status, problems})
}

// startMetrics serves metrics and health without a sign-in, where the settings file
// says so, until run ends.
func (s *Server) startMetrics(run context.Context) error {
	if s.config.Metrics == "" {
		return nil
	}
	l, err := net.Listen("tcp", s.config.Metrics)
	if err != nil {
		return mail.Errorf(mail.KindUnavailable, "metrics: %v", err)
	}
	server := &http.Server{
		Handler:     s.health(func(h http.Handler) http.Handler { return h }),
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	s.metricsAddr = l.Addr().String()
	s.work.Go(func() { server.Serve(netutil.LimitListener(l, metricsConnections)) }) // ends with ErrServerClosed
	s.work.Go(func() {
		<-run.Done()
		bound, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(bound) != nil {
			server.Close()
		}
	})
	s.log.Info("metrics are served without a sign-in", "listening", s.metricsAddr)
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		s.log.Warn("metrics can be read by everybody who reaches that address")
	}
	return nil
}

// MetricsAddr is where metrics are served without a sign-in, "" when they are not.
func (s *Server) MetricsAddr() string { return s.metricsAddr }
