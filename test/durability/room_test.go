package durability

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern-mail/postern/test/imapview"
	"github.com/postern-mail/postern/test/server"
)

// fill takes all room of the file system of a folder.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// login opens a session in INBOX.
func login(t *testing.T, s *server.Server) *imapview.Client {
	t.Helper()
	c, err := dial(s.IMAP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	client, err := imapview.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"LOGIN " + accounts[0].Name + " " + accounts[0].Password, "SELECT INBOX"} {
		_, err := client.Must(command)
		for range 50 { // the store hears in a moment that it only reads now
			if err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
			_, err = client.Must(command)
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, s.Output())
		}
	}
	return client
}

// reads fetches a message in a new session, and in one that is open.
func reads(t *testing.T, s *server.Server, open *imapview.Client) {
	t.Helper()
	for _, c := range []*imapview.Client{open, login(t, s)} {
		if c == nil {
			continue
		}
		r, err := c.Must("UID FETCH 1 (FLAGS BODY.PEEK[])")
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, u := range r.Untagged {
			found = found || strings.Contains(string(u), "Subject: kept")
		}
		if !found {
			t.Fatalf("%q", r.Untagged)
		}
	}
}

const large = 100_000

// send delivers a message by LMTP and gives the answer to it.
func send(t *testing.T, s *server.Server) string {
	t.Helper()
	text := "Subject: more\r\n\r\n" + strings.Repeat("more text\r\n", large/11)
	return s.Deliver(t, text, accounts[0].Name)[0]
}

// appended gives the answer to an APPEND.
func appended(t *testing.T, c *imapview.Client) imapview.Reply {
	t.Helper()
	text := "Subject: more\r\n\r\n" + strings.Repeat("more text\r\n", large/11)
	r, err := c.Do(fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestFullDisk fills the disk of a running server to the last byte: mail is refused with
// 452 and NO, and everything is read, in new sessions too, also by a server that is
// started then; when there is room again mail is taken again, without anybody's doing.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	disk := server.SmallDisk(t, 128)
	s := server.Serve(t, server.Options{Data: filepath.Join(disk, "data"), Accounts: accounts})
	s.SetLoginType("PlainTextLogin")
	s.MustDeliver(t, "Subject: kept\r\n\r\nkept\r\n", accounts[0].Name)
	open := login(t, s)
	taken := 1
	for round := range 3 {
		free := fill(t, disk)
		refused := ""
		for deadline := time.Now().Add(30 * time.Second); refused == "" && time.Now().Before(deadline); {
			if reply := send(t, s); strings.HasPrefix(reply, "250") {
				taken++
			} else {
				refused = reply
			}
		}
		if !strings.HasPrefix(refused, "452 4.3.1 ") {
			t.Errorf("LMTP says %q", refused)
		}
		if r := appended(t, open); r.Condition != "NO" || !strings.Contains(r.Text, "full") {
			t.Errorf("APPEND says %+v", r)
		}
		// The store itself is written to by flags, which need no free reserve.
		for range 2000 {
			if r, err := open.Do(`UID STORE 1 +FLAGS.SILENT (\Flagged)`); err != nil {
				t.Fatal(err)
			} else if r2, err := open.Do(`UID STORE 1 -FLAGS.SILENT (\Flagged)`); err != nil {
				t.Fatal(err)
			} else if r.Condition == "NO" || r2.Condition == "NO" {
				break
			}
		}
		reads(t, s, open)
		if round == 2 { // and one that is started on a full disk
			s.Kill()
			s.Restart()
			open = nil
			reads(t, s, nil)
			if reply := send(t, s); !strings.HasPrefix(reply, "452 ") {
				t.Errorf("LMTP says %q", reply)
			}
		}
		free()
		back := ""
		for deadline := time.Now().Add(30 * time.Second); !strings.HasPrefix(back, "250"); time.Sleep(100 * time.Millisecond) {
			if back = send(t, s); time.Now().After(deadline) {
				t.Fatalf("there is room, and LMTP says %q\n%s", back, s.Output())
			}
		}
		taken++
		if open == nil {
			open = login(t, s)
		}
		if r := appended(t, open); r.Condition != "OK" {
			t.Fatalf("there is room, and APPEND says %+v", r)
		}
		taken++
		reads(t, s, open)
	}
	r, err := login(t, s).Must("STATUS INBOX (MESSAGES)")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("(MESSAGES %d)", taken); !strings.Contains(string(r.Untagged[0]), want) {
		t.Errorf("%q, want %s", r.Untagged, want)
	}
	s.Restart()
	reads(t, s, nil)
}

// TestManyFiles takes the file descriptors of a running server away: connections wait or
// are refused, who is connected goes on or hears NO, and when there are some again
// everything works.
func TestManyFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	s := server.Serve(t, server.Options{Accounts: accounts})
	s.SetLoginType("PlainTextLogin")
	s.MustDeliver(t, "Subject: kept\r\n\r\nkept\r\n", accounts[0].Name)
	open := login(t, s)
	var before unix.Rlimit
	if err := unix.Prlimit(s.PID(), unix.RLIMIT_NOFILE, nil, &before); err != nil {
		t.Fatal(err)
	}
	taken := 1
	for range 3 {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
		if err != nil {
			t.Fatal(err)
		}
		few := before
		few.Cur = uint64(len(list)) + 3
		if err := unix.Prlimit(s.PID(), unix.RLIMIT_NOFILE, &few, nil); err != nil {
			t.Fatal(err)
		}
		var held []net.Conn
		for range 20 {
			if c, err := net.DialTimeout("tcp", s.IMAP, 2*time.Second); err == nil {
				held = append(held, c)
			}
		}
		// Who is connected writes much: tables and files of bodies are made.
		for range 150 {
			if r := appended(t, open); r.Condition == "OK" {
				taken++
			}
		}
		if !s.Running() {
			t.Fatalf("the server has ended:\n%s", s.Output())
		}
		// To read needs files too.
		if r, err := open.Do("UID FETCH 1 BODY.PEEK[]"); err != nil || r.Condition != "OK" && r.Code != "UNAVAILABLE" {
			t.Errorf("FETCH without file descriptors: %+v %v", r, err)
		}
		for _, c := range held {
			c.Close()
		}
		if err := unix.Prlimit(s.PID(), unix.RLIMIT_NOFILE, &before, nil); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			if r := appended(t, open); r.Condition == "OK" {
				taken++
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("there are file descriptors again, and APPEND says %+v\n%s", r, s.Output())
			}
		}
		reads(t, s, open)
	}
	s.Kill()
	s.Restart()
	r, err := login(t, s).Must("STATUS INBOX (MESSAGES)")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("(MESSAGES %d)", taken); !strings.Contains(string(r.Untagged[0]), want) {
		t.Errorf("%q, want %s", r.Untagged, want)
	}
}
