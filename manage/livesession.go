package manage

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/settings"
)

// LiveSession is a connection that a service has open. Its texts may be the
// client's own: whoever shows them has them bounded and escaped (Printable).
type LiveSession struct {
	ID      string // "IMAP4-123"
	Service settings.Service
	User    string         // "" before the log-in
	Account mail.AccountID // 0 before the log-in
	// ActedBy is who acts for User, "" when it signed in itself.
	ActedBy   string
	Address   netip.AddrPort // the zero value for a Unix socket
	Proxy     netip.AddrPort // who speaks for the client; the zero value is nobody
	Connected time.Time
	Idle      time.Time // since when the client is awaited; zero while it is served
	State     string    // the protocol's word, "" when it has none
	Mailbox   string    // the selected one
	Mechanism string
	// AppPassword is the name of the one that was used, "" for none.
	AppPassword string
	TLS         string // the version, "" without
	Cipher      string
	Client      string // what it calls itself, with its version
	In, Out     int64  // bytes of protocol
	Command     string // under way, "" for none
}

// Sessions are the connections that the services have open.
type Sessions interface {
	// Sessions lists those of a service, the oldest first.
	Sessions(s settings.Service) []LiveSession
	// EndSession ends one; false when it is over already.
	EndSession(id string) bool
}

// sessionFilter are the parameters that narrow sessions down.
type sessionFilter struct {
	services []settings.Service
	user     string
	address  addressFilter
}

// sessionFilter reads -Service, -User and -Address.
func (c *Call) sessionFilter(among []settings.Service) (f sessionFilter, err error) {
	f.services, f.user = among, c.Text("User")
	if c.Given("Service") {
		s, err := settings.ParseService(c.Text("Service"))
		if err != nil {
			return f, about("Service", err)
		}
		if !slices.Contains(among, s) {
			return f, wrong("Service", "%s has none of it", s)
		}
		f.services = []settings.Service{s}
	}
	f.address, err = readAddressFilter(c.Text("Address"))
	return f, about("Address", err)
}

// addressFilter is an address, a network, or a pattern; the zero value is all.
type addressFilter struct {
	network netip.Prefix
	pattern string
}

func readAddressFilter(text string) (f addressFilter, err error) {
	switch {
	case text == "":
		return f, nil
	case strings.ContainsAny(text, "*?") || strings.EqualFold(text, unixAddress):
		return addressFilter{pattern: text}, nil
	case strings.Contains(text, "/"):
		f.network, err = netip.ParsePrefix(text)
	default:
		var a netip.Addr
		if a, err = netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
			f.network = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		}
	}
	if err != nil {
		return f, mail.Errorf(mail.KindBadArgument, "%q is neither an address, nor a network such as 192.0.2.0/24, nor a pattern with * or ?", text)
	}
	return f, nil
}

// unixAddress stands for a Unix socket where an address would.
const unixAddress = "unix"

// matches tells whether an address and port, as they are shown, are meant.
func (f addressFilter) matches(shown string) bool {
	if f.pattern != "" {
		return Like(f.pattern, shown)
	}
	if !f.network.IsValid() {
		return true
	}
	a, err := netip.ParseAddrPort(shown)
	return err == nil && f.network.Contains(a.Addr().Unmap().WithZone(""))
}

// Bounds of the texts of a session that are shown, in bytes.
const (
	shownName   = 100
	shownPlace  = 200
	shownClient = 100
)

// object gives a session as it is shown.
func (l *LiveSession) object(now time.Time) Object {
	idle := any(nil)
	if !l.Idle.IsZero() {
		idle = settings.FormatSpan(max(now.Sub(l.Idle), 0))
	}
	address, proxy := unixAddress, ""
	if l.Address.IsValid() {
		address = l.Address.String()
	}
	if l.Proxy.IsValid() {
		proxy = l.Proxy.String()
	}
	return Object{
		{"Identity", l.ID},
		{"Service", string(l.Service)},
		{"User", protolog.Printable(l.User, shownName)},
		{"ActedBy", protolog.Printable(l.ActedBy, shownName)},
		{"Address", address},
		{"Proxy", proxy},
		{"Connected", l.Connected.UTC().Format(time.RFC3339)},
		{"Duration", settings.FormatSpan(max(now.Sub(l.Connected), 0))},
		{"Idle", idle},
		{"State", l.State},
		{"Mailbox", protolog.Printable(l.Mailbox, shownPlace)},
		{"Mechanism", l.Mechanism},
		{"AppPassword", l.AppPassword},
		{"Tls", l.TLS},
		{"Cipher", l.Cipher},
		{"Client", protolog.Printable(l.Client, shownClient)},
		{"BytesReceived", l.In},
		{"BytesSent", l.Out},
		{"Command", l.Command},
	}
}

// getSession shows one object a connection.
func getSession(_ context.Context, c *Call) (func(context.Context) error, error) {
	f, err := c.sessionFilter(settings.Services)
	if err != nil {
		return nil, err
	}
	most := 1000
	if c.Given("ResultSize") {
		most = int(min(c.Number("ResultSize"), 1<<30))
	}
	c.result.Units = map[string]string{"BytesReceived": "bytes", "BytesSent": "bytes"}
	now := c.Now()
	id, left := c.Text("Identity"), 0
	for _, s := range f.services {
		for _, l := range c.Sessions.Sessions(s) {
			o := l.object(now)
			address, _ := o.Value("Address")
			if !c.sees(l.User) || !matches(id, l.ID) || !matches(f.user, l.User) && (l.ActedBy == "" || !matches(f.user, l.ActedBy)) || !f.address.matches(address.(string)) {
				continue
			}
			if most > 0 && len(c.result.Objects) >= most {
				left++
				continue
			}
			c.Add(o)
		}
	}
	if left > 0 {
		c.Note(fmt.Sprintf("There are %d more sessions; -ResultSize shows more at once.", left))
	}
	return nil, nil
}

// removeSession ends one session, or all of a user.
func removeSession(_ context.Context, c *Call) (func(context.Context) error, error) {
	id, user := c.Text("Identity"), c.Text("User")
	if (id == "") == (user == "") {
		return nil, wrong("Identity", "Remove-Session needs -Identity or -User, and not both")
	}
	var ids []string
	for _, s := range settings.Services {
		for _, l := range c.Sessions.Sessions(s) {
			if !c.sees(l.User) {
				continue
			}
			if id != "" && strings.EqualFold(l.ID, id) || user != "" && (strings.EqualFold(l.User, user) || strings.EqualFold(l.ActedBy, user)) {
				ids = append(ids, l.ID)
				c.Change(l.ID, "State", protolog.Printable(strings.TrimSpace(l.User+" "+l.State), shownName), "ended")
			}
		}
	}
	if len(ids) == 0 {
		what := "there is no session " + fmt.Sprintf("%q", id)
		if user != "" {
			what = fmt.Sprintf("%q has no session", user)
		}
		return nil, hinted(mail.Errorf(mail.KindNotFound, "%s", what), "Get-Session lists the sessions.")
	}
	return func(context.Context) error {
		for _, id := range ids {
			if !c.Sessions.EndSession(id) {
				c.Note(id + " was over already.")
			}
		}
		return nil
	}, nil
}
