package manage

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// linkPath is the console's page that redeems a link. It does so by a form that is
// posted, so that who only looks at the address (a preview, a scanner) does not
// use it up.
const linkPath = "/sign-in/link"

// ConsoleURL gives the address of the console, "" when it does not run. The host
// is the one that the certificate is for, or the address that it is bound to.
func (s *Server) ConsoleURL() string {
	open := s.Services.Status(settings.Console).SSL
	if len(open) == 0 {
		return ""
	}
	host := open[0].Addr().String()
	switch a := open[0].Addr(); {
	case a.IsUnspecified():
		host = settings.X509CertificateName.Of(s.Settings.Current(settings.Console))
	case a == netip.AddrFrom4([4]byte{127, 0, 0, 1}), a == netip.IPv6Loopback():
		host = "localhost"
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(int(open[0].Port())))
}

// accountPath is the console's page for everybody's own account.
const accountPath = "/account"

// AccountURL gives the address of the page on which people change what is their own,
// "" when the console does not run.
func (s *Server) AccountURL() string {
	if console := s.ConsoleURL(); console != "" {
		return console + accountPath
	}
	return ""
}

// NewLink makes a link that signs an identity in at the console, once, until the
// time that comes with it. Who calls it knows that the identity is proved.
// KindUnavailable when the console does not run.
func (s *Server) NewLink(identity string) (address string, until time.Time, err error) {
	console := s.ConsoleURL()
	if console == "" {
		return "", time.Time{}, hinted(mail.Errorf(mail.KindUnavailable, "the console does not run"), "Start-Service Console starts it; Get-Service Console says why it does not.")
	}
	secret, now := newSecret(), s.Now()
	until = now.Add(linkLife)
	v := &s.sessions
	v.mu.Lock()
	defer v.mu.Unlock()
	var oldest secretSum
	count := 0
	for sum, l := range v.links {
		if !now.Before(l.until) {
			delete(v.links, sum)
			continue
		}
		if l.identity == identity {
			if count++; count == 1 || l.until.Before(v.links[oldest].until) {
				oldest = sum
			}
		}
	}
	if count >= linksOfIdentity {
		delete(v.links, oldest)
	}
	if len(v.links) >= maxLinks {
		return "", time.Time{}, mail.Errorf(mail.KindLimit, "there are too many links that nobody used yet")
	}
	v.links[sumOf(secret)] = link{identity, until}
	return console + linkPath + "?" + url.Values{"token": {secret}}.Encode(), until, nil
}

// newConsoleLink makes a link for the caller, who proved to be a user of the
// operating system.
func newConsoleLink(_ context.Context, c *Call) (func(context.Context) error, error) {
	if c.Caller.Way != WaySocket || !strings.HasPrefix(c.Caller.Name, unixPrefix) {
		return nil, hinted(mail.Errorf(mail.KindCannot, "New-ConsoleLink works on the server itself only, over the management socket"), "On the server, run: postern console.")
	}
	if c.ConsoleURL() == "" {
		_, _, err := c.NewLink(c.Caller.Name) // says why there is none
		return nil, err
	}
	c.Change(c.Caller.Name, "ConsoleLink", nil, "one sign-in")
	return func(context.Context) error {
		address, until, err := c.NewLink(c.Caller.Name)
		if err != nil {
			return err
		}
		c.Add(Object{{"Url", address}, {"Identity", c.Caller.Name}, {"Expires", moment(until)}})
		c.Note("The link works once. The browser will not know the certificate when it is the self-signed one of the first start.")
		return nil
	}, nil
}
