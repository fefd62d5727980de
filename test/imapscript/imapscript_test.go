package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/conformance"
	"github.com/postern-mail/postern/test/dovecot"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

const page = "../../docs/conformance.md"

var accounts = []server.Account{{Name: "script@example.org", Password: "imapscript-pw"}, {Name: "other@example.org", Password: "imapscript-pw"}}

func runner(address string) *Runner {
	s := &conformance.Server{Address: address, Timeout: 10 * time.Second}
	for _, a := range accounts {
		s.Accounts = append(s.Accounts, conformance.Account(a))
	}
	return &Runner{Server: s, Dir: "scripts", Box: "imaptest", Check: true}
}

// TestPostern plays every script with Postern, which must pass them all and skip none.
func TestPostern(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the server")
	}
	s := server.Serve(t, server.Options{Accounts: accounts, Cmdlets: []server.Cmdlet{
		{Name: "Set-ImapSettings", Parameters: map[string]any{"LoginType": "PlainTextLogin", "ThrottleExemptNetworks": "127.0.0.0/8"}},
	}})
	r := runner(s.IMAP)
	r.Server.TLS = s.TLS()
	report := conformance.Play(t, r.Dir, nil, r.Play)
	for _, x := range report.Results {
		if x.Skipped != "" {
			t.Errorf("%s is skipped: %s", x.Name, x.Skipped)
		}
	}
}

// TestSecure plays some scripts over TLS, from the first byte and after STARTTLS, with a
// Postern that takes no passwords in the clear.
func TestSecure(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the server")
	}
	s := server.Serve(t, server.Options{Accounts: accounts})
	r := runner(s.IMAP)
	r.Server.TLS = s.TLS()
	for _, implicit := range []bool{false, true} {
		r.Server.Implicit, r.Server.Upgrade = implicit, !implicit
		if implicit {
			r.Server.Address = s.IMAPS
		}
		for _, name := range []string{"rfc3501/greeting", "rfc3501/login-literals", "rfc3501/connection-lost", "rfc4978-compress/compress"} {
			if result := r.Play(name); result.Err != nil || result.Skipped != "" {
				t.Error(name, result.Err, result.Skipped)
			}
		}
	}
}

// TestDovecot plays every script with Debian's Dovecot. docs/conformance.md names those that it
// fails, with the reason.
func TestDovecot(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Dovecot")
	}
	r := runner(dovecot.Start(t, accounts, dovecot.Options{Whole: true}).IMAP)
	r.Server.Timeout = 4 * time.Second // some scripts wait in vain for what it does not push
	conformance.Play(t, r.Dir, conformance.Listed(t, page, "IMAP4: Dovecot"), r.Play)
}

