package embedded

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

var cheap = Options{Argon2: Argon2{Memory: 8, Time: 1, Threads: 1}, ScramIterations: 4096}

func open(t *testing.T, r Records) *Directory {
	t.Helper()
	d, err := Open(t.Context(), r, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDirectory(t *testing.T) {
	directorytest.Run(t, func(t *testing.T) directory.Writable { return open(t, memory.New()) })
	t.Run("WithKey", func(t *testing.T) {
		directorytest.Run(t, func(t *testing.T) directory.Writable {
			return openKey(t, memory.New(), filepath.Join(t.TempDir(), "key"))
		})
	})
}

// The price of a password is paid once whatever is wrong with name or password.
func TestSamePriceForEveryFailure(t *testing.T) {
	d := open(t, memory.New())
	ctx := t.Context()
	if err := d.Create(ctx, directory.Entry{Name: "anna", Aliases: []string{"alias"}, Account: 1}, "right"); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(ctx, directory.Entry{Name: "nopassword", Account: 2}, ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, password string }{
		{"anna", "right"}, {"anna", "wrong"}, {"alias", "wrong"}, {"unknown", "wrong"}, {"nopassword", "wrong"},
	} {
		before := d.verifications.Load()
		d.CheckPassword(ctx, c.name, c.password)
		if n := d.verifications.Load() - before; n != 1 {
			t.Errorf("%s, %s: %d verifications, want 1", c.name, c.password, n)
		}
	}
	p, err := parsePHC(d.byName["anna"].Password)
	if err != nil || p.cost != d.dummy.cost || len(p.hash) != len(d.dummy.hash) || len(p.salt) != len(d.dummy.salt) {
		t.Errorf("the dummy's price is not a real one's: %v, %v, %v", p, d.dummy, err)
	}
}

// Everything is there after opening again, fake salts too; the secrets are not.
func TestReopen(t *testing.T) {
	e := memory.New()
	d := open(t, e)
	ctx := t.Context()
	want := directory.Entry{Name: "anna", Aliases: []string{"b", "a"}, Account: 1 << 63, DisplayName: "<Ä>", Enabled: true}
	if err := d.Create(ctx, want, "s3cret"); err != nil {
		t.Fatal(err)
	}
	_, fake, _ := d.ScramKeys(ctx, "nobody", directory.SHA1)

	d = open(t, e)
	got, err := d.CheckPassword(ctx, "b", "s3cret")
	if err != nil || got.Name != "anna" || got.Account != 1<<63 || strings.Join(got.Aliases, " ") != "b a" || got.DisplayName != "<Ä>" {
		t.Errorf("after opening again: %+v, %v", got, err)
	}
	if _, again, _ := d.ScramKeys(ctx, "nobody", directory.SHA1); string(again.Salt) != string(fake.Salt) {
		t.Error("the fake salt changed")
	}
	records, err := e.Records(ctx, "account", "")
	if err != nil || len(records) != 3 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for _, r := range records {
		if strings.Contains(string(r.Value), "s3cret") {
			t.Error("a password is stored")
		}
	}
}

// Two servers on one store: what one writes the other sees after Refresh, and a
// change that was computed from old records is computed again.
func TestTwoServers(t *testing.T) {
	e := memory.New()
	one, two := open(t, e), open(t, e)
	ctx := t.Context()
	if err := one.Create(ctx, directory.Entry{Name: "anna", Aliases: []string{"shared"}, Account: 1}, ""); err != nil {
		t.Fatal(err)
	}
	// The names are unique although two never read them.
	for _, c := range []directory.Entry{{Name: "anna", Account: 2}, {Name: "shared", Account: 2}, {Name: "x", Aliases: []string{"shared"}, Account: 2}} {
		other := open(t, e)
		other.byName, other.aliases = map[string]*held{}, map[string]alias{}
		if err := other.Create(ctx, c, ""); mail.KindOf(orBug(err)) != mail.KindAlreadyExists {
			t.Errorf("Create(%s %v) on the other server: %v", c.Name, c.Aliases, err)
		}
	}
	if err := two.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Lookup(ctx, "shared"); err != nil {
		t.Error(err)
	}
	runs := 0
	if err := one.SetPassword(ctx, "anna", "new"); err != nil {
		t.Fatal(err)
	}
	if err := two.Change(ctx, "anna", func(e *directory.Entry) error { runs++; e.DisplayName = "A"; return nil }); err != nil || runs != 2 {
		t.Errorf("Change ran %d times: %v", runs, err)
	}
	if _, err := two.CheckPassword(ctx, "anna", "new"); err != nil {
		t.Errorf("the other server's password is lost: %v", err)
	}
	if two.secret == nil || string(two.secret) != string(one.secret) {
		t.Error("two secrets")
	}
}

func orBug(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

// failing is a store whose every call may fail.
type failing struct {
	*memory.Engine
	err error
}

func (f *failing) PutRecords(ctx context.Context, r []store.Record) error {
	if f.err != nil {
		return f.err
	}
	return f.Engine.PutRecords(ctx, r)
}

func TestFailingStoreChangesNothing(t *testing.T) {
	f := &failing{Engine: memory.New()}
	d := open(t, f)
	ctx := t.Context()
	if err := d.Create(ctx, directory.Entry{Name: "anna", Aliases: []string{"a"}, Account: 1}, "old"); err != nil {
		t.Fatal(err)
	}
	f.err = mail.Errorf(mail.KindUnavailable, "the disk is full")
	for what, err := range map[string]error{
		"Create":      d.Create(ctx, directory.Entry{Name: "bert", Account: 2}, ""),
		"Change":      d.Change(ctx, "anna", func(e *directory.Entry) error { e.Aliases = nil; return nil }),
		"SetPassword": d.SetPassword(ctx, "anna", "new"),
		"Remove":      d.Remove(ctx, "anna"),
	} {
		if !errors.Is(err, f.err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := d.CheckPassword(ctx, "a", "old"); err != nil {
		t.Error(err)
	}
	if _, err := d.Lookup(ctx, "bert"); err == nil {
		t.Error("bert is there")
	}
	f.err = mail.Errorf(mail.KindConflict, "")
	if err := d.Remove(ctx, "anna"); !errors.Is(err, &mail.Error{Kind: mail.KindConflict}) && mail.KindOf(err) != mail.KindConflict {
		t.Errorf("a store that always conflicts: %v", err)
	}
}

func TestCorruptRecords(t *testing.T) {
	for _, v := range []string{"", "{", "{}", `{"alias":"x","account":{}}`, "null"} {
		e := memory.New()
		if err := e.PutRecords(t.Context(), []store.Record{{Kind: RecordKind, Key: "x", Value: []byte(v)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), e, cheap); mail.KindOf(orBug(err)) != mail.KindCorrupt {
			t.Errorf("%q: %v", v, err)
		}
	}
}

func TestPHC(t *testing.T) {
	p := phc{DefaultArgon2, []byte("0123456789abcdef"), make([]byte, 32)}
	const want = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	if p.String() != want {
		t.Errorf("got %s", p)
	}
	if got, err := parsePHC(want); err != nil || got.String() != want {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{
		"", "$", "plain", "$2b$10$x", strings.Replace(want, "argon2id", "argon2i", 1), strings.Replace(want, "v=19", "v=16", 1),
		strings.Replace(want, "m=19456", "m=4294967295", 1), strings.Replace(want, "t=2", "t=0", 1), strings.Replace(want, "p=1", "p=0", 1),
		strings.Replace(want, "p=1", "p=1,x=2", 1), strings.Replace(want, "m=19456", "m=019456", 1), want + "=", want + "$", want[:60],
	} {
		if _, err := parsePHC(bad); mail.KindOf(orBug(err)) != mail.KindCorrupt {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// An Argon2id vector made by the reference implementation's command line:
// printf password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32 (2^16 KiB).
func TestArgon2id(t *testing.T) {
	d := open(t, memory.New())
	p, err := parsePHC("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if !d.verify(p, "password") || d.verify(p, "passwore") {
		t.Error("not Argon2id")
	}
}
