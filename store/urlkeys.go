package store

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/postern-mail/postern/mail"
)

// A person's mailbox access keys (RFC 4467, 2.2) are what URLs that it authorized are
// proved with: one for each mailbox that it can read, of its own or of others. They are
// made of one secret of the person and, once a key was replaced, of a salt for that
// mailbox, so that all are taken away at once by removing one record.

const (
	// urlKeysKind is the kind of their records. The key is account/, the value the
	// secret and the salts.
	urlKeysKind = "urlkeys"

	urlSecretBytes = 32
	urlSaltBytes   = 16
	urlEntryBytes  = 8 + 8 + urlSaltBytes // account, mailbox, salt

	// maxURLSalts is how many mailboxes can have salts.
	maxURLSalts = 1000
)

// URLKeys gives out the person's key of a mailbox.
type URLKeys struct {
	secret []byte // nil: there are no keys
	salts  []byte // entries, in the order in which they were made
}

// Of gives the key of a mailbox in an account, 32 bytes; nil when there are no keys.
func (k URLKeys) Of(account mail.AccountID, mailbox mail.MailboxID) []byte {
	if k.secret == nil {
		return nil
	}
	h := hmac.New(sha256.New, k.secret)
	id := urlMailbox(account, mailbox)
	h.Write(id)
	if i := k.salt(id); i >= 0 {
		h.Write(k.salts[i+len(id) : i+urlEntryBytes])
	}
	return h.Sum(nil)
}

// urlMailbox is how an entry of a mailbox begins.
func urlMailbox(account mail.AccountID, mailbox mail.MailboxID) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(account)), uint64(mailbox))
}

// salt gives the offset of a mailbox's entry, or -1.
func (k URLKeys) salt(id []byte) int {
	for i := 0; i < len(k.salts); i += urlEntryBytes {
		if string(k.salts[i:i+len(id)]) == string(id) {
			return i
		}
	}
	return -1
}

// URLKeys reads the account's keys.
func (a *Account) URLKeys(ctx context.Context) (URLKeys, error) {
	a.mu.Lock()
	if a.removed {
		a.mu.Unlock()
		return URLKeys{}, mail.Errorf(mail.KindNotFound, "The account was removed.")
	}
	k, err := a.urlKeys(ctx)
	if err != nil {
		a.mu.Unlock()
		return URLKeys{}, err
	}
	return k, a.settle()
}

// urlKeys reads the record; a.mu is held.
func (a *Account) urlKeys(ctx context.Context) (URLKeys, error) {
	records, err := a.store.engine.Records(ctx, urlKeysKind, a.urlKeysKey())
	if err != nil || len(records) == 0 {
		return URLKeys{}, err
	}
	v := records[0].Value
	if len(v) < urlSecretBytes || (len(v)-urlSecretBytes)%urlEntryBytes != 0 {
		return URLKeys{}, mail.Errorf(mail.KindCorrupt, "the keys %s are damaged in the store", records[0].Key)
	}
	return URLKeys{secret: v[:urlSecretBytes:urlSecretBytes], salts: v[urlSecretBytes:]}, nil
}

func (a *Account) urlKeysKey() string { return a.id.String() + "/" }

// MakeURLKeys gives the account keys unless it has them.
func (a *Account) MakeURLKeys(ctx context.Context) (k URLKeys, err error) {
	_, err = a.change(ctx, func(c *change) error {
		if k, err = a.urlKeys(ctx); err != nil || k.secret != nil {
			return err
		}
		k.secret = random(urlSecretBytes)
		c.putURLKeys(k)
		return nil
	})
	return k, err
}

// ResetURLKey gives the account another key of a mailbox, which is of its own or another
// account: what the one before proved is no longer true. KindLimit when that was done for
// too many mailboxes.
func (a *Account) ResetURLKey(ctx context.Context, account mail.AccountID, mailbox mail.MailboxID) error {
	_, err := a.change(ctx, func(c *change) error {
		k, err := a.urlKeys(ctx)
		if err != nil {
			return err
		}
		if k.secret == nil {
			k.secret = random(urlSecretBytes)
			c.putURLKeys(k)
			return nil
		}
		id := urlMailbox(account, mailbox)
		k.salts = slices.Clone(k.salts)
		if i := k.salt(id); i >= 0 {
			copy(k.salts[i+len(id):], random(urlSaltBytes))
		} else {
			k = a.withoutDeleted(k)
			k.salts = append(append(k.salts, id...), random(urlSaltBytes)...)
		}
		if len(k.salts) > maxURLSalts*urlEntryBytes {
			return mail.Errorf(mail.KindLimit, "At most %d mailboxes can get new keys; RESETKEY without a mailbox removes all keys.", maxURLSalts)
		}
		c.putURLKeys(k)
		return nil
	})
	return err
}

// withoutDeleted leaves out the account's own mailboxes that there are no more; a.mu is
// held.
func (a *Account) withoutDeleted(k URLKeys) URLKeys {
	var kept []byte
	for e := range slices.Chunk(k.salts, urlEntryBytes) {
		owner, mailbox := mail.AccountID(binary.BigEndian.Uint64(e)), mail.MailboxID(binary.BigEndian.Uint64(e[8:]))
		if _, there := a.boxes[mailbox]; owner != a.id || there {
			kept = append(kept, e...)
		}
	}
	k.salts = kept
	return k
}

// RemoveURLKeys takes away all keys of the account, and with them what they proved.
func (a *Account) RemoveURLKeys(ctx context.Context) error {
	_, err := a.change(ctx, func(c *change) error {
		k, err := a.urlKeys(ctx)
		if err == nil && k.secret != nil {
			c.putURLKeys(URLKeys{})
		}
		return err
	})
	return err
}

// putURLKeys writes the record with the change.
func (c *change) putURLKeys(k URLKeys) {
	r := Record{Kind: urlKeysKind, Key: c.a.urlKeysKey()}
	if k.secret != nil {
		r.Value = slices.Concat(k.secret, k.salts)
	}
	c.batch.Records = append(c.batch.Records, r)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
