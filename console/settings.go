package console

import (
	"cmp"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
)

// Tab is one of the property pages of a service.
type Tab struct {
	Title   string // English
	Path    string
	Current bool
}

// settingsData is what the page of a service shows.
type settingsData struct {
	Service     settings.Service
	Tabs        []Tab
	Tab         settings.Page
	State       *serviceState // on the first tab
	Certificate *Certificate  // on the tab Authentication
	Forms       []*Form
	Warnings    []string
}

// Certificate is the certificate that a service shows.
type Certificate struct {
	Names         []string
	Issuer        string
	SelfSigned    bool
	Until         time.Time
	Left          int // whole days
	Expired, Soon bool
	Key           string
}

// soon is when a certificate's end is near.
const soon = 21 * 24 * time.Hour

// settingsPage shows the property pages of a service, made of the settings' rows.
func settingsPage(s settings.Service) func(v *Visit) error {
	return func(v *Visit) error {
		data := &settingsData{Service: s}
		v.Data = data
		slug := cmp.Or(v.Rest, slugOf(settings.General))
		for _, page := range settings.Pages {
			if page != settings.General && len(rowsOf(s, page)) == 0 {
				continue
			}
			tab := Tab{Title: string(page), Path: v.Page.Path, Current: slugOf(page) == slug}
			if page != settings.General {
				tab.Path += "/" + slugOf(page)
			}
			if tab.Current {
				data.Tab = page
			}
			data.Tabs = append(data.Tabs, tab)
		}
		if data.Tab == "" {
			return noPage()
		}
		values, err := v.settingsForm(data, s, "Settings", "Get-"+s.Prefix()+"Settings", nil)
		if err != nil {
			return err
		}
		for _, noun := range nounsOf(rowsOf(s, data.Tab)) {
			switch noun {
			case "Settings":
			case "Service":
				_, err = v.settingsForm(data, s, noun, "Get-Service", []shell.Argument{{Name: "Name", Value: string(s)}})
			default:
				_, err = v.settingsForm(data, s, noun, "Get-"+noun, nil)
			}
			if err != nil {
				return err
			}
		}
		if data.Tab == settings.Authentication {
			name, _ := values.Value(settings.X509CertificateName.Name)
			text, _ := name.(string)
			data.Certificate = v.certificate(text)
		}
		return nil
	}
}

// nounsOf lists the nouns of the cmdlets that set the rows.
func nounsOf(rows []*settings.Row) []string {
	var nouns []string
	for _, r := range rows {
		if !slices.Contains(nouns, r.Noun) {
			nouns = append(nouns, r.Noun)
		}
	}
	return nouns
}

// titles are what the forms of a noun are called; others by their tab.
var titles = map[string]string{"Settings": "Settings", "Service": "Start-up"}

// settingsForm adds the form of the tab's rows of a noun, if any, made from what the
// Get cmdlet shows, which it gives.
func (v *Visit) settingsForm(data *settingsData, s settings.Service, noun, get string, fixed []shell.Argument) (manage.Object, error) {
	result, err := v.Run(get, fixed...)
	if err != nil {
		return nil, err
	}
	values := result.Objects[0]
	if noun == "Service" { // the service's state, and when it starts
		data.State = v.serviceState(values)
	} else if v.Done == nil { // who has just changed something was told
		data.Warnings = append(data.Warnings, result.Warnings...)
	}
	f := &Form{
		ID: strings.ToLower(noun), Title: cmp.Or(titles[noun], string(data.Tab)), Submit: "Review the change",
		Cmdlet: "Set-" + strings.TrimPrefix(get, "Get-"), Fixed: fixed,
	}
	for _, r := range rowsOf(s, data.Tab) {
		if r.Noun != noun {
			continue
		}
		value, _ := values.Value(r.Name)
		field := v.settingField(r, s, value)
		if r.Name == settings.LoginType.Name {
			field.Extra, field.ExtraData = "matrix", v.matrices(s)
		}
		f.Fields = append(f.Fields, field)
	}
	if len(f.Fields) > 0 {
		data.Forms = append(data.Forms, v.Add(f))
	}
	return values, nil
}

