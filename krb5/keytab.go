package krb5

import (
	"io"
	"os"
	"slices"

	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/postern-mail/postern/mail"
)

// Bounds of a keytab.
const (
	maxKeytab = 1 << 20 // octets
	maxKeys   = 1024
)

// Keytab is the secret keys of services. It is not changed any more.
type Keytab struct {
	entries []entry
}

type entry struct {
	owner Principal
	key   types.EncryptionKey
}

// ReadKeytab reads a file of the format that kadmin, ktutil and ktpass write. With rc4
// its keys for RC4 count, which are as weak as the MD4 of a password; others that are
// not AES never do. KindUnavailable when it cannot be read, KindBadArgument when it is
// not a keytab or has no key that counts.
func ReadKeytab(path string, rc4 bool) (*Keytab, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "The keytab cannot be read: " + err.Error() + ".", Cause: err}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeytab+1))
	if err != nil {
		return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "The keytab cannot be read: " + err.Error() + ".", Cause: err}
	}
	return parseKeytab(path, text, rc4)
}

func parseKeytab(path string, text []byte, rc4 bool) (*Keytab, error) {
	var read keytab.Keytab
	// The library's errors quote the file, which is nothing but secrets.
	if len(text) > maxKeytab || guard(func() error { return read.Unmarshal(text) }) != nil {
		return nil, mail.Errorf(mail.KindBadArgument, "%s is not a keytab.", path)
	}
	k := &Keytab{}
	for _, e := range read.Entries {
		usable := len(e.Key.KeyValue) == keySizes[e.Key.KeyType] && (rc4 || e.Key.KeyType != etypeID.RC4_HMAC)
		if usable && len(e.Key.KeyValue) > 0 && len(e.Principal.Components) > 0 && len(k.entries) < maxKeys {
			k.entries = append(k.entries, entry{Principal{e.Principal.Components, e.Principal.Realm}, e.Key})
		}
	}
	if len(k.entries) == 0 {
		return nil, mail.Errorf(mail.KindBadArgument, "%s has no key of an encryption type that is accepted here (AES).", path)
	}
	return k, nil
}

// Owners lists whose keys there are, each once, in the file's order.
func (k *Keytab) Owners() []Principal {
	var all []Principal
	for _, e := range k.entries {
		if !slices.ContainsFunc(all, e.owner.Equal) {
			all = append(all, e.owner)
		}
	}
	return all
}

// has tells whether there is a key of a service.
func (k *Keytab) has(service Principal) bool {
	return slices.ContainsFunc(k.entries, func(e entry) bool { return e.owner.is(service) })
}

// open decrypts with the service's keys. Which version of a key it was is not looked
// at: the right one is the one that fits, and ktpass, Samba and MIT count versions
// differently.
func (k *Keytab) open(service Principal, data types.EncryptedData, usage uint32) (plain []byte, err error) {
	err = errNoKey
	for _, e := range k.entries {
		if e.key.KeyType == data.EType && e.owner.is(service) {
			if plain, err = decrypt(data, e.key, usage); err == nil {
				return plain, nil
			}
		}
	}
	return nil, err
}

var errNoKey = mail.Errorf(mail.KindNotFound, "The keytab has no key of that encryption type for the service.")
