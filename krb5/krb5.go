// Package krb5 is the server's side of Kerberos 5 (RFC 4120): it accepts tickets with
// a keytab the way the GSS-API mechanism does (RFC 4121), and asks a realm's key
// distribution centre whether a password is right. It stands before gokrb5, which
// nothing else imports: that library decodes and encrypts; what is accepted is
// decided here.
package krb5

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/crypto/etype"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/postern-mail/postern/mail"
)

// MaxMessage bounds a Kerberos message that is read, in octets: a ticket of Active
// Directory has the user's groups in it.
const MaxMessage = 64 << 10

// Principal is a name in a realm (RFC 4120, 6). Both are compared as octets.
type Principal struct {
	Components []string
	Realm      string
}

// String gives the name as people write it, imap/mail.example.org@EXAMPLE.ORG, for
// logs: it is not parsed again.
func (p Principal) String() string { return strings.Join(p.Components, "/") + "@" + p.Realm }

// Equal tells whether both are the same principal.
func (p Principal) Equal(q Principal) bool {
	return p.Realm == q.Realm && slices.Equal(p.Components, q.Components)
}

// is tells whether p is a service of q's realm with q's name in any case: that of hosts
// does not count, and Active Directory's services have none.
func (p Principal) is(q Principal) bool {
	return p.Realm == q.Realm && slices.EqualFunc(p.Components, q.Components, strings.EqualFold)
}

// Service is the principal of a service on a host (RFC 4120, 6.2.1).
func Service(service, host, realm string) Principal {
	return Principal{[]string{service, host}, realm}
}

// keySizes are the encryption types that are known, with the octets of their keys;
// gokrb5 has a wrong one for AES-256 with SHA-384. All but RC4 are always accepted.
var keySizes = map[int32]int{
	etypeID.AES256_CTS_HMAC_SHA384_192: 32,
	etypeID.AES128_CTS_HMAC_SHA256_128: 16,
	etypeID.AES256_CTS_HMAC_SHA1_96:    32,
	etypeID.AES128_CTS_HMAC_SHA1_96:    16,
	etypeID.RC4_HMAC:                   16,
}

// strong gives the encryption type of a key that protects something that is sent: an
// AES one.
func strong(key types.EncryptionKey) (etype.EType, error) {
	size := keySizes[key.KeyType]
	if size == 0 || key.KeyType == etypeID.RC4_HMAC || len(key.KeyValue) != size {
		return nil, fmt.Errorf("a key of the encryption type %d with %d octets", key.KeyType, len(key.KeyValue))
	}
	return crypto.GetEtype(key.KeyType)
}

// decrypt opens what was encrypted with key. What gokrb5 takes for granted is checked
// before it is called.
func decrypt(data types.EncryptedData, key types.EncryptionKey, usage uint32) ([]byte, error) {
	if data.EType != key.KeyType || len(key.KeyValue) == 0 || len(key.KeyValue) != keySizes[key.KeyType] {
		return nil, fmt.Errorf("the encryption type %d does not fit the key's", data.EType)
	}
	e, err := crypto.GetEtype(key.KeyType)
	if err != nil {
		return nil, err
	}
	if len(data.Cipher) < e.GetConfounderByteSize()+e.GetHMACBitLength()/8 || len(data.Cipher) > MaxMessage {
		return nil, fmt.Errorf("an encrypted part of %d octets", len(data.Cipher))
	}
	var plain []byte
	err = guard(func() (err error) {
		plain, err = e.DecryptMessage(key.KeyValue, data.Cipher, usage)
		return err
	})
	return plain, err
}

// guard calls f, which hands octets from the network to gokrb5. Its ASN.1 decoder is a
// fork of an old encoding/asn1, and its types index slices whose length nobody looked
// at; what is known of that is checked before each call. A panic that nobody foresaw
// becomes a refusal: it must not end a server with everybody's sessions.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("gokrb5 failed: %v", r)
		}
	}()
	return f()
}

// flag tells whether bit i is set: gokrb5's IsFlagSet does not look at the length.
func flag(bits []byte, i int) bool { return i/8 < len(bits) && bits[i/8]&(0x80>>(i%8)) != 0 }

// Binding is the hash of a channel binding in a client's first message (RFC 4121,
// 4.1.1.2); all zeroes when there is none.
type Binding [md5.Size]byte

// Bind hashes a channel binding without addresses; data is its application data, such
// as "tls-server-end-point:" and the value. MD5 is the RFC's; that somebody finds two
// inputs with one hash gains nothing here, as the client's own TLS makes the input.
func Bind(data []byte) Binding {
	b := make([]byte, 20, 20+len(data))
	binary.LittleEndian.PutUint32(b[16:], uint32(len(data)))
	return md5.Sum(append(b, data...))
}

// refused is a ticket or message that is not accepted. The client learns no more; the
// cause is for the log.
func refused(format string, args ...any) error {
	return &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: fmt.Errorf("Kerberos: "+format, args...)}
}

// unavailable is what cannot be said now.
func unavailable(format string, args ...any) error {
	return &mail.Error{Kind: mail.KindUnavailable, Cause: fmt.Errorf("Kerberos: "+format, args...)}
}
