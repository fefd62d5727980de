package server

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
)

// Holds tells whether text holds a secret in one of the forms in which it may have
// travelled: as it is, in URLs, in hexadecimal, or within something in base64. Secrets
// have at least eight bytes.
func Holds(text []byte, secret string) bool {
	forms := []string{secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	// In base64 the secret may begin at each of three places.
	for skip := range 3 {
		whole := base64.StdEncoding.EncodeToString([]byte("xx"[:skip] + secret))
		forms = append(forms, whole[4:len(whole)-4])
	}
	for _, form := range forms {
		if bytes.Contains(text, []byte(form)) {
			return true
		}
	}
	return false
}
