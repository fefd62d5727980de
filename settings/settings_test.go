package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t *testing.T, k Keeper) *Live {
	t.Helper()
	l, err := Open(context.Background(), "mail.example.org", k, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func edit(name, value string) []Edit { return []Edit{{name, json.RawMessage(value)}} }

// outOfRange has for each row values that it refuses.
var outOfRange = map[string][]string{
	"SessionTimeout":                    {`"00:00:30"`, `"2.00:00:00"`, `0`},
	"StartupType":                       {`"Sometimes"`, `3`, `true`, `{}`},
	"Banner":                            {`""`, `"[ALERT] x"`, `"a\r\nb"`, `"é"`, `[]`, `"` + strings.Repeat("x", 401) + `"`},
	"UnencryptedOrTLSBindings":          {`"0.0.0.0"`, `["::1:143"]`, `["127.0.0.1:0"]`, `["127.0.0.1:65536"]`, `["mail.example.org:143"]`, `[143]`, `{"Add":"x"}`, `{"Drop":"127.0.0.1:143"}`, `{"Remove":"127.0.0.1:9"}`, `7`},
	"SSLBindings":                       {`"0.0.0.0"`, `{"Remove":"127.0.0.1:9"}`},
	"LoginType":                         {`0`, `4`, `"Secure"`, `""`, `null1`, `["SecureLogin"]`},
	"X509CertificateName":               {`""`, `"-a.example"`, `"a..b"`, `"a b"`, `"*.example.org"`, `"` + strings.Repeat("a.", 130) + `a"`},
	"AcmeDirectory":                     {`"http://acme.example.org/"`, `"acme"`, `""`, `"https://u:p@h/"`, `7`},
	"AcmeEmail":                         {`"x"`, `"@example.org"`, `"a b@example.org"`, `"Me <me@example.org>"`, `"a@b@c"`, `"a\r\n@example.org"`},
	"AcmeTermsAgreed":                   {`"maybe"`},
	"AcmeHttpBindings":                  {`"80"`, `["0.0.0.0:0"]`},
	"AcmeTlsBindings":                   {`"443"`, `["localhost:443"]`},
	"DeletedItemRetention":              {`"3651.00:00:00"`, `14`, `"-1.00:00:00"`},
	"RecoverableItemsQuota":             {`0`, `"1KB"`, `"2000TB"`, `"unlimited"`},
	"AuthenticatedConnectionTimeout":    {`"00:00:29"`, `"1.00:00:01"`, `"30"`, `1800`, `"00:60:00"`, `"-00:30:00"`},
	"PreAuthenticatedConnectionTimeout": {`"00:00:09"`, `"01:00:01"`},
	"MaxConnections":                    {`0`, `-1`, `2147483648`, `1.5`, `"many"`, `true`},
	"MaxConnectionFromSingleIP":         {`0`, `2147483648`},
	"MaxConnectionsPerUser":             {`0`, `2147483648`},
	"LoginDelay":                        {`900`, `"1.00:00:01"`, `"soon"`},
	"MaxCommandSize":                    {`39`, `1048577`, `"unlimited"`, `"9999999TB"`},
	"MaxMessagesPerCommand":             {`999`, `2147483648`, `"many"`},
	"MaxMessagesPerCopy":                {`0`, `-1`, `2147483648`},
	"MaxCommandTime":                    {`"00:00:00"`, `"01:00:01"`, `120`},
	"MaxCommandMemory":                  {`0`, `"1KB"`, `"2TB"`, `"much"`},
	"ProxyTargetPort":                   {`0`, `65536`},
	"ProxyProtocolNetworks":             {`"lb.example.org"`, `["192.0.2.0/33"]`, `["fe80::1%eth0"]`, `[7]`, `true`},
	"ProxyProtocolTls":                  {`"perhaps"`, `[]`},
	"ThrottleExemptNetworks":            {`"webmail"`, `7`},
	"DisabledCapabilities":              {`"IDEL"`, `["ID", "X"]`, `7`, `{"Remove":"ID"}`},
	"ClientCapabilityRules":             {`"192.0.2.0/24"`, `"192.0.2.0/24: IDEL"`, `": ID"`, `"Outlook:"`, `7`},
	"XClientNetworks":                   {`"10"`, `["::/129"]`, `{"Add":"x"}`},
	"MessageRetrievalMimeFormat":        {`7`, `"Html"`},
	"MessageRetrievalSortOrder":         {`"Up"`, `2`},
	"ShowHiddenFoldersEnabled":          {`"yes"`, `2`, `[]`},
	"MessageDowngradeEnabled":           {`"perhaps"`, `2`, `[]`},
	"CalendarItemRetrievalOption":       {`4`, `"Url"`, `"Custom"`},
	"OwaServerUrl":                      {`"mail.example.org"`, `"ftp://mail.example.org"`, `"https://"`, `"https://u:p@h/"`},
	"JmapSessionUrl":                    {`"jmap.example.org"`, `"http://jmap.example.org/"`, `"https://"`, `"https://u:p@h/"`, `"https://h/#x"`, `"https://\u00fc.example.org/"`},
	"SubmissionUsers":                   {`[""]`, `["a b"]`, `"a\nb"`, `7`},
	"MailboxReferrals":                  {`"Archive"`, `"Archive imap://h/x"`, `": imap://h/x"`, `"INBOX: imap://h/x"`, `"/a: imap://h/x"`, `"a*: imap://h/x"`, `"a: imap://h/"`, `"a: imap://u@h/x"`, `"a: http://h/x"`, `"a: imap://h/x y"`, `7`},
	"EnableExactRFC822Size":             {`"maybe"`},
	"ProtocolLogEnabled":                {`"on"`, `2`},
	"LogFileLocation":                   {`"log"`, `"./log"`, `"/a\u0000b"`, `"/a\nb"`, `[]`, `"/` + strings.Repeat("x", 1024) + `"`},
	"LogFileRollOverSettings":           {`0`, `5`, `"Yearly"`},
	"LogPerFileSizeQuota":               {`0`, `-1`, `"1KB"`, `"2GB"`, `"unlimited"`, `"many"`, `[]`},
	"AuthMechanisms":                    {`"ROT13"`, `""`, `[]`, `["PLAIN","ROT13"]`, `[7]`, `{"Add":"PLAIN"}`, `{"Remove":"ROT13"}`, `true`},
	"ClientCertificateAuthorities":      {`"ca.pem"`, `"./ca.pem"`, `"/a\u0000b"`, `[]`},
	"ClientCertificateRevocationList":   {`"ca.crl"`, `["/a.crl","./ca.crl"]`, `""`, `7`, `{"Add":["x"]}`},
	"ExtendedProtectionPolicy":          {`3`, `"Maybe"`, `[]`},
	"RequireSecondFactor":               {`"perhaps"`, `2`, `[]`},
	"WeakPasswordPolicy":                {`3`, `"Laugh"`, `[]`},
	"ProtocolLogFormat":                 {`2`, `"Xml"`},
	"ProtocolLogMaxAge":                 {`"00:59:59"`, `"3651.00:00:00"`, `30`, `"30d"`},
	"ProtocolLogMaxDirectorySize":       {`0`, `"1MB"`, `"2TB"`, `"unlimited"`},
}

func TestEveryRow(t *testing.T) {
	for _, r := range Table {
		if Find(strings.ToUpper(r.Name)) != r {
			t.Errorf("%s: Find does not find it", r.Name)
		}
		if r.Help == "" || r.Type == "" || r.Page == "" || len(r.Services) == 0 || r.Noun == "" {
			t.Errorf("%s: something is not said: %+v", r.Name, r)
		}
		if len(outOfRange[r.Name]) == 0 {
			t.Errorf("%s: no value is tested to be refused", r.Name)
		}
		for _, s := range r.Services {
			v := Defaults(s, "mail.example.org")
			value, err := json.Marshal(r.Show(v))
			if err != nil {
				t.Fatal(err)
			}
			same, err := v.Edit(Edit{r.Name, value})
			if err != nil {
				t.Errorf("%s %s: the default %s is refused: %v", s, r.Name, value, err)
				continue
			}
			if d := v.Diff(same); len(d) != 0 {
				t.Errorf("%s %s: the default reads as something else: %v", s, r.Name, d)
			}
			if _, err := json.Marshal(r.Schema(s)); err != nil {
				t.Errorf("%s %s: schema: %v", s, r.Name, err)
			}
			for _, c := range r.Choices {
				if !c.of(s) {
					if _, err := v.Edit(Edit{r.Name, json.RawMessage(`"` + c.Name + `"`)}); mail.KindOf(err) != mail.KindBadArgument {
						t.Errorf("%s %s: %s gives %v", s, r.Name, c.Name, err)
					}
					continue
				}
				if _, list := r.Show(v).([]string); list {
					w, err := v.Edit(Edit{r.Name, json.RawMessage(`"` + strings.ToLower(c.Name) + `"`)})
					if err != nil || !slices.Equal(r.Show(w).([]string), []string{c.Name}) {
						t.Errorf("%s %s: %s gives %v, %v", s, r.Name, c.Name, w, err)
					}
					continue
				}
				for _, text := range []string{strings.ToLower(c.Name), fmt.Sprint(c.Number)} {
					text, _ := json.Marshal(text)
					edits := []Edit{{r.Name, text}}
					if r == CalendarItemRetrievalOption.Row {
						edits = append(edits, Edit{"OwaServerUrl", json.RawMessage(`"https://h/"`)})
					}
					w, err := v.Edit(edits...)
					if err != nil || r.Show(w) != c.Name {
						t.Errorf("%s %s: %s gives %v, %v", s, r.Name, text, w, err)
					}
				}
			}
			for _, bad := range outOfRange[r.Name] {
				_, err := v.Edit(Edit{r.Name, json.RawMessage(bad)})
				var refusal *Refusal
				if !errors.As(err, &refusal) || refusal.Setting != r.Name || mail.KindOf(err) != mail.KindBadArgument || !strings.HasPrefix(mail.TextOf(err), r.Name) {
					t.Errorf("%s %s: %s gives %v", s, r.Name, bad, err)
				}
			}
		}
	}
}

func TestEdit(t *testing.T) {
	v := Defaults(IMAP4, "mail.example.org")
	for _, c := range []struct {
		name, value, want string
	}{
		{"LoginType", `1`, `"PlainTextLogin"`},
		{"LoginType", `"plaintextauthentication"`, `"PlainTextAuthentication"`},
		{"MaxCommandSize", `"64KB"`, `65536`},
		{"MaxConnections", `"unlimited"`, `2147483647`},
		{"MaxMessagesPerCommand", `"unlimited"`, `2147483647`},
		{"MaxMessagesPerCopy", `1000`, `1000`},
		{"MaxCommandTime", `"00:00:30"`, `"00:00:30"`},
		{"MaxCommandMemory", `"64MB"`, `67108864`},
		{"AuthenticatedConnectionTimeout", `"1.00:00:00"`, `"1.00:00:00"`},
		{"AuthenticatedConnectionTimeout", `"01:30"`, `"01:30:00"`},
		{"SSLBindings", `"127.0.0.1:993"`, `["127.0.0.1:993"]`},
		{"SSLBindings", `[]`, `[]`},
		{"SSLBindings", `null`, `[]`},
		{"SSLBindings", `{"Add":"127.0.0.1:1993","Remove":["0.0.0.0:993"]}`, `["[::]:993","127.0.0.1:1993"]`},
		{"SSLBindings", `["[::ffff:127.0.0.1]:993","127.0.0.1:993"]`, `["127.0.0.1:993"]`},
		{"X509CertificateName", `"IMAP.Example.ORG."`, `"imap.example.org"`},
		{"ShowHiddenFoldersEnabled", `"$true"`, `true`},
		{"AuthMechanisms", `["plain","SCRAM-SHA-256","PLAIN"]`, `["SCRAM-SHA-256","PLAIN"]`}, // in the table's order
		{"AuthMechanisms", `{"Remove":["LOGIN","plain","SCRAM-SHA-1","SCRAM-SHA-256","SCRAM-SHA-512","OAUTHBEARER","XOAUTH2","EXTERNAL","GSSAPI","GS2-KRB5","GSS-SPNEGO"]}`, `["GS2-KRB5-PLUS","SCRAM-SHA-512-PLUS","SCRAM-SHA-256-PLUS","SCRAM-SHA-1-PLUS"]`},
		{"ExtendedProtectionPolicy", `2`, `"Require"`},
		{"Banner", `null`, `"The Postern IMAP4 service is ready."`},
	} {
		w, err := v.Edit(Edit{c.name, json.RawMessage(c.value)})
		if err != nil {
			t.Errorf("%s %s: %v", c.name, c.value, err)
			continue
		}
		if got, _ := json.Marshal(Find(c.name).Show(w)); string(got) != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, c.value, got, c.want)
		}
	}
	for _, bad := range [][]Edit{
		{{"MessageRetrievalSortOrder", json.RawMessage(`1`)}}, // POP3 only
		{{"Nonsense", json.RawMessage(`1`)}},
		{{"Banner", json.RawMessage(`"a"`)}, {"banner", json.RawMessage(`"b"`)}},
		{{"SSLBindings", json.RawMessage(`["0.0.0.0:143"]`)}}, // the clear list has it
		{{"SSLBindings", json.RawMessage(`{"Add":"0.0.0.0:993"}`)}},
		{{"AuthMechanisms", json.RawMessage(`"PLAIN"`)}, {"ExtendedProtectionPolicy", json.RawMessage(`"Require"`)}}, // nobody could log in
	} {
		if _, err := v.Edit(bad...); mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := Defaults(POP3, "x").Edit(Edit{"Banner", json.RawMessage(`"<1@x>"`)}); err == nil {
		t.Error("a POP3 banner with an APOP time stamp is taken")
	}
	if d := Defaults(IMAP4, "mail.example.org").Diff(v); len(d) != 0 {
		t.Errorf("Edit changed what it was called on: %v", d)
	}
}

func TestLive(t *testing.T) {
	ctx := context.Background()
	k := &MemoryKeeper{}
	l := open(t, k)
	var watched []string
	stop := l.Watch(func(old, new *Values) {
		watched = append(watched, LoginType.Of(old).String()+">"+LoginType.Of(new).String())
	})
	diff, err := l.Change(ctx, POP3, edit("LoginType", `1`), nil)
	if err != nil || len(diff) != 1 || diff[0].Old != "SecureLogin" || diff[0].New != "PlainTextLogin" {
		t.Fatal(diff, err)
	}
	stop()
	if LoginType.Of(l.Current(POP3)) != mail.PlainTextLogin || LoginType.Of(l.Current(IMAP4)) != mail.SecureLogin {
		t.Error("the change is not current, or reached the other service")
	}
	if fmt.Sprint(watched) != "[SecureLogin>PlainTextLogin]" {
		t.Error(watched)
	}
	if LoginType.Of(open(t, k).Current(POP3)) != mail.PlainTextLogin {
		t.Error("not kept")
	}
	if _, err := l.Change(ctx, POP3, edit("LoginType", `null`), nil); err != nil {
		t.Fatal(err)
	}
	if rows, _ := k.Load(ctx); len(rows) != 0 {
		t.Error("a reset setting is stored:", rows)
	}
	if _, err := l.Change(ctx, POP3, edit("LoginType", `2`), nil); err != nil {
		t.Fatal("after a reset:", err)
	}
	if _, err := l.Change(ctx, POP3, edit("SSLBindings", `["0.0.0.0:993"]`), nil); err == nil || !strings.Contains(err.Error(), "IMAP4") {
		t.Error("a binding of another service:", err)
	}
}

// A refusal at any stage leaves everything as it was, and cancels what was ready.
func TestLiveRefusals(t *testing.T) {
	ctx := context.Background()
	refused := mail.Errorf(mail.KindInUse, "127.0.0.1:110 is in use")
	for _, stage := range []string{"check", "applier", "keeper"} {
		k := &failing{MemoryKeeper: &MemoryKeeper{}}
		l := open(t, k)
		var log []string
		l.Apply(func(_ context.Context, _, _ *Values) (func(), func(), error) {
			log = append(log, "prepare")
			return func() { log = append(log, "commit") }, func() { log = append(log, "cancel") }, nil
		})
		l.Apply(func(_ context.Context, _, _ *Values) (func(), func(), error) {
			if stage == "applier" {
				return nil, nil, refused
			}
			return nil, nil, nil
		})
		var check func(_, _ *Values) error
		want := "[prepare cancel]"
		if stage == "check" {
			check, want = func(_, _ *Values) error { return refused }, "[]"
		}
		if stage == "keeper" {
			k.err = refused
		}
		_, err := l.Change(ctx, POP3, edit("Banner", `"Hello"`), check)
		if !errors.Is(err, refused) || fmt.Sprint(log) != want {
			t.Errorf("%s: %v %v", stage, err, log)
		}
		if rows, _ := k.Load(ctx); len(rows) != 0 || Banner.Of(l.Current(POP3)) == "Hello" {
			t.Errorf("%s: something changed: %v", stage, rows)
		}
	}
}

type failing struct {
	*MemoryKeeper
	err error
}

func (k *failing) Save(ctx context.Context, rows []Stored) error {
	if k.err != nil {
		return k.err
	}
	return k.MemoryKeeper.Save(ctx, rows)
}

func TestDamagedStore(t *testing.T) {
	ctx := context.Background()
	k := &MemoryKeeper{rows: []Stored{
		{"mail.example.org", POP3, "LoginType", `"PlainTextLo`, 3},
		{"mail.example.org", IMAP4, "MaxCommandSize", `1`, 1},
		{"mail.example.org", IMAP4, "FromTheFuture", `1`, 1},
		{"mail.example.org", IMAP4, "CalendarItemRetrievalOption", `"Custom"`, 1},
		{"mail.example.org", IMAP4, "Banner", `"Kept"`, 1},
		{"other.example.org", IMAP4, "LoginType", `"PlainTextLogin"`, 1},
	}}
	l := open(t, k)
	if LoginType.Of(l.Current(POP3)) != mail.SecureLogin || LoginType.Of(l.Current(IMAP4)) != mail.SecureLogin ||
		MaxCommandSize.Of(l.Current(IMAP4)) != 65536 || Banner.Of(l.Current(IMAP4)) != "Kept" {
		t.Error("not the safe defaults")
	}
	if w := l.Warnings(); len(w) != 4 {
		t.Errorf("%q", w)
	}
	if _, err := l.Change(ctx, POP3, edit("Banner", `"Hello"`), nil); err != nil {
		t.Fatal(err)
	}
	if k.rows[0].Value != `"PlainTextLo` {
		t.Error("the damaged value was overwritten")
	}
	// Setting it again mends it, even to what is in effect.
	if _, err := l.Change(ctx, POP3, edit("LoginType", `3`), nil); err != nil {
		t.Fatal(err)
	}
	if k.rows[0].Value != `"SecureLogin"` || len(l.Warnings()) != 3 {
		t.Error(k.rows[0], l.Warnings())
	}
}

func TestConflict(t *testing.T) {
	ctx := context.Background()
	k := &MemoryKeeper{}
	a, b := open(t, k), open(t, k)
	if _, err := a.Change(ctx, POP3, edit("Banner", `"A"`), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Change(ctx, POP3, edit("Banner", `"B"`), nil); mail.KindOf(err) != mail.KindConflict {
		t.Fatal(err)
	}
	if Banner.Of(b.Current(POP3)) != "A" {
		t.Error("the second does not see the first's change")
	}
	if _, err := b.Change(ctx, POP3, edit("Banner", `"B"`), nil); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(ctx); err != nil || Banner.Of(a.Current(POP3)) != "B" {
		t.Error(err, Banner.Of(a.Current(POP3)))
	}
}

func TestLiveManyGoroutines(t *testing.T) {
	l := open(t, &MemoryKeeper{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 20 {
				if _, err := l.Change(context.Background(), POP3, edit("MaxConnections", fmt.Sprint(1+i*20+j)), nil); err != nil {
					t.Error(err)
				}
				if MaxConnections.Of(l.Current(POP3)) < 1 {
					t.Error("no value")
				}
			}
		})
	}
	wg.Wait()
}

func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"00:30:00": 30 * time.Minute, "1.00:00:00": 24 * time.Hour, "0:0:5": 5 * time.Second, "10.23:59:59": 263*time.Hour + 59*time.Minute + 59*time.Second,
	} {
		if d, err := ParseSpan(text); err != nil || d != want {
			t.Errorf("%s: %v %v", text, d, err)
		}
	}
	for _, bad := range []string{"", "30", "1:2:3:4", "24:00:00", "00:60", "1.2.00:00:00", "a:b", "+1:00", "1.:00:00", "999999.00:00:00", "00:00:00.5"} {
		if d, err := ParseSpan(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, d)
		}
	}
}

