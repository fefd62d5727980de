package sql

import (
	"crypto/tls"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/directory/crypt"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Options are a directory's keys in the settings file. Database and Query are needed.
type Options struct {
	// Database is a connection URL, "postgres://user@host/database?sslmode=verify-full",
	// or libpq's "host=… dbname=…".
	Database string `toml:"database"`
	// PasswordFile has the password, so that Database does not.
	PasswordFile string `toml:"password_file"`
	// Query gives the row of one name or alias, the parameter $1; see columns.
	Query string `toml:"query"`
	// Scheme is how passwords are stored that do not say it; CRYPT when it is left
	// out.
	Scheme string `toml:"scheme"`
	// Timeout is a time span: the longest that one question takes; 00:00:05 when it
	// is left out.
	Timeout string `toml:"timeout"`
	// Connections bounds them; 8 when it is 0.
	Connections int `toml:"connections"`

	crypt.KeyOptions

	Keeper crypt.Keeper `toml:"-"` // where KeyOptions.Upgrade keeps keys
	Log    *slog.Logger `toml:"-"` // nil tells nobody
}

// Bounds of Options, and of what the server sends at a time.
const (
	defaultTimeout     = 5 * time.Second
	maxTimeout         = time.Minute
	defaultConnections = 8
	maxConnections     = 256
	maxAnswer          = 1 << 20
)

func (o *Options) prepare() (*pgxpool.Config, time.Duration, error) {
	bad := func(format string, args ...any) (*pgxpool.Config, time.Duration, error) {
		return nil, 0, mail.Errorf(mail.KindBadArgument, format, args...)
	}
	if o.Database == "" {
		return bad("database is needed.")
	}
	config, err := pgxpool.ParseConfig(o.Database)
	if err != nil {
		// pgx's own text has the database without the password.
		return bad("database: %v.", err)
	}
	if o.PasswordFile != "" {
		text, err := os.ReadFile(o.PasswordFile)
		if err != nil {
			return bad("password_file: %v.", err)
		}
		config.ConnConfig.Password = strings.TrimRight(string(text), "\r\n")
	}
	if err := checkEncryption(&config.ConnConfig.Config); err != nil {
		return nil, 0, err
	}
	if err := CheckQuery(o.Query); err != nil {
		return nil, 0, err
	}
	if o.Scheme == "" {
		o.Scheme = "CRYPT"
	}
	if err := crypt.CheckScheme(o.Scheme); err != nil {
		return bad("scheme: %s", mail.TextOf(err))
	}
	timeout := defaultTimeout
	if o.Timeout != "" {
		if timeout, err = settings.ParseSpan(o.Timeout); err != nil {
			return bad("timeout: %s", mail.TextOf(err))
		}
	}
	if timeout <= 0 || timeout > maxTimeout {
		return bad("timeout: more than nothing, at most %s.", settings.FormatSpan(maxTimeout))
	}
	if o.Connections == 0 {
		o.Connections = defaultConnections
	}
	if o.Connections < 1 || o.Connections > maxConnections {
		return bad("connections: 1 to %d.", maxConnections)
	}
	config.MaxConns, config.MinConns, config.MinIdleConns = int32(o.Connections), 0, 0
	config.MaxConnLifetime, config.MaxConnIdleTime = 30*time.Minute, 5*time.Minute
	c := &config.ConnConfig.Config
	c.ConnectTimeout = timeout
	c.MaxProtocolMessageBodyLen = maxAnswer
	// The server gives up too, and lets no query write.
	c.RuntimeParams["statement_timeout"] = strconv.FormatInt(timeout.Milliseconds(), 10)
	c.RuntimeParams["default_transaction_read_only"] = "on"
	c.RuntimeParams["application_name"] = "postern"
	return config, timeout, nil
}

// checkEncryption refuses connections that anybody on the way can take over unless
// the database says sslmode=disable: what comes back decides who gets in.
func checkEncryption(c *pgconn.Config) error {
	ways := []*pgconn.FallbackConfig{{Host: c.Host, TLSConfig: c.TLSConfig}}
	ways = append(ways, c.Fallbacks...)
	clear, proved, unproved := false, false, false
	for _, w := range ways {
		switch {
		case strings.HasPrefix(w.Host, "/"):
		case w.TLSConfig == nil:
			clear = true
		case proves(w.TLSConfig):
			proved = true
		default:
			unproved = true
		}
	}
	if unproved || clear && proved {
		return mail.Errorf(mail.KindBadArgument, "database: sslmode is verify-full (or verify-ca, with sslrootcert), or disable for a connection without TLS.")
	}
	return nil
}

func proves(c *tls.Config) bool {
	return !c.InsecureSkipVerify || c.VerifyPeerCertificate != nil || c.VerifyConnection != nil
}

// What is left out of a query before it is judged, and what is judged.
var (
	quoted    = regexp.MustCompile(`(?s)'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/`)
	parameter = regexp.MustCompile(`\$[0-9]+`)
	variable  = regexp.MustCompile(`%[A-Za-z{]|\{\{|\$\{|:[a-z_]*name\b|\?`)
)

// CheckQuery tells whether a query takes the name as the parameter $1 and in no other
// way. KindBadArgument with the reason.
func CheckQuery(query string) error {
	bad := func(text string) error { return mail.Errorf(mail.KindBadArgument, "query: %s", text) }
	if strings.TrimSpace(query) == "" {
		return bad("it is needed.")
	}
	if strings.ContainsRune(query, 0) || len(query) > 16<<10 {
		return bad("it has at most 16384 octets, none of them 0.")
	}
	if m := variable.FindString(strings.ReplaceAll(query, "::", "")); m != "" {
		return bad("it has " + m + ", and nothing is put into its text; the name is the parameter $1.")
	}
	bare := quoted.ReplaceAllString(query, " ")
	used := parameter.FindAllString(bare, -1)
	if len(used) == 0 {
		return bad("it does not use the parameter $1, without quotes, so that it gives the same for every name.")
	}
	for _, p := range used {
		if p != "$1" {
			return bad("it has the parameter " + p + "; there is $1, the name, alone.")
		}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(bare), " ")
	if first = strings.ToUpper(strings.Fields(first)[0]); first != "SELECT" && first != "WITH" {
		return bad("it is not a SELECT.")
	}
	if strings.Contains(strings.TrimRight(bare, "; \t\r\n"), ";") {
		return bad("it is more than one.")
	}
	return nil
}
