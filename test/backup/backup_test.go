// Package backup backs up the real server while clients write to it, kills it, and compares
// what is restored with what was there.
package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

var people = []server.Account{{Name: "a@backup.example", Password: "pass-a-1234"}, {Name: "b@backup.example", Password: "pass-b-1234"}, {Name: "c@backup.example", Password: "pass-c-1234"}}

// letter is a message of n bytes, about, that names who it is for.
func letter(who string, n, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "X-Id: %s-%d\r\nFrom: x@backup.example\r\nSubject: letter %d\r\nMessage-ID: <%s-%d@backup.example>\r\n\r\n", who, n, n, who, n)
	for b.Len() < size {
		fmt.Fprintf(&b, "line %x\r\n", rand.Uint64())
	}
	return b.String()
}

// message is what a client sees of a message.
type message struct {
	uid, flags, date, digest string
}

var (
	itemUID   = regexp.MustCompile(`UID (\d+)`)
	itemFlags = regexp.MustCompile(`FLAGS \(([^)]*)\)`)
	itemDate  = regexp.MustCompile(`INTERNALDATE "([^"]*)"`)
)

// contents are all mailboxes of somebody: by name, what is in them, in order.
func contents(t *testing.T, s *server.Server, who server.Account) map[string][]message {
	t.Helper()
	c := s.Login(t, who)
	defer c.Conn.Close()
	all := map[string][]message{}
	for _, line := range c.MustIMAP(`LIST "" *`) {
		if strings.Contains(line, `\Non`) || strings.Contains(line, `\Noselect`) {
			continue
		}
		name := line[strings.LastIndex(line, " ")+1:]
		if strings.HasSuffix(line, `"`) {
			name = line[strings.LastIndex(line[:len(line)-1], `"`):]
		}
		c.MustIMAP("EXAMINE %s", name)
		all[name] = nil
		var now *message
		var body strings.Builder
		end := func() {
			if now != nil {
				sum := sha256.Sum256([]byte(body.String()))
				now.digest = hex.EncodeToString(sum[:8])
				all[name] = append(all[name], *now)
			}
			body.Reset()
			now = nil
		}
		for _, line := range c.MustIMAP("UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])") {
			if strings.HasPrefix(line, "* ") && strings.Contains(line, " FETCH (") {
				end()
				flags := strings.Fields(strings.ReplaceAll(first(itemFlags, line), `\Recent`, ""))
				slices.Sort(flags)
				now = &message{uid: first(itemUID, line), flags: strings.Join(flags, " "), date: first(itemDate, line)}
				continue
			}
			body.WriteString(line + "\r\n")
		}
		end()
	}
	return all
}

