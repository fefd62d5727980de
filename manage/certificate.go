package manage

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// Issuer gets certificates from an ACME server (RFC 8555).
type Issuer interface {
	// Ready gives nil when a certificate for names can be asked for, else what is
	// missing: KindCannot, KindBadArgument.
	Ready(names []string) error
	// Obtain gets a certificate, keeps it, and renews it from now on. It takes
	// seconds to minutes. An error has changed nothing.
	Obtain(ctx context.Context, names []string, kind certificate.KeyKind, bits int, d certificate.Details) (*certificate.Certificate, error)
}

// pairs gives the store of certificates.
func (c *Call) pairs() (*certificate.Store, error) {
	if c.Pairs == nil {
		return nil, mail.Errorf(mail.KindCannot, "this server keeps no certificates")
	}
	return c.Pairs, nil
}

// certificateOf finds what -Thumbprint means.
func (c *Call) certificateOf() (*certificate.Store, *certificate.Certificate, error) {
	store, err := c.pairs()
	if err != nil {
		return nil, nil, err
	}
	found, err := store.Find(c.Text("Thumbprint"))
	if err != nil {
		return nil, nil, about("Thumbprint", hinted(err, "Get-ServerCertificate lists the certificates."))
	}
	return store, found, nil
}

// getServerCertificate shows one object a certificate, requests last.
func getServerCertificate(_ context.Context, c *Call) (func(context.Context) error, error) {
	store, err := c.pairs()
	if err != nil {
		return nil, err
	}
	list := store.List()
	if c.Given("Thumbprint") {
		_, one, err := c.certificateOf()
		if err != nil {
			return nil, err
		}
		list = []*certificate.Certificate{one}
	}
	for _, cert := range list {
		if name := c.Text("DomainName"); name != "" && !cert.Covers(name) {
			continue
		}
		c.Add(c.certificateObject(store, cert))
		if cert.Fault != "" {
			c.Warn(cert.Fault + " What was read before is shown meanwhile.")
		}
	}
	for _, text := range store.Warnings() {
		c.Warn(text)
	}
	return nil, nil
}

func (c *Call) certificateObject(store *certificate.Store, cert *certificate.Certificate) Object {
	o := Object{
		{"Thumbprint", cert.Thumbprint()},
		{"FriendlyName", cert.FriendlyName},
		{"Subject", cert.Subject()},
		{"DomainNames", append([]string{}, cert.DomainNames()...)},
		{"Status", string(cert.Status(c.Now()))},
		{"Services", c.servicesOf(store, cert)},
	}
	if leaf := cert.Leaf(); leaf != nil {
		o = append(o, Property{"Issuer", leaf.Issuer.String()}, Property{"SerialNumber", fmt.Sprintf("%X", leaf.SerialNumber)},
			Property{"NotBefore", moment(leaf.NotBefore)}, Property{"NotAfter", moment(leaf.NotAfter)})
	} else {
		o = append(o, Property{"Issuer", nil}, Property{"SerialNumber", nil}, Property{"NotBefore", nil}, Property{"NotAfter", nil})
	}
	o = append(o,
		Property{"KeyAlgorithm", cert.KeyAlgorithm()},
		Property{"IsSelfSigned", cert.IsSelfSigned()},
		Property{"RootCAType", cert.RootCAType()},
		Property{"HasPrivateKey", cert.HasPrivateKey()},
		Property{"PrivateKeyExportable", cert.Exportable},
		Property{"Source", string(cert.Source)},
		Property{"ThumbprintSHA256", cert.SHA256()},
	)
	if r := cert.Renewal; r != nil {
		o = append(o, Property{"AcmeDirectory", r.Directory}, Property{"NextRenewal", moment(r.Next)},
			Property{"RenewalFailures", int64(r.Failures)}, Property{"LastError", r.LastError})
	}
	if cert.Request != nil {
		if text, err := store.PEM(cert, false); err == nil {
			o = append(o, Property{"Request", string(text)})
		}
	}
	return o
}

