package role

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"testing"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// TestConsoleCannotStopItself asks to stop the console from a request that came as
// the console's do, and from elsewhere.
func TestConsoleCannotStopItself(t *testing.T) {
	s, err := Open(context.Background(), config(t), Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	web := listener.HandleHTTP(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := services{s}.Stop(r.Context(), settings.Console)
		if err != nil {
			w.WriteHeader(mail.KindOf(err).Answer().HTTP)
		}
	})})
	defer web.Close()
	other := &listener.Service{Name: "Test", Handle: web.Handle, Settings: s.current(settings.Console), Certificates: s.certificates.Shown(), ALPN: consoleALPN, Log: s.log}
	if err := other.Start(listener.Bindings{SSL: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}); err != nil {
		t.Fatal(err)
	}
	defer other.Stop(context.Background())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	answer, err := client.Get("https://" + other.Addrs().SSL[0].String())
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	if answer.StatusCode != mail.KindCannot.Answer().HTTP {
		t.Error(answer.Status)
	}
	if err := (services{s}).Stop(context.Background(), settings.Console); err != nil {
		t.Error(err)
	}
}

// TestConsoleStrangers: a connection to the console is a stranger's, who makes room
// for others, until a token or a session has said whose it is.
func TestConsoleStrangers(t *testing.T) {
	s, err := Open(context.Background(), config(t), Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.console.Service.Start(listener.Bindings{SSL: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}); err != nil {
		t.Fatal(err)
	}
	defer s.console.Service.Stop(context.Background())
	if s.console.MaxWaiting != maxStrangers {
		t.Error(s.console.MaxWaiting)
	}
	caller, err := s.Manage().CallerOf(context.Background(), manage.UnixIdentity(os.Getuid()), "test", manage.WaySession)
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.Manage().Run(context.Background(), caller, "New-ApiToken", json.RawMessage(`{"Name":"t","Role":"View-Only Administrator"}`))
	if err != nil {
		t.Fatal(err)
	}
	token, _ := made.Objects[0].Value("Token")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, c := range []struct {
		path, token string
		known       int
	}{{"/", "", 0}, {"/api/cmdlets", "postern_0123456789012345678901234567890123456789012", 0}, {"/api/cmdlets", token.(string), 1}} {
		request, err := http.NewRequest(http.MethodGet, "https://"+s.console.Addrs().SSL[0].String()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			request.Header.Set("Authorization", "Bearer "+c.token)
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if all, known := s.console.Open(); known != c.known || all != 1 {
			t.Errorf("%s %q: %d of %d are known", c.path, c.token, known, all)
		}
	}
}

// TestWebServerBounds: net/http waits for ever where nothing is said, for who sends
// and for who does not read what was asked for.
func TestWebServerBounds(t *testing.T) {
	w := (&Server{log: slog.New(slog.DiscardHandler)}).webServer(nil)
	if w.ReadHeaderTimeout <= 0 || w.ReadTimeout <= 0 || w.WriteTimeout <= 0 || w.IdleTimeout <= 0 || w.MaxHeaderBytes <= 0 {
		t.Errorf("%+v", w)
	}
}
