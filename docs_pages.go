package main

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/postern-mail/postern/rfc"
)

const generatedNote = "<!-- Made by `make docs`; do not edit. -->\n\n"

// rfcPage shows the index of RFCs.
func rfcPage() ([]byte, error) {
	rows, err := rfc.Index()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# RFCs\n\n" + generatedNote + "`yes`: followed whole. `partly`: the note says what is missing. `no`: not yet. `used`: formats and rules that Postern relies on.\n\n")
	b.WriteString("| RFC | Title | Status | Note |\n| --- | --- | --- | --- |\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.Number, r.Title, r.Status, r.Note)
	}
	return b.Bytes(), nil
}

// deviationsPage collects the comments that begin with DEVIATES.
func deviationsPage() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Deviations\n\n" + generatedNote + "Where Postern does otherwise than an RFC or than Exchange, and why; each stands as a comment at the place.\n\n")
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, group := range file.Comments {
			for _, paragraph := range strings.Split(group.Text(), "\n\n") {
				// The name of the mark is put together so that this line is not one.
				if _, what, found := strings.Cut(paragraph, "DEV"+"IATES:"); found {
					fmt.Fprintf(&b, "- `%s`: %s\n", filepath.ToSlash(path), strings.Join(strings.Fields(what), " "))
				}
			}
		}
		return nil
	})
	return b.Bytes(), err
}
