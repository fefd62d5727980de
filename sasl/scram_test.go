package sasl

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"

	xdg "github.com/xdg-go/scram"

	"github.com/postern-mail/postern/mail"
)

var clientHash = map[string]xdg.HashGeneratorFcn{"SHA-1": xdg.SHA1, "SHA-256": xdg.SHA256, "SHA-512": xdg.SHA512}

// play lets the client of xdg-go/scram sign in and gives the server's error, or a
// plain error when the client is not content with the server. tamper changes what
// the client sends, by number of its message.
func play(t testing.TB, mechanism, name, password, authzid string, s Server, binding *xdg.ChannelBinding, tamper func(i int, message string) string) error {
	t.Helper()
	client, err := clientHash[strings.TrimSuffix(strings.TrimPrefix(mechanism, "SCRAM-"), "-PLUS")].NewClient(name, password, authzid)
	if err != nil {
		t.Fatal(err)
	}
	conversation := client.NewConversation()
	if binding != nil && strings.HasSuffix(mechanism, "-PLUS") {
		conversation = client.NewConversationWithChannelBinding(*binding)
	} else if binding != nil {
		conversation = client.NewConversationAdvertisingChannelBinding()
	}
	x := begin(t, mechanism, s)
	var challenge []byte
	for i := 0; ; i++ {
		message := ""
		if !conversation.Done() {
			if message, err = conversation.Step(string(challenge)); err != nil {
				return err
			}
		}
		if tamper != nil {
			message = tamper(i, message)
		}
		var done bool
		if challenge, done, err = x.Next(context.Background(), []byte(message)); err != nil {
			return err
		}
		if done {
			if !conversation.Valid() {
				return errors.New("the client does not trust the server")
			}
			return nil
		}
	}
}

