package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// cyrusRoot is where scripts/bench-packages unpacks Cyrus: Debian's package cannot be
// installed beside Dovecot's.
const cyrusRoot = "/var/lib/postern-bench/cyrus"

// cyrusSettings are Cyrus's as a good administrator tunes it.
var cyrusSettings = template.Must(template.New("").Parse(`
configdirectory: {{.Dir}}/conf
partition-default: {{.Dir}}/mail
proc_path: {{.Dir}}/run/proc
mboxname_lockpath: {{.Dir}}/run/lock
sievedir: {{.Dir}}/sieve
cyrus_user: mail
admins: cyrus
lmtp_admins: cyrus
altnamespace: yes
unixhierarchysep: yes
virtdomains: userid
defaultdomain: internal
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {{.Dir}}/sasldb2
sasl_mech_list: PLAIN
allowplaintext: yes
autocreate_quota: 0
autocreate_post: 1
duplicatesuppression: 0
popminpoll: 0
conversations: 0
maxlogins_per_user: 0
maxlogins_per_host: 0
tls_server_cert: {{.Cert}}
tls_server_key: {{.Key}}
syslog_prefix: postern-bench
`))

// cyrusServices are Cyrus's processes: some wait beforehand, and serve many clients one
// after another.
var cyrusServices = template.Must(template.New("").Parse(`
START {
  recover cmd="{{.Bin}}/ctl_cyrusdb -C {{.Config}} -r"
  idled cmd="{{.Bin}}/idled -C {{.Config}}"
}
SERVICES {
  imap cmd="{{.Bin}}/imapd -U 1000 -C {{.Config}}" listen="{{.IMAP}}" prefork=16 maxchild=10000
  imaps cmd="{{.Bin}}/imapd -s -U 1000 -C {{.Config}}" listen="{{.IMAPS}}" prefork=16 maxchild=10000
  pop3 cmd="{{.Bin}}/pop3d -U 1000 -C {{.Config}}" listen="{{.POP3}}" prefork=16 maxchild=10000
  pop3s cmd="{{.Bin}}/pop3d -s -U 1000 -C {{.Config}}" listen="{{.POP3S}}" prefork=16 maxchild=10000
  lmtp cmd="{{.Bin}}/lmtpd -a -U 1000 -C {{.Config}}" listen="{{.LMTP}}" prefork=32 maxchild=200
}
EVENTS {
}
`))

// cyrus starts Debian's Cyrus, like postern.
func cyrus(ctx context.Context, s site) *peer {
	dir := filepath.Join(s.dir, "cyrus")
	uid, gid := owner()
	check(os.MkdirAll(dir, 0o755))
	for _, d := range []string{"conf", "conf/socket", "mail", "run", "sieve"} {
		check(os.MkdirAll(filepath.Join(dir, d), 0o755))
		check(os.Chown(filepath.Join(dir, d), uid, gid))
	}
	users := filepath.Join(dir, "sasldb2")
	for i := range accounts {
		name, domain, _ := strings.Cut(accountName(i), "@")
		cmd := exec.Command("saslpasswd2", "-p", "-c", "-f", users, "-u", domain, name)
		cmd.Stdin = strings.NewReader(password)
		if out, err := cmd.CombinedOutput(); err != nil {
			fail("saslpasswd2: %v: %s", err, out)
		}
	}
	check(os.Chown(users, uid, gid))
	certFile, keyFile := pair(dir)
	check(os.Chown(keyFile, uid, gid))
	p := &peer{name: "Cyrus", imap: port(), imaps: port(), pop3: port(), pop3s: port(), lmtp: port(), data: filepath.Join(dir, "mail")}
	config, services := filepath.Join(dir, "imapd.conf"), filepath.Join(dir, "cyrus.conf")
	values := map[string]any{
		"Dir": dir, "Bin": cyrusRoot + "/usr/lib/cyrus/bin", "Config": config, "Cert": certFile, "Key": keyFile,
		"IMAP": p.imap, "IMAPS": p.imaps, "POP3": p.pop3, "POP3S": p.pop3s, "LMTP": p.lmtp,
	}
	for name, text := range map[string]*template.Template{config: cyrusSettings, services: cyrusServices} {
		f, err := os.Create(name)
		check(err)
		check(text.Execute(f, values))
		check(f.Close())
	}
	p.command = func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, cyrusRoot+"/usr/lib/cyrus/bin/master", "-D", "-l", "1024", "-C", config, "-M", services, "-p", filepath.Join(dir, "run", "pid"))
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+cyrusRoot+"/usr/lib/x86_64-linux-gnu", "CYRUS_USER=mail")
		return gentle(cmd)
	}
	s.started(p)
	p.start(ctx)
	return p
}
