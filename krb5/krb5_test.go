package krb5

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/postern-mail/postern/krb5/krb5test"
	"github.com/postern-mail/postern/mail"
)

const realm = "TEST.EXAMPLE"

func newRealm(t testing.TB) *krb5test.Realm {
	return krb5test.NewRealm(t, realm, "imap/localhost", "pop/localhost", "imap/other.example", "host/localhost")
}

// newAcceptor accepts for imap/localhost and pop/localhost.
func newAcceptor(t testing.TB, r *krb5test.Realm, rc4 bool) *Acceptor {
	t.Helper()
	keys, err := ReadKeytab(r.Keytab("imap/localhost", "pop/localhost"), rc4)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Hour)
	replays := NewReplays(5*time.Minute, func() time.Time { return began })
	replays.now = time.Now
	return &Acceptor{Keys: keys, Skew: 5 * time.Minute, Replays: replays, Now: time.Now}
}

func wantKind(t *testing.T, what string, err error, kind mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != kind {
		t.Errorf("%s: %v, want %v", what, err, kind)
	}
}

// Every encryption type, with and without the server's proof, speaks with the client.
func TestAccept(t *testing.T) {
	r := newRealm(t)
	for _, kind := range []int32{krb5test.AES128, krb5test.AES256, krb5test.AES128SHA2, krb5test.AES256SHA2} {
		for _, mutual := range []bool{true, false} {
			for _, subkey := range []bool{true, false} {
				t.Run(fmt.Sprint(kind, mutual, subkey), func(t *testing.T) {
					a := newAcceptor(t, r, false)
					c := r.Client("anna", krb5test.Want{Kind: kind, Session: kind})
					c.Subkey, c.Binding = subkey, Bind([]byte("tls-unique:x"))
					if !mutual {
						c.Flags, c.Options = 0, make([]byte, 4)
					}
					x, err := a.Accept("imap", c.Request())
					if err != nil {
						t.Fatal(err)
					}
					if x.Client.String() != "anna@"+realm || x.Service.String() != "imap/localhost@"+realm || x.Binding != c.Binding || !x.Until.After(time.Now()) || x.Mutual != mutual || (x.Reply != nil) != mutual {
						t.Errorf("%+v", x)
					}
					if mutual {
						if err := c.Reply(x.Reply); err != nil {
							t.Fatal(err)
						}
					}
					for i := range 3 {
						text := []byte(strings.Repeat("ä", i*20))
						token, err := x.Wrap(text)
						if err != nil {
							t.Fatal(err)
						}
						if got, err := c.Unwrap(token); err != nil || !bytes.Equal(got, text) {
							t.Errorf("the client unwraps %q, %v", got, err)
						}
						mic, err := x.MIC(text)
						if err != nil || !c.CheckMIC(text, mic) || c.CheckMIC([]byte("other"), mic) {
							t.Errorf("MIC: %x, %v", mic, err)
						}
						// The numbers of what the client signs follow each other.
						for _, c.Sealed = range []bool{false, true} {
							for _, c.RRC = range []uint16{0, 1, 28, 0xffff} {
								if got, err := x.Unwrap(c.Wrap(text)); err != nil || !bytes.Equal(got, text) {
									t.Errorf("sealed %v, RRC %d: %q, %v", c.Sealed, c.RRC, got, err)
								}
							}
						}
						if err := x.CheckMIC(text, c.MIC(text)); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
	}
}

func TestRefused(t *testing.T) {
	r := newRealm(t)
	other := krb5test.NewRealm(t, realm, "imap/localhost/x")
	stranger := krb5test.NewRealm(t, "OTHER.EXAMPLE", "imap/localhost")
	now := time.Now()
	for _, x := range []struct {
		what    string
		client  *krb5test.Client
		service string
		change  func(c *krb5test.Client)
		kind    mail.Kind
		cause   string
	}{
		{"another service's ticket", r.Client("anna", krb5test.Want{Service: "host/localhost"}), "imap", nil, mail.KindNotFound, "for another service"},
		{"another protocol's ticket", r.Client("anna", krb5test.Want{Service: "pop/localhost"}), "imap", nil, mail.KindNotFound, "for another service"},
		{"another host's ticket", r.Client("anna", krb5test.Want{Service: "imap/other.example"}), "imap", nil, mail.KindNotFound, "for another service"},
		{"another service's key", r.Client("anna", krb5test.Want{Key: "host/localhost"}), "imap", nil, mail.KindAuthenticationFailed, "cannot be decrypted"},
		{"one part", r.Client("anna", krb5test.Want{Service: "imap", Key: "imap/localhost"}), "imap", nil, mail.KindNotFound, ""},
		{"three parts", other.Client("anna", krb5test.Want{Service: "imap/localhost/x"}), "imap", nil, mail.KindNotFound, ""},
		{"another realm's ticket", stranger.Client("anna", krb5test.Want{}), "imap", nil, mail.KindNotFound, ""},
		{"another realm's ticket that says ours", stranger.Client("anna", krb5test.Want{ShownRealm: realm}), "imap", nil, mail.KindAuthenticationFailed, "cannot be decrypted"},
		{"RC4", r.Client("anna", krb5test.Want{Kind: krb5test.RC4}), "imap", nil, mail.KindAuthenticationFailed, "cannot be decrypted"},
		{"a session key of RC4", r.Client("anna", krb5test.Want{Session: krb5test.RC4}), "imap", func(c *krb5test.Client) { c.Subkey = false }, mail.KindAuthenticationFailed, "encryption type 23"},
		{"expired", r.Client("anna", krb5test.Want{Start: now.Add(-time.Hour), End: now.Add(-6 * time.Minute)}), "imap", nil, mail.KindAuthenticationFailed, "has expired"},
		{"not valid yet", r.Client("anna", krb5test.Want{Start: now.Add(6 * time.Minute)}), "imap", nil, mail.KindAuthenticationFailed, "not valid yet"},
		{"invalid", r.Client("anna", krb5test.Want{Flags: []int{7}}), "imap", nil, mail.KindAuthenticationFailed, "not valid yet"},
		{"through other realms", r.Client("anna", krb5test.Want{Realm: "FAR.EXAMPLE", Transited: "X.EXAMPLE"}), "imap", nil, mail.KindAuthenticationFailed, "through other realms"},
		{"a slow clock", r.Client("anna", krb5test.Want{}), "imap", func(c *krb5test.Client) { c.Time = now.Add(-6 * time.Minute) }, mail.KindAuthenticationFailed, "clock is"},
		{"a fast clock", r.Client("anna", krb5test.Want{}), "imap", func(c *krb5test.Client) { c.Time = now.Add(6 * time.Minute) }, mail.KindAuthenticationFailed, "clock is"},
		{"another's authenticator", r.Client("anna", krb5test.Want{}), "imap", func(c *krb5test.Client) { c.Name = "bert" }, mail.KindAuthenticationFailed, "another client"},
		{"another realm's authenticator", r.Client("anna", krb5test.Want{}), "imap", func(c *krb5test.Client) { c.Realm = "X" }, mail.KindAuthenticationFailed, "another client"},
		{"no checksum", r.Client("anna", krb5test.Want{}), "imap", func(c *krb5test.Client) { c.Checksum = []byte{} }, mail.KindAuthenticationFailed, "checksum"},
		{"a short checksum", r.Client("anna", krb5test.Want{}), "imap", func(c *krb5test.Client) { c.Checksum = make([]byte, 23) }, mail.KindAuthenticationFailed, "checksum"},
		{"a checksum of another size", r.Client("anna", krb5test.Want{}), "imap", func(c *krb5test.Client) { c.Checksum = make([]byte, 24) }, mail.KindAuthenticationFailed, "checksum"},
		{"user to user", r.Client("anna", krb5test.Want{}), "imap", func(c *krb5test.Client) { c.Options = []byte{0x40, 0, 0, 0} }, mail.KindAuthenticationFailed, "session key"},
		{"nobody's", r.Client("", krb5test.Want{Realm: ""}), "", nil, mail.KindNotFound, ""},
	} {
		if x.change != nil {
			x.change(x.client)
		}
		_, err := newAcceptor(t, r, false).Accept(x.service, x.client.Request())
		wantKind(t, x.what, err, x.kind)
		if err != nil && !strings.Contains(err.Error(), x.cause) {
			t.Errorf("%s: %v, want %q", x.what, err, x.cause)
		}
	}
	// What is almost wrong is right.
	for what, c := range map[string]*krb5test.Client{
		"a checked path":     r.Client("anna", krb5test.Want{Realm: "FAR.EXAMPLE", Transited: "X.EXAMPLE", Flags: []int{12}}),
		"a trusted realm":    r.Client("anna", krb5test.Want{Realm: "FAR.EXAMPLE"}),
		"another case":       r.Client("anna", krb5test.Want{Service: "IMAP/LocalHost", Key: "imap/localhost"}),
		"just expired":       r.Client("anna", krb5test.Want{Start: now.Add(-time.Hour), End: now.Add(-4 * time.Minute)}),
		"without AP options": r.Client("anna", krb5test.Want{}),
	} {
		if what == "without AP options" {
			c.Options = []byte{}
		}
		if _, err := newAcceptor(t, r, false).Accept("imap", c.Request()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	a := newAcceptor(t, r, true)
	if _, err := a.Accept("imap", r.Client("anna", krb5test.Want{Kind: krb5test.RC4}).Request()); err != nil {
		t.Errorf("RC4 where it is allowed: %v", err)
	}
	a.Hosts = []string{"other.example"}
	_, err := a.Accept("imap", r.Client("anna", krb5test.Want{}).Request())
	wantKind(t, "a host that is not named", err, mail.KindNotFound)
}

func TestReplays(t *testing.T) {
	r := newRealm(t)
	a := newAcceptor(t, r, false)
	c := r.Client("anna", krb5test.Want{})
	token := c.Request()
	if _, err := a.Accept("imap", token); err != nil {
		t.Fatal(err)
	}
	_, err := a.Accept("imap", token)
	wantKind(t, "the same again", err, mail.KindAuthenticationFailed)
	if _, err := a.Accept("imap", c.Request()); err != nil {
		t.Errorf("another authenticator of the same ticket: %v", err)
	}

	// In time: whatever may still be accepted is remembered.
	now := time.Now()
	began := now
	p := NewReplays(5*time.Minute, func() time.Time { return now })
	wantKind(t, "from before", p.use([]byte("old"), began.Add(-time.Second)), mail.KindAuthenticationFailed)
	for i := range 200 {
		now = now.Add(37 * time.Second)
		one, made := fmt.Append(nil, i), now.Add(5*time.Minute)
		if err := p.use(one, made); err != nil {
			t.Fatal(err)
		}
		for j := max(0, i-16); j <= i; j++ { // up to 592 s ago, within 2 × 5 min
			if err := p.use(fmt.Append(nil, j), made); err == nil {
				t.Fatalf("%d is taken again after %d", j, i)
			}
		}
	}
	if n := len(p.current) + len(p.before); n > 50 {
		t.Errorf("%d are remembered", n)
	}
	now = now.Add(time.Hour)
	if p.use([]byte("x"), now); len(p.current) != 1 || len(p.before) != 0 {
		t.Errorf("%d and %d are remembered after an hour", len(p.current), len(p.before))
	}
	for i := 0; len(p.current) < maxReplays; i++ {
		p.current[[32]byte{byte(i), byte(i >> 8), byte(i >> 16)}] = struct{}{}
	}
	wantKind(t, "too many", p.use([]byte("y"), now), mail.KindUnavailable)
}

// Whatever is changed in a token is noticed.
func TestTampered(t *testing.T) {
	r := newRealm(t)
	a := newAcceptor(t, r, false)
	for _, sealed := range []bool{false, true} {
		c := r.Client("anna", krb5test.Want{})
		x, err := a.Accept("imap", c.Request())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Reply(x.Reply); err != nil {
			t.Fatal(err)
		}
		c.Sealed, c.RRC = sealed, 5
		token := c.Wrap([]byte("\x01\x00\x00\x00anna"))
		for i := range token {
			for bit := range 8 {
				wrong := bytes.Clone(token)
				wrong[i] ^= 1 << bit
				if _, err := x.Unwrap(wrong); err == nil {
					t.Fatalf("sealed %v: octet %d, bit %d is not noticed", sealed, i, bit)
				}
			}
		}
		for i := range token {
			if _, err := x.Unwrap(token[:i]); err == nil {
				t.Fatalf("%d octets are a token", i)
			}
		}
		if _, err := x.Unwrap(append(bytes.Clone(token), 0)); err == nil {
			t.Error("an octet more is not noticed")
		}
		own, err := x.Wrap([]byte("\x01\x00\x00\x00"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Unwrap(own); err == nil {
			t.Error("the server's own token comes back")
		}
		if _, err := x.Unwrap(token); err != nil {
			t.Error(err)
		}
		if _, err := x.Unwrap(token); err == nil {
			t.Error("a token counts twice")
		}
		mic := c.MIC([]byte("list"))
		for i := range mic {
			wrong := bytes.Clone(mic)
			wrong[i] ^= 1
			if x.CheckMIC([]byte("list"), wrong) == nil {
				t.Errorf("MIC: octet %d is not noticed", i)
			}
		}
	}
	// A bit of an AP-REQ that is not noticed belongs to what nobody looks at.
	c := r.Client("anna", krb5test.Want{})
	token := c.Request()
	for i := range token {
		wrong := bytes.Clone(token)
		wrong[i] ^= 1 << (i % 8)
		if x, err := a.Accept("imap", wrong); err == nil && x.Client.String() != "anna@"+realm {
			t.Errorf("octet %d makes it %s", i, x.Client)
		}
	}
}

func TestKeytab(t *testing.T) {
	r := newRealm(t)
	path := r.Keytab()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ReadKeytab(path, false)
	if err != nil || len(k.Owners()) != 4 || len(k.entries) != 16 {
		t.Fatalf("%v, %v", k.Owners(), err)
	}
	if _, err := ReadKeytab(filepath.Join(t.TempDir(), "none"), false); mail.KindOf(err) != mail.KindUnavailable || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for what, wrong := range map[string][]byte{"empty": nil, "text": []byte("imap/localhost"), "no keys": text[:2], "cut": text[:20], "too long": make([]byte, maxKeytab+1)} {
		_, err := parseKeytab("/x", wrong, false)
		wantKind(t, what, err, mail.KindBadArgument)
	}
	for i := range text {
		parseKeytab("/x", text[:i], false)
	}
	only := krb5test.NewRealm(t, realm)
	_, err = ReadKeytab(only.Keytab(), true)
	wantKind(t, "no entries", err, mail.KindBadArgument)
}

func FuzzAccept(f *testing.F) {
	r := newRealm(f)
	f.Add(r.Client("anna", krb5test.Want{}).Request())
	f.Add(r.Client("anna", krb5test.Want{Service: "host/localhost"}).Request())
	f.Add([]byte("\x01\x00\x6e\x00"))
	a := newAcceptor(f, r, false)
	f.Fuzz(func(t *testing.T, token []byte) {
		x, err := a.Accept("imap", token)
		if (x == nil) == (err == nil) {
			t.Errorf("%v, %v", x, err)
		}
		if err == nil && x.Client.String() != "anna@"+realm {
			t.Errorf("a ticket of %s was made", x.Client)
		}
		if framed := Frame(Mechanism, token); framed != nil {
			if got, ok := Unframe(Mechanism, framed); !ok || !bytes.Equal(got, token) {
				t.Errorf("a frame gives %x", got)
			}
		}
		Unframe(Mechanism, token)
	})
}

// Whatever a KDC says, or somebody in its place: nobody gets in, and nothing takes long.
func FuzzAnswer(f *testing.F) {
	r := newRealm(f)
	keys, err := ReadKeytab(r.Keytab("imap/localhost"), false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\x7e\x00"))
	f.Add([]byte("\x6b\x00"))
	for _, code := range []int32{6, 24, 25, 18} {
		e := messages.NewKRBError(types.NewPrincipalName(2, "imap/localhost"), realm, code, "text")
		e.EData = []byte("\x30\x2f\x30\x2d\xa1\x03\x02\x01\x13\xa2\x26\x04\x24\x30\x22\x30\x20\xa0\x03\x02\x01\x12\xa1\x11\x1b\x0fTEST.EXAMPLEann\xa2\x06\x04\x04\x00\x00\x10\x00")
		text, err := e.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		x := &exchange{client: Principal{[]string{"anna"}, realm}, service: Service("imap", "localhost", realm), password: "geheim", now: time.Now}
		switch answer, err := readAnswer(text); answer := answer.(type) {
		case *messages.KRBError:
			if x.failure(answer) == nil {
				t.Error("an error lets somebody in")
			}
			x.prove(answer.EData)
		case *messages.ASRep:
			if x.check(answer, keys) == nil {
				t.Error("somebody gets in")
			}
		default:
			wantKind(t, "no answer", err, mail.KindUnavailable)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	r := newRealm(f)
	c := r.Client("anna", krb5test.Want{})
	x, err := newAcceptor(f, r, false).Accept("imap", c.Request())
	if err != nil {
		f.Fatal(err)
	}
	if err := c.Reply(x.Reply); err != nil {
		f.Fatal(err)
	}
	right := map[string]bool{}
	for _, c.Sealed = range []bool{false, true} {
		start := *c
		token := start.Wrap([]byte("\x01\x00\x00\x00anna"))
		right[string(token)] = true
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token []byte) {
		y := *x
		if text, err := y.Unwrap(token); err == nil && string(text) != "\x01\x00\x00\x00anna" {
			t.Errorf("%x is taken as %q", token, text)
		}
		if err := y.CheckMIC([]byte("list"), token); err == nil {
			t.Errorf("%x signs the list", token)
		}
	})
}

func FuzzKeytab(f *testing.F) {
	text, err := os.ReadFile(newRealm(f).Keytab("imap/localhost"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) { parseKeytab("/x", text, true) })
}
