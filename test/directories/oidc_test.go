package directories

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/oidc"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/test/openid"
	"github.com/postern-mail/postern/test/server"
)

// openidTable is the settings file's table for a provider.
func openidTable(t *testing.T, p *openid.Provider, timeout string) string {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(openid.ClientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
[[directories]]
kind = "oidc"
name = "company"
domains = ["example.org"]
issuer = %q
audience = [%q, %q]
scopes = ["mail"]
clients = [%q]
client_id = %q
client_secret_file = %q
allow_http_on_loopback = true
timeout = %s

[[directories]]
kind = "embedded"
`, p.Issuer, openid.JWT, openid.Opaque, openid.Program, openid.ClientID, secret, timeout)
}

// bearer signs in with a token over a protocol, with curl, and gives what it got and
// its exit code.
func bearer(t *testing.T, s *server.Server, protocol, user, token string) (string, int) {
	t.Helper()
	addr := map[string]string{"imaps": s.IMAPS, "pop3s": s.POP3S}[protocol]
	url := protocol + "://" + strings.Replace(addr, "127.0.0.1", "localhost", 1) + "/"
	if protocol == "imaps" {
		url += "INBOX;MAILINDEX=1"
	} else {
		url += "1"
	}
	return server.Run(t, 30*time.Second, s.Folder, nil, "", "curl", "-4", "-vsS", "--cacert", s.Certificate, "-u", user+":", "--oauth2-bearer", token, url)
}

// unavailable is what a client hears while the provider does not answer.
var unavailable = map[string]string{"imaps": "[UNAVAILABLE]", "pop3s": "[SYS/TEMP]"}

func TestOpenID(t *testing.T) {
	p := openid.Start(t)
	s := server.Serve(t, server.Options{Accounts: []server.Account{{Name: "root@local.example", Password: "local"}}, Directories: openidTable(t, p, `"00:00:20"`)})
	const anna, bert = "anna@example.org", "bert@example.org"

	// Nobody is known before the first login.
	if answers := s.Deliver(t, message, anna); !strings.HasPrefix(answers[0], "550") {
		t.Errorf("mail before the first login: %v", answers)
	}
	if out, code := bearer(t, s, "imaps", anna, p.Token(openid.Anna, openid.JWT)); code == 67 {
		t.Fatalf("the first login: %s", out)
	}
	s.MustDeliver(t, message, anna)
	if out := shell(s, "Get-Mailbox "+anna+" | ConvertTo-Json"); !strings.Contains(out, `"company"`) || !strings.Contains(out, "Anna Ä.") {
		t.Error(out)
	}
	for _, protocol := range []string{"imaps", "pop3s"} {
		for _, resource := range []string{openid.JWT, openid.Opaque} {
			if out, code := bearer(t, s, protocol, anna, p.Token(openid.Anna, resource)); code != 0 || !strings.Contains(out, "before the first login") {
				t.Errorf("%s %s: %d %s", protocol, resource, code, out)
			}
		}
		// One each: who guesses is slowed down. TestOpenIDTokens has the others.
		if out, code := bearer(t, s, protocol, anna, p.Token(openid.Bert, openid.JWT)); code != 67 || strings.Contains(out, unavailable[protocol]) {
			t.Errorf("%s, another's token: %d %s", protocol, code, out)
		}
		// Our own directory goes on.
		if out, code := curl(t, s, protocol, "root@local.example", "local"); code == 67 {
			t.Errorf("%s, our own directory: %d %s", protocol, code, out)
		}
	}

	if out, code := bearer(t, s, "imaps", "dora@example.com", p.Token(openid.Dora, openid.JWT)); code != 67 {
		t.Errorf("somebody of another domain: %d %s", code, out)
	}

	// Who has no token is told where to get one.
	c := server.DialTLS(t, s.IMAPS, s.TLS())
	c.Want("* OK")
	c.Send("a1 AUTHENTICATE OAUTHBEARER " + base64.StdEncoding.EncodeToString([]byte("n,a="+anna+",\x01auth=\x01\x01")))
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(c.Line(), "+ "))
	if want := fmt.Sprintf(`{"status":"invalid_token","scope":"mail","openid-configuration":"%s/.well-known/openid-configuration"}`, p.Issuer); string(challenge) != want || err != nil {
		t.Errorf("a client without a token hears %s, %v", challenge, err)
	}
	c.Send("AQ==")
	c.Want("a1 NO [AUTHENTICATIONFAILED]")

	// A session ends with its token.
	c = server.DialTLS(t, s.IMAPS, s.TLS())
	c.Want("* OK")
	began := time.Now()
	c.MustIMAP("AUTHENTICATE OAUTHBEARER %s", oauthBearer(anna, p.Token(openid.Anna, openid.JWT, "ttl", "8")))
	if lines := c.Ended(); len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], "* BYE") || time.Since(began) > 20*time.Second {
		t.Errorf("the session ended after %s with %q", time.Since(began), lines)
	}

	// The provider's key is another one: known once the last question is a while ago.
	old := p.Token(openid.Anna, openid.JWT)
	p.Rotate()
	token := p.Token(openid.Anna, openid.JWT)
	server.Eventually(t, 60*time.Second, "a token of the new key", func() bool {
		out, code := bearer(t, s, "imaps", anna, token)
		if code == 67 && !strings.Contains(out, "[UNAVAILABLE]") {
			t.Fatalf("a token of the new key is wrong: %s", out)
		}
		return code == 0
	})
	if out, code := bearer(t, s, "imaps", anna, old); code != 67 {
		t.Errorf("a token of the old key: %d %s", code, out)
	}

	// It is down: JWTs are judged by its keys, for others nothing can be said.
	opaque := p.Token(openid.Bert, openid.Opaque)
	p.Down()
	for protocol, text := range unavailable {
		if out, code := bearer(t, s, protocol, anna, token); code != 0 {
			t.Errorf("%s while the provider is down: %d %s", protocol, code, out)
		}
		if out, code := bearer(t, s, protocol, bert, opaque); code != 67 || !strings.Contains(out, text) {
			t.Errorf("%s, an opaque token while the provider is down: %d %s", protocol, code, out)
		}
	}
	p.Up()
	if out, code := bearer(t, s, "imaps", bert, opaque); code == 67 {
		t.Errorf("after that: %s", out)
	}
}

// TestOpenIDTokens judges tokens that a real provider gave.
func TestOpenIDTokens(t *testing.T) {
	p := openid.Start(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(openid.ClientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := oidc.Open(oidc.Options{
		Issuer: p.Issuer, Audience: []string{openid.JWT, openid.Opaque}, Scopes: []string{"mail"}, Clients: []string{openid.Program}, OnlyATJWT: true,
		ClientID: openid.ClientID, ClientSecretFile: secret, AllowHTTPOnLoopback: true,
	}, "company", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, resource := range []string{openid.JWT, openid.Opaque} {
		who, until, err := d.CheckToken(t.Context(), "anna@example.org", p.Token(openid.Anna, resource))
		if left := time.Until(until); err != nil || who.ID != openid.Anna || who.DisplayName != "Anna Ä." || left < 4*time.Minute || left > 5*time.Minute {
			t.Errorf("%s: %+v until %s, %v", resource, who, until, err)
		}
	}
	// A token that is bound to a certificate is its client's alone.
	mine, others := &x509.Certificate{Raw: []byte("mine")}, &x509.Certificate{Raw: []byte("another's")}
	sum := sha256.Sum256(mine.Raw)
	for _, resource := range []string{openid.JWT, openid.Opaque} {
		bound := p.Token(openid.Anna, resource, "certificate", base64.RawURLEncoding.EncodeToString(sum[:]))
		for _, c := range []*x509.Certificate{nil, others, mine} {
			who, _, err := d.CheckToken(directory.WithCertificate(t.Context(), c), "", bound)
			if (err == nil) != (c == mine) || err == nil && who.ID != openid.Anna || err != nil && mail.KindOf(err) != mail.KindAuthenticationFailed {
				t.Errorf("%s, bound to a certificate: %+v, %v", resource, who, err)
			}
		}
	}
	revoked, right := p.Token(openid.Anna, openid.Opaque), p.Token(openid.Anna, openid.JWT)
	p.Revoke(revoked)
	const key = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	for what, token := range map[string]string{
		"another's token":                p.Token(openid.Bert, openid.JWT),
		"another's opaque token":         p.Token(openid.Bert, openid.Opaque),
		"a token for another server":     p.Token(openid.Anna, "urn:other:jwt"),
		"an opaque one for another":      p.Token(openid.Anna, "urn:other"),
		"a token without the scope":      p.Token(openid.Anna, openid.JWT, "scope", ""),
		"an opaque one without it":       p.Token(openid.Anna, openid.Opaque, "scope", ""),
		"a token bound to a key":         p.Token(openid.Anna, openid.JWT, "bound", key),
		"an opaque one, bound":           p.Token(openid.Anna, openid.Opaque, "bound", key),
		"the program's own token":        p.ProgramToken(openid.JWT),
		"the program's own, opaque":      p.ProgramToken(openid.Opaque),
		"a token that is revoked":        revoked,
		"a token that was never made":    "vA7q9ShRfvUx8ejm9XQob-65dReUBnT36qlmt3qxodg",
		"a changed signature":            right[:len(right)-8] + "AAAAAAAA",
		"an address that nobody checked": p.Token(openid.Carl, openid.JWT),
	} {
		who, _, err := d.CheckToken(t.Context(), "anna@example.org", token)
		if err == nil || who != nil || mail.KindOf(err) != mail.KindAuthenticationFailed && mail.KindOf(err) != mail.KindNotFound {
			t.Errorf("%s: %v, %v", what, who, err)
		}
	}
}

// TestOpenIDFaults: a provider that is not there when the server starts, or lies,
// keeps nobody else out and is asked again.
func TestOpenIDFaults(t *testing.T) {
	p := openid.Start(t)
	const anna = "anna@example.org"
	token := p.Token(openid.Anna, openid.JWT)
	write := func(text string) openid.Fault {
		return func(w http.ResponseWriter, q *http.Request) bool { fmt.Fprint(w, text); return true }
	}
	for _, c := range []struct {
		what  string
		fault openid.Fault
	}{
		{"down", nil},
		{"slow", func(w http.ResponseWriter, q *http.Request) bool {
			select {
			case <-q.Context().Done():
			case <-time.After(20 * time.Second):
			}
			return true
		}},
		{"another issuer", write(`{"issuer":"https://evil.example","jwks_uri":"https://evil.example/keys"}`)},
		{"HTML", write("<!DOCTYPE html><title>Sign in to the network</title>")},
		{"huge keys", func(w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path != "/jwks" {
				return false
			}
			fmt.Fprintf(w, `{"keys":[%s]}`, strings.Repeat(" ", 8<<20))
			return true
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			if p.Fail(c.fault); c.fault == nil {
				p.Down()
			}
			s := server.Serve(t, server.Options{Accounts: []server.Account{{Name: "root@local.example", Password: "local"}}, Directories: openidTable(t, p, faultTimeout)})
			for protocol, text := range unavailable {
				began := time.Now()
				if out, code := bearer(t, s, protocol, anna, token); code != 67 || !strings.Contains(out, text) || time.Since(began) > 15*time.Second {
					t.Errorf("%s: %d after %s: %s", protocol, code, time.Since(began), out)
				}
				if out, code := curl(t, s, protocol, "root@local.example", "local"); code == 67 {
					t.Errorf("%s, our own directory: %d %s", protocol, code, out)
				}
			}
			if p.Fail(nil); c.fault == nil {
				p.Up()
			}
			server.Eventually(t, 60*time.Second, "the provider is asked again", func() bool {
				_, code := bearer(t, s, "imaps", anna, token)
				return code != 67
			})
		})
	}
}

func oauthBearer(user, token string) string {
	return base64.StdEncoding.EncodeToString([]byte("n,a=" + user + ",\x01auth=Bearer " + token + "\x01\x01"))
}
