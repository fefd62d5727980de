// Package crypt reads the stored passwords of other mail servers and systems, as
// they are in passwd files and databases, and tells whether a password is the one.
// What a stored password costs is bounded when it is read: whoever can write one
// cannot ask for more.
package crypt

import (
	"context"
	"crypto/subtle"
	"fmt"
	"strings"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// Bounds of one stored password.
const (
	MaxStored = 1024 // octets
	maxMemory = 256 << 20
	maxRounds = 1_000_000 // of a hash function
	maxPasses = 1 << 20   // KiB of memory times passes over it
	maxBcrypt = 14        // doublings
)

// Hash is a stored password that was read and is within the bounds.
type Hash struct {
	scheme string
	memory int64 // bytes that a check takes beside the usual
	match  func(password string) bool

	plain string                // of a password that is stored readable
	keys  []directory.ScramKeys // that are stored as such
}

// Scheme names how the password is stored: "SHA512-CRYPT".
func (h *Hash) Scheme() string { return h.scheme }

// Plain gives a password that is stored readable.
func (h *Hash) Plain() (password string, ok bool) { return h.plain, h.plain != "" }

// ScramKeys gives the SCRAM keys that are stored as such.
func (h *Hash) ScramKeys(hash directory.Hash) (directory.ScramKeys, bool) {
	for _, k := range h.keys {
		if k.Hash == hash {
			return k, true
		}
	}
	return directory.ScramKeys{}, false
}

// Locked tells whether a stored password is none: nobody signs in with it. An empty
// one is among them.
func Locked(stored string) bool {
	return stored == "" || stored == "x" || stored[0] == '*' || stored[0] == '!'
}

// Parse reads a stored password: "{SCHEME}…", or one without a scheme as scheme
// says, "CRYPT" for instance. KindBadArgument when the scheme is not known, when
// what follows is not one of it or costs more than the bounds; the error says which,
// and nothing of the password.
func Parse(stored, scheme string) (*Hash, error) {
	if len(stored) > MaxStored {
		return nil, bad("it has more than %d octets", MaxStored)
	}
	if strings.HasPrefix(stored, "{") {
		end := strings.IndexByte(stored, '}')
		if end < 0 {
			return nil, bad("its scheme does not end")
		}
		scheme, stored = stored[1:end], stored[end+1:]
	}
	name, encoding, _ := strings.Cut(strings.ToUpper(scheme), ".")
	row, ok := schemes[name]
	if !ok {
		return nil, bad("the scheme %.20q is not known", name)
	}
	if stored == "" {
		return nil, bad("nothing follows the scheme %s", name)
	}
	h, err := row(name, stored, encoding)
	if err != nil {
		return nil, err
	}
	h.scheme = name
	return h, nil
}

// CheckScheme tells whether scheme is one that Parse knows.
func CheckScheme(scheme string) error {
	name, _, _ := strings.Cut(strings.ToUpper(scheme), ".")
	if _, ok := schemes[name]; !ok {
		return mail.Errorf(mail.KindBadArgument, "The password scheme %q is not known.", scheme)
	}
	return nil
}

func bad(format string, args ...any) error {
	return mail.Errorf(mail.KindBadArgument, "A stored password cannot be used: %s.", fmt.Sprintf(format, args...))
}

// Checker checks passwords, as many at a time as cores and their memory allow.
type Checker struct{ gate *directory.Gate }

// NewChecker makes a Checker.
func NewChecker() *Checker {
	return &Checker{directory.NewGate(directory.GateLimits{Memory: directory.TotalMemory})}
}

// Matches tells whether password, which was prepared, is the stored one. It waits
// for its turn; KindUnavailable when none comes (directory.Gate).
func (c *Checker) Matches(ctx context.Context, h *Hash, password string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, mail.Wrap(mail.KindUnavailable, err)
	}
	if password == "" || strings.ContainsRune(password, 0) {
		// Functions in C end a password there.
		return false, nil
	}
	done, err := c.gate.Enter(ctx, h.memory)
	if err != nil {
		return false, err
	}
	defer done()
	return h.match(password), nil
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
