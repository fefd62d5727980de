// Package proxies puts real proxies in front of Postern: HAProxy and nginx, which say who
// the client is with the PROXY protocol, Dovecot, which says it with ID and XCLIENT, and
// curl, which plays a load balancer itself.
package proxies

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

var alice = server.Account{Name: "alice@test.example", Password: "correct horse 7"}

// client is a loopback address that no proxy here has; proxies have 127.0.0.1.
const client = "127.0.0.42"

// serve starts Postern with settings of both mail services.
func serve(t *testing.T, parameters map[string]any) *server.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the server and real proxies")
	}
	if l, err := net.Listen("tcp4", client+":0"); err != nil {
		t.Skipf("this host has no %s on loopback: %v", client, err)
	} else {
		l.Close()
	}
	var cmdlets []server.Cmdlet
	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		cmdlets = append(cmdlets, server.Cmdlet{Name: set, Parameters: parameters})
	}
	return server.Serve(t, server.Options{Accounts: []server.Account{alice}, Cmdlets: cmdlets})
}

// program fails in CI for want of a program, and skips elsewhere.
func program(t *testing.T, path, debian string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed; it is in the Debian package %s (scripts/test-packages installs it)", path, debian)
		}
		t.Skipf("%s is not installed; it is in the Debian package %s (scripts/test-packages installs it)", path, debian)
	}
	return path
}

// begin runs a proxy with a configuration file until the test ends, once it listens.
func begin(t *testing.T, name, config string, listens []string, command func(path string) []string) {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(config, "@FOLDER@", folder)), 0o600); err != nil {
		t.Fatal(err)
	}
	line := command(path)
	p := server.Begin(t, folder, nil, line[0], line[1:]...)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(folder, "log"))
			t.Logf("%s said:\n%s%s", name, p.Output(), log)
		}
		p.Interrupt()
	})
	for _, addr := range listens {
		p.Within(t, 60*time.Second, "waiting for "+name, func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
}

// talk is a connection from the client's address.
type talk struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *talk {
	t.Helper()
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}, Timeout: 10 * time.Second}
	c, err := from.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(40 * time.Second))
	return &talk{t, c, bufio.NewReader(c)}
}

// ask sends a line and reads up to the one that begins with until; it gives that one.
func (c *talk) ask(line, until string) string {
	c.t.Helper()
	if line != "" {
		fmt.Fprintf(c, "%s\r\n", line)
	}
	for {
		got, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%q: %v", line, err)
		}
		if strings.HasPrefix(got, until) {
			return strings.TrimSpace(got)
		}
	}
}

// login signs alice in by a command, over IMAP or POP3.
func (c *talk) login(pop bool) string {
	c.t.Helper()
	if pop {
		c.ask("", "+OK")
		c.ask("USER "+alice.Name, "")
		return c.ask("PASS "+alice.Password, "")
	}
	c.ask("", "* OK")
	return c.ask(fmt.Sprintf("a1 LOGIN %s %q", alice.Name, alice.Password), "a1 ")
}

func signedIn(answer string) bool {
	return strings.HasPrefix(answer, "+OK") || strings.HasPrefix(answer, "a1 OK")
}

// session gives alice's session as Get-Session shows it.
func session(t *testing.T, s *server.Server) map[string]any {
	t.Helper()
	list := s.Objects("Get-Session", "-User", alice.Name)
	if len(list) != 1 {
		t.Fatalf("Get-Session: %v", list)
	}
	return list[0]
}

// from tests that alice's session is shown with the client's address, through a proxy.
func from(t *testing.T, s *server.Server, at string) {
	t.Helper()
	one := session(t, s)
	address, proxy := fmt.Sprint(one["Address"]), fmt.Sprint(one["Proxy"])
	if !strings.HasPrefix(address, client+":") || !strings.HasPrefix(proxy, "127.0.0.1:") {
		t.Errorf("%s: the session comes from %s through %s", at, address, proxy)
	}
}

// over waits until alice has no session.
func over(t *testing.T, s *server.Server) {
	t.Helper()
	server.Eventually(t, 60*time.Second, "the session is over", func() bool {
		out, _ := s.Shell("Get-Session", "-User", alice.Name, "|", "ConvertTo-Json")
		return !strings.Contains(out, alice.Name)
	})
}
