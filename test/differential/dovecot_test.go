package differential

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// config is a Dovecot on loopback with a folder of its own, with Postern's
// separator and folders. Without root everything runs as who runs the test.
var config = template.Must(template.New("").Parse(`
base_dir = {{.Dir}}/run
state_dir = {{.Dir}}/state
log_path = {{.Dir}}/log
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
mail_max_userip_connections = 1000
{{if .Rootless}}
default_internal_user = {{.User}}
default_login_user = {{.User}}
default_internal_group = {{.Group}}
service stats {
  chroot =
}
{{end}}
service anvil {
{{if .Rootless}}
  chroot =
{{end}}
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
mail_location = mdbox:~/mdbox
first_valid_uid = 1
imap_id_send = "name" *
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
  mailbox INBOX {
    auto = subscribe
  }
  mailbox Archive {
    auto = subscribe
    special_use = \Archive
  }
  mailbox Drafts {
    auto = subscribe
    special_use = \Drafts
  }
  mailbox Junk {
    auto = subscribe
    special_use = \Junk
  }
  mailbox Sent {
    auto = subscribe
    special_use = \Sent
  }
  mailbox Trash {
    auto = subscribe
    special_use = \Trash
  }
}
service imap-login {
{{if .Rootless}}
  chroot =
{{end}}
  inet_listener imap {
    port = {{.IMAP}}
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
{{if .Rootless}}
  chroot =
{{end}}
  inet_listener pop3 {
    port = {{.POP3}}
  }
  inet_listener pop3s {
    port = 0
  }
}
`))

// dovecot is a running Dovecot.
type dovecot struct{ imap, pop3 string }

// startDovecot starts Dovecot for the time of the test.
func startDovecot(t *testing.T, accounts []server.Account) dovecot {
	t.Helper()
	program := "/usr/sbin/dovecot"
	for _, path := range []string{program, "/usr/lib/dovecot/imap", "/usr/lib/dovecot/pop3"} {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%s is not installed; it is in the Debian packages dovecot-imapd and dovecot-pop3d (scripts/test-packages installs them)", path)
		}
	}
	dir, err := os.MkdirTemp("", "postern-dovecot-")
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
	group, err := user.LookupGroupId(owner.Gid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"run", "state", "mail"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	if err := os.Chown(filepath.Join(dir, "mail"), uid, gid); err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	for _, a := range accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", a.Name, a.Password)
	}
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte(users.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	d := dovecot{server.FreeAddress(t), server.FreeAddress(t)}
	path := filepath.Join(dir, "dovecot.conf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = config.Execute(f, map[string]any{
		"Dir": dir, "UID": uid, "GID": gid, "User": owner.Username, "Group": group.Name, "Rootless": os.Getuid() != 0,
		"IMAP": server.Port(d.imap), "POP3": server.Port(d.pop3),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	p := server.Begin(t, dir, nil, program, "-F", "-c", path)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("Dovecot's log:\n%s%s", p.Output(), log)
		}
		p.Interrupt()
	})
	for _, addr := range []string{d.imap, d.pop3} {
		p.Within(t, 30*time.Second, "waiting for Dovecot", func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	return d
}
