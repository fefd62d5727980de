package policy

import (
	"context"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/messages"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/krb5/krb5test"
	"github.com/postern-mail/postern/mail"
)

// tickets stands for a directory that accepts Kerberos tickets: one realm a worker, so
// that what is asked can be told apart before a ticket is open.
type tickets struct {
	realms    []*krb5test.Realm
	acceptors map[string]*krb5.Acceptor // by realm
}

func realmOf(worker int) string { return fmt.Sprintf("W%d.EXAMPLE", worker) }

// newTickets makes the realms. Their tickets are accepted from now on.
func newTickets(t testing.TB, a *asked, workers int) *tickets {
	t.Helper()
	made := &tickets{acceptors: map[string]*krb5.Acceptor{}}
	began := time.Now().Add(-time.Hour)
	for w := range workers {
		realm := krb5test.NewRealm(t, realmOf(w), "imap/localhost", "pop/localhost", "other/localhost")
		keys, err := krb5.ReadKeytab(realm.Keytab(), false)
		if err != nil {
			t.Fatal(err)
		}
		made.realms = append(made.realms, realm)
		made.acceptors[realm.Name] = &krb5.Acceptor{Keys: keys, Skew: 5 * time.Minute, Now: time.Now,
			Replays: krb5.NewReplays(5*time.Minute, func() time.Time { return began })}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tickets = made
	return made
}

// HasTickets is part of directory.Chained.
func (a *asked) HasTickets(string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tickets != nil
}

// CheckTicket is part of directory.Chained. The principal anna.w0@W0.EXAMPLE is
// anna.w0@example.org.
func (a *asked) CheckTicket(ctx context.Context, service string, token []byte) (*directory.Entry, *krb5.Context, error) {
	var request messages.APReq
	realm := ""
	if text, ok := strings.CutPrefix(string(token), "\x01\x00"); ok && request.Unmarshal([]byte(text)) == nil {
		realm = request.Ticket.Realm
	}
	name, _, _ := strings.Cut(strings.ToLower(realm), ".")
	a.count("."+name+"@example.org", "CheckTicket")
	acceptor := a.tickets.acceptors[realm]
	if acceptor == nil {
		return nil, nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	shared, err := acceptor.Accept(service, token)
	if err != nil {
		return nil, nil, err
	}
	e, err := a.Directory.Lookup(ctx, shared.Client.Components[0]+"@example.org")
	return e, shared, err
}

// byTicket are the mechanisms that show tickets.
var byTicket = []method{
	{mechanism: "GSSAPI", class: challenge, ticket: true}, {mechanism: "GSS-SPNEGO", class: challenge, ticket: true},
	{mechanism: "GS2-KRB5", class: challenge, ticket: true}, {mechanism: "GS2-KRB5-PLUS", form: "tls-exporter", class: bound, ticket: true},
}

// showTicket begins a dialogue with a ticket: its first message, decoded, and what
// follows. change may be nil.
func (s *speaker) showTicket(t testing.TB, c cell, conn *client, name, authzid string, change func(*krb5test.Want, *krb5test.Client)) (first string, replies []func(string) string) {
	want := krb5test.Want{Service: map[string]string{"POP3": "pop", "IMAP4": "imap"}[c.protocol] + "/localhost"}
	if change != nil {
		change(&want, nil)
	}
	name, _, _ = strings.Cut(name, "@")
	ticket := s.tickets.realms[s.worker].Client(name, want)
	header := "n,"
	switch c.method.class {
	case bound:
		header = "p=" + c.method.form + ","
	case stripped:
		header = "y,"
	}
	if authzid != "" {
		header += "a=" + authzid
	}
	header += ","
	if strings.HasPrefix(c.method.mechanism, "GS2") {
		data := []byte(header)
		if c.method.class == bound {
			binding, err := bindingOf(conn, c.method.form)
			if err != nil {
				t.Fatal(err)
			}
			data = append(data, binding.Data...)
		}
		ticket.Binding = krb5.Bind(data)
	}
	if change != nil {
		change(&want, ticket)
	}
	token := ticket.Request()
	framed := krb5test.Framed(krb5test.Mechanism, token)
	proof := func(find func([]byte) []byte) func(string) string {
		return func(challenge string) string {
			text, err := base64.StdEncoding.DecodeString(challenge)
			if err == nil {
				err = ticket.Reply(find(text))
			}
			if err != nil {
				return "*"
			}
			return ""
		}
	}
	whole := func(text []byte) []byte { return text }
	switch c.method.mechanism {
	case "GSSAPI":
		return string(framed), []func(string) string{proof(whole), func(challenge string) string {
			text, err := base64.StdEncoding.DecodeString(challenge)
			if err != nil {
				return "*"
			}
			if layers, err := ticket.Unwrap(text); err != nil || !slices.Equal(layers, []byte{1, 0, 0, 0}) {
				return "*"
			}
			return encode(string(ticket.Wrap(append([]byte{1, 0, 0, 0}, authzid...))))
		}}
	case "GSS-SPNEGO":
		return string(negotiation(framed)), []func(string) string{proof(negotiated)}
	}
	return header + string(token), []func(string) string{proof(whole)}
}

// negotiation is a NegTokenInit that offers Kerberos and has its token (RFC 4178,
// 4.2.1).
func negotiation(token []byte) []byte {
	der, err := asn1.MarshalWithParams(struct {
		Mechanisms []asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
		Token      []byte                  `asn1:"explicit,tag:2"`
	}{[]asn1.ObjectIdentifier{krb5test.Mechanism}, token}, "explicit,tag:0")
	if err != nil {
		panic(err)
	}
	return krb5test.Framed(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 2}, der)
}

// negotiated gives the token of a NegTokenResp that has completed (RFC 4178, 4.2.2);
// nil of anything else.
func negotiated(der []byte) []byte {
	var response struct {
		State     asn1.Enumerated       `asn1:"explicit,tag:0"`
		Mechanism asn1.ObjectIdentifier `asn1:"explicit,optional,tag:1"`
		Token     []byte                `asn1:"explicit,optional,tag:2"`
	}
	rest, err := asn1.UnmarshalWithParams(der, &response, "explicit,tag:1")
	if err != nil || len(rest) > 0 || response.State != 0 || !response.Mechanism.Equal(krb5test.Mechanism) {
		return nil
	}
	return response.Token
}
