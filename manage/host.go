package manage

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Host tells of the computer and the process. Its method obeys its context and
// gives *mail.Error.
type Host interface {
	Facts(ctx context.Context) (Facts, error)
}

// The roles of a server.
const (
	ClientAccess = "ClientAccess"
	MailboxRole  = "Mailbox"
)

// Facts are what is so at the moment.
type Facts struct {
	Roles      []string // ClientAccess, Mailbox
	Version    string
	Started    time.Time
	Engine     string // what keeps the mail
	Directory  string // who says who exists
	DataFolder string
	User       string // of the operating system, whose the process is: unix:NAME
	// Confinement names what was taken from the process, Unconfined says, in a sentence
	// each, what it has beyond its needs.
	Confinement, Unconfined []string
	DataSize                int64 // bytes in files of DataFolder
	// DiskFree and DiskSize are of the file system of DataFolder, in bytes; both 0
	// when the system does not tell.
	DiskFree, DiskSize int64
}

// DirectoryRow is one of several directories.
type DirectoryRow struct {
	Name     string
	External bool     // not Postern's own
	Domains  []string // whose names it is asked for; empty is every name
	// Check tells what is wrong with the files that it stands on, without asking anybody
	// else; nil when it has none that can be looked at.
	Check func() error
}

// covers tells whether the directory is asked for a name.
func (d DirectoryRow) covers(name string) bool {
	domain := name[strings.LastIndexByte(name, '@')+1:]
	if domain == name {
		domain = ""
	}
	return len(d.Domains) == 0 || slices.Contains(d.Domains, domain)
}

// facts asks the host about a server's role, and whether -Identity means it.
func (c *Call) facts(ctx context.Context, role string) (Facts, bool, error) {
	f, err := c.Host.Facts(ctx)
	if err != nil {
		return f, false, err
	}
	if !matches(c.Text("Identity"), c.Settings.Server()) {
		return f, false, about("Identity", hinted(mail.Errorf(mail.KindNotFound, "there is no server %q here", c.Text("Identity")), "This server is "+c.Settings.Server()+"."))
	}
	if !slices.Contains(f.Roles, role) {
		c.Note("This server does not have the role " + role + ".")
		return f, false, nil
	}
	return f, true, nil
}

// common are the properties that servers of both roles have.
func (f *Facts) common(c *Call) Object {
	return Object{
		{"Name", c.Settings.Server()}, {"Roles", f.Roles}, {"Version", f.Version},
		{"Started", moment(f.Started)}, {"Uptime", settings.FormatSpan(c.Now().Sub(f.Started))},
		{"User", f.User}, {"Confinement", f.Confinement},
	}
}

// states gives services with their state, in a word each.
func (c *Call) states(services ...settings.Service) (states []string, connections int64) {
	states = []string{}
	for _, s := range services {
		status := c.Services.Status(s)
		states = append(states, string(s)+" "+string(status.State))
		connections += int64(status.Connections)
	}
	return states, connections
}

// getClientAccessServer shows this server when it has the role.
func getClientAccessServer(ctx context.Context, c *Call) (func(context.Context) error, error) {
	f, has, err := c.facts(ctx, ClientAccess)
	if err != nil || !has {
		return nil, err
	}
	states, connections := c.states(settings.POP3, settings.IMAP4, settings.Console)
	c.Add(append(f.common(c), Object{
		{"Services", states}, {"Connections", connections}, {"ConsoleUrl", c.ConsoleURL()},
		{"CertificateNames", addresses(c.Certificates.Names())}, {"Directory", f.Directory},
	}...))
	return nil, nil
}

// getMailboxServer shows this server when it has the role.
func getMailboxServer(ctx context.Context, c *Call) (func(context.Context) error, error) {
	f, has, err := c.facts(ctx, MailboxRole)
	if err != nil || !has {
		return nil, err
	}
	entries, err := c.Directory.List(ctx)
	if err != nil {
		return nil, err
	}
	states, connections := c.states(settings.LMTP)
	c.result.Units = map[string]string{"DataSize": "bytes", "DiskFree": "bytes", "DiskSize": "bytes"}
	c.Add(append(f.common(c), Object{
		{"Services", states}, {"Connections", connections}, {"Mailboxes", int64(len(entries))},
		{"Engine", f.Engine}, {"Directory", f.Directory}, {"DataFolder", f.DataFolder}, {"DataSize", f.DataSize},
		{"DiskFree", f.DiskFree}, {"DiskSize", f.DiskSize},
	}...))
	return nil, nil
}
