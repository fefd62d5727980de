package crypt

import (
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/go-crypt/crypt/algorithm"
	"github.com/go-crypt/crypt/algorithm/argon2"
	"github.com/go-crypt/crypt/algorithm/bcrypt"
	"github.com/go-crypt/crypt/algorithm/md5crypt"
	"github.com/go-crypt/crypt/algorithm/shacrypt"
	"github.com/go-crypt/x/yescrypt"

	"github.com/postern-mail/postern/directory"
)

// scheme reads what follows a scheme's name; encoding is what was behind the dot:
// {SHA256.HEX}.
type scheme = func(name, stored, encoding string) (*Hash, error)

// schemes are those of Dovecot and of OpenLDAP. A new one is a row here.
var schemes = map[string]scheme{
	"PLAIN": plain, "CLEAR": plain, "CLEARTEXT": plain,

	"CRYPT": crypt, "MD5-CRYPT": crypt, "SHA256-CRYPT": crypt, "SHA512-CRYPT": crypt, "BLF-CRYPT": crypt,
	"ARGON2I": crypt, "ARGON2ID": crypt,

	"MD5":       md5OrCrypt,
	"PLAIN-MD5": digest(md5.New), "LDAP-MD5": digest(md5.New),
	"SHA": digest(sha1.New), "SHA1": digest(sha1.New), "SHA256": digest(sha256.New), "SHA512": digest(sha512.New),
	"SMD5": salted(md5.New), "SSHA": salted(sha1.New), "SSHA256": salted(sha256.New), "SSHA512": salted(sha512.New),

	"PBKDF2":        dovecotPBKDF2,
	"SCRAM-SHA-1":   scram(directory.SHA1),
	"SCRAM-SHA-256": scram(directory.SHA256),
	"SCRAM-SHA-512": scram(directory.SHA512),
}

func plain(_, stored, encoding string) (*Hash, error) {
	if encoding != "" {
		b, err := decode(stored, encoding, 0)
		if err != nil {
			return nil, err
		}
		stored = string(b)
	}
	if p, err := directory.PreparePassword(stored); err == nil {
		stored = p
	}
	if stored == "" {
		return nil, bad("it is empty")
	}
	want := sha256.Sum256([]byte(stored))
	return &Hash{plain: stored, match: func(password string) bool {
		got := sha256.Sum256([]byte(password))
		return equal(got[:], want[:])
	}}, nil
}

// decode reads octets: size is how many there are when neither form is said, 0 for
// any number.
func decode(stored, encoding string, size int) ([]byte, error) {
	var b []byte
	var err error
	switch {
	case encoding == "HEX" || encoding == "" && size > 0 && len(stored) == 2*size:
		b, err = hex.DecodeString(stored)
	case encoding == "" || encoding == "B64" || encoding == "BASE64":
		b, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(stored, "="))
	default:
		return nil, bad("the encoding %.20q is not known", encoding)
	}
	if err != nil {
		return nil, bad("it is neither base64 nor hexadecimal")
	}
	return b, nil
}

func digest(n func() hash.Hash) scheme {
	return func(name, stored, encoding string) (*Hash, error) {
		want, err := decode(stored, encoding, n().Size())
		if err != nil {
			return nil, err
		}
		if len(want) != n().Size() {
			return nil, bad("it is not a digest of %s", name)
		}
		return &Hash{match: func(password string) bool { return equal(sum(n, password, nil), want) }}, nil
	}
}

func salted(n func() hash.Hash) scheme {
	return func(name, stored, encoding string) (*Hash, error) {
		b, err := decode(stored, encoding, 0)
		if err != nil {
			return nil, err
		}
		size := n().Size()
		if len(b) <= size {
			return nil, bad("it is not a digest of %s with a salt", name)
		}
		return &Hash{match: func(password string) bool { return equal(sum(n, password, b[size:]), b[:size]) }}, nil
	}
}

func sum(n func() hash.Hash, password string, salt []byte) []byte {
	h := n()
	h.Write([]byte(password))
	h.Write(salt)
	return h.Sum(nil)
}

func md5OrCrypt(name, stored, encoding string) (*Hash, error) {
	if strings.HasPrefix(stored, "$") {
		return crypt(name, stored, encoding)
	}
	return digest(md5.New)(name, stored, encoding)
}

// The forms of crypt(3), strictly: go-crypt's own readers take parameters without
// bounds.
var (
	md5Form     = form(`^\$1\$[^$:]{0,8}\$[./0-9A-Za-z]{22}$`)
	shaForm     = form(`^\$([56])\$(?:rounds=([1-9][0-9]{0,8})\$)?[^$:]{1,16}\$(?:[./0-9A-Za-z]{43}|[./0-9A-Za-z]{86})$`)
	bcryptForm  = form(`^\$2[aby]\$([0-9]{2})\$[./0-9A-Za-z]{53}$`)
	argon2Form  = form(`^\$argon2(?:i|id)\$v=19\$m=([1-9][0-9]{0,8}),t=([1-9][0-9]{0,4}),p=([1-9][0-9]{0,2})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$`)
	yesForm     = form(`^\$y\$j[./0-9A-Za-z]{2}\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43}$`)
	desForm     = form(`^(_[./0-9A-Za-z]{19}|[./0-9A-Za-z]{13})$`)
	pbkdf2Form  = form(`^\$1\$([^$:]{1,64})\$([1-9][0-9]{0,8})\$([0-9a-fA-F]{40})$`)
	bcryptLimit = 72 // octets that bcrypt looks at
)

