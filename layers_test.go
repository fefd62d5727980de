package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layers says who may import whom, bottom to top: a package imports only packages
// of the lines above its own. A folder stands for itself alone; tests may import
// anything. Change it in review, not to make a build pass.
const layers = `
mail
sandbox
language
event
rfc
message
convert
krb5
krb5/krb5test
sasl
totp
strength
seal
backup
deflate
demo
settings
metrics
tracing
probe
protolog
imap/wire
directory
store
directory/directorytest
store/storetest
store/memory
store/embedded
directory/embedded
directory/chain
directory/ldap
directory/crypt
directory/passwd
directory/sql
directory/saslauthd
directory/oidc
directory/kerberos
ntlm
auth
statistics
listener
certificate
acme
imap
pop3
lmtp
audit
manage
manage/managetest
shell
console
role
bench/storm
bench
scripts/sbom
.
`

// drivers are imported by role alone (and by tests): everything else uses the
// contract.
var drivers = []string{"store/memory", "store/embedded", "directory/embedded", "directory/chain", "directory/ldap", "directory/passwd", "directory/sql", "directory/saslauthd", "directory/oidc", "ntlm", "directory/kerberos"}

// apart are packages that never import each other.
var apart = [][]string{
	{"imap", "pop3", "lmtp", "manage"},
	{"message", "sasl", "settings"},
	{"store/memory", "store/embedded", "directory/embedded", "directory/chain", "directory/ldap", "directory/passwd", "directory/sql", "directory/saslauthd", "directory/oidc", "directory/kerberos"},
}

const module = "github.com/postern-mail/postern"

func TestLayers(t *testing.T) {
	place := map[string]int{}
	for i, line := range strings.Fields(layers) {
		place[line] = i
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || path == "test") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		folder := filepath.ToSlash(filepath.Dir(path))
		mine, known := place[folder]
		if !known {
			t.Errorf("%s: the folder %q has no layer", path, folder)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name := strings.Trim(spec.Path.Value, `"`)
			if name != module && !strings.HasPrefix(name, module+"/") {
				continue
			}
			other := strings.TrimPrefix(strings.TrimPrefix(name, module), "/")
			theirs, known := place[other]
			switch {
			case !known:
				t.Errorf("%s imports %q, which has no layer", path, other)
			case theirs >= mine:
				t.Errorf("%s imports %q, which is not below %q", path, other, folder)
			}
			if folder != "role" && folder != "manage/managetest" { // which is imported by tests alone
				for _, driver := range drivers {
					if other == driver {
						t.Errorf("%s imports the driver %q: only role does", path, other)
					}
				}
			}
			for _, group := range apart {
				if slices.Contains(group, folder) && slices.Contains(group, other) {
					t.Errorf("%s: %q and %q stand side by side and do not import each other", path, folder, other)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
