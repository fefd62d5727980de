package manage_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/settings"
)

// sessions are what the tests find open.
func sessions() []manage.LiveSession {
	return []manage.LiveSession{
		{ID: "POP3-1", Service: settings.POP3, User: "alice@example.org", Address: netip.MustParseAddrPort("10.0.0.5:1001"), Connected: managetest.Now.Add(-time.Hour), In: 10, Out: 3 << 20},
		{ID: "IMAP4-1", Service: settings.IMAP4, User: "alice@example.org", Address: netip.MustParseAddrPort("[2001:db8::5]:1002"), Connected: managetest.Now.Add(-time.Minute),
			Idle: managetest.Now.Add(-30 * time.Second), State: "Selected", Mailbox: "a\x1b[2J\u202eb", Client: "x\r\ny" + strings.Repeat("z", 500)},
		{ID: "IMAP4-2", Service: settings.IMAP4, User: "bob@example.org", Address: netip.MustParseAddrPort("10.0.0.6:1003")},
		{ID: "LMTP-1", Service: settings.LMTP},
	}
}

func runJSON(t *testing.T, f *managetest.Fake, caller manage.Caller, name string, arguments map[string]any) (*manage.Result, error) {
	t.Helper()
	text, err := json.Marshal(arguments)
	if err != nil {
		t.Fatal(err)
	}
	return f.Run(t.Context(), caller, name, text)
}

func ids(r *manage.Result) string {
	var list []string
	for _, o := range r.Objects {
		id, _ := o.Value("Identity")
		list = append(list, id.(string))
	}
	return strings.Join(list, " ")
}

var viewer = manage.Caller{Name: "viewer", Roles: []manage.Role{manage.ViewOnlyAdministrator}}

