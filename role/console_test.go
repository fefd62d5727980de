package role

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
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
	other := &listener.Service{Name: "Test", Handle: web.Handle, NoLogin: true, Settings: s.current(settings.Console), Certificates: s.certificates.Shown(), ALPN: consoleALPN, Log: s.log}
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