// servicesOf lists the services that show a certificate to a client which names no
// host itself.
func (c *Call) servicesOf(store *certificate.Store, cert *certificate.Certificate) []string {
	list := []string{}
	for _, s := range settings.Services {
		shown := store.ShownFor(settings.X509CertificateName.Of(c.Settings.Current(s)))
		if shown != nil && shown.Name == cert.Name {
			list = append(list, string(s))
		}
	}
	return list
}

// newServerCertificate makes a self-signed certificate or a request, or gets one from
// an ACME server.
func newServerCertificate(_ context.Context, c *Call) (func(context.Context) error, error) {
	store, err := c.pairs()
	if err != nil {
		return nil, err
	}
	given := c.List("DomainName").Set
	if len(given) == 0 {
		given = []string{c.Settings.Server()}
	}
	names, err := certificate.CleanNames(given)
	if err != nil {
		return nil, about("DomainName", err)
	}
	kind := certificate.KeyKind(strings.ToUpper(c.Text("KeyAlgorithm")))
	if kind == "" {
		kind = certificate.ECDSA
		if c.Given("KeySize") {
			kind = certificate.RSA
		}
	}
	bits := int(min(c.Number("KeySize"), 1<<20))
	if err := certificate.CheckKey(kind, bits); err != nil {
		return nil, about("KeySize", err)
	}
	services, err := c.serviceList()
	if err != nil {
		return nil, err
	}
	d := certificate.Details{FriendlyName: c.Text("FriendlyName"), Exportable: c.Bool("PrivateKeyExportable"), Source: certificate.FromHere}
	what := "self-signed certificate"
	acme, request := c.Bool("Acme"), c.Bool("GenerateRequest")
	switch {
	case acme && request:
		return nil, wrong("Acme", "Acme and GenerateRequest exclude each other")
	case request && len(services) > 0:
		return nil, wrong("Services", "a request has no certificate yet; Enable-ServerCertificate gives its answer to services")
	case request:
		what, d.Source = "request", certificate.FromImport
	case acme:
		what, d.Source = "certificate from an ACME server", certificate.FromACME
		if c.Issuer == nil {
			return nil, wrong("Acme", "this server cannot use ACME")
		}
		if err := c.Issuer.Ready(names); err != nil {
			return nil, about("Acme", err)
		}
	}
	c.Change(strings.Join(names, ", "), "ServerCertificate", nil, what)
	return func(ctx context.Context) error {
		made, err := c.make(ctx, store, names, kind, bits, d)
		if err != nil {
			return err
		}
		c.Change(made.Thumbprint(), "ServerCertificate", nil, what)
		if len(services) > 0 {
			if made, err = c.enable(ctx, store, made, services); err != nil {
				return wrapf(err, "the certificate %s was made, but not given to services", made.Thumbprint())
			}
		}
		c.Add(c.certificateObject(store, made))
		if request {
			text, err := store.PEM(made, false)
			if err != nil {
				return err
			}
			c.Give(File{Name: made.Name + ".csr", Content: text})
			c.Note("Send the request to a certificate authority, and bring its answer with Import-ServerCertificate. The key waits here.")
		}
		return nil
	}, nil
}

// wrapf puts a sentence before an error, whose kind and hint stay.
func wrapf(err error, format string, args ...any) error {
	text := fmt.Sprintf(format, args...) + ": " + mail.TextOf(err)
	return &parameterError{parameter: FaultOf(err).Parameter, hint: FaultOf(err).Hint, err: mail.Errorf(mail.KindOf(err), "%s", text)}
}

