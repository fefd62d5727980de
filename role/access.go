package role

import (
	"context"
	"net/netip"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// appPasswords are those that the management keeps.
type appPasswords struct{ *Server }

// AppPassword implements auth.AppPasswords. Nobody signs in before there is a
// management.
func (a appPasswords) AppPassword(ctx context.Context, account mail.AccountID, secret string, w auth.Wanted) (*auth.AppPassword, error) {
	return a.manage.AppPassword(ctx, account, secret, w)
}

// AppPasswordsOf implements auth.AppPasswords.
func (a appPasswords) AppPasswordsOf(ctx context.Context, account mail.AccountID) ([]auth.AppPassword, error) {
	return a.manage.AppPasswordsOf(ctx, account)
}

// accountURL is where people change their passwords. Nobody signs in before there is a
// management.
func (s *Server) accountURL() string { return s.manage.AccountURL() }

// delegation is who may act for others, which the management keeps.
type delegation struct{ *Server }

// ActsFor implements auth.Delegation.
func (d delegation) ActsFor(ctx context.Context, user mail.AccountID) (auth.Acting, error) {
	return d.manage.ActsFor(ctx, user)
}

// Acted implements auth.Delegation.
func (d delegation) Acted(ctx context.Context, t auth.Attempt) error { return d.manage.Acted(ctx, t) }

// access is the way of mail programs as the management API sees it.
type access struct{ *Server }

// Address implements manage.Access: the first binding, on the loopback interface
// when it is for all interfaces.
func (a access) Address(s settings.Service, k manage.Connection) (netip.AddrPort, error) {
	open := a.Addrs(s)
	list := open.Clear
	if k == manage.SSL {
		list = open.SSL
	}
	if len(list) == 0 {
		return netip.AddrPort{}, mail.Errorf(mail.KindUnavailable, "%s does not listen for connections of the type %s", s, k)
	}
	addr := list[0]
	if ip := addr.Addr(); ip.IsUnspecified() {
		local := netip.IPv6Loopback()
		if ip.Is4() {
			local = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		addr = netip.AddrPortFrom(local, addr.Port())
	}
	return addr, nil
}

// Deliver implements manage.Access.
func (a access) Deliver(ctx context.Context, name string, message []byte) error {
	name, err := directory.PrepareName(name)
	if err != nil {
		return err
	}
	entry, err := a.directory.Lookup(ctx, name)
	if err != nil {
		return err
	}
	if entry, err = directory.Provide(ctx, a.directory, entry); err != nil {
		return err
	}
	account, err := a.store.Account(ctx, entry.Account)
	if err != nil {
		return err
	}
	defer account.Close()
	_, err = account.Append(ctx, "INBOX", store.Arrival{Prepared: a.store.Prepare(message), Flags: mail.Seen})
	return err
}
