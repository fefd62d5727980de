// Package postgresql starts Debian's PostgreSQL server for tests: on loopback, in a
// folder of its own, as another user than root, ended with the test. Nobody else's
// server is touched.
package postgresql

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Who may do all in the database postgres.
const (
	User     = "owner"
	Password = "owner's secret"
)

// Server is a running PostgreSQL.
type Server struct {
	Addr string // host:port

	t       testing.TB
	bin     string
	folder  string
	as      *syscall.Credential // nil for who runs the test
	process *exec.Cmd
	done    chan struct{}
}

// Start starts a server. Where PostgreSQL is missing the test is skipped, in CI it
// fails.
func Start(t testing.TB) *Server {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("postgresql is missing: ./scripts/test-packages")
		}
		t.Skip("postgresql is missing: ./scripts/test-packages")
	}
	slices.Sort(found)
	s := &Server{t: t, bin: filepath.Dir(found[len(found)-1])}
	// Not t.TempDir: another user must get there.
	folder, err := os.MkdirTemp("", "postern-postgresql-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	s.folder = filepath.Join(folder, "data")
	if os.Getuid() == 0 {
		// PostgreSQL does not run as root.
		who, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(folder, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	password := filepath.Join(folder, "password")
	if err := os.WriteFile(password, []byte(Password+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	make := s.command(ctx, "initdb", "-D", s.folder, "-U", User, "--pwfile", password, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s.Addr = free(t)
	s.Run()
	t.Cleanup(s.Stop)
	return s
}

func (s *Server) command(ctx context.Context, name string, arguments ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(s.bin, name), arguments...)
	c.Dir = filepath.Dir(s.folder)
	c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return c
}

// Run starts the server after Stop.
func (s *Server) Run() {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	s.process = s.command(context.Background(), "postgres", "-D", s.folder, "-h", host, "-p", port, "-k", "", "-F", "-c", "shared_buffers=16MB")
	log, err := os.OpenFile(filepath.Join(filepath.Dir(s.folder), "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func() { s.process.Wait(); close(s.done) }()
	for until := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		c, err := pgx.Connect(ctx, s.URL(s.Addr))
		if err == nil {
			c.Close(ctx)
		}
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			text, _ := os.ReadFile(log.Name())
			s.t.Fatalf("PostgreSQL does not start: %v\n%s", err, text)
		}
	}
}

// Stop ends the server at once, without asking those who are connected.
func (s *Server) Stop() {
	s.process.Process.Signal(syscall.SIGQUIT)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		s.process.Process.Kill()
		<-s.done
	}
}

// URL is how the server is reached at an address, its own or that of who stands
// between.
func (s *Server) URL(addr string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/postgres?sslmode=disable", User, "owner%27s%20secret", addr)
}

// Exec runs a statement.
func (s *Server) Exec(t testing.TB, statement string, arguments ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.URL(s.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, statement, arguments...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func free(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
