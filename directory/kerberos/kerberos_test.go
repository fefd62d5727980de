package kerberos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/krb5/krb5test"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/test/mitkdc"
	"github.com/postern-mail/postern/test/stopwatch"
)

var quiet = slog.New(slog.DiscardHandler)

func wantKind(t *testing.T, what string, err error, kind mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != kind {
		t.Errorf("%s: %v, want %s", what, err, kind)
	}
}

func newRealm(t testing.TB) *krb5test.Realm {
	return krb5test.NewRealm(t, "TEST.EXAMPLE", "imap/localhost", "pop/localhost", "host/localhost")
}

// options are those of a realm whose people have the domain example.org.
func options(keytab string) Options {
	return Options{Keytab: keytab, Realms: map[string]string{"TEST.EXAMPLE": "example.org"}}
}

func mustOpen(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := Open(o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	// The first ticket may have been made before.
	time.Sleep(time.Millisecond)
	return s
}

// proves is a directory whose people a list knows and whose passwords Kerberos checks,
// as a chain puts them together.
type proves struct {
	*Source
	people map[string]directory.Person // by name
}

func (p *proves) Find(ctx context.Context, name string) (*directory.Person, error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	who, ok := p.people[name]
	if !ok {
		return nil, mail.Errorf(mail.KindNotFound, "")
	}
	return &who, nil
}

func (p *proves) CheckPassword(ctx context.Context, name, password string) (*directory.Person, error) {
	if _, err := p.Source.CheckPassword(ctx, name, password); err != nil {
		return nil, err
	}
	return p.Find(ctx, name)
}

// TestSource: passwords by MIT's KDC.
func TestSource(t *testing.T) {
	kdc := mitkdc.Start(t)
	keytab := kdc.Services("imap/localhost")
	filled := false
	directorytest.RunSource(t, directorytest.SourceTest{NoAliases: true, Open: func(t *testing.T, people []directorytest.Someone) directory.Source {
		o := options(keytab)
		o.KDCs = []string{kdc.Address}
		known := &proves{mustOpen(t, o), map[string]directory.Person{}}
		for _, p := range people {
			p.ID = p.Name
			known.people[p.Name] = p.Person
			local := strings.TrimSuffix(p.Name, "@example.org")
			switch {
			case filled:
			case p.Password == "":
				kdc.Kadmin("addprinc -randkey %s", local)
			default:
				kdc.Person(local, p.Password)
			}
			if p.Blocked != "" {
				kdc.Kadmin("modprinc -allow_tix %s", local)
			}
		}
		filled = true
		return known
	}})
}

// What a KDC says of passwords that cannot be used.
func TestPasswords(t *testing.T) {
	kdc := mitkdc.Start(t)
	for name, option := range map[string]string{"anna": "", "old": "-expire yesterday", "expired": "-pwexpire yesterday", "locked": "-allow_tix", "loose": "-requires_preauth"} {
		kdc.Kadmin("addprinc %s -pw geheim %s", option, name)
	}
	o := options(kdc.Services("imap/localhost"))
	o.KDCs, o.Timeout = []string{kdc.Address}, "00:00:03"
	s := mustOpen(t, o)
	for name, cause := range map[string]string{"old": "has expired", "expired": "the password of", "locked": "is locked or disabled"} {
		_, err := s.CheckPassword(t.Context(), name+"@example.org", "geheim")
		wantKind(t, name, err, mail.KindAuthenticationFailed)
		if err != nil && !strings.Contains(err.Error(), cause) {
			t.Errorf("%s: %v, want %q", name, err, cause)
		}
	}
	for _, name := range []string{"anna", "loose"} {
		if p, err := s.CheckPassword(t.Context(), name+"@example.org", "geheim"); err != nil || p.Name != name+"@example.org" || p.ID != p.Name {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		_, err := s.CheckPassword(t.Context(), name+"@example.org", "wrong")
		wantKind(t, name+", a wrong password", err, mail.KindAuthenticationFailed)
	}
	for _, name := range []string{"nobody@example.org", "anna@other.example", "anna", "anna/admin@example.org", "pc$@example.org", "krbtgt/test.example@example.org"} {
		_, err := s.CheckPassword(t.Context(), name, "geheim")
		wantKind(t, name, err, mail.KindNotFound)
	}

	// Every encryption type.
	for _, kind := range []string{"aes256-cts-hmac-sha384-192", "aes128-cts-hmac-sha256-128", "aes256-cts-hmac-sha1-96", "aes128-cts-hmac-sha1-96"} {
		kdc.Kadmin("cpw -e %s:normal -pw %s anna", kind, kind)
		if _, err := s.CheckPassword(t.Context(), "anna@example.org", kind); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}

	// No service of the realm, none at all, and no passwords at all.
	o.Passwords = new(bool)
	_, err := mustOpen(t, o).CheckPassword(t.Context(), "anna@example.org", "")
	wantKind(t, "passwords are off", err, mail.KindCannot)
	kdc.Kadmin("delprinc -force imap/localhost")
	_, err = s.CheckPassword(t.Context(), "anna@example.org", "aes128-cts-hmac-sha1-96")
	wantKind(t, "the service is gone", err, mail.KindUnavailable)
}

// Over UDP, where a KDC does not listen on TCP; of several, the one that answers.
func TestKDCs(t *testing.T) {
	kdc := mitkdc.Start(t)
	kdc.Kadmin("addprinc -pw geheim anna")
	o := options(kdc.Services("imap/localhost"))
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	udp, end := datagramsOnly(t, kdc.Address)
	defer end()
	for what, x := range map[string]struct {
		kdcs []string
		ok   bool
	}{
		"UDP alone": {[]string{udp}, true}, "the second": {[]string{silent.Addr().String(), kdc.Address}, true}, "a dead one first": {[]string{"127.0.0.1:1", kdc.Address}, true},
		"silent": {[]string{silent.Addr().String()}, false}, "dead": {[]string{"127.0.0.1:1"}, false}, "no such host": {[]string{"kdc.invalid"}, false},
	} {
		o.KDCs, o.Timeout = x.kdcs, "00:00:02"
		var err error
		for range 3 { // a busy machine stands still for longer than the time-out
			stopwatch.Within(t, 5*time.Second, what, func() { _, err = mustOpen(t, o).CheckPassword(t.Context(), "anna@example.org", "geheim") })
			if err == nil || !x.ok {
				break
			}
		}
		if x.ok && err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if !x.ok {
			wantKind(t, what, err, mail.KindUnavailable)
		}
	}
}

// datagramsOnly passes datagrams on to address.
func datagramsOnly(t *testing.T, address string) (front string, end func()) {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 64<<10)
		for {
			n, from, err := l.ReadFrom(b)
			if err != nil {
				return
			}
			c, err := net.Dial("udp", address)
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(2 * time.Second))
			c.Write(b[:n])
			if n, err = c.Read(b); err == nil {
				l.WriteTo(b[:n], from)
			}
			c.Close()
		}
	}()
	return l.LocalAddr().String(), func() { l.Close(); <-done }
}

