package krb5

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana"
	"github.com/jcmturner/gokrb5/v8/iana/asnAppTag"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/postern-mail/postern/mail"
)

// Acceptor accepts tickets for the services of a keytab.
type Acceptor struct {
	Keys *Keytab
	// Hosts are the host names whose services are accepted; empty is those of Keys.
	Hosts []string
	// Skew is how far a client's clock and ours may be apart.
	Skew    time.Duration
	Replays *Replays
	Now     func() time.Time
}

// The values of flags in a client's first message (RFC 4121, 4.1.1.1).
const (
	flagMutual = 2
	// gssChecksum is the type of a checksum that carries them.
	gssChecksum = 0x8003
	maxUSec     = 999999
)

// Accept takes the first token of a client (RFC 4121, 4.1, without the header of RFC
// 2743) for a service such as "imap". KindNotFound when the ticket is for a service
// that is not in the keytab, of which another one may know; KindAuthenticationFailed
// for whatever else is wrong with it; KindUnavailable when too many come.
//
// DEVIATES: RFC 4120, 3.2.3: addresses in a ticket are not compared with the client's.
// Tickets hardly have any, and behind an address translator they would be wrong.
func (a *Acceptor) Accept(service string, token []byte) (*Context, error) {
	request, ok := bytes.CutPrefix(token, tokenRequest)
	if !ok || len(request) > MaxMessage {
		return nil, refused("the client's first token has no AP-REQ")
	}
	var m messages.APReq
	if err := guard(func() error { return m.Unmarshal(request) }); err != nil {
		return nil, refused("the AP-REQ cannot be read: %w", err)
	}
	t := m.Ticket
	owner := Principal{t.SName.NameString, t.Realm}
	switch {
	case m.PVNO != iana.PVNO || t.TktVNO != iana.PVNO:
		return nil, refused("the AP-REQ is not of Kerberos 5")
	case flag(m.APOptions.Bytes, flags.APOptionUseSessionKey):
		return nil, refused("the ticket is encrypted with a session key, of which this server has none")
	case len(owner.Components) != 2 || !strings.EqualFold(owner.Components[0], service) || !a.host(owner.Components[1]) || !a.Keys.has(owner):
		return nil, &mail.Error{Kind: mail.KindNotFound, Text: "The ticket is for another service.", Cause: refused("the ticket is for %q, not for the service %s of this server", owner, service)}
	}
	plain, err := a.Keys.open(owner, t.EncPart, keyusage.KDC_REP_TICKET)
	if err != nil {
		return nil, refused("the ticket for %q cannot be decrypted with the keytab: %w", owner, err)
	}
	var in messages.EncTicketPart
	if err := guard(func() error { return in.Unmarshal(plain) }); err != nil {
		return nil, refused("the ticket cannot be read: %w", err)
	}
	if _, err := strong(in.Key); err != nil {
		return nil, refused("the ticket has %w", err)
	}
	if err := a.valid(owner, &in); err != nil {
		return nil, err
	}
	c := &Context{Client: Principal{in.CName.NameString, in.CRealm}, Service: owner, Until: in.EndTime}
	if err := a.authenticator(c, m.EncryptedAuthenticator, in.Key, flag(m.APOptions.Bytes, flags.APOptionMutualRequired)); err != nil {
		return nil, err
	}
	return c, nil
}

