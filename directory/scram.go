package directory

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"

	"github.com/xdg-go/stringprep"

	"github.com/postern-mail/postern/mail"
)

// The hash functions of the SCRAM mechanisms, and all of them.
const (
	SHA1   Hash = "SHA-1"
	SHA256 Hash = "SHA-256"
	SHA512 Hash = "SHA-512"
)

// Hashes lists every Hash.
var Hashes = []Hash{SHA1, SHA256, SHA512}

// New gives the hash function, nil for an unknown name.
func (h Hash) New() func() hash.Hash {
	switch h {
	case SHA1:
		return sha1.New
	case SHA256:
		return sha256.New
	case SHA512:
		return sha512.New
	}
	return nil
}

// NewScramKeys derives the keys of a prepared password (RFC 5802, 3). Clients hash
// the SASLprep form of a password, which differs from OpaqueString's for a few
// compatibility characters: the keys are made from SASLprep's form where there is
// one. KindBadArgument for an unknown hash, a salt that is empty or fewer than 4096
// iterations (RFC 7677, 4).
func NewScramKeys(h Hash, password string, salt []byte, iterations int) (ScramKeys, error) {
	n := h.New()
	if n == nil || len(salt) == 0 || iterations < 4096 {
		return ScramKeys{}, mail.Errorf(mail.KindBadArgument, "SCRAM keys need a known hash, a salt and at least 4096 iterations.")
	}
	if p, err := stringprep.SASLprep.Prepare(password); err == nil {
		password = p
	}
	salted, err := pbkdf2.Key(n, password, salt, iterations, n().Size())
	if err != nil {
		return ScramKeys{}, mail.Wrap(mail.KindServerBug, err)
	}
	stored := n()
	stored.Write(sign(n, salted, "Client Key"))
	return ScramKeys{
		Hash: h, Salt: salt, Iterations: iterations,
		StoredKey: stored.Sum(nil),
		ServerKey: sign(n, salted, "Server Key"),
	}, nil
}

// UnmatchableScramKeys are what an unknown name is answered with: always the same
// for one secret and name, looking like real keys, matched by no password. The
// secret is the directory's own, random and kept for good.
func UnmatchableScramKeys(h Hash, name string, secret []byte, iterations int) (ScramKeys, error) {
	n := h.New()
	if n == nil {
		return ScramKeys{}, mail.Errorf(mail.KindBadArgument, "SCRAM with the hash %q is not known.", string(h))
	}
	return ScramKeys{
		Hash:       h,
		Salt:       sign(sha256.New, secret, "salt "+string(h)+" "+name)[:SaltSize],
		Iterations: iterations,
		StoredKey:  sign(n, secret, "stored "+string(h)+" "+name),
		ServerKey:  sign(n, secret, "server "+string(h)+" "+name),
	}, nil
}

// SaltSize is the length of a salt in octets; all salts have it, so that a fake one
// does not stand out.
const SaltSize = 16

func sign(n func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(n, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
