package embedded

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// Argon2 is the price of one verification with Argon2id (RFC 9106).
type Argon2 struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// DefaultArgon2 is 19 MiB, two passes, one lane: about 20 ms of one core.
var DefaultArgon2 = Argon2{Memory: 19 * 1024, Time: 2, Threads: 1}

// memory of one verification in bytes.
func (a Argon2) memory() int64 { return int64(a.Memory) << 10 }

const argon2Size = 32

// phc is a parsed string of the PHC format:
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>
type phc struct {
	cost Argon2
	salt []byte
	hash []byte
}

func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.cost.Memory, p.cost.Time, p.cost.Threads,
		base64.RawStdEncoding.EncodeToString(p.salt), base64.RawStdEncoding.EncodeToString(p.hash))
}

// parsePHC reads what String writes; it is bounded, because a record may come from
// elsewhere. KindCorrupt.
func parsePHC(s string) (phc, error) {
	corrupt := mail.Errorf(mail.KindCorrupt, "A stored password hash cannot be read.")
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, corrupt
	}
	var p phc
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.cost.Memory, &p.cost.Time, &p.cost.Threads); err != nil || n != 3 {
		return phc{}, corrupt
	}
	var err1, err2 error
	p.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	p.hash, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(p.salt) < 8 || len(p.salt) > 64 || len(p.hash) < 16 || len(p.hash) > 64 || !p.cost.sane() ||
		p.String() != s {
		return phc{}, corrupt
	}
	return p, nil
}

func (a Argon2) sane() bool {
	return a.Memory >= 8 && a.Memory <= 1<<20 && a.Time >= 1 && a.Time <= 64 && a.Threads >= 1 && a.Threads <= 64
}

func (a Argon2) key(password string, salt []byte, size int) []byte {
	secret := []byte(password)
	defer clear(secret)
	return argon2.IDKey(secret, salt, a.Time, a.Memory, a.Threads, uint32(size))
}

// verify is the one place that pays for a password. password is prepared.
func (d *Directory) verify(p phc, password string) bool {
	d.verifications.Add(1)
	return subtle.ConstantTimeCompare(p.cost.key(password, p.salt, len(p.hash)), p.hash) == 1
}

// secrets makes what is stored of a prepared password.
func (d *Directory) secrets(password string) (hash string, keys []directory.ScramKeys, err error) {
	salt := make([]byte, directory.SaltSize)
	if err := d.read(salt); err != nil {
		return "", nil, err
	}
	hash = phc{d.cost, salt, d.cost.key(password, salt, argon2Size)}.String()
	for _, h := range directory.Hashes {
		salt := make([]byte, directory.SaltSize)
		if err := d.read(salt); err != nil {
			return "", nil, err
		}
		k, err := directory.NewScramKeys(h, password, salt, d.iterations)
		if err != nil {
			return "", nil, err
		}
		keys = append(keys, k)
	}
	return hash, keys, nil
}
