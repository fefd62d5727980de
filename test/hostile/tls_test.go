package hostile

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/authority"
	"github.com/postern-mail/postern/test/server"
)

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// only gives anyone's configuration for one version of TLS.
func only(version uint16) *tls.Config {
	c := anyone()
	c.MinVersion, c.MaxVersion = version, version
	return c
}

// TestTLS is what is done to TLS itself, at every place where it begins.
func TestTLS(t *testing.T) {
	s := serve(t)
	t.Run("foreign protocols", func(t *testing.T) { foreignProtocols(t, s) })
	t.Run("downgrade", func(t *testing.T) { downgrade(t, s) })
	t.Run("renegotiation", func(t *testing.T) { renegotiation(t, s) })
	t.Run("early data", func(t *testing.T) { earlyData(t, s) })
	t.Run("server names", func(t *testing.T) { serverNames(t, s) })
	t.Run("broken handshakes", func(t *testing.T) { brokenHandshakes(t, s) })
	t.Run("browsers", func(t *testing.T) { browsers(t, s) })
	t.Run("resumption", func(t *testing.T) { resumption(t, s) }) // the last: it changes the certificate
}

// foreignProtocols leads clients of every protocol to every service (ALPACA): one that
// offers only other protocols than the service's is refused in the handshake, one that names
// none, or the service's among others, is served.
func foreignProtocols(t *testing.T, s *server.Server) {
	type attempt struct {
		place
		version uint16
		offer   []string
		agreed  string // "-" is refused
	}
	var list []attempt
	places := placesOf(t, s)
	for _, p := range places {
		for _, v := range versions {
			list = append(list, attempt{p, v, nil, ""}, attempt{p, v, []string{p.alpn}, p.alpn}, attempt{p, v, []string{"h2", "ftp", p.alpn}, p.alpn},
				attempt{p, v, []string{strings.ToUpper(p.alpn)}, "-"}, attempt{p, v, []string{p.alpn + "s"}, "-"}, attempt{p, v, []string{p.alpn[:1]}, "-"},
				attempt{p, v, []string{"acme-tls/1"}, "-"}, attempt{p, v, []string{"h2", "ftp", "smtp", "managesieve", "xmpp-client", "\x00"}, "-"})
			for _, other := range []string{"imap", "pop3", "lmtp", "http/1.1", "http/1.0", "h2", "h2c", "smtp", "ftp", strings.Repeat("x", 255)} {
				if other != p.alpn {
					list = append(list, attempt{p, v, []string{other}, "-"})
				}
			}
		}
	}
	refused := 0
	for _, a := range list {
		if a.agreed == "-" {
			refused++
		}
	}
	together(t, 8, list, func(a attempt) error {
		config := only(a.version)
		config.NextProtos = a.offer
		state, err := a.talk(config)
		switch {
		case a.agreed != "-" && err != nil:
			return err
		case a.agreed != "-" && state.NegotiatedProtocol != a.agreed:
			return fmt.Errorf("agreed on %q", state.NegotiatedProtocol)
		case a.agreed == "-" && err == nil:
			return fmt.Errorf("was served")
		case a.agreed == "-" && !strings.Contains(err.Error(), "no application protocol"):
			return fmt.Errorf("ended with %v, not with TLS's word for it", err)
		}
		return nil
	})
	t.Logf("prove: TLS handshakes for a foreign protocol, refused: %d", refused)
	unharmed(t, s)
}

// ticket keeps a session that can be resumed, and gives it again and again.
type ticket struct{ session *tls.ClientSessionState }

func (k *ticket) Get(string) (*tls.ClientSessionState, bool) { return k.session, k.session != nil }
func (k *ticket) Put(_ string, s *tls.ClientSessionState) {
	if k.session == nil {
		k.session = s
	}
}

// trust has IMAP4 and POP3 take an authority's certificates for their clients. The file lies
// in the server's folder: it may use no other.
func trust(t *testing.T, s *server.Server, a *authority.Authority) {
	t.Helper()
	path := filepath.Join(s.Data, "authority.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		s.MustShell(set, "-ClientCertificateAuthorities", path)
	}
}

