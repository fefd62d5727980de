package sasl

import (
	"bytes"
	"crypto/elliptic"
	"crypto/tls"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/krb5/krb5test"
	"github.com/postern-mail/postern/mail"
)

const ticketRealm = "TEST.EXAMPLE"

func newRealm(t testing.TB) *krb5test.Realm {
	return krb5test.NewRealm(t, ticketRealm, "imap/localhost")
}

// withTickets accepts the tickets of a realm.
func withTickets(t testing.TB, r *krb5test.Realm) *users {
	t.Helper()
	keys, err := krb5.ReadKeytab(r.Keytab(), false)
	if err != nil {
		t.Fatal(err)
	}
	u := anna()
	began := time.Now().Add(-time.Hour)
	u.acceptor = krb5.Acceptor{Keys: keys, Skew: 5 * time.Minute, Now: time.Now, Replays: krb5.NewReplays(5*time.Minute, func() time.Time { return began })}
	return u
}

func framed(token []byte) []byte { return krb5test.Framed(krb5test.Mechanism, token) }

// gssapiDialogue plays a client to its last message, which says message.
func gssapiDialogue(t testing.TB, x Exchange, c *krb5test.Client, message []byte) (done bool, err error) {
	t.Helper()
	challenge, done, err := x.Next(t.Context(), framed(c.Request()))
	if err != nil || done {
		return done, err
	}
	if c.Flags&2 != 0 || c.Options[0]&0x20 != 0 {
		if err := c.Reply(challenge); err != nil {
			t.Fatal(err)
		}
		if challenge, done, err = x.Next(t.Context(), []byte{}); err != nil || done {
			return done, err
		}
	}
	offer, err := c.Unwrap(challenge)
	if err != nil || !bytes.Equal(offer, []byte{1, 0, 0, 0}) {
		t.Fatalf("offered %x, %v", offer, err)
	}
	challenge, done, err = x.Next(t.Context(), c.Wrap(message))
	if done && len(challenge) > 0 {
		t.Errorf("data with success: %x", challenge)
	}
	return done, err
}

func TestGSSAPI(t *testing.T) {
	r := newRealm(t)
	for _, mutual := range []bool{true, false} {
		for authzid, want := range map[string]string{"": "", "anna": "", "anna@" + ticketRealm: "", "Anna": "Anna", "bärbel@example.org": "bärbel@example.org"} {
			u, c := withTickets(t, r), r.Client("anna", krb5test.Want{})
			if !mutual {
				c.Flags, c.Options = 0, []byte{0, 0, 0, 0}
			}
			c.RRC = 12
			x := begin(t, "GSSAPI", Server{Credentials: u})
			if challenge, done, err := x.Next(t.Context(), nil); len(challenge) > 0 || done || err != nil {
				t.Errorf("without a response: %q, %v", challenge, err)
			}
			done, err := gssapiDialogue(t, x, c, append([]byte{1, 0, 0, 0}, authzid...))
			if !done || err != nil || u.name != "anna" || u.authzid != want || !u.authorized {
				t.Errorf("mutual %v, %q: %v, %v, %+v", mutual, authzid, done, err, u)
			}
		}
	}
	for what, message := range map[string][]byte{
		"integrity": {2, 0, 4, 0}, "confidentiality": {4, 0, 4, 0}, "all": {7, 0, 0, 0}, "none at all": {0, 0, 0, 0}, "too short": {1, 0, 0}, "empty": {}, "not UTF-8": {1, 0, 0, 0, 0xff},
	} {
		u := withTickets(t, r)
		done, err := gssapiDialogue(t, begin(t, "GSSAPI", Server{Credentials: u}), r.Client("anna", krb5test.Want{}), message)
		wantFailed(t, what, done, err)
		if u.authorized {
			t.Errorf("%s: authorized", what)
		}
	}
}

