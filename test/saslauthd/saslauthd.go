// Package saslauthd starts Debian's saslauthd with PAM for tests: in a folder of its
// own, with rules and people of its own (libpam-wrapper), ended with the test. Nothing
// of the machine's PAM is touched.
package saslauthd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Service is the PAM service that a server knows.
const Service = "postern"

// Server is a running saslauthd.
type Server struct {
	Socket string

	t       testing.TB
	folder  string
	wrapper string
	process *exec.Cmd
	done    chan struct{}
}

// Start starts a daemon whose PAM knows people: passwords by name. Where it is missing
// the test is skipped, in CI it fails.
func Start(t testing.TB, people map[string]string) *Server {
	t.Helper()
	_, err := exec.LookPath("saslauthd")
	wrapper, _ := filepath.Glob("/usr/lib/*/libpam_wrapper.so")
	module, _ := filepath.Glob("/usr/lib/*/pam_wrapper/pam_matrix.so")
	if err != nil || len(wrapper) == 0 || len(module) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("sasl2-bin or libpam-wrapper is missing: ./scripts/test-packages")
		}
		t.Skip("sasl2-bin or libpam-wrapper is missing: ./scripts/test-packages")
	}
	// Not t.TempDir: a socket's path is short.
	folder, err := os.MkdirTemp("", "postern-sasl-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	s := &Server{t: t, folder: folder, wrapper: wrapper[0], Socket: filepath.Join(folder, "mux")}
	if err := os.Mkdir(filepath.Join(folder, "pam"), 0o700); err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(folder, "users")
	s.write("pam/"+Service, fmt.Sprintf("auth required %[1]s passdb=%[2]s\naccount required %[1]s passdb=%[2]s\n", module[0], users))
	s.Set(people)
	s.Run()
	t.Cleanup(s.Stop)
	return s
}

func (s *Server) write(name, text string) {
	if err := os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Set replaces the people.
func (s *Server) Set(people map[string]string) {
	var b strings.Builder
	for name, password := range people {
		fmt.Fprintf(&b, "%s:%s:%s\n", name, password, Service)
	}
	s.write("users", b.String())
}

// Run starts the daemon after Stop.
func (s *Server) Run() {
	s.t.Helper()
	s.process = exec.Command("saslauthd", "-d", "-a", "pam", "-m", s.folder, "-n", "3")
	s.process.Dir = s.folder
	s.process.Env = append(os.Environ(), "LD_PRELOAD="+s.wrapper, "PAM_WRAPPER=1", "PAM_WRAPPER_SERVICE_DIR="+filepath.Join(s.folder, "pam"))
	// The daemon's children end with its group.
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func() { s.process.Wait(); close(s.done) }()
	for until := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("unix", s.Socket)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(until) {
			s.t.Fatalf("saslauthd does not start: %v", err)
		}
	}
}

// Stop ends the daemon.
func (s *Server) Stop() {
	select {
	case <-s.done:
		return
	default:
	}
	// All at once: asked to end, one of its children may stay.
	syscall.Kill(-s.process.Process.Pid, syscall.SIGKILL)
	<-s.done
	os.Remove(s.Socket)
}