func TestDocs(t *testing.T) {
	var b bytes.Buffer
	if err := WriteDocs(&b); err != nil {
		t.Fatal(err)
	}
	for _, r := range Table {
		if !strings.Contains(b.String(), "| `"+r.Name+"` |") {
			t.Errorf("%s is not on the page", r.Name)
		}
	}
}

func FuzzParseSpan(f *testing.F) {
	for _, s := range []string{"00:30:00", "1.00:00:00", "x", "99999.23:59:59"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseSpan(text)
		if err != nil {
			return
		}
		if again, err := ParseSpan(FormatSpan(d)); err != nil || again != d {
			t.Errorf("%q: %v, again %v %v", text, d, again, err)
		}
	})
}

// FuzzValue: no JSON, stored or sent, breaks a row, and what a row accepts it
// accepts again as it shows it.
func FuzzValue(f *testing.F) {
	for name, list := range outOfRange {
		for _, v := range list {
			f.Add(name, v)
		}
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		for _, s := range Services {
			v, err := Defaults(s, "mail.example.org").Edit(Edit{name, json.RawMessage(value)})
			if err != nil {
				continue
			}
			shown, err := json.Marshal(Find(name).Show(v))
			if err != nil {
				t.Fatal(err)
			}
			again, err := v.Edit(Edit{name, shown})
			if err != nil || len(v.Diff(again)) != 0 {
				t.Errorf("%s %s: %s: %v", name, value, shown, err)
			}
		}
	})
}