// settingField makes a field of a setting's row: nothing here knows the setting.
func (v *Visit) settingField(r *settings.Row, s settings.Service, value any) *Field {
	schema := r.Schema(s)
	f := &Field{Name: r.Name, Help: v.T(r.Help), Kind: Text, Choices: r.ChoicesOf(s), Value: value}
	f.Limits = v.limits(r, s)
	switch {
	case len(r.Choices) > 0 && schema["oneOf"] != nil:
		f.Kind, f.Limits = Set, ""
	case len(r.Choices) > 0:
		f.Kind, f.Limits = Choice, ""
	case r.Type == "size":
		f.Kind = Size
	case schema["type"] == "integer":
		f.Kind = Number
	case schema["type"] == "boolean":
		f.Kind = Bool
	case schema["type"] == "array" || schema["oneOf"] != nil:
		f.Kind = List
	case r.Type == "time span":
		f.Kind = Span
	}
	switch standard := r.Default(s, v.ServerName()).(type) {
	case bool:
		f.Default = v.T("off")
		if standard {
			f.Default = v.T("on")
		}
	default: // as it would be typed
		f.Default = strings.Join(f.texts(standard), ", ")
	}
	return f
}

// limits says which values a row takes.
func (v *Visit) limits(r *settings.Row, s settings.Service) string {
	schema := r.Schema(s)
	if low, ok := schema["minimum"].(int); ok {
		high, _ := schema["maximum"].(int)
		if high == settings.Unlimited {
			return v.T("%s or more, or unlimited", low)
		}
		return v.T("%s to %s", low, high)
	}
	if low, high, ok := strings.Cut(r.Limits(s), " to "); ok && (r.Type == "time span" || r.Type == "size") {
		return v.T("%s to %s", low, high)
	}
	return v.Text(r.Limits(s))
}

func rowsOf(s settings.Service, page settings.Page) []*settings.Row {
	return slices.DeleteFunc(settings.Of(s, ""), func(r *settings.Row) bool { return r.Page != page })
}

// slugOf is a property page's part of the path.
func slugOf(p settings.Page) string { return strings.ReplaceAll(strings.ToLower(string(p)), " ", "-") }

// matrix is what a LoginType allows, as a table.
type matrix struct {
	LoginType string
	Rows      []matrixRow
}

type matrixRow struct {
	Class      string // English: what crosses the network
	Methods    []string
	Clear, TLS bool
}

// classes says in words what crosses the network.
var classes = map[sasl.Class]string{
	sasl.Password:  "A password that the server can read",
	sasl.Challenge: "Challenge-response: a proof, never the password",
	sasl.TLSOnly:   "What needs TLS: a proof that is bound to it, a token or a certificate",
}

// matrices asks the policy what each LoginType allows.
func (v *Visit) matrices(s settings.Service) []matrix {
	var list []matrix
	for _, t := range mail.LoginTypes {
		m := matrix{LoginType: t.String()}
		for _, class := range sasl.Classes {
			m.Rows = append(m.Rows, matrixRow{classes[class], auth.Methods(s, class), auth.Permits(t, class, false).OK, auth.Permits(t, class, true).OK})
		}
		list = append(list, m)
	}
	return list
}

// certificate describes the certificate that is shown for a name, nil when it is
// not known.
func (v *Visit) certificate(name string) *Certificate {
	if v.Console.Certificate == nil {
		return nil
	}
	leaf := v.Console.Certificate(name)
	if leaf == nil {
		return nil
	}
	left := leaf.NotAfter.Sub(v.Now())
	c := &Certificate{
		Names: slices.Clone(leaf.DNSNames), Issuer: cmp.Or(leaf.Issuer.CommonName, leaf.Issuer.String()), SelfSigned: selfSigned(leaf), Until: leaf.NotAfter,
		Left: int(left / (24 * time.Hour)), Expired: left <= 0, Soon: left < soon, Key: leaf.PublicKeyAlgorithm.String(),
	}
	for _, ip := range leaf.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	return c
}

func selfSigned(leaf *x509.Certificate) bool {
	return string(leaf.RawIssuer) == string(leaf.RawSubject)
}
