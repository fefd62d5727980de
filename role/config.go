package role

import (
	"bytes"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/ntlm"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/tracing"
)

// The roles that a server can have.
const (
	ClientAccess = "ClientAccess"
	Mailbox      = "Mailbox"
)

// Config is the settings file: what must be known before the store is open.
// Everything else is a live setting kept in the store.
type Config struct {
	// Data is the folder with all that the server keeps.
	Data string `toml:"data"`
	// Name is the server's name; the host name when it is left out.
	Name string `toml:"name"`
	// Roles are ClientAccess and Mailbox; both when they are left out.
	Roles []string `toml:"roles"`
	// Directory says who exists, a row of drivers.go; "embedded" when it is left
	// out.
	Directory string `toml:"directory"`
	// Directories are several directories in the order in which they are asked, instead
	// of Directory; see DirectoryConfig. Set by LoadConfig alone.
	Directories []DirectoryConfig `toml:"-"`
	// Engine keeps the mail, a row of drivers.go; "embedded" when it is left out.
	Engine string `toml:"engine"`
	// Socket is the management socket's path; postern.sock in the folder of
	// sockets when it is left out (see DefaultSocket).
	Socket string `toml:"socket"`
	// Administrators is the operating-system group whose members are local
	// administrators, beside root; under root "postern-admin" when it is left out,
	// else none.
	Administrators string `toml:"administrators"`
	// User is whom the server becomes when root starts it: "postern" when it is left out and
	// there is such a user; "root" stays root. See Become.
	User string `toml:"user"`
	// Sandbox is the table [sandbox].
	Sandbox SandboxConfig `toml:"sandbox"`
	// LMTP are the addresses of delivery: IP:port, or a path with a leading "/".
	// When it is empty: 127.0.0.1:24 and lmtp.sock beside the management socket.
	LMTP []string `toml:"lmtp"`
	// Log is how the log is written: text on standard error, json there, or
	// journald; text when it is left out.
	Log string `toml:"log"`
	// MaxMessageSize is the largest message in bytes; 64 MiB when it is 0.
	MaxMessageSize int64 `toml:"max_message_size"`
	// CompressAfter is a time span such as 1.00:00:00: how old a large message is when the
	// embedded engine compresses it in the background; never when it is left out.
	CompressAfter string `toml:"compress_after"`
	// Metrics is an IP:port where metrics and health are served over HTTP to whoever
	// asks, without a sign-in; "" is none.
	Metrics string `toml:"metrics"`
	// Traces is the URL of an OpenTelemetry collector (OTLP over HTTP); when it is
	// left out the variable OTEL_EXPORTER_OTLP_ENDPOINT says it, and without both there
	// are no traces.
	Traces string `toml:"traces"`
	// NTLM is the helper that checks NTLM, the table [ntlm]; there is none when it is
	// left out.
	NTLM *ntlm.Options `toml:"ntlm"`
	// Authentication is the table [authentication].
	Authentication AuthenticationConfig `toml:"authentication"`
	// TracesSample is the part of sessions that is traced, above 0 to 1; 0.1 when it
	// is left out.
	TracesSample float64 `toml:"traces_sample"`

	named []string // absolute paths in the settings file
}

// DefaultConfig is what holds without a settings file: under root the system's
// folders, for another user those of the user.
func DefaultConfig() Config {
	c := Config{Roles: []string{ClientAccess, Mailbox}, Engine: "embedded", Directory: "embedded"}
	c.Name, _ = os.Hostname()
	if c.Name == "" {
		c.Name = "localhost"
	}
	c.Data = defaultData()
	if os.Getuid() == 0 {
		c.Administrators = "postern-admin"
	}
	c.Socket = DefaultSocket()
	return c
}

// defaultData is the data folder when nothing else is said, "" for a user without
// a home.
func defaultData() string {
	if os.Getuid() == 0 {
		return "/var/lib/postern"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "postern")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "postern")
	}
	return ""
}

// DefaultSocket is where the management socket is when nothing else is said. It is
// never in a folder that other users can write to: passwords go through it.
func DefaultSocket() string {
	if os.Getuid() == 0 {
		return "/run/postern/postern.sock"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "postern", "postern.sock")
	}
	return filepath.Join(defaultData(), "postern.sock")
}

// DefaultConfigFile is the settings file that is read when it is there and no
// other is named.
const DefaultConfigFile = "/etc/postern/postern.toml"

