package console

import (
	"cmp"
	"strings"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// testData is what the page of tests shows.
type testData struct {
	Tabs     []Tab
	Tab      string
	Form     *Form
	Findings []Finding
	Sum      *Sum
}

// badgeOf gives the badge of a verdict or of a step's outcome.
func badgeOf(value any) string {
	switch value {
	case "Pass", "Success", "OK":
		return "good"
	case "Warn", "Warning":
		return "warn"
	case "Skipped", "Information", "Note":
		return "off"
	}
	return "bad"
}

// phrase is an English text of a table.
type phrase struct{ Text string }

// results says a verdict in words.
var results = map[string]phrase{
	"Pass": {Text: "in order"}, "Success": {Text: "in order"}, "Warn": {Text: "warning"}, "Note": {Text: "note"}, "Fail": {Text: "wrong"}, "Failure": {Text: "failed"}, "Skipped": {Text: "left out"},
}

// VerdictText says a verdict in the visitor's language.
func (v *Visit) VerdictText(value any) string {
	text, _ := value.(string)
	return v.T(cmp.Or(results[text].Text, text))
}

// said writes a text of the server.
func (v *Visit) said(value any) string {
	text, _ := value.(string)
	return v.Value(v.Text(text))
}

// tests shows the tests of the configuration and of what mail programs meet.
func tests(v *Visit) (err error) {
	data := &testData{}
	v.Data = data
	if data.Tabs, data.Tab, err = v.tabs("", "Configuration", "Sign-in", "POP3", "IMAP4"); err != nil {
		return err
	}
	switch data.Tab {
	case "Configuration":
		return v.configurationTest(data)
	case "Sign-in":
		data.Form = v.signInTest()
	default:
		data.Form = v.connectivityTest(data.Tab)
	}
	return nil
}

func (v *Visit) configurationTest(data *testData) error {
	result, err := v.Run("Test-ServerConfiguration")
	if err != nil {
		return err
	}
	worst := 0
	for _, o := range result.Objects {
		f := v.finding(o)
		data.Findings = append(data.Findings, f)
		worst = max(worst, map[string]int{"Warn": 1, "Fail": 2}[f.Result])
	}
	data.Sum = []*Sum{
		{"good", v.T("All is well.")},
		{"warn", v.T("It works, but something should be looked at.")},
		{"bad", v.T("Something is wrong and needs mending.")},
	}[worst]
	return nil
}

func (v *Visit) connectionField() *Field {
	return &Field{Name: "ConnectionType", Label: v.T("Connection"), Kind: Choice, typed: []string{string(manage.TLS)}, Choices: []settings.Choice{
		{Name: string(manage.TLS), Label: "Begins unencrypted, then TLS", Help: "STLS or STARTTLS, on the usual port."},
		{Name: string(manage.SSL), Label: "Encrypted from the first byte", Help: "On the SSL port."},
		{Name: string(manage.Plaintext), Label: "Not encrypted", Help: "As an old or badly set up program does."},
	}}
}

// signInTest explains which rule decides.
func (v *Visit) signInTest() *Form {
	identity := &Field{Name: "Identity", Label: v.T("Mailbox"), Help: v.T("A sign-in name or address."), Kind: Text, Required: true, Suggest: v.mailboxNames()}
	if name := v.Request.URL.Query().Get("identity"); name != "" {
		identity.typed = []string{name}
	}
	f := v.Add(&Form{ID: "login", Title: "Explain a sign-in", Submit: "Explain", Cmdlet: "Test-Login", Shows: true,
		Help: "Each rule that a sign-in meets, and which one decides. No password is needed.",
		Fields: []*Field{identity,
			{Name: "Protocol", Label: v.T("Protocol"), Kind: Choice, Choices: services(settings.IMAP4, settings.POP3), typed: []string{string(settings.IMAP4)}},
			v.connectionField(),
			{Name: "From", Label: v.T("The client's address"), Help: v.T("For login policies of some networks, and for the delay after failures."), Kind: Text},
			{Name: "Mechanism", Label: v.T("Mechanism"), Help: v.T("The SASL mechanism by which somebody wants to sign in. None: any."), Kind: Choice, Choices: settings.AuthMechanisms.Choices},
			{Name: "Certificate", Label: v.T("Client certificate"), Help: v.T("For EXTERNAL: what the client shows, without its key."), Kind: Upload},
		},
		Columns: []Column{
			{Property: "Result", Title: "Result", Text: v.VerdictText, Badge: badgeOf},
			{Property: "Step", Title: "Rule", Text: v.said},
			{Property: "Detail", Title: "Why", Text: v.said},
		}})
	f.Verdict = func(r *manage.Result) (string, string) {
		for _, o := range r.Objects {
			if textOf(o, "Result") == "Fail" {
				return "bad", v.T("%s cannot sign in this way.", identity.Text()) + " " + sentence(v.Text(textOf(o, "Detail")))
			}
		}
		return "good", v.T("%s can sign in this way, with the right password.", identity.Text())
	}
	return f
}

// connectivityTest goes the way of a mail program.
func (v *Visit) connectivityTest(service string) *Form {
	cmdlet := "Test-PopConnectivity"
	if service == string(settings.IMAP4) {
		cmdlet = "Test-ImapConnectivity"
	}
	f := v.Add(&Form{ID: strings.ToLower(service), Title: "Try it as a mail program", Submit: "Run the test", Cmdlet: cmdlet, Shows: true, Slow: true,
		Help: "It connects, signs in, finds and fetches a message that it put there, and removes it.",
		Fields: []*Field{
			v.connectionField(),
			{Name: "MailboxCredential", Label: v.T("Mailbox"), Help: v.T("Whom to sign in as."), Kind: Text, Suggest: v.mailboxNames()},
			{Name: "Password", Label: v.T("Password"), Help: v.T("Sent only where nobody can read it on its way, and kept nowhere."), Kind: Secret},
			{Name: "LightMode", Label: v.T("Without signing in"), Help: v.T("Only whether the service answers and offers TLS. Needs neither mailbox nor password."), Kind: Bool},
			{Name: "TrustAnySSLCertificate", Label: v.T("Trust any certificate"), Help: v.T("Does not check the certificate, as for a self-signed one."), Kind: Bool},
			{Name: "ClientAccessServer", Label: v.T("Host"), Help: v.T("Another host takes a Server Administrator who is a local administrator."), Default: v.T("this server"), Kind: Text},
			{Name: "PortClientAccessServer", Label: v.T("Port"), Default: v.T("the service's own or usual one"), Kind: Number},
		},
		Columns: []Column{
			{Property: "Result", Title: "Result", Text: v.VerdictText, Badge: badgeOf},
			{Property: "Scenario", Title: "Step", Text: v.said},
			{Property: "Latency", Title: "Milliseconds", Number: true},
			{Property: "Mechanism", Title: "Signed in with", Text: v.said},
			{Property: "Error", Title: "Error", Text: v.said},
		}})
	f.Verdict = func(r *manage.Result) (string, string) {
		if r.ExitCode != 0 {
			return "bad", v.T("The test failed. The first step that went wrong says why.")
		}
		return "good", v.T("All went well.")
	}
	return f
}

// BadgeOf gives the badge of a verdict.
func (v *Visit) BadgeOf(value string) string { return badgeOf(value) }
