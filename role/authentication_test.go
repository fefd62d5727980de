package role

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
)

func TestAuthenticationConfig(t *testing.T) {
	for _, x := range []struct {
		text     string
		embedder time.Duration
		want     time.Duration // 0 is auth's default, below 0 never
	}{
		{"name = 'here'\n", 0, 0},
		{"name = 'here'\n[authentication]\n", 0, 0},
		{"name = 'here'\n[authentication]\nremember = '00:00:00'\n", 0, -1},
		{"name = 'here'\n[authentication]\nremember = '00:10:00'\n", 0, 10 * time.Minute},
		{"name = 'here'\n[authentication]\nremember = '01:00:00'\n", 0, time.Hour},
		{"name = 'here'\n[authentication]\nremember = '00:10:00'\n", time.Second, time.Second},
	} {
		c, err := load(t, x.text)
		if err != nil {
			t.Errorf("%q: %v", x.text, err)
			continue
		}
		l, err := c.Authentication.limits(auth.Limits{Verified: x.embedder, Waiting: 3})
		if err != nil || l.Verified != x.want || l.Waiting != 3 {
			t.Errorf("%q: %+v, %v", x.text, l, err)
		}
	}
	for _, x := range []struct{ text, want string }{
		{"[authentication]\nremember = '01:00:01'\n", "authentication: remember is a time span from 00:00:00"},
		{"[authentication]\nremember = '10m'\n", "authentication: remember is a time span from 00:00:00"},
		{"[authentication]\nremember = 600\n", ":2:"},
		{"[authentication]\nforget = '00:10:00'\n", `:2: there is no setting "authentication.forget" here`},
	} {
		if _, err := load(t, x.text); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%q: %v, want %q", x.text, err, x.want)
		}
	}
}
