package proxies

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/test/server"
)

// balanced are what Postern behind a load balancer of this host is set to.
var balanced = map[string]any{"ProxyProtocolNetworks": []string{"127.0.0.1/32"}, "ProtocolLogEnabled": true}

// TestHAProxy: behind HAProxy, with both versions, with TLS passed through, the client's
// address is the one of sessions, figures and logs; a health check is none of a client.
func TestHAProxy(t *testing.T) {
	haproxy := program(t, "/usr/sbin/haproxy", "haproxy")
	s := serve(t, balanced)
	s.SetLoginType("PlainTextLogin")
	var config strings.Builder
	config.WriteString("global\n  stats socket @FOLDER@/stats\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n")
	doors := map[string]string{}
	var listens []string
	for name, line := range map[string]string{
		"imap v1": s.IMAP + " send-proxy", "imap v2": s.IMAP + " send-proxy-v2 check check-send-proxy inter 300", "imaps v2": s.IMAPS + " send-proxy-v2",
		"pop3 v1": s.POP3 + " send-proxy check check-send-proxy inter 300", "pop3 v2": s.POP3 + " send-proxy-v2", "pop3s v1": s.POP3S + " send-proxy",
	} {
		doors[name] = server.FreeAddress(t)
		listens = append(listens, doors[name])
		fmt.Fprintf(&config, "listen %s\n  bind %s\n  server postern %s\n", strings.ReplaceAll(name, " ", "-"), doors[name], line)
	}
	begin(t, "haproxy.cfg", config.String(), listens, func(path string) []string { return []string{haproxy, "-db", "-f", path} })
	for name, addr := range doors {
		c := dial(t, addr)
		if strings.Contains(name, "s v") {
			session := tls.Client(c.Conn, s.TLS())
			c = &talk{t, session, bufio.NewReader(session)}
		}
		if answer := c.login(strings.HasPrefix(name, "pop3")); !signedIn(answer) {
			t.Errorf("%s: %s", name, answer)
		}
		from(t, s, name)
		c.Close()
		over(t, s)
	}
	if out := s.MustShell("Get-LogonStatistics", alice.Name, "|", "ConvertTo-Json"); !strings.Contains(out, `"`+client+`"`) || strings.Contains(out, `"127.0.0.1"`) {
		t.Errorf("the figures: %s", out)
	}
	for _, service := range []string{"IMAP4", "POP3"} {
		if out := s.MustShell("Get-ProtocolLog", "-Service", service, "-Address", client, "|", "ConvertTo-Json"); !strings.Contains(out, "Proxy=127.0.0.1:") {
			t.Errorf("the protocol log of %s: %s", service, out)
		}
	}
	// Whoever is no load balancer is not believed, and a load balancer must say.
	c := dial(t, s.IMAP)
	c.ask("", "* OK")
	c.ask("PROXY TCP4 198.51.100.7 127.0.0.1 4711 143", "PROXY BAD")
	direct, err := (&tls.Dialer{Config: s.TLS()}).Dial("tcp", s.IMAPS)
	if err == nil {
		direct.Close()
		t.Error("a connection of a load balancer without a header is taken")
	}
}

