package policy

import (
	"cmp"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/krb5/krb5test"
)

// method is a way of giving credentials.
type method struct {
	mechanism string // "" for a command
	form      string // of IMAP's LOGIN: atom, quoted, literal, literal+; of -PLUS: its binding
	class     string // as in policy.csv
	hash      string // of SCRAM
	ticket    bool   // of Kerberos
	digest    bool   // of the password with MD5, where the server speaks first
}

func (m method) String() string { return strings.TrimSpace(m.mechanism + " " + m.form) }

// family is that of answers.csv.
func (m method) family() string {
	if m.hash != "" {
		return "scram"
	}
	switch {
	case m.class == token:
		return "token"
	case m.mechanism == "EXTERNAL":
		return "certificate"
	case m.ticket:
		return "ticket"
	case m.digest:
		return "digest"
	case m == byDomain:
		return "domain"
	}
	return "password"
}

var mechanisms = func() []method {
	list := []method{
		{mechanism: "PLAIN", class: readable}, {mechanism: "LOGIN", class: readable},
		{mechanism: "OAUTHBEARER", class: token}, {mechanism: "XOAUTH2", class: token},
		{mechanism: "X-NOBODY-HAS-THIS", class: unknown},
	}
	for _, h := range []string{"SHA-1", "SHA-256", "SHA-512"} {
		list = append(list, method{mechanism: "SCRAM-" + h, class: challenge, hash: h})
		for _, binding := range []string{"tls-exporter", "tls-server-end-point"} {
			list = append(list, method{mechanism: "SCRAM-" + h + "-PLUS", form: binding, class: bound, hash: h})
		}
	}
	return list
}()

// byDigest are the mechanisms that need a password that the server can read.
var byDigest = []method{{mechanism: "CRAM-MD5", class: challenge, digest: true}, {mechanism: "APOP", class: challenge, digest: true}}

// byDomain is the mechanism whose proofs a Windows domain checks.
var byDomain = method{mechanism: "NTLM", class: challenge}

func methods(protocol string) []method {
	if protocol == "POP3" {
		return append([]method{{form: "USER+PASS", class: command}}, mechanisms...)
	}
	list := []method{}
	for _, form := range []string{"atom", "quoted", "literal", "literal+"} {
		list = append(list, method{form: form, class: command})
	}
	return append(list, mechanisms...)
}

// The credentials of answers.csv.
var credentials = []string{
	"right", "other-case-name", "own-authzid", "wrong-password", "unknown-user", "empty-password", "disabled",
	"protocol-disabled", "foreign-authzid", "cancel-at-once", "cancel-later", "bad-base64", "long-name",
	"eight-bit", "nuls", "over-long",
}

// overLong is longer than any line that is read before login, and base64.
var overLong = strings.Repeat("QUFB", 5000)

// dialogue is what a client says in one attempt.
type dialogue struct {
	// opening is the command, without the tag. When it ends in a literal's header
	// and the literal is sent with it, it holds CRLFs.
	opening string
	// replies are what answers each continuation.
	replies []func(challenge string) string
	// ahead is how many replies do not depend on what the server said.
	ahead int
	// refusable: the command may be refused for its form before the policy is
	// asked, and so without the policy's code.
	refusable bool
}

// fixed is a reply that does not depend on the challenge.
func fixed(s string) func(string) string { return func(string) string { return s } }

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// spelled writes a name in upper, lower or mixed case.
func spelled(name, spelling string) string {
	switch spelling {
	case "lower":
		return strings.ToLower(name)
	case "mixed":
		b := []byte(strings.ToLower(name))
		for i := 0; i < len(b); i += 2 {
			b[i] = strings.ToUpper(string(b[i]))[0]
		}
		return string(b)
	}
	return name
}

// speaker makes dialogues for one worker and remembers the costly part of SCRAM.
type speaker struct {
	worker  int
	clients map[string]*scram.Client
	app     string // an app password of the worker's anna
	tickets *tickets
	t       testing.TB
}

// who is whose name and password go with the credentials.
func (s *speaker) who(protocol, credentials string) (name, pass string) {
	name, pass = anna, password
	switch credentials {
	case "wrong-password":
		pass = "wrong-" + password
	case "unknown-user":
		name = nobody
	case "empty-password":
		pass = ""
	case "disabled":
		name = off
	case "protocol-disabled":
		name = map[string]string{"POP3": noPOP, "IMAP4": noIMAP}[protocol]
	case "app-password":
		pass = s.app
	case "foreign-name":
		name = other
	}
	name = address(name, s.worker)
	switch credentials {
	case "other-case-name":
		name = strings.ToUpper(name)
	case "long-name":
		name = strings.Repeat("a", 300) + name
	case "eight-bit":
		name = "\xff\xfe" + name
	case "nuls":
		name = name[:2] + "\x00" + name[2:]
	}
	return name, pass
}

