package krb5

import (
	"bytes"
	"encoding/asn1"
	"slices"
)

// Mechanism is the object identifier of Kerberos 5 as a mechanism of the GSS-API, in
// DER (RFC 4121, 4.1); Microsoft's is the one that Windows names beside it.
var (
	Mechanism = []byte("\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02")
	Microsoft = []byte("\x06\x09\x2a\x86\x48\x82\xf7\x12\x01\x02\x02")
)

// Frame puts the header of RFC 2743, 3.1 before a token: a tag, a length, and the
// mechanism's object identifier in DER.
func Frame(mechanism, token []byte) []byte {
	size := len(mechanism) + len(token)
	frame := []byte{0x60}
	switch {
	case size < 0x80:
		frame = append(frame, byte(size))
	case size < 0x100:
		frame = append(frame, 0x81, byte(size))
	case size < 0x10000:
		frame = append(frame, 0x82, byte(size>>8), byte(size))
	default:
		frame = append(frame, 0x83, byte(size>>16), byte(size>>8), byte(size))
	}
	return slices.Concat(frame, mechanism, token)
}

// Unframe takes the header away; ok is false unless it is well-formed and of the
// mechanism.
func Unframe(mechanism, framed []byte) (token []byte, ok bool) {
	var raw asn1.RawValue
	rest, err := asn1.Unmarshal(framed, &raw)
	if err != nil || len(rest) > 0 || raw.Class != asn1.ClassApplication || raw.Tag != 0 || !raw.IsCompound {
		return nil, false
	}
	return bytes.CutPrefix(raw.Bytes, mechanism)
}
