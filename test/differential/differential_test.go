package differential

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/dovecot"
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
	peer := dovecot.Start(t, accounts, dovecot.Options{})
	for i, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			ours := &player{t: t, account: accounts[i], imap: postern.IMAP, pop3: postern.POP3, sessions: map[string]*talk{}}
			theirs := &player{t: t, account: accounts[i], imap: peer.IMAP, pop3: peer.POP3, sessions: map[string]*talk{}}
			if _, faults := compare(t, path, described, ours, theirs); len(faults) > 0 {
				t.Error(strings.Join(faults, "\n"))
			}
		})
	}
}

// TestCyrus plays the scripts of testdata/cyrus, about what Dovecot does not have, with
// Postern and Cyrus.
func TestCyrus(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Postern and Cyrus")
	}
	scripts, err := filepath.Glob("testdata/cyrus/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	described := differences(t)
	const plays = 3
	var accounts []server.Account
	for i := range plays * len(scripts) {
		for _, who := range []string{"c", "g"} {
			accounts = append(accounts, server.Account{Name: fmt.Sprintf("%s%d@example.org", who, i), Password: "differential-pw"})
		}
	}
	postern := server.Serve(t, server.Options{Accounts: accounts, Cmdlets: []server.Cmdlet{
		{Name: "Set-ImapSettings", Parameters: map[string]any{"LoginType": "PlainTextLogin"}},
	}})
	cyrus := startCyrus(t, accounts)
	for i, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			// Two of Cyrus's processes now and then give two mailboxes the same unique id, and
			// each has the other's letters or special use then: in 1 of 10 runs. So a script may
			// be played again, by others; Postern must answer the same each time.
			var faults, before []string
			for play := range plays {
				owner, guest := accounts[2*(plays*i+play)], accounts[2*(plays*i+play)+1]
				ours := &player{t: t, account: owner, imap: postern.IMAP, sessions: map[string]*talk{}, guest: guest, others: "Other Users/" + owner.Name, guestID: guest.Name}
				name, _, _ := strings.Cut(owner.Name, "@")
				theirs := &player{t: t, account: owner, imap: cyrus, sessions: map[string]*talk{}, guest: guest, others: "Other Users/" + name, guestID: guest.Name}
				var answers []string
				answers, faults = compare(t, path, described, ours, theirs)
				if play > 0 && !slices.Equal(answers, before) {
					t.Errorf("Postern answers otherwise when the script is played again:\n%s", difference(answers, before))
				}
				if before = answers; len(faults) == 0 {
					return
				}
				t.Logf("play %d: %s", play+1, strings.Join(faults, "\n"))
			}
			t.Error("Postern and Cyrus differed each time")
		})
	}
}

// compare plays a script with Postern and a peer. It gives Postern's answers, and what is
// otherwise than the script says.
func compare(t *testing.T, path string, described map[string]bool, ours, theirs *player) (answers, faults []string) {
	t.Helper()
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
		for _, l := range a {
			if strings.HasPrefix(l, "tag NO") {
				l = "tag NO" // whether its code is left depends on the peer
			}
			answers = append(answers, l)
		}
		switch same := slices.Equal(a, b); {
		case same && s.differs != "":
			faults = append(faults, fmt.Sprintf("%s:%d: %s\n\tthe answers are the same now: %q", path, s.line, s.text, a))
		case !same && s.differs == "":
			faults = append(faults, fmt.Sprintf("%s:%d: %s\n%s", path, s.line, s.text, difference(a, b)))
		case !same && testing.Verbose():
			t.Logf("%s:%d: %s\n%s", path, s.line, s.text, difference(a, b))
		}
	}
	return answers, faults
}

// withoutCodes takes the response code of a NO away where the peer has none: it gives
// one seldom.
func withoutCodes(postern, peer []string) {
	for i := range min(len(postern), len(peer)) {
		if d := peer[i]; strings.HasSuffix(d, " NO") && strings.HasPrefix(postern[i], d+" [") {
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
	cyrus, _ := filepath.Glob("testdata/cyrus/*.txt")
	for _, path := range append(paths, cyrus...) {
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
func difference(postern, peer []string) string {
	var out strings.Builder
	show := func(name string, lines, other []string) {
		for _, line := range lines {
			if !slices.Contains(other, line) {
				fmt.Fprintf(&out, "\t%s %.2000s\n", name, line)
			}
		}
	}
	show("Postern:", postern, peer)
	show("Peer:", peer, postern)
	if out.Len() == 0 {
		fmt.Fprintf(&out, "\tPostern: %q\n\tPeer: %q\n", postern, peer)
	}
	return out.String()
}
