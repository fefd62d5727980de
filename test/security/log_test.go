package security

import (
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/postern-mail/postern/test/server"
)

// secrets makes passwords and finds them again.
type secrets struct {
	all []string
}

// next gives a password that was not used yet.
func (s *secrets) next() string {
	p := fmt.Sprintf("hide-me/%d+Zx8Qv", len(s.all))
	s.all = append(s.all, p)
	return p
}

// in gives the secret that text holds, in one of the forms in which it may have
// travelled, or "".
func (s *secrets) in(text []byte) string {
	for _, p := range s.all {
		if server.Holds(text, p) {
			return p
		}
	}
	return ""
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// TestSecretsAreNotKept: no password, right or wrong, well said or badly, is in the
// log, even with all details, in the protocol logs or another file of the data folder,
// or said back; nor is mail in the protocol logs.
func TestSecretsAreNotKept(t *testing.T) {
	s := serve(t, "--log-level", "debug")
	var hidden secrets
	bob := "bob@security.example"
	s.MustShell("Set-ImapSettings", "-ProtocolLogEnabled", "$true")
	s.MustShell("Set-PopSettings", "-ProtocolLogEnabled", "$true", "-ProtocolLogFormat", "Json")
	s.MustShell("Set-LmtpSettings", "-ProtocolLogEnabled", "$true")
	first, second := hidden.next(), hidden.next()
	var said strings.Builder
	shell := func(args ...string) {
		out, _ := s.Shell(args...)
		said.WriteString(out)
	}
	shell("New-Mailbox", bob, "-Password", first)
	shell("Set-Mailbox", bob, "-Password", second)
	shell("New-Mailbox", bob, "-Password", hidden.next())
	shell("New-Mailbox", "no name at all", "-Password", hidden.next())
	shell("New-Mailbox", "carol@security.example", "-Password", hidden.next(), "-WhatIf")
	shell("Set-Mailbox", bob, "-Password", hidden.next(), "-NoSuchParameter", "x")
	shell("Get-Mailbox", bob, "|", "ConvertTo-Json")

	hidden.all = append(hidden.all, alice.Password)
	// What the server itself makes, and shows once.
	made := func(form string, args ...string) string {
		t.Helper()
		out := s.MustShell(append(args, "|", "ConvertTo-Json")...)
		found := regexp.MustCompile(form).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("%q: %s", args, out)
		}
		hidden.all = append(hidden.all, found[1])
		return found[1]
	}
	phone := made(`"([a-z0-9]{4}(?:-[a-z0-9]{4}){5})"`, "New-AppPassword", bob, "phone")
	token := made(`"Token": "([^"]{20,})"`, "New-ApiToken", "monitoring", "-Role", "View-Only Administrator")
	https(t, s, token)
	https(t, s, hidden.next())
	hear := func(c *server.Talk) {
		for _, line := range c.Ended() {
			_, text, _ := strings.Cut(line, " ")       // the tag is the client's own
			if !strings.HasPrefix(text, "URLFETCH ") { // which names the URL that was asked for
				said.WriteString(text + "\n")
			}
		}
	}
	for _, tls := range []bool{false, true} {
		dial := func(clear, ssl string) *server.Talk {
			if tls {
				return server.DialTLS(t, ssl, s.TLS())
			}
			return server.Dial(t, clear)
		}
		p := hidden.next
		// One conversation each, because a login ends the attempts.
		for _, lines := range [][]string{
			{"a LOGIN " + bob + " " + second},
			{"a AUTHENTICATE PLAIN " + b64("\x00"+bob+"\x00"+second)},
			{"a AUTHENTICATE LOGIN", b64(bob), b64(second)},
			{`a LOGIN "` + bob + `" "` + p() + `"`, "b LOGIN " + bob + " " + p() + " more", `c LOGIN x "` + p(), "d LOGIN " + bob + " {13+}", p()},
			{"a AUTHENTICATE PLAIN " + b64(bob+"\x00"+p()), "b AUTHENTICATE PLAIN " + b64("\x00\x00\x00"+p()), "c AUTHENTICATE PLAIN " + p() + "*"},
			{"a AUTHENTICATE PLAIN", p() + "!", "b AUTHENTICATE LOGIN", b64(bob), p() + "*", "c AUTHENTICATE LOGIN", b64(bob), b64(p() + "\x00")},
			{"a AUTHENTICATE NOSUCH " + b64(p()), "b AUTHENTICATE NOSUCH", b64(p()), "c LOGIN", p(), p() + " LOGIN x", "d " + p(), "e LOGIN " + bob + " " + strings.Repeat(p(), 100)},
			// Once logged in, a client that is confused sends it again.
			{"a LOGIN " + bob + " " + second, "b LOGIN " + bob + " " + p(), "c AUTHENTICATE PLAIN " + b64("\x00"+bob+"\x00"+p()), b64(p()), p(), "d " + p(),
				"e NOOP " + p(), "f UID " + p(), "g SELECT INBOX " + p(), p() + " NOOP", "h ENABLE " + p() + "*", fmt.Sprintf("i SEARCH SUBJECT {%d+}", len(second)), second,
				"j IDLE", p(), fmt.Sprintf("k APPEND INBOX {%d+}", len(mailText(second))), mailText(second)},
			{"a LOGIN " + bob + " " + phone},
			{"a LOGIN " + bob + " " + phone + "x", "b AUTHENTICATE OAUTHBEARER " + b64("n,a="+bob+",\x01auth=Bearer "+p()+"\x01\x01"), "AQ==", "c AUTHENTICATE XOAUTH2 " + b64("user="+bob+"\x01auth=Bearer "+p()+"\x01\x01"), "",
				"d AUTHENTICATE XOAUTH2", b64("user=" + bob + "\x01auth=Bearer " + p()), "e AUTHENTICATE CRAM-MD5", b64(bob + " " + p())},
			{"a LOGIN " + bob + " " + second, "b GENURLAUTH \"imap://" + bob + "@localhost/INBOX/;uid=1;urlauth=anonymous\" INTERNAL", "c URLFETCH \"imap://" + bob + "@localhost/INBOX/;uid=1;urlauth=anonymous:internal:" + p() + "\"",
				fmt.Sprintf("d SETMETADATA INBOX (/private/comment {%d+}", len(second)), second + ")"},
			{"a AUTHENTICATE SCRAM-SHA-256 " + b64("n,,n="+bob+",r=once"), b64("c=biws,r=" + p() + ",p=" + b64(p()))},
		} {
			c := dial(s.IMAP, s.IMAPS)
			c.Send(append(lines, "z LOGOUT")...)
			hear(c)
		}
		for _, lines := range [][]string{
			{"USER " + bob, "PASS " + second},
			{"AUTH PLAIN " + b64("\x00"+bob+"\x00"+second)},
			{"AUTH LOGIN", b64(bob), b64(second)},
			{"USER " + bob, "PASS " + p(), "PASS " + p(), "APOP " + bob + " " + p(), "PASS\t" + p(), p() + " x", "AUTH " + p()},
			{"AUTH PLAIN " + b64(p()), "AUTH PLAIN " + p(), "AUTH PLAIN", p() + "*", "AUTH LOGIN", b64(bob), b64(p() + "\xff"), "USER " + bob, "PASS " + strings.Repeat(p(), 100)},
			{"USER " + p(), "PASS " + p(), "USER", p(), "STLS " + p(), "CAPA " + p(), "LANG " + p(), "RETR " + p()},
			{"USER " + bob, "PASS " + second, "PASS " + p(), "USER " + p(), "AUTH PLAIN " + b64(p()), p(), "RETR " + p(), "DELE 1 " + p(), "NOOP " + p(), "TOP 1 " + p()},
			{"USER " + bob, "PASS " + phone},
			{"AUTH OAUTHBEARER " + b64("n,a="+bob+",\x01auth=Bearer "+p()+"\x01\x01"), "AQ==", "AUTH XOAUTH2 " + b64("user="+bob+"\x01auth=Bearer "+p()+"\x01\x01"), "APOP " + bob + " " + p()},
			{"AUTH SCRAM-SHA-512 " + b64("n,,n="+bob+",r=once"), b64("c=biws,r=" + p() + ",p=" + b64(p()))},
		} {
			c := dial(s.POP3, s.POP3S)
			c.Send(append(lines, "QUIT", "QUIT")...)
			hear(c)
		}
	}
	private := hidden.next()
	s.MustDeliver(t, mailText(private), bob)
	for _, lines := range [][]string{
		{"AUTH PLAIN " + b64("\x00"+bob+"\x00"+hidden.next())},
		{"LHLO x", "AUTH LOGIN", b64(bob), b64(hidden.next()), hidden.next(), "NOOP x", "MAIL FROM:<" + bob + "> AUTH=" + hidden.next(), "DATA", hidden.next()},
	} {
		c := server.Dial(t, s.LMTPSocket)
		c.Send(append(lines, "QUIT")...)
		hear(c)
	}
	for _, service := range []string{"IMAP4", "POP3", "LMTP"} {
		records := s.MustShell("Get-ProtocolLog", "-Service", service, "-ResultSize", "10000")
		said.WriteString(records)
		if !strings.Contains(records, "OpenSession") || !strings.Contains(records, "Unknown") || service != "LMTP" && !strings.Contains(records, "*****") {
			t.Errorf("the protocol log of %s:\n%s", service, records)
		}
	}
	s.Stop()
	log := s.Output()
	for _, want := range []string{"level=DEBUG", `msg="login refused"`, bob} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s; it is\n%s", want, log)
		}
	}
	if p := hidden.in([]byte(log)); p != "" {
		for line := range strings.Lines(log) {
			if hidden.in([]byte(line)) != "" {
				t.Errorf("the log has %s: %s", p, line)
			}
		}
	}
	for line := range strings.Lines(said.String()) {
		if p := hidden.in([]byte(line)); p != "" {
			t.Errorf("the server said %s back: %s", p, line)
		}
	}
	files, logs := 0, 0
	err := filepath.WalkDir(s.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		// The message is in the store, and there it may be.
		if p := hidden.in(content); p != "" && (p != private && p != second || strings.Contains(path, "/log/")) {
			t.Errorf("%s has %s", path, p)
		}
		if strings.Contains(path, "/log/") {
			logs++
		}
		files++
		return err
	})
	if err != nil || files == 0 || logs != 3 {
		t.Error(files, logs, err)
	}
	t.Logf("prove: passwords, tokens and signatures that no log, file and answer has: %d", len(hidden.all))
}

