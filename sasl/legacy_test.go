package sasl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/postern-mail/postern/mail"
)

// The exchange of RFC 2195, 2 (with Erratum 4104's spelling of it).
const (
	rfc2195Challenge = "<1896.697170952@postoffice.reston.mci.net>"
	rfc2195Answer    = "tim b913a602c7eda7a495b4e6e7334d3890"
)

func TestCramMD5(t *testing.T) {
	for _, c := range []struct {
		answer string
		ok     bool
	}{
		{rfc2195Answer, true},
		{"tim b913a602c7eda7a495b4e6e7334d3891", false},
		{"tom b913a602c7eda7a495b4e6e7334d3890", false},
		{"tim B913A602C7EDA7A495B4E6E7334D3890", false},
		{"tim  b913a602c7eda7a495b4e6e7334d3890", false}, // the name "tim "
		{"tim b913a602c7eda7a495b4e6e7334d38", false},
		{"tim b913a602c7eda7a495b4e6e7334d389000", false},
		{"b913a602c7eda7a495b4e6e7334d3890", false},
		{" b913a602c7eda7a495b4e6e7334d3890", false},
		{"tim\x00 b913a602c7eda7a495b4e6e7334d3890", false},
		{"tim\xff b913a602c7eda7a495b4e6e7334d3890", false},
		{strings.Repeat("t", MaxResponse) + " b913a602c7eda7a495b4e6e7334d3890", false},
		{"", false},
	} {
		u := &users{passwords: map[string]string{"tim": "tanstaaftanstaaf"}}
		x := &cramMD5{server: Server{Credentials: u}, challenge: []byte(rfc2195Challenge)}
		challenge, done, err := x.Next(t.Context(), []byte(c.answer))
		if !c.ok {
			wantFailed(t, c.answer, done, err)
		} else if err != nil || !done || len(challenge) != 0 || !u.authorized || u.name != "tim" {
			t.Errorf("%q: %q, %v, %v; %+v", c.answer, challenge, done, err, u)
		}
		if u.authorized != c.ok {
			t.Errorf("%q: authorized is %v", c.answer, u.authorized)
		}
	}
}

// The server begins, with a challenge that is never the same, and takes no initial
// response.
func TestCramMD5Challenge(t *testing.T) {
	s := Server{Credentials: anna(), Host: "mail.example.org", Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
	seen := map[string]bool{}
	for range 100 {
		challenge, done, err := begin(t, "CRAM-MD5", s).Next(t.Context(), nil)
		if err != nil || done || seen[string(challenge)] || !bytes.HasSuffix(challenge, []byte(".1800000000@mail.example.org>")) || challenge[0] != '<' {
			t.Fatalf("%q, %v, %v", challenge, done, err)
		}
		seen[string(challenge)] = true
	}
	for _, initial := range []string{"", rfc2195Answer} {
		_, done, err := begin(t, "CRAM-MD5", s).Next(t.Context(), []byte(initial))
		wantFailed(t, initial, done, err)
		if !errors.Is(err, ErrInitialResponse) {
			t.Errorf("%q: %v", initial, err)
		}
	}
	s.Rand = bytes.NewReader(nil)
	if _, _, err := begin(t, "CRAM-MD5", s).Next(t.Context(), nil); mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("without random numbers: %v", err)
	}
}

// The example of RFC 1939, 7.
func TestAPOP(t *testing.T) {
	const right = "mrose c4c9334bac560ecc979e58001b3e22fb"
	for _, c := range []struct {
		timestamp, answer string
		ok                bool
	}{
		{"<1896.697170952@dbc.mtview.ca.us>", right, true},
		{"<1897.697170952@dbc.mtview.ca.us>", right, false},
		{"<1896.697170952@dbc.mtview.ca.us>", "mrose c4c9334bac560ecc979e58001b3e22fc", false},
		{"<1896.697170952@dbc.mtview.ca.us>", "nobody c4c9334bac560ecc979e58001b3e22fb", false},
		{"<1896.697170952@dbc.mtview.ca.us>", "mrose", false},
		{"", right, false},
		// MD5("tanstaaf"): the digest of no timestamp at all.
		{"", "mrose a3bcf5ecb1bd86ac4fb10ef0f1f9b2b5", false},
	} {
		u := &users{passwords: map[string]string{"mrose": "tanstaaf"}}
		_, done, err := begin(t, "APOP", Server{Credentials: u, Timestamp: c.timestamp}).Next(t.Context(), []byte(c.answer))
		if !c.ok {
			wantFailed(t, c.answer, done, err)
		} else if err != nil || !done {
			t.Errorf("%+v: %v, %v", c, done, err)
		}
		if u.authorized != c.ok {
			t.Errorf("%+v: authorized is %v", c, u.authorized)
		}
	}
}

