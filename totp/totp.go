// Package totp makes and checks the one-time codes of authenticator programs: TOTP with
// HMAC-SHA-1, six digits and 30 seconds, which is what every such program knows.
package totp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// The parameters (RFC 6238, 4; RFC 4226, 5).
const (
	Digits = 6
	Period = 30 * time.Second
	// skew is how many periods a clock may be wrong, and a code late (RFC 6238, 5.2).
	skew = 1
	// secretSize is that of the hash, in bytes (RFC 4226, 4).
	secretSize = sha1.Size
)

// NewSecret makes the secret that a server and a program share.
func NewSecret() []byte {
	secret := make([]byte, secretSize)
	rand.Read(secret) // never fails (crypto/rand)
	return secret
}

// Text is a secret as it is typed into a program: base32 without padding.
func Text(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// Step is the number of the period that t is in.
func Step(t time.Time) int64 { return t.Unix() / int64(Period/time.Second) }

// Code gives the code of a period.
func Code(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	binary.Write(mac, binary.BigEndian, step) // never fails (hash.Hash)
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	value := binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", Digits, value%1_000_000)
}

// Check tells whether code, typed with or without blanks, is that of the period of now
// or one of its neighbours, and of which. Codes of periods up to after were used and are
// accepted no more (RFC 6238, 5.2); after is 0 when none was.
func Check(secret []byte, code string, now time.Time, after int64) (step int64, ok bool) {
	code = strings.ReplaceAll(code, " ", "")
	current := Step(now)
	if after > current+skew {
		after = 0 // of a clock that has been set back: it locks nobody out until then
	}
	for s := current - skew; s <= current+skew; s++ {
		right := subtle.ConstantTimeCompare([]byte(code), []byte(Code(secret, s))) == 1
		if right && s > after {
			step, ok = s, true
		}
	}
	return step, ok
}

// URI is what a program reads from a QR code. issuer and account are how it lists the
// secret.
func URI(issuer, account string, secret []byte) string {
	clean := strings.NewReplacer(":", " ").Replace // it parts the two
	u := url.URL{
		Scheme: "otpauth", Host: "totp", Path: "/" + clean(issuer) + ":" + clean(account),
		// Programs read "+" as it stands.
		RawQuery: "secret=" + Text(secret) + "&issuer=" + strings.ReplaceAll(url.QueryEscape(clean(issuer)), "+", "%20"),
	}
	return u.String()
}