// TestScripts says that every script can be read and tells at its top which section of which
// RFC it shows.
func TestScripts(t *testing.T) {
	names, err := conformance.Scripts("scripts", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 150 {
		t.Errorf("only %d scripts", len(names))
	}
	about := regexp.MustCompile(`^(RFC \d+, |draft-)`)
	for _, name := range names {
		s, err := read(filepath.Join("scripts", name))
		if err != nil {
			t.Error(err)
		} else if !about.MatchString(s.about) {
			t.Errorf("%s does not say what it shows: %q", name, s.about)
		}
	}
}

// TestMatch says what an expected response matches.
func TestMatch(t *testing.T) {
	for _, test := range []struct {
		want, got string
		fits      bool
	}{
		{`1 fetch (flags (\seen))`, `1 FETCH (FLAGS (\Seen))`, true},
		{`1 fetch (flags (\seen))`, `1 FETCH (UID 3 FLAGS (\Recent \Seen) MODSEQ (4))`, true},
		{`1 fetch (flags (\seen))`, `1 FETCH (FLAGS (\Seen \Flagged))`, false},
		{`1 fetch (flags (\seen))`, `2 FETCH (FLAGS (\Seen))`, false},
		{`1 fetch (flags ($!extra \seen))`, `1 FETCH (FLAGS (\Seen \Flagged))`, false}, // ordered
		{`1 fetch (flags ($!unordered \seen))`, `1 FETCH (FLAGS (\Flagged \Seen))`, true},
		{`1 fetch (flags ($!unordered $!ban=\flagged \seen))`, `1 FETCH (FLAGS (\Flagged \Seen))`, false},
		{`1 fetch (uid $u flags $)`, `1 FETCH (FLAGS () UID 7)`, true},
		{`1 fetch (uid $u modseq ($u))`, `1 FETCH (MODSEQ (7) UID 7)`, true},
		{`1 fetch (uid $u modseq ($u))`, `1 FETCH (MODSEQ (8) UID 7)`, false},
		{`1 fetch (envelope (NIL "x"))`, `1 FETCH (ENVELOPE (NIL {1}` + "\r\nX))", true},
		{`1 fetch (envelope (NIL "x"))`, `1 FETCH (ENVELOPE ("" "x"))`, false},
		{`1 fetch (body[header.fields $ ] "x")`, `1 FETCH (BODY[HEADER.FIELDS (SUBJECT)] "x")`, true},
		{`list (\noselect) "/" a`, `LIST (\HasChildren \Noselect) "/" "a"`, true},
		{`list (\noselect) "/" a`, `LIST (\HasChildren) "/" "a"`, false},
		{`list () "/" ${case:A}`, `LIST () "/" a`, false},
		{`status a (messages 1)`, `STATUS a (UIDNEXT 2 MESSAGES 1)`, true},
		{`status a (messages 1)`, `STATUS a (UIDNEXT 1 MESSAGES 2)`, false},
		{`search 1 2`, `SEARCH 1 2`, true},
		{`search 1 2`, `SEARCH 1 2 3`, false},
		{`search`, `SEARCH`, true},
		{`esearch (tag t) uid min 1 max 5`, `ESEARCH (TAG "t") UID MAX 5 MIN 1`, true},
		{`esearch (tag t) min 1`, `ESEARCH (TAG "t") UID MIN 1`, false},
		{`esearch (tag t) min 1`, `ESEARCH (TAG "t") MIN 1 MAX 2`, false},
		{`capability idle`, `CAPABILITY IMAP4rev1 IDLE X`, true},
		{`capability idle`, `CAPABILITY IMAP4rev1`, false},
		{`ok [uidnext $n]`, `OK [UIDNEXT 3] Predicted (next UID.`, true},
		{`ok [permanentflags $ ]`, `OK [PERMANENTFLAGS (\Seen \*)] Fine`, true},
		{`ok [capability $]`, `OK [CAPABILITY A B C] Fine`, true},
		{`ok`, `OK whatever "x`, true},
		{`1 fetch (modseq ($modseq2))`, `1 FETCH (MODSEQ (1))`, false},
		{`1 fetch (modseq ($modseq2))`, `1 FETCH (MODSEQ (2))`, true},
		{`1 fetch (uid ${sum:2+3-1})`, `1 FETCH (UID 4)`, true},
	} {
		want, err := withDefaults(args([]byte(test.want)))
		if err != nil {
			t.Fatal(err)
		}
		m := matcher{conformance.NewVars(map[string]string{"tag": "t"})}
		if fits := m.response(want, args([]byte(test.got))) == whole; fits != test.fits {
			t.Errorf("%s and %s: %v", test.want, test.got, fits)
		}
	}
}

// TestFaults says that the runner notices what a server does wrong: a server of canned
// answers plays with a script.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name, script, answers, want string
	}{
		{"right", "ok noop\n* 1 exists\n", "* 1 EXISTS\r\n1.1 OK\r\n", ""},
		{"tagged", "ok noop\n", "1.1 NO not now\r\n", "got       NO not now"},
		{"missing", "ok noop\n* 1 exists\n", "* 2 EXISTS\r\n1.1 OK\r\n", "expected  * 1 exists"},
		{"banned", "ok noop\n! 1 exists\n", "* 1 EXISTS\r\n1.1 OK\r\n", "must not"},
		{"ordered", "ok noop\n!ordered\n* 0 recent\n* 1 exists\n", "* 1 EXISTS\r\n* 0 RECENT\r\n1.1 OK\r\n", "missing"},
		{"tag", "ok noop\n", "x OK\r\n", "an answer to no command"},
		{"code", "noop\nok [alert]\n", "1.1 OK [CLOSED] x\r\n", "expected  ok [alert]"},
		{"closed", "ok noop\n", "", "closed the connection"},
		{"bye", "\"\" noop\n* bye\n", "* BYE\r\n", ""},
		{"bare LF", "ok noop\n", "1.1 OK\n", "bare LF"},
		{"view", "ok fetch 1 flags\n", "* 1 EXISTS\r\n* 1 EXPUNGE\r\n1.1 OK\r\n", "7.4.1"},
		{"more", "+ idle\n", "1.1 OK\r\n", "expected  +"},
		{"literal", "ok append x {{{\nab\n}}}\n", "+ go\r\n1.1 OK\r\n", ""},
		{"waiting", "!wait 1s\n! 1 exists\n", "* 1 EXISTS\r\n", "must not"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "x"), []byte("state: nonauth\n\n"+test.script), 0o644); err != nil {
				t.Fatal(err)
			}
			answers := test.answers
			if strings.Contains(answers, "1.1") {
				answers += "1.2 OK\r\n" // of LOGOUT
			}
			r := &Runner{Server: conformance.Canned(t, "* OK ready\r\n", answers), Dir: dir, Check: true}
			err := r.Play("x").Err
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
