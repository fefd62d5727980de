package clients

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// TestGoRunDemo does what README tells a newcomer: `go run . demo`, then the lines
// that it prints, as they are, in another terminal; then Ctrl-C.
func TestGoRunDemo(t *testing.T) {
	long(t)
	server.Program(t, "curl", "curl") // the printed line needs it
	dir, err := os.MkdirTemp("", "pd-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	unlock := server.LockDemo(t)
	defer unlock()
	file := filepath.Join(dir, "ready.json")
	p := server.Begin(t, server.Root(), []string{"TMPDIR=" + dir}, "go", "run", ".", "demo", "--ready-file", file)
	// What is printed last.
	p.Within(t, 3*time.Minute, "waiting for the demonstration", func() bool { return strings.Contains(p.Output(), " shell\n") })
	unlock()

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	var ready server.Ready
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &ready); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"pop3", "pop3s", "imap", "imaps", "lmtp"} {
		addr, _ := keys[key].(string)
		c, err := net.DialTimeout("tcp", addr, 20*time.Second)
		if err != nil {
			t.Errorf("the ready file's %q: %v", key, err)
			continue
		}
		c.Close()
	}
	for _, key := range []string{"socket", "certificate", "lmtp_socket"} {
		path, _ := keys[key].(string)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("the ready file's %q: %v", key, err)
		}
	}
	if len(ready.Accounts) != 2 || ready.Accounts[0].Name == "" || ready.Accounts[0].Password == "" {
		t.Errorf("the ready file's accounts: %v", ready.Accounts)
	}

	lines := commandLines(p.Output())
	sh := func(line string) string {
		t.Helper()
		out, code := server.Run(t, 3*time.Minute, server.Root(), []string{"TMPDIR=" + dir}, "", "/bin/sh", "-c", line)
		if code != 0 {
			t.Fatalf("%s\nexit code %d:\n%s", line, code, out)
		}
		return out
	}
	find := func(part string) string {
		t.Helper()
		for _, line := range lines {
			if strings.Contains(line, part) {
				return line
			}
		}
		t.Fatalf("the demonstration prints no line with %q:\n%s", part, p.Output())
		return ""
	}
	read := find("curl ")
	if out := sh(read); !strings.Contains(out, "Subject: ") || !strings.Contains(out, "\r\n\r\n") {
		t.Errorf("%s\nprints no message:\n%s", read, out)
	}
	set, show := find("Set-ImapSettings -LoginType"), find("Get-ImapSettings")
	if out := sh(show); !strings.Contains(out, "SecureLogin") {
		t.Errorf("%s\nprints\n%s", show, out)
	}
	sh(set)
	if out := sh(show); !strings.Contains(out, "PlainTextLogin") {
		t.Errorf("after the change %s\nprints\n%s", show, out)
	}
	// The interactive shell, with its commands on standard input.
	shell := find(" shell")
	if out := sh("echo 'Get-ImapSettings | Format-List LoginType' | " + shell); !strings.Contains(out, "PlainTextLogin") {
		t.Errorf("%s\nprints\n%s", shell, out)
	}
	// The new policy acts: the same line without TLS.
	clear := strings.Replace(read, " --ssl-reqd", "", 1)
	if out := sh(clear); clear == read || !strings.Contains(out, "Subject: ") {
		t.Errorf("%s\nprints no message:\n%s", clear, out)
	}

	// The go command itself always ends with 1 after Ctrl-C; were the program's own
	// exit code another than 0, it would say so.
	if _, err := p.Interrupt(); err != nil {
		t.Fatalf("Ctrl-C: %v", err)
	}
	if out := p.Output(); strings.Contains(out, "exit status") || strings.Contains(out, "signal:") {
		t.Errorf("after Ctrl-C:\n%s", out)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "postern-demo-*")); len(left) > 0 {
		t.Errorf("left after Ctrl-C: %q", left)
	}
	if _, err := os.Stat(ready.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if c, err := net.Dial("tcp", ready.IMAP); err == nil {
		c.Close()
		t.Error("something still listens after Ctrl-C")
	}
}

// commandLines are the indented lines of an output.
func commandLines(text string) (lines []string) {
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "  ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
