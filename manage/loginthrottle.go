package manage

import (
	"cmp"
	"context"
	"net/netip"
	"strings"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// network reads -Network, the zero Prefix when it was not given. An address means its
// network as guesses are counted: itself, and for IPv6 its /64.
func (c *Call) network() (netip.Prefix, error) {
	if c.Text("Network") == "" {
		return netip.Prefix{}, nil
	}
	n, err := settings.ParseNetwork(c.Text("Network"))
	if err != nil {
		return n, wrong("Network", "Network %s", mail.TextOf(err))
	}
	if n.Addr().Is6() && n.Bits() == 128 {
		n = netip.PrefixFrom(n.Addr(), 64).Masked()
	}
	return n, nil
}

// networkText is how a network is shown: one address without its length.
func networkText(n netip.Prefix) string {
	switch {
	case !n.IsValid():
		return ""
	case n.IsSingleIP():
		return n.Addr().String()
	}
	return n.String()
}

// getLoginThrottle shows one object a user or network whose sign-ins wait.
func getLoginThrottle(_ context.Context, c *Call) (func(context.Context) error, error) {
	most := standardResults
	if c.Given("ResultSize") {
		most = cmp.Or(int(c.Number("ResultSize")), maxSlowDowns)
	}
	most = min(most, maxSlowDowns)
	pattern, shown := c.Text("Identity"), 0
	for _, s := range c.Auth.SlowDowns(maxSlowDowns) {
		if pattern != "" && !Like(pattern, s.Account) {
			continue
		}
		if shown++; shown > most {
			c.Warn("There is more than is shown; -ResultSize unlimited shows all.")
			break
		}
		c.Add(Object{{"UserName", s.Account}, {"Network", networkText(s.Network)}, {"Delay", s.Delay.String()}, {"Ends", moment(s.Ends)}})
	}
	if shown == 0 {
		c.Note("Nobody's sign-ins wait.")
	}
	return nil, nil
}

// maxSlowDowns bounds what is shown.
const maxSlowDowns = 10_000

// clearLoginThrottle forgets failures, so that the next attempt does not wait.
func clearLoginThrottle(_ context.Context, c *Call) (func(context.Context) error, error) {
	network, err := c.network()
	if err != nil {
		return nil, err
	}
	name := ""
	if c.Text("Identity") != "" {
		if name, err = directory.PrepareName(c.Text("Identity")); err != nil {
			return nil, about("Identity", err)
		}
	}
	if name == "" && !network.IsValid() {
		return nil, wrong("Identity", "Clear-LoginThrottle needs -Identity or -Network")
	}
	target := "failed sign-ins" + optional(" of ", name) + optional(" from ", networkText(network))
	c.Change(target, "Throttle", "counted", nil)
	return func(context.Context) error {
		if !c.Auth.Lift(name, network) {
			c.Note("There were none that are not forgotten already.")
		}
		return nil
	}, nil
}

func optional(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// namesOf gives the names by which clients may sign in to a mailbox.
func namesOf(e *directory.Entry) []string { return append([]string{e.Name}, e.Aliases...) }

// getKnownNetwork shows one object a network and name.
func getKnownNetwork(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range namesOf(e) {
		list, err := c.Auth.Networks().Of(ctx, e.Account, name)
		if err != nil {
			return nil, err
		}
		for _, n := range list {
			c.Add(Object{{"Mailbox", e.Name}, {"UserName", name}, {"Network", networkText(n.Network)}, {"FirstLogonTime", moment(n.First)}, {"LastLogonTime", moment(n.Last)}})
		}
	}
	return nil, nil
}

// removeKnownNetwork forgets a network of a mailbox, or all.
func removeKnownNetwork(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	network, err := c.network()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, name := range namesOf(e) {
		list, err := c.Auth.Networks().Of(ctx, e.Account, name)
		if err != nil {
			return nil, err
		}
		for _, n := range list {
			if !network.IsValid() || n.Network == network {
				found = append(found, networkText(n.Network))
			}
		}
	}
	if len(found) == 0 {
		return nil, about("Network", hinted(mail.Errorf(mail.KindNotFound, "no such network is known to %s", e.Name), "Get-KnownNetwork lists them."))
	}
	c.Change(e.Name, "KnownNetworks", strings.Join(found, ","), nil)
	return func(ctx context.Context) error { return c.forgetNetworks(ctx, e, network) }, nil
}

// forgetNetworks forgets a network of all names of a mailbox, or, with the zero value,
// all networks.
func (s *Server) forgetNetworks(ctx context.Context, e *directory.Entry, network netip.Prefix) error {
	for _, name := range namesOf(e) {
		if _, err := s.Auth.Networks().Remove(ctx, name, network); err != nil {
			return err
		}
	}
	return nil
}
