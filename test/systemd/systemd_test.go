package systemd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

// socket opens an address and gives its file, as systemd would.
func socket(t *testing.T, address string) *os.File {
	t.Helper()
	l, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestService: ready, sockets, watchdog, reload, stop; and what Prometheus and a
// load balancer see meanwhile.
func TestService(t *testing.T) {
	s := server.Serve(t, server.Options{Accounts: []server.Account{{Name: "alice@example.org", Password: "correct horse"}}})
	s.Stop()
	metrics, other := server.FreeAddress(t), server.FreeAddress(t)
	config := filepath.Join(s.Folder, "postern.toml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, fmt.Appendf(text, "metrics = %q\n", metrics), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Folder, "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	next := func() string {
		t.Helper()
		notify.SetReadDeadline(time.Now().Add(60 * time.Second))
		b := make([]byte, 4096)
		n, err := notify.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	expect := func(prefix string) {
		t.Helper()
		for {
			switch got := next(); {
			case strings.HasPrefix(got, prefix):
				return
			case got != "WATCHDOG=1":
				t.Fatalf("systemd was told %q, want %q", got, prefix)
			}
		}
	}

	// The process itself must be the one that LISTEN_PID names.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, server.Binary(t), "serve", "--config", config)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=200000", "LISTEN_FDS=2", "LISTEN_FDNAMES=pop3:other")
	cmd.ExtraFiles = []*os.File{socket(t, s.POP3), socket(t, other)}
	output := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	ended := false
	defer func() {
		if !ended {
			cmd.Process.Kill()
			<-done
		}
		if t.Failed() {
			t.Log(output)
		}
	}()

	expect("READY=1")
	expect("WATCHDOG=1")
	greets := func(address, want string) {
		t.Helper()
		c, err := net.DialTimeout("tcp", address, 30*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(30 * time.Second))
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
			t.Errorf("%s: %q, %v", address, line, err)
		}
		io.WriteString(c, "QUIT\r\n")
	}
	greets(s.POP3, "+OK")
	greets(s.IMAP, "* OK")

	get := func(where string) *http.Response {
		t.Helper()
		client := http.Client{Timeout: 30 * time.Second}
		r, err := client.Get("http://" + metrics + where)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Body.Close() })
		return r
	}
	for _, where := range []string{"/healthz", "/readyz"} {
		if r := get(where); r.StatusCode != 200 {
			t.Error(where, r.Status)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(get("/metrics").Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postern_ready", "postern_service_up", "postern_command_seconds", "go_goroutines", "process_open_fds"} {
		if families[name] == nil {
			t.Errorf("no %s", name)
		}
	}

	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	expect("RELOADING=1\nMONOTONIC_USEC=")
	expect("READY=1")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect("STOPPING=1")
	select {
	case err := <-done:
		ended = true
		if err != nil {
			t.Error(err)
		}
	case <-time.After(45 * time.Second):
		t.Fatal("it does not end")
	}
	if !strings.Contains(output.String(), "other ("+other+")") {
		t.Error("a socket that no binding has is not named")
	}
}

// TestUnits: systemd reads the examples without a complaint.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd is not here")
	}
	dir := t.TempDir()
	paths := []string{"verify", "--man=no"}
	for _, name := range []string{"postern.service", "postern.socket"} {
		text, err := os.ReadFile(filepath.Join(server.Root(), "docs", "systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		unit := strings.ReplaceAll(string(text), "/usr/local/bin/postern", server.Binary(t))
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(unit), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	out, err := exec.Command(analyze, paths...).CombinedOutput()
	if err != nil || len(strings.TrimSpace(string(out))) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
