package passwd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/crypt"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store/memory"
)

// lines writes people as a passwd file.
func lines(people []directorytest.Someone) string {
	var b strings.Builder
	for _, p := range people {
		var extra []string
		if p.QuotaBytes != nil {
			extra = append(extra, fmt.Sprintf("userdb_quota_rule=*:bytes=%d:messages=%d", *p.QuotaBytes, *p.QuotaMessages))
		}
		if len(p.Aliases) > 0 {
			extra = append(extra, "postern_aliases="+strings.Join(p.Aliases, ","))
		}
		if p.Blocked != "" {
			extra = append(extra, "postern_blocked=yes")
		}
		password := ""
		if p.Password != "" {
			password = "{PLAIN}" + p.Password
		}
		fmt.Fprintf(&b, "%s:%s:::%s:::%s\n", p.Name, password, p.DisplayName, strings.Join(extra, " "))
	}
	return b.String()
}

func write(t *testing.T, file, text string, age time.Duration) {
	t.Helper()
	next := file + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	when := time.Now().Add(-age)
	if err := os.Chtimes(next, when, when); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, o Options) directory.Source {
	t.Helper()
	d, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestSource(t *testing.T) {
	for _, scram := range []bool{false, true} {
		t.Run(fmt.Sprint("scram=", scram), func(t *testing.T) {
			directorytest.RunSource(t, directorytest.SourceTest{Open: func(t *testing.T, people []directorytest.Someone) directory.Source {
				file := filepath.Join(t.TempDir(), "users")
				write(t, file, lines(people), time.Hour)
				return open(t, Options{File: file, KeyOptions: crypt.KeyOptions{Scram: scram}})
			}})
		})
	}
}

func wantKind(t *testing.T, what string, err error, kind mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != kind {
		t.Errorf("%s: %v, want %s", what, err, kind)
	}
}

type journal struct {
	mu sync.Mutex
	bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.Buffer.Write(b)
}

func TestLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	write(t, file, strings.Join([]string{
		"# people",
		"",
		"anna:{PLAIN}geheim:1000:1000:Anna Ä.,Room 3:/home/anna:/bin/sh:userdb_quota_rule=*:storage=1G:messages=5 userdb_quota_rule2=Trash:storage=+10%",
		"no colon",
		"bert@other.example:{PLAIN}geheim",
		"a b:{PLAIN}geheim",
		"carl:{NOTHING}geheim",
		"dora:{PLAIN}geheim::::::allow_nets=10.0.0.0/8",
		"emil:$argon2id$v=19$m=10485760,t=1,p=1$D2uniyaaIjLYRUGA/w07dQ$OhGYKTOLhlOxzKkQ8WbsQxoCGfSZEDClrTW97RvdBgY",
		"twice:{PLAIN}one",
		"twice:{PLAIN}two",
		"frida:x", "gerd:!$6$x$y", "hans:",
		"ida:{PLAIN}geheim::::::userdb_quota_rule=*:storage=much",
		"jana:{PLAIN}geheim::::::nopassword userdb_quota_storage_size=2M",
		strings.Repeat("x", maxLine+1) + ":{PLAIN}geheim",
		"\xff:{PLAIN}geheim",
		"karl:{PLAIN}geheim\r",
		"last:{PLAIN}geheim",
	}, "\n"), time.Hour)
	var log journal
	d := open(t, Options{File: file, Domain: "example.org", Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, name := range []string{"anna@example.org", "bert@other.example", "ida@example.org", "karl@example.org", "last@example.org"} {
		if p, err := d.CheckPassword(t.Context(), name, "geheim"); err != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	for _, name := range []string{"carl", "dora", "emil", "frida", "gerd", "hans", "jana"} {
		if _, err := d.Find(t.Context(), name+"@example.org"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, password := range []string{"geheim", "x", "!"} {
			_, err := d.CheckPassword(t.Context(), name+"@example.org", password)
			wantKind(t, name, err, mail.KindAuthenticationFailed)
		}
	}
	_, err := d.Find(t.Context(), "twice@example.org")
	wantKind(t, "twice", err, mail.KindUnavailable)
	p, err := d.Find(t.Context(), "anna@example.org")
	if err != nil || p.DisplayName != "Anna Ä." || *p.QuotaBytes != 1<<30 || *p.QuotaMessages != 5 {
		t.Errorf("anna: %+v, %v", p, err)
	}
	if p, err = d.Find(t.Context(), "jana@example.org"); err != nil || *p.QuotaBytes != 2<<20 {
		t.Errorf("jana: %+v, %v", p, err)
	}
	for _, n := range []int{4, 6, 7, 8, 9, 11, 15, 16, 17, 18} {
		if !strings.Contains(log.String(), fmt.Sprintf("line=%d ", n)) {
			t.Errorf("line %d is not logged", n)
		}
	}
	if strings.Contains(log.String(), "geheim") || strings.Contains(log.String(), "OhGYK") {
		t.Error("a password is logged")
	}
	if t.Failed() {
		t.Log(log.String())
	}
}

func TestFirstUID(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	write(t, file, "root:{PLAIN}geheim:0:0\nanna:{PLAIN}geheim:1000:1000\nbert:{PLAIN}geheim\ncarl:{PLAIN}geheim:x\ndora:{PLAIN}geheim:-1\n", time.Hour)
	d := open(t, Options{File: file, FirstUID: 1000})
	for _, name := range []string{"root", "bert", "carl", "dora"} {
		_, err := d.Find(t.Context(), name)
		wantKind(t, name, err, mail.KindNotFound)
	}
	if _, err := d.CheckPassword(t.Context(), "anna", "geheim"); err != nil {
		t.Error(err)
	}
}

// What is being written does not count before it is whole.
func TestChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	d := open(t, Options{File: file, Now: clock})
	_, err := d.Find(t.Context(), "anna")
	wantKind(t, "without a file", err, mail.KindUnavailable)

	write(t, file, "anna:{PLAIN}one\nbert:{PLAIN}two\n", time.Hour)
	first, err := d.CheckPassword(t.Context(), "anna", "one")
	if err != nil || first.PasswordChanged.IsZero() {
		t.Fatal(first, err)
	}
	// In place, and slowly.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, part := range []string{"", "anna:{PLAIN}o", "ther\n", "bert:{PLAIN}two"} {
		f.WriteString(part)
		os.Chtimes(file, clock(), clock())
		if _, err := d.CheckPassword(t.Context(), "anna", "one"); err != nil {
			t.Errorf("while the file is written: %v", err)
		}
		if _, err := d.Find(t.Context(), "bert"); err != nil {
			t.Errorf("while the file is written: %v", err)
		}
		pass(settle / 2)
	}
	pass(2 * settle)
	second, err := d.CheckPassword(t.Context(), "anna", "other")
	if err != nil || second.PasswordChanged.Equal(first.PasswordChanged) {
		t.Errorf("after the change: %v, %v", second, err)
	}
	_, err = d.CheckPassword(t.Context(), "anna", "one")
	wantKind(t, "the older password", err, mail.KindAuthenticationFailed)
	bert, _ := d.Find(t.Context(), "bert")
	if !bert.PasswordChanged.Equal(first.PasswordChanged) {
		t.Error("the other one's password changed too")
	}
	// Replaced by one with an older time: at once.
	write(t, file, "anna:{PLAIN}third\n", 2*time.Hour)
	third, err := d.CheckPassword(t.Context(), "anna", "third")
	if err != nil || third.PasswordChanged.Equal(second.PasswordChanged) || third.PasswordChanged.Equal(first.PasswordChanged) {
		t.Errorf("after the replacement: %v, %v", third, err)
	}
	_, err = d.Find(t.Context(), "bert")
	wantKind(t, "who is not there any more", err, mail.KindNotFound)
	// Gone, a folder, a pipe that nobody writes.
	os.Remove(file)
	_, err = d.Find(t.Context(), "anna")
	wantKind(t, "without a file", err, mail.KindUnavailable)
	os.Mkdir(file, 0o700)
	_, err = d.Find(t.Context(), "anna")
	wantKind(t, "with a folder", err, mail.KindUnavailable)
	os.Remove(file)
	write(t, file, "anna:{PLAIN}third\n", 2*time.Hour)
	if _, err := d.CheckPassword(t.Context(), "anna", "third"); err != nil {
		t.Errorf("with the file again: %v", err)
	}
}

// Readers see one state of the file or the next.
func TestReplacedWhileRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	text := func(n int) string {
		return fmt.Sprintf("anna:{PLAIN}%d\n", n) + strings.Repeat("# filling\n", n%7*1000) + "last:{PLAIN}x\n"
	}
	write(t, file, text(0), time.Hour)
	d := open(t, Options{File: file})
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			for ctx.Err() == nil {
				for _, name := range []string{"anna", "last"} {
					if _, err := d.Find(ctx, name); err != nil && ctx.Err() == nil {
						t.Errorf("%s: %v", name, err)
						return
					}
				}
			}
		})
	}
	for n := range 100 {
		write(t, file, text(n), time.Duration(200-n)*time.Minute)
	}
	cancel()
	wait.Wait()
}

