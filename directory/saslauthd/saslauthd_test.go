package saslauthd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/directory/passwd"
	"github.com/postern-mail/postern/mail"
	daemon "github.com/postern-mail/postern/test/saslauthd"
	"github.com/postern-mail/postern/test/stopwatch"
)

func open(t *testing.T, o Options) *Source {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func wantKind(t *testing.T, what string, err error, kind mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != kind {
		t.Errorf("%s: %v, want %s", what, err, kind)
	}
}

// PAM proves, a file says who exists.
func TestSource(t *testing.T) {
	directorytest.RunSource(t, directorytest.SourceTest{MaxPassword: MaxPassword, Open: func(t *testing.T, people []directorytest.Someone) directory.Source {
		passwords := map[string]string{}
		var lines strings.Builder
		for _, p := range people {
			local := strings.TrimSuffix(p.Name, "@example.org")
			if p.Password != "" {
				passwords[local] = p.Password
			}
			extra := "postern_aliases=" + strings.Join(p.Aliases, ",")
			if p.QuotaBytes != nil {
				extra += fmt.Sprintf(" quota_rule=*:bytes=%d:messages=%d", *p.QuotaBytes, *p.QuotaMessages)
			}
			if p.Blocked != "" {
				extra += " postern_blocked=yes"
			}
			fmt.Fprintf(&lines, "%s:x:1000:1000:%s:/:/:%s\n", local, p.DisplayName, strings.Replace(extra, "postern_aliases= ", "", 1))
		}
		file := filepath.Join(t.TempDir(), "users")
		if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		known, err := passwd.Open(t.Context(), passwd.Options{File: file, Domain: "example.org"})
		if err != nil {
			t.Fatal(err)
		}
		return open(t, Options{Socket: daemon.Start(t, passwords).Socket, Domain: "example.org", People: known})
	}})
}

// Without a file the daemon alone says who gets in, and nobody who exists.
func TestAlone(t *testing.T) {
	s := daemon.Start(t, map[string]string{"anna": "geheim"})
	d := open(t, Options{Socket: s.Socket, Domain: "example.org", Timeout: "00:00:30"})
	_, err := d.Find(t.Context(), "anna@example.org")
	wantKind(t, "Find", err, mail.KindCannot)
	if p, err := d.CheckPassword(t.Context(), "anna@example.org", "geheim"); err != nil || p.ID != "anna@example.org" {
		t.Errorf("%v, %v", p, err)
	}
	for _, name := range []string{"anna", "anna@other.example", "anna@example.org\x00", "@example.org"} {
		_, err := d.Find(t.Context(), name)
		wantKind(t, name, err, mail.KindNotFound)
		_, err = d.CheckPassword(t.Context(), name, "geheim")
		wantKind(t, name, err, mail.KindNotFound)
	}
	_, err = d.CheckPassword(t.Context(), "nobody@example.org", "geheim")
	wantKind(t, "nobody", err, mail.KindAuthenticationFailed)
	s.Stop()
	_, err = d.CheckPassword(t.Context(), "anna@example.org", "geheim")
	wantKind(t, "while the daemon is down", err, mail.KindUnavailable)
	s.Run()
	if p, err := d.CheckPassword(t.Context(), "anna@example.org", "geheim"); err != nil {
		t.Errorf("after a restart: %v, %v", p, err)
	}
}

// A daemon that lies, is slow or is cut off.
func TestFaults(t *testing.T) {
	folder, err := os.MkdirTemp("", "postern-sasl-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	socket := filepath.Join(folder, "mux")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := make(chan string, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer := <-answers
				c.SetReadDeadline(time.Now().Add(time.Second))
				if answer == "silent" {
					io.Copy(io.Discard, c)
					return
				}
				io.ReadFull(c, make([]byte, 30))
				c.Write([]byte(answer))
			}()
		}
	}()
	d := open(t, Options{Socket: socket, Domain: "example.org", Timeout: "00:00:01"})
	for _, answer := range []string{"silent", "", "\x00", "\x00\x02", "\x00\x02O", "\x00\x00", "\xff\xffOK", "\x00\x02KO", "\x00\x03OKX", "\x00\x05hello"} {
		stopwatch.Within(t, 3*time.Second, fmt.Sprintf("%q", answer), func() {
			answers <- answer
			p, err := d.CheckPassword(t.Context(), "anna@example.org", "geheim")
			wantKind(t, fmt.Sprintf("%q: %v", answer, p), err, mail.KindUnavailable)
		})
	}
	d = open(t, Options{Socket: socket, Domain: "example.org", Timeout: "00:00:30"})
	answers <- "\x00\x0aOK Success"
	if p, err := d.CheckPassword(t.Context(), "anna@example.org", "geheim"); err != nil {
		t.Errorf("%v, %v", p, err)
	}
	answers <- "\x00\x02NO"
	_, err = d.CheckPassword(t.Context(), "anna@example.org", "geheim")
	wantKind(t, "NO", err, mail.KindAuthenticationFailed)
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{Socket: "mux"}, {Socket: "/" + strings.Repeat("x", 200)}, {Service: "../login"}, {Domain: "a b"}, {Timeout: "x"}, {Timeout: "01:00:00"}, {Connections: -1}, {Connections: 1000},
	} {
		if _, err := Open(o); err == nil || mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x00\x02OK"))
	f.Add([]byte("\x00\x12NO authentication"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		ok, err := readAnswer(bytes.NewReader(answer))
		if ok && (err != nil || len(answer) < 4 || string(answer[2:4]) != "OK" || int(binary.BigEndian.Uint16(answer)) > len(answer)-2) {
			t.Errorf("%q is OK", answer)
		}
	})
}