// host tells whether a host's services are accepted.
func (a *Acceptor) host(name string) bool {
	return len(a.Hosts) == 0 || slices.ContainsFunc(a.Hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

// valid checks what a ticket says of itself.
func (a *Acceptor) valid(service Principal, t *messages.EncTicketPart) error {
	now, start := a.Now(), t.StartTime
	if start.IsZero() {
		start = t.AuthTime
	}
	switch {
	case len(t.CName.NameString) == 0 || t.CRealm == "":
		return refused("the ticket is nobody's")
	case flag(t.Flags.Bytes, flags.Invalid) || start.Sub(now) > a.Skew:
		return refused("the ticket is not valid yet")
	case now.Sub(t.EndTime) > a.Skew:
		return refused("the ticket has expired")
	case t.CRealm != service.Realm && len(t.Transited.Contents) > 0 && !flag(t.Flags.Bytes, flags.TransitedPolicyChecked):
		// Which realms one may come through is the KDC's policy; without any in
		// between there is nothing to check.
		return refused("the ticket came through other realms, which its KDC did not check")
	}
	return nil
}

// authenticator checks that the client has the ticket's session key, and takes what it
// says into c.
func (a *Acceptor) authenticator(c *Context, sealed types.EncryptedData, session types.EncryptionKey, mutual bool) error {
	plain, err := decrypt(sealed, session, keyusage.AP_REQ_AUTHENTICATOR)
	if err != nil {
		return refused("the authenticator cannot be decrypted: %w", err)
	}
	var in types.Authenticator
	if err := guard(func() error { return in.Unmarshal(plain) }); err != nil {
		return refused("the authenticator cannot be read: %w", err)
	}
	if !c.Client.Equal(Principal{in.CName.NameString, in.CRealm}) {
		return refused("the authenticator is of another client than the ticket")
	}
	if in.Cusec < 0 || in.Cusec > maxUSec {
		return refused("the authenticator's time has %d microseconds", in.Cusec)
	}
	made := in.CTime.Add(time.Duration(in.Cusec) * time.Microsecond)
	if apart := a.Now().Sub(made).Abs(); apart > a.Skew {
		return refused("the client's clock is %s away from this server's", apart.Round(time.Second))
	}
	// Lgth (4, little endian, 16), Bnd (16), Flags (4, little endian), then what is
	// delegated, which nobody here wants (RFC 4121, 4.1.1).
	sum := in.Cksum.Checksum
	if in.Cksum.CksumType != gssChecksum || len(sum) < 24 || binary.LittleEndian.Uint32(sum) != 16 {
		return refused("the authenticator does not have the checksum of RFC 4121")
	}
	copy(c.Binding[:], sum[4:20])
	c.Mutual = mutual || binary.LittleEndian.Uint32(sum[20:])&flagMutual != 0

	c.key = session
	if len(in.SubKey.KeyValue) > 0 {
		c.key = in.SubKey
	}
	if c.etype, err = strong(c.key); err != nil {
		return refused("the authenticator has %w", err)
	}
	if in.SeqNumber < math.MinInt32 || in.SeqNumber > math.MaxUint32 {
		return refused("the authenticator's sequence number has more than 32 bits")
	}
	// Some send it signed (RFC 4120, 5.5.1).
	c.theirs = uint64(uint32(in.SeqNumber))
	c.ours = c.theirs
	if c.Mutual {
		if err := c.answer(session, &in); err != nil {
			return unavailable("the AP-REP cannot be made: %w", err)
		}
	}
	return a.Replays.use(sealed.Cipher, made)
}

// answer makes the AP-REP (RFC 4120, 5.5.2), which proves that this server could read
// the ticket, with a key of its own for what follows.
func (c *Context) answer(session types.EncryptionKey, in *types.Authenticator) error {
	subkey := types.EncryptionKey{KeyType: session.KeyType, KeyValue: make([]byte, keySizes[session.KeyType])}
	rand.Read(subkey.KeyValue) // never fails (crypto/rand)
	var number [4]byte
	rand.Read(number[:])
	// Without its highest bits, for those who read it signed; not 0, which would be
	// left out.
	ours := binary.BigEndian.Uint32(number[:])&0x3fffffff | 1
	part, err := asn1.Marshal(messages.EncAPRepPart{CTime: in.CTime.UTC(), Cusec: in.Cusec, Subkey: subkey, SequenceNumber: int64(ours)})
	if err != nil {
		return err
	}
	sealed, err := crypto.GetEncryptedData(asn1tools.AddASNAppTag(part, asnAppTag.EncAPRepPart), session, keyusage.AP_REP_ENCPART, 0)
	if err != nil {
		return err
	}
	reply, err := asn1.Marshal(messages.APRep{PVNO: iana.PVNO, MsgType: msgtype.KRB_AP_REP, EncPart: sealed})
	if err != nil {
		return err
	}
	c.Reply = Frame(Mechanism, append(slices.Clone(tokenReply), asn1tools.AddASNAppTag(reply, asnAppTag.APREP)...))
	c.key, c.own, c.ours = subkey, true, uint64(ours)
	c.etype, err = strong(subkey)
	return err
}
