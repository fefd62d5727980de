package proxies

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// dovecot is a Dovecot that proxies everybody to Postern and checks no password itself.
const dovecot = `
base_dir = @FOLDER@/run
state_dir = @FOLDER@/state
log_path = @FOLDER@/log
protocols = imap pop3
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
%[1]s
service anvil {
  %[2]s
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
passdb {
  driver = static
  args = proxy=y host=127.0.0.1 port=%%{if;%%s;eq;imap;%[3]s;%[4]s} nopassword=y
}
service imap-login {
  %[2]s
  inet_listener imap {
    port = %[5]s
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  %[2]s
  inet_listener pop3 {
    port = %[6]s
  }
  inet_listener pop3s {
    port = 0
  }
}
`

// TestDovecot: behind Dovecot's proxy, which says for whom it speaks with ID and XCLIENT,
// the client's address counts where XClientNetworks names the proxy, and the proxy's own
// elsewhere. The client gets its mail in either case.
func TestDovecot(t *testing.T) {
	path := program(t, "/usr/sbin/dovecot", "dovecot-core")
	program(t, "/usr/lib/dovecot/imap-login", "dovecot-imapd")
	program(t, "/usr/lib/dovecot/pop3-login", "dovecot-pop3d")
	s := serve(t, map[string]any{"ProtocolLogEnabled": true})
	s.SetLoginType("PlainTextLogin")
	imap, pop3 := server.FreeAddress(t), server.FreeAddress(t)
	rootless, chroot := "", ""
	if os.Getuid() != 0 {
		owner, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		group, err := user.LookupGroupId(owner.Gid)
		if err != nil {
			t.Fatal(err)
		}
		chroot = "chroot ="
		rootless = fmt.Sprintf("default_internal_user = %[1]s\ndefault_login_user = %[1]s\ndefault_internal_group = %[2]s\nservice stats {\n  chroot =\n}", owner.Username, group.Name)
	}
	config := fmt.Sprintf(dovecot, rootless, chroot, server.Port(s.IMAP), server.Port(s.POP3), server.Port(imap), server.Port(pop3))
	begin(t, "dovecot.conf", config, []string{imap, pop3}, func(config string) []string {
		// Its processes have users of their own, who must get to its sockets.
		for folder := filepath.Dir(config); folder != os.TempDir() && folder != "/"; folder = filepath.Dir(folder) {
			os.Chmod(folder, 0o755)
		}
		return []string{path, "-F", "-c", config}
	})
	for _, trusted := range []string{"127.0.0.1", "192.0.2.1"} {
		for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
			s.MustShell(set, "-XClientNetworks", trusted)
		}
		for pop, addr := range map[bool]string{false: imap, true: pop3} {
			c := dial(t, addr)
			if answer := c.login(pop); !signedIn(answer) {
				t.Fatalf("trusted %s, POP3 %v: %s", trusted, pop, answer)
			}
			if trusted == "127.0.0.1" {
				from(t, s, addr)
			} else if one := session(t, s); !strings.HasPrefix(fmt.Sprint(one["Address"]), "127.0.0.1:") || fmt.Sprint(one["Proxy"]) != "" {
				t.Errorf("POP3 %v: the session comes from %s through %q", pop, one["Address"], one["Proxy"])
			}
			c.Close()
			over(t, s)
		}
	}
	for _, service := range []string{"IMAP4", "POP3"} {
		if out := s.MustShell("Get-ProtocolLog", "-Service", service, "-Address", client, "|", "ConvertTo-Json"); !strings.Contains(out, ";ProxySession=") {
			t.Errorf("the protocol log of %s does not name Dovecot's session: %s", service, out)
		}
	}
}