// make makes what New-ServerCertificate asks for.
func (c *Call) make(ctx context.Context, store *certificate.Store, names []string, kind certificate.KeyKind, bits int, d certificate.Details) (*certificate.Certificate, error) {
	if d.Source == certificate.FromACME {
		return c.Issuer.Obtain(ctx, names, kind, bits, d)
	}
	key, err := certificate.NewKey(kind, bits)
	if err != nil {
		return nil, err
	}
	if d.Source == certificate.FromImport {
		request, err := certificate.NewRequest(key, names)
		if err != nil {
			return nil, err
		}
		return store.AddRequest(request, key, d)
	}
	made, err := certificate.NewSelfSigned(key, names, c.Now())
	if err != nil {
		return nil, err
	}
	return store.Add([]*x509.Certificate{made}, key, d)
}

// importServerCertificate keeps a certificate that an administrator brings, or the
// answer to a request.
func importServerCertificate(_ context.Context, c *Call) (func(context.Context) error, error) {
	store, err := c.pairs()
	if err != nil {
		return nil, err
	}
	services, err := c.serviceList()
	if err != nil {
		return nil, err
	}
	bundle, err := certificate.Read(c.File("Path"), c.File("KeyPath"), string(c.Secret("Password")))
	if err != nil {
		return nil, about("Path", err)
	}
	if err := certificate.Check(bundle.Chain, c.Now(), c.Bool("Force")); err != nil {
		return nil, about("Path", err)
	}
	brought := &certificate.Certificate{Chain: bundle.Chain}
	if _, err := store.Find(brought.SHA256()); err == nil {
		return nil, about("Path", mail.Errorf(mail.KindAlreadyExists, "the certificate %s is here already", brought.Thumbprint()))
	}
	var request *certificate.Certificate
	if bundle.Key == nil {
		if request = store.Pending(bundle.Chain); request == nil {
			return nil, about("Path", hinted(mail.Errorf(mail.KindBadArgument, "there is no private key in it, and it answers no request of this server"),
				"Bring the key too, in the same file or with -KeyPath."))
		}
		c.Note("It answers the request " + request.Thumbprint() + ".")
	}
	names := strings.Join(brought.DomainNames(), ", ")
	if !brought.IsSelfSigned() && len(bundle.Chain) == 1 && brought.RootCAType() != "ThirdParty" {
		c.Warn("The file has no certificates that lead from " + names + " to its root: some clients may not trust it.")
	}
	if status := brought.Status(c.Now()); status == certificate.Expired || status == certificate.NotYetValid {
		c.Warn(brought.Warning(c.Now()))
	}
	c.Change(names, "ServerCertificate", nil, brought.Thumbprint())
	return func(ctx context.Context) error {
		var kept *certificate.Certificate
		var err error
		if request != nil {
			kept, err = store.Answer(request, bundle.Chain)
		} else {
			kept, err = store.Add(bundle.Chain, bundle.Key, certificate.Details{
				FriendlyName: c.Text("FriendlyName"), Exportable: c.Bool("PrivateKeyExportable"), Source: certificate.FromImport,
			})
		}
		if err != nil {
			return err
		}
		if len(services) > 0 {
			enabled, err := c.enable(ctx, store, kept, services)
			if err != nil {
				return wrapf(err, "the certificate %s is kept, but not given to services", kept.Thumbprint())
			}
			kept = enabled
		}
		c.Add(c.certificateObject(store, kept))
		return nil
	}, nil
}