// dialogue is what is said in the attempt of a cell.
func (s *speaker) dialogue(c cell, conn *client) (dialogue, error) {
	switch c.method.mechanism {
	case "":
		return s.command(c), nil
	case "APOP":
		name, pass := s.who(c.protocol, c.credentials)
		return dialogue{opening: spelled("APOP", c.spelling) + " " + name + " " + apop(conn.greeting, pass)}, nil
	}
	return s.sasl(c, conn)
}

// command is USER and PASS, or LOGIN.
func (s *speaker) command(c cell) dialogue {
	name, pass := s.who(c.protocol, c.credentials)
	if c.credentials == "over-long" {
		if strings.HasPrefix(c.method.form, "literal") {
			name += strings.Repeat("a", 2000)
		} else {
			name += overLong
		}
	}
	d := commandDialogue(c, name, pass)
	d.refusable = c.credentials == "nuls" || c.credentials == "over-long"
	return d
}

// commandDialogue is the command of a cell with any name and password.
func commandDialogue(c cell, name, pass string) dialogue {
	if c.protocol == "POP3" {
		return dialogue{
			opening: spelled("USER", c.spelling) + " " + name,
			replies: []func(string) string{fixed(spelled("PASS", c.spelling) + " " + pass)}, ahead: 1,
		}
	}
	verb := spelled("LOGIN", c.spelling) + " "
	switch c.method.form {
	case "atom":
		return dialogue{opening: verb + name + " " + pass}
	case "quoted":
		return dialogue{opening: fmt.Sprintf(`%s"%s" "%s"`, verb, name, pass)}
	}
	plus := strings.TrimPrefix(c.method.form, "literal")
	opening := fmt.Sprintf("%s{%d%s}", verb, len(name), plus)
	rest := fmt.Sprintf("%s {%d%s}", name, len(pass), plus)
	if plus != "" {
		return dialogue{opening: opening + "\r\n" + rest + "\r\n" + pass}
	}
	return dialogue{opening: opening, replies: []func(string) string{fixed(rest), fixed(pass)}, ahead: 2}
}

// sasl is AUTH or AUTHENTICATE.
func (s *speaker) sasl(c cell, conn *client) (dialogue, error) {
	d := dialogue{opening: map[string]string{"POP3": "AUTH ", "IMAP4": "AUTHENTICATE "}[c.protocol]}
	d.opening = spelled(d.opening+c.method.mechanism, c.spelling)
	name, pass := s.who(c.protocol, c.credentials)
	authzid := map[string]string{"own-authzid": name, "foreign-authzid": address(off, s.worker)}[c.credentials]

	var first string // decoded
	switch {
	case c.method.hash != "" && (c.credentials == "long-name" || c.credentials == "eight-bit" || c.credentials == "nuls"):
		first, d.ahead = gs2(c.method)+"n="+name+",r=abcdefghijkl", 1
	case c.method.hash != "":
		talk, err := s.scram(c.method, conn, name, pass, authzid)
		if err != nil {
			return d, err
		}
		if first, err = talk.Step(""); err != nil {
			return d, err
		}
		d.ahead = 1
		d.replies = []func(string) string{
			func(challenge string) string { return step(talk, challenge) },
			func(challenge string) string { return step(talk, challenge) },
		}
	case c.method.class == token:
		first, d.ahead = tokenMessage(c.method.mechanism, name, tokenOf(name, pass), authzid), 2
		if c.credentials == "empty-password" {
			first = tokenMessage(c.method.mechanism, name, "", authzid)
		}
		d.replies = []func(string) string{fixed("AQ==")} // to the challenge of a refused token
	case c.method.mechanism == "CRAM-MD5":
		d.replies = []func(string) string{cram(name, pass)}
		return d, nil
	case c.method == byDomain:
		first, d.ahead = ntlmNegotiate, 2
		d.replies = []func(string) string{fixed(encode(ntlmAuthenticate(name, pass)))}
	case c.method.ticket:
		d.ahead = 1
		switch c.credentials {
		case "empty-password":
		case "app-password":
			first = pass
		case "wrong-password":
			first, d.replies = s.showTicket(s.t, c, conn, name, authzid, func(w *krb5test.Want, _ *krb5test.Client) { w.Key = "other/localhost" })
		case "foreign-name":
			anna := address(anna, s.worker)
			first, d.replies = s.showTicket(s.t, c, conn, anna, "", func(_ *krb5test.Want, c *krb5test.Client) {
				if c != nil {
					c.Name, _, _ = strings.Cut(name, "@") // its authenticator says so, the ticket does not
				}
			})
		default:
			first, d.replies = s.showTicket(s.t, c, conn, name, authzid, nil)
		}
	case c.method.mechanism == "EXTERNAL":
		first, d.ahead = authzid, 1
	case c.method.mechanism == "LOGIN":
		first, d.ahead = name, 2
		d.replies = []func(string) string{fixed(encode(pass))}
	default:
		first, d.ahead = authzid+"\x00"+name+"\x00"+pass, 1
		if c.credentials == "nuls" {
			first = map[bool]string{true: address(anna, s.worker) + "\x00" + pass, false: "\x00" + address(anna, s.worker) + "\x00" + pass + "\x00"}[c.initial]
		}
	}
	line := encode(first)
	switch c.credentials {
	case "cancel-at-once":
		line, d.ahead = "*", 1
	case "cancel-later":
		d.replies[0] = fixed("*")
		d.ahead = 2
	case "bad-base64":
		line = map[bool]string{true: "YR==", false: "YW5uYQ="}[c.initial]
	case "over-long":
		line = overLong
	}
	if c.initial {
		d.opening += " " + cmp.Or(line, "=")
		d.refusable = c.credentials == "over-long"
		d.ahead--
	} else {
		d.replies = append([]func(string) string{fixed(line)}, d.replies...)
	}
	return d, nil
}