// The exchanges that the RFCs print, from the server's keys to its signature.
func TestScramVectors(t *testing.T) {
	for _, c := range []struct {
		rfc, hash, bare, nonce, salt, final, verifier string
	}{
		{"RFC 5802, 5", "SHA-1", "n=user,r=fyko+d2lbbFgONRv9qkxdawL", "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j", "QSXCR+Q6sek8bf92",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="},
		{"RFC 7677, 3", "SHA-256", "n=user,r=rOprNGfwEbeRWgbNEkqO", "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "W22ZaJ0SNY7soEsUEjb6gQ==",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
	} {
		salt, err := base64.StdEncoding.DecodeString(c.salt)
		if err != nil {
			t.Fatal(err)
		}
		u := anna()
		s := newScram(c.hash, false)(Server{Credentials: u}).(*scram)
		s.keys = keysOf(s.new, "pencil", salt, 4096)
		s.gs2Header, s.name, s.nonce, s.state = "n,,", "user", c.nonce, scramFinal
		s.signed.WriteString(c.bare + ",r=" + c.nonce + ",s=" + c.salt + ",i=4096,")
		got, done, err := s.Next(t.Context(), []byte(c.final))
		if err != nil || done || string(got) != c.verifier {
			t.Errorf("%s: %q, %v, %v; want %q", c.rfc, got, done, err, c.verifier)
		}
		if got, done, err := s.Next(t.Context(), []byte{}); err != nil || !done || len(got) != 0 || !u.authorized {
			t.Errorf("%s: %q, %v, %v", c.rfc, got, done, err)
		}
	}
}

func TestScram(t *testing.T) {
	for _, hash := range Hashes {
		mechanism := "SCRAM-" + hash
		for _, c := range []struct {
			name, password, authzid string
			ok                      bool
		}{
			{"anna", "secret", "", true},
			{"a,n=n", "secret", "", true},
			{"anna", "secret", "b,e=rt", true}, // Authorize decides
			{"anna", "wrong", "", false},
			{"nobody", "secret", "", false},
		} {
			u := anna()
			err := play(t, mechanism, c.name, c.password, c.authzid, Server{Credentials: u}, nil, nil)
			if c.ok {
				if err != nil || u.name != c.name || u.authzid != c.authzid || !u.authorized {
					t.Errorf("%s %s: %v, %+v", mechanism, c.name, err, u)
				}
				continue
			}
			if err == nil || mail.KindOf(err) != mail.KindAuthenticationFailed || u.authorized {
				t.Errorf("%s %s %s: %v", mechanism, c.name, c.password, err)
			}
		}
	}
}

// The first challenge is empty when there is no initial response, and only once.
func TestScramWithoutInitialResponse(t *testing.T) {
	x := begin(t, "SCRAM-SHA-256", Server{Credentials: anna()})
	if challenge, done, err := x.Next(t.Context(), nil); len(challenge) != 0 || done || err != nil {
		t.Fatalf("%q, %v, %v", challenge, done, err)
	}
	if challenge, done, err := x.Next(t.Context(), []byte("n,,n=anna,r=abc")); done || err != nil || !strings.HasPrefix(string(challenge), "r=abc") {
		t.Errorf("%q, %v, %v", challenge, done, err)
	}
	x = begin(t, "SCRAM-SHA-256", Server{Credentials: anna()})
	x.Next(t.Context(), nil)
	_, done, err := x.Next(t.Context(), nil)
	wantFailed(t, "nil twice", done, err)
	_, done, err = x.Next(t.Context(), []byte("n,,n=anna,r=abc"))
	wantFailed(t, "after a failure", done, err)
}

func TestScramFirstMessage(t *testing.T) {
	for _, c := range []struct {
		message string
		ok      bool
	}{
		{"n,,n=anna,r=abc", true},
		{"y,,n=anna,r=abc", true}, // -PLUS was not offered here
		{"n,a=bert,n=anna,r=abc", true},
		{"n,,n=anna,r=abc,x=y,Z=1=2", true}, // unknown extensions
		{"n,,n=a=2Cb=3D,r=abc", true},
		{"n,,m=x,n=anna,r=abc", false},
		{"n,,n=anna,r=abc,m=x", false},
		{"n,,n=anna,m=x,r=abc", false},
		{"", false},
		{"n", false},
		{"n,,", false},
		{"n,,n=anna", false},
		{"n,,n=,r=abc", false},
		{"n,,r=abc,n=anna", false},
		{"n,,n=anna,r=", false},
		{"n,,n=anna,r=a b", false},
		{"n,,n=anna,r=a\x7f", false},
		{"n,,n=anna,r=ä", false},
		{"n,,n=anna,r=" + strings.Repeat("x", 1025), false},
		{"n,,n=an=na,r=abc", false},
		{"n,,n=an=2cna,r=abc", false},
		{"n,,n=anna=,r=abc", false},
		{"n,,n=an\x00na,r=abc", false},
		{"n,,n=an\xffna,r=abc", false},
		{"n,,n=anna,r=abc,", false},
		{"n,,n=anna,r=abc,x", false},
		{"n,,n=anna,r=abc,x=", false},
		{"n,,n=anna,r=abc,1=x", false},
		{"n,bert,n=anna,r=abc", false},
		{"n,a=,n=anna,r=abc", false},
		{"F,n,,n=anna,r=abc", false},
		{"Y,,n=anna,r=abc", false},
		{"p=tls-exporter,,n=anna,r=abc", false}, // needs -PLUS
		{"n,,n=" + strings.Repeat("a", maxScram) + ",r=abc", false},
	} {
		u := anna()
		challenge, done, err := begin(t, "SCRAM-SHA-1", Server{Credentials: u}).Next(t.Context(), []byte(c.message))
		if !c.ok {
			wantFailed(t, c.message, done, err)
			if u.calls != 0 {
				t.Errorf("%q reached the directory", c.message)
			}
		} else if done || err != nil || !strings.HasPrefix(string(challenge), "r=abc") {
			t.Errorf("%q: %q, %v, %v", c.message, challenge, done, err)
		}
	}
}

// A proof that is right for a changed message is not right.
func TestScramFinalMessage(t *testing.T) {
	replace := func(old, new string) func(int, string) string {
		return func(i int, message string) string {
			if i == 1 {
				return strings.Replace(message, old, new, 1)
			}
			return message
		}
	}
	for name, tamper := range map[string]func(int, string) string{
		"no binding":            replace("c=biws,", ""),
		"other header":          replace("c=biws", "c=eSws"),
		"binding unasked":       replace("c=biws", "c=biwsYWJj"),
		"stray bits":            replace("c=biws", "c=biw"),
		"other nonce":           replace("r=", "r=x"),
		"no proof":              replace(",p=", ",q="),
		"short proof":           replace(",p=", ",p=AAAA"),
		"mandatory extension":   replace(",p=", ",m=x,p="),
		"extension":             replace(",p=", ",x=y,p="), // well-formed, but not what was signed
		"malformed extension":   replace(",p=", ",xy,p="),
		"NUL":                   replace(",p=", ",x=\x00,p="),
		"trailing attribute":    func(i int, m string) string { return m + strings.Repeat(",x=y", i) },
		"too long":              replace(",p=", ",x="+strings.Repeat("y", maxScram)+",p="),
		"empty":                 func(i int, m string) string { return m[:len(m)*(1-i)] },
		"acknowledgement wrong": func(i int, m string) string { return m + strings.Repeat("x", i/2) },
	} {
		u := anna()
		err := play(t, "SCRAM-SHA-256", "anna", "secret", "", Server{Credentials: u}, nil, tamper)
		if err == nil || mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The client's name in the signed message is its own writing of it, and nonces are
// fresh.
func TestScramNonces(t *testing.T) {
	seen := map[string]bool{}
	for range 20 {
		challenge, _, err := begin(t, "SCRAM-SHA-1", Server{Credentials: anna()}).Next(t.Context(), []byte("n,,n=anna,r=abc"))
		if err != nil || seen[string(challenge)] {
			t.Errorf("%q, %v", challenge, err)
		}
		seen[string(challenge)] = true
	}
	_, _, err := begin(t, "SCRAM-SHA-1", Server{Credentials: anna(), Rand: strings.NewReader("short")}).Next(t.Context(), []byte("n,,n=anna,r=abc"))
	if !errors.Is(err, io.ErrUnexpectedEOF) || mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("without randomness: %v", err)
	}
}
