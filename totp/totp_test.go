package totp

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestVectors are those of RFC 6238, appendix B, for SHA-1, of which six digits are the
// last.
func TestVectors(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, code := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		if got := Code(secret, Step(time.Unix(at, 0))); got != code[2:] {
			t.Errorf("at %d: %s, want %s", at, got, code[2:])
		}
	}
}

func TestCheck(t *testing.T) {
	secret := NewSecret()
	now := time.Unix(1_800_000_015, 0)
	current := Step(now)
	for d := int64(-3); d <= 3; d++ {
		step, ok := Check(secret, Code(secret, current+d), now, 0)
		if want := d >= -1 && d <= 1; ok != want || ok && step != current+d {
			t.Errorf("%+d periods: %v, %d", d, ok, step-current)
		}
	}
	code := Code(secret, current)
	if _, ok := Check(secret, code[:3]+" "+code[3:], now, 0); !ok {
		t.Error("a blank in the code")
	}
	for after, want := range map[int64]bool{current - 1: true, current: false, current + 1: false} {
		if _, ok := Check(secret, code, now, after); ok != want {
			t.Errorf("used up to %+d: %v", after-current, ok)
		}
	}
	for _, wrong := range []string{"", "0", code + "0", code[1:], "abcdef", strings.Repeat("1", 10_000)} {
		if _, ok := Check(secret, wrong, now, 0); ok {
			t.Errorf("%.20q is accepted", wrong)
		}
	}
}

func TestURI(t *testing.T) {
	secret := []byte("12345678901234567890")
	got := URI("Postern: mail & more", "anna ä@example.org", secret)
	u, err := url.Parse(got)
	if err != nil || strings.Contains(got, "+") {
		t.Fatal(got, err)
	}
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Postern  mail & more:anna ä@example.org" {
		t.Errorf("%+v", u)
	}
	if q := u.Query(); q.Get("secret") != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" || q.Get("issuer") != "Postern  mail & more" {
		t.Error(q)
	}
	if fmt.Sprint(Text(NewSecret())) == Text(NewSecret()) {
		t.Error("two secrets are the same")
	}
}