// form is compiled when it is first needed.
func form(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

func crypt(_, stored, encoding string) (*Hash, error) {
	if encoding != "" {
		return nil, bad("crypt(3) has no encoding %.20q", encoding)
	}
	switch {
	case md5Form().MatchString(stored):
		return library(md5crypt.Decode(stored))
	case shaForm().MatchString(stored):
		m := shaForm().FindStringSubmatch(stored)
		if m[2] != "" && (number(m[2]) < 1000 || number(m[2]) > maxRounds) {
			return nil, bad("it asks for %s rounds; there are 1000 to %d", m[2], maxRounds)
		}
		return library(shacrypt.Decode(stored))
	case bcryptForm().MatchString(stored):
		cost := number(bcryptForm().FindStringSubmatch(stored)[1])
		if cost < 4 || cost > maxBcrypt {
			return nil, bad("it asks for the cost %d; there are 4 to %d", cost, maxBcrypt)
		}
		h, err := library(bcrypt.Decode(stored))
		if err != nil {
			return nil, err
		}
		match := h.match
		h.match = func(password string) bool { return match(password[:min(len(password), bcryptLimit)]) }
		return h, nil
	case argon2Form().MatchString(stored):
		m := argon2Form().FindStringSubmatch(stored)
		memory, passes, lanes := number(m[1]), number(m[2]), number(m[3])
		if memory < 8*lanes || lanes > 16 || memory<<10 > maxMemory || memory*passes > maxPasses {
			return nil, bad("its Argon2 asks for more than %d MiB, %d MiB times its passes or 16 lanes, or for too little", maxMemory>>20, maxPasses>>10)
		}
		h, err := library(argon2.Decode(stored))
		if err == nil {
			h.memory = memory << 10
		}
		return h, err
	case yesForm().MatchString(stored):
		return yes(stored)
	case desForm().MatchString(stored):
		return nil, bad("it is made with DES, whose passwords anybody can find: set it anew")
	}
	return nil, bad("it is none of the forms of crypt that are known ($1$, $5$, $6$, $2y$, $y$, $argon2i$, $argon2id$)")
}

// number reads digits that a form let through.
func number(digits string) int64 {
	n, _ := strconv.ParseInt(digits, 10, 64)
	return n
}

func library(d algorithm.Digest, err error) (*Hash, error) {
	if err != nil {
		// The library's own error may have parts of the hash.
		return nil, bad("it is damaged")
	}
	return &Hash{match: d.Match}, nil
}

// yes reads yescrypt, the passwords of Debian 11 and later.
func yes(stored string) (*Hash, error) {
	_, log2, r, err := yescrypt.DecodeSetting([]byte(stored[3:6]))
	if err != nil || log2 < 10 || log2 > 18 || r < 1 || int64(128*r)<<log2 > maxMemory {
		return nil, bad("its yescrypt asks for more than %d MiB, or for too little", maxMemory>>20)
	}
	return &Hash{memory: int64(128*r) << log2, match: func(password string) bool {
		got, err := yescrypt.Hash([]byte(password), []byte(stored))
		return err == nil && equal(got, []byte(stored))
	}}, nil
}

// dovecotPBKDF2 is $1$salt$rounds$hex with SHA-1.
func dovecotPBKDF2(_, stored, encoding string) (*Hash, error) {
	m := pbkdf2Form().FindStringSubmatch(stored)
	if m == nil || encoding != "" {
		return nil, bad("it is not $1$salt$rounds$digest")
	}
	rounds := int(number(m[2]))
	if rounds > maxRounds {
		return nil, bad("it asks for %d rounds; there are at most %d", rounds, maxRounds)
	}
	want, err := hex.DecodeString(m[3])
	if err != nil {
		return nil, bad("it is damaged")
	}
	return &Hash{match: func(password string) bool {
		got, err := pbkdf2.Key(sha1.New, password, []byte(m[1]), rounds, len(want))
		return err == nil && equal(got, want)
	}}, nil
}

// scram is iterations,salt,StoredKey,ServerKey.
func scram(h directory.Hash) scheme {
	return func(name, stored, encoding string) (*Hash, error) {
		parts := strings.Split(stored, ",")
		if len(parts) != 4 || encoding != "" {
			return nil, bad("it is not iterations,salt,StoredKey,ServerKey")
		}
		k := directory.ScramKeys{Hash: h}
		var err error
		if k.Iterations, err = strconv.Atoi(parts[0]); err != nil || k.Iterations < 4096 || k.Iterations > maxRounds {
			return nil, bad("it has not 4096 to %d iterations", maxRounds)
		}
		for i, to := range []*[]byte{&k.Salt, &k.StoredKey, &k.ServerKey} {
			if *to, err = base64.StdEncoding.Strict().DecodeString(parts[i+1]); err != nil {
				return nil, bad("it is not base64")
			}
		}
		size := h.New()().Size()
		if len(k.Salt) == 0 || len(k.StoredKey) != size || len(k.ServerKey) != size {
			return nil, bad("its keys are not those of %s", name)
		}
		return &Hash{keys: []directory.ScramKeys{k}, match: func(password string) bool {
			got, err := directory.NewScramKeys(h, password, k.Salt, k.Iterations)
			return err == nil && equal(got.StoredKey, k.StoredKey)
		}}, nil
	}
}
