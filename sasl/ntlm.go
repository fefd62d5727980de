package sasl

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// windows is NTLM as Outlook, curl and Cyrus SASL speak it ([MS-NLMP], [MS-POP3], RFC 4422,
// 5): the client's NEGOTIATE_MESSAGE, the server's CHALLENGE_MESSAGE, the client's
// AUTHENTICATE_MESSAGE. Credentials make the challenge and judge the answer; here is
// only read who it says it is.
type windows struct {
	server     Server
	asked      bool // for the first message
	challenged bool
}

func newNTLM(s Server) Exchange { return &windows{server: s} }

func (x *windows) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil && !x.asked {
		x.asked = true
		return nil, false, nil
	}
	if !x.challenged {
		x.asked, x.challenged = true, true
		if err := checkNTLM(response, 1, 16); err != nil {
			return nil, false, failed("NTLM: " + err.Error())
		}
		challenge, err := x.server.Credentials.NTLMChallenge(ctx, response)
		return challenge, false, err
	}
	account, err := ntlmAccount(response)
	if err != nil {
		return nil, false, failed("NTLM: " + err.Error())
	}
	name, err := x.server.Credentials.NTLMProof(ctx, account, response)
	if err == nil {
		err = x.server.Credentials.Authorize(ctx, name, "")
	}
	return nil, err == nil, err
}

// maxNTLM bounds a message of NTLM in octets; those of Windows are below 2 KiB.
const maxNTLM = 4096

// checkNTLM looks at a message's signature and type.
func checkNTLM(message []byte, kind uint32, least int) error {
	if len(message) < least || len(message) > maxNTLM || !bytes.HasPrefix(message, []byte("NTLMSSP\x00")) ||
		binary.LittleEndian.Uint32(message[8:]) != kind {
		return reason("the message is not the one that comes now")
	}
	return nil
}

// ntlmAccount gives the domain and the user of an AUTHENTICATE_MESSAGE ([MS-NLMP],
// 2.2.1.3), as DOMAIN\user; the domain may be empty, the user may not: nobody is let in
// without a name.
func ntlmAccount(message []byte) (string, error) {
	if err := checkNTLM(message, 3, 64); err != nil {
		return "", err
	}
	const negotiateUnicode = 1
	unicode := binary.LittleEndian.Uint32(message[60:])&negotiateUnicode != 0
	var parts [2]string
	for i, field := range []int{28, 36} { // DomainNameFields, UserNameFields
		length, at := int(binary.LittleEndian.Uint16(message[field:])), binary.LittleEndian.Uint32(message[field+4:])
		if uint64(at)+uint64(length) > uint64(len(message)) {
			return "", reason("a name lies outside of the message")
		}
		raw := message[at : int(at)+length]
		if unicode {
			if length%2 != 0 {
				return "", reason("a name is not UTF-16")
			}
			units := make([]uint16, length/2)
			for j := range units {
				units[j] = binary.LittleEndian.Uint16(raw[2*j:])
			}
			raw = []byte(string(utf16.Decode(units)))
		}
		if len(raw) > 2*255 || !utf8.Valid(raw) || bytes.ContainsFunc(raw, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f || r == utf8.RuneError }) {
			return "", reason("a name has what no name has")
		}
		parts[i] = string(raw)
	}
	if parts[1] == "" {
		return "", reason("there is no user name")
	}
	return strings.Join(parts[:], `\`), nil
}
