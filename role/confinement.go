package role

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/pelletier/go-toml/v2"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/sandbox"
	"github.com/postern-mail/postern/settings"
)

// SandboxConfig is the table [sandbox] of the settings file.
type SandboxConfig struct {
	// Mode is on, required or off; on when it is left out.
	Mode string `toml:"mode"`
	// Read are files and folders that the server may read besides its own, Write those
	// that it may change too.
	Read  []string `toml:"read"`
	Write []string `toml:"write"`
}

func (c *SandboxConfig) check() error {
	if c.Mode == "" {
		c.Mode = string(sandbox.On)
	}
	if !slices.Contains(sandbox.Modes, sandbox.Mode(c.Mode)) {
		return mail.Errorf(mail.KindBadArgument, "sandbox: mode: %q is none of on, required and off.", c.Mode)
	}
	for _, path := range slices.Concat(c.Read, c.Write) {
		if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
			return mail.Errorf(mail.KindBadArgument, "sandbox: %q is not an absolute path below /.", path)
		}
	}
	return nil
}

// The users of a server that root starts and whose settings file names none.
const (
	ownUser  = "postern" // when there is one
	rootUser = "root"
)

// Become gives up what root has, if root starts the server and there is a user for it: it makes the
// data folder and the sockets' folder that user's when they are new, and the process for ever.
// It comes before Open, so that no file is root's. KindBadArgument when a user is named that
// does not exist, KindNoPermission when the data folder is another's; after other errors
// the process is to end.
func (c *Config) Become() error {
	others := syscall.Umask(0o027) // the store's files are for nobody else
	syscall.Umask(others | 0o027)
	if os.Geteuid() != 0 || c.User == rootUser {
		return nil
	}
	name := c.User
	if name == "" {
		name = ownUser
	}
	id, found, err := sandbox.Lookup(name, c.Administrators)
	switch {
	case err != nil:
		return mail.Errorf(mail.KindUnavailable, "The user %s cannot be looked up: %v", name, err)
	case !found && c.User == "":
		return nil // Confine says that it runs as root
	case !found:
		return mail.Errorf(mail.KindBadArgument, "user: this host has no user %q.", name)
	case id.UID == 0:
		return mail.Errorf(mail.KindBadArgument, "user: %q is root by another name.", name)
	}
	if err := c.handOver(id); err != nil {
		return err
	}
	if err := id.Become(); err != nil {
		return mail.Errorf(mail.KindUnavailable, "The server cannot become the user %s: %v", name, err)
	}
	return nil
}

// handOver makes folders the user's that are new, or empty.
func (c *Config) handOver(id sandbox.Identity) error {
	failed := func(err error) error {
		return mail.Errorf(mail.KindUnavailable, "A folder cannot be given to the user %s: %v", id.Name, err)
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return mail.Errorf(mail.KindUnavailable, "The data folder cannot be made: %v", err)
	}
	info, err := os.Stat(c.Data)
	if err != nil {
		return failed(err)
	}
	if owner, known := info.Sys().(*syscall.Stat_t); known && int(owner.Uid) != id.UID {
		entries, err := os.ReadDir(c.Data)
		if err != nil {
			return failed(err)
		}
		if len(entries) > 0 {
			return mail.Errorf(mail.KindNoPermission, "The data folder %s is not the user %s's, whom the server is to become. Give it: chown -R %s: %s. Or let the server be root: user = \"root\" in the settings file.", c.Data, id.Name, id.Name, c.Data)
		}
		if err := os.Chown(c.Data, id.UID, id.GID); err != nil {
			return failed(err)
		}
	}
	// /run/postern is the server's own; another folder may be somebody else's too.
	folder := filepath.Dir(c.Socket)
	_, err = os.Stat(folder)
	if made := errors.Is(err, fs.ErrNotExist); !made && folder != filepath.Dir(DefaultSocket()) {
		return nil
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return failed(err)
	}
	group := id.GID
	if admins, found := sandbox.Group(c.Administrators); found {
		group = admins
	}
	if err := os.Chown(folder, id.UID, group); err != nil {
		return failed(err)
	}
	return nil
}

