package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

// cramMD5 is CRAM-MD5 (RFC 2195): the server begins with a timestamp that was never
// said before, and the client answers with its name and a keyed digest of it. The
// server must be able to read the password.
type cramMD5 struct {
	server    Server
	challenge []byte // nil before it was given, and once it is answered
}

func newCramMD5(s Server) Exchange { return &cramMD5{server: s} }

// ErrInitialResponse is the cause of the refusal of an initial response to a mechanism
// in which the server begins: IMAP answers BAD (RFC 4959, 3), POP3 -ERR (RFC 5034, 4).
const ErrInitialResponse = reason("an initial response where the server begins")

func (x *cramMD5) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if x.challenge == nil {
		if response != nil {
			return nil, false, &mail.Error{Kind: mail.KindAuthenticationFailed, Text: "CRAM-MD5 takes no initial response.", Cause: ErrInitialResponse}
		}
		challenge, err := x.server.timestamp()
		x.challenge = []byte(challenge)
		return x.challenge, false, err
	}
	challenge := x.challenge
	x.challenge = nil // once
	name, digest, err := nameAndDigest(response)
	if err != nil {
		return nil, false, failed("CRAM-MD5: " + err.Error())
	}
	err = x.server.Credentials.Answer(ctx, name, func(password []byte) bool {
		m := hmac.New(md5.New, password)
		m.Write(challenge)
		return subtle.ConstantTimeCompare(m.Sum(nil), digest) == 1
	})
	if err == nil {
		err = x.server.Credentials.Authorize(ctx, name, "")
	}
	return nil, err == nil, err
}

// nameAndDigest reads what answers a timestamp, in CRAM-MD5 and APOP alike. The name
// may have blanks.
//
//	answer = name SP 32( %x30-39 / %x61-66 )
func nameAndDigest(response []byte) (name string, digest []byte, err error) {
	if len(response) > MaxResponse || !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0 {
		return "", nil, reason("the answer is too long, not UTF-8 or has a NUL")
	}
	at := bytes.LastIndexByte(response, ' ')
	if at < 1 {
		return "", nil, reason("the answer is not a name and a digest")
	}
	written := string(response[at+1:])
	digest, err = hex.DecodeString(written)
	if err != nil || len(digest) != md5.Size || strings.ToLower(written) != written {
		return "", nil, reason("the digest is not 32 hexadecimal digits in lower case")
	}
	return string(response[:at]), digest, nil
}

// timestamp makes a challenge that is never said again: RFC 2195, 2 and RFC 1939, 7
// want the form of a Message-ID.
func (s Server) timestamp() (string, error) {
	random := make([]byte, 16)
	source, now := s.Rand, s.Now
	if source == nil {
		source = rand.Reader
	}
	if now == nil {
		now = time.Now
	}
	if _, err := io.ReadFull(source, random); err != nil {
		return "", mail.Wrap(mail.KindUnavailable, err)
	}
	return fmt.Sprintf("<%x.%d@%s>", random, now().Unix(), s.Host), nil
}