// An upgrade gives SCRAM until the line changes, and never writes the file.
func TestUpgrade(t *testing.T) {
	const stored = `{SSHA}H2IBz7rWAZvsJNT1Cl5G/81hjcdn2a0p`
	file := filepath.Join(t.TempDir(), "users")
	write(t, file, "anna:"+stored+"\n", 3*time.Hour)
	records := memory.New()
	defer records.Close()
	o := Options{File: file, KeyOptions: crypt.KeyOptions{Scram: true, Upgrade: true}, Keeper: crypt.Keeper{Records: records, Directory: "file"}}
	keys := func(d directory.Source) error {
		_, k, err := d.(directory.KeySource).ScramKeys(t.Context(), "anna", directory.SHA256)
		if err == nil {
			again, _ := directory.NewScramKeys(directory.SHA256, "geheim", k.Salt, k.Iterations)
			if !bytes.Equal(again.StoredKey, k.StoredKey) {
				t.Error("the keys are not the password's")
			}
		}
		return err
	}
	d := open(t, o)
	wantKind(t, "before a login", keys(d), mail.KindNotFound)
	if _, err := d.CheckPassword(t.Context(), "anna", "wrong"); err == nil {
		t.Fatal("a wrong password")
	}
	wantKind(t, "after a wrong password", keys(d), mail.KindNotFound)
	if _, err := d.CheckPassword(t.Context(), "anna", "geheim"); err != nil {
		t.Fatal(err)
	}
	if err := keys(d); err != nil {
		t.Errorf("after a login: %v", err)
	}
	if err := keys(open(t, o)); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	list, err := records.Records(t.Context(), "directory-keys", "")
	if err != nil || len(list) != 1 || bytes.Contains(list[0].Value, []byte("geheim")) || bytes.Contains(list[0].Value, []byte(stored)) {
		t.Errorf("the records: %v, %v", list, err)
	}
	write(t, file, "anna:{SSHA256}P5mKDH59jB63Pqi3qPhQweWcY50ALUULrjS3LYTxz0z0MaAJ\n", 2*time.Hour)
	wantKind(t, "after a change", keys(d), mail.KindNotFound)
	if list, _ := records.Records(t.Context(), "directory-keys", ""); len(list) != 0 {
		t.Errorf("the record of the older password is there: %v", list)
	}
	if _, err := d.CheckPassword(t.Context(), "anna", "geheim"); err != nil {
		t.Fatal(err)
	}
	if err := keys(d); err != nil {
		t.Errorf("after a change and a login: %v", err)
	}
	write(t, file, "anna:!\n", time.Hour)
	wantKind(t, "without a password", keys(d), mail.KindNotFound)
}

func FuzzLine(f *testing.F) {
	f.Add("anna:{PLAIN}geheim:1000:1000:Anna Ä.,Room 3:/home/anna:/bin/sh:userdb_quota_rule=*:storage=1G:messages=5 postern_aliases=a,b@c")
	f.Add("a@b.c:$1$GY1aEQ29$MwdT4wwfQrM7ocrPjiB5t1::::::quota_rule=*:storage=99999999999T nologin")
	f.Add("#")
	f.Fuzz(func(t *testing.T, line string) {
		p, err := readLine([]byte(line), &Options{Scheme: "CRYPT", Domain: "example.org"})
		if p == nil {
			return
		}
		if directory.CheckID(p.ID) != nil || p.hash == nil && p.locked == "" {
			t.Errorf("%q: %+v, %v", line, p, err)
		}
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			if prepared, err := directory.PrepareName(name); err != nil || prepared != name {
				t.Errorf("%q: the name %q", line, name)
			}
		}
		for _, n := range []*int64{p.QuotaBytes, p.QuotaMessages} {
			if n != nil && *n < 0 {
				t.Errorf("%q: the quota %d", line, *n)
			}
		}
	})
}
