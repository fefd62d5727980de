package console_test

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/console"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC
	goleak.VerifyTestMain(m)
}

// signIns knows some administrators by their passwords, which are their tokens too.
type signIns map[string]manage.Caller

// Awaits: nobody has a second factor.
func (s signIns) Awaits(string) bool { return false }

func (s signIns) Confirm(context.Context, string, manage.Secret, netip.AddrPort) (string, error) {
	return "", mail.Errorf(mail.KindAuthenticationFailed, "You are not signed in.")
}

func (s signIns) SignIn(_ context.Context, name string, password manage.Secret, _ netip.AddrPort) (string, error) {
	if c, ok := s[string(password)]; !ok || c.Name != name {
		return "", mail.Errorf(mail.KindAuthenticationFailed, "Name or password is wrong.")
	}
	return string(password), nil
}

func (s signIns) RedeemLink(_ context.Context, link string, _ netip.AddrPort) (string, error) {
	if link != "once" {
		return "", mail.Errorf(mail.KindAuthenticationFailed, "The link was used already, or it is too old.")
	}
	return "root", nil
}

func (s signIns) SessionCaller(_ context.Context, token string) (manage.Caller, error) {
	caller, ok := s[token]
	if !ok {
		return caller, mail.Errorf(mail.KindAuthenticationFailed, "no session")
	}
	return caller, nil
}

func (s signIns) WatchSession(ctx context.Context, token string) (manage.Caller, error) {
	return s.SessionCaller(ctx, token)
}

func (s signIns) SignOut(context.Context, string) {}

// history makes up numbers.
type history struct{}

func (history) Series(m statistics.Metric, s settings.Service, from, to time.Time, step time.Duration) []statistics.Point {
	var points []statistics.Point
	for t := from.Truncate(step); t.Before(to); t = t.Add(step) {
		wave := math.Sin(float64(t.Unix())/9000) + 1.2
		value := math.Round(wave * float64(len(m)+4*len(s)))
		if m == statistics.Refusals {
			value = math.Round(wave * 2)
		}
		points = append(points, statistics.Point{Time: t, Value: value, Known: t.Sub(from) > to.Sub(from)/8})
	}
	return points
}

// site is a console that is served, and one visitor.
type site struct {
	*managetest.Fake
	t      *testing.T
	server *httptest.Server
	client *http.Client
	header http.Header
}

// newHandler makes a console of parts that live in memory.
func newHandler(t testing.TB) (http.Handler, *managetest.Fake) {
	t.Helper()
	fake, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	if fake.Server.Pairs, err = certificate.Open(certificate.Options{Folder: t.TempDir(), Hosts: []string{managetest.ServerName}, Now: func() time.Time { return managetest.Now }}); err != nil {
		t.Fatal(err)
	}
	pair := httptest.NewUnstartedServer(nil)
	pair.StartTLS()
	leaf := pair.Certificate()
	pair.Close()
	handler := console.New(console.Parts{
		Manage: fake.Server, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Statistics: history{},
		SignIns: signIns{
			"root":    {Name: "unix:root", From: "192.0.2.1", Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true},
			"viewer":  {Name: "viewer@example.org", From: "192.0.2.1", Roles: []manage.Role{manage.ViewOnlyAdministrator}},
			"distant": {Name: "<b>distant</b>", From: "192.0.2.1", Roles: []manage.Role{manage.ServerAdministrator}},
			"nobody":  {Name: "nobody@example.org", From: "192.0.2.1"},
		},
		Accounts:    fake.Account(),
		Certificate: func(string) *x509.Certificate { return leaf },
		Now:         func() time.Time { return managetest.Now },
	})
	return handler, fake
}

func open(t *testing.T) *site {
	t.Helper()
	handler, fake := newHandler(t)
	s := &site{Fake: fake, t: t, header: http.Header{}}
	s.server = httptest.NewTLSServer(handler)
	t.Cleanup(s.server.Close)
	s.client = s.server.Client()
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s
}

// as makes the visitor somebody.
func (s *site) as(token string) *site {
	s.header.Set("Cookie", "__Host-session="+token)
	return s
}

// answer is what came back.
type answer struct {
	*http.Response
	body string
}

func (s *site) do(method, path, kind, body string) answer {
	s.t.Helper()
	request, err := http.NewRequest(method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, values := range s.header {
		request.Header[name] = values
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	if host := s.header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := s.client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{response, string(text)}
}

func (s *site) get(path string) answer { return s.do("GET", path, "", "") }

func (s *site) post(path string, pairs ...string) answer {
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return s.do("POST", path, "application/x-www-form-urlencoded", form.Encode())
}

// TestLook serves for eyes, with what the tests make up, and writes its address to the
// file that POSTERN_LOOK names.
func TestLook(t *testing.T) {
	if os.Getenv("POSTERN_LOOK") == "" {
		t.Skip("nobody looks: POSTERN_LOOK names no file")
	}
	s := open(t)
	t.Log(s.server.URL)
	if err := os.WriteFile(os.Getenv("POSTERN_LOOK"), []byte(s.server.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Hour)
}