func first(r *regexp.Regexp, text string) string {
	if m := r.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func uidValidity(t *testing.T, s *server.Server, who server.Account) string {
	t.Helper()
	c := s.Login(t, who)
	defer c.Conn.Close()
	for _, line := range c.MustIMAP("STATUS INBOX (UIDVALIDITY)") {
		if m := regexp.MustCompile(`UIDVALIDITY (\d+)`).FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	t.Fatal("no UIDVALIDITY")
	return ""
}

// restore runs postern restore into a new data folder and gives it.
func restore(t *testing.T, backup string, more ...string) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	out, code := runRestore(t, data, backup, more...)
	if code != 0 {
		t.Fatalf("postern restore: exit code %d\n%s", code, out)
	}
	return data
}

func runRestore(t *testing.T, data, backup string, more ...string) (string, int) {
	t.Helper()
	args := append([]string{"restore", backup, "--config", settings(t, data)}, more...)
	return server.Run(t, time.Minute, t.TempDir(), nil, "", server.Binary(t), args...)
}

// settings writes a settings file for a data folder.
func settings(t *testing.T, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postern.toml")
	if err := os.WriteFile(path, []byte(fmt.Sprintf("data = %q\nname = \"localhost\"\n", data)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// size gives the bytes of the files of a folder.
func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// writer does what clients do until stop is closed, and tells how long the longest answer
// took.
type writer struct {
	mu      sync.Mutex
	slowest time.Duration
}

// longest gives how long the longest answer took since it was asked last.
func (w *writer) longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.slowest
	w.slowest = 0
	return n
}

func (w *writer) run(t *testing.T, s *server.Server, who server.Account, stop chan struct{}) {
	c := s.Login(t, who)
	defer c.Conn.Close()
	c.MustIMAP("SELECT INBOX")
	r := rand.New(rand.NewPCG(1, uint64(len(who.Name))))
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		began := time.Now()
		switch k := r.IntN(10); {
		case k < 6:
			c.Append("INBOX", `(\Flagged)`, letter(who.Name, n, 1000+r.IntN(60000)))
		case k < 8:
			c.IMAP(`STORE 1:* +FLAGS (Work%d)`, r.IntN(5))
		case k == 8:
			c.IMAP(`UID STORE %d +FLAGS (\Deleted)`, 1+r.IntN(n+1))
			c.IMAP("EXPUNGE")
		default:
			c.IMAP("COPY 1 Archive")
		}
		w.mu.Lock()
		w.slowest = max(w.slowest, time.Since(began))
		w.mu.Unlock()
	}
}

// TestBackup backs a server up again and again while its clients write, and then at rest:
// what is restored at rest is what was there, message by message; what was backed up
// meanwhile is whole; and no UID can mean another message to who knew it.
func TestBackup(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	rounds := 2
	if n, err := strconv.Atoi(os.Getenv("POSTERN_BACKUPS")); err == nil && n > 0 {
		rounds = n
	}
	s := server.Serve(t, server.Options{Accounts: people})
	s.SetLoginType("PlainTextLogin")
	backup := filepath.Join(s.Folder, "backup")
	for _, p := range people {
		c := s.Login(t, p)
		c.MustIMAP(`CREATE "Some folder"`)
		for i := range 10 {
			c.Append(`"Some folder"`, `(\Seen $Label1)`, letter(p.Name, i, 2000+i*9000))
		}
		c.Conn.Close()
	}
	s.MustShell("Backup-Store", backup)
	whole := size(t, backup)

	w := &writer{}
	stop := make(chan struct{})
	var work sync.WaitGroup
	for _, p := range people[:2] {
		work.Go(func() { w.run(t, s, p, stop) })
	}
	time.Sleep(time.Second)
	alone := w.longest()
	for range rounds {
		time.Sleep(300 * time.Millisecond)
		s.MustShell("Backup-Store", "-Path", backup)
	}
	meanwhile := w.longest()
	close(stop)
	work.Wait()
	if t.Failed() {
		return
	}
	t.Logf("the slowest command took %v, and %v while backups were made", alone.Round(time.Millisecond), meanwhile.Round(time.Millisecond))
	s.MustShell("Backup-Store", backup)
	// What was written is still put in order for a while: that is new, too.
	again, tries := int64(0), 0
	for again = 1 << 62; again > 300_000 && tries < 5; tries++ {
		time.Sleep(time.Duration(tries) * time.Second)
		before := size(t, backup)
		s.MustShell("Backup-Store", backup)
		again = size(t, backup) - before
	}
	if again > 300_000 {
		t.Errorf("a backup of nothing new took %d bytes; the first took %d", again, whole)
	} else {
		t.Logf("prove: bytes that a backup of nothing new takes: %d", again)
	}
	if out := s.MustShell("Test-Backup", backup); !strings.Contains(out, "Pass") {
		t.Errorf("%s", out)
	}
	want := map[string]map[string][]message{}
	messages := 0
	for _, p := range people {
		want[p.Name] = contents(t, s, p)
		for _, list := range want[p.Name] {
			messages += len(list)
		}
	}
	was := uidValidity(t, s, people[0])
	points := regexp.MustCompile(`20\S+Z`).FindAllString(s.MustShell("Get-Backup", backup, "|", "Select-Object", "Time"), -1)
	if len(points) != rounds+2+tries {
		t.Fatalf("%d points: %v", len(points), points)
	}
	s.Stop()

	data := restore(t, backup)
	r := server.Serve(t, server.Options{Data: data, Accounts: people, Sandbox: fmt.Sprintf("write = [%q]", backup)})
	for _, p := range people {
		if got := contents(t, r, p); !maps.EqualFunc(got, want[p.Name], slices.Equal) {
			t.Errorf("%s has other mail after the restore:\n%v\nwas\n%v", p.Name, got, want[p.Name])
		}
	}
	if now := uidValidity(t, r, people[0]); now == was {
		t.Error("the UIDVALIDITY is the same: a UID of after the backup may come again")
	}
	if out := r.MustShell("Test-Store"); strings.Contains(out, "Fail") {
		t.Errorf("%s", out)
	}
	if out := r.MustShell("Get-AuditLog"); !strings.Contains(out, "Restore-Store") || !strings.Contains(out, "Backup-Store") {
		t.Errorf("the audit log does not tell of it:\n%s", out)
	}
	if out := r.MustShell("Test-AuditLog"); strings.Contains(out, "Fail") {
		t.Errorf("%s", out)
	}
	// A store that was put back goes on with its backup.
	r.MustShell("Backup-Store", backup)
	r.Stop()
	t.Logf("prove: messages compared after a restore: %d", messages)

	// Each point of when clients wrote.
	for _, at := range points[:rounds+1] {
		verify(t, restore(t, backup, "--point-in-time", at), at)
	}
	t.Logf("prove: points restored that were made while clients wrote: %d", rounds+1)
}

// verify reads everything of a store that was put back.
func verify(t *testing.T, data, at string) {
	t.Helper()
	e, err := embedded.Open(filepath.Join(data, "store"), embedded.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(e, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ids, err := s.Accounts(t.Context())
	if err != nil || len(ids) != len(people) {
		t.Fatalf("the point %s has %d accounts, %v", at, len(ids), err)
	}
	for _, id := range ids {
		if _, err := s.Verify(t.Context(), id, func(d store.Damage) error {
			t.Errorf("the point %s: %+v", at, d)
			return nil
		}, nil); err != nil {
			t.Error(err)
		}
	}
}

// TestMailbox restores one mailbox of a backup into the running server.
func TestMailbox(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	s := server.Serve(t, server.Options{Accounts: people[:2]})
	s.SetLoginType("PlainTextLogin")
	backup := filepath.Join(s.Folder, "backup")
	c := s.Login(t, people[0])
	for i := range 20 {
		c.Append("INBOX", fmt.Sprintf(`(\Seen Work%d) "03-Feb-2020 04:05:%02d +0200"`, i%3, i), letter("a", i, 500+i*3000))
	}
	was := contents(t, s, people[0])
	office := server.Account{Name: "office@backup.example", Password: "pass-o-1234"}
	s.MustShell("Set-Mailbox", people[0].Name, "-EmailAddresses", office.Name)
	s.MustShell("Backup-Store", backup)
	c.MustIMAP("SELECT INBOX")
	c.MustIMAP(`STORE 3:7 +FLAGS (\Deleted)`)
	c.MustIMAP("EXPUNGE")
	c.Append("INBOX", `(\Draft)`, letter("a", 99, 100))
	left := contents(t, s, people[0])["INBOX"]

	s.MustShell("Restore-Store", backup, "-Mailbox", people[0].Name, "-Missing")
	s.MustShell("Restore-Store", backup, "-Mailbox", people[0].Name)
	now := contents(t, s, people[0])
	if !slices.Equal(now["INBOX"], left) {
		t.Error("what was in the INBOX is another now")
	}
	var missing, all []message
	for name, list := range now {
		if strings.HasPrefix(name, `"Restored `) && strings.HasSuffix(name, `/INBOX"`) {
			for i := range list {
				list[i].uid = ""
			}
			if strings.Contains(name, "(2)") {
				all = list
			} else {
				missing = list
			}
		}
	}
	want := slices.Clone(was["INBOX"])
	for i := range want {
		want[i].uid = ""
	}
	if !slices.Equal(all, want) {
		t.Errorf("all: %v\nwant %v", all, want)
	}
	if !slices.Equal(missing, want[2:7]) {
		t.Errorf("missing: %v\nwant %v", missing, want[2:7])
	}
	// Again, it has what it was missing.
	if out := s.MustShell("Restore-Store", backup, "-Mailbox", people[0].Name, "-Missing"); !strings.Contains(out, "still has every message") {
		t.Errorf("%s", out)
	}
	// An address that goes to somebody else does not take the mail along.
	s.MustShell("Set-Mailbox", people[0].Name, "-EmailAddresses", "$null")
	s.MustShell("New-Mailbox", office.Name, "-Password", office.Password)
	if out, code := s.Shell("Restore-Store", backup, "-Mailbox", office.Name); code == 0 || !strings.Contains(out, people[0].Name) || !strings.Contains(out, "-TargetMailbox "+office.Name) {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if got := contents(t, s, office); len(got["INBOX"]) > 0 || strings.Contains(fmt.Sprint(got), "Restored") {
		t.Errorf("another mailbox has %v", got)
	}
	// Who is not there any more, into another.
	s.MustShell("Remove-Mailbox", people[0].Name, "-Confirm:$false")
	if out, code := s.Shell("Restore-Store", backup, "-Mailbox", people[0].Name); code == 0 || !strings.Contains(out, "TargetMailbox") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	s.MustShell("Restore-Store", backup, "-Mailbox", people[0].Name, "-TargetMailbox", people[1].Name)
	// Made again it is another one, whose messages say nothing of the old one's.
	s.MustShell("New-Mailbox", people[0].Name, "-Password", people[0].Password)
	if out, code := s.Shell("Restore-Store", backup, "-Mailbox", people[0].Name, "-Missing"); code == 0 || !strings.Contains(out, "Without -Missing") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	n := 0
	for name, list := range contents(t, s, people[1]) {
		if strings.HasSuffix(name, `/INBOX"`) {
			n = len(list)
		}
	}
	if n != 20 {
		t.Errorf("%d messages came to another mailbox", n)
	}
	if out := s.MustShell("Test-Store"); strings.Contains(out, "Fail") {
		t.Errorf("%s", out)
	}
	if out, code := s.Shell("Restore-Store", backup); code == 0 || !strings.Contains(out, "postern restore") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// TestKilled kills the server in the midst of a backup, and postern restore in the midst of
// its work.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	cycles := 2
	if n, err := strconv.Atoi(os.Getenv("POSTERN_BACKUP_KILLS")); err == nil && n > 0 {
		cycles = n
	}
	s := server.Serve(t, server.Options{Accounts: people[:1]})
	s.SetLoginType("PlainTextLogin")
	backup := filepath.Join(s.Folder, "backup")
	c := s.Login(t, people[0])
	c.Append("INBOX", `(\Seen)`, letter("a", 0, 1000))
	s.MustShell("Backup-Store", backup)
	fill := func(from int) {
		c := s.Login(t, people[0])
		defer c.Conn.Close()
		for i := range 40 {
			c.Append("INBOX", `(\Seen)`, letter("a", from+i, 200_000))
		}
	}
	kept := 1
	for cycle := range cycles {
		fill(1 + 40*cycle)
		// While the new files are copied.
		shell := server.Begin(t, s.Folder, nil, server.Binary(t), "--socket", s.Socket, "Backup-Store", backup)
		deadline := time.Now().Add(20 * time.Second)
		for time.Now().Before(deadline) && shell.Running() {
			if half, _ := filepath.Glob(filepath.Join(backup, "objects", "new-*")); len(half) > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		s.Kill()
		shell.Within(t, 60*time.Second, "the shell of a server that was killed", func() bool { return !shell.Running() })
		s.Restart()
		out := s.MustShell("Get-Backup", backup, "|", "Select-Object", "Time")
		if n := len(regexp.MustCompile(`20\S+Z`).FindAllString(out, -1)); n < kept || n > kept+1 {
			t.Errorf("%d points, there were %d\n%s", n, kept, out)
		} else {
			kept = n
		}
		if out := s.MustShell("Test-Backup", backup); !strings.Contains(out, "Pass") {
			t.Errorf("%s", out)
		}
		if left, _ := filepath.Glob(filepath.Join(s.Data, "store", "checkpoint")); len(left) > 0 {
			t.Error("links of a backup are left")
		}
	}
	s.MustShell("Backup-Store", backup)
	want := contents(t, s, people[0])
	s.Stop()
	t.Logf("prove: kills in the midst of a backup: %d", cycles)

	for range cycles {
		data := filepath.Join(t.TempDir(), "data")
		config := settings(t, data)
		p := server.Begin(t, t.TempDir(), nil, server.Binary(t), "restore", backup, "--config", config)
		// When some is there.
		for p.Running() && size0(data) < 1<<20 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		p.Kill()
		if _, err := os.Stat(filepath.Join(data, "restore.incomplete")); err == nil {
			out, code := server.Run(t, time.Minute, t.TempDir(), nil, "", server.Binary(t), "serve", "--config", config)
			if code == 0 || !strings.Contains(out, "postern restore") {
				t.Errorf("a server on what is not whole: exit code %d\n%s", code, out)
			}
			if out, code := runRestore(t, data, backup); code != 0 {
				t.Fatalf("again: exit code %d\n%s", code, out)
			}
		}
		if out, code := runRestore(t, data, backup); code == 0 || !strings.Contains(out, "not empty") {
			t.Errorf("into a folder that is not empty: exit code %d\n%s", code, out)
		}
		r := server.Serve(t, server.Options{Data: data, Accounts: people[:1]})
		if got := contents(t, r, people[0]); !maps.EqualFunc(got, want, slices.Equal) {
			t.Error("other mail after the restore")
		}
		r.Stop()
	}
	t.Logf("prove: kills in the midst of a restore: %d", cycles)
}

// size0 is size of what may not be there yet, or goes meanwhile.
func size0(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			if info, err := e.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// TestFull backs up onto a disk that is too small: the error says so, the server goes on,
// and what was backed up before is whole.
func TestFull(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	disk := server.SmallDisk(t, 8)
	s := server.Serve(t, server.Options{Accounts: people[:1], Sandbox: fmt.Sprintf("write = [%q]", disk)})
	s.SetLoginType("PlainTextLogin")
	s.MustShell("Backup-Store", disk)
	c := s.Login(t, people[0])
	for i := range 30 {
		c.Append("INBOX", "", letter("a", i, 400_000))
	}
	before := size(t, disk)
	out, code := s.Shell("Backup-Store", disk)
	if code == 0 || !strings.Contains(out, "disk is full") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if after := size(t, disk); after != before {
		t.Errorf("the full disk has %d bytes of backups, and had %d", after, before)
	}
	c.Append("INBOX", "", letter("a", 99, 1000))
	if out := s.MustShell("Test-Backup", disk); !strings.Contains(out, "Pass") {
		t.Errorf("%s", out)
	}
	// And restoring where there is no room.
	backup := filepath.Join(s.Folder, "backup")
	s.MustShell("Backup-Store", backup)
	if out, code := runRestore(t, filepath.Join(disk, "data"), backup); code == 0 || !strings.Contains(out, "bytes free") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
