package pop3

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// TestXClient: a proxy that is trusted sees it in the greeting and says for whom it speaks,
// once, before the login; nobody else is believed.
func TestXClient(t *testing.T) {
	f := newFixture(t)
	trust := func(network string) {
		f.set(settings.XClientNetworks.With(f.values.Load(), []netip.Prefix{netip.MustParsePrefix(network)}))
	}
	trust("127.0.0.0/8")
	for _, c := range []struct{ said, answer, want string }{
		{"ADDR=198.51.100.7 PORT=4711 SESSION=abc/d TTL=4 FORWARD=eA==", "+OK Updated", "198.51.100.7:4711"},
		{"addr=2001:db8::7", "+OK Updated", "[2001:db8::7]:0"},
		{"ADDR=IPV6:2001:db8::7 PORT=1", "+OK Updated", "[2001:db8::7]:1"},
		{"ADDR=::ffff:198.51.100.7 PORT=1", "+OK Updated", "198.51.100.7:1"},
		{"PORT=1", "-ERR", ""}, {"ADDR=anna", "-ERR", ""}, {"ADDR=0.0.0.0", "-ERR", ""}, {"ADDR=198.51.100.7 PORT=99999", "-ERR", ""},
		{"198.51.100.7", "-ERR", ""}, {"ADDR=fe80::1%eth0", "-ERR", ""}, {"ADDR=224.0.0.1", "-ERR", ""},
	} {
		p := f.pop()
		if answer := p.ask("XCLIENT "+c.said, c.answer[:3]); !strings.HasPrefix(answer, c.answer) {
			t.Errorf("%s: %s", c.said, answer)
		}
		here := f.service.Conns()[0]
		if c.want == "" {
			if here.Remote().String() != p.LocalAddr().String() {
				t.Errorf("%s: %s", c.said, here.Remote())
			}
		} else {
			if here.Remote().String() != c.want || here.Proxy().String() != p.LocalAddr().String() {
				t.Errorf("%s: %s through %s", c.said, here.Remote(), here.Proxy())
			}
			p.ask("XCLIENT ADDR=203.0.113.1", "-ERR")
			p.ask("USER alice", "+OK")
			p.ask("PASS "+password, "+OK")
			p.ask("XCLIENT ADDR=203.0.113.1", "-ERR You are logged in already")
			p.ask("QUIT", "+OK")
		}
		p.Close()
		for end := time.Now().Add(patience); len(f.service.Conns()) > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
	}
	conn, err := f.dial("")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	greeting := make([]byte, 100)
	if n, _ := conn.Read(greeting); !strings.HasPrefix(string(greeting[:n]), "+OK [XCLIENT] ") {
		t.Errorf("%q", greeting[:n])
	}

	trust("192.0.2.0/24")
	p := f.pop()
	p.ask("XCLIENT ADDR=198.51.100.7", "-ERR")
	f.set(settings.LoginType.With(f.values.Load(), mail.SecureLogin))
	trust("127.0.0.0/8")
	p = f.pop()
	p.ask("USER alice", "-ERR [AUTH] This server requires TLS")
	p.ask("XCLIENT ADDR=127.0.0.1", "+OK")
	p.ask("USER alice", "-ERR [AUTH] This server requires TLS")
}
