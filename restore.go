package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/role"
	"github.com/postern-mail/postern/shell"
)

type restoreCommand struct {
	Path        string `arg:"" help:"The folder of the backup." placeholder:"FOLDER"`
	PointInTime string `help:"The last point not after this time, such as 2026-11-23T14:30:00Z or '2026-11-23 14:30' (UTC); the last of all when it is left out." placeholder:"TIME"`
	Config      string `help:"The server's settings file; /etc/postern/postern.toml when it is there." placeholder:"FILE"`
	Data        string `help:"Data folder, instead of the settings file's." placeholder:"DIR"`
}

// Run puts a whole server back. The server does not run.
func (c restoreCommand) Run(s *streams) error {
	config, err := role.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	if c.Data != "" {
		config.Data = c.Data
	}
	at, err := manage.ParseTime(c.PointInTime, time.Now())
	if err != nil {
		return err
	}
	log, err := s.logger(event.Text, slog.LevelWarn)
	if err != nil {
		return err
	}
	bar := shell.NewBar(shell.Stdio())
	done, err := role.Restore(s.ctx, config, role.Restoring{Path: c.Path, At: at, Who: manage.UnixIdentity(os.Getuid()), Progress: bar.Show}, log)
	bar.End()
	if err != nil {
		if s.ctx.Err() != nil {
			return mail.Errorf(mail.KindUnavailable, "It was ended before it was done; %s is not whole, and no server starts with it until postern restore is done.", config.Data)
		}
		return err
	}
	fmt.Fprintf(s.out, "The server %s of %s is restored in %s: %d files with %d bytes.\n", done.Server, done.Time.Format(time.RFC3339), config.Data, done.Files, done.Bytes)
	fmt.Fprintln(s.out, "Mail programs read their folders anew. What was changed or revoked since then is as it was: passwords, app passwords, API tokens, administrators.")
	if done.WithoutKeys {
		fmt.Fprintln(s.out, "The backup has no keys: the server needs certificates, and second factors and readable passwords must be set anew.")
	}
	return nil
}