// exportServerCertificate gives a certificate as a file, with its key when that is
// asked for and allowed.
func exportServerCertificate(_ context.Context, c *Call) (func(context.Context) error, error) {
	store, cert, err := c.certificateOf()
	if err != nil {
		return nil, err
	}
	format := strings.ToUpper(c.Text("Format"))
	if format == "" {
		format = "PEM"
	}
	withKey := c.Bool("IncludePrivateKey")
	password := string(c.Secret("Password"))
	switch {
	case format != "PEM" && format != "PKCS12":
		return nil, wrong("Format", "Format is PEM or PKCS12")
	case format == "PKCS12" && !withKey:
		return nil, wrong("IncludePrivateKey", "a PKCS#12 file holds the private key: say -IncludePrivateKey")
	case format == "PKCS12" && password == "":
		return nil, wrong("Password", "a PKCS#12 file needs a password")
	case format == "PEM" && password != "":
		return nil, wrong("Password", "a PEM file has no password; -Format PKCS12 has one")
	case withKey && cert.Request != nil:
		return nil, wrong("IncludePrivateKey", "the key of a request stays here")
	case withKey && !cert.Exportable:
		return nil, about("IncludePrivateKey", hinted(mail.Errorf(mail.KindNoPermission, "the private key of %s is not exportable", cert.Thumbprint()),
			"Only a certificate that was made or imported with -PrivateKeyExportable $true gives its key away."))
	}
	part := "Certificate"
	if withKey {
		part = "PrivateKey"
	}
	c.Change(cert.Thumbprint(), part, nil, "exported as "+format)
	return func(context.Context) error {
		file := File{Name: cert.Name + ".pem"}
		var err error
		if format == "PKCS12" {
			file.Name = cert.Name + ".p12"
			file.Content, err = store.PKCS12(cert, password)
		} else {
			file.Content, err = store.PEM(cert, withKey)
		}
		if err != nil {
			return err
		}
		c.Give(file)
		c.Add(Object{{"Thumbprint", cert.Thumbprint()}, {"DomainNames", cert.DomainNames()}, {"Format", format}, {"PrivateKey", withKey}, {"FileName", file.Name}})
		return nil
	}, nil
}

// enableServerCertificate gives a certificate to services.
func enableServerCertificate(_ context.Context, c *Call) (func(context.Context) error, error) {
	store, cert, err := c.certificateOf()
	if err != nil {
		return nil, err
	}
	services, err := c.serviceList()
	if err != nil {
		return nil, err
	}
	edits, err := c.assignment(cert, services)
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		old := ""
		if shown := store.ShownFor(settings.X509CertificateName.Of(c.Settings.Current(s))); shown != nil {
			old = shown.Thumbprint()
		}
		c.Change(string(s), "Certificate", old, cert.Thumbprint())
	}
	for _, e := range edits {
		c.Change(string(e.Service), "X509CertificateName", settings.X509CertificateName.Of(c.Settings.Current(e.Service)), nameIn(e))
	}
	if warning := cert.Warning(c.Now()); warning != "" {
		c.Warn(warning)
	}
	return func(ctx context.Context) error {
		enabled, err := c.enable(ctx, store, cert, services)
		if err != nil {
			return err
		}
		c.Add(c.certificateObject(store, enabled))
		return nil
	}, nil
}

