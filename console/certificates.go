package console

import (
	"net/url"
	"strings"
	"time"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
)

const certificatesPath = "/certificates"

// certificatesData is what the pages of certificates show.
type certificatesData struct {
	Tabs     []Tab
	Tab      string
	Rows     []*serverCertificate
	Warnings []string
	Forms    []*Form
	New      string // where certificates are made

	Certificate                     *serverCertificate // on its own page
	Enable, Export, Answer, Removal *Form
	WithKey                         *Form
}

// serverCertificate is a certificate, or a request for one.
type serverCertificate struct {
	Thumbprint, SHA256, Path, Name string
	FriendlyName, Subject, Issuer  string
	Serial, Key, Source            string
	Names, Services                []string
	Status                         certificate.Status
	Badge                          string
	Begins, Until                  time.Time
	Left                           int // whole days
	Exportable                     bool
	Request                        string // its text, "" for none
	Directory, LastError           string // of ACME
	NextRenewal                    time.Time
	Failures                       int64
}

// statuses say in words how a certificate is, and how good that is.
var statuses = map[certificate.Status]struct{ Text, badge string }{
	certificate.Valid:          {Text: "valid", badge: "good"},
	certificate.Untrusted:      {Text: "self-signed", badge: "warn"},
	certificate.Expiring:       {Text: "ends soon", badge: "warn"},
	certificate.Expired:        {Text: "expired", badge: "bad"},
	certificate.NotYetValid:    {Text: "not yet valid", badge: "bad"},
	certificate.PendingRequest: {Text: "waits for its answer", badge: "busy"},
}

// StatusText is an English text.
func (c *serverCertificate) StatusText() string { return statuses[c.Status].Text }

// Ends tells whether the days that are left are worth saying.
func (c *serverCertificate) Ends() bool { return !c.Until.IsZero() && c.Left >= 0 }

func certificatePath(thumbprint string) string {
	return certificatesPath + "/certificate?" + url.Values{"thumbprint": {thumbprint}}.Encode()
}

func (v *Visit) serverCertificate(o manage.Object) *serverCertificate {
	c := &serverCertificate{
		Thumbprint: textOf(o, "Thumbprint"), SHA256: textOf(o, "ThumbprintSHA256"), FriendlyName: textOf(o, "FriendlyName"), Subject: textOf(o, "Subject"),
		Issuer: textOf(o, "Issuer"), Serial: textOf(o, "SerialNumber"), Key: textOf(o, "KeyAlgorithm"), Source: textOf(o, "Source"),
		Names: listOf(o, "DomainNames"), Services: listOf(o, "Services"), Status: certificate.Status(textOf(o, "Status")),
		Begins: timeOf(o, "NotBefore"), Until: timeOf(o, "NotAfter"), Exportable: boolOf(o, "PrivateKeyExportable"), Request: textOf(o, "Request"),
		Directory: textOf(o, "AcmeDirectory"), LastError: textOf(o, "LastError"), NextRenewal: timeOf(o, "NextRenewal"), Failures: intOf(o, "RenewalFailures"),
	}
	c.Path, c.Badge = certificatePath(c.Thumbprint), statuses[c.Status].badge
	c.Left = int(c.Until.Sub(v.Now()) / (24 * time.Hour))
	c.Name = strings.Join(c.Names, ", ")
	if c.FriendlyName != "" {
		c.Name = c.FriendlyName
	}
	return c
}

// certificates shows the list, the forms for new ones, or one certificate.
func certificates(v *Visit) (err error) {
	data := &certificatesData{New: certificatesPath + "/new"}
	v.Data = data
	if v.Rest == "certificate" {
		return v.certificatePage(data)
	}
	if data.Tabs, data.Tab, err = v.tabs("", "Certificates", "New", "Import", "ACME"); err != nil {
		return err
	}
	switch data.Tab {
	case "Certificates":
		result, err := v.Run("Get-ServerCertificate")
		if err != nil {
			return err
		}
		data.Warnings = result.Warnings
		for _, o := range result.Objects {
			data.Rows = append(data.Rows, v.serverCertificate(o))
		}
	case "New":
		data.Forms = v.newCertificateForms()
	case "Import":
		data.Forms = []*Form{v.importForm("import")}
	case "ACME":
		return v.acme(data)
	}
	return nil
}

func made(r *manage.Result) string {
	if len(r.Objects) == 0 {
		return certificatesPath
	}
	return certificatePath(textOf(r.Objects[0], "Thumbprint"))
}

func (v *Visit) namesField() *Field {
	return &Field{Name: "DomainName", Label: v.T("Host names"), Help: v.T("What mail programs connect to. *.example.org stands for all hosts of a domain."), Default: v.ServerName(), Kind: List}
}

func (v *Visit) servicesField() *Field {
	f := &Field{Name: "Services", Label: v.T("Services"), Help: v.T("Those that shall show it. The others keep what they have."), Kind: Set}
	for _, s := range settings.Services {
		f.Choices = append(f.Choices, settings.Choice{Name: s.Prefix(), Label: string(s)})
	}
	return f
}

func (v *Visit) friendlyField() *Field {
	return &Field{Name: "FriendlyName", Label: v.T("Name for people"), Help: v.T("How it is called in lists; not part of the certificate."), Kind: Text}
}

