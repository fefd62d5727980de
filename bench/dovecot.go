package main

import (
	"context"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"text/template"
)

// dovecotConfig is Dovecot as a good administrator tunes it: login processes in
// high-performance mode, mail processes used again, an authentication cache, plain
// passwords, mdbox.
var dovecotConfig = template.Must(template.New("").Parse(`
base_dir = {{.Dir}}/run
state_dir = {{.Dir}}/state
log_path = {{.Dir}}/log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <{{.Cert}}
ssl_key = <{{.Key}}
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
auth_mechanisms = plain
auth_cache_size = 20M
auth_cache_ttl = 1 hour
auth_failure_delay = 0
mail_location = mdbox:~/mdbox
{{if .Zstd}}mail_plugins = zlib
plugin {
  zlib_save = zstd
}
{{end}}mail_max_userip_connections = 100000
first_valid_uid = 1
default_client_limit = 19000
default_process_limit = 5000
default_vsz_limit = 1G
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {{.Users}}
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
    port = {{.IMAPS}}
    ssl = yes
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
    port = {{.POP3S}}
    ssl = yes
  }
  service_count = 0
  process_min_avail = 2
  process_limit = 4
}
service imap {
  client_limit = 1
  process_limit = 6000
  service_count = 1000
  process_min_avail = 16
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

// dovecot starts Debian's Dovecot, like postern.
func dovecot(ctx context.Context, s site) *peer {
	dir := filepath.Join(s.dir, "dovecot")
	uid, gid := owner()
	for _, d := range []string{"run", "state", "mail"} {
		check(os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	check(os.Chown(filepath.Join(dir, "mail"), uid, gid))
	certFile, keyFile := pair(dir)
	p := &peer{name: "Dovecot", imap: port(), imaps: port(), pop3: port(), pop3s: port(), lmtp: port(), data: filepath.Join(dir, "mail")}
	config := filepath.Join(dir, "dovecot.conf")
	f, err := os.Create(config)
	check(err)
	check(dovecotConfig.Execute(f, map[string]any{
		"Dir": dir, "Users": passwd(dir, max(accounts, s.people)), "Zstd": s.compressed, "UID": uid, "GID": gid, "Cert": certFile, "Key": keyFile, "IMAP": onlyPort(p.imap), "IMAPS": onlyPort(p.imaps),
		"POP3": onlyPort(p.pop3), "POP3S": onlyPort(p.pop3s), "LMTP": onlyPort(p.lmtp),
	}))
	check(f.Close())
	p.command = func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "/usr/sbin/dovecot", "-F", "-c", config)
		cmd.Stderr = os.Stderr
		return gentle(cmd)
	}
	s.started(p)
	p.start(ctx)
	return p
}

// owner gives the user whose mail the peers keep.
func owner() (uid, gid int) {
	u, err := user.Lookup("mail")
	check(err)
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid
}
