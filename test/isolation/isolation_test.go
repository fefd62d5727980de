package isolation

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/role"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/test/server"
)

// people is how many accounts there are.
const people = 50

// person is one account. Everything in it has its canary.
type person struct {
	n        int
	canary   string
	name     string
	password string
	letters  int // in INBOX
}

var canaries = regexp.MustCompile(`canary[0-9]{2}[0-9a-f]{8}`)

// nobody is a word of the same form that stands nowhere.
const nobody = "canaryNNnothere0"

// house is a server for all of them.
type house struct {
	*role.Server
	pop, imap, lmtp string
	people          []*person
}

func newHouse(t *testing.T) *house {
	t.Helper()
	ctx := context.Background()
	folder := t.TempDir()
	config := role.DefaultConfig()
	config.Name, config.Engine = "localhost", "embedded"
	config.Data, config.Socket = filepath.Join(folder, "data"), filepath.Join(folder, "s")
	h := &house{lmtp: filepath.Join(folder, "l")}
	config.LMTP = []string{h.lmtp}
	var err error
	h.Server, err = role.Open(ctx, config, role.Options{
		Limits:    auth.Limits{FirstDelay: -1},
		Directory: embedded.Options{Argon2: embedded.Argon2{Memory: 8, Time: 1, Threads: 1}, ScramIterations: 4096},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	caller := manage.Caller{Name: "test", From: "test", Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		arguments := fmt.Sprintf(`{"LoginType": "PlainTextLogin", "UnencryptedOrTLSBindings": [%q], "SSLBindings": [%q]}`, server.FreeAddress(t), server.FreeAddress(t))
		if _, err := h.Manage().Run(ctx, caller, set, []byte(arguments)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Manage().Run(ctx, caller, "Set-ConsoleSettings", fmt.Appendf(nil, `{"SSLBindings": [%q]}`, server.FreeAddress(t))); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	h.pop, h.imap = address(t, h.Addrs(settings.POP3)), address(t, h.Addrs(settings.IMAP4))
	return h
}

// populate lets people in.
func (h *house) populate(t *testing.T) {
	t.Helper()
	for n := range people {
		p := &person{n: n, canary: fmt.Sprintf("canary%02d%08x", n, rand.Uint32()), letters: 2 + n%4}
		p.name, p.password = p.canary+"@isolation.example", "password of "+p.canary
		if err := h.enter(context.Background(), p); err != nil {
			t.Fatal(err)
		}
		h.people = append(h.people, p)
	}
}

func address(t *testing.T, b listener.Bindings) string {
	t.Helper()
	if len(b.Clear) != 1 {
		t.Fatal("a port was taken by another program")
	}
	return b.Clear[0].String()
}

// enter makes the account.
func (h *house) enter(ctx context.Context, p *person) error {
	account, err := h.Store().CreateAccount(ctx, 0)
	if err != nil {
		return err
	}
	return h.Directory().Create(ctx, directory.Entry{
		Name: p.name, DisplayName: p.canary, Aliases: []string{p.canary + ".alias@isolation.example"},
		Account: account, Enabled: true, PopEnabled: true, ImapEnabled: true,
	}, p.password)
}

// each runs work for every person, all at the same time.
func (h *house) each(t *testing.T, work func(p *person) error) {
	t.Helper()
	var wait sync.WaitGroup
	for _, p := range h.people {
		wait.Go(func() {
			if err := work(p); err != nil {
				t.Errorf("person %d: %v", p.n, err)
			}
		})
	}
	wait.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// letter is a message in which everything has the canary.
func (p *person) letter(i int) string {
	c := p.canary
	return strings.ReplaceAll(fmt.Sprintf(`From: %[1]s <%[1]s@from.example>
To: "%[1]s, to" <%[1]s@to.example>
Subject: %[1]s letter %[2]d
Message-ID: <%[2]d.%[1]s@id.example>
References: <0.%[1]s@id.example>
X-Canary: %[1]s
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="%[1]s"

--%[1]s
Content-Type: text/plain; name="%[1]s.txt"

%[1]s is here.
.%[1]s
--%[1]s
Content-Type: message/rfc822

Subject: %[1]s inside

%[1]s%[3]s
--%[1]s--
`, c, i, strings.Repeat("\n"+c, 1000*(i%2))), "\n", "\r\n")
}

// furnish brings mail, folders and whatever else a person has.
func (h *house) furnish(p *person) error {
	l, err := dial(h.lmtp)
	if err != nil {
		return err
	}
	defer l.conn.Close()
	if _, err := l.ask("250", "LHLO x"); err != nil {
		return err
	}
	for i := range p.letters {
		to := []string{p.name, p.canary + ".alias@isolation.example"}[i%2]
		text := strings.ReplaceAll(p.letter(i), "\r\n.", "\r\n..")
		for _, say := range [][2]string{{"250", "MAIL FROM:<" + p.canary + "@from.example>"}, {"250", "RCPT TO:<" + to + ">"}, {"354", "DATA"}, {"250", text + "."}} {
			if _, err := l.ask(say[0], "%s", say[1]); err != nil {
				return err
			}
		}
	}
	c, err := h.login(p)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for _, command := range []string{
		"CREATE " + p.canary + "-folder", "CREATE " + p.canary + "-folder/" + p.canary + "-sub",
		"SUBSCRIBE " + p.canary + "-folder", "SUBSCRIBE " + p.canary + "-gone",
		"APPEND " + p.canary + "-folder (\\Flagged " + p.canary + "-keyword) {}", "APPEND Drafts (\\Draft) {}", "APPEND Drafts (\\Deleted) {}",
		"SELECT Drafts", "EXPUNGE",
	} {
		if _, err := c.must(command, p.letter(100)); err != nil {
			return err
		}
	}
	return nil
}

func (h *house) login(p *person) (*client, error) {
	c, err := dial(h.imap)
	if err == nil {
		_, err = c.must(fmt.Sprintf("LOGIN %q %q", p.name, p.password))
	}
	return c, err
}

// own proves that what was heard has no canary but the person's own, and how often.
func own(p *person, clients ...*client) error {
	n := 0
	for _, c := range clients {
		for _, found := range canaries.FindAllString(c.heard.String(), -1) {
			if n++; found != p.canary {
				return fmt.Errorf("heard %s, which is another's", found)
			}
		}
	}
	if n == 0 {
		return errors.New("heard no canary at all")
	}
	return nil
}

// TestCanary: fifty people do at the same time whatever can be done.
func TestCanary(t *testing.T) {
	h := newHouse(t)
	h.populate(t)
	h.each(t, h.furnish)
	before := make([]string, people)
	h.each(t, func(p *person) (err error) {
		before[p.n], err = h.inventory(p)
		return err
	})
	idlers := make([]*client, people)
	h.each(t, func(p *person) error {
		c, err := h.login(p)
		if err == nil {
			_, err = c.must("SELECT INBOX")
		}
		if err == nil {
			_, err = c.ask("+", "idle IDLE")
		}
		idlers[p.n] = c
		return err
	})
	for _, part := range []struct {
		name string
		work func(*person) error
	}{
		{"IMAP", h.exploreIMAP}, {"POP3", h.explorePOP3}, {"guesses", h.guess},
		{"all", func(p *person) error { return errors.Join(h.exploreIMAP(p), h.explorePOP3(p)) }},
	} {
		if !t.Run(part.name, func(t *testing.T) { h.each(t, part.work) }) {
			return
		}
	}
	h.each(t, func(p *person) error {
		c := idlers[p.n]
		defer c.conn.Close()
		if _, err := fmt.Fprintf(c.conn, "DONE\r\n"); err != nil {
			return err
		}
		if _, _, err := c.until("idle "); err != nil {
			return err
		}
		if !strings.Contains(c.heard.String(), "FETCH (FLAGS (") {
			return errors.New("the idler heard nothing")
		}
		return own(p, c)
	})
	h.each(t, func(p *person) error {
		after, err := h.inventory(p)
		if err == nil && after != before[p.n] {
			err = fmt.Errorf("what it has was\n%s\nand is\n%s", before[p.n], after)
		}
		return err
	})
}

// inventory tells what a person has.
func (h *house) inventory(p *person) (string, error) {
	c, err := h.login(p)
	if err != nil {
		return "", err
	}
	defer c.conn.Close()
	list, err := c.must(`LIST "" * RETURN (SUBSCRIBED STATUS (MESSAGES UIDNEXT UIDVALIDITY SIZE MAILBOXID))`)
	if err != nil {
		return "", err
	}
	if _, err := c.must("EXAMINE INBOX"); err != nil {
		return "", err
	}
	mails, err := c.must("UID FETCH 1:* (EMAILID THREADID BODY.PEEK[])")
	if err == nil && len(mails) != p.letters {
		err = fmt.Errorf("%d messages, not %d", len(mails), p.letters)
	}
	return strings.Join(append(list, mails...), "\n"), err
}

// exploreIMAP asks for everything that IMAP can tell.
func (h *house) exploreIMAP(p *person) error {
	c, err := h.login(p)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	commands := []string{
		"CAPABILITY", "NAMESPACE", "ID NIL", `ID ("name" "x")`,
		`LIST "" *`, `LIST "" %`, `LIST "" */%/*`, `LIST / *`, `LIST ../ *`, `LIST ~ *`, `LIST # *`, `LIST "" ("*" "../*" "/*" "~*" "#*" "user/*" "Other Users/*")`,
		`LIST (SUBSCRIBED) "" * RETURN (CHILDREN STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ MAILBOXID APPENDLIMIT RECENT))`,
		`LIST (SUBSCRIBED RECURSIVEMATCH) "" %`, `LIST (SPECIAL-USE) "" *`, `LSUB "" *`, "ENABLE QRESYNC UTF8=ACCEPT",
	}
	for _, box := range []string{"INBOX", "Drafts", p.canary + "-folder", p.canary + "-folder/" + p.canary + "-sub"} {
		commands = append(commands,
			"SELECT "+box, "FETCH 1:* ALL", "FETCH 1:* (UID FLAGS MODSEQ EMAILID THREADID SAVEDATE PREVIEW ENVELOPE BODY BODYSTRUCTURE)",
			"UID FETCH 1:4294967295 (BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[2.HEADER] BODY.PEEK[HEADER.FIELDS (SUBJECT X-CANARY)] BINARY.PEEK[1] BODY.PEEK[]<100.2000>)",
			"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)", "SEARCH ALL", "UID SEARCH RETURN (ALL COUNT MIN MAX SAVE) TEXT canary",
			"UID FETCH $ (BODY.PEEK[1])", "UID FETCH 1:100,1000000:4294967290 (PREVIEW)",
			"UID STORE 1:* +FLAGS (\\Seen "+p.canary+"-keyword)", "STORE 1:* -FLAGS ("+p.canary+"-keyword)", "NOOP",
			"UNSELECT", "EXAMINE "+box+" (QRESYNC (1 1 1:1000))", "CLOSE", "STATUS "+box+" (MESSAGES UIDNEXT MAILBOXID HIGHESTMODSEQ)",
		)
		if box != "INBOX" {
			continue
		}
		for id := range 30 {
			commands = append(commands, "SELECT INBOX", fmt.Sprintf("UID SEARCH RETURN (SAVE ALL) EMAILID M%d", id), "UID FETCH $ (ENVELOPE EMAILID)",
				fmt.Sprintf("UID SEARCH RETURN (SAVE ALL) THREADID T%d", id), "UID FETCH $ (ENVELOPE THREADID)")
		}
	}
	for _, command := range commands {
		_, answer, err := c.imap(command)
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		// UIDs that are not there are no fault, and an object id of another is none.
		if !strings.HasPrefix(answer, "OK") && !strings.HasPrefix(command, "FETCH 1:* ") && !strings.HasPrefix(command, "STORE 1:* ") {
			return fmt.Errorf("%s: %s", command, answer)
		}
	}
	return own(p, c)
}

// explorePOP3 asks for everything that POP3 can tell, and for messages beyond it.
func (h *house) explorePOP3(p *person) error {
	c, err := dial(h.pop)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if _, err := c.ask("+OK", "USER %s", p.name); err != nil {
		return err
	}
	if _, err := c.ask(fmt.Sprintf("+OK %d ", p.letters), "PASS %s", p.password); err != nil {
		return err
	}
	commands := []string{"CAPA", "LIST", "UIDL"}
	for i := range p.letters {
		commands = append(commands, fmt.Sprintf("RETR %d", i+1), fmt.Sprintf("TOP %d 1000", i+1))
	}
	for _, command := range commands {
		if _, err := c.ask("+OK", "%s", command); err != nil {
			return err
		}
		if _, err := c.multi(); err != nil {
			return err
		}
	}
	for _, n := range []string{fmt.Sprint(p.letters + 1), "100", "4294967297"} {
		for _, command := range []string{"RETR " + n, "TOP " + n + " 10", "LIST " + n, "UIDL " + n, "DELE " + n} {
			if _, err := c.ask("-ERR", "%s", command); err != nil {
				return err
			}
		}
	}
	if _, err := c.ask("+OK", "QUIT"); err != nil {
		return err
	}
	return own(p, c)
}

// guess names what is another's, in every way that comes to mind, and hears each
// time just what it hears of a name that is nowhere.
func (h *house) guess(p *person) error {
	c, err := h.login(p)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	// same compares; literal is given where a command has one.
	same := func(victim *person, command string) error {
		deselects := strings.HasPrefix(command, "SELECT") || strings.HasPrefix(command, "EXAMINE")
		var heard [2]string
		for i, word := range []string{victim.canary, nobody} {
			if deselects {
				if _, err := c.must("SELECT INBOX"); err != nil {
					return err
				}
			}
			untagged, answer, err := c.imap(strings.ReplaceAll(command, "WORD", word), "x\r\n")
			if err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
			heard[i] = strings.ReplaceAll(strings.Join(append(untagged, answer), "\n"), word, "WORD")
		}
		if heard[0] != heard[1] {
			return fmt.Errorf("%s: another's is answered with\n%s\nand nobody's with\n%s", command, heard[0], heard[1])
		}
		if found := canaries.FindString(strings.ReplaceAll(heard[0], p.canary, "")); found != "" {
			return fmt.Errorf("%s: heard %s", command, found)
		}
		return nil
	}
	for _, victim := range h.people {
		if victim == p {
			continue
		}
		if _, err := c.must("SELECT INBOX"); err != nil {
			return err
		}
		commands := []string{
			"STATUS WORD-folder (MESSAGES UIDNEXT MAILBOXID)", `LIST "" WORD*`, `LSUB "" WORD*`,
			"SEARCH TEXT WORD", "UID SEARCH OR SUBJECT WORD KEYWORD WORD-keyword", "SEARCH HEADER Message-ID WORD", "SELECT WORD-folder",
		}
		// All of it for one, because there are many ways.
		if victim.n == (p.n+1)%people {
			const url = `"imap://WORD%40isolation.example@h/INBOX/;uid=1;urlauth=anonymous`
			commands = append(commands, "URLFETCH "+url+":internal:01"+strings.Repeat("0", 64)+`"`, "GENURLAUTH "+url+`" INTERNAL`,
				`APPEND INBOX CATENATE (URL `+url+":internal:01"+strings.Repeat("0", 64)+`")`)
			for _, form := range []string{
				"WORD-folder", "WORD-folder/WORD-sub", "WORD-gone", "WORD@isolation.example", "WORD@isolation.example/INBOX",
				"user/WORD/INBOX", "user.WORD", "Other Users/WORD@isolation.example/INBOX", "Other Users/WORD/WORD-folder", "Shared/WORD-folder",
				"#user/WORD", "#shared/WORD-folder", "~WORD/INBOX", "../WORD@isolation.example/INBOX", "/WORD/INBOX", "INBOX/../WORD-folder", `\"WORD-folder\"`,
			} {
				for _, command := range []string{
					`STATUS "%s" (MESSAGES)`, `DELETE "%s"`, `RENAME "%s" "WORD-mine"`, `SUBSCRIBE "%s"`, `UNSUBSCRIBE "%s"`,
					`COPY 1 "%s"`, `MOVE 1 "%s"`, `UID COPY 1 "%s"`, `APPEND "%s" {}`, `LIST "%s" *`, `LIST "" "%s"`, `LIST "" ("%s" "%s/*") RETURN (STATUS (MESSAGES))`,
					`RESETKEY "%s"`, `SELECT "%s"`, `EXAMINE "%s"`, "SELECT INBOX",
				} {
					commands = append(commands, strings.ReplaceAll(command, "%s", form))
				}
			}
		}
		for _, command := range commands {
			if err := same(victim, command); err != nil {
				return err
			}
		}
	}

	// Nor does the password open another's account.
	victim := h.people[(p.n+1)%people]
	for _, command := range []string{
		fmt.Sprintf("LOGIN %q %q", victim.name, p.password),
		"AUTHENTICATE PLAIN " + plain(victim.name, p.name, p.password),
		"AUTHENTICATE PLAIN " + plain("", victim.name, p.password),
	} {
		out, err := dial(h.imap)
		if err != nil {
			return err
		}
		_, answer, err := out.imap(command)
		out.conn.Close()
		if err != nil || !strings.HasPrefix(answer, "NO ") {
			return fmt.Errorf("%.20s…: %s, %w", command, answer, err)
		}
	}
	return nil
}

func plain(authzid, name, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(authzid + "\x00" + name + "\x00" + password))
}

// TestNewAccountOfAnOldName: what belonged to somebody of the same name is gone.
func TestNewAccountOfAnOldName(t *testing.T) {
	h := newHouse(t)
	h.populate(t)
	h.people = h.people[:2]
	h.each(t, h.furnish)
	p := h.people[0]
	open, err := h.login(p)
	if err != nil {
		t.Fatal(err)
	}
	defer open.conn.Close()
	if _, err := open.must("SELECT INBOX"); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	entry, err := h.Directory().Lookup(ctx, p.name)
	if err != nil {
		t.Fatal(err)
	}
	old := entry.Account
	caller := manage.Caller{Name: "test", From: "test", Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
	if _, err := h.Manage().Run(ctx, caller, "Remove-Mailbox", fmt.Appendf(nil, `{"Identity": %q, "Confirm": false}`, p.name)); err != nil {
		t.Fatal(err)
	}
	if err := h.enter(ctx, p); err != nil {
		t.Fatal(err)
	}
	if entry, err = h.Directory().Lookup(ctx, p.name); err != nil || entry.Account == old {
		t.Fatal("the account is the old one", err)
	}
	c, err := h.login(p)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	for _, command := range []string{`LIST "" * RETURN (STATUS (MESSAGES))`, `LSUB "" *`, "SELECT INBOX", "UID FETCH 1:* (BODY.PEEK[])", "SEARCH ALL"} {
		if _, _, err := c.imap(command); err != nil {
			t.Fatal(err)
		}
	}
	if found := canaries.FindAllString(c.heard.String(), -1); len(found) > 0 {
		t.Errorf("the new account has %q", slices.Compact(found))
	}
	// The session that was open has nothing any more.
	open.heard.Reset()
	_, _, _ = open.imap("UID FETCH 1:* (BODY.PEEK[])")
	if found := canaries.FindString(open.heard.String()); found != "" {
		t.Errorf("an open session still reads %s", found)
	}
	// The store does not find it either.
	if a, err := h.Store().Account(ctx, old); err == nil {
		a.Close()
		t.Error("the old account opens")
	} else if mail.KindOf(err) != mail.KindNotFound {
		t.Error(err)
	}
}
