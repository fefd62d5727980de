package imap

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store/memory"
)

// TestOriginatingIP: ID says for whom a proxy speaks, from networks that are trusted and
// before the login; what anybody else says changes nothing, and is answered the same.
func TestOriginatingIP(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	trust := func(networks ...string) {
		var list []netip.Prefix
		for _, n := range networks {
			list = append(list, netip.MustParsePrefix(n))
		}
		ts.values.Store(settings.XClientNetworks.With(ts.values.Load(), list))
	}
	const dovecot = `ID ("x-session-id" "a b/c" "X-Originating-IP" "%s" "x-originating-port" "4711" "x-connected-ip" "127.0.0.1" "x-proxy-ttl" "5" "name" "Dovecot")`
	for _, c := range []struct {
		trusted, said, want string // want is "" for the address of the connection
	}{
		{"127.0.0.0/8", "198.51.100.7", "198.51.100.7:4711"},
		{"127.0.0.1/32", "2001:db8::7", "[2001:db8::7]:4711"},
		{"127.0.0.1/32", "::ffff:198.51.100.7", "198.51.100.7:4711"},
		{"192.0.2.0/24", "198.51.100.7", ""},
		{"198.51.100.7/32", "198.51.100.7", ""},
		{"127.0.0.0/8", "0.0.0.0", ""}, {"127.0.0.0/8", "anna", ""}, {"127.0.0.0/8", "fe80::1%eth0", ""}, {"127.0.0.0/8", "", ""},
	} {
		trust(c.trusted)
		conn, err := ts.dial("clear")
		if err != nil {
			t.Fatal(err)
		}
		client := newClient(t, conn)
		if answer := client.do(fmt.Sprintf(dovecot, c.said)); !strings.Contains(answer, "OK") || len(client.lines) != 1 {
			t.Errorf("%+v: %q %q", c, answer, client.lines)
		}
		here := ts.service.Conns()[0]
		own := conn.LocalAddr().String()
		if got := here.Remote().String(); got != c.want && (c.want != "" || got != own) {
			t.Errorf("%+v: %s", c, got)
		}
		if c.want != "" && (here.Proxy().String() != own || !strings.HasSuffix(here.ProxyDetail(), ";ProxySession=a b/c")) {
			t.Errorf("%+v: %s, %s", c, here.Proxy(), here.ProxyDetail())
		}
		// Once only, and not after the login.
		client.do(fmt.Sprintf(dovecot, "203.0.113.1"))
		if got := here.Remote().String(); c.want != "" && got != c.want {
			t.Errorf("%+v: said again: %s", c, got)
		}
		conn.Close()
		for len(ts.service.Conns()) > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	trust("127.0.0.0/8")
	conn, err := ts.dial("clear")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := newClient(t, conn)
	client.must("LOGIN alice secret")
	client.must(fmt.Sprintf(dovecot, "198.51.100.7"))
	if got := ts.service.Conns()[0].Remote().String(); got != conn.LocalAddr().String() {
		t.Errorf("after the login: %s", got)
	}
}

// TestForwardedGivesNothing: who is named by a proxy is held to the policy of every client.
func TestForwardedGivesNothing(t *testing.T) {
	ts := newServer(t, memory.New())
	if err := ts.set("LoginType", "SecureLogin"); err != nil {
		t.Fatal(err)
	}
	ts.values.Store(settings.XClientNetworks.With(ts.values.Load(), []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}))
	ts.listen(t)
	conn, err := ts.dial("clear")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := newClient(t, conn)
	for range 2 {
		if answer := client.do("LOGIN alice secret"); !strings.Contains(answer, "[PRIVACYREQUIRED]") {
			t.Error(answer)
		}
		client.must(`ID ("x-originating-ip" "127.0.0.1")`)
	}
}