// https asks for something with a token: where it belongs, and where it does not.
func https(t *testing.T, s *server.Server, token string) {
	t.Helper()
	base, err := url.Parse(s.Console)
	if err != nil || base.Host == "" {
		t.Fatalf("the console is at %q: %v", s.Console, err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.TLS(), DisableKeepAlives: true}, Timeout: time.Minute}
	for _, place := range []string{"header", "query", "cookie", "path", "password", "agent"} {
		address := "https://" + base.Host + "/api/openapi.json"
		switch place {
		case "query":
			address += "?token=" + url.QueryEscape(token)
		case "path":
			address += "/" + url.PathEscape(token)
		}
		request, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch place {
		case "header":
			request.Header.Set("Authorization", "Bearer "+token)
		case "cookie":
			request.Header.Set("Cookie", "__Host-session="+token)
		case "password":
			request.SetBasicAuth("x", token)
		case "agent":
			request.Header.Set("User-Agent", token)
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || server.Holds(text, token) {
			t.Errorf("in the %s: %v %.200s", place, err, text)
		}
	}
}

// mailText is a message with something private in it.
func mailText(private string) string {
	return "From: a@security.example\r\nSubject: " + private + "\r\n\r\n" + private + "\r\n"
}

// TestLogIsPrintable: whatever clients call themselves, every record is one line of
// printable characters that the server began.
func TestLogIsPrintable(t *testing.T) {
	s := serve(t, "--log-level", "debug")
	s.SetLoginType("PlainTextLogin")
	for _, evil := range []string{
		"\u202eeve\u2066\u0085x\u2028x\x7fx\x1b[31m", "eve\rtime=1 level=ERROR msg=forged", "\u202eeve\xff", "\u2067eve",
	} {
		c := server.Dial(t, s.IMAP)
		c.Send(
			fmt.Sprintf("a ID (\"name\" {%d+}", len(evil)), evil+")",
			"b ID (\"name\" \"x\")",
		)
		c.Until("b OK")
		c.Send(fmt.Sprintf("c LOGIN {%d+}", len(evil)), evil+" x", "d AUTHENTICATE PLAIN "+b64("\x00"+evil+"\x00x"), "e LOGOUT")
		c.Ended()
		c = server.Dial(t, s.POP3)
		c.Send("USER "+evil, "PASS x", "AUTH PLAIN "+b64("\x00"+evil+"\x00x"), "QUIT")
		c.Ended()
		c = server.Dial(t, s.LMTPSocket)
		c.Send("LHLO "+evil, "LHLO x", "MAIL FROM:<"+evil+"@x> SMTPUTF8", "RSET", "MAIL FROM:<"+evil+"> SMTPUTF8", "RCPT TO:<"+evil+"@security.example>", "RCPT TO:<"+alice.Name+">", "DATA", "Subject: x", "", ".", "QUIT")
		c.Ended()
	}
	s.Shell("Get-Mailbox", "\u202eeve")
	s.Shell("New-Mailbox", "eve\u0085\n", "-Password", "x")
	s.Stop()
	log := s.Output()
	if !strings.Contains(log, `\u202e`) || !strings.Contains(log, `\x1b`) {
		t.Errorf("nobody is in the log:\n%s", log)
	}
	for line := range strings.Lines(log) {
		line, _ = strings.CutSuffix(line, "\n")
		if !strings.HasPrefix(line, "time=2") || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
			t.Errorf("a record of the log: %+q", line)
		}
	}
}
