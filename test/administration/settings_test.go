package administration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/test/server"
)

// sample has, for a setting, a value that is not its default and one that it
// refuses. Values are what JSON says: string, bool, number, list of strings.
type sample struct {
	good, bad any
	shown     any // what good is shown as; nil when it is shown as it was given
}

// samples has a row for every row of settings.Table; files that they name are in the folder.
func samples(t *testing.T, folder string) map[string]sample {
	free := func() []string { return []string{server.FreeAddress(t)} }
	return map[string]sample{
		"StartupType":                       {good: "Manual", bad: "Sometimes"},
		"Banner":                            {good: "Good day (from the test)", bad: "[ALERT] x"},
		"UnencryptedOrTLSBindings":          {good: free(), bad: []string{"127.0.0.1"}},
		"SSLBindings":                       {good: free(), bad: []string{"127.0.0.1:70000"}},
		"LoginType":                         {good: "PlainTextAuthentication", bad: "Open"},
		"AuthMechanisms":                    {good: []string{"SCRAM-SHA-256-PLUS", "PLAIN"}, bad: []string{"ROT13"}},
		"ExtendedProtectionPolicy":          {good: "Require", bad: "Perhaps"},
		"ClientCertificateAuthorities":      {good: authorities(t, folder), bad: "authorities.pem"},
		"ClientCertificateRevocationList":   {good: []string{revocationList(t, folder)}, bad: []string{"revoked.crl"}},
		"RequireSecondFactor":               {good: true, bad: "perhaps"},
		"WeakPasswordPolicy":                {good: "Refuse", bad: "Laugh"},
		"X509CertificateName":               {good: "127.0.0.1", bad: "nobody.example"},
		"AuthenticatedConnectionTimeout":    {good: "01:00:00", bad: "00:00:01"},
		"PreAuthenticatedConnectionTimeout": {good: "00:05:00", bad: "10:00:00"},
		"MaxConnections":                    {good: 1234, bad: 0},
		"MaxConnectionFromSingleIP":         {good: 321, bad: -1},
		"MaxConnectionsPerUser":             {good: 12, bad: 0},
		"SessionTimeout":                    {good: "00:20:00", bad: "00:00:01"},
		"MaxCommandSize":                    {good: 4096, bad: 1},
		"MaxMessagesPerCommand":             {good: 5000, bad: 999},
		"MaxMessagesPerCopy":                {good: 1000, bad: 1},
		"MaxCommandTime":                    {good: "00:00:30", bad: "00:00:00"},
		"MaxCommandMemory":                  {good: 64 << 20, bad: 1},
		"ProxyTargetPort":                   {good: 10143, bad: 70000},
		"ProxyProtocolNetworks":             {good: []string{"192.0.2.0/24", "2001:db8::/64"}, bad: []string{"lb.example.org"}},
		"ProxyProtocolTls":                  {good: true, bad: "perhaps"},
		"ThrottleExemptNetworks":            {good: []string{"192.0.2.7/32"}, bad: []string{"webmail.example.org"}},
		"DisabledCapabilities":              {good: map[settings.Service]any{settings.IMAP4: []string{"IDLE", "MOVE"}, settings.POP3: []string{"LANG", "UTF8"}}, bad: []string{"LONG"}},
		"ClientCapabilityRules": {
			good:  map[settings.Service]any{settings.IMAP4: []string{"192.0.2.0/24:IDLE", "Old*:ID"}, settings.POP3: []string{"2001:db8::/32:LANG"}},
			shown: map[settings.Service]any{settings.IMAP4: []string{"192.0.2.0/24: IDLE", "Old*: ID"}, settings.POP3: []string{"2001:db8::/32: LANG"}},
			bad:   []string{"LANG"},
		},
		"LoginDelay":                  {good: "00:15:00", bad: "900"},
		"XClientNetworks":             {good: []string{"192.0.2.7/32"}, bad: []string{"192.0.2.0/33"}},
		"MessageRetrievalMimeFormat":  {good: "TextOnly", bad: "Html"},
		"MessageRetrievalSortOrder":   {good: "Descending", bad: "Up"},
		"ShowHiddenFoldersEnabled":    {good: true, bad: "perhaps"},
		"MessageDowngradeEnabled":     {good: true, bad: "perhaps"},
		"CalendarItemRetrievalOption": {good: "InternetUrl", bad: "Url"},
		"JmapSessionUrl":              {good: "https://jmap.example.org/.well-known/jmap", bad: "http://jmap.example.org"},
		"SubmissionUsers":             {good: []string{"submission@example.org"}, bad: []string{strings.Repeat("x", 321)}},
		"MailboxReferrals": {
			good: []string{"Archive:imap://archive.example.org/Archive"}, shown: []string{"Archive: imap://archive.example.org/Archive"}, bad: []string{"Archive"},
		},
		"OwaServerUrl":                {good: "https://mail.example.org/owa", bad: "ftp://mail.example.org"},
		"EnableExactRFC822Size":       {good: true, bad: "perhaps"},
		"AcmeDirectory":               {good: "https://acme.example.org/directory", bad: "http://acme.example.org/"},
		"AcmeEmail":                   {good: "postmaster@example.org", bad: "postmaster"},
		"AcmeTermsAgreed":             {good: true, bad: "perhaps"},
		"AcmeHttpBindings":            {good: free(), bad: []string{"127.0.0.1:0"}},
		"AcmeTlsBindings":             {good: free(), bad: []string{"443"}},
		"DeletedItemRetention":        {good: "30.00:00:00", bad: "4000.00:00:00"},
		"RecoverableItemsQuota":       {good: 1 << 30 * 5, bad: 1},
		"ProtocolLogEnabled":          {good: true, bad: "perhaps"},
		"LogFileLocation":             {good: filepath.Join(folder, "log"), bad: "log"},
		"LogFileRollOverSettings":     {good: "Hourly", bad: "Yearly"},
		"LogPerFileSizeQuota":         {good: 100000, bad: 1},
		"ProtocolLogFormat":           {good: "Json", bad: "Xml"},
		"ProtocolLogMaxAge":           {good: "1.00:00:00", bad: "00:00:01"},
		"ProtocolLogMaxDirectorySize": {good: 1 << 30 * 2, bad: 1},
	}
}

