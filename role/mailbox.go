package role

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/chain"
	dirembedded "github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/lmtp"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// mailboxRole is the role that keeps the mail: engine, store, directory, delivery.
type mailboxRole struct {
	store     *store.Store
	engine    store.Engine // of store, which closes it
	directory directory.Writable
	own       *dirembedded.Directory
	chain     *chain.Directory // directory when there are several, else nil
	sources   map[string]directory.Source
	others    *others
	lmtp      *service
}

// openMailbox opens what the role is made of; nothing is served yet.
func (s *Server) openMailbox(ctx context.Context) error {
	engine, err := s.options.Engine, error(nil)
	if engine == nil {
		engine, err = engines[s.config.Engine](s.config, s.log)
	}
	if err != nil {
		return err
	}
	s.engine, s.others = engine, newOthers()
	s.store, err = store.Open(observedEngine{engine, s.metrics}, store.Options{
		MaxMessage: s.config.MaxMessageSize, Log: s.log, Changed: s.others.tell,
		// Until the settings are read, which the store keeps.
		Recovery: recoveryOf(settings.Defaults(settings.Console, s.config.Name)),
	})
	if err != nil {
		engine.Close()
		return err
	}
	if err := s.openDirectory(ctx); err != nil {
		return err
	}
	bindings, err := s.config.lmtpBindings()
	if err != nil {
		return err
	}
	delivery := &lmtp.Server{Store: s.store, Directory: s.directory, Hostname: s.config.Name, Observe: s.delivered}
	s.lmtp = &service{
		Service: &listener.Service{
			Name: string(settings.LMTP), Handle: delivery.Serve, Refuse: lmtp.Refuse, NoLogin: true, Log: s.log, Observer: s.observer(settings.LMTP),
			Settings: s.current(settings.LMTP), Certificates: s.certificates.Shown(), ALPN: lmtp.ALPN,
			ProtocolLog: s.protocolLogs[settings.LMTP],
		},
		bindings: func() listener.Bindings { return bindings },
	}
	return nil
}

// recoveryOf gives what the settings of the Console say of expunged messages.
func recoveryOf(v *settings.Values) store.Recovery {
	return store.Recovery{Retention: settings.DeletedItemRetention.Of(v), Quota: settings.RecoverableItemsQuota.Of(v)}
}

// lmtpBindings reads the addresses of delivery.
func (c *Config) lmtpBindings() (listener.Bindings, error) {
	var b listener.Bindings
	for _, a := range c.LMTP {
		if path := strings.TrimPrefix(a, "unix:"); filepath.IsAbs(path) {
			b.Unix = append(b.Unix, path)
			continue
		}
		addr, err := netip.ParseAddrPort(a)
		if err != nil {
			return b, mail.Errorf(mail.KindBadArgument, "lmtp: %q is neither IP:port nor the path of a socket.", a)
		}
		b.Clear = append(b.Clear, addr)
	}
	return b, nil
}

// accounts is the store as the management API sees it.
type accounts struct{ store *store.Store }

// CreateAccount implements manage.Mail.
func (a accounts) CreateAccount(ctx context.Context, bytes, messages int64) (mail.AccountID, error) {
	id, err := a.store.CreateAccount(ctx, bytes)
	if err == nil && messages > 0 {
		err = a.SetQuota(ctx, id, bytes, messages)
	}
	return id, err
}

// RemoveAccount implements manage.Mail.
func (a accounts) RemoveAccount(ctx context.Context, id mail.AccountID) error {
	return a.store.RemoveAccount(ctx, id)
}

// Usage implements manage.Mail.
func (a accounts) Usage(ctx context.Context, id mail.AccountID) (manage.Usage, error) {
	acct, err := a.store.Account(ctx, id)
	if err != nil {
		return manage.Usage{}, err
	}
	defer acct.Close()
	u := acct.Usage()
	return manage.Usage{Bytes: u.Bytes, Messages: u.Messages, QuotaBytes: u.QuotaBytes, QuotaMessages: u.QuotaMessages}, nil
}

// Quota implements chain.Accounts.
func (a accounts) Quota(ctx context.Context, id mail.AccountID) (bytes, messages int64, err error) {
	u, err := a.Usage(ctx, id)
	return u.QuotaBytes, u.QuotaMessages, err
}

// SetQuota implements manage.Mail.
func (a accounts) SetQuota(ctx context.Context, id mail.AccountID, bytes, messages int64) error {
	acct, err := a.store.Account(ctx, id)
	if err != nil {
		return err
	}
	defer acct.Close()
	return acct.SetQuota(ctx, bytes, messages)
}
