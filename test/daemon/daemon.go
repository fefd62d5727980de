// Package daemon runs a server of others for a test.
package daemon

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Process is a server that runs. It is killed when the test's process ends.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// Run starts cmd, writes what it says into the file log, and waits until address (TCP)
// accepts. A server that does not within 20 s ends the test with its log.
func Run(t testing.TB, cmd *exec.Cmd, address, log string) *Process {
	t.Helper()
	name := filepath.Base(cmd.Path)
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	p := &Process{cmd, make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
			return p
		}
		select {
		case <-p.done:
		default:
			if time.Now().Before(end) {
				continue
			}
		}
		text, _ := os.ReadFile(log)
		t.Fatalf("%s does not serve: %v\n%s", name, err, text)
	}
}

// Stop ends it by a signal, after 10 s by force, and waits. A nil Process has ended.
func (p *Process) Stop(signal syscall.Signal) {
	if p == nil {
		return
	}
	p.cmd.Process.Signal(signal)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// Home is a folder for a server that runs as a user of its own.
type Home struct {
	Folder   string // which everybody may enter
	Owner    *user.User
	UID, GID int // of Owner
}

// NewHome makes one in /tmp, which ends with the test. The server runs as mail, or where the
// test is not root's as who runs the test.
func NewHome(t testing.TB, name string) Home {
	t.Helper()
	dir, err := os.MkdirTemp("", "postern-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	owner, err := user.Current()
	if os.Getuid() == 0 {
		owner, err = user.Lookup("mail")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	return Home{dir, owner, uid, gid}
}
