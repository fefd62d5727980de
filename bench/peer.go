package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// password is every account's.
const password = "bench-password"

// peer is a server under measurement, started for this run alone.
type peer struct {
	name       string
	imap, pop3 string // addresses
	lmtp       string
	cmd        *exec.Cmd
	dir        string
}

// accountName gives the i-th account.
func accountName(i int) string { return fmt.Sprintf("u%d@bench.example", i) }

// stop ends the server by its process id and waits.
func (p *peer) stop() {
	p.cmd.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		<-done
	}
}

// port gives a free loopback address.
func port() string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	defer l.Close()
	return l.Addr().String()
}

// waitFor waits until addr accepts.
func waitFor(addr string) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
	}
	fail("%s does not accept", addr)
}

// startPostern builds and starts Postern with accounts. started is told as soon as
// there is a process to stop.
func startPostern(ctx context.Context, dir string, accounts int, started func(*peer)) {
	binary := filepath.Join(dir, "postern")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	if err != nil {
		fail("go build: %s", out)
	}
	p := &peer{name: "Postern", imap: port(), pop3: port(), lmtp: port(), dir: filepath.Join(dir, "postern-data")}
	socket := filepath.Join(dir, "postern.sock")
	config := filepath.Join(dir, "postern.toml")
	check(os.WriteFile(config, fmt.Appendf(nil, "data = %q\nname = \"bench.example\"\nsocket = %q\nlmtp = [%q]\n", p.dir, socket, p.lmtp), 0o600))
	// The ports are settings: they are written by a first run that serves nowhere else.
	log, err := os.Create(filepath.Join(dir, "postern.log"))
	check(err)
	p.cmd = exec.CommandContext(ctx, binary, "serve", "--config", config, "--ready-file", filepath.Join(dir, "ready.json"))
	p.cmd.Stdout, p.cmd.Stderr = log, log
	check(p.cmd.Start())
	started(p)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if text, err := os.ReadFile(filepath.Join(dir, "ready.json")); err == nil && json.Valid(text) {
			break
		}
		if time.Now().After(end) {
			fail("Postern does not start: see %s", log.Name())
		}
	}
	shell := func(args ...string) {
		out, err := exec.Command(binary, append([]string{"--socket", socket}, args...)...).CombinedOutput()
		if err != nil {
			fail("%v: %s", args, out)
		}
	}
	shell("Set-ImapSettings", "-LoginType", "PlainTextLogin", "-UnencryptedOrTLSBindings", p.imap, "-SSLBindings", port(), "-MaxConnectionsPerUser", "100000")
	shell("Set-PopSettings", "-LoginType", "PlainTextLogin", "-UnencryptedOrTLSBindings", p.pop3, "-SSLBindings", port())
	for i := range accounts {
		shell("New-Mailbox", accountName(i), "-Password", password)
	}
	waitFor(p.imap)
	waitFor(p.pop3)
	waitFor(p.lmtp)
}

// dovecotConfig is Dovecot as a good administrator tunes it: login processes in
// high-performance mode, mail processes used again, an authentication cache, plain
// passwords, mdbox.
var dovecotConfig = template.Must(template.New("").Parse(`
base_dir = {{.Dir}}/run
state_dir = {{.Dir}}/state
log_path = {{.Dir}}/log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
auth_cache_size = 20M
auth_cache_ttl = 1 hour
auth_failure_delay = 0
mail_location = mdbox:~/mdbox
mail_max_userip_connections = 100000
first_valid_uid = 1
default_client_limit = 20000
default_process_limit = 2000
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {{.Dir}}/users
}
userdb {
  driver = static
  args = uid={{.UID}} gid={{.GID}} home={{.Dir}}/mail/%u
}
namespace inbox {
  inbox = yes
  separator = /
}
service imap-login {
  inet_listener imap {
    port = {{.IMAP}}
  }
  inet_listener imaps {
    port = 0
  }
  service_count = 0
  process_min_avail = 2
  process_limit = 4
}
service pop3-login {
  inet_listener pop3 {
    port = {{.POP3}}
  }
  inet_listener pop3s {
    port = 0
  }
  service_count = 0
  process_min_avail = 2
  process_limit = 4
}
service imap {
  client_limit = 1
  service_count = 1000
  process_min_avail = 16
  process_limit = 2000
}
service pop3 {
  client_limit = 1
  service_count = 1000
  process_min_avail = 16
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = {{.LMTP}}
  }
  service_count = 0
  process_min_avail = 8
}
`))

// startDovecot starts Debian's Dovecot with accounts, like startPostern.
func startDovecot(ctx context.Context, dir string, accounts int, started func(*peer)) {
	dir = filepath.Join(dir, "dovecot")
	vmail, err := user.Lookup("mail")
	check(err)
	uid, _ := strconv.Atoi(vmail.Uid)
	gid, _ := strconv.Atoi(vmail.Gid)
	for _, d := range []string{"run", "state", "mail"} {
		check(os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	check(os.Chown(filepath.Join(dir, "mail"), uid, gid))
	var users strings.Builder
	for i := range accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", accountName(i), password)
	}
	check(os.WriteFile(filepath.Join(dir, "users"), []byte(users.String()), 0o644))
	// With Debian's default IDLE would fall back to polling.
	os.WriteFile("/proc/sys/fs/inotify/max_user_instances", []byte("8192"), 0o644)
	p := &peer{name: "Dovecot", imap: port(), pop3: port(), lmtp: port(), dir: filepath.Join(dir, "mail")}
	onlyPort := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
	config := filepath.Join(dir, "dovecot.conf")
	f, err := os.Create(config)
	check(err)
	check(dovecotConfig.Execute(f, map[string]any{
		"Dir": dir, "UID": uid, "GID": gid, "IMAP": onlyPort(p.imap), "POP3": onlyPort(p.pop3), "LMTP": onlyPort(p.lmtp),
	}))
	check(f.Close())
	p.cmd = exec.CommandContext(ctx, "/usr/sbin/dovecot", "-F", "-c", config)
	p.cmd.Stderr = os.Stderr
	check(p.cmd.Start())
	started(p)
	waitFor(p.imap)
	waitFor(p.pop3)
	waitFor(p.lmtp)
}
