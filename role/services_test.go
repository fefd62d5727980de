package role

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// free gives a loopback address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if _, twice := given.LoadOrStore(l.Addr().String(), true); !twice {
			return l.Addr().String()
		}
	}
}

// given are the addresses that free gave: the system may choose one again.
var given sync.Map

// TestTakenPort: a service whose port is taken says so, the others serve, and new
// bindings start it.
func TestTakenPort(t *testing.T) {
	ctx := context.Background()
	s, err := Open(ctx, config(t), Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bind := func(service settings.Service, clear, ssl string) error {
		edit := func(name, addr string) settings.Edit {
			return settings.Edit{Name: name, Value: json.RawMessage(fmt.Sprintf("[%q]", addr))}
		}
		_, err := s.Settings().Change(ctx, service, []settings.Edit{edit("UnencryptedOrTLSBindings", clear), edit("SSLBindings", ssl)}, nil)
		return err
	}
	// Two addresses, one of them taken: the other serves. A stopped service only
	// tries its bindings, so the port is taken after the change.
	pop, ssl := free(t), free(t)
	if err := bind(settings.POP3, pop, ssl); err != nil {
		t.Fatal(err)
	}
	thief, err := net.Listen("tcp4", pop)
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	im := free(t)
	if err := bind(settings.IMAP4, im, free(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	status := services{s}.Status(settings.POP3)
	if status.State != manage.Running || status.Problem == "" || len(status.Listening) != 1 {
		t.Fatalf("%+v", status)
	}
	if status := (services{s}).Status(settings.IMAP4); status.State != manage.Running || status.Problem != "" {
		t.Fatalf("%+v", status)
	}
	if err := bind(settings.IMAP4, taken.Addr().String(), free(t)); err == nil {
		t.Fatal("a binding that is taken was accepted")
	}
	if got := s.Addrs(settings.IMAP4).Clear[0].String(); got != im {
		t.Fatalf("IMAP4 listens on %s, not %s: a refused change changed something", got, im)
	}
	if err := bind(settings.POP3, free(t), ssl); err != nil {
		t.Fatal(err)
	}
	if status := (services{s}).Status(settings.POP3); status.State != manage.Running || status.Problem != "" || len(status.Listening) != 2 {
		t.Fatalf("%+v", status)
	}
}
