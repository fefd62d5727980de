package manage

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/netip"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// clientAddress reads -From, the zero Addr when it was not given.
func (c *Call) clientAddress() (netip.Addr, error) {
	if !c.Given("From") {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(c.Text("From"))
	if err != nil || a.Zone() != "" {
		return a, wrong("From", "From is a client's address such as 10.0.0.1, not %q", c.Text("From"))
	}
	return a.Unmap(), nil
}

// testLogin shows one object a rule, in the order in which the rules are asked.
func testLogin(ctx context.Context, c *Call) (func(context.Context) error, error) {
	name, err := directory.PrepareName(c.Text("Identity"))
	if err != nil {
		return nil, about("Identity", err)
	}
	s, err := settings.ParseService(c.Text("Protocol"))
	if err != nil || s != settings.POP3 && s != settings.IMAP4 {
		return nil, wrong("Protocol", "Protocol is POP3 or IMAP4, not %q", c.Text("Protocol"))
	}
	connection := Plaintext
	if c.Given("ConnectionType") {
		if connection, err = c.connection(); err != nil {
			return nil, err
		}
	}
	from, err := c.clientAddress()
	if err != nil {
		return nil, err
	}
	l := Login{Identity: name, Service: s, Connection: connection, From: from}
	if c.Given("ActFor") {
		if l.For, err = directory.PrepareName(c.Text("ActFor")); err != nil {
			return nil, about("ActFor", err)
		}
	}
	if c.Given("Certificate") {
		if l.Certificates, err = readCertificates(c.File("Certificate")); err != nil {
			return nil, about("Certificate", err)
		}
		l.Mechanism = "EXTERNAL"
	}
	if c.Given("Mechanism") {
		if l.Mechanism, err = knownMechanism(c.Text("Mechanism")); err != nil {
			return nil, wrong("Mechanism", "Mechanism %s", mail.TextOf(err))
		}
	}
	steps, err := c.Explain(ctx, l)
	if err != nil {
		return nil, err
	}
	for _, step := range steps {
		c.Add(Object{{"Step", step.Step}, {"Result", step.Result}, {"Detail", step.Detail}})
	}
	return nil, nil
}

// maxShown bounds the certificates that a client shows.
const maxShown = 16

// readCertificates reads a client's certificate and those that lead to its authority:
// PEM, the client's first, or one in DER.
func readCertificates(content []byte) ([]*x509.Certificate, error) {
	ders := [][]byte{content}
	if block, rest := pem.Decode(content); block != nil {
		ders = nil
		for ; block != nil && len(ders) <= maxShown; block, rest = pem.Decode(rest) {
			if block.Type == "CERTIFICATE" {
				ders = append(ders, block.Bytes)
			}
		}
	}
	if len(ders) > maxShown {
		return nil, mail.Errorf(mail.KindLimit, "the file has more than %d certificates", maxShown)
	}
	var list []*x509.Certificate
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, mail.Errorf(mail.KindBadArgument, "the file has no certificate in PEM or DER")
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, mail.Errorf(mail.KindBadArgument, "the file has no certificate in PEM or DER")
	}
	return list, nil
}
