package role

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// What is not a file of authorities is refused with the reason, and trusts nobody when it
// becomes so later.
func TestAuthorities(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	now := settings.Defaults(settings.IMAP4, "localhost")
	for what, path := range map[string]string{
		"missing":  filepath.Join(dir, "nothing"),
		"empty":    write("empty", ""),
		"no PEM":   write("text", "hello"),
		"too big":  write("big", strings.Repeat("x", maxAuthorities+1)),
		"a key":    write("key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
		"a folder": dir,
	} {
		_, _, err := applyAuthorities(t.Context(), now, settings.ClientCertificateAuthorities.With(now, path))
		if mail.KindOf(err) != mail.KindBadArgument || !strings.HasPrefix(mail.TextOf(err), "ClientCertificateAuthorities ") {
			t.Errorf("%s: %v", what, err)
		}
		var said strings.Builder
		a := &authorities{log: slog.New(slog.NewTextHandler(&said, nil))}
		for range 3 {
			if pool := a.of(settings.ClientCertificateAuthorities.With(now, path)); pool != nil {
				t.Errorf("%s: somebody is trusted", what)
			}
		}
		if strings.Count(said.String(), "level=WARN") != 1 {
			t.Errorf("%s: the log has %q", what, said.String())
		}
	}
	if new(authorities).of(now) != nil {
		t.Error("without a file somebody is trusted")
	}
}
