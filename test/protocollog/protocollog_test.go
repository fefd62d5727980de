// Package protocollog proves on the running server that the protocol log follows its
// settings while sessions go on, can be read and followed, and that sessions can be
// seen and ended.
package protocollog

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"context"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

var (
	alice = server.Account{Name: "alice@log.example", Password: "of-Alice-9fK2mQ"}
	bob   = server.Account{Name: "bob@log.example", Password: "of-Bob-77aQxy"}
)

func serve(t *testing.T) *server.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the server")
	}
	return server.Serve(t, server.Options{Accounts: []server.Account{alice, bob}})
}

// commands gives what a session did, with its outcome.
func commands(t *testing.T, s *server.Server, args ...string) string {
	t.Helper()
	var list []string
	for _, o := range s.Objects(append([]string{"Get-ProtocolLog"}, args...)...) {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s", o["Command"], o["Parameters"]))+" "+o["Context"].(string))
	}
	return strings.Join(list, "\n")
}

// TestLive: open sessions begin and stop to log with their next command, without a
// restart; a folder that cannot be written to is refused and nothing changes.
func TestLive(t *testing.T) {
	s := serve(t)
	c := s.Login(t, alice)
	c.MustIMAP("SELECT INBOX")
	if _, err := os.Stat(filepath.Join(s.Data, "log")); !os.IsNotExist(err) {
		t.Error("there is a log before it is switched on")
	}
	s.MustShell("Set-ImapSettings", "-ProtocolLogEnabled", "$true")
	c.MustIMAP("NOOP")
	c.MustIMAP(`UID SEARCH ALL`)
	if _, answer := c.IMAP("SELECT nowhere"); !strings.HasPrefix(answer, "NO") {
		t.Error(answer)
	}
	want := "NOOP R=OK\nUID SEARCH ALL R=OK\nSELECT nowhere R=NO;Code=NONEXISTENT"
	if got := commands(t, s, "-SessionId", "IMAP4-1"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	folder := filepath.Join(s.Data, "elsewhere")
	blocked := filepath.Join(s.Folder, "file", "log")
	if err := os.WriteFile(filepath.Join(s.Folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := s.Shell("Set-ImapSettings", "-LogFileLocation", blocked); code == 0 || !strings.Contains(out, blocked) {
		t.Errorf("%d %s", code, out)
	}
	if out, code := s.Shell("Set-PopSettings", "-ProtocolLogEnabled", "$true", "-LogFileLocation", blocked); code == 0 {
		t.Error(out)
	}
	if out := s.MustShell("Get-PopSettings"); !strings.Contains(out, "ProtocolLogEnabled") || strings.Contains(out, blocked) {
		t.Error(out)
	}
	s.MustShell("Set-ImapSettings", "-LogFileLocation", folder, "-ProtocolLogFormat", "Json", "-LogFileRollOverSettings", "Hourly")
	c.MustIMAP("NOOP")
	if got := commands(t, s); got != "NOOP R=OK" {
		t.Errorf("in the new folder: %s", got)
	}
	files, _ := filepath.Glob(filepath.Join(folder, "IMAP4-??????????-1.JSONL"))
	if len(files) != 1 {
		t.Errorf("files: %q", files)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	s.MustShell("Set-ImapSettings", "-MaxConnectionFromSingleIP", "1")
	server.Dial(t, s.IMAP).Ended()
	if got := commands(t, s); !strings.HasSuffix(got, "RefuseSession Reason=Too many connections from your address.") {
		t.Errorf("who was turned away: %s", got)
	}
	// A disk that fails harms nobody.
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		c.MustIMAP("NOOP")
	}
	s.MustShell("Set-ImapSettings", "-ProtocolLogEnabled", "$false")
	c.MustIMAP("LOGOUT")
	if strings.Contains(s.Output(), "panic") {
		t.Error(s.Output())
	}
}

// TestSession: a session from its beginning to its end, with TLS, over POP3 and IMAP4
// and LMTP, and the settings over a restart.
func TestSession(t *testing.T) {
	s := serve(t)
	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings", "Set-LmtpSettings"} {
		s.MustShell(set, "-ProtocolLogEnabled", "$true")
	}
	s.Restart()
	c := server.Dial(t, s.IMAP)
	c.Want("* OK")
	if _, answer := c.IMAP("LOGIN %s %s", alice.Name, alice.Password); !strings.HasPrefix(answer, "NO") {
		t.Error(answer)
	}
	c.Send("s STARTTLS")
	c.Want("s OK")
	c.StartTLS(s.TLS())
	c.MustIMAP(`ID ("name" "Tester" "version" "1,0" "os" "x")`)
	c.MustIMAP("LOGIN %s %s", alice.Name, alice.Password)
	c.Append("INBOX", "", "Subject: x\r\n\r\nx\r\n")
	if _, answer := c.IMAP("NONSENSE %s", alice.Password); !strings.HasPrefix(answer, "BAD") {
		t.Error(answer)
	}
	c.MustIMAP("LOGOUT")
	c.Ended()
	version := tls.VersionName(c.Conn.(*tls.Conn).ConnectionState().Version)
	cipher := tls.CipherSuiteName(c.Conn.(*tls.Conn).ConnectionState().CipherSuite)
	overTLS := "TLS=" + version + ";Cipher=" + cipher
	want := []string{
		"OpenSession ", "LOGIN ***** R=NO;Code=PRIVACYREQUIRED", "STARTTLS R=OK;" + overTLS, "ID Tester 1,0 R=OK", "LOGIN ***** R=OK;Code=CAPABILITY",
		"APPEND INBOX {17} R=OK;Code=APPENDUID", "Unknown R=BAD", "LOGOUT R=OK", "CloseSession ",
	}
	server.Eventually(t, 60*time.Second, "the end of the session", func() bool { return strings.Contains(commands(t, s, "-Service", "IMAP4"), "CloseSession") })
	if got := commands(t, s, "-Service", "IMAP4"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	list := s.Objects("Get-ProtocolLog", "-User", "ALICE*", "-Address", "127.0.0.0/8")
	if len(list) != 5 || list[1]["BytesReceived"].(float64) < 17 || list[0]["User"] != alice.Name {
		t.Errorf("%v", list)
	}

	p := server.DialTLS(t, s.POP3S, s.TLS())
	p.Want("+OK")
	p.Send("USER "+bob.Name, "PASS wrong-"+bob.Password, "AUTH NOSUCH x", "STAT", "USER "+bob.Name, "PASS "+bob.Password, "LIST 1", "STAT", "QUIT")
	p.Ended()
	server.Eventually(t, 60*time.Second, "the end of the session", func() bool { return strings.Contains(commands(t, s, "-Service", "POP3"), "CloseSession") })
	got := commands(t, s, "-Service", "POP3")
	for _, want := range []string{
		"OpenSession " + overTLS, "USER ***** R=OK", "PASS ***** R=ERR;Code=AUTH", "AUTH R=ERR", "STAT R=ERR", "PASS ***** R=OK", "LIST 1 R=ERR", "STAT R=OK", "QUIT R=OK",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	s.Deliver(t, "Subject: y\r\n\r\ny\r\n", bob.Name, "nobody@log.example", alice.Name)
	server.Eventually(t, 60*time.Second, "the end of the session", func() bool { return strings.Contains(commands(t, s, "-Service", "LMTP"), "CloseSession") })
	got = commands(t, s, "-Service", "LMTP", "-Address", "unix")
	for _, want := range []string{
		"LHLO test R=250", "MAIL FROM:<sender@test.example> R=250", "RCPT TO:<nobody@log.example> R=550", "DATA R=250;Accepted=2;Refused=0", "QUIT R=221",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for crash := 1; crash <= 3; crash++ { // what was written is there, and a new file begins
		s.Kill()
		s.Restart()
		server.Dial(t, s.IMAP).Want("* OK")
		// A kill before the line is written, soon, would leave no file.
		server.Eventually(t, 60*time.Second, "the files", func() bool {
			files, _ := filepath.Glob(filepath.Join(s.Data, "log", "IMAP4", "*"))
			return len(files) > crash
		})
	}
	if got := commands(t, s, "-Service", "IMAP4"); !strings.HasPrefix(got, strings.Join(want, "\n")) {
		t.Errorf("after crashes:\n%s", got)
	}
}

// TestURLs: whoever has the token of a URL may fetch what it means; no log has one.
func TestURLs(t *testing.T) {
	s := serve(t)
	s.MustShell("Set-ImapSettings", "-ProtocolLogEnabled", "$true")
	c := s.Login(t, alice)
	c.Append("INBOX", "", "Subject: x\r\n\r\nx\r\n")
	lines := c.MustIMAP(`GENURLAUTH "imap://%s@h/INBOX/;uid=1;urlauth=anonymous" INTERNAL`, strings.ReplaceAll(alice.Name, "@", "%40"))
	url := strings.Split(strings.Join(lines, "\n"), `"`)[1]
	_, token, _ := strings.Cut(url, ":internal:")
	if len(token) != 66 {
		t.Fatalf("%q", lines)
	}
	c.MustIMAP(`URLFETCH "%s"`, url)
	c.MustIMAP(`APPEND INBOX CATENATE (URL "%s")`, url)
	if _, answer := c.IMAP(`APPEND INBOX CATENATE (URL "%s0")`, url); !strings.HasPrefix(answer, "NO [BADURL") {
		t.Error(answer)
	}
	c.IMAP(`URLFETCH ("%s" BINARY) (`, url)
	c.MustIMAP("LOGOUT")
	c.Ended()
	server.Eventually(t, 60*time.Second, "the end of the session", func() bool { return strings.Contains(commands(t, s, "-Service", "IMAP4"), "CloseSession") })
	got := commands(t, s, "-Service", "IMAP4")
	if strings.Contains(got, token[:20]) || !strings.Contains(got, "URLFETCH  R=OK") && !strings.Contains(got, "URLFETCH ***** R=OK") || !strings.Contains(got, "APPEND ***** R=NO;Code=BADURL") {
		t.Errorf("got\n%s", got)
	}
}

// TestSizes: what each command received adds up to what came, however it was sent; an
// unfinished one is nobody's.
func TestSizes(t *testing.T) {
	s := serve(t)
	s.MustShell("Set-ImapSettings", "-ProtocolLogEnabled", "$true")
	s.MustShell("Set-PopSettings", "-ProtocolLogEnabled", "$true")
	message := "Subject: x\r\n\r\n" + strings.Repeat("x", 100_000) + "\r\n"
	i := server.DialTLS(t, s.IMAPS, s.TLS())
	i.Send("a LOGIN "+alice.Name+" {14+}", alice.Password[:14], "b LOGIN "+alice.Name+" "+alice.Password, "c NOOP", "d SELECT INBOX",
		fmt.Sprintf("e APPEND INBOX {%d+}", len(message)), message, "f FETCH 1 (BODY[])", "g IDLE")
	i.Until("+ ")
	i.Send("DONE", "h SEARCH SUBJECT {1+}", "x", "i NONSENSE abc", "j LOGOUT")
	i.Ended()
	p := server.DialTLS(t, s.POP3S, s.TLS())
	p.Send("USER x", "AUTH PLAIN", "!", strings.Repeat("y", 9000), "USER "+alice.Name, "PASS "+alice.Password, "RETR 1", "NOOP", "QUIT")
	p.Ended()
	for _, service := range []string{"IMAP4", "POP3"} {
		var list []map[string]any
		server.Eventually(t, 60*time.Second, "the end of the session", func() bool {
			list = s.Objects("Get-ProtocolLog", "-Service", service)
			return len(list) > 0 && list[len(list)-1]["Command"] == "CloseSession"
		})
		sum, sent := 0.0, 0.0
		for n, o := range list[:len(list)-1] {
			sum += o["BytesReceived"].(float64)
			sent += o["BytesSent"].(float64)
			if o["Sequence"].(float64) != float64(n) {
				t.Errorf("%s: sequence %v at %d", service, o["Sequence"], n)
			}
			if c := o["Command"]; (c == "FETCH" || c == "RETR") && o["BytesSent"].(float64) < 100_000 || c == "APPEND" && o["BytesReceived"].(float64) < 100_000 {
				t.Errorf("%v", o)
			}
		}
		last := list[len(list)-1]
		if total := last["BytesReceived"]; sum != total {
			t.Errorf("%s: commands received %v bytes, the session %v: %v", service, sum, total, list)
		}
		if greeting := last["BytesSent"].(float64) - sent; greeting < 20 || greeting > 400 {
			t.Errorf("%s: %v bytes were sent by no command", service, greeting)
		}
	}
}

// TestFollow: the log and the audit are followed while they are written; whoever goes
// frees the place, and the server's end ends it.
func TestFollow(t *testing.T) {
	s := serve(t)
	s.MustShell("Set-ImapSettings", "-ProtocolLogEnabled", "$true")
	follow := server.Begin(t, s.Folder, nil, server.Binary(t), "--socket", s.Socket, "Get-ProtocolLog", "-User", alice.Name, "-Follow")
	audit := server.Begin(t, s.Folder, nil, server.Binary(t), "--socket", s.Socket, "Get-AuditLog", "-Wait", "|", "ConvertTo-Json")
	b := s.Login(t, bob)
	c := s.Login(t, alice)
	follow.Within(t, 60*time.Second, "the followed log", func() bool {
		b.MustIMAP("STATUS INBOX (UIDNEXT)")
		c.MustIMAP("EXAMINE INBOX")
		return strings.Contains(follow.Output(), "EXAMINE")
	})
	if out := follow.Output(); strings.Contains(out, "STATUS") || strings.Count(out, "SessionId") != 1 {
		t.Errorf("followed:\n%s", out)
	}
	audit.Within(t, 60*time.Second, "the followed audit", func() bool {
		s.MustShell("Set-ImapSettings", "-MaxConnections", fmt.Sprint(1000+time.Now().UnixNano()%1000))
		return strings.Contains(audit.Output(), `"MaxConnections"`)
	})
	if code, err := follow.Interrupt(); code != 0 || err != nil {
		t.Error(code, err)
	}
	if out, code := s.Shell("Get-ProtocolLog", "-Follow", "|", "Sort-Object", "User"); code != 2 || !strings.Contains(out, "Sort-Object") {
		t.Error(code, out)
	}
	if out, code := s.Shell("Get-Mailbox", "-Follow"); code != 2 {
		t.Error(code, out)
	}

	// The bound, and that who goes frees the place.
	client := manage.Dial(s.Socket)
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 100)
	ready := make(chan struct{}, 100)
	begin := func() {
		ended <- client.Follow(ctx, "Get-ProtocolLog", map[string]string{"Service": "POP3"}, func(*manage.Result) error { ready <- struct{}{}; return nil }, func(manage.Object) error { return nil }, nil)
	}
	for range 16 {
		go begin()
		<-ready
	}
	if err := client.Follow(ctx, "Get-ProtocolLog", map[string]string{"Service": "POP3"}, func(*manage.Result) error { return nil }, nil, nil); err == nil || !strings.Contains(err.Error(), "followed by 16 already") {
		t.Error(err)
	}
	cancel()
	for range 16 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	ctx = t.Context()
	server.Eventually(t, 60*time.Second, "a free place", func() bool {
		go begin()
		select {
		case <-ready:
			return true
		case <-ended:
			return false
		}
	})

	// Over HTTP itself: a wrong parameter has its status, a right one goes on.
	web := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.Socket)
	}}}
	defer web.CloseIdleConnections()
	for query, status := range map[string]int{
		"Get-ProtocolLog?Nonsense=1": 400, "Get-ProtocolLog?Service=X": 404, "Get-ProtocolLog?Service=Console": 400, "Get-ProtocolLog?User=a&User=b": 400, "Get-Mailbox": 404, "Set-ImapSettings?LoginType=1": 404,
	} {
		answer, err := web.Get("http://x/follow/" + query)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != status {
			t.Errorf("%s: %s", query, answer.Status)
		}
	}
	answer, err := web.Get("http://x/follow/get-protocollog?Service=imap4")
	if err != nil || answer.StatusCode != 200 {
		t.Fatal(answer, err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Scan()
	c.MustIMAP("NOOP")
	if !lines.Scan() || !strings.Contains(lines.Text(), `"Command":"NOOP"`) {
		t.Error(lines.Text())
	}
	began := time.Now()
	s.Stop()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the server took %v to end", took)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the server has ended") {
		t.Error(err)
	}
}

// TestSessions: what is open is shown, whatever clients call themselves, and can be
// ended.
func TestSessions(t *testing.T) {
	s := serve(t)
	c := s.Login(t, alice)
	c.MustIMAP("ID (\"name\" {15+}\r\nT\x1b[31mh\u202eunder \"version\" \"%s\")", strings.Repeat("9", 300))
	c.MustIMAP("SELECT INBOX")
	c.Send("i IDLE")
	c.Want("+")
	idle := server.Dial(t, s.POP3)
	idle.Want("+OK")
	l := server.Dial(t, s.LMTPSocket)
	l.Want("220")
	l.Send("LHLO mx.example")
	l.Want("250")
	other := s.Login(t, bob)
	byID := map[string]map[string]any{}
	server.Eventually(t, 60*time.Second, "IDLE", func() bool {
		for _, o := range s.Objects("Get-Session") {
			byID[o["Identity"].(string)] = o
		}
		return byID["IMAP4-1"]["Command"] == "IDLE"
	})
	a := byID["IMAP4-1"]
	if a["User"] != alice.Name || a["State"] != "Selected" || a["Mailbox"] != "INBOX" || a["Mechanism"] != "LOGIN command" || !strings.HasPrefix(a["Tls"].(string), "TLS 1.") ||
		a["Cipher"] == "" || a["Idle"] == nil || !strings.HasPrefix(a["Address"].(string), "127.0.0.1:") || a["BytesReceived"].(float64) < 100 {
		t.Errorf("%v", a)
	}
	if name := a["Client"].(string); !strings.HasPrefix(name, `T\x1b[31mh\u202eunder 999`) || len(name) > 110 {
		t.Errorf("client %q", name)
	}
	if p := byID["POP3-1"]; p["State"] != "Authorization" || p["User"] != "" || p["Tls"] != "" || p["Idle"] == nil {
		t.Errorf("%v", p)
	}
	if p := byID["LMTP-1"]; p["Client"] != "mx.example" || p["Address"] != "unix" {
		t.Errorf("%v", p)
	}
	for args, want := range map[string]int{"-Service POP3": 1, "-User a*": 1, "-User nobody": 0, "-Address 127.0.0.1": 3, "-Address 10.0.0.0/8": 0, "-Address unix": 1, "-Identity IMAP4-*": 2, "-ResultSize 1": 1} {
		if list := s.Objects(append([]string{"Get-Session"}, strings.Fields(args)...)...); len(list) != want {
			t.Errorf("%s: %v", args, list)
		}
	}
	if out, code := s.Shell("Remove-Session", "IMAP4-1"); code == 0 {
		t.Errorf("it did not ask: %s", out)
	}
	s.MustShell("Remove-Session", "IMAP4-1", "-WhatIf")
	if out, code := s.Shell("Remove-Session", "IMAP4-77", "-Confirm:$false"); code == 0 || !strings.Contains(out, "no session") {
		t.Error(out)
	}
	if out, code := s.Shell("Remove-Session", "-Confirm:$false"); code == 0 {
		t.Error(out)
	}
	s.MustShell("Remove-Session", "IMAP4-1", "-Confirm:$false")
	if lines := c.Ended(); len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], "* BYE") || !strings.Contains(lines[len(lines)-1], "administrator") {
		t.Errorf("%q", lines)
	}
	other.MustIMAP("NOOP") // nobody else
	s.MustShell("Remove-Session", "-User", strings.ToUpper(bob.Name), "-Confirm:$false")
	other.Ended()
	s.MustShell("Get-Session", "-Service", "POP3", "|", "Remove-Session", "-Confirm:$false")
	idle.Ended()
	if out := s.MustShell("Get-AuditLog", "-Cmdlet", "Remove-Session", "-Outcome", "OK"); strings.Count(out, "Remove-Session") != 3 {
		t.Error(out)
	}
}
