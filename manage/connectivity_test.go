package manage_test

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

// TestConnectivityTargets: who may only look may test this server's own address;
// nothing else is connected to for anybody but a Server Administrator who is a
// local administrator.
func TestConnectivityTargets(t *testing.T) {
	f, err := managetest.New()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f.Access.Addr = netip.MustParseAddrPort(l.Addr().String())
	own := f.Access.Addr.Port()
	connections := make(chan bool, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(connections)
				return
			}
			connections <- true
			conn.Close()
		}
	}()
	looks := manage.Caller{Name: "v", Roles: []manage.Role{manage.ViewOnlyAdministrator}, Local: true}
	remote := manage.Caller{Name: "r", Roles: []manage.Role{manage.ServerAdministrator}}
	recipients := manage.Caller{Name: "p", Roles: []manage.Role{manage.RecipientAdministrator}, Local: true}
	admin := manage.Caller{Name: "s", Roles: []manage.Role{manage.ServerAdministrator}, Local: true}
	for _, c := range []struct {
		caller  manage.Caller
		host    string
		port    uint16
		allowed bool
	}{
		{looks, "", 0, true},
		{looks, "localhost", own, true},
		{looks, managetest.ServerName, 0, true},
		{looks, "", own - 1, false},
		{looks, "localhost", own - 1, false},
		{looks, "127.0.0.1", own, false},
		{looks, "other.invalid", 0, false},
		{recipients, "127.0.0.1", own, false},
		{remote, "127.0.0.1", own, false},
		{admin, "127.0.0.1", own, true},
		{admin, "localhost", own, true},
	} {
		args := map[string]any{"LightMode": true, "ConnectionType": "Plaintext", "Timeout": 30}
		if c.host != "" {
			args["ClientAccessServer"] = c.host
		}
		if c.port != 0 {
			args["PortClientAccessServer"] = c.port
		}
		raw, _ := json.Marshal(args)
		r, err := f.Run(context.Background(), c.caller, "Test-ImapConnectivity", raw)
		connected := false
		if c.allowed {
			select {
			case connected = <-connections:
			case <-time.After(30 * time.Second):
			}
		}
		if c.allowed && (err != nil || r.ExitCode != 1 || !connected) || !c.allowed && mail.KindOf(err) != mail.KindNoPermission {
			t.Errorf("%s %q %d: %v %v", c.caller.Name, c.host, c.port, r, err)
		}
	}
	if len(connections) != 0 {
		t.Error("a refused test connected")
	}
}
