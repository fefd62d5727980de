package sasl

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
)

// The fake's tokens are "token-of-" and the name.
func TestOAuth(t *testing.T) {
	const ok, refused, malformed = "ok", "refused", "malformed"
	for _, c := range []struct {
		mechanism, message string
		want               string
		authzid            string
	}{
		{"OAUTHBEARER", "n,a=anna,\x01host=h\x01port=143\x01auth=Bearer token-of-anna\x01\x01", ok, "anna"},
		{"OAUTHBEARER", "n,,\x01auth=bearer  token-of-anna\x01\x01", ok, ""},
		{"OAUTHBEARER", "y,a=a=2Cb=3D,\x01auth=Bearer token-of-anna\x01\x01", ok, "a,b="},
		{"OAUTHBEARER", "n,a=anna,\x01auth=Bearer wrong\x01\x01", refused, ""},
		{"OAUTHBEARER", "n,,\x01auth=Bearer token-of-nobody\x01\x01", refused, ""},
		{"OAUTHBEARER", "p=tls-exporter,,\x01auth=Bearer token-of-anna\x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,anna,\x01auth=Bearer token-of-anna\x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,a=,\x01auth=Bearer token-of-anna\x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,,\x01auth=Bearer token-of-anna\x01", malformed, ""},
		{"OAUTHBEARER", "n,,\x01auth=Bearer token-of-anna\x01auth=Bearer wrong\x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,,\x01auth=Basic token-of-anna\x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,,\x01auth=Bearer \x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,,\x01auth=Bearer a b\x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,,\x01host=h\x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,a=anna,\x01host=h\x01auth=\x01\x01", refused, ""},
		{"OAUTHBEARER", "n,,\x01auth=\x01auth=Bearer token-of-anna\x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,,\x01=h\x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,,x\x01auth=Bearer token-of-anna\x01\x01", malformed, ""},
		{"OAUTHBEARER", "\x01", malformed, ""},
		{"OAUTHBEARER", "", malformed, ""},
		{"OAUTHBEARER", "n,,\x01auth=Bearer token-of-anna\x00\x01\x01", malformed, ""},
		{"OAUTHBEARER", "n,,\x01auth=Bearer " + strings.Repeat("a", MaxResponse) + "\x01\x01", malformed, ""},
		{"XOAUTH2", "user=anna\x01auth=Bearer token-of-anna\x01\x01", ok, "anna"},
		{"XOAUTH2", "user=anna\x01auth=Bearer wrong\x01\x01", refused, ""},
		{"XOAUTH2", "user=anna\x01auth=Bearer token-of-anna\x01", malformed, ""},
		{"XOAUTH2", "anna\x01auth=Bearer token-of-anna\x01\x01", malformed, ""},
		{"XOAUTH2", "user=anna\x01auth=Bearer a\x01auth=Bearer b\x01\x01", malformed, ""},
		{"XOAUTH2", "user=anna\xff\x01auth=Bearer token-of-anna\x01\x01", malformed, ""},
	} {
		for _, initial := range []bool{true, false} {
			u := anna()
			x := begin(t, c.mechanism, Server{Credentials: u})
			if !initial {
				if challenge, done, err := x.Next(t.Context(), nil); len(challenge) != 0 || done || err != nil {
					t.Fatalf("asked with %q, %v, %v", challenge, done, err)
				}
			}
			challenge, done, err := x.Next(t.Context(), []byte(c.message))
			switch c.want {
			case ok:
				if err != nil || !done || len(challenge) != 0 || !u.authorized || u.name != "anna" || u.authzid != c.authzid {
					t.Errorf("%q: %q, %v, %v; %+v", c.message, challenge, done, err, u)
				}
				continue
			case refused:
				if err != nil || done || !strings.HasPrefix(string(challenge), `{"status":"`) {
					t.Errorf("%q: %q, %v, %v", c.message, challenge, done, err)
				}
				// Whatever comes now, the exchange is over.
				_, done, err = x.Next(t.Context(), []byte("n,,\x01auth=Bearer token-of-anna\x01\x01"))
			}
			wantFailed(t, c.message, done, err)
			if u.authorized {
				t.Errorf("%q: was authorized", c.message)
			}
		}
	}
	// What another token would not mend is said at once.
	u := anna()
	u.down = true
	_, done, err := begin(t, "OAUTHBEARER", Server{Credentials: u}).Next(t.Context(), []byte("n,,\x01auth=Bearer token-of-anna\x01\x01"))
	if done || mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("a directory that is down: %v, %v", done, err)
	}
}

// A client without a token, or with a wrong one, is told where it gets one.
func TestOAuthDiscovery(t *testing.T) {
	issuer := func(authzid string) (string, string) {
		return "https://login.example.org/" + authzid + "/.well-known/openid-configuration", "mail <>"
	}
	for _, c := range []struct {
		mechanism, message string
		issuer             func(string) (string, string)
		want               string
	}{
		{"OAUTHBEARER", "n,a=anna,\x01auth=\x01\x01", issuer, `{"status":"invalid_token","scope":"mail <>","openid-configuration":"https://login.example.org/anna/.well-known/openid-configuration"}`},
		{"OAUTHBEARER", "n,,\x01auth=Bearer wrong\x01\x01", issuer, `{"status":"invalid_token","scope":"mail <>","openid-configuration":"https://login.example.org//.well-known/openid-configuration"}`},
		{"OAUTHBEARER", "n,,\x01auth=Bearer wrong\x01\x01", nil, `{"status":"invalid_token"}`},
		{"XOAUTH2", "user=anna\x01auth=Bearer wrong\x01\x01", issuer, `{"status":"401","schemes":"bearer","scope":"mail <>","openid-configuration":"https://login.example.org/anna/.well-known/openid-configuration"}`},
		{"XOAUTH2", "user=anna\x01auth=Bearer wrong\x01\x01", nil, `{"status":"401","schemes":"bearer"}`},
	} {
		x := begin(t, c.mechanism, Server{Credentials: anna(), Issuer: c.issuer})
		challenge, done, err := x.Next(t.Context(), []byte(c.message))
		if string(challenge) != c.want || done || err != nil {
			t.Errorf("%q: %s, %v, %v", c.message, challenge, done, err)
		}
		_, done, err = x.Next(t.Context(), []byte("\x01"))
		wantFailed(t, c.message, done, err)
	}
}
