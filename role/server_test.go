package role

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
)

func config(t *testing.T) Config {
	dir := t.TempDir()
	c := DefaultConfig()
	c.Data, c.Name, c.Socket = filepath.Join(dir, "data"), "localhost", filepath.Join(dir, "s")
	c.LMTP = []string{filepath.Join(dir, "l")}
	return c
}

// TestOpenFails: what cannot be opened is said, and nothing stays behind.
func TestOpenFails(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	first, err := Open(context.Background(), config(t), Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	again := first.config
	if _, err := Open(context.Background(), again, Options{}, quiet); mail.KindOf(err) != mail.KindInUse {
		t.Fatalf("a data folder that is open was opened: %v", err)
	}
	blocked := config(t)
	if err := os.WriteFile(blocked.Data, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), blocked, Options{}, quiet); mail.KindOf(err) != mail.KindUnavailable {
		t.Fatal(err)
	}
	// The store opens, the certificates do not: the store must be closed again.
	torn := config(t)
	if err := os.MkdirAll(filepath.Join(torn.Data, "certificates", "key.pem"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), torn, Options{}, quiet); err == nil {
		t.Fatal("a folder is no key")
	}
	if err := os.Remove(filepath.Join(torn.Data, "certificates", "key.pem")); err != nil {
		t.Fatal(err)
	}
	mended, err := Open(context.Background(), torn, Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := mended.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLoadConfig(t *testing.T) {
	for text, want := range map[string]string{
		"data = 5\n":                                       ":1:",
		"data = \"/x\"\nport = 110\n":                      `:2: there is no setting "port"`,
		"roles = [\"ClientAccess\"]\n":                     "not there yet",
		"roles = [\"Hub\"]\n":                              "neither ClientAccess nor Mailbox",
		"engine = \"oracle\"\n":                            "embedded, memory",
		"lmtp = [\"localhost\"]\n":                         "neither IP:port nor the path",
		"data = \"\"\n":                                    "not empty",
		"metrics = \"everywhere\"\n":                       "not IP:port",
		"traces = \"127.0.0.1:4318\"\n":                    "not the URL of a collector",
		"traces_sample = 1.5\n":                            "at most 1",
		"traces_sample = nan\n":                            "at most 1",
		"max_message_size = -1\n":                          "1 to 1073741824",
		"compress_after = \"a day\"\n":                     "compress_after:",
		"socket = \"/" + strings.Repeat("x", 200) + "\"\n": "107",
		"data = \"unterminated\nx":                         "postern.toml:",
	} {
		path := filepath.Join(t.TempDir(), "postern.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadConfig(path)
		var e *mail.Error
		if !errors.As(err, &e) || !strings.Contains(e.Text, want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that was named must exist")
	}
	path := filepath.Join(t.TempDir(), "ok")
	if err := os.WriteFile(path, []byte("roles = [\"mailbox\", \"CLIENTACCESS\"]\nlmtp = [\"unix:/run/x\", \"[::1]:24\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(path)
	if err != nil || c.Roles[0] != Mailbox || c.Roles[1] != ClientAccess {
		t.Fatal(c, err)
	}
	if b, _ := c.lmtpBindings(); len(b.Unix) != 1 || len(b.Clear) != 1 {
		t.Fatal(b)
	}
}
