package policy

import (
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
)

func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// A session of one service is not resumed at the other (ALPACA).
func TestTicketsStayWithTheirService(t *testing.T) {
	r := start(t, 1)
	for _, from := range protocols {
		for _, to := range protocols {
			for _, w := range ways[1:] {
				for _, second := range []string{"starttls", "ssl"} {
					config := &tls.Config{
						InsecureSkipVerify: true, MinVersion: w.version, MaxVersion: w.version,
						ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1),
					}
					one, err := r.dialTLS(from, w, config)
					if err != nil {
						t.Fatal(err)
					}
					if _, _, err := one.capabilities(); err != nil { // the ticket has come with it
						t.Fatal(err)
					}
					one.close()
					two, err := r.dialTLS(to, way{second, w.version}, config)
					if err != nil {
						t.Fatal(err)
					}
					if two.tls.DidResume != (from == to) {
						t.Errorf("a session of %s (%s) is resumed at %s (%s): %v", from, w, to, second, two.tls.DidResume)
					}
					two.close()
				}
			}
		}
	}
}

// A client that speaks another protocol is refused (RFC 7301, 3.2), one that names none
// or ours is served.
func TestALPN(t *testing.T) {
	r := start(t, 1)
	for _, protocol := range protocols {
		mine := map[string]string{"POP3": "pop3", "IMAP4": "imap"}[protocol]
		other := map[string]string{"POP3": "imap", "IMAP4": "pop3"}[protocol]
		for _, w := range ways[1:] {
			for _, c := range []struct {
				names []string
				want  string // "-" is refused
			}{
				{nil, ""},
				{[]string{mine}, mine},
				{[]string{"h2", mine}, mine},
				{[]string{other}, "-"},
				{[]string{"h2"}, "-"},
				{[]string{"http/1.1"}, "-"},
				{[]string{"h2", "http/1.1", "ftp", "managesieve", other}, "-"},
				{[]string{mine + "s"}, "-"},
				{[]string{map[string]string{"POP3": "POP3", "IMAP4": "IMAP"}[protocol]}, "-"},
			} {
				config := &tls.Config{InsecureSkipVerify: true, MinVersion: w.version, MaxVersion: w.version, NextProtos: c.names}
				conn, err := r.dialTLS(protocol, w, config)
				got := "-"
				if err == nil {
					got = conn.tls.NegotiatedProtocol
					conn.close()
				}
				if got != c.want {
					t.Errorf("%s %s, ALPN %q: %q, want %q (%v)", protocol, w, c.names, got, c.want, err)
				}
			}
		}
	}
}

// TLS before 1.2 is refused.
func TestOldTLS(t *testing.T) {
	r := start(t, 1)
	for _, protocol := range protocols {
		for _, w := range []string{"starttls", "ssl"} {
			for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
				if c, err := r.dial(protocol, way{w, version}); err == nil {
					c.close()
					t.Errorf("%s %s speaks %s", protocol, w, tls.VersionName(version))
				}
			}
		}
	}
}

// A browser that was led to a mail port is hung up on without a word: what it sent must
// not come back to it.
func TestHTTP(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.PlainTextLogin)
	for _, protocol := range protocols {
		for _, w := range ways {
			if w.name == "starttls" {
				continue // its first line was STARTTLS
			}
			for _, request := range []string{
				"GET /<script> HTTP/1.1\r\nHost: x\r\n\r\n",
				"POST /<script> HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\na1 LOGOUT\r\nQUIT\r\n",
				"PUT / HTTP/1.1\r\n\r\n", "HEAD / HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\n\r\n", "DELETE /x HTTP/1.1\r\n\r\n",
				"CONNECT mail.example.org:443 HTTP/1.1\r\n\r\n", "PATCH / HTTP/1.1\r\n\r\n", "TRACE / HTTP/1.1\r\n\r\n",
				"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "get / HTTP/1.1\r\n\r\n",
			} {
				c, err := r.dial(protocol, w)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.send(request); err != nil {
					t.Fatal(err)
				}
				c.raw.SetReadDeadline(time.Now().Add(patience))
				if said, err := io.ReadAll(c.in); len(said) > 0 || timeout(err) {
					t.Errorf("%s %s answers %.20q with %q, %v", protocol, w, request, said, err)
				}
				c.close()
			}
		}
	}
}

func timeout(err error) bool {
	t, ok := err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}