// TestHAProxyTLS: where HAProxy ends TLS, a password is accepted only if ProxyProtocolTls
// says so, and only on connections that came to it with TLS.
func TestHAProxyTLS(t *testing.T) {
	haproxy := program(t, "/usr/sbin/haproxy", "haproxy")
	s := serve(t, balanced)
	s.SetLoginType("SecureLogin")
	pair := filepath.Join(t.TempDir(), "pair.pem")
	own, err := certificate.SelfSigned([]string{"localhost"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, pair, own)
	doors := map[string]string{"ssl": server.FreeAddress(t), "clear": server.FreeAddress(t), "v1": server.FreeAddress(t)}
	config := "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n" +
		"listen ssl\n  bind " + doors["ssl"] + " ssl crt " + pair + "\n  server postern " + s.IMAP + " send-proxy-v2-ssl\n" +
		"listen clear\n  bind " + doors["clear"] + "\n  server postern " + s.IMAP + " send-proxy-v2-ssl\n" +
		"listen v1\n  bind " + doors["v1"] + " ssl crt " + pair + "\n  server postern " + s.IMAP + " send-proxy\n"
	begin(t, "haproxy.cfg", config, []string{doors["ssl"], doors["clear"], doors["v1"]}, func(path string) []string { return []string{haproxy, "-db", "-f", path} })
	for _, trusted := range []bool{false, true} {
		s.MustShell("Set-ImapSettings", "-ProxyProtocolTls", fmt.Sprintf("$%v", trusted))
		for _, name := range []string{"ssl", "clear", "v1"} {
			c := dial(t, doors[name])
			if name != "clear" {
				session := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
				c = &talk{t, session, bufio.NewReader(session)}
			}
			answer, want := c.login(false), trusted && name == "ssl"
			if signedIn(answer) != want || !want && !strings.Contains(answer, "[PRIVACYREQUIRED]") {
				t.Errorf("ProxyProtocolTls %v, %s: %s", trusted, name, answer)
			}
			if want {
				if tls := fmt.Sprint(session(t, s)["Tls"]); !strings.HasSuffix(tls, " at the proxy") {
					t.Errorf("Get-Session shows %s", tls)
				}
				from(t, s, name)
			}
			c.Close()
			over(t, s)
		}
	}
}

// TestNginx: nginx's stream module speaks version 1.
func TestNginx(t *testing.T) {
	nginx := program(t, "/usr/sbin/nginx", "nginx-light")
	module := program(t, "/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream")
	s := serve(t, balanced)
	s.SetLoginType("PlainTextLogin")
	imap, pop3 := server.FreeAddress(t), server.FreeAddress(t)
	config := "load_module " + module + ";\ndaemon off;\nmaster_process off;\npid @FOLDER@/pid;\nerror_log @FOLDER@/log;\nevents {}\nstream {\n" +
		"  server { listen " + imap + "; proxy_pass " + s.IMAP + "; proxy_protocol on; }\n" +
		"  server { listen " + pop3 + "; proxy_pass " + s.POP3 + "; proxy_protocol on; }\n}\n"
	begin(t, "nginx.conf", config, []string{imap, pop3}, func(path string) []string { return []string{nginx, "-c", path, "-e", "stderr"} })
	for pop, addr := range map[bool]string{false: imap, true: pop3} {
		c := dial(t, addr)
		if answer := c.login(pop); !signedIn(answer) {
			t.Error(answer)
		}
		from(t, s, addr)
		c.Close()
		over(t, s)
	}
}

// TestCurl: curl begins with a PROXY header itself, which is taken from a load balancer's
// address alone.
func TestCurl(t *testing.T) {
	curl := program(t, "/usr/bin/curl", "curl")
	s := serve(t, balanced)
	s.MustDeliver(t, "From: a@test.example\r\nSubject: a letter\r\n\r\nText.\r\n", alice.Name)
	for _, scheme := range []string{"imaps", "pop3s"} {
		addr := map[string]string{"imaps": s.IMAPS, "pop3s": s.POP3S}[scheme]
		for source, want := range map[string]bool{"127.0.0.1": true, client: false} {
			out, err := exec.Command(curl, "-q", "-sSk", "--max-time", "20", "--haproxy-protocol", "--interface", source, "-u", alice.Name+":"+alice.Password,
				scheme+"://"+addr+"/"+map[string]string{"imaps": "INBOX;MAILINDEX=1", "pop3s": "1"}[scheme]).CombinedOutput()
			if (err == nil && strings.Contains(string(out), "a letter")) != want {
				t.Errorf("%s from %s: %v, %s", scheme, source, err, out)
			}
		}
	}
}

// writePair writes a certificate and its key as HAProxy wants them.
func writePair(t *testing.T, path string, pair tls.Certificate) {
	t.Helper()
	var text bytes.Buffer
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, der := range pair.Certificate {
		pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: key})
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHAProxyGuessing: who guesses behind a load balancer is slowed down, not everybody who
// comes through it; a network of ThrottleExemptNetworks is not.
func TestHAProxyGuessing(t *testing.T) {
	haproxy := program(t, "/usr/sbin/haproxy", "haproxy")
	s := serve(t, balanced)
	s.SetLoginType("PlainTextLogin")
	door := server.FreeAddress(t)
	begin(t, "haproxy.cfg", "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\nlisten imap\n  bind "+door+"\n  server postern "+s.IMAP+" send-proxy-v2\n",
		[]string{door}, func(path string) []string { return []string{haproxy, "-db", "-f", path} })
	guess := func(first int) {
		t.Helper()
		for i := range 13 {
			c := dial(t, door)
			c.ask("", "* OK")
			c.ask(fmt.Sprintf("a1 LOGIN guess%[1]d@test.example wrong%[1]d", first+i), "a1 NO")
			c.Close()
		}
	}
	s.MustShell("Set-ImapSettings", "-ThrottleExemptNetworks", client)
	guess(0)
	if out := s.MustShell("Get-LoginThrottle", "|", "ConvertTo-Json"); strings.Contains(out, "127.0.0.") {
		t.Errorf("an exempt network is slowed down: %s", out)
	}
	s.MustShell("Set-ImapSettings", "-ThrottleExemptNetworks", "$null")
	guess(100)
	if out := s.MustShell("Get-LoginThrottle", "|", "ConvertTo-Json"); !strings.Contains(out, client) || strings.Contains(out, "127.0.0.1/") {
		t.Errorf("slowed down are: %s", out)
	}
}
