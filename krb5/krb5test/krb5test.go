// Package krb5test is a realm for tests, in memory: it issues tickets, and plays the
// client that has one (the initiator of RFC 4121), which can also do what no honest
// client does. It shares no code with package krb5.
package krb5test

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gasn1 "github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/asnAppTag"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

// Encryption types by their numbers.
const (
	AES128      = 17
	AES256      = 18
	AES128SHA2  = 19
	AES256SHA2  = 20
	RC4         = 23
	gssChecksum = 0x8003
)

// keySizes are the octets of keys.
var keySizes = map[int32]int{AES128: 16, AES256: 32, AES128SHA2: 16, AES256SHA2: 32, RC4: 16}

// Realm issues tickets for its services.
type Realm struct {
	Name string
	t    testing.TB
	keys *keytab.Keytab
}

// NewRealm makes a realm with services such as "imap/localhost", which have keys of
// every encryption type.
func NewRealm(t testing.TB, name string, services ...string) *Realm {
	t.Helper()
	r := &Realm{Name: name, t: t, keys: keytab.New()}
	for _, service := range services {
		for kind := range keySizes {
			if err := r.keys.AddEntry(service, name, "key of "+service, time.Unix(1, 0), 2, kind); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

// Keytab writes the keys of services, of every service when none is named, into a file
// and gives its path.
func (r *Realm) Keytab(services ...string) string {
	r.t.Helper()
	some := keytab.New()
	for _, e := range r.keys.Entries {
		if len(services) == 0 || slices.Contains(services, strings.Join(e.Principal.Components, "/")) {
			some.Entries = append(some.Entries, e)
		}
	}
	text, err := some.Marshal()
	if err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.t.TempDir(), "keytab")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// Want is what a ticket is to be like. The zero value of each field is what is right.
type Want struct {
	Service    string // imap/localhost
	Key        string // the service whose key encrypts it; Service
	Kind       int32  // the encryption type of the ticket; AES256
	Session    int32  // that of the session key; AES256
	Realm      string // the client's; the Realm's
	ShownRealm string // the service's, as the ticket says without encryption; the Realm's
	Start, End time.Time
	Transited  string
	Flags      []int
}

// Client has a ticket.
type Client struct {
	// What the authenticator says; changed before Request.
	Name, Realm string
	Time        time.Time
	Flags       uint32 // of RFC 4121, 4.1.1.1; mutual authentication
	Binding     [16]byte
	Subkey      bool // its own key for the session
	Sequence    uint32
	Checksum    []byte // instead of that of Flags and Binding
	Options     []byte // the AP options

	// RRC is by how much Wrap turns a token; Sealed has it encrypted.
	RRC    uint16
	Sealed bool

	t       testing.TB
	ticket  messages.Ticket
	session types.EncryptionKey
	made    types.Authenticator

	key          types.EncryptionKey
	own          bool // key is the acceptor's
	ours, theirs uint64
}

// Client issues a ticket for a name such as "anna".
func (r *Realm) Client(name string, w Want) *Client {
	r.t.Helper()
	or := func(value, otherwise string) string {
		if value == "" {
			return otherwise
		}
		return value
	}
	w.Service = or(w.Service, "imap/localhost")
	w.Key, w.Realm, w.ShownRealm = or(w.Key, w.Service), or(w.Realm, r.Name), or(w.ShownRealm, r.Name)
	if w.Kind == 0 {
		w.Kind = AES256
	}
	if w.Session == 0 {
		w.Session = AES256
	}
	if w.Start.IsZero() {
		w.Start = time.Now().Add(-time.Minute)
	}
	if w.End.IsZero() {
		w.End = time.Now().Add(time.Hour)
	}
	part := messages.EncTicketPart{
		Flags: types.NewKrbFlags(), Key: newKey(w.Session), CRealm: w.Realm, CName: types.NewPrincipalName(1, name),
		Transited: messages.TransitedEncoding{TRType: 1, Contents: []byte(w.Transited)},
		AuthTime:  utc(w.Start), StartTime: utc(w.Start), EndTime: utc(w.End),
	}
	for _, f := range w.Flags {
		types.SetFlag(&part.Flags, f)
	}
	der, err := gasn1.Marshal(part)
	if err != nil {
		r.t.Fatal(err)
	}
	key, _, err := r.keys.GetEncryptionKey(types.NewPrincipalName(2, w.Key), r.Name, 0, w.Kind)
	if err != nil {
		r.t.Fatal(err)
	}
	sealed, err := crypto.GetEncryptedData(asn1tools.AddASNAppTag(der, asnAppTag.EncTicketPart), key, 2, 2)
	if err != nil {
		r.t.Fatal(err)
	}
	return &Client{
		Name: name, Realm: w.Realm, Flags: 2, Sequence: 0x12345678, Options: []byte{0x20, 0, 0, 0}, Subkey: true, t: r.t, session: part.Key,
		ticket: messages.Ticket{TktVNO: 5, Realm: w.ShownRealm, SName: types.NewPrincipalName(2, w.Service), EncPart: sealed},
	}
}

func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func newKey(kind int32) types.EncryptionKey {
	key := types.EncryptionKey{KeyType: kind, KeyValue: make([]byte, keySizes[kind])}
	rand.Read(key.KeyValue)
	return key
}

// Request gives the client's first token without the header of RFC 2743. Each call
// makes another authenticator.
func (c *Client) Request() []byte {
	c.t.Helper()
	when := c.Time
	if when.IsZero() {
		when = time.Now()
	}
	sum := c.Checksum
	if sum == nil {
		sum = binary.LittleEndian.AppendUint32(nil, 16)
		sum = append(sum, c.Binding[:]...)
		sum = binary.LittleEndian.AppendUint32(sum, c.Flags)
	}
	c.made = types.Authenticator{
		AVNO: 5, CRealm: c.Realm, CName: types.NewPrincipalName(1, c.Name), Cksum: types.Checksum{CksumType: gssChecksum, Checksum: sum},
		CTime: utc(when), Cusec: when.Nanosecond() / 1000, SeqNumber: int64(c.Sequence),
	}
	c.key, c.own, c.ours, c.theirs = c.session, false, uint64(c.Sequence), uint64(c.Sequence)
	if c.Subkey {
		c.key = newKey(c.session.KeyType)
		c.made.SubKey = c.key
	}
	der, err := c.made.Marshal()
	if err != nil {
		c.t.Fatal(err)
	}
	sealed, err := crypto.GetEncryptedData(der, c.session, 11, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	request := messages.APReq{PVNO: 5, MsgType: 14, APOptions: gasn1.BitString{Bytes: c.Options, BitLength: 8 * len(c.Options)}, Ticket: c.ticket, EncryptedAuthenticator: sealed}
	text, err := request.Marshal()
	if err != nil {
		c.t.Fatal(err)
	}
	return append([]byte{1, 0}, text...)
}

// Mechanism is Kerberos as a mechanism of the GSS-API.
var Mechanism = asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2}

// Framed puts the header of RFC 2743, 3.1 before a token.
func Framed(mechanism asn1.ObjectIdentifier, token []byte) []byte {
	name, err := asn1.Marshal(mechanism)
	if err != nil {
		panic(err)
	}
	der, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassApplication, Tag: 0, IsCompound: true, Bytes: slices.Concat(name, token)})
	if err != nil {
		panic(err)
	}
	return der
}

// Reply checks the server's proof, with its header.
func (c *Client) Reply(framed []byte) error {
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(framed, &outer); err != nil || len(rest) > 0 {
		return fmt.Errorf("no header: %x, %v", framed, err)
	}
	name, err := asn1.Marshal(Mechanism)
	if err != nil {
		return err
	}
	token, ok := strings.CutPrefix(string(outer.Bytes), string(name)+"\x02\x00")
	if !ok {
		return fmt.Errorf("not an AP-REP: %x", outer.Bytes)
	}
	var reply messages.APRep
	if err := reply.Unmarshal([]byte(token)); err != nil {
		return err
	}
	plain, err := crypto.DecryptEncPart(reply.EncPart, c.session, 12)
	if err != nil {
		return err
	}
	var part messages.EncAPRepPart
	if err := part.Unmarshal(plain); err != nil {
		return err
	}
	if !part.CTime.Equal(c.made.CTime) || part.Cusec != c.made.Cusec {
		return fmt.Errorf("the proof is of another request: %v", part.CTime)
	}
	if len(part.Subkey.KeyValue) > 0 {
		c.key, c.own = part.Subkey, true
	}
	c.theirs = uint64(part.SequenceNumber)
	return nil
}

// sum is the keyed checksum of RFC 4121.
func (c *Client) sum(usage uint32, parts ...[]byte) []byte {
	e, err := crypto.GetEtype(c.key.KeyType)
	if err != nil {
		c.t.Fatal(err)
	}
	sum, err := e.GetChecksumHash(c.key.KeyValue, slices.Concat(parts...), usage)
	if err != nil {
		c.t.Fatal(err)
	}
	return sum
}

func (c *Client) flags() byte {
	if c.own {
		return 4
	}
	return 0
}

// Wrap makes a token with a message.
func (c *Client) Wrap(message []byte) []byte {
	c.t.Helper()
	header := []byte{5, 4, c.flags(), 0xff, 0, 0, 0, 0}
	header = binary.BigEndian.AppendUint64(header, c.ours)
	c.ours++
	var body []byte
	if c.Sealed {
		header[2] |= 2
		header[5] = 3 // of filler
		sealed, err := crypto.GetEncryptedData(slices.Concat(message, []byte("xyz"), header), c.key, 24, 0)
		if err != nil {
			c.t.Fatal(err)
		}
		body = sealed.Cipher
	} else {
		sum := c.sum(24, message, header)
		header[5] = byte(len(sum))
		body = slices.Concat(message, sum)
	}
	binary.BigEndian.PutUint16(header[6:], c.RRC)
	turn := len(body) - int(c.RRC)%len(body)
	return slices.Concat(header, body[turn:], body[:turn])
}

// Unwrap gives the message of the server's next token.
func (c *Client) Unwrap(token []byte) ([]byte, error) {
	if len(token) < 16 || token[0] != 5 || token[1] != 4 || token[2] != 1|c.flags() || token[3] != 0xff {
		return nil, fmt.Errorf("not a wrapped message of the server: %s", hex.EncodeToString(token))
	}
	if number := binary.BigEndian.Uint64(token[8:]); number != c.theirs {
		return nil, fmt.Errorf("the token has the number %d, want %d", number, c.theirs)
	}
	c.theirs++
	header, body := slices.Clone(token[:16]), token[16:]
	end := len(body) - int(binary.BigEndian.Uint16(header[4:]))
	if end < 0 || binary.BigEndian.Uint16(header[6:]) != 0 {
		return nil, fmt.Errorf("the token is turned or too short")
	}
	clear(header[4:8])
	if !hmac.Equal(body[end:], c.sum(22, body[:end], header)) {
		return nil, fmt.Errorf("the token's checksum is wrong")
	}
	return body[:end], nil
}

// MIC signs a message.
func (c *Client) MIC(message []byte) []byte {
	header := []byte{4, 4, c.flags(), 0xff, 0xff, 0xff, 0xff, 0xff}
	header = binary.BigEndian.AppendUint64(header, c.ours)
	c.ours++
	return append(header, c.sum(25, message, header)...)
}

// CheckMIC tells whether the server's next token signs a message.
func (c *Client) CheckMIC(message, token []byte) bool {
	right := len(token) > 16 && hmac.Equal(token[16:], c.sum(23, message, token[:16])) && token[2] == 1|c.flags() && binary.BigEndian.Uint64(token[8:]) == c.theirs
	if right {
		c.theirs++
	}
	return right
}
