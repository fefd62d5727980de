package directorytest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// TokenTest says how RunTokenSource gets at a directory that proves bearer tokens.
type TokenTest struct {
	// Open gives a directory and what makes a token for a person, whose identifier is
	// the same for each of their tokens. It is called for every test, which ends it and
	// whatever it stands on.
	Open func(t *testing.T) (d directory.TokenSource, token func(name string) string)
}

// RunTokenSource tests that a directory.TokenSource keeps its contract.
func RunTokenSource(t *testing.T, s TokenTest) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, d directory.TokenSource, token func(name string) string)
	}{
		{"Token", tokenRight},
		{"Others", tokenOthers},
		{"Garbage", tokenGarbage},
		{"Cancelled", tokenCancelled},
		{"Concurrent", tokenConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, token := s.Open(t)
			c.test(t, d, token)
		})
	}
}

const tokenOwner, tokenOther = "anna@example.org", "bert@example.org"

func tokenRight(t *testing.T, d directory.TokenSource, token func(string) string) {
	ids := map[string]string{}
	for _, owner := range []string{tokenOwner, tokenOther, "o'brien+x_y@example.org"} {
		for _, name := range []string{"", owner} {
			p, until, err := d.CheckToken(t.Context(), name, token(owner))
			if err != nil {
				t.Fatalf("CheckToken(%q) of %s: %v", name, owner, err)
			}
			if p.Name != owner || directory.CheckID(p.ID) != nil || !until.After(time.Now()) {
				t.Errorf("CheckToken(%q) of %s = %+v until %s", name, owner, p, until)
			}
			if id, seen := ids[owner]; seen && id != p.ID {
				t.Errorf("%s has the identifiers %q and %q", owner, id, p.ID)
			}
			ids[owner] = p.ID
			p.Name, p.ID = "changed", "changed"
		}
	}
	if ids[tokenOwner] == ids[tokenOther] {
		t.Errorf("two people have the identifier %q", ids[tokenOwner])
	}
}

func tokenOthers(t *testing.T, d directory.TokenSource, token func(string) string) {
	right := token(tokenOwner)
	for _, name := range append([]string{tokenOther, tokenOwner + "x", "x" + tokenOwner}, foreign...) {
		if name == "" || name == "anna" {
			continue // the client may leave the name out, or its domain
		}
		p, _, err := d.CheckToken(t.Context(), name, right)
		wantKind(t, fmt.Sprintf("CheckToken(%q) = %v", name, p), err, mail.KindAuthenticationFailed)
	}
}

func tokenGarbage(t *testing.T, d directory.TokenSource, token func(string) string) {
	right := token(tokenOwner)
	for _, wrong := range []string{
		"", " ", "x", ".", "..", "...", "a.b.c", "a.b.c.d.e", "=", "\x00", "\r\n", right + " ", " " + right, right + "\n", right[1:], right[:len(right)/2], right + "x", right + "=",
		right + "." + right, strings.ToUpper(right), strings.Repeat("a", 1<<20), strings.Repeat(".", 1<<16), "ä", "\xff", "null", "{}", "e30.e30.", "e30.e30.AA",
		"eyJhbGciOiJub25lIn0.e30.", "../../etc/passwd", "' or '1'='1", password,
	} {
		for _, name := range []string{"", tokenOwner} {
			p, _, err := d.CheckToken(t.Context(), name, wrong)
			if err == nil || p != nil || mail.KindOf(err) != mail.KindAuthenticationFailed && mail.KindOf(err) != mail.KindNotFound {
				t.Errorf("CheckToken(%q, %.30q) = %v, %v", name, wrong, p, err)
			}
		}
	}
}

func tokenCancelled(t *testing.T, d directory.TokenSource, token func(string) string) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := d.CheckToken(ctx, tokenOwner, token(tokenOwner))
	wantKind(t, "CheckToken", err, mail.KindUnavailable)
	if p, _, err := d.CheckToken(t.Context(), tokenOwner, token(tokenOwner)); err != nil {
		t.Errorf("after a call that was given up: %v, %v", p, err)
	}
}

func tokenConcurrent(t *testing.T, d directory.TokenSource, token func(string) string) {
	anna, bert := token(tokenOwner), token(tokenOther)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 5 {
				if p, _, err := d.CheckToken(t.Context(), tokenOwner, anna); err != nil || p.Name != tokenOwner {
					t.Errorf("the right token: %v, %v", p, err)
				}
				if p, _, err := d.CheckToken(t.Context(), tokenOwner, bert); err == nil || mail.KindOf(err) != mail.KindAuthenticationFailed {
					t.Errorf("another's token: %v, %v", p, err)
				}
			}
		})
	}
	wait.Wait()
}
