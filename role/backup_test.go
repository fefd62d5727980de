package role

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/backup"
	"github.com/postern-mail/postern/mail"
)

// TestBackupFolder: a backup stands neither in the data folder nor around it, by whatever
// name.
func TestBackupFolder(t *testing.T) {
	base := t.TempDir()
	data := filepath.Join(base, "data")
	for _, dir := range []string{data, filepath.Join(base, "other")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(data, filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	b := backups{&Server{config: Config{Data: data}}}
	for _, path := range []string{"", "relative", "./backup", data, base, "/", filepath.Join(data, "backup"), filepath.Join(base, "link", "b"), filepath.Join(data, "..", "data", "b")} {
		if got, err := b.folder(path, true); err == nil || mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
	for _, path := range []string{filepath.Join(base, "backup"), filepath.Join(base, "database"), filepath.Join(base, "other", "a", "b")} {
		if got, err := b.folder(path, true); err != nil || got != path {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
}

// TestKeysOfNow: certificates and keys are in a backup as they were when it began, though
// they are replaced or removed while the store is copied.
func TestKeysOfNow(t *testing.T) {
	data := t.TempDir()
	folder := filepath.Join(data, certificateFolder)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	put("a.crt", "certificate")
	put("a.key", "key")
	put("b.csr", "request")
	list, without, err := filesOf(data, certificateFolder, true)
	if err != nil || len(without) > 0 {
		t.Fatal(without, err)
	}
	put("a.crt", "a certificate that is longer")
	put("a.key", "k")
	if err := os.Remove(filepath.Join(folder, "b.csr")); err != nil {
		t.Fatal(err)
	}
	f, err := backup.Create(filepath.Join(t.TempDir(), "b"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.Write(t.Context(), backup.Point{Store: "one"}, list, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files, err := f.Files(p.Point)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a.crt": "certificate", "a.key": "key", "b.csr": "request"} {
		var b strings.Builder
		if err := files.Copy(t.Context(), certificateFolder+"/"+name, &b, nil); err != nil || b.String() != want {
			t.Errorf("%s is %q, %v", name, b.String(), err)
		}
	}
}

// TestLinks: what links in the data folder lead to is in a backup, as certbot leaves
// certificates, and where a part of the folder is on another disk. What they lead to in vain
// keeps nobody from making one.
func TestLinks(t *testing.T) {
	data, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	live, disk := filepath.Join(other, "live"), filepath.Join(other, "disk")
	for _, dir := range []string{filepath.Join(data, certificateFolder), live, disk, filepath.Join(disk, "2026")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{
		filepath.Join(live, "fullchain1.pem"): "chain", filepath.Join(live, "privkey1.pem"): "key",
		filepath.Join(data, certificateFolder, "own.crt"): "own", filepath.Join(disk, "audit-1"): "audit", filepath.Join(disk, "2026", "audit-2"): "more",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificates := filepath.Join(data, certificateFolder)
	for path, to := range map[string]string{
		filepath.Join(live, "fullchain.pem"):       "fullchain1.pem",
		filepath.Join(certificates, "mail.crt"):    filepath.Join(live, "fullchain.pem"),
		filepath.Join(certificates, "mail.key"):    filepath.Join(live, "privkey1.pem"),
		filepath.Join(certificates, "gone.crt"):    filepath.Join(live, "none.pem"),
		filepath.Join(certificates, "loop.crt"):    "loop.crt",
		filepath.Join(certificates, "folder"):      live,
		filepath.Join(certificates, "endless.crt"): "/dev/zero",
		filepath.Join(data, auditFolder):           disk,
	} {
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]string{}
	for _, part := range backedUp {
		list, without, err := filesOf(data, part, part == certificateFolder)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range without {
			got[path] = "without"
		}
		for _, f := range list {
			in, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(in)
			in.Close()
			if err != nil || int64(len(b)) != f.Size {
				t.Errorf("%s has %d bytes of %d, %v", f.Name, len(b), f.Size, err)
			}
			got[f.Name] = string(b)
		}
	}
	want := map[string]string{
		"certificates/mail.crt": "chain", "certificates/mail.key": "key", "certificates/own.crt": "own", "audit/audit-1": "audit", "audit/2026/audit-2": "more",
		filepath.Join(certificates, "loop.crt"): "without",
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
}

// TestRestoringTwice: who waits for a folder that is being restored never takes away what
// is restored there.
func TestRestoringTwice(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	for range 200 {
		_, release, err := beginRestoring(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(data, storeFolder), 0o700); err != nil {
			t.Fatal(err)
		}
		began, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				_, release, err := beginRestoring(data)
				if i == 0 {
					close(began)
				}
				if err == nil {
					release()
				}
				if mail.KindOf(err) != mail.KindInUse {
					return
				}
			}
		}()
		<-began
		if err := os.Remove(filepath.Join(data, restoringFile)); err != nil {
			t.Fatal(err)
		}
		release()
		<-done
		if _, err := os.Stat(filepath.Join(data, storeFolder)); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
	}
}