// face is one way to change a setting. It gives "" or the text of the refusal.
type face struct {
	name string
	set  func(t *testing.T, s settings.Service, row *settings.Row, value any) string
}

// TestEverySetting sets each setting of each service in the shell, over the API and
// in the console: the same values act, the same are refused, in the same words.
func TestEverySetting(t *testing.T) {
	office := open(t)
	all := samples(t, office.files)
	for _, row := range settings.Table {
		given, ok := all[row.Name]
		if !ok {
			t.Errorf("%s: the test has no values for it", row.Name)
			continue
		}
		for _, service := range row.Services {
			given := given
			if by, ok := given.good.(map[settings.Service]any); ok {
				given.good = by[service]
			}
			if by, ok := given.shown.(map[settings.Service]any); ok {
				given.shown = by[service]
			}
			t.Run(string(service)+"/"+row.Name, func(t *testing.T) {
				before := office.shown(t, service, row)
				refusals := map[string]string{}
				for _, f := range office.faces() {
					want := given.good
					if given.shown != nil {
						want = given.shown
					}
					if refusal := f.set(t, service, row, given.good); refusal != "" {
						t.Errorf("%s: %v is refused: %s", f.name, given.good, refusal)
					}
					if got := office.shown(t, service, row); fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("%s: after %v it is %v", f.name, want, got)
					}
					// A switch in the console has no third position.
					if row.Type != "bool" || f.name != "console" {
						refusal := f.set(t, service, row, given.bad)
						if refusal == "" {
							t.Errorf("%s: %v is not refused", f.name, given.bad)
						}
						refusals[strings.TrimSuffix(refusal, ".")] += f.name + " "
						if got := office.shown(t, service, row); fmt.Sprint(got) != fmt.Sprint(want) {
							t.Errorf("%s: a refused change made it %v", f.name, got)
						}
					}
					if refusal := f.set(t, service, row, before); refusal != "" {
						t.Errorf("%s: %v, as it was, is refused: %s", f.name, before, refusal)
					}
				}
				if len(refusals) != 1 {
					t.Errorf("%v is refused in different words: %q", given.bad, refusals)
				}
			})
		}
	}
	for name := range all {
		if !slices.ContainsFunc(settings.Table, func(r *settings.Row) bool { return r.Name == name }) {
			t.Errorf("%s is no setting", name)
		}
	}
}

// refusal gives the text of an error of the API.
func refusal(t *testing.T, err error) string {
	t.Helper()
	var refused *manage.CallError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return refused.Fault.Text
	}
	t.Fatal(err)
	return ""
}

// authorities writes a file with the certificate of an authority.
func authorities(t *testing.T, folder string) string {
	t.Helper()
	_, der, _ := authority(t)
	return writePEM(t, folder, "CERTIFICATE", der)
}

// revocationList makes a file with a list of revoked certificates.
func revocationList(t *testing.T, folder string) string {
	t.Helper()
	c, _, key := authority(t)
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}, c, key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, folder, "X509 CRL", der)
}

func authority(t *testing.T) (c *x509.Certificate, der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, der, key
}

func writePEM(t *testing.T, folder, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(folder, strings.ReplaceAll(kind, " ", "")+".pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