func TestGSSAPIMalformed(t *testing.T) {
	r := newRealm(t)
	u := withTickets(t, r)
	token := r.Client("anna", krb5test.Want{}).Request()
	for what, response := range map[string][]byte{
		"empty": {}, "text": []byte("\x00anna\x00secret"), "no header": token, "another mechanism": krb5test.Framed(asn1.ObjectIdentifier{1, 2, 3}, token),
		"cut": framed(token)[:100], "more behind": append(framed(token), 0), "too long": make([]byte, MaxResponse+1), "an AP-REP": framed(append([]byte{2, 0}, token[2:]...)),
	} {
		_, done, err := begin(t, "GSSAPI", Server{Credentials: u}).Next(t.Context(), response)
		wantFailed(t, what, done, err)
	}
	// Nothing is said twice, or where there is nothing to say.
	x := begin(t, "GSSAPI", Server{Credentials: u})
	x.Next(t.Context(), nil)
	_, done, err := x.Next(t.Context(), nil)
	wantFailed(t, "no response to the question", done, err)
	x = begin(t, "GSSAPI", Server{Credentials: u})
	if _, _, err := x.Next(t.Context(), framed(token)); err != nil {
		t.Fatal(err)
	}
	_, done, err = x.Next(t.Context(), []byte("x"))
	wantFailed(t, "something after the proof", done, err)
	_, done, err = begin(t, "GSSAPI", Server{Credentials: u}).Next(t.Context(), framed(token))
	wantFailed(t, "the ticket of somebody else who listened", done, err)
	if u.authorized {
		t.Error("somebody is authorized")
	}
}

// What is bound is compared, as ExtendedProtectionPolicy says.
func TestTicketBinding(t *testing.T) {
	r := newRealm(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		state, _, certificate := handshake(t, version, elliptic.P256())
		bound := func(kind string) [16]byte {
			value := state.TLSUnique
			if kind != "tls-unique" {
				value = bindings(Server{TLS: &state, Certificate: certificate}, kind)[0]
			}
			return krb5.Bind(append([]byte(kind+":"), value...))
		}
		given := map[string][16]byte{
			"none": {}, "tls-server-end-point": bound("tls-server-end-point"), "tls-exporter": bound("tls-exporter"),
			"another's": krb5.Bind([]byte("tls-server-end-point:another")), "without a type": krb5.Bind(bindings(Server{TLS: &state, Certificate: certificate}, "tls-exporter")[0]),
		}
		if version == tls.VersionTLS12 {
			given["tls-unique"] = bound("tls-unique")
		}
		for what, binding := range given {
			wrong := what == "another's"
			for protection, ok := range map[Protection]bool{IgnoreBinding: true, CheckBinding: !wrong, RequireBinding: !wrong && what != "none"} {
				for _, mechanism := range []string{"GSSAPI", "GSS-SPNEGO"} {
					for _, encrypted := range []bool{true, false} {
						s := Server{Credentials: withTickets(t, r), Protection: protection}
						ok := ok
						if encrypted {
							s.TLS, s.Certificate = &state, certificate
						} else {
							ok = protection == IgnoreBinding || what == "none" && protection == CheckBinding
						}
						c := r.Client("anna", krb5test.Want{})
						c.Binding = binding
						response := framed(c.Request())
						if mechanism == "GSS-SPNEGO" {
							response = negotiation(t, response, krb5test.Mechanism)
						}
						_, done, err := begin(t, mechanism, s).Next(t.Context(), response)
						if done || (err == nil) != ok || err != nil && mail.KindOf(err) != mail.KindAuthenticationFailed {
							t.Errorf("%s %s, %s, protection %d, TLS %v: %v", tls.VersionName(version), mechanism, what, protection, encrypted, err)
						}
					}
				}
			}
		}
	}
}

