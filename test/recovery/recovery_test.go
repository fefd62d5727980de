// Package recovery deletes mail from the real server as clients do, and brings it back as
// administrators do, several at once, while the server is killed.
package recovery

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

var (
	alice = server.Account{Name: "alice@recovery.example", Password: "alice-pass-1234"}
	bob   = server.Account{Name: "bob@recovery.example", Password: "bob-pass-1234"}
)

func serve(t *testing.T) *server.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the server")
	}
	return server.Serve(t, server.Options{Accounts: []server.Account{alice, bob}})
}

func letter(id string) string {
	return "X-Id: " + id + "\r\nFrom: Somebody <some@body.example>\r\nSubject: Letter " + id + "\r\nMessage-ID: <" + id + "@recovery.example>\r\n\r\n" + strings.Repeat("A line.\r\n", 20)
}

// properties gives some of an object, as text.
func properties(o map[string]any, names ...string) string {
	var list []string
	for _, name := range names {
		list = append(list, fmt.Sprint(o[name]))
	}
	return strings.Join(list, "|")
}

// TestRecovery: what clients delete is gone for them, and administrators see who deleted it
// how, and bring it back as it was.
func TestRecovery(t *testing.T) {
	s := serve(t)
	secret := regexp.MustCompile(`([a-z2-9]{4}-){5}[a-z2-9]{4}`).FindString(s.MustShell("New-AppPassword", alice.Name, "phone"))
	c := server.DialTLS(t, s.IMAPS, s.TLS())
	c.Want("* OK")
	c.MustIMAP(`ID ("name" "Mutt" "version" "2.2")`)
	c.MustIMAP("LOGIN %q %q", alice.Name, secret)
	c.MustIMAP("CREATE Projects")
	for i, box := range []string{"INBOX", "INBOX", "INBOX", "Projects"} {
		c.Append(box, `(\Seen $Work)`+` "01-Feb-2020 03:04:05 +0130"`, letter(fmt.Sprint("m", i)))
	}
	s.MustShell("Set-Mailbox", alice.Name, "-ProhibitSendReceiveQuota", "10MB", "-MaxMessages", "1000")
	quotas := regexp.MustCompile(`[( ](STORAGE|MESSAGE) \d+ \d+`)
	quota := func() string {
		return strings.Join(quotas.FindAllString(strings.Join(c.MustIMAP("GETQUOTAROOT INBOX"), " "), -1), "")
	}
	c.MustIMAP("SELECT INBOX")
	email := func(uid int) string {
		t.Helper()
		lines := c.MustIMAP("UID FETCH %d (EMAILID THREADID INTERNALDATE FLAGS RFC822.SIZE)", uid)
		if len(lines) != 1 {
			t.Fatalf("UID %d: %q", uid, lines)
		}
		_, items, _ := strings.Cut(lines[0], "UID")
		return strings.TrimLeft(items, " 0123456789")
	}
	was, before := email(1), quota()
	if strings.Count(before, "STORAGE")+strings.Count(before, "MESSAGE") != 2 {
		t.Fatal(before)
	}
	c.MustIMAP(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	c.MustIMAP("EXPUNGE")
	c.MustIMAP("DELETE Projects")
	// POP3 numbers what is left from 1.
	p := server.DialTLS(t, s.POP3S, s.TLS())
	p.Want("+OK")
	for _, line := range []string{"USER " + alice.Name, "PASS " + alice.Password, "DELE 2", "QUIT"} {
		p.Send(line)
		p.Want("+OK")
	}
	p.Conn.Close()
	c.MustIMAP("NOOP")
	for line, want := range map[string]string{
		"SEARCH ALL": "* SEARCH 1", "STATUS INBOX (MESSAGES)": "* STATUS INBOX (MESSAGES 1)", "STATUS INBOX (DELETED DELETED-STORAGE)": "* STATUS INBOX (DELETED 0 DELETED-STORAGE 0)",
		`LIST "" Projects`: "", `LIST "" Recover*`: "",
	} {
		if got := strings.Join(c.MustIMAP("%s", line), "\n"); got != want {
			t.Errorf("%s: %s", line, got)
		}
	}
	list := s.Objects("Get-RecoverableItem", alice.Name)
	var shown []string
	for _, o := range list {
		shown = append(shown, properties(o, "LastParentPath", "Subject", "From", "DeletedBy", "Mechanism", "AppPassword", "Protocol", "Client", "ClientAddress"))
		if o["DeletedTime"] == nil || !strings.HasPrefix(fmt.Sprint(o["ReceivedTime"]), "2020-02-01T01:34:05") {
			t.Errorf("%v", o)
		}
	}
	if want := []string{
		"INBOX|Letter m2|Somebody <some@body.example>|" + alice.Name + "|USER command||POP3||127.0.0.1",
		"Projects|Letter m3|Somebody <some@body.example>|" + alice.Name + "|LOGIN command|phone|IMAP4|Mutt 2.2|127.0.0.1",
		"INBOX|Letter m0|Somebody <some@body.example>|" + alice.Name + "|LOGIN command|phone|IMAP4|Mutt 2.2|127.0.0.1",
	}; !slices.Equal(shown, want) {
		t.Fatalf("%s\nwant\n%s", strings.Join(shown, "\n"), strings.Join(want, "\n"))
	}
	// Nobody else's.
	first := fmt.Sprint(list[2]["EntryID"])
	if got := s.MustShell("Get-RecoverableItem", bob.Name, "|", "ConvertTo-Json"); strings.TrimSpace(got) != "[]" {
		t.Errorf("bob has %s", got)
	}
	for _, cmdlet := range []string{"Restore-RecoverableItem", "Remove-RecoverableItem"} {
		if out, code := s.Shell(cmdlet, bob.Name, "-EntryID", first, "-Confirm:$false"); code == 0 || !strings.Contains(out, "no recoverable message") {
			t.Errorf("%s: %d %s", cmdlet, code, out)
		}
		if out, code := s.Shell(cmdlet, alice.Name, "-Confirm:$false"); code == 0 || !strings.Contains(out, "which messages are meant") {
			t.Errorf("%s: %d %s", cmdlet, code, out)
		}
	}
	if out := s.MustShell("Restore-RecoverableItem", alice.Name, "-SubjectContains", "LETTER M0", "-WhatIf"); !strings.Contains(out, "1 recoverable message") {
		t.Error(out)
	}
	s.MustShell("Get-RecoverableItem", alice.Name, "-SubjectContains", "letter m0", "|", "Restore-RecoverableItem")
	c.MustIMAP("NOOP")
	if is := email(4); is != was {
		t.Errorf("it is %s, and was %s", is, was)
	}
	if out := s.MustShell("Restore-RecoverableItem", alice.Name, "-LastParentFolder", "Projects", "-TargetFolder", "Back/Again"); !strings.Contains(out, "Back/Again") {
		t.Error(out)
	}
	s.MustShell("Restore-RecoverableItem", alice.Name, "-ResultSize", "unlimited")
	if after := quota(); after != before {
		t.Errorf("the quota is %s, and was %s", after, before)
	}
	if got := strings.Join(c.MustIMAP("STATUS Back/Again (MESSAGES)"), ""); got != "* STATUS Back/Again (MESSAGES 1)" {
		t.Error(got)
	}
	c.MustIMAP(`STORE 1:* +FLAGS.SILENT (\Deleted)`)
	c.MustIMAP("CLOSE")
	list = s.Objects("Get-RecoverableItem", alice.Name)
	if len(list) != 3 {
		t.Fatal(list)
	}
	if out := s.MustShell("Remove-RecoverableItem", alice.Name, "-EntryID", fmt.Sprint(list[0]["EntryID"]), "-Confirm:$false"); !strings.Contains(out, "1") {
		t.Error(out)
	}
	if o := s.Objects("Get-Mailbox", alice.Name)[0]; properties(o, "DeletedItemCount", "RetainDeletedItemsFor", "UseDatabaseRetentionDefaults") != "2|14.00:00:00|true" {
		t.Error(o)
	}
	s.MustShell("Test-Store", alice.Name)
	// What an administrator shortens acts on what is there.
	s.MustShell("Set-Mailbox", alice.Name, "-RetainDeletedItemsFor", "7.00:00:00", "-RecoverableItemsQuota", "1GB")
	if o := s.Objects("Get-Mailbox", alice.Name)[0]; properties(o, "DeletedItemCount", "RetainDeletedItemsFor", "RecoverableItemsQuota", "UseDatabaseQuotaDefaults") != "2|7.00:00:00|1.073741824e+09|false" {
		t.Error(o)
	}
	s.MustShell("Set-Mailbox", alice.Name, "-RetainDeletedItemsFor", "Default")
	s.MustShell("Set-MailboxDatabase", "-DeletedItemRetention", "00:00:00")
	for until := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		o := s.Objects("Get-Mailbox", alice.Name)[0]
		if properties(o, "DeletedItemCount", "TotalDeletedItemSize") == "0|0" {
			break
		}
		if time.Now().After(until) {
			t.Fatal(o)
		}
	}
	s.MustShell("Test-Store", alice.Name)
	if out := s.MustShell("Get-AuditLog", "-Cmdlet", "Re*-RecoverableItem", "-Target", alice.Name, "|", "ConvertTo-Json"); strings.Contains(out, "Letter") || !strings.Contains(out, "Remove-RecoverableItem") || !strings.Contains(out, "Restore-RecoverableItem") {
		t.Errorf("the audit log: %s", out)
	}
	if out := s.MustShell("Get-EventLog", "-Id", "6010,6011"); !strings.Contains(out, "6010") || !strings.Contains(out, "6011") {
		t.Errorf("the events: %s", out)
	}
}

