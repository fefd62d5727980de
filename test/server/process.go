package server

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// How long a server may take, on a slow and busy machine, before a test gives up.
const (
	startTime = 90 * time.Second
	stopTime  = 45 * time.Second
)

// Process is a program in a process group of its own whose output is kept.
type Process struct {
	cmd    *exec.Cmd
	output log
	exited chan struct{}
	err    error // of Wait; read it after exited is closed
}

// Begin starts a program in dir with env added to the environment. It is killed,
// with all that it started, when the test ends.
func Begin(t testing.TB, dir string, env []string, name string, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = clean(env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = attributes()
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// PID is the process's number, and its group's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output gives what the program wrote to both its outputs until now.
func (p *Process) Output() string { return p.output.String() }

// Interrupt presses Ctrl-C, waits for the end and gives the exit code. It is an
// error when the program does not end in time (it is killed then) and when a
// process of its group is left.
func (p *Process) Interrupt() (code int, err error) {
	// A terminal sends Ctrl-C to the whole group.
	if err := syscall.Kill(-p.PID(), syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return -1, fmt.Errorf("SIGINT: %w", err)
	}
	select {
	case <-p.exited:
	case <-time.After(stopTime):
		// The goroutines tell why.
		syscall.Kill(-p.PID(), syscall.SIGQUIT)
		select {
		case <-p.exited:
		case <-time.After(5 * time.Second):
		}
		p.kill()
		return -1, fmt.Errorf("it did not end within %v after SIGINT; its output:\n%s", stopTime, p.Output())
	}
	if err := syscall.Kill(-p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		p.kill()
		return -1, fmt.Errorf("a process of its group is left after it ended; its output:\n%s", p.Output())
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// Running tells whether the program has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Kill ends the program, with all that it started, at once.
func (p *Process) Kill() { p.kill() }

// kill ends the group at once.
func (p *Process) kill() {
	select {
	case <-p.exited:
		return
	default:
	}
	syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.exited
}

// Within waits until done is true and fails the test, with the program's output,
// when it does not become so in time or the program ends before.
func (p *Process) Within(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !done() {
		select {
		case <-p.exited:
			if done() {
				return
			}
			t.Fatalf("%s: the process ended before (%v); its output:\n%s", what, p.err, p.Output())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v; the process's output:\n%s", what, limit, p.Output())
		}
	}
}

// Run runs a program to its end, for at most limit, and gives its output and exit
// code. It fails the test when the program cannot run or does not end.
func Run(t testing.TB, limit time.Duration, dir string, env []string, stdin, name string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = clean(env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out log
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	timer := time.AfterFunc(limit, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err := cmd.Wait()
	if !timer.Stop() {
		t.Fatalf("%s %s: not done within %v; its output:\n%s", name, strings.Join(args, " "), limit, out.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v\n%s", name, err, out.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// log keeps what is written to it; several goroutines may use it.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Eventually waits until done is true and fails the test when it does not become
// so within limit.
func Eventually(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// folder makes a temporary folder with a short path: sockets have room for 107
// bytes only.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pt-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
