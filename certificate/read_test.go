package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/postern-mail/postern/mail"
)

// bundles gives one certificate in every form that is read.
func bundles(t testing.TB) map[string][]byte {
	t.Helper()
	key, err := NewKey(ECDSA, 0)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := NewSelfSigned(key, []string{"mail.example.org"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keyText, err := pemKey(key)
	if err != nil {
		t.Fatal(err)
	}
	chain := pemChain([]*x509.Certificate{cert})
	file, err := pkcs12.Modern2023.Encode(key, cert, nil, "secret")
	if err != nil {
		t.Fatal(err)
	}
	old, err := pkcs12.LegacyDES.Encode(key, cert, nil, "secret")
	if err != nil {
		t.Fatal(err)
	}
	request, err := NewRequest(key, []string{"mail.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"pem": append(bytes.Clone(keyText), chain...), "chain": chain, "der": cert.Raw, "key": keyText, "pkcs12": file, "old": old,
		"pkcs7": pkcs7(t, cert.Raw), "request": pemRequest(request), "twice": append(append(bytes.Clone(keyText), chain...), keyText...),
	}
}

// pkcs7 wraps a certificate as an authority does (RFC 5652, 5.1).
func pkcs7(t testing.TB, cert []byte) []byte {
	t.Helper()
	type info struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	type signed struct {
		Version      int
		Algorithms   []asn1.RawValue `asn1:"set"`
		Content      struct{ Type asn1.ObjectIdentifier }
		Certificates asn1.RawValue
		Signers      []asn1.RawValue `asn1:"set"`
	}
	inner, err := asn1.Marshal(signed{Version: 1, Content: struct{ Type asn1.ObjectIdentifier }{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}},
		Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: cert}})
	if err != nil {
		t.Fatal(err)
	}
	outer, err := asn1.Marshal(struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner}})
	if err != nil {
		t.Fatal(err)
	}
	return outer
}

// TestRead: every form gives the same certificate, with its key where that is in it.
func TestRead(t *testing.T) {
	all := bundles(t)
	for name, hasKey := range map[string]bool{"pem": true, "chain": false, "der": false, "pkcs7": false, "pkcs12": true, "old": true, "twice": true} {
		b, err := Read(all[name], nil, "secret")
		if err != nil || !bytes.Equal(b.Chain[0].Raw, all["der"]) || (b.Key != nil) != hasKey {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
		if !hasKey {
			if b, err = Read(all[name], all["key"], ""); err != nil || b.Key == nil {
				t.Errorf("%s with its key: %+v, %v", name, b, err)
			}
		}
	}
	for name, want := range map[string]string{"key": "no certificate", "request": "no certificate"} {
		if _, err := Read(all[name], nil, ""); mail.KindOf(err) != mail.KindBadArgument || !strings.Contains(mail.TextOf(err), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(all["pkcs12"], nil, "wrong"); mail.KindOf(err) != mail.KindBadArgument || !strings.Contains(mail.TextOf(err), "password") {
		t.Error(err)
	}
	if _, err := Read(bytes.Repeat(all["chain"], maxChain+1), nil, ""); mail.KindOf(err) != mail.KindBadArgument {
		t.Error("too many certificates", err)
	}
}

// TestCostly: a file cannot make us compute for hours.
func TestCostly(t *testing.T) {
	key, err := NewKey(ECDSA, 0)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := NewSelfSigned(key, []string{"mail.example.org"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file, err := pkcs12.LegacyDES.WithIterations(70000).Encode(key, cert, nil, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(file, nil, "secret"); err != nil {
		t.Error(err)
	}
	for _, count := range [][]byte{{2, 4, 0x7f, 0xff, 0xff, 0xff}, {2, 5, 1, 0, 0, 0, 0}, {2, 4, 0xff, 0, 0, 0}} {
		params := append([]byte{4, 2, 1, 1}, count...)
		inner := append([]byte{0x30, byte(len(params))}, params...)
		hidden := append([]byte{4, byte(len(inner))}, inner...)
		if !costly(append([]byte{0x30, byte(len(hidden))}, hidden...), 0) {
			t.Errorf("%x", count)
		}
	}
}

// FuzzRead: whatever an administrator brings is read or refused, and what is read can
// be kept and is the same when it is read again.
func FuzzRead(f *testing.F) {
	all := bundles(f)
	for _, name := range []string{"pem", "chain", "der", "pkcs12", "old", "pkcs7", "request"} {
		f.Add(all[name], []byte(nil), "secret")
	}
	f.Add(all["chain"], all["key"], "")
	f.Add([]byte("-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n"), []byte{0x30}, "")
	f.Fuzz(func(t *testing.T, content, further []byte, password string) {
		b, err := Read(content, further, password)
		if err != nil {
			if mail.KindOf(err) != mail.KindBadArgument {
				t.Fatal(err)
			}
			return
		}
		if len(b.Chain) == 0 || len(b.Chain) > maxChain || b.Key != nil && !b.Belongs(b.Key) {
			t.Fatalf("%+v", b)
		}
		Check(b.Chain, time.Now(), true)
		c := &Certificate{Chain: b.Chain}
		if name := fileName(c); strings.ContainsAny(name, "/\\\x00") || strings.HasPrefix(name, ".") || len(name) > 200 {
			t.Fatalf("%q", name)
		}
		c.Subject()
		c.RootCAType()
		text := pemChain(b.Chain)
		again, err := Read(text, nil, "")
		if err != nil || !bytes.Equal(pemChain(again.Chain), text) && b.Key != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if block, _ := pem.Decode(text); block == nil {
			t.Fatal("no PEM")
		}
	})
}
