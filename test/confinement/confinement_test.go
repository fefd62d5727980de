//go:build linux

package confinement

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

const (
	nobody   = "nobody" // a user that every Debian has
	password = "a long and correct password"
)

var alice = server.Account{Name: "alice@example.org", Password: password}

// field gives a line of a thread's status.
func field(text, key string) string {
	_, rest, _ := strings.Cut("\n"+text, "\n"+key+":")
	value, _, _ := strings.Cut(rest, "\n")
	return strings.Join(strings.Fields(value), " ")
}

// threads gives the status of each thread of a server.
func threads(t *testing.T, s *server.Server) (list []string) {
	t.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil {
			list = append(list, string(text))
		}
	}
	if len(list) < 2 {
		t.Fatalf("%d threads", len(list))
	}
	return list
}

// lowPort gives an address below 1024 where nothing listens.
func lowPort(t *testing.T, not ...string) string {
	t.Helper()
	for port := 1023; port > 800; port-- {
		addr := "127.0.0.1:" + strconv.Itoa(port)
		if l, err := net.Listen("tcp4", addr); err == nil {
			l.Close()
			if len(not) == 0 || addr != not[0] {
				return addr
			}
		}
	}
	t.Fatal("no port below 1024 is free")
	return ""
}

// use delivers a message and reads it over IMAP4 and POP3.
func use(t *testing.T, s *server.Server, marker string) {
	t.Helper()
	c := server.Dial(t, s.LMTP)
	c.Want("220")
	for _, line := range []string{"LHLO test", "MAIL FROM:<>", "RCPT TO:<" + alice.Name + ">"} {
		c.Send(line)
		c.Until("250 ")
	}
	c.Send("DATA")
	c.Want("354")
	c.Send("Subject: "+marker, "", strings.Repeat("some text to read ", 3000), ".")
	c.Want("250")
	im := server.DialTLS(t, s.IMAPS, s.TLS())
	im.Want("* OK")
	if _, answer := im.IMAP("LOGIN %s %q", alice.Name, password); !strings.HasPrefix(answer, "OK") {
		t.Fatal(answer)
	}
	if _, answer := im.IMAP("SELECT INBOX"); !strings.HasPrefix(answer, "OK") {
		t.Fatal(answer)
	}
	if list, answer := im.IMAP("FETCH * (BODY[])"); !strings.HasPrefix(answer, "OK") || !strings.Contains(strings.Join(list, "\n"), marker) {
		t.Fatal(answer)
	}
	pop := server.DialTLS(t, s.POP3S, s.TLS())
	pop.Want("+OK")
	pop.Send("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+alice.Name+"\x00"+password)))
	pop.Want("+OK")
	pop.Send("STAT")
	pop.Want("+OK")
	pop.Send("QUIT")
	pop.Want("+OK")
	im.IMAP("LOGOUT")
}

// outside makes a folder of the user's own where the server has no business.
func outside(t *testing.T, uid, gid int) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "postern-outside-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestUser: root starts the server, and it is another's in each of its threads, with the
// right to open low ports and none else; it serves, changes its settings and starts again.
func TestUser(t *testing.T) {
	u, err := user.Lookup(nobody)
	if err != nil || os.Getuid() != 0 {
		server.NotTested(t, "only root starts a server as another user: %v", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	low := lowPort(t)
	s := server.Serve(t, server.Options{
		Accounts: []server.Account{alice}, User: nobody, Args: []string{"--sandbox", "required"},
		Cmdlets: []server.Cmdlet{{Name: "Set-PopSettings", Parameters: map[string]any{"UnencryptedOrTLSBindings": []string{low}}}},
	})
	if s.POP3 != low {
		t.Errorf("POP3 is at %s, not at %s", s.POP3, low)
	}
	list := threads(t, s)
	for _, text := range list {
		for key, want := range map[string]string{
			"NoNewPrivs": "1", "Seccomp": "2", "Uid": strings.Repeat(" "+u.Uid, 4)[1:], "Gid": strings.Repeat(" "+u.Gid, 4)[1:],
			"CapEff": "0000000000000400", "CapPrm": "0000000000000400", "CapBnd": "0000000000000400", "CapAmb": "0000000000000000",
		} {
			if got := field(text, key); got != want {
				t.Errorf("%s of a thread is %q, want %q", key, got, want)
			}
		}
	}
	if limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", s.PID())); err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 0") {
		t.Errorf("it may leave a core file: %v\n%s", err, limits)
	}
	use(t, s, "first")

	// While it runs: another low port, a certificate, the protocol log, and what is refused.
	other := lowPort(t, low)
	s.MustShell("Set-PopSettings", "-UnencryptedOrTLSBindings", other)
	c := server.Dial(t, other)
	c.Want("+OK")
	c.Conn.Close()
	s.MustShell("Set-PopSettings", "-UnencryptedOrTLSBindings", low)
	s.MustShell("New-ServerCertificate", "-DomainName", "other.example.org")
	s.MustShell("Set-ImapSettings", "-ProtocolLogEnabled", "$true")
	folder := outside(t, uid, gid)
	file := filepath.Join(folder, "ca.pem")
	if err := os.WriteFile(file, []byte("none"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, refused := range [][]string{
		{"Set-ImapSettings", "-LogFileLocation", folder},
		{"Set-ImapSettings", "-ClientCertificateAuthorities", file},
		{"Backup-Store", filepath.Join(folder, "backup")},
	} {
		if out, code := s.Shell(refused...); code == 0 || !strings.Contains(out, "lies outside") || !strings.Contains(out, "[sandbox]") {
			t.Errorf("%v: exit code %d\n%s", refused, code, out)
		}
	}
	if out := s.MustShell("Get-MailboxServer"); !strings.Contains(out, "unix:"+nobody) || !strings.Contains(out, "seccomp") {
		t.Error(out)
	}
	if out := s.MustShell("Test-ServerConfiguration", "-Check", "Confinement"); !strings.Contains(out, "Pass") {
		t.Error(out)
	}
	if out := s.Output(); !strings.Contains(out, "event=3012") || strings.Contains(out, "event=3013") {
		t.Errorf("what is in force is not told:\n%s", out)
	}
	if err := syscall.Kill(s.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	use(t, s, "second")
	s.Restart()
	use(t, s, "third")
	files := 0
	err = filepath.WalkDir(s.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil // gone meanwhile
		}
		files++
		if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != uid {
			t.Errorf("%s belongs to %d", path, owner)
		}
		if path == s.Data && info.Mode().Perm() != 0o700 {
			t.Errorf("others can enter the data folder: %v", info.Mode())
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Error(files, err)
	}
	t.Logf("prove: threads without root's rights: %d", len(list))
}

// TestFolderOfRoot: a server that would not be able to open its data says what to do.
func TestFolderOfRoot(t *testing.T) {
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice}})
	s.Stop()
	config := filepath.Join(s.Folder, "postern.toml")
	if os.Getuid() != 0 {
		server.NotTested(t, "only root starts a server as another user")
	}
	for _, refused := range []struct{ user, says string }{
		{nobody, "chown -R nobody: " + s.Data}, {"no-such-user", `no user "no-such-user"`},
	} {
		out, code := server.Run(t, time.Minute, s.Folder, nil, "", server.Binary(t), "serve", "--config", config, "--user", refused.user)
		if code == 0 || !strings.Contains(out, refused.says) {
			t.Errorf("%s: exit code %d\n%s", refused.user, code, out)
		}
	}
}

// TestSandbox: without a word about it the sandbox is on; off, and where it is wider, is told.
func TestSandbox(t *testing.T) {
	s := server.Serve(t, server.Options{Accounts: []server.Account{alice}})
	for _, text := range threads(t, s) {
		if field(text, "Seccomp") != "2" || field(text, "NoNewPrivs") != "1" {
			t.Errorf("not confined:\n%s", text)
		}
	}
	s.Stop()
	config := filepath.Join(s.Folder, "postern.toml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	folder := outside(t, os.Getuid(), os.Getgid())
	set := func(table string) {
		t.Helper()
		if err := os.WriteFile(config, append(append([]byte{}, text...), table...), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Restart()
	}
	set(fmt.Sprintf("[sandbox]\nwrite = [%q]\n", folder))
	s.MustShell("Set-ImapSettings", "-LogFileLocation", filepath.Join(folder, "imap"), "-ProtocolLogEnabled", "$true")
	use(t, s, "logged")
	set("") // its own settings name the folder
	use(t, s, "logged again")
	s.MustShell("Set-ImapSettings", "-LogFileLocation", "")
	set("[sandbox]\nmode = \"off\"\n")
	for _, text := range threads(t, s) {
		if field(text, "Seccomp") != "0" || field(text, "NoNewPrivs") != "0" {
			t.Errorf("confined:\n%s", text)
		}
	}
	if out := s.Output(); !strings.Contains(out, "event=3013") || !strings.Contains(out, "The sandbox is off.") {
		t.Errorf("that it is off is not told:\n%s", out)
	}
	if out := s.MustShell("Test-ServerConfiguration", "-Check", "Confinement"); !strings.Contains(out, "Warn") {
		t.Error(out)
	}
}

// exposure is the figure of systemd-analyze security that the unit stays below, in tenths.
const exposure = 20

// TestUnit: the unit for systemd leaves the process little, and names the system calls that the sandbox
// needs itself.
func TestUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd is not here")
	}
	unit := filepath.Join(server.Root(), "docs", "systemd", "postern.service")
	out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", "--threshold="+strconv.Itoa(exposure), unit).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	text := string(out)
	if i := strings.LastIndex(text, "Overall exposure"); i >= 0 {
		t.Logf("%s", strings.TrimSpace(text[i:]))
	}
	words, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"} {
		if !strings.Contains(string(words), call) {
			t.Errorf("the unit forbids %s", call)
		}
	}
}