// resumption takes the TLS session of every place to every other: only its own service
// resumes it. So it stays when the certificate is another one, and when clients are asked
// for certificates; and a session that a client certificate began proves nothing any more
// when its authority is not trusted any more.
func resumption(t *testing.T, s *server.Server) {
	places := placesOf(t, s)
	type held struct {
		from    place
		version uint16
		ticket  *ticket
	}
	hold := func(p place, version uint16, certificate *tls.Certificate) held {
		t.Helper()
		h := held{p, version, &ticket{}}
		config := only(version)
		config.ClientSessionCache = h.ticket
		if certificate != nil {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
		}
		if _, err := p.talk(config); err != nil {
			t.Fatalf("%v: %v", p, err)
		}
		return h
	}
	type attempt struct {
		held
		to place
	}
	refused := 0
	every := func(when string, fresh bool, list []held) {
		t.Helper()
		var attempts []attempt
		for _, h := range list {
			for _, to := range places {
				attempts = append(attempts, attempt{h, to})
				if h.from.service != to.service {
					refused++
				}
			}
		}
		together(t, 8, attempts, func(a attempt) error {
			config := only(a.version)
			config.ClientSessionCache = &ticket{a.ticket.session}
			state, err := a.to.talk(config)
			same := a.from.service == a.to.service
			if err != nil || state.DidResume && !same || fresh && same && !state.DidResume {
				return fmt.Errorf("%s, from %v to %v, TLS %x: resumed: %v, %v", when, a.from, a.to, a.version, state.DidResume, err)
			}
			return nil
		})
	}
	all := func(certificate *tls.Certificate) (list []held) {
		t.Helper()
		for _, p := range places {
			for _, v := range versions {
				list = append(list, hold(p, v, certificate))
			}
		}
		return list
	}
	first := all(nil)
	every("at once", true, first)
	s.MustShell("New-ServerCertificate", "localhost", "-Services", "POP,IMAP,LMTP,Console")
	every("with another certificate", false, first)

	ours, theirs := authority.New(t), authority.New(t)
	trust(t, s, ours)
	every("when clients are asked for certificates", false, first)
	mine := ours.Client(t, func(c *x509.Certificate) { c.EmailAddresses = []string{alice.Name} })
	shown := all(&mine)
	every("begun with a client certificate", false, shown)

	external := func(h held) (offered, resumed bool) {
		t.Helper()
		config := only(h.version)
		config.ClientSessionCache = &ticket{h.ticket.session}
		c, err := h.from.open(config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, map[string]string{"IMAP4": "c1 CAPABILITY\r\nc2 LOGOUT\r\n", "POP3": "CAPA\r\nQUIT\r\n"}[h.from.service])
		text, err := said(c)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(text, []byte("EXTERNAL")), c.ConnectionState().DidResume
	}
	counted := 0
	for _, trusted := range []bool{true, false} {
		if !trusted {
			trust(t, s, theirs)
		}
		for _, h := range shown {
			if h.from.service != "IMAP4" && h.from.service != "POP3" {
				continue
			}
			if offered, resumed := external(h); offered != (trusted && resumed) {
				t.Errorf("%v, TLS %x, its authority is trusted: %v; resumed: %v, EXTERNAL is offered: %v", h.from, h.version, trusted, resumed, offered)
			} else if resumed {
				counted++
			}
		}
	}
	if counted == 0 {
		t.Error("no session of a client certificate was resumed: nothing was tried")
	}
	t.Logf("prove: TLS sessions taken to another service, none resumed: %d", refused)
	if _, err := sit(places[1], alice, false); err != nil {
		t.Error(err)
	}
}

// downgrade offers what is old or weak, and nothing else, to every service; a client
// that is led to believe that the server knows nothing newer hears that it does.
func downgrade(t *testing.T, s *server.Server) {
	openssl := server.Program(t, "openssl", "openssl")
	places := placesOf(t, s)
	strong := map[uint16]bool{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: true, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: true,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: true, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: true, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: true,
	}
	type attempt struct {
		place
		what   string
		config *tls.Config
	}
	var list []attempt
	for _, p := range places {
		for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
			list = append(list, attempt{p, tls.VersionName(v), only(v)})
		}
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			if !strong[suite.ID] && slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
				config := only(tls.VersionTLS12)
				config.CipherSuites = []uint16{suite.ID}
				list = append(list, attempt{p, suite.Name, config})
			}
		}
	}
	together(t, 8, list, func(a attempt) error {
		if state, err := a.talk(a.config); err == nil {
			return fmt.Errorf("%s is accepted: %s", a.what, tls.CipherSuiteName(state.CipherSuite))
		}
		return nil
	})
	t.Logf("prove: old versions and weak suites of TLS, refused: %d", len(list))

	for _, p := range places {
		// RFC 8446, 4.1.3: the random of an answer in TLS 1.2 says that 1.3 is known.
		c, err := p.dial()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, helloOf(t, only(tls.VersionTLS12)))
		answer := make([]byte, 5+4+2+32)
		if _, err := io.ReadFull(c, answer); err != nil || answer[0] != 22 || !bytes.Equal(answer[len(answer)-8:], []byte("DOWNGRD\x01")) {
			t.Errorf("%v: the answer to a client of TLS 1.2 begins %x, %v", p, answer, err)
		}
		c.Close()
		// RFC 7507: who falls back says so, and is refused.
		if out := sClient(t, openssl, p, nil, "-tls1_2", "-fallback_scsv"); !strings.Contains(out, "inappropriate fallback") {
			t.Errorf("%v: TLS_FALLBACK_SCSV:\n%s", p, out)
		}
		// X25519MLKEM768 comes first where the client knows it.
		if state, err := p.talk(anyone()); err != nil || state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 {
			t.Errorf("%v: %s, %v, %v", p, tls.VersionName(state.Version), state.CurveID, err)
		}
	}
	unharmed(t, s)
}

