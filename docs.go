package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/postern-mail/postern/settings"
)

// generated are the pages of docs that follow from the code.
var generated = map[string]func() ([]byte, error){
	"docs/settings.md": func() ([]byte, error) {
		var b bytes.Buffer
		err := settings.WriteDocs(&b)
		return b.Bytes(), err
	},
	"docs/cmdlets.md":    cmdletsPage,
	"docs/rfc.md":        rfcPage,
	"docs/deviations.md": deviationsPage,
}

type docsCommand struct{}

func (docsCommand) Run(s *streams) error {
	for path, page := range generated {
		text, err := page()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(s.out, path)
	}
	return nil
}
