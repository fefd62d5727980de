// Package powershell reads the module of `postern export-module` with a parser of
// PowerShell.
package powershell

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/test/server"
)

type parsed struct {
	Errors    []string
	Functions map[string][]string // the parameters' names, with the dollar
	Comments  int
}

// parse reads PowerShell. Without the parser the test fails in CI and is skipped
// elsewhere.
func parse(t *testing.T, text []byte) parsed {
	t.Helper()
	tools := filepath.Join(server.Root(), ".tools")
	if _, err := os.Stat(filepath.Join(tools, "tree-sitter-powershell.wasm")); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the PowerShell parser is missing: scripts/test-packages installs it")
		}
		t.Skip("the PowerShell parser is missing: scripts/test-packages installs it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	// Compiling the parser well would take longer than all that it reads.
	cmd := exec.CommandContext(ctx, server.Program(t, "node", "nodejs"), "--liftoff-only", "parse.cjs", tools)
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err, string(out))
	}
	var p parsed
	if err := json.Unmarshal(out, &p); err != nil {
		t.Fatal(err, string(out))
	}
	return p
}

func TestModule(t *testing.T) {
	var module, manifest bytes.Buffer
	if err := manage.WriteModule(&module); err != nil {
		t.Fatal(err)
	}
	if err := manage.WriteManifest(&manifest, "It's Postern.psm1"); err != nil {
		t.Fatal(err)
	}
	p := parse(t, module.Bytes())
	if len(p.Errors) != 0 {
		t.Errorf("the module: %q", p.Errors)
	}
	if m := parse(t, manifest.Bytes()); len(m.Errors) != 0 {
		t.Errorf("the manifest: %q", m.Errors)
	}
	for _, c := range manage.Cmdlets() {
		if c.Name == "Get-Help" || c.Name == "Get-Command" {
			continue
		}
		name := c.Name
		parameters, ok := p.Functions[name]
		if !ok {
			name = strings.Replace(c.Name, "-", "-Postern", 1)
			if parameters, ok = p.Functions[name]; !ok {
				t.Errorf("the module has no function for %s", c.Name)
				continue
			}
		}
		var want []string
		for _, q := range c.Parameters {
			if q.Name == manage.FollowSwitch {
				continue
			}
			if !c.Changes || q.Name != "WhatIf" && q.Name != "Confirm" {
				want = append(want, "$"+q.Name)
			}
		}
		if !slices.Equal(parameters, want) {
			t.Errorf("%s has the parameters %v, want %v", name, parameters, want)
		}
		if !strings.Contains(manifest.String(), "'"+name+"'") {
			t.Errorf("the manifest does not name %s", name)
		}
	}
	// The parser does see what is wrong.
	for _, bad := range []string{"function a { 'it's' }", "@{ a = 1", "Set-A -B @(1, 2", "function a { param([string] $x) process { 'a } }\n"} {
		if len(parse(t, []byte(bad)).Errors) == 0 {
			t.Errorf("%s is taken for right", bad)
		}
	}
}