// Somebody in the KDC's place, who knows everything but the services' keys, lets nobody
// in.
func TestFalseKDC(t *testing.T) {
	kdc, evil := mitkdc.Start(t), mitkdc.Start(t)
	kdc.Kadmin("addprinc -pw geheim anna")
	keytab := kdc.Services("imap/localhost")
	for _, option := range []string{"+requires_preauth", "-requires_preauth"} {
		evil.Kadmin("delprinc -force anna")
		evil.Kadmin("addprinc %s -pw chosen anna", option)
		evil.Kadmin("addprinc -randkey imap/localhost")
		o := options(keytab)
		o.KDCs = []string{evil.Address}
		for _, password := range []string{"chosen", "geheim"} {
			if password == "geheim" && option == "+requires_preauth" {
				continue // that it is wrong nobody could tell from the KDC's word
			}
			p, err := mustOpen(t, o).CheckPassword(t.Context(), "anna@example.org", password)
			wantKind(t, fmt.Sprintf("%s, %s: %v", option, password, p), err, mail.KindUnavailable)
			if err != nil && !strings.Contains(err.Error(), "is not of the keytab's key") {
				t.Error(err)
			}
		}
	}
	for what, answer := range map[string]string{"garbage": "garbage", "nothing": "", "an error": "\x7e\x03\x30\x01\x00", "too long": strings.Repeat("x", 70000)} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Read(make([]byte, 4096))
				n := len(answer)
				c.Write(append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, answer...))
				io.Copy(io.Discard, c)
				c.Close()
			}
		}()
		o := options(keytab)
		o.KDCs, o.Timeout = []string{l.Addr().String()}, "00:00:01"
		_, err = mustOpen(t, o).CheckPassword(t.Context(), "anna@example.org", "geheim")
		wantKind(t, what, err, mail.KindUnavailable)
		l.Close()
	}
}