func TestGS2(t *testing.T) {
	r := newRealm(t)
	state, _, certificate := handshake(t, tls.VersionTLS13, elliptic.P256())
	server := Server{TLS: &state, Certificate: certificate, PlusOffered: true}
	endPoint, exporter := string(bindings(server, "tls-server-end-point")[0]), string(bindings(server, "tls-exporter")[0])
	for _, x := range []struct {
		what, mechanism, header, bound string
		authzid                        string
		ok                             bool
	}{
		{"plain", "GS2-KRB5", "n,,", "n,,", "", true},
		{"an authzid", "GS2-KRB5", "n,a=ber=2Ct=3D,", "n,a=ber=2Ct=3D,", "ber,t=", true},
		{"another header is bound", "GS2-KRB5", "n,a=bert,", "n,,", "", false},
		{"nothing is bound", "GS2-KRB5", "n,,", "", "", false},
		{"stripped", "GS2-KRB5", "y,,", "y,,", "", false},
		{"binds without -PLUS", "GS2-KRB5", "p=tls-exporter,,", "p=tls-exporter,," + exporter, "", false},
		{"binds", "GS2-KRB5-PLUS", "p=tls-exporter,,", "p=tls-exporter,," + exporter, "", true},
		{"binds to the certificate", "GS2-KRB5-PLUS", "p=tls-server-end-point,a=anna,", "p=tls-server-end-point,a=anna," + endPoint, "", true},
		{"another connection", "GS2-KRB5-PLUS", "p=tls-exporter,,", "p=tls-exporter,," + endPoint, "", false},
		{"an unknown type", "GS2-KRB5-PLUS", "p=tls-unique,,", "p=tls-unique,,", "", false},
		{"does not bind", "GS2-KRB5-PLUS", "n,,", "n,,", "", false},
		{"not standard", "GS2-KRB5", "F,n,,", "n,,", "", false},
		{"no header", "GS2-KRB5", "", "", "", false},
		{"half a header", "GS2-KRB5", "n,", "n,", "", false},
		{"another flag", "GS2-KRB5", "x,,", "x,,", "", false},
		{"not an authzid", "GS2-KRB5", "n,anna,", "n,anna,", "", false},
		{"an empty authzid", "GS2-KRB5", "n,a=,", "n,a=,", "", false},
	} {
		u, c := withTickets(t, r), r.Client("anna", krb5test.Want{})
		server.Credentials = u
		if x.bound != "" {
			c.Binding = krb5.Bind([]byte(x.bound))
		}
		e := begin(t, x.mechanism, server)
		challenge, done, err := e.Next(t.Context(), append([]byte(x.header), c.Request()...))
		if !x.ok {
			wantFailed(t, x.what, done, err)
			continue
		}
		if err != nil || done {
			t.Errorf("%s: %v, %v", x.what, done, err)
			continue
		}
		if err := c.Reply(challenge); err != nil {
			t.Errorf("%s: %v", x.what, err)
		}
		if challenge, done, err = e.Next(t.Context(), []byte{}); !done || err != nil || len(challenge) > 0 || u.name != "anna" || u.authzid != x.authzid {
			t.Errorf("%s: %v, %v, %+v", x.what, done, err, u)
		}
	}
	// Without this server's proof a client may be anybody's guest.
	u, c := withTickets(t, r), r.Client("anna", krb5test.Want{})
	c.Flags, c.Options, c.Binding = 0, []byte{0, 0, 0, 0}, krb5.Bind([]byte("n,,"))
	_, done, err := begin(t, "GS2-KRB5", Server{Credentials: u}).Next(t.Context(), append([]byte("n,,"), c.Request()...))
	wantFailed(t, "not mutual", done, err)
	// A client that could bind and was shown no -PLUS, because there is none, is right.
	u, c = withTickets(t, r), r.Client("anna", krb5test.Want{})
	c.Binding = krb5.Bind([]byte("y,,"))
	e := begin(t, "GS2-KRB5", Server{Credentials: u})
	if _, _, err := e.Next(t.Context(), append([]byte("y,,"), c.Request()...)); err != nil {
		t.Error(err)
	}
	_, done, err = e.Next(t.Context(), []byte("more"))
	wantFailed(t, "something after the proof", done, err)
}

