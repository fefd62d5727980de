package sasl

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
)

func TestMechanisms(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Mechanisms {
		if seen[m.Name] || m.Name != strings.ToUpper(m.Name) || len(m.Name) > 20 {
			t.Errorf("%s is there twice or is not a mechanism's name (RFC 4422, 3.1)", m.Name)
		}
		seen[m.Name] = true
		if m.Plus() && (!m.Bound || m.Needs&NeedsBinding == 0) || m.Bound && m.Class != TLSOnly && m.Needs != NeedsTickets {
			t.Errorf("%s: Bound is %v and Class is %v", m.Name, m.Bound, m.Class)
		}
		for _, name := range []string{m.Name, strings.ToLower(m.Name)} {
			if got, ok := Find(name); !ok || got.Name != m.Name {
				t.Errorf("Find(%s) = %s, %v", name, got.Name, ok)
			}
		}
	}
	for _, name := range []string{"", "SCRAM", "PLAIN ", "PLAIN\x00", "ANONYMOUS"} {
		if _, ok := Find(name); ok {
			t.Errorf("Find(%q) found something", name)
		}
	}
}

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		message, name, authzid string
		ok                     bool
	}{
		{"\x00anna\x00secret", "anna", "", true},
		{"bert\x00anna\x00secret", "anna", "bert", true}, // Authorize decides
		{"\x00anna\x00wrong", "", "", false},
		{"\x00nobody\x00secret", "", "", false},
		{"", "", "", false},
		{"\x00", "", "", false},
		{"\x00\x00", "", "", false},
		{"anna\x00secret", "", "", false},
		{"\x00anna\x00sec\x00ret", "", "", false},
		{"\x00anna\x00secret\x00", "", "", false},
		{"\x00anna\x00secret\xff", "", "", false},
		{"\x00" + strings.Repeat("a", MaxResponse) + "\x00x", "", "", false},
	} {
		for _, initial := range []bool{true, false} {
			u := anna()
			x := begin(t, "PLAIN", Server{Credentials: u})
			if !initial {
				challenge, done, err := x.Next(t.Context(), nil)
				if len(challenge) != 0 || done || err != nil {
					t.Fatalf("asked with %q, %v, %v", challenge, done, err)
				}
			}
			challenge, done, err := x.Next(t.Context(), []byte(c.message))
			if !c.ok {
				wantFailed(t, c.message, done, err)
				if u.authorized {
					t.Errorf("%q: was authorized", c.message)
				}
				continue
			}
			if err != nil || !done || len(challenge) != 0 || u.name != c.name || u.authzid != c.authzid || !u.authorized {
				t.Errorf("%q: %q, %v, %v; %+v", c.message, challenge, done, err, u)
			}
		}
	}
}

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		name, password string
		ok             bool
	}{
		{"anna", "secret", true},
		{"anna", "wrong", false},
		{"anna", "", false},
		{"", "", false},
		{"nobody", "secret", false},
		{"an\x00na", "secret", false},
		{"anna", "secret\x00", false},
		{"anna\xff", "secret", false},
		{strings.Repeat("a", MaxResponse+1), "x", false},
	} {
		for _, initial := range []bool{true, false} {
			u := anna()
			x := begin(t, "LOGIN", Server{Credentials: u})
			if !initial {
				challenge, done, err := x.Next(t.Context(), nil)
				if string(challenge) != "Username:" || done || err != nil {
					t.Fatalf("asked with %q, %v, %v", challenge, done, err)
				}
			}
			challenge, done, err := x.Next(t.Context(), []byte(c.name))
			if err == nil {
				if string(challenge) != "Password:" || done {
					t.Fatalf("asked with %q, %v", challenge, done)
				}
				_, done, err = x.Next(t.Context(), []byte(c.password))
			}
			if !c.ok {
				wantFailed(t, c.name+" "+c.password, done, err)
			} else if err != nil || !done || u.name != "anna" || !u.authorized {
				t.Errorf("%q: %v, %v", c.name, done, err)
			}
		}
	}
}

