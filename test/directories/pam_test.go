package directories

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/saslauthd"
	"github.com/postern-mail/postern/test/server"
)

func TestPAM(t *testing.T) {
	daemon := saslauthd.Start(t, map[string]string{"anna": "geheim", "root": "geheim"})
	users := filepath.Join(t.TempDir(), "users")
	replace(t, users, "root:x:0:0:root:/root:/bin/bash\nanna:x:1000:1000:Anna Ä.,,,:/home/anna:/bin/bash\n", time.Hour)
	s := server.Serve(t, server.Options{Directories: fmt.Sprintf(`
[[directories]]
kind = "saslauthd"
name = "pam"
socket = %q
domain = "example.org"
users_file = %q
first_uid = 1000
timeout = "00:00:20"
`, daemon.Socket, users)})
	s.MustDeliver(t, message, "anna@example.org")
	for _, nobody := range []string{"nobody@example.org", "root@example.org"} {
		if answers := s.Deliver(t, message, nobody); !strings.HasPrefix(answers[0], "550") {
			t.Errorf("%s: %v", nobody, answers)
		}
		signsIn(t, s, nobody, "geheim", false)
	}
	signsIn(t, s, "anna@example.org", "geheim", true)
	signsIn(t, s, "anna@example.org", "wrong", false)
	daemon.Set(map[string]string{"anna": "next"})
	signsIn(t, s, "anna@example.org", "geheim", false)
	signsIn(t, s, "anna@example.org", "next", true)
	daemon.Stop()
	c := server.DialTLS(t, s.IMAPS, s.TLS())
	c.Line()
	if _, answer := c.IMAP(`LOGIN anna@example.org next`); !strings.Contains(answer, "[UNAVAILABLE]") {
		t.Errorf("IMAP4 while saslauthd is down: %s", answer)
	}
	daemon.Run()
	signsIn(t, s, "anna@example.org", "next", true)
}
