package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/metrics"
	"github.com/postern-mail/postern/settings"
)

// generated are the pages of docs that follow from the code.
var generated = map[string]func() ([]byte, error){
	"docs/settings.md":   written(settings.WriteDocs),
	"docs/cmdlets.md":    written(manage.WriteDocs),
	"docs/rights.md":     written(manage.WriteRights),
	"docs/events.md":     written(event.WriteDocs),
	"docs/metrics.md":    written(metrics.WriteDocs),
	"docs/rfc.md":        rfcPage,
	"docs/deviations.md": deviationsPage,

	"docs/grafana/postern.json": written(metrics.WriteDashboard),
}

func written(write func(io.Writer) error) func() ([]byte, error) {
	return func() ([]byte, error) {
		var b bytes.Buffer
		err := write(&b)
		return b.Bytes(), err
	}
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