// message3 is an AUTHENTICATE_MESSAGE without anything that is a proof.
func message3(domain, user string, unicode bool) []byte {
	m := make([]byte, 64)
	copy(m, "NTLMSSP\x00\x03")
	if unicode {
		m[60] = 1
	}
	for field, text := range map[int]string{28: domain, 36: user} {
		raw := []byte(text)
		if unicode {
			raw = nil
			for _, u := range utf16.Encode([]rune(text)) {
				raw = binary.LittleEndian.AppendUint16(raw, u)
			}
		}
		binary.LittleEndian.PutUint16(m[field:], uint16(len(raw)))
		binary.LittleEndian.PutUint16(m[field+2:], uint16(len(raw)))
		binary.LittleEndian.PutUint32(m[field+4:], uint32(len(m)))
		m = append(m, raw...)
	}
	return m
}

func message1() []byte { return append([]byte("NTLMSSP\x00\x01\x00\x00\x00"), make([]byte, 20)...) }

func TestNTLM(t *testing.T) {
	outside := message3("DOMAIN", "anna", false)
	binary.LittleEndian.PutUint32(outside[32:], 1<<31)
	odd := message3("DOMAIN", "anna", true)
	binary.LittleEndian.PutUint16(odd[36:], 7)
	for _, c := range []struct {
		what   string
		answer []byte
		ok     bool
	}{
		{"Unicode", message3("DOMAIN", "anna", true), true},
		{"OEM", message3("DOMAIN", "anna", false), true},
		{"another", message3("DOMAIN", "bert", true), false},
		{"no user", message3("DOMAIN", "", true), false},
		{"a backslash", message3("", `DOMAIN\anna`, true), false},
		{"a NUL", message3("DOMAIN", "anna\x00", true), false},
		{"8 bits", message3("DOMAIN", "\xff", false), false},
		{"too long a name", message3("DOMAIN", strings.Repeat("a", 600), true), false},
		{"outside of the message", outside, false},
		{"half a character", odd, false},
		{"cut off", message3("DOMAIN", "anna", true)[:63], false},
		{"the first again", message1(), false},
		{"empty", nil, false},
		{"too long", append(message3("DOMAIN", "anna", true), make([]byte, maxNTLM)...), false},
	} {
		for _, initial := range []bool{false, true} {
			u := anna()
			x := begin(t, "NTLM", Server{Credentials: u})
			if !initial {
				if challenge, done, err := x.Next(t.Context(), nil); len(challenge) != 0 || done || err != nil {
					t.Fatalf("asked with %q, %v, %v", challenge, done, err)
				}
			}
			if challenge, done, err := x.Next(t.Context(), message1()); len(challenge) == 0 || done || err != nil {
				t.Fatalf("the challenge is %q, %v, %v", challenge, done, err)
			}
			_, done, err := x.Next(t.Context(), append([]byte{}, c.answer...))
			if !c.ok {
				wantFailed(t, c.what, done, err)
			} else if err != nil || !done {
				t.Errorf("%s: %v, %v", c.what, done, err)
			}
			if u.authorized != c.ok {
				t.Errorf("%s: authorized is %v", c.what, u.authorized)
			}
		}
	}
	for _, first := range []string{"", "NTLMSSP\x00\x01", "NTLMSSP\x00\x03\x00\x00\x00aaaaaaaaaaaaaaaaaaaa", "anything else, which is longer"} {
		u := anna()
		_, done, err := begin(t, "NTLM", Server{Credentials: u}).Next(t.Context(), []byte(first))
		wantFailed(t, first, done, err)
		if u.calls > 0 {
			t.Errorf("%q was passed on", first)
		}
	}
}

func TestLegacy(t *testing.T) {
	if got := strings.Join(Legacy(), " "); got != "CRAM-MD5 APOP NTLM" {
		t.Errorf("the legacy mechanisms are %s", got)
	}
	for names, want := range map[string]bool{"": false, "NTLM": false, "PLAIN": false, "CRAM-MD5": true, "NTLM APOP": true, "UNKNOWN": false} {
		if NeedReadable(strings.Fields(names)) != want {
			t.Errorf("%s: %v", names, !want)
		}
	}
}

func FuzzCramMD5(f *testing.F) {
	for _, seed := range []string{rfc2195Answer, "", " ", "anna ", " b913a602c7eda7a495b4e6e7334d3890", "an na b913a602c7eda7a495b4e6e7334d3890"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		u := &users{passwords: map[string]string{"anna": "a password that no input has"}}
		x := begin(t, "CRAM-MD5", Server{Credentials: u, Rand: zeros{}})
		if _, _, err := x.Next(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		_, done, err := x.Next(t.Context(), append([]byte{}, input...))
		if done || mail.KindOf(err) != mail.KindAuthenticationFailed || u.authorized {
			t.Fatalf("%q: %v, %v", input, done, err)
		}
		if u.calls > 0 && !bytes.HasPrefix(input, []byte(u.name+" ")) {
			t.Fatalf("%q is of %q", input, u.name)
		}
	})
}

func FuzzNTLM(f *testing.F) {
	f.Add(message3("DOMAIN", "anna", true))
	f.Add(message3("", "a@b", false))
	f.Add(message1())
	f.Fuzz(func(t *testing.T, input []byte) {
		account, err := ntlmAccount(input)
		if domain, user, ok := strings.Cut(account, `\`); err == nil && (!ok || user == "" || strings.ContainsAny(user+domain, "\\\r\n\x00") || len(account) > 1100) {
			t.Fatalf("%q is of %q", input, account)
		}
	})
}
