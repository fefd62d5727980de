// Package toxiproxy starts Shopify's toxiproxy for tests: a program on loopback that
// stands between two others and makes their network fail. It ends with the test.
package toxiproxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// Server is a running toxiproxy.
type Server struct {
	t   testing.TB
	api string
}

// Start starts one. Where it is missing the test is skipped, in CI it fails.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, api: server.FreeAddress(t)}
	host, port, _ := net.SplitHostPort(s.api)
	p := server.Begin(t, t.TempDir(), []string{"LOG_LEVEL=error"}, server.Tool(t, "toxiproxy-server"), "-host", host, "-port", port)
	p.Within(t, time.Minute, "toxiproxy", func() bool {
		c, err := net.DialTimeout("tcp", s.api, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return s
}

// call asks the API.
func (s *Server) call(method, path string, body any) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	q, err := http.NewRequest(method, "http://"+s.api+path, bytes.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := (&http.Client{Timeout: 20 * time.Second}).Do(q)
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	if answer, _ := io.ReadAll(a.Body); a.StatusCode/100 != 2 {
		s.t.Fatalf("toxiproxy: %s %s %s: %s %s", method, path, text, a.Status, answer)
	}
}

// Proxy is what stands between: it listens at Addr.
type Proxy struct {
	Addr string

	s              *Server
	name, upstream string
	toxics         int
}

// Proxy makes a proxy that listens at addr, or at a free address when that is "", and
// leads to upstream.
func (s *Server) Proxy(name, addr, upstream string) *Proxy {
	s.t.Helper()
	if addr == "" {
		addr = server.FreeAddress(s.t)
	}
	p := &Proxy{Addr: addr, s: s, name: name, upstream: upstream}
	s.call(http.MethodPost, "/proxies", map[string]any{"name": name, "listen": addr, "upstream": upstream, "enabled": true})
	return p
}

// Down ends all connections and refuses new ones.
func (p *Proxy) Down() {
	p.s.t.Helper()
	p.s.call(http.MethodPost, "/proxies/"+p.name, map[string]any{"enabled": false})
}

// Lead ends all connections, and new ones lead to upstream.
func (p *Proxy) Lead(upstream string) {
	p.s.t.Helper()
	p.s.call(http.MethodPost, "/proxies/"+p.name, map[string]any{"enabled": true, "upstream": upstream})
}

// Poison adds a toxic, such as latency, to a stream: "upstream" is what the one who
// connects sends, "downstream" what they get.
func (p *Proxy) Poison(kind, stream string, attributes map[string]any) {
	p.s.t.Helper()
	p.toxics++
	p.s.call(http.MethodPost, "/proxies/"+p.name+"/toxics", map[string]any{
		"name": fmt.Sprint(kind, p.toxics), "type": kind, "stream": stream, "toxicity": 1, "attributes": attributes,
	})
}

// Cure removes all toxics and leads to where the proxy led at first. Connections go on.
func (p *Proxy) Cure() {
	p.s.t.Helper()
	p.s.call(http.MethodPost, "/reset", nil)
	p.s.call(http.MethodPost, "/proxies/"+p.name, map[string]any{"enabled": true, "upstream": p.upstream})
}
