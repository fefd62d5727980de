package embedded

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/seal"
	"github.com/postern-mail/postern/store/memory"
)

// openKey is open with a file for the key of readable passwords.
func openKey(t *testing.T, r Records, path string) *Directory {
	t.Helper()
	o := cheap
	o.Key = seal.At(path)
	d, err := Open(t.Context(), r, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const readable = "a readable password"

// answers tells whether a directory reads anna's password.
func answers(t *testing.T, d *Directory) error {
	_, err := d.CheckAnswer(t.Context(), "anna", func(p []byte) bool { return string(p) == readable })
	return err
}

// The key is made with the first password that needs it, for the server alone; the
// store has the password in no readable form, and another key, another account or no
// key does not open it.
func TestSealed(t *testing.T) {
	ctx, engine, path := t.Context(), memory.New(), filepath.Join(t.TempDir(), "key")
	d := openKey(t, engine, path)
	if err := d.Create(ctx, directory.Entry{Name: "bert", Account: 2}, readable); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a key was made for nobody")
	}
	if err := d.Create(ctx, directory.Entry{Name: "anna", Account: 1, LegacyMechanisms: []string{"APOP"}}, readable); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Fatalf("the key is %v, %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
		t.Errorf("there are %q", left)
	}
	records, err := engine.Records(ctx, RecordKind, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if bytes.Contains(r.Value, []byte("readable password")) {
			t.Errorf("%s: %s", r.Key, r.Value)
		}
	}
	first := d.find("anna").Sealed
	if err := d.SetPassword(ctx, "anna", readable); err != nil || bytes.Equal(first, d.find("anna").Sealed) {
		t.Errorf("the same password is sealed alike, %v", err)
	}
	if err := answers(t, openKey(t, engine, path)); err != nil {
		t.Errorf("after opening again: %v", err)
	}
	if _, err := d.key.Open(first, sealedAbout(2)); mail.KindOf(err) != mail.KindCorrupt {
		t.Errorf("as another account's: %v", err)
	}

	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		key  []byte
		mode os.FileMode
		kind mail.Kind
	}{
		{"the right key", key, 0o400, -1},
		{"another key", make([]byte, 32), 0o600, mail.KindCorrupt},
		{"a key that others can read", key, 0o640, mail.KindUnavailable},
		{"a short key", key[:31], 0o600, mail.KindUnavailable},
		{"a long key", append(key, 0), 0o600, mail.KindUnavailable},
		{"no key", nil, 0, mail.KindUnavailable},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if c.key != nil {
			if err := os.WriteFile(path, c.key, c.mode); err != nil {
				t.Fatal(err)
			}
		}
		d := openKey(t, engine, path)
		if err := answers(t, d); (err == nil) != (c.kind == -1) || err != nil && mail.KindOf(err) != c.kind {
			t.Errorf("%s: %v", c.what, err)
		}
		if _, err := d.CheckPassword(ctx, "anna", readable); err != nil {
			t.Errorf("%s: PLAIN gives %v", c.what, err)
		}
	}
	if err := answers(t, open(t, engine)); mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("without a file for the key: %v", err)
	}
}

// A key that cannot be made refuses the password, and changes nothing.
func TestNoKeyNoPassword(t *testing.T) {
	ctx := t.Context()
	d := openKey(t, memory.New(), filepath.Join(t.TempDir(), "none", "key"))
	if err := d.Create(ctx, directory.Entry{Name: "anna", Account: 1, LegacyMechanisms: []string{"CRAM-MD5"}}, ""); err != nil {
		t.Fatal(err)
	}
	if err := d.SetPassword(ctx, "anna", readable); mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("SetPassword: %v", err)
	}
	if e, err := d.Lookup(ctx, "anna"); err != nil || !e.PasswordChanged.IsZero() || e.ReadablePassword {
		t.Errorf("there is %+v, %v", e, err)
	}
}