// tokenMessage is the one message of OAUTHBEARER and XOAUTH2.
func tokenMessage(mechanism, name, token, authzid string) string {
	if authzid != "" {
		name = authzid
	}
	if mechanism == "XOAUTH2" {
		return "user=" + name + "\x01auth=Bearer " + token + "\x01\x01"
	}
	return "n,a=" + name + ",\x01host=localhost\x01auth=Bearer " + token + "\x01\x01"
}

// cram answers CRAM-MD5's challenge (RFC 2195, 2).
func cram(name, pass string) func(challenge string) string {
	return func(challenge string) string {
		text, err := base64.StdEncoding.DecodeString(challenge)
		if err != nil {
			return "*"
		}
		digest := hmac.New(md5.New, []byte(pass))
		digest.Write(text)
		return encode(fmt.Sprintf("%s %x", name, digest.Sum(nil)))
	}
}

// apop is the digest of APOP (RFC 1939, 7) for a greeting's time stamp; one of nothing
// when it has none.
func apop(greeting, pass string) string {
	stamp := ""
	if from, to := strings.IndexByte(greeting, '<'), strings.LastIndexByte(greeting, '>'); from >= 0 && from < to {
		stamp = greeting[from : to+1]
	}
	return fmt.Sprintf("%x", md5.Sum([]byte(stamp+pass)))
}

// gs2 is the beginning of SCRAM's first message.
func gs2(m method) string {
	if m.class == bound {
		return "p=" + m.form + ",,"
	}
	return "n,,"
}

// step answers a challenge of SCRAM, in base64. A server that cannot prove itself gets
// an answer that is refused.
func step(talk *scram.ClientConversation, challenge string) string {
	text, err := base64.StdEncoding.DecodeString(challenge)
	if err != nil {
		return "*"
	}
	response, err := talk.Step(string(text))
	if err != nil || talk.Done() && !talk.Valid() {
		return "*"
	}
	return encode(response)
}

// scram begins a conversation that is bound to conn where the method says so.
func (s *speaker) scram(m method, conn *client, name, pass, authzid string) (*scram.ClientConversation, error) {
	client, err := s.client(m.hash, name, pass, authzid)
	if err != nil || m.class != bound {
		return client.NewConversation(), err
	}
	binding, err := bindingOf(conn, m.form)
	return client.NewConversationWithChannelBinding(binding), err
}

// bindingOf is a channel's own binding; one that is made up without TLS.
func bindingOf(conn *client, kind string) (scram.ChannelBinding, error) {
	switch {
	case conn.tls == nil:
		return scram.ChannelBinding{Type: scram.ChannelBindingType(kind), Data: make([]byte, 32)}, nil
	case kind == "tls-unique":
		return scram.NewTLSUniqueBinding(conn.tls.TLSUnique), nil
	case kind == "tls-exporter":
		return scram.NewTLSExporterBinding(conn.tls)
	}
	return scram.NewTLSServerEndpointBinding(conn.tls)
}

func (s *speaker) client(hash, name, pass, authzid string) (*scram.Client, error) {
	key := strings.Join([]string{hash, name, pass, authzid}, "\x00")
	if c := s.clients[key]; c != nil {
		return c, nil
	}
	make := map[string]scram.HashGeneratorFcn{"SHA-1": scram.SHA1, "SHA-256": scram.SHA256, "SHA-512": scram.SHA512}[hash]
	c, err := make.NewClient(name, pass, authzid)
	if err == nil {
		s.clients[key] = c
	}
	return c, err
}
