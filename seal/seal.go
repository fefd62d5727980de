// Package seal keeps secrets that the server must be able to read, encrypted under a
// key that lies in a file beside the store and is no part of it: who has the store
// alone, such as a copy of it, cannot read them.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/postern-mail/postern/mail"
)

// keySize is that of AES-256, in bytes.
const keySize = 32

// Key seals with AES-256 in GCM under the key in a file. Its methods may be called from
// any goroutine.
type Key struct {
	path string

	mu   sync.Mutex
	aead cipher.AEAD // nil until it is needed
}

// At gives the key in the file at path. The first Seal makes the file when there is
// none; until then nothing is read or written.
func At(path string) *Key { return &Key{path: path} }

// Random gives a key that is in no file, for tests and trials.
func Random() *Key {
	k := &Key{}
	raw := make([]byte, keySize)
	rand.Read(raw) // never fails (crypto/rand)
	k.aead, _ = aead(raw)
	return k
}

// Seal encrypts a secret. Only Open with the same about, which says what it is and
// whose, gives it back. KindUnavailable when the file cannot be used.
func (k *Key) Seal(secret []byte, about string) ([]byte, error) {
	key, err := k.ready(true)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, key.NonceSize())
	rand.Read(nonce) // never fails (crypto/rand)
	return key.Seal(nonce, nonce, secret, []byte(about)), nil
}

// Open decrypts what Seal gave. KindUnavailable without the key, KindCorrupt when it is
// not what was sealed about the same under this key.
func (k *Key) Open(sealed []byte, about string) ([]byte, error) {
	key, err := k.ready(false)
	if err != nil {
		return nil, err
	}
	if len(sealed) < key.NonceSize() {
		return nil, mail.Errorf(mail.KindCorrupt, "A sealed secret is damaged.")
	}
	n := key.NonceSize()
	secret, err := key.Open(nil, sealed[:n], sealed[n:], []byte(about))
	if err != nil {
		return nil, &mail.Error{Kind: mail.KindCorrupt, Text: "A sealed secret is damaged, or was sealed with another key.", Cause: err}
	}
	return secret, nil
}

// ready gives the key, read from its file, which is made if create says so.
func (k *Key) ready(create bool) (cipher.AEAD, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.aead != nil {
		return k.aead, nil
	}
	raw, err := read(k.path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err = write(k.path); err == nil {
			raw, err = read(k.path)
		}
	}
	if err != nil {
		return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "The key of sealed secrets cannot be used.", Cause: err}
	}
	k.aead, err = aead(raw)
	return k.aead, mail.Wrap(mail.KindServerBug, err)
}

func aead(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, errors.New(path + " can be read by other users; chmod 600 mends it")
	}
	raw, err := io.ReadAll(io.LimitReader(f, keySize+1))
	if err == nil && len(raw) != keySize {
		err = errors.New(path + " does not hold a key")
	}
	return raw, err
}

// write makes the file, whole or not at all, unless another process was faster. Only the
// server's user can read it.
func write(path string) error {
	raw := make([]byte, keySize)
	rand.Read(raw) // never fails (crypto/rand)
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path) // never over a key that is there
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
