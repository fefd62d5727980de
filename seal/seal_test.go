package seal

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/postern-mail/postern/mail"
)

func TestSeal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	k := At(path)
	if _, err := k.Open([]byte("nothing that was sealed"), "a"); mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("without a key: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("Open made a key")
	}
	sealed, err := k.Seal([]byte("secret"), "of account 1")
	if err != nil || bytes.Contains(sealed, []byte("secret")) {
		t.Fatal(err, sealed)
	}
	again, _ := k.Seal([]byte("secret"), "of account 1")
	if bytes.Equal(sealed, again) {
		t.Error("the same secret is sealed alike")
	}
	// Another process, later.
	k = At(path)
	if secret, err := k.Open(sealed, "of account 1"); err != nil || string(secret) != "secret" {
		t.Errorf("%q, %v", secret, err)
	}
	damaged := bytes.Clone(sealed)
	damaged[len(damaged)-1] ^= 1
	for what, c := range map[string]struct {
		sealed []byte
		about  string
	}{"another's": {sealed, "of account 2"}, "damaged": {damaged, "of account 1"}, "short": {sealed[:5], "of account 1"}, "nothing": {nil, ""}} {
		if secret, err := k.Open(c.sealed, c.about); mail.KindOf(err) != mail.KindCorrupt || secret != nil {
			t.Errorf("%s: %q, %v", what, secret, err)
		}
	}
	if secret, err := At(filepath.Join(t.TempDir(), "other")).Open(sealed, "of account 1"); err == nil {
		t.Errorf("without the key: %q", secret)
	}
	for what, damage := range map[string]func() error{
		"readable by others": func() error { return os.Chmod(path, 0o640) },
		"cut":                func() error { return os.WriteFile(path, []byte("short"), 0o600) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := At(path).Seal([]byte("x"), ""); mail.KindOf(err) != mail.KindUnavailable {
			t.Errorf("a key that is %s: %v", what, err)
		}
		os.Chmod(path, 0o600)
	}
}

// TestFirst: of many that make the key at once all have the same.
func TestFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	sealed := make([][]byte, 16)
	var wg sync.WaitGroup
	for i := range sealed {
		wg.Go(func() { sealed[i], _ = At(path).Seal([]byte{byte(i)}, "") })
	}
	wg.Wait()
	k := At(path)
	for i := range sealed {
		if secret, err := k.Open(sealed[i], ""); err != nil || secret[0] != byte(i) {
			t.Errorf("%d: %v, %v", i, secret, err)
		}
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}
