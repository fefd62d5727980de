package security

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postern-mail/postern/test/server"
)

// forger makes texts that want to be lines of their own, or to be read as something else.
type forger struct{ random *rand.Rand }

var (
	// ends are what some program takes for the end of a line, or of a text.
	ends = []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029", "\v", "\f", "\x00", "\x1b[2K\x1b[G", "\x08\x08\x08", "\u202e", "\u2066", "\x9b2J", "\xff\n", "\xc0\x8a", "\ue000\n", "%0D%0A", "\\r\\n", "=0D=0A", "\"\n", "'\n", "\",\n"}
	// lies are what stands behind it.
	lies = []string{"FORGED", "* OK FORGED", "+OK FORGED", "250 FORGED", "time=2026-01-01T00:00:00Z level=ERROR msg=FORGED", `{"msg":"FORGED"}`, "a1 LOGOUT FORGED", "=FORGED()", "-FORGED", "Remove-Mailbox FORGED", "2026-01-01,FORGED"}
)

func (f *forger) text() string {
	var b strings.Builder
	b.WriteString("x")
	for range 1 + f.random.IntN(3) {
		b.WriteString(ends[f.random.IntN(len(ends))] + lies[f.random.IntN(len(lies))])
	}
	if f.random.IntN(2) == 0 {
		b.WriteString(ends[f.random.IntN(len(ends))])
	}
	return b.String()
}

// forged gives the line of an output that somebody else wrote, or that a terminal obeys.
func forged(output string) (line string, found bool) {
	for line := range strings.SplitSeq(output, "\n") {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\r"), func(r rune) bool {
			return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
		}) || !utf8.ValidString(line) {
			return line, true
		}
		for _, lie := range lies {
			if strings.HasPrefix(strings.TrimLeft(line, "\"' "), lie) {
				return line, true
			}
		}
	}
	return "", false
}