// sClient runs openssl's client at a place and gives what it says. typeInto types; nil
// types nothing.
func sClient(t *testing.T, openssl string, p place, typeInto func(in io.Writer, over <-chan struct{}), args ...string) string {
	t.Helper()
	args = append([]string{"s_client", "-connect", p.address}, args...)
	if p.clear {
		args = append(args, "-starttls", map[string]string{"IMAP4": "imap", "POP3": "pop3", "LMTP": "lmtp"}[p.service])
	}
	cmd := exec.Command(openssl, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer stop.Stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		cmd.Wait() // its exit code says little
	}()
	if typeInto != nil {
		typeInto(in, over)
	}
	in.Close()
	<-over
	return out.String()
}

// renegotiation asks for a second handshake within TLS 1.2: the connection ends, and
// what is said behind it is not heard.
func renegotiation(t *testing.T, s *server.Server) {
	openssl := server.Program(t, "openssl", "openssl")
	places := placesOf(t, s)
	together(t, 6, places, func(p place) error {
		out := sClient(t, openssl, p, func(in io.Writer, over <-chan struct{}) {
			time.Sleep(500 * time.Millisecond)
			io.WriteString(in, "R\n")
			time.Sleep(500 * time.Millisecond)
			io.WriteString(in, p.command+"\r\n")
			select { // the server ends it
			case <-over:
			case <-time.After(patience):
			}
		}, "-tls1_2", "-crlf")
		if !strings.Contains(out, "RENEGOTIATING") {
			return fmt.Errorf("no renegotiation was tried:\n%s", out)
		}
		_, behind, _ := strings.Cut(out, "RENEGOTIATING")
		if !strings.Contains(behind, "no renegotiation") && !strings.Contains(behind, "unexpected message") || strings.Contains(behind, p.answer) {
			return fmt.Errorf("after a renegotiation:\n%s", behind)
		}
		return nil
	})
	t.Logf("prove: TLS renegotiations, refused: %d", len(places))
	unharmed(t, s)
}