// systemFiles are what Go's library and ours read late: names and addresses, users, time
// zones, authorities, figures of the process. /etc as a whole, because files there are replaced by
// others of the same name.
var systemFiles = []string{
	"/etc", "/usr", "/lib", "/lib64", "/proc/self", "/proc/stat", "/proc/meminfo", "/proc/sys", "/dev/urandom", "/var/lib/sss",
	// To which /etc/resolv.conf leads, now or later.
	"/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/run/connman",
}

// backupFolder is where backups are made when it is there at the start and nothing else is said.
const backupFolder = "/var/backups/postern"

// linkedFiles may lead out of them: to /run, or with openSUSE's authorities to /var/lib.
var linkedFiles = []string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/localtime",
	"/etc/ssl/certs", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/tls/cacert.pem",
}

// Folders for a helper of NTLM: what it may execute, and where Samba keeps its state.
var (
	helperPrograms = []string{"/usr", "/bin", "/sbin", "/lib", "/lib64"}
	helperState    = []string{"/run/samba", "/var/lib/samba", "/var/cache/samba", "/var/log/samba"}
)

// Confine forbids the process, for ever, all but what the server does: docs/hardening.md. It
// stands between Open, which knows all folders, and Start, which lets clients in. write are
// folders that the program itself needs. KindUnavailable when the settings file requires what
// the kernel does not have.
func (s *Server) Confine(ctx context.Context, write ...string) error {
	rules := s.rules()
	rules.Write = append(rules.Write, write...)
	confined, err := sandbox.Confine(sandbox.Mode(s.config.Sandbox.Mode), rules)
	if err != nil {
		return mail.Errorf(mail.KindUnavailable, "The settings file requires that the server is confined, and that cannot be: %v", err)
	}
	s.sandbox = confined
	holds, lacks := s.confinement()
	event.Confined.Log(ctx, s.log, "user", manage.UnixIdentity(os.Geteuid()), "holds", strings.Join(holds, ", "))
	if len(lacks) > 0 {
		event.NotConfined.Log(ctx, s.log, "problem", strings.Join(lacks, " "))
	}
	return nil
}

// confinement tells in words what holds for the process, and in sentences what does not.
func (s *Server) confinement() (holds, lacks []string) {
	holds = []string{}
	is := s.sandbox.Status()
	for _, part := range []struct {
		holds bool
		what  string
	}{
		{os.Geteuid() != 0, "not root"},
		{is.NoNewPrivileges, "no new privileges"},
		{is.Landlock > 0, "files (Landlock " + strconv.Itoa(is.Landlock) + ")"},
		{is.SystemCalls, "system calls (seccomp)"},
		{is.SystemCalls && !is.Programs, "no other programs"},
		{is.NoCore, "no core files"},
	} {
		if part.holds {
			holds = append(holds, part.what)
		}
	}
	if os.Geteuid() == 0 {
		lacks = append(lacks, "It runs as root.")
	}
	if s.sandbox == nil {
		lacks = append(lacks, "The sandbox is off.")
	}
	for _, what := range is.Missing {
		lacks = append(lacks, fmt.Sprintf("Not in force: %s.", what))
	}
	return holds, lacks
}

