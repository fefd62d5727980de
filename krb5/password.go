package krb5

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/postern-mail/postern/mail"
)

// maxIterations bounds what a KDC may ask of PBKDF2, several times what is usual.
const maxIterations = 1 << 18

// offered are the encryption types that a KDC may use for its answers, the strongest
// first.
var offered = []int32{etypeID.AES256_CTS_HMAC_SHA384_192, etypeID.AES128_CTS_HMAC_SHA256_128, etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA1_96}

// CheckPassword asks the KDC of the client's realm for a ticket for a service, which
// is of that realm and in keys, with the client's password. The KDC's answer counts
// only if the ticket is one that keys can read: who does not know them cannot make it,
// so that nobody who answers in the KDC's place lets anybody in. An empty password is
// refused without asking.
//
// KindNotFound when the client is unknown there; KindAuthenticationFailed when the
// password is wrong, or the KDC gives no ticket for it (expired, revoked: the cause
// says which); KindUnavailable for whatever else.
func (k *KDC) CheckPassword(ctx context.Context, client Principal, password string, service Principal, keys *Keytab) error {
	if password == "" {
		return refused("an empty password")
	}
	if client.Realm != service.Realm || !keys.has(service) {
		return unavailable("the keytab has no key of %q, which a password is checked with", service)
	}
	x := &exchange{client: client, service: service, password: password, now: k.Now}
	reply, err := x.ask(ctx, k, nil)
	if e, ok := reply.(*messages.KRBError); err == nil && ok && e.ErrorCode == errorcode.KDC_ERR_PREAUTH_REQUIRED {
		var proof types.PADataSequence
		if proof, err = x.prove(e.EData); err == nil {
			x.proved = true
			reply, err = x.ask(ctx, k, proof)
		}
	}
	if err != nil {
		return err
	}
	switch reply := reply.(type) {
	case *messages.KRBError:
		return x.failure(reply)
	case *messages.ASRep:
		return x.check(reply, keys)
	}
	return unavailable("the KDC answered nothing that is known")
}

// exchange is one AS exchange (RFC 4120, 3.1).
type exchange struct {
	client, service Principal
	password        string
	now             func() time.Time
	nonce           int
	hint            types.ETypeInfo2Entry // how the KDC makes a key of the password
	proved          bool                  // the password was proved before the ticket was asked for
}

// ask sends a request and reads the answer: a *messages.ASRep or a *messages.KRBError.
func (x *exchange) ask(ctx context.Context, k *KDC, proof types.PADataSequence) (any, error) {
	var number [4]byte
	rand.Read(number[:]) // never fails (crypto/rand)
	x.nonce = int(binary.BigEndian.Uint32(number[:]) & math.MaxInt32)
	request := messages.ASReq{KDCReqFields: messages.KDCReqFields{PVNO: iana.PVNO, MsgType: msgtype.KRB_AS_REQ, PAData: proof, ReqBody: messages.KDCReqBody{
		KDCOptions: types.NewKrbFlags(), Realm: x.client.Realm,
		CName: types.PrincipalName{NameType: nametype.KRB_NT_PRINCIPAL, NameString: x.client.Components},
		SName: types.PrincipalName{NameType: nametype.KRB_NT_SRV_INST, NameString: x.service.Components},
		Till:  x.now().UTC().Add(10 * time.Minute).Truncate(time.Second), Nonce: x.nonce, EType: offered,
	}}}
	text, err := request.Marshal()
	if err != nil {
		return nil, unavailable("the request cannot be made: %w", err)
	}
	answer, err := k.exchange(ctx, text)
	if err != nil {
		return nil, err
	}
	return readAnswer(answer)
}

// readAnswer reads what a KDC says to an AS-REQ.
func readAnswer(answer []byte) (any, error) {
	var failure messages.KRBError
	if guard(func() error { return failure.Unmarshal(answer) }) == nil {
		return &failure, nil
	}
	var reply messages.ASRep
	if err := guard(func() error { return reply.Unmarshal(answer) }); err != nil {
		return nil, unavailable("the KDC's answer cannot be read: %w", err)
	}
	return &reply, nil
}

// prove makes what shows the KDC that the password is known (RFC 4120, 5.2.7.2); hints
// are its METHOD-DATA.
func (x *exchange) prove(hints []byte) (types.PADataSequence, error) {
	var methods types.PADataSequence
	if err := guard(func() error { return methods.Unmarshal(hints) }); err != nil {
		return nil, unavailable("what the KDC demands cannot be read: %w", err)
	}
	x.take(methods)
	key, err := x.key(x.hint.EType)
	if err != nil {
		return nil, err
	}
	now := x.now().UTC()
	stamp, err := asn1.Marshal(types.PAEncTSEnc{PATimestamp: now.Truncate(time.Second), PAUSec: now.Nanosecond() / 1000})
	var sealed types.EncryptedData
	if err == nil {
		sealed, err = crypto.GetEncryptedData(stamp, key, keyusage.AS_REQ_PA_ENC_TIMESTAMP, 0)
	}
	var value []byte
	if err == nil {
		value, err = sealed.Marshal()
	}
	if err != nil {
		return nil, unavailable("the request cannot be made: %w", err)
	}
	return types.PADataSequence{{PADataType: patype.PA_ENC_TIMESTAMP, PADataValue: value}}, nil
}

