package differential

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

// TestDifferential plays every script with both servers.
func TestDifferential(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Postern and Dovecot")
	}
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	described := differences(t)
	var accounts []server.Account
	for i := range scripts {
		accounts = append(accounts, server.Account{Name: fmt.Sprintf("d%d@example.org", i), Password: "differential-pw"})
	}
	plain := map[string]any{"LoginType": "PlainTextLogin", "MaxConnectionsPerUser": "1000", "MaxConnectionFromSingleIP": "2000"}
	postern := server.Serve(t, server.Options{Accounts: accounts, Cmdlets: []server.Cmdlet{
		{Name: "Set-ImapSettings", Parameters: plain}, {Name: "Set-PopSettings", Parameters: plain},
	}})
	peer := startDovecot(t, accounts)
	for i, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			ours := &player{t: t, account: accounts[i], imap: postern.IMAP, pop3: postern.POP3, sessions: map[string]*talk{}}
			theirs := &player{t: t, account: accounts[i], imap: peer.imap, pop3: peer.pop3, sessions: map[string]*talk{}}
			for _, s := range readScript(t, path) {
				if s.differs != "" && !described[s.differs] {
					t.Fatalf("%s:%d: docs/differences.md has no difference called %s", path, s.line, s.differs)
				}
				answer := make(chan []string, 1)
				go func() {
					defer close(answer) // also when play fails the test
					answer <- theirs.play(s)
				}()
				a := ours.play(s)
				b, ok := <-answer
				if !ok {
					t.FailNow()
				}
				withoutCodes(a, b)
				if slices.Equal(a, b) != (s.differs == "") {
					a, b = ours.late(s, a), theirs.late(s, b)
					withoutCodes(a, b)
				}
				switch same := slices.Equal(a, b); {
				case same && s.differs != "":
					t.Errorf("%s:%d: %s\n\tthe answers are the same now: %q", path, s.line, s.text, a)
				case !same && s.differs == "":
					t.Errorf("%s:%d: %s\n%s", path, s.line, s.text, difference(a, b))
				case !same && testing.Verbose():
					t.Logf("%s:%d: %s\n%s", path, s.line, s.text, difference(a, b))
				}
			}
		})
	}
}

// withoutCodes takes the response code of a NO away where Dovecot has none: it gives
// one seldom.
func withoutCodes(postern, dovecot []string) {
	for i := range min(len(postern), len(dovecot)) {
		if d := dovecot[i]; strings.HasSuffix(d, " NO") && strings.HasPrefix(postern[i], d+" [") {
			postern[i] = d
		}
	}
}

// differences gives the names of those that docs/differences.md describes; every
// one must show in a script.
func differences(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	var scripts strings.Builder
	paths, _ := filepath.Glob("testdata/*.txt")
	for _, path := range paths {
		script, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		scripts.Write(script)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^- `([\\w-]+)`").FindAllStringSubmatch(string(text), -1) {
		names[m[1]] = true
		if !strings.Contains(scripts.String(), "~"+m[1]+" ") {
			t.Errorf("docs/differences.md: %s shows in no script", m[1])
		}
	}
	return names
}

// difference shows what only one of two answers has.
func difference(postern, dovecot []string) string {
	var out strings.Builder
	show := func(name string, lines, other []string) {
		for _, line := range lines {
			if !slices.Contains(other, line) {
				fmt.Fprintf(&out, "\t%s %.2000s\n", name, line)
			}
		}
	}
	show("Postern:", postern, dovecot)
	show("Dovecot:", dovecot, postern)
	if out.Len() == 0 {
		fmt.Fprintf(&out, "\tPostern: %q\n\tDovecot: %q\n", postern, dovecot)
	}
	return out.String()
}