// TestChangeAll: settings of several services change together or not at all, also
// when one takes over what another gives up.
func TestChangeAll(t *testing.T) {
	ctx := context.Background()
	keeper := &MemoryKeeper{}
	l, err := Open(ctx, "mail.example.org", keeper, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	edit := func(s Service, name, value string) ServiceEdits {
		return ServiceEdits{s, []Edit{{name, json.RawMessage(value)}}}
	}
	name := func() string {
		return X509CertificateName.Of(l.Current(POP3)) + " " + X509CertificateName.Of(l.Current(IMAP4))
	}
	both := []ServiceEdits{edit(POP3, "X509CertificateName", `"new.example.org"`), edit(IMAP4, "X509CertificateName", `"new.example.org"`)}
	refuse := func(_, v *Values) error {
		if v.Service() == IMAP4 {
			return errors.New("no")
		}
		return nil
	}
	if _, err := l.ChangeAll(ctx, both, refuse); err == nil || name() != "mail.example.org mail.example.org" {
		t.Error(err, name())
	}
	cancelled, refusing := 0, true
	l.Apply(func(_ context.Context, old, new *Values) (func(), func(), error) {
		if refusing && new.Service() == IMAP4 {
			return nil, nil, errors.New("no")
		}
		return nil, func() { cancelled++ }, nil
	})
	if _, err := l.ChangeAll(ctx, both, nil); err == nil || cancelled != 1 || name() != "mail.example.org mail.example.org" {
		t.Error(err, cancelled, name())
	}
	refusing = false
	if _, err := l.ChangeAll(ctx, append(both, both[0]), nil); err == nil {
		t.Error("one service twice")
	}
	if diffs, err := l.ChangeAll(ctx, both, nil); err != nil || len(diffs) != 2 || len(diffs[1]) != 1 || name() != "new.example.org new.example.org" {
		t.Error(diffs, err, name())
	}
	if _, err := l.ChangeAll(ctx, []ServiceEdits{
		edit(POP3, "SSLBindings", `["0.0.0.0:993"]`), edit(IMAP4, "SSLBindings", `["0.0.0.0:995"]`),
	}, nil); err != nil {
		t.Error("two services that change places:", err)
	}
	if l, err = Open(ctx, "mail.example.org", keeper, slog.New(slog.DiscardHandler)); err != nil || name() != "new.example.org new.example.org" {
		t.Error(err, name())
	}
}
