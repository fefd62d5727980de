package stateful

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/imap"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/lmtp"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/pop3"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// people are alice and bob, whose password is "secret".
type people map[string]*directory.Entry

func (p people) Lookup(_ context.Context, name string) (*directory.Entry, error) {
	if e := p[name]; e != nil {
		return e, nil
	}
	return nil, mail.Errorf(mail.KindNotFound, "There is nobody of that name.")
}

func (p people) CheckPassword(ctx context.Context, name, password string) (*directory.Entry, error) {
	e, err := p.Lookup(ctx, name)
	if err != nil || password != "secret" {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "Authentication failed.")
	}
	return e, nil
}

func (p people) ScramKeys(_ context.Context, name string, hash directory.Hash) (*directory.Entry, directory.ScramKeys, error) {
	k, err := directory.UnmatchableScramKeys(hash, name, []byte("x"), 4096)
	if err == nil {
		err = mail.Errorf(mail.KindAuthenticationFailed, "Authentication failed.")
	}
	return nil, k, err
}

// NameOf implements directory.Named.
func (p people) NameOf(_ context.Context, account mail.AccountID) (string, error) {
	for name, e := range p {
		if e.Account == account {
			return name, nil
		}
	}
	return "", nil
}

// certificates are made once.
var certificates = sync.OnceValues(func() (*listener.Certificates, error) {
	dir, err := os.MkdirTemp("", "stateful")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var pair tls.Certificate
	if pair, err = certificate.SelfSigned([]string{"localhost"}, dir); err != nil {
		return nil, err
	}
	c := new(listener.Certificates)
	return c, c.Set(pair)
})

// server is a whole one, in memory; its services have their protocols' names.
type server map[string]*listener.Service

// newServer makes one for alice and bob. messages limits alice's, 0 does not.
func newServer(t testing.TB, messages int64) server {
	t.Helper()
	ctx := t.Context()
	st, err := store.Open(memory.New(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	who := people{}
	for _, name := range []string{"alice", "bob"} {
		id, err := st.CreateAccount(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		who[name] = &directory.Entry{Name: name, Account: id, Enabled: true, PopEnabled: true, ImapEnabled: true}
	}
	if messages > 0 {
		a, err := st.Account(ctx, who["alice"].Account)
		if err == nil {
			err = a.SetQuota(ctx, 0, messages)
			a.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	certs, err := certificates()
	if err != nil {
		t.Fatal(err)
	}
	values := func(p settings.Service) func() *settings.Values {
		v := settings.LoginType.With(settings.Defaults(p, "localhost"), mail.PlainTextLogin)
		return func() *settings.Values { return v }
	}
	login := auth.New(auth.Options{Directory: who, Limits: auth.Limits{FirstDelay: -1}})
	imap4 := &imap.Server{Store: st, Auth: login, Settings: values(settings.IMAP4)}
	pop := &pop3.Server{Store: st, Auth: login, Settings: values(settings.POP3)}
	delivery := &lmtp.Server{Store: st, Directory: who, Hostname: "localhost"}
	log := slog.New(slog.DiscardHandler)
	s := server{
		"imap": {Name: "IMAP4", Handle: imap4.Serve, Refuse: imap.Refuse, Settings: imap4.Settings, Certificates: certs, ALPN: imap.ALPN, Log: log},
		"pop3": {Name: "POP3", Handle: pop.Serve, Refuse: pop3.Refuse, Settings: pop.Settings, Certificates: certs, ALPN: pop3.ALPN, Log: log},
		"lmtp": {Name: "LMTP", Handle: delivery.Serve, Refuse: lmtp.Refuse, NoLogin: true, Certificates: certs, Log: log},
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for name, service := range s {
			if err := service.Stop(ctx); err != nil {
				t.Errorf("%s: a session does not end: %v", name, err)
			}
			if n := service.Panics(); n > 0 {
				t.Errorf("%s: %d sessions panicked", name, n)
			}
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// dial gives the client's end of a connection with a service, without a network.
func (s server) dial(service string) (net.Conn, error) {
	to := s[service]
	if to == nil {
		return nil, fmt.Errorf("there is no service %q", service)
	}
	client, conn, err := pair()
	if err == nil {
		go to.ServeConn(conn, false)
	}
	return client, err
}

// pair gives both ends of a connection that holds what was not read yet.
func pair() (one, other net.Conn, err error) {
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	var conns [2]net.Conn
	for i, end := range ends {
		f := os.NewFile(uintptr(end), "")
		defer f.Close() // the connection has its own
		if conns[i], err = net.FileConn(f); err != nil {
			return nil, nil, err
		}
	}
	return conns[0], conns[1], nil
}