var (
	microsoft = asn1.ObjectIdentifier{1, 2, 840, 48018, 1, 2, 2}
	ntlm      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 10}
	spnegoOID = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2}
)

// negotiation is a client's first message of SPNEGO.
func negotiation(t testing.TB, token []byte, list ...asn1.ObjectIdentifier) []byte {
	t.Helper()
	type init struct {
		MechTypes []asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
		MechToken []byte                  `asn1:"explicit,optional,tag:2"`
	}
	der, err := asn1.MarshalWithParams(init{list, token}, "explicit,tag:0")
	if err != nil {
		t.Fatal(err)
	}
	return krb5test.Framed(spnegoOID, der)
}

// answered reads what the server says in SPNEGO.
func answered(t testing.TB, der []byte) (n negTokenResp) {
	t.Helper()
	if !unmarshalTagged(der, 1, &n) {
		t.Fatalf("not a NegTokenResp: %x", der)
	}
	return n
}

func response(t testing.TB, n negTokenResp) []byte {
	t.Helper()
	der, err := asn1.MarshalWithParams(n, "explicit,tag:1")
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestSPNEGO(t *testing.T) {
	r := newRealm(t)
	for _, list := range [][]asn1.ObjectIdentifier{{krb5test.Mechanism}, {microsoft, krb5test.Mechanism, ntlm}, {krb5test.Mechanism, ntlm}} {
		for _, expected := range []bool{true, false} {
			u, c := withTickets(t, r), r.Client("anna", krb5test.Want{})
			x := begin(t, "GSS-SPNEGO", Server{Credentials: u})
			if challenge, done, err := x.Next(t.Context(), nil); len(challenge) > 0 || done || err != nil {
				t.Errorf("without a response: %q, %v", challenge, err)
			}
			token, said := framed(c.Request()), []byte(nil)
			if expected {
				said = token
			}
			challenge, done, err := x.Next(t.Context(), negotiation(t, said, list...))
			if err == nil && !expected {
				if n := answered(t, challenge); n.NegState != negIncomplete || !n.SupportedMech.Equal(list[0]) || n.ResponseToken != nil {
					t.Errorf("%+v", n)
				}
				challenge, done, err = x.Next(t.Context(), response(t, negTokenResp{NegState: -1, ResponseToken: token}))
			}
			if err != nil || done {
				t.Fatalf("%v: %v, %v", list, done, err)
			}
			n := answered(t, challenge)
			if err := c.Reply(n.ResponseToken); err != nil || n.NegState != negCompleted || !n.SupportedMech.Equal(list[0]) || n.MechListMIC != nil {
				t.Errorf("%+v, %v", n, err)
			}
			if challenge, done, err = x.Next(t.Context(), []byte{}); !done || err != nil || len(challenge) > 0 || u.name != "anna" || u.authzid != "" {
				t.Errorf("%v, %v, %+v", done, err, u)
			}
		}
	}
}

// A list in which Kerberos is not the first choice is signed by both: nobody in between
// took what was better out.
func TestSPNEGOSigned(t *testing.T) {
	r := newRealm(t)
	list := []asn1.ObjectIdentifier{ntlm, microsoft, krb5test.Mechanism}
	der, err := asn1.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	for what, sign := range map[string]func(c *krb5test.Client) []byte{
		"right":        func(c *krb5test.Client) []byte { return c.MIC(der) },
		"another list": func(c *krb5test.Client) []byte { return c.MIC(der[:len(der)-1]) },
		"nothing":      func(c *krb5test.Client) []byte { return nil },
	} {
		u, c := withTickets(t, r), r.Client("anna", krb5test.Want{})
		x := begin(t, "GSS-SPNEGO", Server{Credentials: u})
		challenge, _, err := x.Next(t.Context(), negotiation(t, []byte("NTLMSSP\x00"), list...))
		if err != nil {
			t.Fatal(err)
		}
		if n := answered(t, challenge); n.NegState != negRequestMIC || !n.SupportedMech.Equal(microsoft) || u.calls > 0 {
			t.Errorf("%+v", n)
		}
		if challenge, _, err = x.Next(t.Context(), response(t, negTokenResp{NegState: -1, ResponseToken: framed(c.Request())})); err != nil {
			t.Fatal(err)
		}
		n := answered(t, challenge)
		if err := c.Reply(n.ResponseToken); err != nil || n.NegState != negIncomplete || !c.CheckMIC(der, n.MechListMIC) {
			t.Errorf("%+v, %v", n, err)
		}
		_, done, err := x.Next(t.Context(), response(t, negTokenResp{NegState: negCompleted, MechListMIC: sign(c)}))
		if what == "right" {
			if !done || err != nil || !u.authorized {
				t.Errorf("%v, %v", done, err)
			}
			continue
		}
		wantFailed(t, what, done, err)
		if u.authorized {
			t.Errorf("%s: authorized", what)
		}
	}
}

func TestSPNEGOMalformed(t *testing.T) {
	r := newRealm(t)
	u := withTickets(t, r)
	token := framed(r.Client("anna", krb5test.Want{}).Request())
	for what, response := range map[string][]byte{
		"empty": {}, "Kerberos itself": token, "no Kerberos": negotiation(t, token, ntlm), "no mechanisms": negotiation(t, token), "cut": negotiation(t, token, microsoft)[:200],
		"more behind": append(negotiation(t, token, microsoft), 0), "too many": negotiation(t, token, slices.Repeat([]asn1.ObjectIdentifier{ntlm}, 20)...), "too long": make([]byte, MaxResponse+1),
		"another token": negotiation(t, []byte("x"), microsoft), "SPNEGO within": negotiation(t, negotiation(t, token, microsoft), microsoft), "an answer": response(t, negTokenResp{ResponseToken: token}),
	} {
		_, done, err := begin(t, "GSS-SPNEGO", Server{Credentials: u}).Next(t.Context(), response)
		wantFailed(t, what, done, err)
	}
	x := begin(t, "GSS-SPNEGO", Server{Credentials: u})
	if _, _, err := x.Next(t.Context(), negotiation(t, nil, microsoft)); err != nil {
		t.Fatal(err)
	}
	_, done, err := x.Next(t.Context(), response(t, negTokenResp{NegState: negCompleted}))
	wantFailed(t, "no token", done, err)
	if u.authorized || u.calls > 0 {
		t.Errorf("%+v", u)
	}
}

func FuzzKerberos(f *testing.F) {
	r := newRealm(f)
	c := r.Client("anna", krb5test.Want{})
	c.Binding = krb5.Bind([]byte("n,,"))
	token := c.Request()
	f.Add(framed(token), []byte{})
	f.Add(append([]byte("n,,"), token...), []byte{})
	f.Add(negotiation(f, framed(token), microsoft, ntlm), []byte{})
	f.Add(negotiation(f, nil, microsoft), response(f, negTokenResp{NegState: -1, ResponseToken: framed(token)}))
	f.Add(negotiation(f, nil, ntlm, microsoft), response(f, negTokenResp{NegState: -1, ResponseToken: framed(token)}))
	acceptor := withTickets(f, r).acceptor
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for _, m := range Mechanisms {
			if m.Needs&NeedsTickets == 0 {
				continue
			}
			u := anna()
			u.acceptor = acceptor
			x := m.New(Server{Credentials: u})
			for _, response := range [][]byte{first, second, second} {
				_, done, err := x.Next(t.Context(), response)
				if done && (!u.authorized || u.name != "anna" || strings.HasPrefix(m.Name, "GSSAPI")) {
					t.Errorf("%s: done without a proof", m.Name)
				}
				if done || err != nil {
					break
				}
			}
		}
	})
}
