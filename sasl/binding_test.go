package sasl

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	xdg "github.com/xdg-go/scram"

	"github.com/postern-mail/postern/mail"
)

// handshake makes a real TLS connection and gives both ends' states and the
// certificate.
func handshake(t testing.TB, version uint16, curve elliptic.Curve) (server, client tls.ConnectionState, certificate *x509.Certificate) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	var der []byte
	var key any
	var err error
	if curve == nil {
		public, private, _ := ed25519.GenerateKey(rand.Reader)
		der, err = x509.CreateCertificate(rand.Reader, template, template, public, private)
		key = private
	} else {
		private, err2 := ecdsa.GenerateKey(curve, rand.Reader)
		if err2 != nil {
			t.Fatal(err2)
		}
		der, err = x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
		key = private
	}
	if err != nil {
		t.Fatal(err)
	}
	if certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   version, MaxVersion: version, SessionTicketsDisabled: true,
	})
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	fault := make(chan error, 1)
	go func() { fault <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-fault; err != nil {
		t.Fatal(err)
	}
	return s.ConnectionState(), c.ConnectionState(), certificate
}

func TestScramPlus(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			state, clientState, certificate := handshake(t, version, curve)
			server := func(u *users) Server {
				return Server{Credentials: u, TLS: &state, Certificate: certificate, PlusOffered: true}
			}
			if !Binds(server(nil)) {
				t.Fatal("the connection has no binding")
			}
			exporter, err := xdg.NewTLSExporterBinding(&clientState)
			if err != nil {
				t.Fatal(err)
			}
			endPoint, err := xdg.NewTLSServerEndpointBinding(&clientState)
			if err != nil {
				t.Fatal(err)
			}
			kinds := []xdg.ChannelBinding{exporter, endPoint}
			if version == tls.VersionTLS12 {
				kinds = append(kinds, xdg.NewTLSUniqueBinding(clientState.TLSUnique))
			}
			for _, binding := range kinds {
				for _, hash := range Hashes {
					u := anna()
					if err := play(t, "SCRAM-"+hash+"-PLUS", "anna", "secret", "", server(u), &binding, nil); err != nil || !u.authorized {
						t.Errorf("SCRAM-%s-PLUS with %s: %v", hash, binding.Type, err)
					}
				}
				refused := func(what, mechanism string, b *xdg.ChannelBinding, s Server) {
					t.Helper()
					err := play(t, mechanism, "anna", "secret", "", s, b, nil)
					if err == nil || mail.KindOf(err) != mail.KindAuthenticationFailed || s.Credentials.(*users).authorized {
						t.Errorf("%s: %v", what, err)
					}
				}
				wrong := xdg.ChannelBinding{Type: binding.Type, Data: append([]byte{}, binding.Data...)}
				wrong.Data[0] ^= 1
				refused("another channel", "SCRAM-SHA-256-PLUS", &wrong, server(anna()))
				wrong.Data = binding.Data[:len(binding.Data)-1]
				refused("a part of the binding", "SCRAM-SHA-256-PLUS", &wrong, server(anna()))
				wrong = xdg.ChannelBinding{Type: "tls-unique-for-telnet", Data: binding.Data}
				refused("another type", "SCRAM-SHA-256-PLUS", &wrong, server(anna()))
				refused("-PLUS taken out on the way", "SCRAM-SHA-256", &binding, server(anna()))
				clear := server(anna())
				clear.TLS = nil
				refused("no TLS", "SCRAM-SHA-256-PLUS", &binding, clear)
			}
			// Without binding, "n": a client that knows none is welcome.
			if err := play(t, "SCRAM-SHA-256", "anna", "secret", "", server(anna()), nil, nil); err != nil {
				t.Errorf("SCRAM-SHA-256 under TLS: %v", err)
			}
			for _, first := range []string{"n,,n=anna,r=abc", "y,,n=anna,r=abc", "p=,,n=anna,r=abc", "p=TLS-EXPORTER,,n=anna,r=abc"} {
				_, done, err := begin(t, "SCRAM-SHA-256-PLUS", server(anna())).Next(t.Context(), []byte(first))
				wantFailed(t, first, done, err)
			}
		}
	}
}

// The binding of one connection is worth nothing on another one to the same server.
func TestScramPlusOnAnotherConnection(t *testing.T) {
	state, _, certificate := handshake(t, tls.VersionTLS13, elliptic.P256())
	_, other, _ := handshake(t, tls.VersionTLS13, elliptic.P256())
	binding, err := xdg.NewTLSExporterBinding(&other)
	if err != nil {
		t.Fatal(err)
	}
	err = play(t, "SCRAM-SHA-256-PLUS", "anna", "secret", "", Server{Credentials: anna(), TLS: &state, Certificate: certificate, PlusOffered: true}, &binding, nil)
	if err == nil || mail.KindOf(err) != mail.KindAuthenticationFailed {
		t.Errorf("got %v", err)
	}
}

func TestBindingsThatAreNotThere(t *testing.T) {
	if Binds(Server{}) || Binds(Server{TLS: &tls.ConnectionState{}}) {
		t.Error("a binding without TLS")
	}
	state, _, certificate := handshake(t, tls.VersionTLS13, nil)
	s := Server{TLS: &state, Certificate: certificate}
	if len(bindings(s, "tls-server-end-point")) != 0 {
		t.Error("Ed25519 has no tls-server-end-point")
	}
	if len(bindings(s, "tls-exporter")) == 0 {
		t.Error("no tls-exporter")
	}
	if len(bindings(s, "tls-unique")) != 0 {
		t.Error("TLS 1.3 has tls-unique")
	}
	s.Certificate = nil
	if len(bindings(s, "tls-server-end-point")) != 0 {
		t.Error("tls-server-end-point without a certificate")
	}
}
