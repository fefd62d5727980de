package manage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/test/stopwatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type args = map[string]any

// TestCmdlets plays calls one after another on one server.
func TestCmdlets(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	play(t, client, []call{
		{"Get-PopSettings", nil, `"Service":"POP3" "LoginType":"SecureLogin" "MaxCommandSize":512 "view":"List"`},
		{"get-imapsettings", args{"server": "MAIL.example.org", "DomainController": "dc1"}, `"MaxCommandSize":65536 "ShowHiddenFoldersEnabled":false accepted and ignored`},
		{"Get-PopSettings", args{"Server": "other"}, "!Cannot"},
		{"Get-PopSettings", args{"Nonsense": 1}, "!BadArgument"},
		{"Get-Nonsense", nil, "!NotFound"},
		{"Set-PopSettings", nil, "!BadArgument"},
		{"Set-PopSettings", args{"LoginType": 1, "WhatIf": true}, `"whatIf":true "old":"SecureLogin","new":"PlainTextLogin" cross the network`},
		{"Set-ImapSettings", args{"LoginType": 1}, `"changes"`},
		{"Set-ImapSettings", args{"LoginType": 3, "WhatIf": true}, `No sign-in of the last 7 days at IMAP4 would have been refused.`},
		{"Get-PopSettings", nil, `"LoginType":"SecureLogin"`},
		{"Set-PopSettings", args{"LoginType": "plaintextlogin", "Banner": "Hi"}, `"name":"LoginType" "name":"Banner" cross the network`},
		{"Get-PopSettings", nil, `"LoginType":"PlainTextLogin" "Banner":"Hi" cross the network`},
		{"Set-PopSettings", args{"LoginType": 2, "WhatIf": true}, `"whatIf":true 2 sign-ins of 1 user in the last 7 days at POP3 would have been refused: alice@example.org (10.0.0.5) 2.`},
		{"Set-PopSettings", args{"LoginType": "3", "MaxConnections": 0}, "!BadArgument"},
		{"Get-PopSettings", nil, `"LoginType":"PlainTextLogin"`},
		{"Set-PopSettings", args{"Banner": nil}, `"new":"The Postern POP3 service is ready."`},
		{"Set-PopSettings", args{"ProxyTargetPort": 1110}, `it acts when`},
		{"Set-PopSettings", args{"SSLBindings": args{"Add": []string{"127.0.0.1:1995"}}}, `"new":["[::]:995","0.0.0.0:995","127.0.0.1:1995"]`},
		{"Set-PopSettings", args{"SSLBindings": args{"Add": []string{"0.0.0.0:993"}}}, "!BadArgument"},
		{"Set-PopSettings", args{"Banner": "x", "Confirm": true}, `"confirm":"Set-PopSettings: POP3. Are you sure?"`},
		{"Set-PopSettings", args{"X509CertificateName": "pop.example.org"}, "!BadArgument"},
		{"Set-ImapSettings", args{"LoginType": 2, "ShowHiddenFoldersEnabled": true}, `"name":"ShowHiddenFoldersEnabled","old":false,"new":true`},
		{"Set-ImapSettings", args{"MessageRetrievalSortOrder": 1}, "!BadArgument"},

		{"Get-Service", nil, `"Name":"POP3" "Name":"LMTP" "Status":"Running" "Listening":["[::]:110"`},
		{"Get-Service", args{"Name": "msexchangeimap4"}, `"Name":"IMAP4"`},
		{"Get-Service", args{"Name": "SMTP"}, "!NotFound"},
		{"Stop-Service", args{"Name": "POP3", "WhatIf": true}, `"new":"Stopped"`},
		{"Get-Service", args{"Name": "POP3"}, `"Status":"Running"`},
		{"Stop-Service", args{"Name": "POP3"}, `"new":"Stopped"`},
		{"Stop-Service", args{"Name": "POP3"}, `stopped already`},
		{"Get-Service", args{"Name": "POP3"}, `"Status":"Stopped"`},
		{"Set-Service", args{"Name": "POP3"}, "!BadArgument"},
		{"Set-Service", args{"Name": "POP3", "StartupType": "Disabled"}, `"old":"Automatic","new":"Disabled"`},
		{"Start-Service", args{"Name": "POP3"}, "!Cannot"},
		{"Restart-Service", args{"Name": "POP3"}, "!Cannot"},
		{"Set-Service", args{"Name": "POP3", "StartupType": 1}, `"new":"Manual"`},
		{"Start-Service", args{"Name": "POP3"}, `"new":"Running"`},
		{"Start-Service", args{"Name": "POP3"}, `running already`},
		{"Restart-Service", args{"Name": "POP3"}, `"new":"Restarted"`},
		{"Restart-Service", nil, "!BadArgument"},

		{"Get-Mailbox", nil, `alice@example.org bob@example.org "ProhibitSendReceiveQuota":5368709120 "bytes"`},
		{"Get-Mailbox", args{"Identity": "A.Example@example.org"}, `"Name":"alice@example.org"`},
		{"Get-Mailbox", args{"Name": "b*"}, `"Name":"bob@example.org"`},
		{"Get-Mailbox", args{"ResultSize": 1}, `There are more mailboxes`},
		{"Get-Mailbox", args{"ResultSize": "none"}, "!BadArgument"},
		{"Get-Mailbox", args{"Identity": "carol"}, "!NotFound"},
		{"New-Mailbox", args{"Name": "carol@example.org"}, "!BadArgument"},
		{"New-Mailbox", args{"Name": "carol@example.org", "Password": ""}, "!BadArgument"},
		{"New-Mailbox", args{"Name": "carol example", "Password": "x"}, "!BadArgument"},
		{"New-Mailbox", args{"Name": "Alice@Example.org", "Password": "x"}, "!AlreadyExists"},
		{"New-Mailbox", args{"Name": "weak@example.org", "Password": "password", "WhatIf": true}, `The password is weak: a program guesses it soon`},
		{"Set-ConsoleSettings", args{"WeakPasswordPolicy": "Refuse"}, ``},
		{"New-Mailbox", args{"Name": "weak@example.org", "Password": "password"}, "!BadArgument"},
		{"Set-Mailbox", args{"Identity": "alice@example.org", "Password": "for-alice-only-7"}, "!BadArgument"},
		{"Set-ConsoleSettings", args{"WeakPasswordPolicy": "Warn"}, ``},
		{"New-Mailbox", args{"Name": "c@example.org", "Password": "x", "EmailAddresses": []string{"bob@example.org"}}, "!AlreadyExists"},
		{"New-Mailbox", args{"Name": "c@example.org", "Password": "x", "ProhibitSendReceiveQuota": "2 parsecs"}, "!BadArgument"},
		{"New-Mailbox", args{"Name": "Carol@example.org", "Password": "x", "WhatIf": true}, `"whatIf":true "target":"carol@example.org"`},
		{"Get-Mailbox", args{"Identity": "carol@example.org"}, "!NotFound"},
		{"New-Mailbox", args{"Name": "Carol@example.org", "Password": "s3cret-s3cret", "DisplayName": "Carol", "EmailAddresses": "cc@example.org", "Quota": "2GB"}, `"Name":"carol@example.org" "ProhibitSendReceiveQuota":2147483648`},
		{"Set-Mailbox", args{"Identity": "carol@example.org"}, "!BadArgument"},
		{"Set-Mailbox", args{"Identity": "carol@example.org", "DisplayName": "Carol"}, `Nothing is different`},
		{"Set-Mailbox", args{"Identity": "carol@example.org", "EmailAddresses": args{"Remove": "nobody@example.org"}}, "!BadArgument"},
		{"Set-Mailbox", args{"Identity": "cc@example.org", "EmailAddresses": args{"Add": "c3@example.org", "Remove": "cc@example.org"}, "MaxMessages": 10, "Enabled": "$false", "Password": "another-one"}, `"new":["c3@example.org"] "name":"Enabled","old":true,"new":false "old":"unlimited","new":10 [redacted]`},
		{"Get-Mailbox", args{"Identity": "c3@example.org"}, `"MaxMessages":10 "Enabled":false "ProhibitSendReceiveQuota":2147483648`},
		{"Set-Mailbox", args{"Identity": "c3@example.org", "ResetPasswordOnNextLogon": true}, `"name":"ResetPasswordOnNextLogon","old":false,"new":true`},
		{"Get-Mailbox", args{"Identity": "c3@example.org"}, `"ResetPasswordOnNextLogon":true`},
		{"Set-Mailbox", args{"Identity": "c3@example.org", "ProhibitSendReceiveQuota": "unlimited"}, `"old":2147483648,"new":"unlimited"`},
		{"Get-CASMailbox", nil, `"PopEnabled":true "ImapEnabled":true`},
		{"Set-CASMailbox", args{"Identity": "c3@example.org", "PopEnabled": false}, `"name":"PopEnabled","old":true,"new":false`},
		{"Set-CASMailbox", args{"Identity": "c3@example.org", "PopEnabled": "perhaps"}, "!BadArgument"},
		{"Set-CASMailbox", args{"Identity": "c3@example.org"}, "!BadArgument"},
		{"Get-CASMailbox", args{"Identity": "carol@example.org"}, `"PopEnabled":false`},
		{"Remove-Mailbox", args{"Identity": "carol@example.org"}, `"confirm":"Remove-Mailbox: carol@example.org. Are you sure?"`},
		{"Get-Mailbox", args{"Identity": "carol@example.org"}, `carol`},
		{"Remove-Mailbox", args{"Identity": "carol@example.org", "WhatIf": true}, `"whatIf":true`},
		{"Remove-Mailbox", args{"Identity": "carol@example.org", "Confirm": false}, `"changes"`},
		{"Get-Mailbox", args{"Identity": "carol@example.org"}, "!NotFound"},

		{"Get-LogonStatistics", nil, `"UserName":"alice@example.org","LastLogonTime":"2026-11-23T09:30:00Z","LogonCount":2,"FailureCount":1,"LastFailureTime":"2026-11-23T09:30:00Z","Service":"POP3","Mechanism":"USER "Tls":false,"ClientAddress":"10.0.0.5" "UserName":"nobody?","LastLogonTime":null "2001:db8::/64","ClientName":"Thunderbird"`},
		{"Get-LogonStatistics", args{"Identity": "A.Example@example.org", "Detailed": true}, `"Result":"AuthenticationFailed","Count":1 "Result":"OK","Count":2`},
		{"Get-LogonStatistics", args{"Identity": "b*", "Service": "imap4", "StartDate": "2026-11-23", "ResultSize": 1}, `[{"UserName":"bob@example.org"`},
		{"Get-LogonStatistics", args{"ResultSize": 1}, `There is more than is shown`},
		{"Get-LogonStatistics", args{"StartDate": "2027-13-01T00:00Z"}, "!BadArgument"},
		{"Get-LogonStatistics", args{"StartDate": "yesterday"}, "!BadArgument"},
		{"Get-LogonStatistics", args{"Service": "LMTP"}, "!BadArgument"},
		{"Get-LogonStatistics", args{"StartDate": "2027-01-01 00:00"}, `"objects":[] No such sign-in is known.`},
		{"Test-Login", args{"Identity": "alice@example.org", "Protocol": "IMAP4"}, `"Result":"Pass" PlainTextAuthentication`},
		{"Test-Login", args{"Identity": "alice@example.org", "Protocol": "LMTP"}, "!BadArgument"},
		{"Test-Login", args{"Identity": "alice@example.org", "Protocol": "POP3", "ConnectionType": "tls"}, `over Tls`},
		{"Test-Login", args{"Identity": "alice@example.org", "Protocol": "POP3", "ConnectionType": "wet"}, "!BadArgument"},
		{"Test-PopConnectivity", nil, "!BadArgument"},
		{"Test-PopConnectivity", args{"LightMode": true}, "!Unavailable"},
		{"Test-PopConnectivity", args{"LightMode": true, "Timeout": 91}, "!BadArgument"},
		{"Test-PopConnectivity", args{"LightMode": true, "ConnectionType": "wet"}, "!BadArgument"},
		{"Test-PopConnectivity", args{"LightMode": true, "PortClientAccessServer": 65536}, "!BadArgument"},
		{"Test-PopConnectivity", args{"LightMode": true, "ClientAccessServer": "http://127.0.0.1/"}, "!BadArgument"},
		{"Get-Command", nil, `Set-PopSettings Get-Help`},
		{"Get-Command", args{"Noun": "mailbox", "Verb": "New"}, `New-Mailbox`},
		{"Get-Command", args{"Name": "x*"}, "!NotFound"},
		{"Get-Help", nil, `"view":"Table"`},
		{"help", args{"Name": "set-popsettings"}, `"view":"Help" Set-PopSettings -LoginType SecureLogin "Syntax" local administrator`},
		{"Get-Help", args{"Name": "Set-PopSettings", "Parameter": "login*"}, `SecureLogin (3)`},
		{"Get-Help", args{"Name": "Set-PopSettings", "Parameter": "nothing"}, "!NotFound"},
		{"Get-Help", args{"Name": "nothing"}, "!NotFound"},
	})
}