// rules are the files of this server as it is set up now.
func (s *Server) rules() sandbox.Rules {
	c := s.config
	r := sandbox.Rules{
		Read:    slices.Concat(systemFiles, c.Sandbox.Read),
		Write:   append(slices.Clone(c.Sandbox.Write), c.Data, backupFolder, "/dev/null"),
		Sockets: []string{filepath.Dir(c.Socket)},
		// systemd's, in some containers.
		Abstract: strings.HasPrefix(os.Getenv("NOTIFY_SOCKET"), "@"),
	}
	readable := func(path string) {
		if path == "" {
			return
		}
		if to, err := filepath.EvalSymlinks(path); err == nil && to != path {
			r.Read = append(r.Read, surroundings(to))
		}
		r.Read = append(r.Read, surroundings(path))
	}
	for _, path := range slices.Concat(linkedFiles, c.named, []string{os.Getenv("SSL_CERT_FILE"), os.Getenv("ZONEINFO")}, filepath.SplitList(os.Getenv("SSL_CERT_DIR"))) {
		readable(path)
	}
	for _, path := range linkedFiles {
		if folder := awaited(path); folder != "" {
			r.Read = append(r.Read, folder)
		}
	}
	// Of a certificate, or of the store, only a link may lie in the data folder.
	for _, folder := range []string{c.Data, filepath.Join(c.Data, "certificates")} {
		entries, _ := os.ReadDir(folder)
		for _, e := range entries {
			path := filepath.Join(folder, e.Name())
			if e.Type()&fs.ModeSymlink == 0 {
				continue
			}
			if info, err := os.Stat(path); err == nil && info.IsDir() {
				r.Write = append(r.Write, path)
			} else {
				readable(path)
			}
		}
	}
	if bindings, err := c.lmtpBindings(); err == nil {
		for _, path := range bindings.Unix {
			r.Sockets = append(r.Sockets, filepath.Dir(path))
		}
	}
	for _, service := range settings.Services {
		v := s.settings.Current(service)
		for _, path := range readPaths(v) {
			readable(path)
		}
		if !settings.LogFileLocation.Has(service) {
			continue
		}
		if folder := settings.LogFileLocation.Of(v); folder != "" && os.MkdirAll(folder, 0o700) == nil { // without one it is the data folder's
			r.Write = append(r.Write, folder)
		}
	}
	if event.Format(c.Log) == event.Journal {
		r.Write = append(r.Write, "/dev/shm") // through which long records go
	}
	if c.NTLM != nil {
		r.Run = append(slices.Clone(helperPrograms), filepath.Dir(c.NTLM.Helper))
		r.Write = append(r.Write, helperState...)
	}
	return r
}

// awaited gives, of a link that leads to nothing yet, the deepest folder on its way that is
// there, "" for none but /, and for other paths: a host that starts has no resolv.conf until it has a network.
func awaited(path string) string {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	to := path
	for range 8 {
		next, err := os.Readlink(to)
		if err != nil {
			break
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(to), next)
		}
		to = next
	}
	if to == path {
		return ""
	}
	for to = filepath.Dir(filepath.Clean(to)); to != "/"; to = filepath.Dir(to) {
		if info, err := os.Stat(to); err == nil && info.IsDir() {
			return to
		}
	}
	return ""
}

// surroundings gives the folder of a file, because a file is renewed by another one that
// takes its name. A folder, and a file that lies in /, stands for itself.
func surroundings(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() || filepath.Dir(path) == "/" {
		return path
	}
	return filepath.Dir(path)
}

// readPaths are the files that live settings name.
func readPaths(v *settings.Values) (paths []string) {
	if settings.ClientCertificateAuthorities.Has(v.Service()) {
		paths = append(paths, settings.ClientCertificateAuthorities.Of(v))
	}
	if settings.ClientCertificateRevocationList.Has(v.Service()) {
		paths = append(paths, settings.ClientCertificateRevocationList.Of(v)...)
	}
	return slices.DeleteFunc(paths, func(path string) bool { return path == "" })
}

// reachable refuses a path that a setting or an administrator names, and that the process cannot
// reach any more: KindCannot, with what to do.
func (s *Server) reachable(path string, write bool) error {
	if s.sandbox.Allows(path, write) {
		return nil
	}
	key := "read"
	if write {
		key = "write"
	}
	return mail.Errorf(mail.KindCannot, "%s lies outside the folders that the server may use until it is started again, or in one that was mounted or made since it was. Name its folder in %s of the table [sandbox] of the settings file, and restart the server.", path, key)
}

// applyConfinement refuses settings with such a path: settings.Applier.
func (s *Server) applyConfinement(_ context.Context, old, new *settings.Values) (commit, cancel func(), err error) {
	before := readPaths(old)
	for _, path := range readPaths(new) {
		if !slices.Contains(before, path) {
			if err := s.reachable(path, false); err != nil {
				return nil, nil, err
			}
		}
	}
	if settings.LogFileLocation.Has(new.Service()) {
		if path := settings.LogFileLocation.Of(new); path != "" && path != settings.LogFileLocation.Of(old) {
			return nil, nil, s.reachable(path, true)
		}
	}
	return nil, nil, nil
}

// namedPaths gives every absolute path that stands as a value in a settings file.
func namedPaths(text []byte) []string {
	var all map[string]any
	if toml.Unmarshal(text, &all) != nil {
		return nil
	}
	var paths []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			if filepath.IsAbs(v) {
				paths = append(paths, v)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(all)
	return paths
}
