package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// copyTree copies what git knows of the repository into a folder.
func copyTree(t *testing.T, to string) {
	t.Helper()
	list, err := exec.Command("git", "-C", server.Root(), "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		from, path := filepath.Join(server.Root(), name), filepath.Join(to, name)
		info, err := os.Stat(from)
		if err != nil {
			continue // removed, and not yet committed
		}
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = os.WriteFile(path, text, info.Mode().Perm())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// release runs scripts/release in a tree.
func release(t *testing.T, tree, out string, env []string, key ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(tree, "scripts", "release"), append([]string{"v0.0.1-test", out}, key...)...)
	cmd.Env = append(os.Environ(), append(env, "ARCHITECTURES=amd64")...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// TestReproducible: two releases, made in different folders at different times, have equal bytes;
// with POSTERN_RELEASE=fresh nothing that the first compiled is used for the second. It compiles all anew, which
// takes minutes: without POSTERN_RELEASE it is skipped.
func TestReproducible(t *testing.T) {
	how := os.Getenv("POSTERN_RELEASE")
	if how == "" {
		t.Skip("makes two releases; make prove does")
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := exec.Command(server.Program(t, "ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-C", "throw-away", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	outs := []string{filepath.Join(dir, "first"), filepath.Join(dir, "second")}
	for i, tree := range []string{filepath.Join(dir, "a"), filepath.Join(dir, "another", "and much longer", "path")} {
		copyTree(t, tree)
		var env []string
		if i == 1 {
			env = append(env, "GOFLAGS=-race", "CGO_ENABLED=1", "TZ=Asia/Tokyo", "LANG=de_DE.UTF-8", "SOURCE_DATE_EPOCH=1")
			if how == "fresh" {
				env = append(env, "GOCACHE="+filepath.Join(dir, "cache"))
			}
			time.Sleep(1100 * time.Millisecond) // whole seconds get into files
		}
		release(t, tree, outs[i], env, key)
	}
	names := map[string]bool{}
	for _, out := range outs {
		entries, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names[e.Name()] = true
		}
	}
	same := 0
	for name := range names {
		a, errA := os.ReadFile(filepath.Join(outs[0], name))
		b, errB := os.ReadFile(filepath.Join(outs[1], name))
		if errA != nil || errB != nil {
			t.Errorf("%s: %v, %v", name, errA, errB)
			continue
		}
		if !bytes.Equal(a, b) { // an ed25519 signature is the same too
			t.Errorf("%s differs: %x and %x", name, sha256.Sum256(a), sha256.Sum256(b))
			continue
		}
		same++
	}
	program := filepath.Join(outs[0], "postern-v0.0.1-test-linux-amd64")
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range []string{dir, server.Root() + "/", os.Getenv("HOME") + "/go/"} {
		if bytes.Contains(text, []byte(trace)) {
			t.Errorf("the program names %s", trace)
		}
	}
	if out, err := exec.Command(program, "version").Output(); err != nil || strings.TrimSpace(string(out)) != "postern v0.0.1-test" {
		t.Errorf("it says %q, %v", out, err)
	}
	checkBill(t, program+".cdx.json")
	verify(t, outs[0], key)
	t.Logf("prove: files of a release that two builds made equal: %d", same)
}

// checkBill: the SBOM names each module that the program says it is made of, with its
// version, a licence and a checksum.
func checkBill(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		BOMFormat  string `json:"bomFormat"`
		Components []struct {
			Name, Version string
			Hashes        []struct{ Content string }
			Evidence      struct{ Licenses []any }
			Licenses      []any
		}
	}
	if err := json.Unmarshal(text, &bill); err != nil || bill.BOMFormat != "CycloneDX" {
		t.Fatal(bill.BOMFormat, err)
	}
	has := map[string]bool{}
	for _, c := range bill.Components {
		has[c.Name+" "+c.Version] = true
		if c.Name != "std" && (len(c.Hashes) == 0 || len(c.Licenses)+len(c.Evidence.Licenses) == 0) {
			t.Errorf("%s %s has no checksum or no licence", c.Name, c.Version)
		}
	}
	out, err := exec.Command("go", "version", "-m", strings.TrimSuffix(path, ".cdx.json")).Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := 0
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "dep" {
			if modules++; !has[f[1]+" "+f[2]] {
				t.Errorf("the SBOM lacks %s %s", f[1], f[2])
			}
		}
	}
	if modules < 30 {
		t.Errorf("%d modules", modules)
	}
	t.Logf("%d modules", modules)
}

// verify does what docs/release.md says, and again with bytes that were changed.
func verify(t *testing.T, out, key string) {
	t.Helper()
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	signers := filepath.Join(t.TempDir(), "allowed_signers")
	if err := os.WriteFile(signers, append([]byte("release@postern.example "), public...), 0o600); err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(out, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	signed := func(sums []byte, who string) error {
		cmd := exec.Command("ssh-keygen", "-Y", "verify", "-f", signers, "-I", who, "-n", "postern-release", "-s", filepath.Join(out, "SHA256SUMS.sig"))
		cmd.Stdin = bytes.NewReader(sums)
		return cmd.Run()
	}
	if err := signed(sums, "release@postern.example"); err != nil {
		t.Errorf("the signature: %v", err)
	}
	changed := slices.Clone(sums)
	changed[0] ^= 1
	if signed(changed, "release@postern.example") == nil || signed(sums, "another@postern.example") == nil {
		t.Error("a wrong signature counts")
	}
	check := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	check.Dir = out
	if text, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	entries, _ := os.ReadDir(out)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "SHA256SUMS") && !bytes.Contains(sums, []byte("  "+e.Name()+"\n")) {
			t.Errorf("%s has no checksum", e.Name())
		}
	}
}

// TestSigned: signing and verifying as scripts/release and docs/release.md do, without building.
func TestSigned(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	keygen := server.Program(t, "ssh-keygen", "openssh-client")
	if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script, err := os.ReadFile(filepath.Join(server.Root(), "scripts", "release"))
	if err != nil {
		t.Fatal(err)
	}
	_, tail, found := strings.Cut(string(script), "cd \"$out\"\n")
	if !found {
		t.Fatal("scripts/release ends otherwise")
	}
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "postern"), []byte("a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "set -eu\ncd \"$out\"\n"+tail)
	cmd.Env = append(os.Environ(), "out="+out, "key="+key)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	verify(t, out, key)
}

// TestRefused: what is no version, or a folder that has something, makes no release.
func TestRefused(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{}, {"1.2.3", t.TempDir()}, {"v1", t.TempDir()}, {"v1.2.3", full}, {"v1.2.3", t.TempDir(), "/nonexistent/key"}} {
		if out, err := exec.Command(filepath.Join(server.Root(), "scripts", "release"), args...).CombinedOutput(); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}
