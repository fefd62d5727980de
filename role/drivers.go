package role

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/postern-mail/postern/directory"
	dirembedded "github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
	"github.com/postern-mail/postern/store/memory"
)

// engines is the table of engines: a new one is a row here and a folder below
// store.
var engines = map[string]func(c Config, log *slog.Logger) (store.Engine, error){
	"embedded": func(c Config, log *slog.Logger) (store.Engine, error) {
		return embedded.Open(filepath.Join(c.Data, "store"), embedded.Options{Log: log})
	},
	// For trials: what it keeps is gone when the server stops.
	"memory": func(Config, *slog.Logger) (store.Engine, error) { return memory.New(), nil },
}

// directories is the table of directories: a new one is a row here and a folder
// below directory.
var directories = map[string]func(ctx context.Context, s *Server) (directory.Writable, error){
	"embedded": func(ctx context.Context, s *Server) (directory.Writable, error) {
		return dirembedded.Open(ctx, s.store, s.options.Directory)
	},
}
