package hostile

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// refuse runs `postern serve` where it cannot start and gives what it says. It
// must end by itself, with 1.
func refuse(t *testing.T, args ...string) string {
	t.Helper()
	out, code := server.Run(t, patience, "", nil, "", server.Binary(t), append([]string{"serve"}, args...)...)
	if code != 1 {
		t.Errorf("postern serve %s: exit code %d, want 1:\n%s", strings.Join(args, " "), code, out)
	}
	if strings.Contains(out, "goroutine ") {
		t.Errorf("postern serve %s shows its inside", strings.Join(args, " "))
	}
	return out
}

func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ph-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestSettingsFile starts with settings files that are wrong: the message names
// the file and the place, and nothing is made.
func TestSettingsFile(t *testing.T) {
	long(t)
	for name, try := range map[string]struct{ text, want string }{
		"no TOML":           {"name = \"x\"\nthis is no TOML\n", "postern.toml:2"},
		"cut off":           {"name = \"x\"\nlmtp = [\"127.0.0.1:24\"", "postern.toml:2"},
		"an unknown key":    {"name = \"x\"\n\nnmae = \"y\"\n", "nmae"},
		"a wrong type":      {"max_message_size = \"much\"\n", "postern.toml:1"},
		"an unknown engine": {"engine = \"punched cards\"\n", "punched cards"},
		"an unknown role":   {"roles = [\"Gatekeeper\"]\n", "Gatekeeper"},
		"a wrong binding":   {"lmtp = [\"here\"]\n", "here"},
		"a wrong size":      {"max_message_size = -1\n", "max_message_size"},
		"NULs":              {"name = \"x\"\n\x00\x00\x00\n", "postern.toml"},
		"much of nothing":   {strings.Repeat("[", 100_000), "postern.toml:1"},
		"not UTF-8":         {"name = \"\xff\xfe\"\n", "postern.toml"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			path := filepath.Join(dir, "postern.toml")
			if err := os.WriteFile(path, []byte(try.text), 0o600); err != nil {
				t.Fatal(err)
			}
			data := filepath.Join(dir, "data")
			if out := refuse(t, "--config", path, "--data", data); !strings.Contains(out, try.want) || len(out) > 2000 {
				t.Errorf("it says\n%s\nwithout %q", out, try.want)
			}
			if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
				t.Error("a data folder was made")
			}
		})
	}
	dir := folder(t)
	if out := refuse(t, "--config", filepath.Join(dir, "none.toml")); !strings.Contains(out, "none.toml") {
		t.Errorf("a file that is not there: %s", out)
	}
}

// TestOneProcess: a data folder opens in one process only; who comes second is
// told, and the first goes on.
func TestOneProcess(t *testing.T) {
	s := serve(t)
	dir := folder(t)
	path := filepath.Join(dir, "postern.toml")
	text := fmt.Sprintf("data = %q\nname = \"localhost\"\nsocket = %q\nlmtp = [%q]\n", s.Data, filepath.Join(dir, "postern.sock"), filepath.Join(dir, "lmtp.sock"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := refuse(t, "--config", path); !strings.Contains(out, s.Data) && !strings.Contains(out, "another") {
		t.Errorf("the second says\n%s", out)
	}
	healthy(t, s)
}

// TestReadOnlyDisk: a data folder that cannot be written is refused at the start,
// with the reason; when it can be written again everything is there.
func TestReadOnlyDisk(t *testing.T) {
	long(t)
	disk := server.SmallDisk(t, 128)
	data := filepath.Join(disk, "data")
	s := server.Serve(t, server.Options{Data: data, Accounts: []server.Account{alice}})
	s.MustDeliver(t, "Subject: kept\r\n\r\nkept\r\n", alice.Name)
	s.Stop()
	remount := func(how string) {
		t.Helper()
		if out, err := exec.Command("mount", "-o", "remount,"+how, disk).CombinedOutput(); err != nil {
			t.Fatalf("mount -o remount,%s: %v\n%s", how, err, out)
		}
	}
	remount("ro")
	for _, folder := range []string{data, filepath.Join(disk, "new")} {
		out := refuse(t, "--config", filepath.Join(s.Folder, "postern.toml"), "--data", folder)
		if !strings.Contains(out, "read-only") {
			t.Errorf("it says\n%s\nwithout the reason", out)
		}
	}
	remount("rw")
	s.Restart()
	healthy(t, s)
}
