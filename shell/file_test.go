package shell

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// TestFiles: the shell reads the files that parameters name, and completes their
// paths.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"full": manage.MaxFile, "big": manage.MaxFile + 1, "false": 1} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmdlet := &manage.Cmdlet{Name: "Import-X", Parameters: []manage.Parameter{{Name: "Path", Type: manage.TypeFile}, {Name: "Name", Type: manage.TypeText}}}
	bound := map[string]any{"Path": filepath.Join(dir, "full"), "Name": "/etc/passwd"}
	if err := readFiles(cmdlet, bound); err != nil {
		t.Fatal(err)
	}
	if content, ok := bound["Path"].(manage.FileContent); !ok || len(content.Base64) != manage.MaxFile || bound["Name"] != "/etc/passwd" {
		t.Error(bound)
	}
	for _, name := range []string{"big", "none", "folder"} {
		if err := readFiles(cmdlet, map[string]any{"Path": filepath.Join(dir, name)}); mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	got := files(dir + "/f")
	slices.Sort(got)
	if d := cmp.Diff([]string{dir + "/false", dir + "/folder/", dir + "/full"}, got); d != "" {
		t.Error(d)
	}
}
