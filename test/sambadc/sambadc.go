// Package sambadc starts Samba's Active Directory domain controller for tests: its
// LDAP server and its KDC alone, on a loopback address of its own, in a folder of its own, ended
// with the test.
package sambadc

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// The domain, and who may do all in it.
const (
	Suffix                = "DC=ad,DC=test,DC=example"
	Realm                 = "AD.TEST.EXAMPLE"
	Administrator         = "CN=Administrator,CN=Users," + Suffix
	AdministratorPassword = "Adm1n-Secret!"
)

// Server is a running domain controller.
type Server struct {
	Address string // of ldap:// (389), ldaps:// (636) and the KDC (88)

	t      testing.TB
	config string
}

// Start provisions a domain and serves it; that takes about half a minute. It needs
// root, for its ports. certificate and key are files for ldaps://. Where it cannot
// run the test is skipped, in CI it fails.
func Start(t testing.TB, ca, certificate, key string) *Server {
	t.Helper()
	for _, program := range []string{"samba-tool", "samba"} {
		if _, err := exec.LookPath(program); err != nil || os.Getuid() != 0 {
			text := program + " is missing, or this is not root: ./scripts/test-packages"
			if os.Getenv("CI") != "" {
				t.Fatal(text)
			}
			t.Skip(text)
		}
	}
	folder := t.TempDir()
	s := &Server{t: t, Address: fmt.Sprintf("127.77.%d.%d", 1+rand.IntN(250), 1+rand.IntN(250)), config: filepath.Join(folder, "postern.conf")}
	out, err := exec.CommandContext(t.Context(), "samba-tool", "domain", "provision", "--targetdir="+folder, "--realm=AD.TEST.EXAMPLE", "--domain=ADTEST",
		"--server-role=dc", "--dns-backend=NONE", "--adminpass="+AdministratorPassword, "--option=interfaces=lo", "--option=bind interfaces only=yes").CombinedOutput()
	if err != nil {
		t.Fatalf("samba-tool: %v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(folder, "etc", "smb.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"interfaces": s.Address + "/8", "server services": "ldap, kdc", "log file": folder + "/log.%m", "panic action": "",
	} {
		text = regexp.MustCompile(`(?m)^\t`+key+` =.*$`).ReplaceAll(text, []byte("\t"+key+" = "+value))
	}
	text = regexp.MustCompile(`(?m)^\[global\]$`).ReplaceAll(text, []byte(fmt.Sprintf(
		"[global]\n\tpid directory = %s\n\tncalrpc dir = %s/ncalrpc\n\ttls cafile = %s\n\ttls certfile = %s\n\ttls keyfile = %s", folder, folder, ca, certificate, key)))
	if err := os.WriteFile(s.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := exec.Command("samba", "-i", "-M", "single", "-s", s.config)
	p.Stdout, p.Stderr = log, log
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		p.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		syscall.Kill(-p.Process.Pid, syscall.SIGTERM) // its own group
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			syscall.Kill(-p.Process.Pid, syscall.SIGKILL)
			<-done
		}
	})
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", s.Address+":636", time.Second)
		if err == nil {
			c.Close()
			return s
		}
		select {
		case <-done:
		default:
			if time.Now().Before(end) {
				continue
			}
		}
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("samba does not serve: %v\n%s", err, text)
	}
}

// Tool runs samba-tool on the domain's database.
func (s *Server) Tool(args ...string) {
	s.t.Helper()
	if out, err := exec.CommandContext(s.t.Context(), "samba-tool", append(args, "-s", s.config)...).CombinedOutput(); err != nil {
		s.t.Fatalf("samba-tool %v: %v\n%s", args, err, out)
	}
}
