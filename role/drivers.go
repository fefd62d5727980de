package role

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/crypt"
	dirembedded "github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/directory/kerberos"
	"github.com/postern-mail/postern/directory/ldap"
	"github.com/postern-mail/postern/directory/oidc"
	"github.com/postern-mail/postern/directory/passwd"
	"github.com/postern-mail/postern/directory/saslauthd"
	"github.com/postern-mail/postern/directory/sql"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
	"github.com/postern-mail/postern/store/memory"
)

// engines is the table of engines: a new one is a row here and a folder below
// store.
var engines = map[string]func(c Config, log *slog.Logger) (store.Engine, error){
	"embedded": func(c Config, log *slog.Logger) (store.Engine, error) {
		after, err := c.compressAfter()
		if err != nil {
			return nil, err
		}
		return embedded.OpenFolder(filepath.Join(c.Data, storeFolder), embedded.Options{Log: log, CompressAfter: after})
	},
	// For trials: what it keeps is gone when the server stops.
	"memory": func(Config, *slog.Logger) (store.Engine, error) { return memory.New(), nil },
}

// embeddedDirectory is Postern's own directory, the only one that New-Mailbox fills.
const embeddedDirectory = "embedded"

// sources is the table of external directories: a new one is a row here and a folder
// below directory. A row gives a pointer to the struct of the driver's own keys in
// the settings file, with its defaults, and what opens the directory once they are
// read.
var sources = map[string]func() (keys any, open openSource){
	"ldap": func() (any, openSource) {
		var o ldap.Options
		return &o, func(context.Context, *Server, string) (directory.Source, error) { return ldap.Open(o) }
	},
	"passwd": func() (any, openSource) {
		var o passwd.Options
		return &o, func(ctx context.Context, s *Server, name string) (directory.Source, error) {
			o.Keeper, o.Log = s.keeper(name), s.log
			return passwd.Open(ctx, o)
		}
	},
	"oidc": func() (any, openSource) {
		var o oidc.Options
		return &o, func(_ context.Context, s *Server, name string) (directory.Source, error) {
			return oidc.Open(o, name, s.log)
		}
	},
	"kerberos": func() (any, openSource) {
		var o kerberos.Options
		return &o, func(_ context.Context, s *Server, name string) (directory.Source, error) {
			return kerberos.Open(o, s.log.With("directory", name))
		}
	},
	"sql": func() (any, openSource) {
		var o sql.Options
		return &o, func(_ context.Context, s *Server, name string) (directory.Source, error) {
			o.Keeper, o.Log = s.keeper(name), s.log
			return sql.Open(o)
		}
	},
	"saslauthd": func() (any, openSource) {
		var o struct {
			saslauthd.Options
			// UsersFile and FirstUID are Options of package passwd.
			UsersFile string `toml:"users_file"`
			FirstUID  int    `toml:"first_uid"`
		}
		return &o, func(ctx context.Context, s *Server, _ string) (directory.Source, error) {
			if o.UsersFile != "" {
				var err error
				if o.People, err = passwd.Open(ctx, passwd.Options{File: o.UsersFile, Domain: o.Domain, FirstUID: o.FirstUID, Log: s.log}); err != nil {
					return nil, mail.Errorf(mail.KindBadArgument, "users_file: %s", mail.TextOf(err))
				}
			}
			return saslauthd.Open(o.Options)
		}
	},
}

// openSource opens an external directory with a name; it does not wait for the other
// side to answer.
type openSource = func(ctx context.Context, s *Server, name string) (directory.Source, error)

// keeper is where a directory keeps SCRAM keys that it made of people's passwords.
func (s *Server) keeper(name string) crypt.Keeper {
	iterations := s.options.Directory.ScramIterations
	if iterations == 0 {
		iterations = dirembedded.DefaultScramIterations
	}
	return crypt.Keeper{Records: s.store, Directory: name, Iterations: iterations, Log: s.log}
}
