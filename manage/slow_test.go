package manage

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/mail"
)

// pipes is a listener of connections in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }
func (p pipes) Close() error   { close(p); return nil }

// TestSlow: a cmdlet takes the time that it is given, which is more than that to read
// its request; and the next request of the connection is bounded as ever. It rests on net/http, which lifts that bound when it begins to look whether the caller goes.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Parts{Log: slog.New(slog.DiscardHandler)})
		s.cmdlets = []*Cmdlet{{Name: "Test-Slowly", Role: ViewOnlyAdministrator, Run: func(ctx context.Context, c *Call) (func(context.Context) error, error) {
			select {
			case <-ctx.Done():
				return nil, mail.Wrap(mail.KindUnavailable, ctx.Err())
			case <-time.After(runTimeout - time.Second):
				return nil, nil
			}
		}}}
		anybody := func(*http.Request) (Caller, error) {
			return Caller{Name: "somebody", Roles: []Role{OrganizationAdministrator}}, nil
		}
		server := &http.Server{Handler: s.identified(anybody, s.routes("")), ReadTimeout: readTimeout, WriteTimeout: runTimeout + readTimeout, IdleTimeout: idleTimeout}
		l := make(pipes, 1)
		served := make(chan struct{})
		go func() {
			defer close(served)
			server.Serve(l)
		}()
		ours, theirs := net.Pipe()
		l <- theirs
		client := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
		for range 2 {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://server/cmdlet/Test-Slowly", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := client.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", answer.Status, body)
			}
			time.Sleep(time.Second)
		}
		client.CloseIdleConnections()
		// One whose body does not come is not waited for.
		ours, theirs = net.Pipe()
		l <- theirs
		go io.WriteString(ours, "POST /cmdlet/Test-Slowly HTTP/1.1\r\nHost: server\r\nContent-Length: 2\r\n\r\n{")
		began := time.Now()
		if b, err := io.ReadAll(ours); time.Since(began) > readTimeout+time.Second {
			t.Errorf("half a request was answered after %v: %q, %v", time.Since(began), b, err)
		}
		ours.Close()
		server.Close()
		<-served
	})
}
