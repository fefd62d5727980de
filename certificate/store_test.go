package certificate

import (
	"context"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/mail"
)

// open makes a store in a folder of the test's.
func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(Options{Folder: filepath.Join(t.TempDir(), "certificates"), Hosts: []string{"localhost", "127.0.0.1"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// put writes a certificate for host as NAME.crt and NAME.key into dir.
func put(t *testing.T, dir, name, host string) {
	t.Helper()
	made := t.TempDir()
	if _, err := SelfSigned([]string{host}, made); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{CertificateFile: ".crt", KeyFile: ".key"} {
		text, err := os.ReadFile(filepath.Join(made, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+to), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWatch: what is put into the folder is shown without a restart, what cannot be
// used does not take away what can, and a pair that is half replaced stays as it was.
func TestWatch(t *testing.T) {
	s := open(t)
	if !slices.Contains(s.Shown().Names(), "localhost") {
		t.Fatal(s.Shown().Names())
	}
	own := s.Shown().Leaves()[0].SerialNumber
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.Watch(ctx)
		put(t, s.Folder, "mail", "mail.example.org")
		time.Sleep(poll + time.Second)
		if names := s.Shown().Names(); !slices.Contains(names, "mail.example.org") || !slices.Contains(names, "localhost") {
			t.Fatal(names)
		}
		if c := s.List()[0]; c.Name != "mail" || c.Source != FromFile || c.Fault != "" {
			t.Fatalf("%+v", c)
		}
		key, err := os.ReadFile(filepath.Join(s.Folder, "mail.key"))
		if err != nil {
			t.Fatal(err)
		}
		put(t, s.Folder, "mail", "renewed.example.org")
		renewed, err := os.ReadFile(filepath.Join(s.Folder, "mail.key"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.Folder, "mail.key"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.Folder, "torn.crt"), []byte("no certificate"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(poll + time.Second)
		if names := s.Shown().Names(); !slices.Contains(names, "mail.example.org") || s.List()[0].Fault == "" {
			t.Fatal("half a renewal took the old one away", names)
		}
		if err := os.WriteFile(filepath.Join(s.Folder, "mail.key"), renewed, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(poll + time.Second)
		if names := s.Shown().Names(); slices.Contains(names, "mail.example.org") || !slices.Contains(names, "renewed.example.org") {
			t.Fatal(names)
		}
	})
	// The next start shows the same self-signed certificate.
	again, err := Open(s.Options)
	if err != nil {
		t.Fatal(err)
	}
	leaves := again.Shown().Leaves()
	if leaves[len(leaves)-1].SerialNumber.Cmp(own) != 0 {
		t.Fatal("the self-signed certificate changed")
	}
}

// TestLook: another pair of the same size and time is seen.
func TestLook(t *testing.T) {
	s := open(t)
	file := filepath.Join(s.Folder, "mail.crt")
	write := func(text string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		return s.look()
	}
	if one := write("one"); one == write("two") || one != write("one") {
		t.Error("the digest does not follow what the files hold")
	}
}

func TestSelfSigned(t *testing.T) {
	dir := t.TempDir()
	first, err := SelfSigned([]string{"mail.test", "127.0.0.1"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := SelfSigned([]string{"other.test"}, dir)
	if err != nil || string(first.Certificate[0]) != string(again.Certificate[0]) {
		t.Error("it was made anew", err)
	}
	for _, name := range []string{CertificateFile, KeyFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(name, err)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(first.Leaf)
	for _, name := range []string{"mail.test", "127.0.0.1"} {
		if _, err := first.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err != nil {
			t.Error(name, err)
		}
	}
	os.Remove(filepath.Join(dir, KeyFile))
	if _, err := SelfSigned([]string{"mail.test"}, dir); mail.KindOf(err) != mail.KindNotFound {
		t.Error("half a pair", err)
	}
}

// made gives a certificate for hosts that vouches for itself.
func made(t *testing.T, now time.Time, hosts ...string) *Certificate {
	t.Helper()
	key, err := NewKey(ECDSA, 0)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := NewSelfSigned(key, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	return &Certificate{Chain: []*x509.Certificate{cert}, key: key}
}

func files(t *testing.T, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.Folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
		names = append(names, e.Name())
	}
	return names
}

// TestStore: a certificate is added, chosen, changed, replaced and removed; what it is
// survives a new start, and the files are the owner's alone.
func TestStore(t *testing.T) {
	s := open(t)
	a := made(t, time.Now(), "mail.example.org", "pop.example.org")
	first, err := s.Add(a.Chain, a.key, Details{FriendlyName: "first", Source: FromImport, Exportable: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(a.Chain, a.key, Details{}); mail.KindOf(err) != mail.KindAlreadyExists {
		t.Error(err)
	}
	b := made(t, time.Now(), "mail.example.org")
	second, err := s.Add(b.Chain, b.key, Details{Source: FromImport})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.ShownFor("mail.example.org"); got.Name != first.Name {
		t.Error("a certificate that was not enabled stands before one that was there", got.Name)
	}
	if second, err = s.Change(second, func(d *Details) { d.Preferred = time.Now() }); err != nil {
		t.Fatal(err)
	}
	if got := s.ShownFor("mail.example.org"); got.Name != second.Name {
		t.Error("not the one that was enabled", got.Name)
	}
	if got := s.ShownFor("pop.example.org"); got.Name != first.Name {
		t.Error(got.Name)
	}
	if got := s.ShownFor("localhost"); got.Name != firstName || got.Source != FromHere {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{first.Thumbprint(), strings.ToLower(first.SHA256()), first.Thumbprint()[:8], first.Thumbprint()[:2] + ":" + first.Thumbprint()[2:]} {
		if got, err := s.Find(want); err != nil || got.Name != first.Name {
			t.Error(want, err)
		}
	}
	for want, kind := range map[string]mail.Kind{"1234567": mail.KindBadArgument, "../../etc/passwd": mail.KindBadArgument, "0000000000": mail.KindNotFound} {
		if _, err := s.Find(want); mail.KindOf(err) != kind {
			t.Error(want, err)
		}
	}

	c := made(t, time.Now(), "mail.example.org")
	third, err := s.Replace(second, c.Chain, c.key, &Renewal{Directory: "https://acme.test/dir"})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.ShownFor("mail.example.org"); got.Name != third.Name || got.Preferred.IsZero() {
		t.Errorf("%+v", got)
	}
	if err := s.Remove(second); mail.KindOf(err) != mail.KindNotFound {
		t.Error(err)
	}
	if _, err := s.Replace(second, b.Chain, b.key, nil); mail.KindOf(err) != mail.KindNotFound {
		t.Error("one that was removed meanwhile came back", err)
	}
	again, err := Open(s.Options)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.ShownFor("mail.example.org"); got.SHA256() != third.SHA256() || got.Renewal == nil || got.Renewal.Directory != "https://acme.test/dir" {
		t.Errorf("%+v", got)
	}
	if got, err := again.Find(first.Thumbprint()); err != nil || got.FriendlyName != "first" || !got.Exportable {
		t.Errorf("%+v, %v", got, err)
	}
	for _, c := range s.List()[1:] {
		if err := s.Remove(c); err != nil {
			t.Error(err)
		}
	}
	if err := s.Remove(s.List()[0]); mail.KindOf(err) != mail.KindCannot {
		t.Error("the last one was removed", err)
	}
	if names := files(t, s); len(names) != 3 {
		t.Error(names)
	}
}

// TestRequest: a request waits with its key, over a restart too, until its answer
// comes; another's answer is not taken.
func TestRequest(t *testing.T) {
	s := open(t)
	key, err := NewKey(RSA, 2048)
	if err != nil {
		t.Fatal(err)
	}
	request, err := NewRequest(key, []string{"mail.example.org", "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddRequest(request, key, Details{FriendlyName: "waits", Source: FromImport}); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(s.Options); err != nil {
		t.Fatal(err)
	}
	list := s.List()
	c := list[len(list)-1]
	if c.Status(time.Now()) != PendingRequest || c.FriendlyName != "waits" || c.KeyAlgorithm() != "RSA 2048" || !slices.Equal(c.DomainNames(), []string{"mail.example.org", "192.0.2.1"}) {
		t.Errorf("%+v", c)
	}
	if slices.Contains(s.Shown().Names(), "mail.example.org") {
		t.Error("a request is shown")
	}
	foreign := made(t, time.Now(), "mail.example.org")
	if s.Pending(foreign.Chain) != nil {
		t.Error("another's answer")
	}
	if _, err := s.Answer(c, foreign.Chain); mail.KindOf(err) != mail.KindBadArgument {
		t.Error(err)
	}
	cert, err := NewSelfSigned(key, []string{"mail.example.org"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{cert}
	if s.Pending(chain) == nil {
		t.Fatal("the answer is not known")
	}
	done, err := s.Answer(c, chain)
	if err != nil || done.FriendlyName != "waits" || done.Request != nil {
		t.Fatal(done, err)
	}
	if !slices.Contains(s.Shown().Names(), "mail.example.org") {
		t.Error(s.Shown().Names())
	}
	if _, err := s.Answer(c, chain); mail.KindOf(err) != mail.KindNotFound {
		t.Error(err)
	}
}

// TestFailedWrite: when the folder cannot be written nothing changes.
func TestFailedWrite(t *testing.T) {
	s := open(t)
	a := made(t, time.Now(), "mail.example.org")
	first, err := s.Add(a.Chain, a.key, Details{Source: FromImport})
	if err != nil {
		t.Fatal(err)
	}
	before := files(t, s)
	// A folder in the place of the file that makes it count.
	b := made(t, time.Now(), "other.example.org")
	name := fileName(b)
	if err := os.MkdirAll(filepath.Join(s.Folder, name+".crt", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add(b.Chain, b.key, Details{Source: FromImport}); mail.KindOf(err) != mail.KindUnavailable {
		t.Error(err)
	}
	os.RemoveAll(filepath.Join(s.Folder, name+".crt"))
	if after := files(t, s); !slices.Equal(before, after) {
		t.Error(before, after)
	}
	os.Remove(filepath.Join(s.Folder, first.Name+".json"))
	if err := os.MkdirAll(filepath.Join(s.Folder, first.Name+".json", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Change(first, func(d *Details) { d.Preferred = time.Now() }); mail.KindOf(err) != mail.KindUnavailable {
		t.Error(err)
	}
	if c := s.ShownFor("mail.example.org"); c == nil || !c.Preferred.IsZero() {
		t.Error(c)
	}
}

// TestExpiry: states and warnings over a certificate's life; one that another stands
// in for is not spoken of.
func TestExpiry(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	c := made(t, start, "mail.example.org")
	end := c.Leaf().NotAfter
	for _, w := range []struct {
		now    time.Time
		status Status
		text   string
	}{
		{start.Add(-2 * time.Hour), NotYetValid, "not valid before"},
		{start, Untrusted, ""},
		{end.Add(-30*24*time.Hour - time.Hour), Untrusted, ""},
		{end.Add(-29*24*time.Hour - time.Hour), Expiring, "expires in 29 days"},
		{end.Add(-25 * time.Hour), Expiring, "expires in 1 day,"},
		{end.Add(-time.Hour), Expiring, "less than a day"},
		{end.Add(time.Hour), Expired, "expired on "},
	} {
		if got := c.Status(w.now); got != w.status {
			t.Errorf("%s: %s", w.now, got)
		}
		if got := c.Warning(w.now); (w.text == "") != (got == "") || !strings.Contains(got, w.text) {
			t.Errorf("%s: %q", w.now, got)
		}
	}

	var log strings.Builder
	now := end.Add(-time.Hour)
	s, err := Open(Options{Folder: t.TempDir(), Hosts: []string{"localhost"}, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	old, err := s.Add(c.Chain, c.key, Details{Source: FromImport})
	if err != nil {
		t.Fatal(err)
	}
	s.tell()
	s.tell()
	if n := strings.Count(log.String(), "event=2008"); n != 1 {
		t.Error(n, log.String())
	}
	now = now.Add(25 * time.Hour)
	s.tell()
	if n := strings.Count(log.String(), "event=2009"); n != 1 {
		t.Error(n, log.String())
	}
	if w := s.Warnings(); len(w) != 1 {
		t.Error(w)
	}
	next := made(t, now, "mail.example.org")
	if _, err := s.Add(next.Chain, next.key, Details{Source: FromImport}); err != nil {
		t.Fatal(err)
	}
	if w := s.Warnings(); len(w) != 0 {
		t.Error(w, old)
	}
}