// TestKilled: while several administrators restore what was deleted the server is killed;
// each message is there afterwards once, in a folder or recoverable, and all can be restored.
// POSTERN_RECOVERY_CYCLES says how often, POSTERN_RECOVERY_TIME for how many seconds at most.
func TestKilled(t *testing.T) {
	cycles := 5
	if n, err := strconv.Atoi(os.Getenv("POSTERN_RECOVERY_CYCLES")); err == nil {
		cycles = n
	}
	end := time.Now().Add(1000 * time.Hour)
	if n, err := strconv.Atoi(os.Getenv("POSTERN_RECOVERY_TIME")); err == nil {
		end = time.Now().Add(time.Duration(n) * time.Second)
	}
	s := serve(t)
	const letters = 300
	c := s.Login(t, alice)
	for i := range letters {
		c.Append("INBOX", "", letter(fmt.Sprint("k", i)))
	}
	c.Conn.Close()
	interrupted, cycle := 0, 0
	for ; cycle < cycles && time.Now().Before(end); cycle++ {
		c := s.Login(t, alice)
		c.MustIMAP("SELECT INBOX")
		c.MustIMAP(`STORE 1:* +FLAGS.SILENT (\Deleted)`)
		c.MustIMAP("EXPUNGE")
		c.Conn.Close()
		var work []*server.Process
		for i := range 3 {
			line := []string{"--socket", s.Socket, "Get-RecoverableItem", alice.Name, "-ResultSize", "unlimited", "|", "Restore-RecoverableItem"}
			if i == 2 && cycle%2 == 0 {
				line = []string{"--socket", s.Socket, "Restore-RecoverableItem", alice.Name, "-ResultSize", "unlimited"}
			}
			work = append(work, server.Begin(t, s.Folder, nil, server.Binary(t), line...))
		}
		time.Sleep(time.Duration(50+rand.IntN(500)) * time.Millisecond)
		s.Kill()
		for _, p := range work {
			p.Within(t, 60*time.Second, "the end of Restore-RecoverableItem", func() bool { return !p.Running() })
			if !strings.Contains(p.Output(), "INBOX") {
				interrupted++
			}
		}
		s.Restart()
		c = s.Login(t, alice)
		c.MustIMAP("SELECT INBOX")
		there := map[string]int{}
		id := regexp.MustCompile(`^X-Id: (\S+)`)
		for _, line := range c.MustIMAP("UID FETCH 1:* BODY.PEEK[HEADER.FIELDS (X-Id)]") {
			if m := id.FindStringSubmatch(line); m != nil {
				there[m[1]]++
			}
		}
		back := len(there)
		for _, o := range s.Objects("Get-RecoverableItem", alice.Name, "-ResultSize", "unlimited") {
			there[strings.TrimPrefix(fmt.Sprint(o["Subject"]), "Letter ")]++
		}
		for i := range letters {
			if n := there[fmt.Sprint("k", i)]; n != 1 {
				t.Errorf("cycle %d: letter %d is there %d times", cycle, i, n)
			}
		}
		t.Logf("cycle %d: %d of %d were back", cycle, back, letters)
		s.MustShell("Restore-RecoverableItem", alice.Name, "-ResultSize", "unlimited")
		c.MustIMAP("NOOP")
		if got := strings.Join(c.MustIMAP("STATUS INBOX (MESSAGES)"), ""); got != fmt.Sprintf("* STATUS INBOX (MESSAGES %d)", letters) {
			t.Fatalf("cycle %d: %s", cycle, got)
		}
		c.Conn.Close()
	}
	s.MustShell("Test-Store", alice.Name)
	t.Logf("prove: cycles survived while messages are brought back: %d", cycle)
	t.Logf("prove: calls that a kill interrupted: %d", interrupted)
	t.Logf("prove: messages looked for: %d", cycle*letters)
}