// helloOf gives the first bytes of a client's handshake.
func helloOf(t *testing.T, config *tls.Config) string {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go tls.Client(ours, config).Handshake() // it never gets an answer
	buf := make([]byte, 64<<10)
	n, err := theirs.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// extended adds an extension to a client's hello.
func extended(hello string, kind uint16, body string) string {
	b := []byte(hello)
	at := 5 + 4 + 2 + 32
	at += 1 + int(b[at])                               // the session's id
	at += 2 + int(binary.BigEndian.Uint16(b[at:at+2])) // suites
	at += 1 + int(b[at])                               // compression
	extensions := int(binary.BigEndian.Uint16(b[at : at+2]))
	extension := binary.BigEndian.AppendUint16(nil, kind)
	extension = binary.BigEndian.AppendUint16(extension, uint16(len(body)))
	extension = append(extension, body...)
	binary.BigEndian.PutUint16(b[at:], uint16(extensions+len(extension)))
	// In front: the one with which a session is resumed must stay the last.
	b = slices.Insert(b, at+2, extension...)
	size := len(b) - 9
	b[6], b[7], b[8] = byte(size>>16), byte(size>>8), byte(size)
	return records(string(b[5:]))
}

// records puts messages of a handshake into records.
func records(messages string) string {
	var out strings.Builder
	for len(messages) > 0 {
		n := min(len(messages), 16<<10)
		out.WriteString("\x16\x03\x01")
		out.Write(binary.BigEndian.AppendUint16(nil, uint16(n)))
		out.WriteString(messages[:n])
		messages = messages[n:]
	}
	return out.String()
}

// earlyData sends data before the handshake (0-RTT, RFC 8446, 2.3), which could be
// replayed: it is not offered, and refused.
func earlyData(t *testing.T, s *server.Server) {
	openssl := server.Program(t, "openssl", "openssl")
	places := placesOf(t, s)
	together(t, 6, places, func(p place) error {
		c, err := p.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		io.WriteString(c, extended(helloOf(t, anyone()), 42, "")+"\x17\x03\x03\x00\x20"+strings.Repeat("e", 32))
		text, err := ended(c, 5*time.Second)
		if err != nil {
			return err
		}
		if len(text) > 0 && text[0] != 21 {
			return fmt.Errorf("early data is taken: %.80q", text)
		}
		out := ""
		for wait := time.Second; wait < patience && !strings.Contains(out, "Max Early Data: "); wait *= 4 {
			out = sClient(t, openssl, p, func(in io.Writer, over <-chan struct{}) {
				io.WriteString(in, p.command+"\r\n\r\n")
				select { // the tickets have come
				case <-over:
				case <-time.After(wait):
				}
			}, "-tls1_3", "-crlf")
		}
		if n := strings.Count(out, "Max Early Data: "); n == 0 || n != strings.Count(out, "Max Early Data: 0") {
			return fmt.Errorf("its tickets:\n%s", out)
		}
		return nil
	})
	t.Logf("prove: early data of TLS 1.3, refused: %d", len(places))
	unharmed(t, s)
}

// serverNames asks for names that nobody has, of every length: each gets the
// certificate that is shown by default, or is refused, and none is kept.
func serverNames(t *testing.T, s *server.Server) {
	places := placesOf(t, s)
	type attempt struct {
		place
		name   string
		served bool
	}
	var list []attempt
	n := sized(100, 5000)
	for i := range n {
		p := places[i%len(places)]
		list = append(list, attempt{p, fmt.Sprintf("unknown-%d.%s.test", i, strings.Repeat("x", 200)), true})
	}
	for _, p := range places {
		for _, length := range []int{1, 63, 64, 254, 255, 256, 300, 1000, 10_000} {
			list = append(list, attempt{p, strings.Repeat("y", length), true})
		}
		list = append(list, attempt{p, strings.Repeat("z", 40_000), false}, attempt{p, "loc\x00alhost", true}, attempt{p, "localhost\r\nX: y", true}, attempt{p, "*", true}, attempt{p, "../../etc", true}, attempt{p, "ä.test", true})
	}
	bounded(t, s, 64, func() {
		together(t, 8, list, func(a attempt) error {
			config := anyone()
			config.ServerName = a.name
			state, err := a.talk(config)
			switch {
			case a.served && err != nil:
				return err
			case !a.served && err == nil:
				return errors.New("was served")
			case a.served && (len(state.PeerCertificates) == 0 || state.PeerCertificates[0].VerifyHostname("localhost") != nil):
				return errors.New("another certificate than the default")
			}
			return nil
		})
	})
	t.Logf("prove: unknown names asked for in TLS: %d", len(list))
	unharmed(t, s)
}

// brokenHandshakes sends handshakes that are cut off at every byte, altered, endless,
// of versions that nobody speaks any more, and no handshakes at all: each connection ends
// and no other one notices.
func brokenHandshakes(t *testing.T, s *server.Server) {
	places := placesOf(t, s)
	hello, old := helloOf(t, anyone()), helloOf(t, only(tls.VersionTLS12))
	type attempt struct {
		place
		what, text string
	}
	var list []attempt
	add := func(what, text string) { list = append(list, attempt{places[len(list)%len(places)], what, text}) }
	for cut := 0; cut < len(hello); cut += sized(9, 1) {
		add(fmt.Sprintf("cut off at %d", cut), hello[:cut])
	}
	for cut := 0; cut < len(old); cut += sized(9, 1) {
		add(fmt.Sprintf("of TLS 1.2, cut off at %d", cut), old[:cut])
	}
	random := mathrand.New(mathrand.NewPCG(6, 6))
	for i := range sized(300, 30_000) {
		b := []byte(hello)
		if i%2 == 0 {
			b = []byte(old)
		}
		for range 1 + random.IntN(4) {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
		add(fmt.Sprintf("altered, %d", i), string(b))
	}
	for i := range sized(30, 1000) {
		b := make([]byte, 1+random.IntN(20_000))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		add(fmt.Sprintf("garbage %d", i), string(b))
		add(fmt.Sprintf("garbage in records %d", i), records("\x01\x00"+string(b)))
	}
	for range places {
		add("SSL 2", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\x03\x00\x80\x04\x00\x80\x05\x00\x80\x06\x00\x40"+strings.Repeat("c", 16))
		add("SSL 3", "\x16\x03\x00"+hello[3:9]+"\x03\x00"+hello[11:])
		add("an alert", "\x15\x03\x03\x00\x02\x02\x28")
		add("data", "\x17\x03\x03\x00\x05hello")
		add("change cipher specs", strings.Repeat("\x14\x03\x03\x00\x01\x01", 1000))
		add("empty records", strings.Repeat("\x16\x03\x01\x00\x00", 1000))
		add("two hellos", hello+hello)
		add("a record too long", "\x16\x03\x01\xff\xff"+strings.Repeat("r", 70_000))
		add("a message too long", records("\x01\xff\xff\xff"+strings.Repeat("m", 70_000)))
		add("a hello of 60,000 bytes", extended(hello, 21, strings.Repeat("\x00", 58_000)))
		add("a certificate of 200,000 bytes that nobody asked for", hello+records("\x0b\x03\x00\x00"+strings.Repeat("c", 200_000)))
		add("a heartbeat", hello+"\x18\x03\x03\x00\x03\x01\x40\x00")
	}
	bounded(t, s, 96, func() {
		together(t, 16, list, func(a attempt) error {
			c, err := a.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			c.Write([]byte(a.text))
			c.(*net.TCPConn).CloseWrite()
			text, err := ended(c, 5*time.Second)
			if err != nil {
				return fmt.Errorf("%s: %w", a.what, err)
			}
			// TLS's own words, if any: never the protocol's.
			if len(text) > 0 && text[0] != 21 && text[0] != 22 {
				return fmt.Errorf("%s is answered %.80q", a.what, text)
			}
			return nil
		})
	})
	t.Logf("prove: broken TLS handshakes: %d", len(list))

	// A hello that goes on for ever is not gathered: the server does not wait for its end.
	together(t, len(places), places, func(p place) error {
		c, err := p.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := io.WriteString(c, records("\x01\x00\xff\xff"+strings.Repeat("e", 30_000))); err != nil {
			return err
		}
		_, err = ended(c, 5*time.Second)
		return err
	})
	unharmed(t, s)
}

// browsers has browsers speak HTTP to the mail services, within TLS and without, and
// mail clients to the console (ALPACA): the connection ends, and nothing of what was sent
// comes back, which might be taken for a page.
func browsers(t *testing.T, s *server.Server) {
	const mark = "<script>alert(1)</script>"
	type attempt struct {
		place
		request string
		within  bool // TLS
	}
	var list []attempt
	for _, p := range mailPlaces(t, s) {
		for _, verb := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PRI", "get", "Post"} {
			target := "/" + mark
			switch verb {
			case "CONNECT":
				target = "mail.example.org:143"
			case "PRI":
				target = "*"
			}
			request := verb + " " + target + " HTTP/1.1\r\nHost: " + mark + "\r\n" + mark + ": x\r\nContent-Length: 5000\r\n\r\n" +
				strings.Repeat(mark+" x\r\n", 20) + "a1 NOOP\r\nNOOP\r\n"
			list = append(list, attempt{p, request, true})
			if p.clear {
				list = append(list, attempt{p, request, false})
			}
		}
	}
	for _, p := range placesOf(t, s) {
		if p.service == "Console" {
			for _, command := range []string{"a1 LOGIN " + mark + " x", "USER " + mark, "LHLO " + mark, "MAIL FROM:<" + mark + "@x.test>", "a1 APPEND " + mark + " {100000+}", "\x00" + mark, mark} {
				list = append(list, attempt{p, command + "\r\n\r\n", true}, attempt{p, command + "\r\n\r\n", false})
			}
		}
	}
	together(t, 8, list, func(a attempt) error {
		var c net.Conn
		var err error
		switch {
		case a.within:
			c, err = a.open(anyone())
		default:
			a.hello = "" // the first line is to be the request's
			c, err = a.greeted()
		}
		if err != nil {
			return err
		}
		defer c.Close()
		io.WriteString(c, a.request)
		text, err := ended(c, 5*time.Second)
		if err != nil {
			return fmt.Errorf("%.20q: %w", a.request, err)
		}
		if strings.Contains(string(text), "script") || a.service != "Console" && len(text) > 0 {
			return fmt.Errorf("within TLS %v, %.20q is answered %q", a.within, a.request, text)
		}
		return nil
	})
	t.Logf("prove: requests and commands that came to another protocol, none answered by it: %d", len(list))
	unharmed(t, s)
}
