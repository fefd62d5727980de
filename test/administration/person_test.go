package administration

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/browser"
	"github.com/postern-mail/postern/test/server"
)

// TestPerson is somebody who has never seen Postern: changes LoginType in the
// console, sees the effect in a mail client, finds the change in the audit and
// undoes it in the shell, at a terminal.
func TestPerson(t *testing.T) {
	s := server.Demo(t)
	if readable(t, s) {
		t.Fatal("curl signs in without TLS before anything was changed")
	}

	p := browser.Open(t)
	p.Go(s.ConsoleLink)
	p.Follow("[data-test=redeem]")
	p.Follow("[data-test=nav-imap4]")
	p.Follow(`a[href="/imap4/authentication"]`)
	p.WaitText("main", "What SecureLogin allows")
	p.Click("[data-test=LoginType-PlainTextLogin]")
	p.WaitText("main", "What PlainTextLogin allows")
	p.WaitText("main", "Set-ImapSettings -LoginType PlainTextLogin")
	p.Follow("[data-test^=submit-]")
	if text := p.Text("main"); !strings.Contains(text, "SecureLogin") || !strings.Contains(text, "unencrypted") {
		t.Errorf("the review does not say what changes and what to worry about:\n%s", text)
	}
	if readable(t, s) {
		t.Error("the review has changed something")
	}
	p.Follow("[data-test=apply]")
	p.WaitText("[data-test=done]", "Set-ImapSettings -LoginType PlainTextLogin")
	if !readable(t, s) {
		t.Error("curl does not sign in without TLS after the change")
	}

	p.Follow("[data-test=nav-audit]")
	for _, part := range []string{"Set-ImapSettings", "unix:", "LoginType", "SecureLogin", "PlainTextLogin"} {
		p.WaitText("main table tbody", part)
	}

	at := openTerminal(t, server.Binary(t), "--socket", s.Socket, "shell")
	at.waitFor("postern>")
	at.typed("Get-AuditLog -ResultSize 1 | Format-List")
	at.waitFor("PlainTextLogin")
	at.typed("Set-ImapSettings -LoginType SecureLogin")
	at.waitFor("PlainTextLogin → SecureLogin")
	at.typed("exit")
	if readable(t, s) {
		t.Error("curl signs in without TLS after the change was undone")
	}
	p.Follow("[data-test=nav-imap4]")
	p.Follow(`a[href="/imap4/authentication"]`)
	if !p.Has("[data-test=LoginType-SecureLogin]:checked") {
		t.Error("the console does not show what the shell has set")
	}
	if faults := p.Faults(); len(faults) > 0 {
		t.Errorf("the browser complains: %v", faults)
	}
}

// readable tells whether curl reads a message over IMAP without TLS.
func readable(t *testing.T, s *server.Server) bool {
	t.Helper()
	a := s.Accounts[0]
	out, code := server.Run(t, time.Minute, s.Folder, nil, "", "curl", "-sS", "--user", a.Name+":"+a.Password,
		fmt.Sprintf("imap://%s/INBOX;MAILINDEX=1", s.IMAP))
	return code == 0 && strings.Contains(out, "Subject:")
}

// terminal is a program in a terminal of 100 columns, in tmux.
type terminal struct {
	t      *testing.T
	socket string
}

// openTerminal starts a program in a terminal of its own. It ends with the test.
func openTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	x := &terminal{t, fmt.Sprintf("postern-test-%d", time.Now().UnixNano())}
	x.tmux(append([]string{"-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "50"}, args...)...)
	t.Cleanup(func() { exec.Command("tmux", "-L", x.socket, "kill-server").Run() }) // this terminal's own
	return x
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	out, code := server.Run(x.t, 60*time.Second, x.t.TempDir(), nil, "", "tmux", append([]string{"-L", x.socket}, args...)...)
	if code != 0 {
		x.t.Fatalf("tmux %v: %s", args, out)
	}
	return out
}

// typed types a line and presses Enter.
func (x *terminal) typed(line string) {
	x.t.Helper()
	x.tmux("send-keys", "-l", line)
	x.tmux("send-keys", "Enter")
}

// waitFor waits until a text stands on the screen.
func (x *terminal) waitFor(text string) {
	x.t.Helper()
	screen := ""
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if screen = x.tmux("capture-pane", "-p"); strings.Contains(screen, text) {
			return
		}
	}
	x.t.Fatalf("the terminal does not show %q:\n%s", text, screen)
}
