package listener

import (
	"bufio"
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
	s := &Service{Name: "Console", Handle: h.Handle, Certificates: certs, ALPN: "http/1.1"}
	for range 2 { // it can be started again
		if err := s.Start(Bindings{SSL: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}); err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}}}
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
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		began := time.Now()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > patience/2 {
			t.Errorf("an idle client held the service for %v", took)
		}
		cancel()
	}
}

// TestHTTPWaiting: strangers make room for one another, and never who is known.
func TestHTTPWaiting(t *testing.T) {
	certs, roots := newCertificates(t, "localhost")
	h := HandleHTTP(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/known" {
			ConnOf(r.Context()).Known()
		}
	})})
	defer h.Close()
	s := &Service{Name: "Console", Handle: h.Handle, Certificates: certs, ALPN: "http/1.1", MaxWaiting: 3}
	if err := s.Start(Bindings{SSL: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}); err != nil {
		t.Fatal(err)
	}
	defer s.Stop(context.Background())
	config := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	ask := func(c *tls.Conn, path string) error {
		c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	}
	dial := func() *tls.Conn {
		c, err := tls.Dial("tcp", s.Addrs().SSL[0].String(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	known := dial()
	if err := ask(known, "/known"); err != nil {
		t.Fatal(err)
	}
	strangers := []*tls.Conn{dial(), dial(), dial(), dial()}
	if err := ask(strangers[3], "/"); err != nil {
		t.Error("the latest:", err)
	}
	if err := ask(strangers[0], "/"); err == nil {
		t.Error("the oldest stranger did not make room")
	}
	if err := ask(known, "/"); err != nil {
		t.Error("who is known made room:", err)
	}
}
