package sasl

import (
	"bytes"
	"context"
	"encoding/asn1"

	"github.com/postern-mail/postern/krb5"
)

// spnego is GSS-SPNEGO: Kerberos, negotiated as in RFC 4178, which is how Windows
// speaks it. There is no other mechanism to negotiate, no authzid, and no security
// layer.
type spnego struct {
	server Server
	next   func(ctx context.Context, response []byte) ([]byte, bool, error)
	asked  bool
	name   string
	shared *krb5.Context

	offered []byte // the client's list of mechanisms, in DER, which a MIC signs
	chosen  asn1.ObjectIdentifier
	// preferred: Kerberos goes first in the list. Else whether the list is the client's
	// must be proved (RFC 4178, 5).
	preferred bool
}

func newSPNEGO(s Server) Exchange {
	n := &spnego{server: s}
	n.next = n.first
	return n
}

func (n *spnego) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if len(response) > MaxResponse {
		return nil, false, failed("SPNEGO: the response is too long")
	}
	return n.next(ctx, response)
}

// spnegoMechanism is SPNEGO's own object identifier in DER (RFC 4178, 3).
var spnegoMechanism = []byte("\x06\x06\x2b\x06\x01\x05\x05\x02")

// NegTokenInit ::= SEQUENCE { mechTypes [0] MechTypeList, reqFlags [1] ContextFlags OPTIONAL,
// mechToken [2] OCTET STRING OPTIONAL, mechListMIC [3] OCTET STRING OPTIONAL }   ; RFC 4178, 4.2.1
type negTokenInit struct {
	MechTypes   asn1.RawValue  `asn1:"explicit,tag:0"`
	ReqFlags    asn1.BitString `asn1:"explicit,optional,tag:1"`
	MechToken   []byte         `asn1:"explicit,optional,tag:2"`
	MechListMIC []byte         `asn1:"explicit,optional,tag:3"`
}

// NegTokenResp ::= SEQUENCE { negState [0] ENUMERATED OPTIONAL, supportedMech [1] MechType OPTIONAL,
// responseToken [2] OCTET STRING OPTIONAL, mechListMIC [3] OCTET STRING OPTIONAL }   ; RFC 4178, 4.2.2
type negTokenResp struct {
	NegState      asn1.Enumerated       `asn1:"explicit,optional,default:-1,tag:0"`
	SupportedMech asn1.ObjectIdentifier `asn1:"explicit,optional,tag:1"`
	ResponseToken []byte                `asn1:"explicit,optional,tag:2"`
	MechListMIC   []byte                `asn1:"explicit,optional,tag:3"`
}

// The states of a negotiation (RFC 4178, 4.2.2).
const (
	negCompleted  = 0
	negIncomplete = 1
	negRequestMIC = 3
)

// maxMechanisms bounds a client's list.
const maxMechanisms = 16

// first takes the client's list, and its ticket when it expects Kerberos.
func (n *spnego) first(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil && !n.asked {
		n.asked = true
		return nil, false, nil
	}
	inner, ok := krb5.Unframe(spnegoMechanism, response)
	var init negTokenInit
	if !ok || !unmarshalTagged(inner, 0, &init) {
		return nil, false, failed("SPNEGO: the response is not a NegTokenInit")
	}
	var list []asn1.ObjectIdentifier
	n.offered = init.MechTypes.Bytes
	if rest, err := asn1.Unmarshal(n.offered, &list); err != nil || len(rest) > 0 || len(list) > maxMechanisms {
		return nil, false, failed("SPNEGO: malformed list of mechanisms")
	}
	for i, mechanism := range list {
		if der, err := asn1.Marshal(mechanism); err == nil && (bytes.Equal(der, krb5.Mechanism) || bytes.Equal(der, krb5.Microsoft)) {
			n.chosen, n.preferred = mechanism, i == 0
			break
		}
	}
	switch {
	case n.chosen == nil:
		return nil, false, failed("SPNEGO: the client does not offer Kerberos")
	case n.preferred && len(init.MechToken) > 0:
		return n.accept(ctx, init.MechToken)
	}
	n.next = n.second
	state := asn1.Enumerated(negIncomplete)
	if !n.preferred {
		state = negRequestMIC
	}
	return n.say(negTokenResp{NegState: state, SupportedMech: n.chosen})
}

// second takes the ticket of a client that had not expected Kerberos.
func (n *spnego) second(ctx context.Context, response []byte) ([]byte, bool, error) {
	var said negTokenResp
	if !unmarshalTagged(response, 1, &said) || len(said.ResponseToken) == 0 {
		return nil, false, failed("SPNEGO: the response is not a NegTokenResp with a token")
	}
	return n.accept(ctx, said.ResponseToken)
}

// accept has the ticket proved and answers with this server's proof.
func (n *spnego) accept(ctx context.Context, framed []byte) ([]byte, bool, error) {
	token, ok := krb5.Unframe(krb5.Mechanism, framed)
	if !ok {
		return nil, false, failed("SPNEGO: the token is not of Kerberos")
	}
	var err error
	if n.name, n.shared, err = n.server.ticket(ctx, token); err != nil {
		return nil, false, err
	}
	answer := negTokenResp{NegState: negCompleted, SupportedMech: n.chosen, ResponseToken: n.shared.Reply}
	n.next = n.over
	if !n.preferred {
		answer.NegState, n.next = negIncomplete, n.signed
		if answer.MechListMIC, err = n.shared.MIC(n.offered); err != nil {
			return nil, false, err
		}
	}
	return n.say(answer)
}

// signed takes the client's proof that the list was its own.
func (n *spnego) signed(ctx context.Context, response []byte) ([]byte, bool, error) {
	var said negTokenResp
	if !unmarshalTagged(response, 1, &said) {
		return nil, false, failed("SPNEGO: the response is not a NegTokenResp")
	}
	if err := n.shared.CheckMIC(n.offered, said.MechListMIC); err != nil {
		return nil, false, err
	}
	return n.over(ctx, nil)
}

// over: the client has all that it wants.
func (n *spnego) over(ctx context.Context, response []byte) ([]byte, bool, error) {
	if len(response) > 0 {
		return nil, false, failed("SPNEGO: the client goes on where it has nothing to say")
	}
	if err := n.server.Credentials.Authorize(ctx, n.name, ""); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// say makes the challenge of an answer.
func (n *spnego) say(answer negTokenResp) ([]byte, bool, error) {
	der, err := asn1.MarshalWithParams(answer, "explicit,tag:1")
	if err != nil {
		return nil, false, failed("SPNEGO: the answer cannot be made: " + err.Error())
	}
	return der, false, nil
}

// unmarshalTagged reads a SEQUENCE in an explicit tag, to the last octet.
func unmarshalTagged(der []byte, tag int, value any) bool {
	rest, err := asn1.UnmarshalWithParams(der, value, "explicit,tag:"+string(rune('0'+tag)))
	return err == nil && len(rest) == 0
}
