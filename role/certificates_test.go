package role

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/listener"
)

// put writes a certificate for host as NAME.crt and NAME.key into dir.
func put(t *testing.T, dir, name, host string) {
	t.Helper()
	made := t.TempDir()
	if _, err := listener.SelfSigned([]string{host}, made); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{listener.CertificateFile: ".crt", listener.KeyFile: ".key"} {
		text, err := os.ReadFile(filepath.Join(made, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+to), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCertificatesAreWatched: what is put into the folder is shown without a
// restart, and what cannot be used does not take away what can.
func TestCertificatesAreWatched(t *testing.T) {
	c := config(t)
	cs, err := openCertificates(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(cs.shown.Names(), "localhost") {
		t.Fatal(cs.shown.Names())
	}
	own := cs.shown.Leaves()[0].SerialNumber
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go cs.watch(ctx)
		put(t, cs.dir, "mail", "mail.example.org")
		time.Sleep(certificatePoll + time.Second)
		if !slices.Contains(cs.shown.Names(), "mail.example.org") || !slices.Contains(cs.shown.Names(), "localhost") {
			t.Fatal(cs.shown.Names())
		}
		put(t, cs.dir, "mail", "renewed.example.org")
		if err := os.WriteFile(filepath.Join(cs.dir, "torn.crt"), []byte("no certificate"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(certificatePoll + time.Second)
		if names := cs.shown.Names(); slices.Contains(names, "mail.example.org") || !slices.Contains(names, "renewed.example.org") {
			t.Fatal(names)
		}
	})
	// The next start shows the same self-signed certificate.
	again, err := openCertificates(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	leaves := again.shown.Leaves()
	if leaves[len(leaves)-1].SerialNumber.Cmp(own) != 0 {
		t.Fatal("the self-signed certificate changed")
	}
}