func (v *Visit) keyField() *Field {
	return &Field{Name: "KeyAlgorithm", Label: v.T("Key"), Help: v.T("ECDSA is fast and known to every program of today."), Kind: Choice,
		Choices: []settings.Choice{{Name: "ECDSA", Help: "Elliptic curve P-256."}, {Name: "RSA", Help: "2048 bits, for old programs."}}, typed: []string{"ECDSA"}}
}

func (v *Visit) exportableField() *Field {
	return &Field{Name: "PrivateKeyExportable", Label: v.T("Key may leave"), Help: v.T("Whether the private key can be exported, to take the certificate to another server."), Kind: Bool}
}

func (v *Visit) newCertificateForms() []*Form {
	return []*Form{
		v.Add(&Form{ID: "request", Title: "A request for an authority", Done: "Request made", Submit: "Make the request", Cmdlet: "New-ServerCertificate", Direct: true, Then: made,
			Help:   "The key is made here and waits. The request goes to a certificate authority; its answer is imported.",
			Fixed:  []shell.Argument{{Name: "GenerateRequest", Value: true}},
			Fields: []*Field{v.namesField(), v.friendlyField(), v.keyField(), v.exportableField()}}),
		v.Add(&Form{ID: "self-signed", Title: "A self-signed certificate", Done: "Certificate made", Submit: "Make the certificate", Cmdlet: "New-ServerCertificate", Direct: true, Then: made,
			Help:   "It vouches for itself: mail programs ask before they trust it. For tests, and until a real one is there.",
			Fields: []*Field{v.namesField(), v.servicesField(), v.friendlyField(), v.keyField(), v.exportableField()}}),
	}
}

// importForm brings a certificate, or the answer to a request.
func (v *Visit) importForm(id string) *Form {
	return v.Add(&Form{ID: id, Title: "Import a certificate", Done: "Certificate imported", Submit: "Import", Cmdlet: "Import-ServerCertificate", Then: made,
		Help: "PEM, PKCS#7 and PKCS#12 are read. Without a key it must be the answer to a request of this server.",
		Fields: []*Field{
			{Name: "Path", Label: v.T("Certificate"), Help: v.T("With those that lead to its root and, unless it answers a request, its key."), Kind: Upload, Required: true},
			{Name: "KeyPath", Label: v.T("Key, if it stands apart"), Kind: Upload},
			{Name: "Password", Label: v.T("Password of a PKCS#12 file"), Kind: Secret},
			v.servicesField(), v.friendlyField(), v.exportableField(),
		}})
}

// acme shows the settings of ACME and the form that gets a certificate.
func (v *Visit) acme(data *certificatesData) error {
	of := &settingsData{Tab: settings.ACME}
	if _, err := v.settingsForm(of, settings.Console, "AcmeSettings", "Get-AcmeSettings", nil); err != nil {
		return err
	}
	data.Forms, data.Warnings = of.Forms, of.Warnings
	data.Forms = append([]*Form{v.Add(&Form{ID: "acme", Title: "Get a certificate", Done: "Certificate made", Submit: "Get the certificate", Cmdlet: "New-ServerCertificate", Direct: true, Slow: true, Then: made,
		Help:   "The ACME server checks that the names lead to this server, which takes up to a minute. The certificate is renewed by itself.",
		Fixed:  []shell.Argument{{Name: "Acme", Value: true}},
		Fields: []*Field{v.namesField(), v.servicesField(), v.keyField()}})}, data.Forms...)
	return nil
}

func (v *Visit) certificatePage(data *certificatesData) error {
	thumbprint := []shell.Argument{{Name: "Thumbprint", Value: v.Request.URL.Query().Get("thumbprint")}}
	result, err := v.Run("Get-ServerCertificate", thumbprint...)
	if err != nil {
		return err
	}
	if len(result.Objects) != 1 {
		return noPage()
	}
	c := v.serverCertificate(result.Objects[0])
	thumbprint[0].Value = c.Thumbprint
	v.Title, data.Certificate, data.Warnings = v.Short(c.Name, 60), c, result.Warnings
	data.Export = v.Add(&Form{ID: "export", Title: "Certificate exported", Submit: "Download", Cmdlet: "Export-ServerCertificate", Fixed: thumbprint, Direct: true, Download: true})
	data.Removal = v.Add(&Form{ID: "remove", Title: "Certificate deleted", Submit: "Delete", Cmdlet: "Remove-ServerCertificate", Fixed: thumbprint, Danger: true, Next: certificatesPath,
		Help: "It is deleted with its private key. It cannot be undone."})
	if c.Request != "" {
		data.Answer = v.importForm("answer")
		data.Answer.Title, data.Answer.Help = "Import the answer", "What the authority has sent: the certificate and those that lead to its root."
		return nil
	}
	data.Enable = v.Add(&Form{ID: "enable", Title: "Services", Submit: "Review the change", Cmdlet: "Enable-ServerCertificate", Fixed: thumbprint, Fields: []*Field{v.servicesField()},
		Help: "The next connection shows it. A service whose host name it does not cover gets a name that it does."})
	if c.Exportable {
		data.WithKey = v.Add(&Form{ID: "export-key", Title: "Take it to another server", Submit: "Download with the key", Cmdlet: "Export-ServerCertificate", Download: true,
			Help:   "A PKCS#12 file with the private key, under a password. It is in the audit that you took it.",
			Fixed:  append(thumbprint, shell.Argument{Name: "Format", Value: "PKCS12"}, shell.Argument{Name: "IncludePrivateKey", Value: true}),
			Fields: []*Field{{Name: "Password", Label: v.T("Password of the file"), Kind: Secret, Required: true}}})
	}
	return nil
}
