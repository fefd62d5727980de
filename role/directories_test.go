package role

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
)

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "postern.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(file)
}

func TestDirectoriesConfig(t *testing.T) {
	c, err := load(t, `
data = "/x"
name = "here"

[[directories]] # the first
kind = "embedded"
domains = ["Example.ORG", ""]
`)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Directories) != 1 || c.Directories[0].Name != "embedded" || strings.Join(c.Directories[0].Domains, " ") != "example.org " || c.Directory != "embedded" {
		t.Errorf("read %+v", c.Directories)
	}
	for _, x := range []struct{ text, want string }{
		{"[[directories]]\nkind = 'nothing'\n", ":1: kind: \"nothing\" is not known; there is "},
		{"data = '/x'\n\n[[directories]]\n\nkind = 'embedded'\ncolour = 'red'\n", ":6: a directory of the kind embedded has no setting \"colour\""},
		{"[[directories]]\nkind = 'embedded'\n[[directories]]\nkind = 'embedded'\nname = 'two'\n", ":3: the embedded directory is there twice"},
		{"[[directories]]\nkind = 'embedded'\nname = 'A b'\n", ":1: name:"},
		{"[[directories]]\nkind = 'embedded'\ndomains = ['a b']\n", ":1: domains:"},
		{"[[directories]]\nkind = 'embedded'\ncache = '00:10:00'\n", ":1: The embedded directory has neither cache"},
		{"[[directories]]\nkind = 3\n", ":2:8: "},
		{"[[directories]]\nkind = 'embedded'\n[directories.more]\nx = 1\n", ":3: a directory is one table"},
		{"[[directories]]\nkind = 'passwd'\nfile = '/x'\ncolour = 'red'\n", ":4: a directory of the kind passwd has no setting \"colour\""},
		{"[[directories]]\nkind = 'sql'\nscram = 'yes'\n", ":3:9: "},
		{"[[directories]]\nkind = 'saslauthd'\nusers = '/x'\n", ":3: a directory of the kind saslauthd has no setting \"users\""},
		{"[[directories]]\nkind = 'embedded'\npeople = 'x'\n", ":1: people: the embedded directory has people"},
		{"[[directories]]\nkind = 'passwd'\npeople = 3\n", ":1: people: the name of a directory"},
		{"[[directories]]\nkind = 'passwd'\npeople = []\n", ":1: people: the name of a directory"},
		{"[[directories]]\nkind = 'passwd'\npeople = ['x', 3]\n", ":1: people: the name of a directory"},
		{"[[directories]]\nkind = 'passwd'\nname = 'any'\n", ":1: name: "},
		{"[[directories]]\nkind = 'passwd'\npeople = 'x'\nprovision = true\n", ":1: people: "},
		{"[[directories]]\nkind = 'passwd'\npeople = 'corp'\n", ":1: people: there is no directory \"corp\""},
		{"[[directories]]\nkind = 'passwd'\npeople = 'passwd'\n", ":1: people: the directory passwd has no people of its own"},
		{"[[directories]]\nkind = 'passwd'\npeople = ['any', 'sql']\n[[directories]]\nkind = 'sql'\n", ":1: people: \"any\" stands alone"},
		{"directories = []\n", ":1: directories are written as tables"},
		{"directory = 'embedded'\n[[directories]]\nkind = 'embedded'\n", "exclude each other"},
		{"directory = 'ldap'\n", "directory: \"ldap\" is not known"},
	} {
		if _, err := load(t, x.text); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%q: %v, want %q", x.text, err, x.want)
		}
	}
	if c, err = load(t, "data = '/x'\nname = 'here'\n[[directories]]\nkind = 'oidc'\npeople = ['sql', 'passwd']\n[[directories]]\nkind = 'sql'\n[[directories]]\nkind = 'passwd'\n[[directories]]\nkind = 'saslauthd'\npeople = 'any'\n"); err != nil {
		t.Error(err)
	} else if strings.Join(c.Directories[0].people, " ") != "sql passwd" || strings.Join(c.Directories[3].people, " ") != "any" {
		t.Errorf("people: %+v", c.Directories)
	}
	d := DirectoryConfig{Kind: "x", Cache: "00:30:00", open: sourceForTests}
	if err := d.check(); err != nil || d.cache != 30*time.Minute || d.Name != "x" {
		t.Errorf("check: %+v, %v", d, err)
	}
	d.Cache = "100.00:00:00"
	if err := d.check(); err == nil {
		t.Error("a cache of 100 days is accepted")
	}
}

// TestDirectoryThatDoesNotOpen: the error says which one, and where it stands.
func TestDirectoryThatDoesNotOpen(t *testing.T) {
	c, err := load(t, "data = '/x'\n[[directories]]\nkind = 'embedded'\n[[directories]]\nkind = 'passwd'\nname = 'people'\nfile = 'relative'\n")
	if err != nil {
		t.Fatal(err)
	}
	here := config(t)
	here.Directories = c.Directories
	_, err = Open(t.Context(), here, Options{}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "postern.toml:4: the directory people: file: ") {
		t.Fatal(err)
	}
}

// TestDocumentedDirectories: every example of the documentation is a settings file.
func TestDocumentedDirectories(t *testing.T) {
	text, err := os.ReadFile("../docs/directories.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range strings.Split(string(text), "```toml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		_, err := load(t, "data = '/x'\nname = 'here'\n"+block)
		if err != nil {
			t.Errorf("example %d: %v\n%s", i+1, err, block)
		}
	}
}

func sourceForTests(context.Context, *Server, string) (directory.Source, error) { return nil, nil }
