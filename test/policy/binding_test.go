package policy

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/mail"
)

// conversation plays one of SCRAM's conversations under a mechanism's name.
func conversation(t *testing.T, c *client, mechanism string, talk *scram.ClientConversation) outcome {
	t.Helper()
	first, err := talk.Step("")
	if err != nil {
		t.Fatal(err)
	}
	reply := func(challenge string) string { return step(talk, challenge) }
	return exchange(t, c, mechanism, first, reply, reply)
}

// exchange plays a mechanism from its decoded first message.
func exchange(t *testing.T, c *client, mechanism, first string, replies ...func(string) string) outcome {
	t.Helper()
	verb := map[string]string{"POP3": "AUTH ", "IMAP4": "AUTHENTICATE "}[c.protocol]
	o, err := c.attempt(dialogue{opening: verb + mechanism + " " + encode(first), replies: replies}, false)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

var failedLogin = map[string]string{"POP3": "-ERR [AUTH]", "IMAP4": "NO [AUTHENTICATIONFAILED]"}

// TestChannelBinding holds bindings of another connection, cut ones, other kinds and
// stripped -PLUS mechanisms against every protocol, TLS and hash.
func TestChannelBinding(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.PlainTextAuthentication)
	s := &speaker{clients: map[string]*scram.Client{}}
	name := address(anna, 0)

	for _, protocol := range protocols {
		for _, hash := range []string{"SHA-1", "SHA-256", "SHA-512"} {
			user, err := s.client(hash, name, password, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range ways {
				at := protocol + " " + w.String() + " SCRAM-" + hash
				dial := func() *client {
					c, err := r.dial(protocol, w)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(c.close)
					return c
				}
				// expect wants a login, or the one refusal after so many questions to the directory.
				expect := func(what string, ok bool, asked int, attempt func(c *client) outcome) {
					t.Helper()
					c := dial()
					r.asked.take(0)
					o := attempt(c)
					n := r.asked.take(0)
					if ok && !o.in || !ok && (o.in || !strings.HasPrefix(o.status, failedLogin[protocol])) || n != asked {
						t.Errorf("%s, %s: %q, logged in %v, the directory was asked %d times", at, what, o.status, o.in, n)
					}
					if o.in {
						if err := c.quit(); err != nil {
							t.Error(err)
						}
					}
				}
				with := func(mechanism string, b scram.ChannelBinding) func(c *client) outcome {
					return func(c *client) outcome {
						return conversation(t, c, mechanism, user.NewConversationWithChannelBinding(b))
					}
				}
				plain, plus := "SCRAM-"+hash, "SCRAM-"+hash+"-PLUS"
				stripped := func(c *client) outcome {
					return conversation(t, c, plain, user.NewConversationAdvertisingChannelBinding())
				}
				mandatory := func(c *client) outcome { return exchange(t, c, plain, "n,,m=x,n="+name+",r=abcdefgh") }

				if w.version == 0 {
					expect("the client could bind, the server cannot", true, 1, stripped)
					expect("a mandatory extension", false, 0, mandatory)
					continue
				}
				expect("-PLUS was stripped", false, 0, stripped)
				expect("a mandatory extension", false, 0, mandatory)
				expect("-PLUS without a binding", false, 0, func(c *client) outcome {
					return conversation(t, c, plus, user.NewConversation())
				})
				expect("-PLUS, and the client says that there is none", false, 0, func(c *client) outcome {
					return conversation(t, c, plus, user.NewConversationAdvertisingChannelBinding())
				})
				unique := 0 // it is known in TLS 1.2 alone
				kinds := []string{"tls-exporter", "tls-server-end-point"}
				if w.version == tls.VersionTLS12 {
					unique, kinds = 1, append(kinds, "tls-unique")
				}
				expect("tls-unique of another connection", false, unique, with(plus, scram.NewTLSUniqueBinding(make([]byte, 12))))

				other := dial()
				for _, kind := range kinds {
					own := func(c *client) scram.ChannelBinding {
						b, err := bindingOf(c, kind)
						if err != nil {
							t.Fatal(err)
						}
						b.Data = slices.Clone(b.Data)
						return b
					}
					changed := func(change func([]byte) []byte) func(c *client) outcome {
						return func(c *client) outcome {
							b := own(c)
							b.Data = change(b.Data)
							return with(plus, b)(c)
						}
					}
					expect(kind, true, 1, func(c *client) outcome { return with(plus, own(c))(c) })
					expect(kind+" without -PLUS", false, 0, func(c *client) outcome { return with(plain, own(c))(c) })
					expect(kind+" cut", false, 1, changed(func(b []byte) []byte { return b[:len(b)-1] }))
					expect(kind+" lengthened", false, 1, changed(func(b []byte) []byte { return append(b, 0) }))
					expect(kind+" with another last bit", false, 1, changed(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }))
					expect(kind+" with another first bit", false, 1, changed(func(b []byte) []byte { b[0] ^= 0x80; return b }))
				}
				foreign, err := bindingOf(other, "tls-exporter")
				if err != nil {
					t.Fatal(err)
				}
				expect("the exporter of another connection", false, 1, with(plus, foreign))
				expect("the exporter's value as an end point", false, 1, func(c *client) outcome {
					b, err := bindingOf(c, "tls-exporter")
					if err != nil {
						t.Fatal(err)
					}
					b.Type = scram.ChannelBindingTLSServerEndpoint
					return with(plus, b)(c)
				})
				// RFC 9266, 2 means an empty context, which TLS 1.2 tells from none.
				expect("the exporter with an empty context", true, 1, func(c *client) outcome {
					v, err := c.tls.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
					if err != nil {
						t.Fatal(err)
					}
					return with(plus, scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: v})(c)
				})
			}
		}
	}
}

// A resumed session has an exporter of its own.
func TestChannelBindingResumed(t *testing.T) {
	r := start(t, 1)
	s := &speaker{clients: map[string]*scram.Client{}}
	for _, protocol := range protocols {
		for _, w := range ways[1:] {
			config := &tls.Config{
				InsecureSkipVerify: true, MinVersion: w.version, MaxVersion: w.version,
				ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1),
			}
			for i := range 2 {
				c, err := r.dialTLS(protocol, w, config)
				if err != nil {
					t.Fatal(err)
				}
				if c.tls.DidResume != (i == 1) {
					t.Errorf("%s %s: connection %d is resumed: %v", protocol, w, i, c.tls.DidResume)
				}
				talk, err := s.scram(method{hash: "SHA-256", class: bound, form: "tls-exporter"}, c, address(anna, 0), password, "")
				if err != nil {
					t.Fatal(err)
				}
				if o := conversation(t, c, "SCRAM-SHA-256-PLUS", talk); !o.in {
					t.Errorf("%s %s: connection %d: %s", protocol, w, i, o.status)
				}
				if err := c.quit(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