// LoadConfig reads a settings file over the defaults. With path "" it reads
// DefaultConfigFile if that exists. An unknown key or a wrong value is an error
// that names the line.
func LoadConfig(path string) (Config, error) {
	c := DefaultConfig()
	named := path != ""
	if !named {
		path = DefaultConfigFile
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !named {
		return c, c.check()
	}
	if err != nil {
		return c, mail.Errorf(mail.KindUnavailable, "The settings file cannot be read: %v", err)
	}
	// Which keys a [[directories]] table has depends on its kind: see
	// readDirectories.
	file := struct {
		*Config
		Directories []map[string]any `toml:"directories"`
	}{Config: &c}
	c.Directory = ""
	d := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		var strict *toml.StrictMissingError
		var decode *toml.DecodeError
		switch {
		case errors.As(err, &strict):
			row, _ := strict.Errors[0].Position()
			return c, mail.Errorf(mail.KindBadArgument, "%s:%d: there is no setting %q here; the keys are data, name, roles, engine, directory, directories, socket, administrators, lmtp, log, max_message_size, compress_after, metrics, ntlm, authentication, traces, traces_sample, user and sandbox. Other settings are set in the shell.",
				path, row, strings.Join(strict.Errors[0].Key(), "."))
		case errors.As(err, &decode):
			row, column := decode.Position()
			return c, mail.Errorf(mail.KindBadArgument, "%s:%d:%d: %s", path, row, column, decode.Error())
		}
		return c, mail.Errorf(mail.KindBadArgument, "%s: %v", path, err)
	}
	if c.Directories, err = readDirectories(path, text); err != nil {
		return c, err
	}
	c.named = namedPaths(text)
	if len(c.Directories) > 0 && c.Directory != "" {
		return c, mail.Errorf(mail.KindBadArgument, "%s: directory and [[directories]] exclude each other; directory = %q is [[directories]] with kind = %q.", path, c.Directory, c.Directory)
	}
	return c, c.check()
}

func (c *Config) check() error {
	bad := func(format string, args ...any) error {
		return mail.Errorf(mail.KindBadArgument, format, args...)
	}
	if c.Data == "" || c.Name == "" || c.Socket == "" {
		return bad("data, name and socket are not empty.")
	}
	var err error
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return bad("data: %v", err)
	}
	if c.Socket, err = filepath.Abs(c.Socket); err != nil {
		return bad("socket: %v", err)
	}
	if len(c.Socket) > 107 {
		return bad("The path of the management socket has %d bytes; the system allows 107.", len(c.Socket))
	}
	for i, r := range c.Roles {
		switch {
		case strings.EqualFold(r, ClientAccess):
			c.Roles[i] = ClientAccess
		case strings.EqualFold(r, Mailbox):
			c.Roles[i] = Mailbox
		default:
			return bad("roles: %q is neither ClientAccess nor Mailbox.", r)
		}
	}
	if !slices.Contains(c.Roles, Mailbox) {
		return bad("roles: a server needs the Mailbox role; Client Access alone, with the mail on another host, is not there yet.")
	}
	if engines[c.Engine] == nil {
		return bad("engine: %q is not known; there is %s.", c.Engine, strings.Join(slices.Sorted(maps.Keys(engines)), ", "))
	}
	if c.Directory == "" {
		c.Directory = embeddedDirectory
	}
	if c.Directory != embeddedDirectory {
		return bad("directory: %q is not known; there is %s. Others are [[directories]].", c.Directory, embeddedDirectory)
	}
	if len(c.LMTP) == 0 {
		c.LMTP = []string{filepath.Join(filepath.Dir(c.Socket), "lmtp.sock"), "127.0.0.1:24"}
	}
	if c.Log != "" && !slices.Contains(event.Formats, event.Format(c.Log)) {
		return bad("log: %q is none of text, json and journald.", c.Log)
	}
	if _, err := c.lmtpBindings(); err != nil {
		return err
	}
	if _, err := netip.ParseAddrPort(c.Metrics); c.Metrics != "" && err != nil {
		return bad("metrics: %q is not IP:port.", c.Metrics)
	}
	if c.NTLM != nil {
		if _, err := ntlm.Open(*c.NTLM); err != nil { // which starts nothing
			return err
		}
	}
	if _, err := c.Authentication.limits(auth.Limits{}); err != nil {
		return err
	}
	if err := c.Sandbox.check(); err != nil {
		return err
	}
	if c.Traces != "" {
		if _, err := tracing.Endpoint(c.Traces); err != nil {
			return bad("traces: %s", mail.TextOf(err))
		}
	}
	if !(c.TracesSample >= 0 && c.TracesSample <= 1) {
		return bad("traces_sample is above 0 and at most 1.")
	}
	if c.MaxMessageSize < 0 || c.MaxMessageSize > 1<<30 {
		return bad("max_message_size is 1 to 1073741824 bytes.")
	}
	if _, err := c.compressAfter(); err != nil {
		return bad("compress_after: %s", mail.TextOf(err))
	}
	return nil
}

// compressAfter gives CompressAfter, 0 for never.
func (c Config) compressAfter() (time.Duration, error) {
	if c.CompressAfter == "" {
		return 0, nil
	}
	d, err := settings.ParseSpan(c.CompressAfter)
	return max(d, 1), err // 00:00:00 is at once
}
