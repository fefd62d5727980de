// Package mitkdc starts MIT's key distribution centre for tests: on loopback, in a
// folder of its own, ended with the test. Nobody else's realm is touched.
package mitkdc

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-mail/postern/test/daemon"
)

// Realm is the realm.
const Realm = "TEST.EXAMPLE"

// Server is a running KDC.
type Server struct {
	Address string // host:port, over TCP and UDP

	t       testing.TB
	folder  string
	process *daemon.Process
	caches  int
}

// Start makes the realm and serves it. Where parts are missing the test is skipped, in
// CI it fails.
func Start(t testing.TB) *Server {
	t.Helper()
	for _, program := range []string{"krb5kdc", "kadmin.local", "kdb5_util", "kinit"} {
		if _, err := find(program); err != nil {
			text := program + " is missing: ./scripts/test-packages"
			if os.Getenv("CI") != "" {
				t.Fatal(text)
			}
			t.Skip(text)
		}
	}
	s := &Server{t: t, folder: t.TempDir(), Address: free(t)}
	_, port, err := net.SplitHostPort(s.Address)
	s.check(err)
	s.write("krb5.conf", fmt.Sprintf(`[libdefaults]
default_realm = %[1]s
dns_lookup_realm = false
dns_lookup_kdc = false
dns_canonicalize_hostname = false
rdns = false
default_ccache_name = FILE:%[2]s/none
[realms]
%[1]s = {
	kdc = 127.0.0.1:%[3]s
}
[domain_realm]
localhost = %[1]s
`, Realm, s.folder, port))
	s.write("kdc.conf", fmt.Sprintf(`[kdcdefaults]
kdc_listen = 127.0.0.1:%[3]s
kdc_tcp_listen = 127.0.0.1:%[3]s
[realms]
%[1]s = {
	database_name = %[2]s/principal
	key_stash_file = %[2]s/stash
	acl_file = %[2]s/acl
	max_life = 10h
	supported_enctypes = aes256-cts-hmac-sha384-192:normal aes128-cts-hmac-sha256-128:normal aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
	default_principal_flags = +preauth
}
[logging]
kdc = FILE:%[2]s/kdc.log
`, Realm, s.folder, port))
	s.run("kdb5_util", "create", "-r", Realm, "-s", "-P", "master")
	s.Run()
	t.Cleanup(s.Stop)
	return s
}

func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + program)
}

// free gives a port that nobody has, of TCP and UDP.
func free(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		u, err := net.ListenPacket("udp", address)
		l.Close()
		if err == nil {
			u.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

func (s *Server) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) write(name, text string) {
	s.t.Helper()
	s.check(os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o600))
}

// Env is the environment in which programs find the realm.
func (s *Server) Env() []string {
	return []string{"KRB5_CONFIG=" + filepath.Join(s.folder, "krb5.conf"), "KRB5_KDC_PROFILE=" + filepath.Join(s.folder, "kdc.conf")}
}

func (s *Server) run(program string, args ...string) {
	s.t.Helper()
	if out, err := s.try("", nil, program, args...); err != nil {
		s.t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

func (s *Server) try(stdin string, env []string, program string, args ...string) (string, error) {
	s.t.Helper()
	path, err := find(program)
	s.check(err)
	c := exec.CommandContext(s.t.Context(), path, args...)
	c.Env, c.Stdin = append(append(os.Environ(), s.Env()...), env...), strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	return string(out), err
}

// Kadmin runs one command of kadmin.local, such as "addprinc -pw secret anna".
func (s *Server) Kadmin(format string, args ...any) {
	s.t.Helper()
	s.run("kadmin.local", "-r", Realm, "-q", fmt.Sprintf(format, args...))
}

// Person makes somebody with a password, of any characters but a line's end.
func (s *Server) Person(name, password string) {
	s.t.Helper()
	if out, err := s.try(password+"\n"+password+"\n", nil, "kadmin.local", "-r", Realm, "addprinc", name); err != nil {
		s.t.Fatalf("addprinc %s: %v\n%s", name, err, out)
	}
}

// Script runs many commands of kadmin.local, one a line.
func (s *Server) Script(lines string) {
	s.t.Helper()
	if out, err := s.try(lines, nil, "kadmin.local", "-r", Realm); err != nil {
		s.t.Fatalf("kadmin.local: %v\n%s", err, out)
	}
}

// Services makes principals with random keys and writes these into a keytab; it gives
// the file.
func (s *Server) Services(names ...string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "keytab")
	for _, name := range names {
		s.Kadmin("addprinc -randkey %s", name)
		s.Kadmin("ktadd -k %s %s", path, name)
	}
	return path
}

// Kinit gets a ticket-granting ticket, with options of kinit's, and gives the
// environment of programs that use it.
func (s *Server) Kinit(name, password string, options ...string) []string {
	s.t.Helper()
	s.caches++
	env := []string{fmt.Sprintf("KRB5CCNAME=FILE:%s/cache%d", s.folder, s.caches)}
	if out, err := s.try(password+"\n", env, "kinit", append(options, name)...); err != nil {
		s.t.Fatalf("kinit %s: %v\n%s", name, err, out)
	}
	return append(s.Env(), env...)
}

// Run starts the process; Start did it once already.
func (s *Server) Run() {
	s.t.Helper()
	path, err := find("krb5kdc")
	s.check(err)
	cmd := exec.Command(path, "-n", "-r", Realm, "-P", filepath.Join(s.folder, "pid"))
	cmd.Env = append(os.Environ(), s.Env()...)
	s.process = daemon.Run(s.t, cmd, s.Address, filepath.Join(s.folder, "log"))
}

// Stop ends the process.
func (s *Server) Stop() {
	s.process.Stop(syscall.SIGKILL)
	s.process = nil
}