// take reads how the KDC makes keys of passwords: the first of its ways that is known
// here.
func (x *exchange) take(methods types.PADataSequence) {
	for _, m := range methods {
		var ways types.ETypeInfo2
		if m.PADataType != patype.PA_ETYPE_INFO2 || guard(func() error { return ways.Unmarshal(m.PADataValue) }) != nil {
			continue
		}
		if i := slices.IndexFunc(ways, func(w types.ETypeInfo2Entry) bool { return slices.Contains(offered, w.EType) }); i >= 0 {
			x.hint = ways[i]
			return
		}
	}
}

// key makes the client's key of the password.
func (x *exchange) key(kind int32) (types.EncryptionKey, error) {
	none := types.EncryptionKey{}
	if !slices.Contains(offered, kind) {
		return none, unavailable("the KDC has no key of %q of an encryption type that is accepted here (AES)", x.client)
	}
	e, err := crypto.GetEtype(kind)
	if err != nil {
		return none, unavailable("%w", err)
	}
	salt, parameters := x.client.Realm+strings.Join(x.client.Components, ""), e.GetDefaultStringToKeyParams()
	if x.hint.EType == kind {
		if x.hint.Salt != "" {
			salt = x.hint.Salt
		}
		if len(x.hint.S2KParams) == 4 {
			// Somebody in the KDC's place could have this server count for minutes.
			if n := binary.BigEndian.Uint32(x.hint.S2KParams); n == 0 || n > maxIterations {
				return none, unavailable("the KDC demands %d iterations of PBKDF2; at most %d are made", n, maxIterations)
			}
			parameters = hex.EncodeToString(x.hint.S2KParams)
		}
	}
	key := types.EncryptionKey{KeyType: kind}
	if err := guard(func() (err error) { key.KeyValue, err = e.StringToKey(x.password, salt, parameters); return err }); err != nil {
		return none, unavailable("the password's key cannot be made: %w", err)
	}
	return key, nil
}

// check tells whether an answer is the KDC's own, and then whether the password is
// right. That order keeps somebody in the KDC's place from saying that it is wrong.
func (x *exchange) check(reply *messages.ASRep, keys *Keytab) error {
	sealed, err := keys.open(x.service, reply.Ticket.EncPart, keyusage.KDC_REP_TICKET)
	if err != nil {
		return unavailable("the KDC's ticket for %q is not of the keytab's key: %w", x.service, err)
	}
	var ticket messages.EncTicketPart
	if err := guard(func() error { return ticket.Unmarshal(sealed) }); err != nil {
		return unavailable("the KDC's ticket cannot be read: %w", err)
	}
	if !x.client.Equal(Principal{ticket.CName.NameString, ticket.CRealm}) || !ticket.EndTime.After(x.now()) {
		return unavailable("the KDC's ticket is not the one that was asked for")
	}
	if len(reply.PAData) > 0 {
		x.take(reply.PAData)
	}
	key, err := x.key(reply.EncPart.EType)
	if err != nil {
		return err
	}
	plain, err := decrypt(reply.EncPart, key, keyusage.AS_REP_ENCPART)
	switch {
	case err != nil && x.proved:
		return unavailable("the KDC took the password, and its answer cannot be decrypted with it: %w", err)
	case err != nil:
		return refused("the password is wrong")
	}
	var part messages.EncKDCRepPart
	if err := guard(func() error { return part.Unmarshal(plain) }); err != nil {
		return unavailable("the KDC's answer cannot be read: %w", err)
	}
	if part.Nonce != x.nonce || !slices.Equal(ticket.Key.KeyValue, part.Key.KeyValue) {
		return unavailable("the KDC's answer is to another question")
	}
	return nil
}

// failure says what an error of a KDC means (RFC 4120, 7.5.9).
func (x *exchange) failure(e *messages.KRBError) error {
	switch e.ErrorCode {
	case errorcode.KDC_ERR_C_PRINCIPAL_UNKNOWN, errorcode.KDC_ERR_WRONG_REALM:
		return &mail.Error{Kind: mail.KindNotFound, Text: "The KDC does not know the name."}
	case errorcode.KDC_ERR_PREAUTH_FAILED:
		return refused("the password is wrong")
	case errorcode.KDC_ERR_KEY_EXPIRED:
		return refused("the password of %q has expired", x.client)
	case errorcode.KDC_ERR_CLIENT_REVOKED:
		return refused("%q is locked or disabled", x.client)
	case errorcode.KDC_ERR_NAME_EXP, errorcode.KDC_ERR_CLIENT_NOTYET:
		return refused("%q has expired or is not valid yet", x.client)
	case errorcode.KDC_ERR_POLICY, errorcode.KDC_ERR_NEVER_VALID:
		return refused("the KDC's policy gives %q no ticket: %d", x.client, e.ErrorCode)
	case errorcode.KDC_ERR_S_PRINCIPAL_UNKNOWN:
		return unavailable("the KDC does not know the service %q", x.service)
	case errorcode.KRB_AP_ERR_SKEW:
		return unavailable("the KDC's clock, %s, is too far from this server's", e.STime.UTC().Format(time.RFC3339))
	}
	return unavailable("the KDC says %s", errorText(e))
}

// errorText is an unexpected error for the log; what the KDC writes may be anything.
func errorText(e *messages.KRBError) string {
	return fmt.Sprintf("error %d, %.80q", e.ErrorCode, e.EText)
}
