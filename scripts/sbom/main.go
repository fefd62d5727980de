// Sbom tells what a program of Go is made of, as CycloneDX: `go run ./scripts/sbom PROGRAM
// VERSION`. The modules and their checksums are those that the program itself names; licences
// are found in the modules' files. It has no time and no number of its own, so that two builds have equal ones.
package main

import (
	"cmp"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	classifier "github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "sbom PROGRAM VERSION")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func write(program, version string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	folders, err := modules()
	if err != nil {
		return err
	}
	known, err := assets.DefaultClassifier()
	if err != nil {
		return err
	}
	main := cdx.Component{
		BOMRef: "postern", Type: cdx.ComponentTypeApplication, Name: "postern", Version: version, PackageURL: purl(info.Main.Path, version),
		Licenses: named(licences(known, ".")),
	}
	bill := cdx.NewBOM()
	bill.Metadata = &cdx.Metadata{Component: &main}
	std := strings.TrimPrefix(strings.Fields(info.GoVersion)[0], "go")
	components := []cdx.Component{{
		BOMRef: purl("std", std), Type: cdx.ComponentTypeLibrary, Name: "std", Version: std, PackageURL: purl("std", std),
		Description: "Go's standard library", Licenses: named([]string{"BSD-3-Clause"}),
	}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
		if err != nil || len(sum) == 0 {
			return fmt.Errorf("%s has no checksum", m.Path)
		}
		i := slices.IndexFunc(folders, func(f module) bool { return f.path == m.Path && f.version == m.Version })
		if i < 0 {
			return fmt.Errorf("%s was not built from this source: it has %s %s", program, m.Path, m.Version)
		}
		found := of(known, folders[i])
		if len(found) == 0 {
			return fmt.Errorf("%s has no licence that is known", m.Path)
		}
		components = append(components, cdx.Component{
			BOMRef: purl(m.Path, m.Version), Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl(m.Path, m.Version), Scope: cdx.ScopeRequired,
			// go.sum's h1: the SHA-256 of the list of the files' SHA-256.
			Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}, Licenses: named(found),
		})
	}
	slices.SortFunc(components, func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	bill.Components = &components
	return cdx.NewBOMEncoder(os.Stdout, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bill)
}

func purl(path, version string) string { return "pkg:golang/" + path + "@" + version }

func named(ids []string) *cdx.Licenses {
	var list cdx.Licenses
	for _, id := range ids {
		list = append(list, cdx.LicenseChoice{License: &cdx.License{ID: id}})
	}
	return &list
}

// module is one that is compiled into the program.
type module struct{ path, version, dir string }

// modules gives those of the program whose source is the working folder, ordered.
func modules() (list []module, err error) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if .Version}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}", ".")
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 {
			if m := (module{f[0], f[1], f[2]}); !slices.Contains(list, m) {
				list = append(list, m)
			}
		}
	}
	slices.SortFunc(list, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return list, nil
}

// chosen are the licences of modules that leave the choice.
var chosen = map[string]string{
	"kernel.org/pub/linux/libs/security/libcap/cap": "BSD-3-Clause", // or GPL-2.0
	"kernel.org/pub/linux/libs/security/libcap/psx": "BSD-3-Clause", // or GPL-2.0
}

// of gives the licences of a module, ordered.
func of(known *classifier.Classifier, m module) []string {
	if one, ok := chosen[m.path]; ok {
		return []string{one}
	}
	return licences(known, m.dir)
}

// licences names the licences whose text stands in a folder, ordered, each once.
func licences(known *classifier.Classifier, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		for _, m := range known.Match(text).Matches {
			if m.MatchType == "License" && !slices.Contains(names, m.Name) {
				names = append(names, m.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}
