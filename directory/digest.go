package directory

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// Digest is what is remembered of a name and password that were right, for as long
// as a process lives: keyed, so that it means nothing without key, which is random
// and never written. Name and password cannot be divided otherwise with the same
// result.
func Digest(key []byte, name, password string) (d [sha256.Size]byte) {
	m := hmac.New(sha256.New, key)
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(name)))
	m.Write(size[:])
	m.Write([]byte(name))
	m.Write([]byte(password))
	m.Sum(d[:0])
	return d
}