func TestTickets(t *testing.T) {
	r := newRealm(t)
	o := options(r.Keytab("imap/localhost"))
	o.Realms["SUB.EXAMPLE"], o.Realms["ALONE.EXAMPLE"] = "Sub.Example.ORG", ""
	s := mustOpen(t, o)
	if !s.HasTickets("imap") || s.HasTickets("pop") || s.HasTickets("") {
		t.Error("the keytab has a key of imap alone")
	}
	for _, x := range []struct {
		name, realm string
		ignoreCase  bool
		want        string // "" for nobody
	}{
		{"anna", "TEST.EXAMPLE", false, "anna@example.org"},
		{"bärbel", "TEST.EXAMPLE", false, "bärbel@example.org"},
		{"anna", "SUB.EXAMPLE", false, "anna@sub.example.org"},
		{"anna", "ALONE.EXAMPLE", false, "anna"},
		{"anna", "OTHER.EXAMPLE", false, ""},
		{"anna", "test.example", false, ""},
		{"Anna", "TEST.EXAMPLE", false, ""},
		{"Anna", "TEST.EXAMPLE", true, "anna@example.org"},
		{"anna/admin", "TEST.EXAMPLE", true, ""},
		{"imap/localhost", "TEST.EXAMPLE", true, ""},
		{"PC$", "TEST.EXAMPLE", true, ""},
		{"anna@example.com", "TEST.EXAMPLE", true, ""},
		{"anna@other", "ALONE.EXAMPLE", true, ""},
		{"an na", "TEST.EXAMPLE", true, ""},
		{"anna\x00", "TEST.EXAMPLE", true, ""},
		{"", "TEST.EXAMPLE", true, ""},
		{strings.Repeat("a", 300), "TEST.EXAMPLE", true, ""},
	} {
		o.IgnoreCase = x.ignoreCase
		s := mustOpen(t, o)
		p, shared, err := s.CheckTicket(t.Context(), "imap", r.Client(x.name, krb5test.Want{Realm: x.realm}).Request())
		if x.want == "" {
			wantKind(t, x.name+"@"+x.realm, err, mail.KindAuthenticationFailed)
			continue
		}
		if err != nil || p.Name != x.want || p.ID != x.want || shared == nil {
			t.Errorf("%s@%s: %+v, %v", x.name, x.realm, p, err)
		}
	}
	_, _, err := s.CheckTicket(t.Context(), "pop", r.Client("anna", krb5test.Want{Service: "pop/localhost"}).Request())
	wantKind(t, "a service without a key", err, mail.KindNotFound)
	token := r.Client("anna", krb5test.Want{}).Request()
	if _, _, err := s.CheckTicket(t.Context(), "imap", token); err != nil {
		t.Error(err)
	}
	_, _, err = s.CheckTicket(t.Context(), "imap", token)
	wantKind(t, "the same again", err, mail.KindAuthenticationFailed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = s.CheckTicket(ctx, "imap", r.Client("anna", krb5test.Want{}).Request())
	wantKind(t, "cancelled", err, mail.KindUnavailable)
	_, err = s.Find(t.Context(), "anna@example.org")
	wantKind(t, "Find", err, mail.KindCannot)
	_, err = s.Find(t.Context(), "anna@example.com")
	wantKind(t, "Find of another domain", err, mail.KindNotFound)
}

// The keytab is read again when it changes, and the old keys serve while it is broken.
func TestKeytabChanges(t *testing.T) {
	r := newRealm(t)
	path := r.Keytab("imap/localhost")
	now := time.Now()
	s, err := open(options(path), quiet, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	write := func(text []byte) {
		t.Helper()
		next := path + ".new"
		if err := os.WriteFile(next, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
		now = now.Add(lookEvery)
	}
	for what, wrong := range map[string]func(){
		"garbage": func() { write([]byte("garbage")) },
		"gone":    func() { os.Remove(path); now = now.Add(lookEvery) },
		"no mail": func() {
			text, err := os.ReadFile(r.Keytab("host/localhost"))
			if err != nil {
				t.Fatal(err)
			}
			write(text)
		},
	} {
		wrong()
		if !s.HasTickets("imap") || s.HasTickets("pop") {
			t.Errorf("%s: the old keys are gone", what)
		}
		if s.Check() == nil {
			t.Errorf("%s: Check finds nothing", what)
		}
	}
	text, err := os.ReadFile(r.Keytab("pop/localhost"))
	if err != nil {
		t.Fatal(err)
	}
	write(text)
	if s.HasTickets("imap") || !s.HasTickets("pop") || s.Check() != nil {
		t.Error("the new keys are not used")
	}
}

func TestOptions(t *testing.T) {
	r := newRealm(t)
	keytab := r.Keytab()
	right := options(keytab)
	for what, change := range map[string]func(o *Options){
		"keytab is needed":   func(o *Options) { o.Keytab = "" },
		"absolute":           func(o *Options) { o.Keytab = "keytab" },
		"cannot be read":     func(o *Options) { o.Keytab = filepath.Join(t.TempDir(), "none") },
		"is not a keytab":    func(o *Options) { o.Keytab = os.Args[0] },
		"has no key for":     func(o *Options) { o.Keytab = r.Keytab("host/localhost") },
		"no key for imap":    func(o *Options) { o.Hosts = []string{"mail.example.org"} },
		"realms is needed":   func(o *Options) { o.Realms = nil },
		"is not a realm":     func(o *Options) { o.Realms = map[string]string{"a/b": "example.org"} },
		"is not a domain":    func(o *Options) { o.Realms = map[string]string{"A": "ex ample"} },
		"the same names":     func(o *Options) { o.Realms = map[string]string{"A": "example.org", "B": "Example.ORG"} },
		"name of a host":     func(o *Options) { o.KDCs = []string{"http://kdc"} },
		"clock_skew: from":   func(o *Options) { o.ClockSkew = "01:00:00" },
		"timeout: from":      func(o *Options) { o.Timeout = "00:02:00" },
		"timeout: ":          func(o *Options) { o.Timeout = "soon" },
		"hosts, kdcs: at mo": func(o *Options) { o.Hosts = make([]string, 65) },
	} {
		o := right
		change(&o)
		_, err := Open(o, quiet)
		if mail.KindOf(err) != mail.KindBadArgument || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want %q", err, what)
		}
		if err != nil && errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	o := right
	o.KDCs, o.Hosts, o.ClockSkew, o.Timeout = []string{"kdc.example.org", "kdc2.example.org:750", "[::1]", "::1"}, []string{"LOCALHOST"}, "00:01:00", "00:00:10"
	rules, err := o.check()
	if err != nil || strings.Join(rules.KDCs, " ") != "kdc.example.org:88 kdc2.example.org:750 [::1]:88 [::1]:88" || rules.skew != time.Minute || rules.timeout != 10*time.Second {
		t.Errorf("%+v, %v", rules, err)
	}
}
