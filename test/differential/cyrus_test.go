package differential

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// cyrusConfig is a Cyrus on loopback with a folder of its own, with Postern's separator and
// folders, which folds no blanks or accents in searches and forgets at once what is expunged.
var cyrusConfig = template.Must(template.New("").Parse(`
configdirectory: {{.Dir}}/conf
partition-default: {{.Dir}}/mail
proc_path: {{.Dir}}/run/proc
mboxname_lockpath: {{.Dir}}/run/lock
sievedir: {{.Dir}}/sieve
cyrus_user: {{.User}}
admins: cyrus
altnamespace: yes
unixhierarchysep: yes
virtdomains: userid
defaultdomain: internal
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {{.Dir}}/sasldb2
sasl_mech_list: PLAIN
allowplaintext: yes
autocreate_post: 1
autocreate_quota: 1000000
autocreate_inbox_folders: Archive|Drafts|Junk|Sent|Trash
autocreate_subscribe_folders: Archive|Drafts|Junk|Sent|Trash
xlist-archive: Archive
xlist-drafts: Drafts
xlist-junk: Junk
xlist-sent: Sent
xlist-trash: Trash
specialusealways: yes
annotation_allow_undefined: yes
conversations: no
duplicatesuppression: no
expunge_mode: immediate
delete_mode: immediate
search_skipdiacrit: no
reject8bit: no
munge8bit: no
maxlogins_per_user: 0
maxlogins_per_host: 0
tls_server_cert: disabled
`))

var cyrusServices = template.Must(template.New("").Parse(`
START {
  recover cmd="{{.Bin}}/ctl_cyrusdb -C {{.Config}} -r"
  idled cmd="{{.Bin}}/idled -C {{.Config}}"
}
SERVICES {
  imap cmd="{{.Bin}}/imapd -U 1000 -C {{.Config}}" listen="{{.IMAP}}" prefork=4 maxchild=200
}
EVENTS {
}
`))

// startCyrus starts Debian's Cyrus, which scripts/test-packages unpacks because it cannot be
// installed beside Dovecot, for the time of the test, and gives where it speaks IMAP.
func startCyrus(t *testing.T, accounts []server.Account) string {
	t.Helper()
	root := filepath.Join(server.Root(), ".tools", "cyrus")
	bin := filepath.Join(root, "usr/lib/cyrus/bin")
	libraries, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	if _, err := os.Stat(filepath.Join(bin, "imapd")); err != nil || len(libraries) == 0 {
		t.Fatal("Cyrus is not unpacked (scripts/test-packages does it)")
	}
	dir, err := os.MkdirTemp("", "postern-cyrus-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	owner, err := user.Current()
	if os.Getuid() == 0 {
		owner, err = user.Lookup("mail")
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	own := func(path string, err error) {
		t.Helper()
		if err == nil {
			err = os.Chown(path, uid, gid)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	own(dir, os.Chmod(dir, 0o755))
	for _, d := range []string{"conf", "conf/socket", "mail", "run", "sieve"} {
		path := filepath.Join(dir, d)
		own(path, os.MkdirAll(path, 0o755))
	}
	users := filepath.Join(dir, "sasldb2")
	for _, a := range accounts {
		name, domain, _ := strings.Cut(a.Name, "@")
		cmd := exec.Command(server.Program(t, "saslpasswd2", "sasl2-bin"), "-p", "-c", "-f", users, "-u", domain, name)
		cmd.Stdin = strings.NewReader(a.Password)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("saslpasswd2: %v: %s", err, out)
		}
	}
	own(users, nil)
	address := server.FreeAddress(t)
	config, services := filepath.Join(dir, "imapd.conf"), filepath.Join(dir, "cyrus.conf")
	values := map[string]any{"Dir": dir, "User": owner.Username, "Bin": bin, "Config": config, "IMAP": address}
	for name, text := range map[string]*template.Template{config: cyrusConfig, services: cyrusServices} {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := text.Execute(f, values); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p := server.Begin(t, dir, []string{"LD_LIBRARY_PATH=" + libraries[0], "CYRUS_USER=" + owner.Username},
		filepath.Join(bin, "master"), "-D", "-l", "256", "-C", config, "-M", services, "-p", filepath.Join(dir, "run", "pid"))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Cyrus says:\n%s", p.Output())
		}
		p.Interrupt()
	})
	p.Within(t, 60*time.Second, "waiting for Cyrus", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return address
}
