// Package dovecot starts Debian's Dovecot for tests that ask whether Postern, or a test
// itself, is like others.
package dovecot

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/postern-mail/postern/test/daemon"
	"github.com/postern-mail/postern/test/server"
)

// config is a Dovecot on loopback with a folder of its own, with Postern's
// separator and folders. Without root everything runs as who runs the test.
var config = template.Must(template.New("").Parse(`
base_dir = {{.Dir}}/run
state_dir = {{.Dir}}/state
log_path = {{.Dir}}/log
protocols = imap pop3{{if .LMTP}} lmtp{{end}}
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login{{if .Whole}} cram-md5 apop{{end}}
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
{{if .Plugins}}
mail_plugins = quota
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=10G:messages=1000000
}
protocol imap {
  mail_plugins = quota imap_quota
}
{{end}}
{{if .Whole}}
mail_plugins = acl quota zlib
mail_attribute_dict = file:%h/attributes
pop3_lock_session = yes
plugin {
  acl = vfile::cache_secs=0
  acl_shared_dict = file:{{.Dir}}/mail/shared-mailboxes
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=1G
}
protocol imap {
  mail_plugins = acl imap_acl quota imap_quota zlib imap_zlib
  imap_metadata = yes
}
namespace others {
  type = shared
  separator = /
  prefix = Other Users/%%u/
  location = mdbox:%%h/mdbox:INDEXPVT=~/shared/%%u
  subscriptions = no
  list = children
}
{{end}}
first_valid_uid = 1
imap_id_send = "name" *
imap_client_workarounds = tb-extra-mailbox-sep tb-lsub-flags
imap_client_workarounds = tb-extra-mailbox-sep tb-lsub-flags
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
{{if .LMTP}}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = {{.LMTP}}
  }
}
{{end}}
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

// Server is a running Dovecot: its addresses, host:port without TLS.
type Server struct{ IMAP, POP3, LMTP string }

// Options say what else it does.
type Options struct {
	LMTP  bool // it takes deliveries
	Quota bool // it counts what accounts hold, and tells by GETQUOTAROOT
	// Whole: it has ACL, METADATA, QUOTA, COMPRESS, CRAM-MD5 and APOP, and one POP3
	// session at a time for a maildrop.
	Whole bool
}

// Start starts Dovecot for the time of the test.
func Start(t testing.TB, accounts []server.Account, o Options) Server {
	t.Helper()
	program := "/usr/sbin/dovecot"
	needed := []string{program, "/usr/lib/dovecot/imap", "/usr/lib/dovecot/pop3"}
	if o.LMTP {
		needed = append(needed, "/usr/lib/dovecot/lmtp")
	}
	for _, path := range needed {
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%s is not installed; it is in the Debian packages dovecot-imapd, dovecot-pop3d and dovecot-lmtpd (scripts/test-packages installs them)", path)
		}
	}
	home := daemon.NewHome(t, "dovecot")
	dir := home.Folder
	group, err := user.LookupGroupId(home.Owner.Gid)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"run", "state", "mail"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "mail"), home.UID, home.GID); err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	for _, a := range accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", a.Name, a.Password)
	}
	if err := os.WriteFile(filepath.Join(dir, "users"), []byte(users.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	d := Server{IMAP: server.FreeAddress(t), POP3: server.FreeAddress(t)}
	waited := []string{d.IMAP, d.POP3}
	if o.LMTP {
		d.LMTP = server.FreeAddress(t)
		waited = append(waited, d.LMTP)
	}
	path := filepath.Join(dir, "dovecot.conf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = config.Execute(f, map[string]any{
		"Dir": dir, "UID": home.UID, "GID": home.GID, "User": home.Owner.Username, "Group": group.Name, "Rootless": os.Getuid() != 0,
		"IMAP": server.Port(d.IMAP), "POP3": server.Port(d.POP3), "LMTP": server.Port(d.LMTP), "Plugins": o.Quota, "Whole": o.Whole,
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
	for _, addr := range waited {
		p.Within(t, 60*time.Second, "waiting for Dovecot", func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	return d
}