// TestSessions: filters, and that nothing a client says reaches a screen as it is.
func TestSessions(t *testing.T) {
	f, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	f.Sessions.Open = sessions()
	for _, c := range []struct {
		arguments map[string]any
		want      string
	}{
		{map[string]any{}, "POP3-1 IMAP4-1 IMAP4-2 LMTP-1"},
		{map[string]any{"Service": "imap4"}, "IMAP4-1 IMAP4-2"},
		{map[string]any{"User": "ALICE@*"}, "POP3-1 IMAP4-1"},
		{map[string]any{"Address": "10.0.0.5"}, "POP3-1"},
		{map[string]any{"Address": "10.0.0.0/24"}, "POP3-1 IMAP4-2"},
		{map[string]any{"Address": "2001:db8::/32"}, "IMAP4-1"},
		{map[string]any{"Address": "[2001:db8::5]"}, "IMAP4-1"},
		{map[string]any{"Address": "10.0.0.5:*"}, "POP3-1"},
		{map[string]any{"Address": "unix"}, "LMTP-1"},
		{map[string]any{"Identity": "imap4-2"}, "IMAP4-2"},
		{map[string]any{"ResultSize": 2}, "POP3-1 IMAP4-1"},
	} {
		r, err := runJSON(t, f, viewer, "Get-Session", c.arguments)
		if err != nil || ids(r) != c.want {
			t.Errorf("%v: %v, %v", c.arguments, ids(r), err)
		}
	}
	for _, bad := range []map[string]any{{"Service": "SMTP"}, {"Address": "10.0.0"}, {"Address": "10.0.0.0/33"}, {"Address": "example.org"}} {
		if _, err := runJSON(t, f, viewer, "Get-Session", bad); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
	r, err := runJSON(t, f, viewer, "Get-Session", map[string]any{"Identity": "IMAP4-1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"Mailbox": `a\x1b[2J\u202eb`, "Idle": "00:00:30", "Duration": "00:01:00", "Connected": "2026-11-23T09:29:00Z"} {
		if got, _ := r.Objects[0].Value(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if client, _ := r.Objects[0].Value("Client"); !strings.HasPrefix(client.(string), `x\x0d\x0ayzzz`) || len(client.(string)) > 110 {
		t.Errorf("%v", client)
	}
}

// TestRemoveSession: who may, what is asked, and what is ended.
func TestRemoveSession(t *testing.T) {
	f, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	f.Sessions.Open = sessions()
	server := manage.Caller{Name: "admin", Roles: []manage.Role{manage.ServerAdministrator}, Local: true}
	remote := server
	remote.Local = false
	for _, c := range []manage.Caller{viewer, remote, {Name: "r", Roles: []manage.Role{manage.RecipientAdministrator}, Local: true}} {
		if _, err := runJSON(t, f, c, "Remove-Session", map[string]any{"Identity": "POP3-1", "Confirm": false}); mail.KindOf(err) != mail.KindNoPermission {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	for _, bad := range []map[string]any{{}, {"Identity": "POP3-1", "User": "alice@example.org"}, {"Identity": "POP3-*"}, {"User": "*"}, {"User": "nobody"}} {
		if _, err := runJSON(t, f, server, "Remove-Session", bad); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
	r, err := runJSON(t, f, server, "Remove-Session", map[string]any{"User": "Alice@example.org"})
	if err != nil || !strings.Contains(r.Confirm, "POP3-1, IMAP4-1") || len(f.Sessions.Ended) > 0 {
		t.Errorf("%+v %v", r, err)
	}
	if _, err = runJSON(t, f, server, "Remove-Session", map[string]any{"User": "Alice@example.org", "Confirm": false}); err != nil || !slices.Equal(f.Sessions.Ended, []string{"POP3-1", "IMAP4-1"}) {
		t.Errorf("%v %v", f.Sessions.Ended, err)
	}
}

// logged gives a fake with a protocol log of IMAP4 that is on.
func logged(t *testing.T) *managetest.Fake {
	f, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	l := protolog.New(settings.IMAP4, slog.New(slog.DiscardHandler), nil)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	c := protolog.ConfigOf(settings.ProtocolLogEnabled.With(settings.Defaults(settings.IMAP4, "x"), true), t.TempDir())
	l.Set(c)
	f.Logs = map[settings.Service]*protolog.Log{settings.IMAP4: l}
	return f
}

// imagined is a connection.
type imagined uint64

func (i imagined) ID() uint64           { return uint64(i) }
func (imagined) Local() netip.AddrPort  { return netip.MustParseAddrPort("10.0.0.1:143") }
func (imagined) Remote() netip.AddrPort { return netip.MustParseAddrPort("10.0.0.5:1001") }

// TestFollow: what is followed comes, narrowed down; whoever may not, or no longer,
// is told.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := logged(t)
		session := f.Logs[settings.IMAP4].Session(imagined(7))
		say := func(user, command string) {
			session.User(user)
			session.Begin(0, 0)
			session.End(command, protolog.Outcome{Result: "OK"}, 1, 1)
		}
		var may atomic.Bool
		may.Store(true)
		identify := func(context.Context) (manage.Caller, error) {
			if !may.Load() {
				return manage.Caller{Name: "viewer"}, nil
			}
			return viewer, nil
		}
		nothing := func(*manage.Result) error { return nil }
		var got []string
		begun := false
		done := make(chan error)
		go func() {
			done <- f.Follow(t.Context(), identify, "get-protocollog", []byte(`{"User":"alice*","Address":"10.0.0.0/8"}`), func(r *manage.Result) error {
				begun = len(r.Columns) > 0 && len(r.Warnings) == 0
				return nil
			}, func(o manage.Object) error {
				command, _ := o.Value("Command")
				got = append(got, command.(string))
				return nil
			}, nil)
		}()
		synctest.Wait()
		if !begun {
			t.Error("it has not begun")
		}
		say("alice@example.org", "ONE")
		say("bob@example.org", "TWO")
		time.Sleep(time.Minute)
		say("alice@example.org", "THREE")
		synctest.Wait()
		if !slices.Equal(got, []string{"ONE", "THREE"}) {
			t.Errorf("%q", got)
		}
		may.Store(false)
		if err := <-done; mail.KindOf(err) != mail.KindNoPermission {
			t.Errorf("%v", err)
		}
		if err := f.Follow(t.Context(), identify, "Get-ProtocolLog", nil, nothing, nil, nil); mail.KindOf(err) != mail.KindNoPermission {
			t.Errorf("%v", err)
		}
		may.Store(true)
		for _, c := range []struct{ name, arguments string }{{"Get-Mailbox", ""}, {"Nonsense", ""}, {"Get-ProtocolLog", `{"x":1}`}, {"Get-ProtocolLog", `{"Service":"Console"}`}} {
			if err := f.Follow(t.Context(), identify, c.name, []byte(c.arguments), nothing, nil, nil); err == nil {
				t.Errorf("%v is followed", c)
			}
		}
		failed := errors.New("the reader is gone")
		go func() {
			done <- f.Follow(t.Context(), identify, "Get-ProtocolLog", nil, nothing, func(manage.Object) error { return failed }, nil)
		}()
		synctest.Wait()
		say("alice@example.org", "FOUR")
		if err := <-done; !errors.Is(err, failed) {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- f.Follow(ctx, identify, "Get-ProtocolLog", nil, nothing, nil, nil) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%v", err)
		}
		r, err := runJSON(t, f, viewer, "Get-ProtocolLog", map[string]any{"SessionId": "imap4-7", "ResultSize": 2})
		if err != nil || len(r.Objects) != 2 {
			t.Fatalf("%v %v", r, err)
		}
		if command, _ := r.Objects[1].Value("Command"); command != "FOUR" {
			t.Errorf("%v", r.Objects)
		}
		if _, err := runJSON(t, f, viewer, "Get-ProtocolLog", map[string]any{"Follow": true}); mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%v", err)
		}
	})
}