// What Credentials says comes through as it is.
func TestCredentialsErrors(t *testing.T) {
	mine := mail.Errorf(mail.KindDisabled, "off")
	u := anna()
	u.refuse = mine
	if _, done, err := begin(t, "PLAIN", Server{Credentials: u}).Next(t.Context(), []byte("\x00anna\x00secret")); done || !errors.Is(err, mine) {
		t.Errorf("PLAIN: %v, %v", done, err)
	}
	x := begin(t, "LOGIN", Server{Credentials: u})
	x.Next(t.Context(), []byte("anna"))
	if _, done, err := x.Next(t.Context(), []byte("secret")); done || !errors.Is(err, mine) {
		t.Errorf("LOGIN: %v, %v", done, err)
	}
	for _, h := range Hashes {
		if err := play(t, "SCRAM-"+h, "anna", "secret", "", Server{Credentials: u}, nil, nil); !errors.Is(err, mine) {
			t.Errorf("SCRAM-%s: %v", h, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// FuzzMechanisms feeds each mechanism responses, cut at empty lines; nothing may panic, and
// nobody without the right password or token may be let in. Certificates, tickets and NTLM
// have targets of their own.
func FuzzMechanisms(f *testing.F) {
	var mechanisms []Mechanism
	for _, m := range Mechanisms {
		if m.Needs&(NeedsCertificate|NeedsTickets|NeedsNTLM|NeedsTimestamp) == 0 {
			mechanisms = append(mechanisms, m)
		}
	}
	for i, m := range mechanisms {
		seeds := map[string][]string{
			"PLAIN":       {"\x00anna\x00secret", "\x00\x00", "a\x00b\x00c\x00d", "\xff\x00a\x00b"},
			"LOGIN":       {"anna\n\nsecret", "\n\n\n\n", "a\x00\n\nb"},
			"OAUTHBEARER": {"n,a=anna,\x01host=h\x01auth=Bearer t\x01\x01\n\n\x01", "y,,\x01auth=Bearer a=\x01\x01", "\x01", "n,,\x01\x01\x01"},
			"XOAUTH2":     {"user=anna\x01auth=Bearer t\x01\x01\n\n", "user=\x01auth=Bearer a=\x01\x01", "\x01"},
			"CRAM-MD5":    {rfc2195Answer, " ", "an na b913a602c7eda7a495b4e6e7334d3890"},
		}[m.Name]
		if m.Needs&NeedsKeys != 0 {
			seeds = []string{
				"n,,n=anna,r=x\n\nc=biws,r=xAAAAAAAAAAAAAAAAAAAAAAAA,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
				"y,a=b,n=anna,r=x,e=y", "p=tls-exporter,,n=a,r=x\n\nc=cD10bHMtZXhwb3J0ZXIsLA==,r=xAAAAAAAAAAAAAAAAAAAAAAAA,p=AAAA", "p=tls-server-end-point,,n=anna,r=x", "n,,m=x,n=anna,r=x", "n,,n=a=2Cb=3D,r=x", "n,,n==,r=x", ",,,", "n,,",
			}
		}
		for _, seed := range append(seeds, "") {
			f.Add(uint8(i), []byte(seed), true)
			f.Add(uint8(i), []byte(seed), false)
		}
	}
	state, _, certificate := handshake(f, tls.VersionTLS13, elliptic.P256())
	keys := map[string]Keys{}
	for _, h := range Hashes {
		keys[h] = keysOf(newHash(h), "a password that no input has", []byte("salt of sixteen!"), 4096)
	}
	f.Fuzz(func(t *testing.T, which uint8, input []byte, initial bool) {
		m := mechanisms[int(which)%len(mechanisms)]
		u := &derived{users{passwords: map[string]string{"anna": "a password that no input has"}}, keys}
		x := m.New(Server{Credentials: u, Rand: zeros{}, TLS: &state, Certificate: certificate, PlusOffered: m.Plus()})
		if !initial {
			if _, done, err := x.Next(t.Context(), nil); done || err != nil {
				t.Fatalf("asking gave %v, %v", done, err)
			}
		}
		for response := range bytes.SplitSeq(input, []byte("\n\n")) {
			challenge, done, err := x.Next(t.Context(), response)
			if (done || u.authorized) && !bytes.Contains(input, []byte("token-of-")) {
				t.Fatalf("%s: %q was let in", m.Name, input)
			}
			if err != nil && (len(challenge) != 0 || mail.KindOf(err) != mail.KindAuthenticationFailed) {
				t.Fatalf("%s: %q: %q, %v", m.Name, input, challenge, err)
			}
			if bytes.ContainsAny(challenge, "\r\n\x00") {
				t.Fatalf("%s: %q: challenge %q", m.Name, input, challenge)
			}
		}
	})
}

// derived has the keys of anna, which take long to derive.
type derived struct {
	users
	keys map[string]Keys
}

func (d *derived) Keys(ctx context.Context, name, hash string) (Keys, error) {
	if d.users.passwords[name] == "" {
		return d.users.Keys(ctx, name, hash)
	}
	d.calls++
	d.name = name
	return d.keys[hash], nil
}
