package listener

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// TestHTTP serves requests over TLS, tells whose they are, and takes leave when the
// service stops.
func TestHTTP(t *testing.T) {
	certs, roots := newCertificates(t, "localhost")
	h := HandleHTTP(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := ConnOf(r.Context()); c == nil || c.TLS() == nil || !c.Remote().IsValid() {
			t.Error("the request does not know its connection")
		}
		io.WriteString(w, r.URL.Path)
	})})
	defer h.Close()
	s := &Service{Name: "Console", Handle: h.Handle, NoLogin: true, Certificates: certs, ALPN: "http/1.1"}
	for range 2 { // it can be started again
		if err := s.Start(Bindings{SSL: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}); err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}}}
		for range 3 {
			answer, err := client.Get("https://" + s.Addrs().SSL[0].String() + "/x")
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || string(text) != "/x" {
				t.Errorf("%q, %v", text, err)
			}
		}
		if n := len(s.Conns()); n != 1 {
			t.Errorf("%d connections", n)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		began := time.Now()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("an idle client held the service for %v", took)
		}
		cancel()
	}
}
