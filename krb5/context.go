package krb5

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto/etype"
	"github.com/jcmturner/gokrb5/v8/types"
)

// Context is what a client and this server share once its ticket was accepted. It
// belongs to one goroutine.
type Context struct {
	Client, Service Principal
	Until           time.Time // the end of the ticket
	// Binding is the client's hash of its channel, all zeroes when it sent none.
	Binding Binding
	// Mutual says that the client wants the server's proof: Reply, the token that has
	// it, else nil.
	Mutual bool
	Reply  []byte

	key          types.EncryptionKey
	etype        etype.EType
	own          bool   // key is this server's, not the client's
	ours, theirs uint64 // the number of the next token
}

// The first octets of tokens (RFC 4121, 4.1 and 4.2.6).
var (
	tokenRequest = []byte{1, 0}
	tokenReply   = []byte{2, 0}
	tokenMIC     = []byte{4, 4}
	tokenWrap    = []byte{5, 4}
)

// Flags of a token (RFC 4121, 4.2.2), and its size without what it is about.
const (
	fromAcceptor = 1
	sealed       = 2
	acceptorsKey = 4
	headerSize   = 16
)

// Key usages (RFC 4121, 2). A wrapped message has those of seals, sealed or not.
const (
	usageOurSeal   = 22
	usageOurSign   = 23
	usageTheirSeal = 24
	usageTheirSign = 25
)

// header is that of a token of ours with the next number.
func (c *Context) header(id []byte) []byte {
	h := make([]byte, headerSize)
	copy(h, id)
	h[2] = fromAcceptor
	if c.own {
		h[2] |= acceptorsKey
	}
	h[3] = 0xff
	binary.BigEndian.PutUint64(h[8:], c.ours)
	c.ours++
	return h
}

// Wrap makes a token with a message that can be read but not changed (RFC 4121,
// 4.2.6.2): without confidentiality.
func (c *Context) Wrap(message []byte) ([]byte, error) {
	h := c.header(tokenWrap)
	sum, err := c.etype.GetChecksumHash(c.key.KeyValue, slices.Concat(message, h), usageOurSeal)
	if err != nil {
		return nil, unavailable("a message cannot be signed: %w", err)
	}
	binary.BigEndian.PutUint16(h[4:], uint16(len(sum)))
	return slices.Concat(h, message, sum), nil
}

var errToken = errors.New("the token is malformed, changed, or not the next one")

// begins checks the header of a client's token.
func (c *Context) begins(id, token []byte) ([]byte, error) {
	if len(token) < headerSize || len(token) > MaxMessage || !bytes.HasPrefix(token, id) || token[3] != 0xff ||
		token[2]&fromAcceptor != 0 || (token[2]&acceptorsKey != 0) != c.own || binary.BigEndian.Uint64(token[8:]) != c.theirs {
		return nil, refused("%w", errToken)
	}
	return slices.Clone(token[:headerSize]), nil
}

// Unwrap gives the message of a client's token (RFC 4121, 4.2.6.2), sealed or not. It
// must be the next one.
func (c *Context) Unwrap(token []byte) ([]byte, error) {
	h, err := c.begins(tokenWrap, token)
	if err != nil {
		return nil, err
	}
	body := slices.Clone(token[headerSize:])
	extra, rotated := int(binary.BigEndian.Uint16(h[4:])), int(binary.BigEndian.Uint16(h[6:]))
	if len(body) == 0 {
		return nil, refused("%w", errToken)
	}
	// The sender turned the body to the right by that many octets (4.2.5).
	rotated %= len(body)
	body = append(body[rotated:], body[:rotated]...)
	clear(h[6:8])
	var message []byte
	if h[2]&sealed != 0 {
		// message, filler, and the header again, without RRC.
		body, err = decrypt(types.EncryptedData{EType: c.key.KeyType, Cipher: body}, c.key, usageTheirSeal)
		end := len(body) - headerSize
		if err != nil || end-extra < 0 || !hmac.Equal(body[end:], h) {
			return nil, refused("%w", errToken)
		}
		message = body[:end-extra]
	} else {
		// message, and its checksum, over a header without EC and RRC.
		end := len(body) - extra
		if end < 0 || extra != c.etype.GetHMACBitLength()/8 {
			return nil, refused("%w", errToken)
		}
		clear(h[4:6])
		sum, err := c.etype.GetChecksumHash(c.key.KeyValue, slices.Concat(body[:end], h), usageTheirSeal)
		if err != nil || !hmac.Equal(sum, body[end:]) {
			return nil, refused("%w", errToken)
		}
		message = body[:end]
	}
	c.theirs++
	return message, nil
}

// MIC makes a token that signs a message (RFC 4121, 4.2.6.1).
func (c *Context) MIC(message []byte) ([]byte, error) {
	h := c.header(tokenMIC)
	copy(h[3:8], "\xff\xff\xff\xff\xff")
	sum, err := c.etype.GetChecksumHash(c.key.KeyValue, slices.Concat(message, h), usageOurSign)
	if err != nil {
		return nil, unavailable("a message cannot be signed: %w", err)
	}
	return append(h, sum...), nil
}

// CheckMIC checks a client's token that signs a message. It must be the next one.
func (c *Context) CheckMIC(message, token []byte) error {
	h, err := c.begins(tokenMIC, token)
	if err != nil {
		return err
	}
	sum, err := c.etype.GetChecksumHash(c.key.KeyValue, slices.Concat(message, h), usageTheirSign)
	if err != nil || !bytes.Equal(h[3:8], []byte("\xff\xff\xff\xff\xff")) || !hmac.Equal(sum, token[headerSize:]) {
		return refused("%w", errToken)
	}
	c.theirs++
	return nil
}