// TestInterrupted: who presses Ctrl-C while messages are brought back, or all mail is read,
// has the prompt again at once; each message is there as often as before, and the same line
// brings back the rest.
func TestInterrupted(t *testing.T) {
	s := serve(t)
	const letters, copies = 100, 64
	c := s.Login(t, alice)
	defer c.Conn.Close()
	for i := range letters {
		c.Append("INBOX", "", letter(fmt.Sprint("i", i))+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 5000))
	}
	c.MustIMAP("SELECT INBOX")
	for n := 1; n < copies; n *= 2 {
		c.MustIMAP("COPY 1:* INBOX")
		c.MustIMAP("NOOP")
	}
	ended := 0
	interrupt := func(begun func() bool, args ...string) {
		t.Helper()
		p := server.Begin(t, s.Folder, nil, server.Binary(t), append([]string{"--socket", s.Socket}, args...)...)
		for p.Running() && !begun() {
		}
		pressed := time.Now()
		code, err := p.Interrupt()
		if took := time.Since(pressed); err != nil || took > 5*time.Second {
			t.Errorf("%s: it took %v to end: %v", args[0], took, err)
		}
		if code == 1 && strings.Contains(p.Output(), "ended before it was done") {
			ended++
		} else if code != 0 {
			t.Errorf("%s: exit code %d\n%s", args[0], code, p.Output())
		}
	}
	count := func() int {
		m := regexp.MustCompile(`MESSAGES (\d+)`).FindStringSubmatch(strings.Join(c.MustIMAP("STATUS INBOX (MESSAGES)"), ""))
		n, _ := strconv.Atoi(m[1])
		return n
	}
	for _, args := range [][]string{{"Test-Store"}, {"Test-Store", "-Follow"}} {
		began := time.Now()
		interrupt(func() bool { return time.Since(began) > 300*time.Millisecond }, args...)
	}
	for range 2 {
		c.MustIMAP(`STORE 1:* +FLAGS.SILENT (\Deleted)`)
		c.MustIMAP("EXPUNGE")
		interrupt(func() bool { return count() > 0 }, "Restore-RecoverableItem", alice.Name, "-ResultSize", "unlimited")
		// The server ends after the change that is under way.
		var back, kept int
		server.Eventually(t, 10*time.Second, "the end of it on the server", func() bool {
			was := back
			back, kept = count(), int(s.Objects("Get-Mailbox", alice.Name)[0]["DeletedItemCount"].(float64))
			return back == was && back+kept == letters*copies
		})
		t.Logf("%d of %d were back", back, letters*copies)
		s.MustShell("Restore-RecoverableItem", alice.Name, "-ResultSize", "unlimited")
		c.MustIMAP("NOOP")
		there := map[string]int{}
		id := regexp.MustCompile(`^X-Id: (\S+)`)
		for _, line := range c.MustIMAP("UID FETCH 1:* BODY.PEEK[HEADER.FIELDS (X-Id)]") {
			if m := id.FindStringSubmatch(line); m != nil {
				there[m[1]]++
			}
		}
		for i := range letters {
			if n := there[fmt.Sprint("i", i)]; n != copies {
				t.Errorf("letter %d is there %d times, and was %d times", i, n, copies)
			}
		}
	}
	if ended == 0 {
		t.Error("nothing was ended in its midst")
	}
	s.MustShell("Test-Store", alice.Name)
	t.Logf("prove: calls ended by Ctrl-C: %d", ended)
}