// call is one run of a cmdlet. want is "!" and the error's kind, or parts of the JSON
// of the result.
type call struct {
	cmdlet string
	args   args
	want   string
}

// play makes calls one after another.
func play(t *testing.T, client *manage.Client, calls []call) {
	t.Helper()
	for i, c := range calls {
		result, err := client.Run(context.Background(), c.cmdlet, c.args)
		name := fmt.Sprintf("%d %s %v", i, c.cmdlet, c.args)
		if kind, bad := strings.CutPrefix(c.want, "!"); bad || err != nil {
			var refused *manage.CallError
			if !errors.As(err, &refused) || refused.Fault.Kind != kind || refused.Fault.Text == "" || mail.KindOf(err).String() != kind {
				t.Errorf("%s: %v, want %s", name, err, kind)
			}
			continue
		}
		text := plainJSON(t, result)
		for part := range strings.SplitSeq(c.want, " ") {
			if !strings.Contains(text, part) {
				t.Errorf("%s: no %s in %s", name, part, text)
			}
		}
		if strings.Contains(text, "s3cret") || strings.Contains(text, "another-one") {
			t.Errorf("%s: a password in %s", name, text)
		}
	}
}

func plainJSON(t testing.TB, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestEverySettingThroughCmdlets: each row's default is settable and shown.
func TestEverySettingThroughCmdlets(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	ctx := context.Background()
	for s, noun := range map[settings.Service]string{settings.POP3: "PopSettings", settings.IMAP4: "ImapSettings"} {
		shown, err := client.Run(ctx, "Get-"+noun, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range settings.Of(s, "Settings") {
			value, ok := shown.Objects[0].Value(r.Name)
			if !ok {
				t.Errorf("Get-%s does not show %s", noun, r.Name)
			}
			if _, err := client.Run(ctx, "Set-"+noun, args{r.Name: value}); err != nil {
				t.Errorf("Set-%s -%s %v: %v", noun, r.Name, value, err)
			}
			_, err := client.Run(ctx, "Set-"+noun, args{r.Name: args{"Nonsense": 1}})
			var refused *manage.CallError
			if !errors.As(err, &refused) || refused.Fault.Kind != "BadArgument" || refused.Fault.Parameter != r.Name {
				t.Errorf("Set-%s -%s with nonsense: %v", noun, r.Name, err)
			}
		}
	}
}

func TestCertificateGuards(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	ctx := context.Background()
	if _, err := client.Run(ctx, "Set-PopSettings", args{"LoginType": 1}); err != nil {
		t.Fatal(err)
	}
	f.Certs.Set("other.example.org")
	_, err := client.Run(ctx, "Set-PopSettings", args{"LoginType": 3})
	var refused *manage.CallError
	if !errors.As(err, &refused) || refused.Fault.Parameter != "LoginType" || !strings.Contains(refused.Fault.Hint, "other.example.org") {
		t.Fatalf("SecureLogin without a certificate: %v", err)
	}
	if _, err := client.Run(ctx, "Set-PopSettings", args{"LoginType": 3, "X509CertificateName": "other.example.org"}); err != nil {
		t.Error("both at once:", err)
	}
	f.Certs.Set()
	r, err := client.Run(ctx, "Get-PopSettings", nil)
	if err != nil || len(r.Warnings) != 1 {
		t.Error("no warning of a certificate that went away:", err, r.Warnings)
	}
	if _, err := client.Run(ctx, "Set-PopSettings", args{"Banner": "x"}); err != nil {
		t.Error("another setting is refused for it:", err)
	}
}

func TestAudit(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	ctx := context.Background()
	for _, c := range []struct {
		cmdlet string
		args   args
	}{
		{"Get-PopSettings", nil},
		{"Set-PopSettings", args{"LoginType": 1, "WhatIf": true}},
		{"Set-PopSettings", args{"LoginType": 1}},
		{"Set-PopSettings", args{"LoginType": 9}},
		{"Set-Mailbox", args{"Identity": "alice@example.org", "Password": "s3cret-s3cret"}},
	} {
		client.Run(ctx, c.cmdlet, c.args) // the records say what came of it
	}
	records := f.Audit.Records()
	if len(records) != 3 {
		t.Fatalf("%+v", records)
	}
	text := plainJSON(t, records)
	if strings.Contains(text, "s3cret") || !strings.Contains(text, "[redacted]") {
		t.Error("a password in the audit:", text)
	}
	r := records[0]
	if r.Who == "" || r.From != "socket" || r.Server != managetest.ServerName || r.Outcome != "OK" || !r.Time.Equal(managetest.Now) ||
		len(r.Changes) != 1 || r.Changes[0].Old != "SecureLogin" || r.Changes[0].New != "PlainTextLogin" {
		t.Errorf("%+v", r)
	}
	if records[1].Outcome != "BadArgument" || records[1].Error == "" {
		t.Errorf("%+v", records[1])
	}
	f.Audit.Err = mail.Errorf(mail.KindUnavailable, "disk full")
	result, err := client.Run(ctx, "Set-PopSettings", args{"Banner": "x"})
	if err != nil || len(result.Warnings) == 0 || !strings.Contains(result.Warnings[0], "disk full") {
		t.Error("a lost record is not told:", err, result)
	}
}

// A mailbox whose sign-in cannot be made leaves no account behind.
func TestNewMailboxUndone(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	f.Directory.CreateErr = mail.Errorf(mail.KindUnavailable, "no directory")
	_, err := client.Run(context.Background(), "New-Mailbox", args{"Name": "carol", "Password": "x"})
	if mail.KindOf(err) != mail.KindUnavailable || len(f.Mail.Accounts) != 2 {
		t.Error(err, f.Mail.Accounts)
	}
}

func TestSocket(t *testing.T) {
	f, _, path := managetest.Serve(t)
	file, err := os.Lstat(path)
	if err != nil || file.Mode().Perm() != 0o660 {
		t.Error(file.Mode(), err)
	}
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil || folder.Mode().Perm() != 0o750 {
		t.Error(folder.Mode(), err)
	}
	if _, err := f.Listen(path); mail.KindOf(err) != mail.KindInUse {
		t.Error("a live socket:", err)
	}
	stale := filepath.Join(t.TempDir(), "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	again, err := f.Listen(stale)
	if err != nil {
		t.Fatal("a stale socket:", err)
	}
	again.Close()
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Listen(plain); mail.KindOf(err) != mail.KindInUse {
		t.Error("a file:", err)
	}
	for _, missing := range []string{stale + "-not", stale} {
		c := manage.Dial(missing)
		if _, err := c.Cmdlets(context.Background()); mail.KindOf(err) != mail.KindUnavailable || !strings.Contains(mail.TextOf(err), "no server is running") {
			t.Error(err)
		}
	}
}

// TestTransport: what is not a proper request is answered by a clear error.
func TestTransport(t *testing.T) {
	_, _, path := managetest.Serve(t)
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	for _, c := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"POST", "/cmdlet/Get-PopSettings", "", 200, "LoginType"},
		{"POST", "/cmdlet/Get-PopSettings", "{}", 200, "LoginType"},
		{"POST", "/cmdlet/Get-PopSettings", "null", 400, "JSON object"},
		{"POST", "/cmdlet/Get-PopSettings", "[1]", 400, "JSON object"},
		{"POST", "/cmdlet/Get-PopSettings", `{"Server":`, 400, "not valid JSON"},
		{"POST", "/cmdlet/Get-PopSettings", `{"Server":"localhost","SERVER":"x"}`, 400, "given twice"},
		{"POST", "/cmdlet/Get-PopSettings", `{"Server":5}`, 422, "does not manage"},
		{"POST", "/cmdlet/Get-PopSettings", `{"Server":{}}`, 400, "text of one line"},
		{"POST", "/cmdlet/Get-Mailbox", `{"Identity":"a\r\nb"}`, 400, "one line"},
		{"POST", "/cmdlet/Get-Mailbox", `{"Identity":"` + strings.Repeat("x", 5000) + `"}`, 400, "4096"},
		{"POST", "/cmdlet/Get-Mailbox", `{"Identity":"` + strings.Repeat("x", 3<<20) + `"}`, 413, "3145728"},
		{"POST", "/cmdlet/Set-PopSettings", strings.Repeat("[", 100000), 400, "JSON"},
		{"POST", "/cmdlet/Set-PopSettings", `{"SSLBindings":` + strings.Repeat(`{"Add":`, 9000) + `1` + strings.Repeat("}", 9000) + `}`, 400, ""},
		{"GET", "/cmdlet/Get-PopSettings", "", 404, ""},
		{"GET", "/cmdlets", "", 200, "Set-PopSettings"},
		{"GET", "/suggest/mailboxes", "", 200, "alice@example.org"},
		{"GET", "/suggest/nothing", "", 404, ""},
		{"GET", "/../../etc/passwd", "", 404, ""},
	} {
		request, err := http.NewRequest(c.method, "http://postern"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
			continue
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != c.status || !strings.Contains(string(body), c.text) {
			t.Errorf("%s %s %.60s: %d %s", c.method, c.path, c.body, response.StatusCode, body)
		}
	}
}

func TestSecret(t *testing.T) {
	s := manage.Secret("s3cret")
	text := fmt.Sprintf("%v %s %q %#v %+v %x", s, s, s, s, struct{ S manage.Secret }{s}, s)
	if js, _ := json.Marshal(s); strings.Contains(text+string(js), "s3cret") || strings.Contains(text, "733363726574") {
		t.Error(text, string(js))
	}
}

func TestLike(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{{"*", "", true}, {"a*", "Alice", true}, {"*a", "Alice", false}, {"a?i*e", "alice", true}, {"", "", true}, {"", "a", false}, {"*a*b*", "xxaxxbxx", true}, {"Ä*", "äb", true}} {
		if manage.Like(c.pattern, c.text) != c.want {
			t.Errorf("%+v", c)
		}
	}
	stopwatch.Within(t, 2*time.Second, "a slow pattern", func() { manage.Like(strings.Repeat("*a", 2000)+"b", strings.Repeat("a", 20000)) })
}

func TestDocs(t *testing.T) {
	var b bytes.Buffer
	if err := manage.WriteDocs(&b); err != nil {
		t.Fatal(err)
	}
	for _, c := range manage.Cmdlets() {
		if !strings.Contains(b.String(), "\n## "+c.Name+"\n") {
			t.Errorf("%s is not on the page", c.Name)
		}
	}
}

// TestMailboxSearch: by a part of any name, and page by page.
func TestMailboxSearch(t *testing.T) {
	_, c, _ := managetest.Serve(t)
	for _, x := range []struct {
		parameters map[string]any
		want       string
	}{
		{map[string]any{"Anr": "ALICE ex"}, "alice@example.org"}, {map[string]any{"Anr": "a.example@"}, "alice@example.org"},
		{map[string]any{"Anr": "example.org"}, "alice@example.org bob@example.org"}, {map[string]any{"Anr": "nobody"}, ""},
		{map[string]any{"After": "alice@example.org"}, "bob@example.org"}, {map[string]any{"After": "bob@example.org"}, ""},
		{map[string]any{"Identity": "*", "ResultSize": 1}, "alice@example.org"},
	} {
		for _, cmdlet := range []string{"Get-Mailbox", "Get-CASMailbox"} {
			r, err := c.Run(t.Context(), cmdlet, x.parameters)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, o := range r.Objects {
				name, _ := o.Value("Name")
				names = append(names, name.(string))
			}
			if got := strings.Join(names, " "); got != x.want {
				t.Errorf("%s %v: %q, want %q", cmdlet, x.parameters, got, x.want)
			}
		}
	}
}