// TestNoLineIsForged has clients and administrators say texts that want to be lines of
// their own wherever something is said: names, passwords, IDs, mailbox names, rights,
// metadata, keywords, addresses, subjects, parameters of cmdlets. No line of the log, of
// the protocol logs, of what a cmdlet answers in any form, and of what clients hear begins
// with one.
func TestNoLineIsForged(t *testing.T) {
	t.Parallel()
	s := serve(t, "--log-level", "debug")
	s.SetLoginType("PlainTextLogin")
	s.MustShell("Set-ImapSettings", "-ProtocolLogEnabled", "$true")
	s.MustShell("Set-PopSettings", "-ProtocolLogEnabled", "$true", "-ProtocolLogFormat", "Json")
	s.MustShell("Set-LmtpSettings", "-ProtocolLogEnabled", "$true")
	f := &forger{rand.New(rand.NewPCG(rand.Uint64(), 1))}
	literal := func(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }
	heard := 0
	lines := func(what string, list []string) {
		t.Helper()
		heard += len(list)
		if line, found := forged(strings.Join(list, "\n")); found {
			t.Errorf("%s hears %q", what, line)
		}
	}
	const rounds = 12
	for range rounds {
		c := server.Dial(t, s.IMAP)
		c.Write("a ID (" + literal("name") + " " + literal(f.text()) + " " + literal(f.text()) + " NIL)\r\nb LOGIN " + literal(f.text()) + " " + literal(f.text()) + "\r\n" +
			"c AUTHENTICATE PLAIN " + b64("\x00"+f.text()+"\x00"+f.text()) + "\r\nd LOGOUT\r\n")
		lines("IMAP before login", c.Ended())
		c = server.Dial(t, s.IMAP)
		c.Write(fmt.Sprintf("a ID (\"name\" %s)\r\nb LOGIN %q %q\r\n", literal(f.text()), alice.Name, alice.Password))
		for n, command := range []string{
			"CREATE %s", "SELECT %s", "RENAME INBOX %s", "SUBSCRIBE %s", "STATUS %s (MESSAGES)", `LIST "" %s`, "SETACL INBOX %s lr", "GETMETADATA INBOX (%s)", "DELETEACL INBOX %s", "SETMETADATA INBOX (/private/comment %s)",
			"SETMETADATA INBOX (%s \"x\")", "GETQUOTAROOT %s", "LANGUAGE (%s)", "ENABLE %s", "APPEND INBOX (%s) {1+}\r\nx", "COMPARATOR %s", "URLFETCH %s", "GENURLAUTH %s INTERNAL", "NOTIFY SET (mailboxes %s (MessageNew MessageExpunge))",
			"SELECT INBOX", "SEARCH SUBJECT %s", "SEARCH CHARSET %s ALL", "SORT (SUBJECT) %s ALL", "STORE 1 FLAGS (%s)", "COPY 1 %s", "FETCH 1 (BODY.PEEK[HEADER.FIELDS (%s)])", "GETMETADATA INBOX (/private/comment)", "GETACL INBOX",
		} {
			c.Write(fmt.Sprintf("t%d %s\r\n", n, strings.ReplaceAll(command, "%s", literal(f.text()))))
		}
		c.Send("z LOGOUT")
		c.Conn.SetReadDeadline(time.Now().Add(time.Minute))
		raw, err := io.ReadAll(c.Conn)
		if err != nil {
			t.Fatal(err)
		}
		// Names and values of the client's own are said in literals and quoted strings.
		for _, response := range responses(t, string(raw)) {
			heard++
			if !regexp.MustCompile(`^(\* [0-9A-Z]|\+ |[abz] [BNO]|t[0-9]+ [BNO])`).MatchString(response) || strings.HasPrefix(response, "* OK FORGED") || strings.ContainsAny(response, "\r\n\x00") {
				t.Errorf("IMAP hears %q", response)
			}
		}
		p := server.Dial(t, s.POP3)
		for _, command := range []string{"USER ", "PASS ", "AUTH ", "AUTH PLAIN ", "LANG ", "APOP ", ""} {
			p.Write(command + f.text() + "\r\n")
		}
		p.Write("AUTH PLAIN " + b64("\x00"+f.text()+"\x00"+f.text()) + "\r\nUSER " + alice.Name + "\r\nPASS " + f.text() + "\r\nQUIT\r\nQUIT\r\n")
		lines("POP3", p.Ended())
		l := server.Dial(t, s.LMTPSocket)
		l.Write("LHLO " + f.text() + "\r\nLHLO x\r\nMAIL FROM:<" + f.text() + "> SMTPUTF8\r\nRSET\r\nMAIL FROM:<\"" + f.text() + "\"@x> SMTPUTF8\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<" + f.text() + ">\r\nRCPT TO:<" + alice.Name +
			"> " + f.text() + "\r\nVRFY " + f.text() + "\r\nRCPT TO:<" + alice.Name + ">\r\nDATA\r\nSubject: " + f.text() + "\r\nFrom: " + f.text() + "\r\n\r\nx\r\n.\r\nQUIT\r\n")
		lines("LMTP", l.Ended())
	}
	// A session that is there while others look.
	c := s.Login(t, alice)
	c.Write("a ID (\"name\" " + literal(f.text()) + ")\r\n")
	c.Until("a ")
	c.Write("b CREATE " + literal("x\u00e9 "+lies[0]) + "\r\n")
	c.Until("b ")

	shown := 0
	show := func(args ...string) {
		t.Helper()
		out, _ := s.Shell(args...)
		shown++
		if line, found := forged(out); found {
			t.Errorf("%q shows %q", args, line)
		}
		switch args[len(args)-1] {
		case "ConvertTo-Json":
			if i := strings.IndexAny(out, "[{"); i >= 0 && !json.Valid([]byte(out[i:])) {
				t.Errorf("%q is no JSON: %.300q", args, out)
			}
		case "ConvertTo-Csv":
			if _, err := csv.NewReader(strings.NewReader(out)).ReadAll(); err != nil {
				t.Errorf("%q is no CSV: %v", args, err)
			}
		}
	}
	argument := func() string { return strings.ReplaceAll(f.text(), "\x00", "\n") } // no argument has a NUL
	for _, args := range [][]string{
		{"Get-Mailbox", ""}, {"New-Mailbox", "", "-Password", "x-Nobody-77"}, {"Set-Mailbox", alice.Name, "-DisplayName", ""}, {"Get-MailboxPermission", ""}, {"Add-MailboxFolderPermission", alice.Name + ":INBOX", "-User", ""},
		{"Set-ServerMetadata", "/shared/comment", "-Value", ""}, {"Set-ServerMetadata", "", "-Value", "x"}, {"New-LoginPolicy", ""}, {"New-LoginGroup", ""}, {"Set-ImapSettings", "-Banner", ""}, {"Set-ImapSettings", "-X509CertificateName", ""},
		{"Test-Login", ""}, {"New-ApiToken", ""}, {"New-AppPassword", alice.Name, "-Name", ""}, {"Get-Help", ""}, {""}, {"Get-ProtocolLog", "-Service", ""}, {"Remove-Session", ""}, {"Import-ServerCertificate", ""},
		{"Get-MailboxFolderPermission", alice.Name + ":INBOX", "-User", ""}, {"Set-PopSettings", "", "x"}, {"Get-EventLog", "-Match", ""},
	} {
		given := make([]string, len(args))
		for i, a := range args {
			if given[i] = a; a == "" {
				given[i] = argument()
			}
		}
		show(given...)
	}
	for _, cmdlet := range [][]string{
		{"Get-Session"}, {"Get-EventLog"}, {"Get-AuditLog"}, {"Get-LogonStatistics"}, {"Get-ProtocolLog", "-Service", "IMAP4", "-ResultSize", "2000"}, {"Get-ProtocolLog", "-Service", "POP3", "-ResultSize", "2000"},
		{"Get-ProtocolLog", "-Service", "LMTP", "-ResultSize", "2000"}, {"Get-Mailbox"}, {"Get-ServerMetadata"}, {"Get-MailboxFolderPermission", alice.Name + ":INBOX"}, {"Get-LoginThrottle"}, {"Export-Configuration"},
	} {
		for _, form := range []string{"", "Format-List", "ConvertTo-Json", "ConvertTo-Csv"} {
			if form != "" {
				show(append(append([]string{}, cmdlet...), "|", form)...)
			} else {
				show(cmdlet...)
			}
		}
	}
	s.Stop()
	records := 0
	for line := range strings.Lines(s.Output()) {
		records++
		if !strings.HasPrefix(line, "time=2") {
			t.Errorf("a record of the log: %q", line)
		}
	}
	if line, found := forged(s.Output()); found {
		t.Errorf("the log has %q", line)
	}
	err := filepath.WalkDir(filepath.Join(s.Data, "log"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if line, found := forged(strings.TrimPrefix(string(text), "\ufeff")); found {
			t.Errorf("%s has %q", path, line)
		}
		records += strings.Count(string(text), "\n")
		return err
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("prove: texts that want to be lines: %d", rounds*75)
	t.Logf("prove: lines of answers, logs and cmdlets that none of them is: %d", heard+records+shown)
}
