package manage

import (
	"fmt"
	"io"
	"strings"
)

// WriteDocs writes the page of all cmdlets as Markdown, made from Cmdlets.
func WriteDocs(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Cmdlets\n\nMade from `manage.Cmdlets` by `make docs`; do not edit. `postern shell` is the interactive shell;\n")
	b.WriteString("`postern CMDLET …` runs one from any terminal. Names of cmdlets and parameters are read in any case,\nparameters may be shortened.\n\n")
	b.WriteString("| Cmdlet | What it does | Needs |\n| --- | --- | --- |\n")
	table := Cmdlets()
	for _, c := range table {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s |\n", c.Name, strings.ToLower(c.Name), cell(c.Synopsis), roleText(c))
	}
	for _, c := range table {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", c.Name, strings.TrimSpace(c.Synopsis+" "+c.Help))
		if len(c.Aliases) > 0 {
			fmt.Fprintf(&b, "Other names: `%s`.\n\n", strings.Join(c.Aliases, "`, `"))
		}
		for _, e := range c.Examples {
			fmt.Fprintf(&b, "    %s\n", e.Line)
		}
		b.WriteString("\n| Parameter | Type | Default | Meaning |\n| --- | --- | --- | --- |\n")
		for _, p := range c.Parameters {
			help := p.Help
			if p.Mandatory {
				help = "Mandatory. " + help
			}
			if p.Pipeline {
				help += " From a pipe."
			}
			fmt.Fprintf(&b, "| `-%s` | %s | %s | %s |\n", p.Name, typeText(p), cell(p.Default), cell(help))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cell keeps a text within one cell of a Markdown table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