// serviceList reads -Services.
func (c *Call) serviceList() ([]settings.Service, error) {
	var list []settings.Service
	for _, name := range c.List("Services").Set {
		s, err := settings.ParseService(name)
		if err != nil {
			return nil, about("Services", err)
		}
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if c.Given("Services") && len(list) == 0 {
		return nil, wrong("Services", "Services names at least one of POP, IMAP, LMTP and Console")
	}
	return list, nil
}

// assignment says which services need another X509CertificateName for a certificate:
// those whose name it does not cover get the server's name, or its first.
func (c *Call) assignment(cert *certificate.Certificate, services []settings.Service) ([]settings.ServiceEdits, error) {
	switch cert.Status(c.Now()) {
	case certificate.PendingRequest:
		return nil, about("Thumbprint", hinted(mail.Errorf(mail.KindCannot, "it is a request that has no certificate yet"), "Import-ServerCertificate brings the answer."))
	case certificate.Expired, certificate.NotYetValid:
		return nil, about("Thumbprint", mail.Errorf(mail.KindCannot, "%s", strings.TrimSuffix(cert.Warning(c.Now()), ".")))
	}
	var edits []settings.ServiceEdits
	for _, s := range services {
		if cert.Covers(settings.X509CertificateName.Of(c.Settings.Current(s))) {
			continue
		}
		name := ""
		if server := strings.ToLower(c.Settings.Server()); cert.Covers(server) {
			name = server
		}
		for _, n := range cert.Leaf().DNSNames {
			if name == "" && !strings.HasPrefix(n, "*.") {
				name = strings.ToLower(n)
			}
		}
		if name == "" {
			return nil, about("Thumbprint", hinted(mail.Errorf(mail.KindCannot, "the certificate is for %s, and none of these is a name for %s", strings.Join(cert.DomainNames(), ", "), s),
				"Set-"+s.Prefix()+"Settings -X509CertificateName sets a name that it covers."))
		}
		value, err := json.Marshal(name)
		if err != nil {
			return nil, mail.Wrap(mail.KindServerBug, err)
		}
		edits = append(edits, settings.ServiceEdits{Service: s, Edits: []settings.Edit{{Name: settings.X509CertificateName.Name, Value: value}}})
	}
	return edits, nil
}

func nameIn(e settings.ServiceEdits) string {
	var name string
	json.Unmarshal(e.Edits[0].Value, &name) // assignment wrote it
	return name
}

// enable makes a certificate the first choice for its names and gives services a name
// that it covers: all of it or nothing. It gives the certificate as it is then, also
// with an error.
func (c *Call) enable(ctx context.Context, store *certificate.Store, cert *certificate.Certificate, services []settings.Service) (*certificate.Certificate, error) {
	edits, err := c.assignment(cert, services)
	if err != nil {
		return cert, err
	}
	preferred, err := store.Change(cert, func(d *certificate.Details) { d.Preferred = c.Now().UTC().Round(0) })
	if err != nil || len(edits) == 0 {
		if preferred == nil {
			preferred = cert
		}
		return preferred, err
	}
	if _, err := c.Settings.ChangeAll(ctx, edits, c.acceptable); err != nil {
		if _, undo := store.Change(preferred, func(d *certificate.Details) { d.Preferred = cert.Preferred }); undo != nil {
			c.Log.ErrorContext(ctx, "a certificate stays the first choice for its names though its services could not be changed",
				"thumbprint", cert.Thumbprint(), "error", undo)
		}
		return cert, err
	}
	return preferred, nil
}

// removeServerCertificate deletes a certificate with its key, unless a service would
// be left without one.
func removeServerCertificate(_ context.Context, c *Call) (func(context.Context) error, error) {
	store, cert, err := c.certificateOf()
	if err != nil {
		return nil, err
	}
	if err := c.removable(store, cert); err != nil {
		return nil, about("Thumbprint", err)
	}
	c.Change(cert.Thumbprint(), "ServerCertificate", strings.Join(cert.DomainNames(), ", "), nil)
	return func(context.Context) error {
		// Another may have gone meanwhile.
		if err := c.removable(store, cert); err != nil {
			return about("Thumbprint", err)
		}
		return store.Remove(cert)
	}, nil
}

func (c *Call) removable(store *certificate.Store, cert *certificate.Certificate) error {
	if cert.Request != nil {
		return nil
	}
	rest, err := store.Without(cert)
	if err != nil {
		return err
	}
	var needing []string
	for _, s := range settings.Services {
		v := c.Settings.Current(s)
		name := settings.X509CertificateName.Of(v)
		if store.Shown().Usable(name) != nil || rest.Usable(name) == nil {
			continue
		}
		text := fmt.Sprintf("%s (%s)", s, name)
		if settings.LoginType.Row.Has(s) && settings.LoginType.Of(v) == mail.SecureLogin {
			text = fmt.Sprintf("%s (%s, SecureLogin: nobody could log in)", s, name)
		}
		needing = append(needing, text)
	}
	if len(needing) > 0 {
		return hinted(mail.Errorf(mail.KindCannot, "it is the only usable certificate of %s", strings.Join(needing, ", ")),
			"Enable-ServerCertificate gives these services another one first.")
	}
	return nil
}
