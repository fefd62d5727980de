package differential

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/demo"
	"github.com/postern-mail/postern/test/imapview"
	"github.com/postern-mail/postern/test/server"
)

// patience is how long a server may take to answer, quiet how long after its last
// word nothing more is expected of it where no tagged answer tells the end.
const (
	patience = 10 * time.Second
	quiet    = 100 * time.Millisecond
)

// step is a line of a script.
type step struct {
	line    int
	session string
	kind    byte   // ':' a command, '!' bytes as they are
	differs string // the difference in docs/differences.md that shows here; "" for none
	text    string
}

// readScript reads a script: lines of a session's name, a kind, maybe "~" with the
// name of a difference, and a text.
func readScript(t *testing.T, path string) (steps []step) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^(\w+)([:!])(?:~([\w-]+))? (.*)$`)
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		m := form.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("%s:%d: not understood: %s", path, i+1, line)
		}
		s := step{line: i + 1, session: m[1], kind: m[2][0], differs: m[3], text: m[4]}
		steps = append(steps, s)
	}
	return steps
}

// player plays a script with one server.
type player struct {
	t        *testing.T
	account  server.Account
	imap     string
	pop3     string
	sessions map[string]*talk
	count    int

	guest   server.Account // logs in sessions whose name begins with "g"
	others  string         // where the guest finds the account's mailboxes
	guestID string         // the guest in a list of rights
}

type talk struct {
	conn net.Conn
	r    *bufio.Reader
	pop3 bool
	gone bool
}

func (p *player) dial(addr string) *talk {
	p.t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	return &talk{conn: conn, r: bufio.NewReaderSize(conn, 1<<16)}
}

// session gives a session by name, which is opened at its first use. Names that
// begin with "p" are POP3's, with "g" a guest's, with "n" ones that do not log in by
// themselves.
func (p *player) session(name string) *talk {
	p.t.Helper()
	if c := p.sessions[name]; c != nil {
		return c
	}
	var c *talk
	if name[0] == 'p' {
		c = p.dial(p.pop3)
		c.pop3 = true
		c.line(p.t)
	} else {
		c = p.dial(p.imap)
		c.line(p.t)
		if name[0] != 'n' {
			who := p.account
			if name[0] == 'g' {
				who = p.guest
			}
			for try := 0; ; try++ {
				p.send(c, fmt.Sprintf("l LOGIN %s %s\r\n", who.Name, who.Password))
				out := p.tagged(c, "l")
				answer := out[len(out)-1]
				if strings.HasPrefix(answer, "l OK") {
					break
				}
				// Cyrus makes the mailboxes then, which may fail while it does so for another.
				if try == 20 || answer != "l NO [UNAVAILABLE]" {
					p.t.Fatalf("login: %q", out)
				}
				time.Sleep(quiet)
			}
		}
	}
	p.sessions[name] = c
	return c
}

func (c *talk) line(t *testing.T) string {
	t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	line, err := c.r.ReadString('\n')
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	return line
}

func (p *player) send(c *talk, text string) {
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	c.conn.Write([]byte(text))
}

// response reads one response as it stands; nil at the end.
func (p *player) response(c *talk) []byte {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	b, err := imapview.ReadResponse(c.r)
	if err != nil {
		c.gone = true
		return nil
	}
	return b
}

// tagged reads up to the tagged answer, a request to go on, or the end.
func (p *player) tagged(c *talk, tag string) (out []string) {
	for {
		b := p.response(c)
		switch {
		case b == nil:
			return append(out, "(closed)")
		case strings.HasPrefix(string(b), "+"):
			return append(out, "+")
		}
		out = append(out, normal(b))
		if strings.HasPrefix(string(b), tag+" ") {
			return out
		}
	}
}

// rest reads what comes until the server is quiet; the first of it may take wait.
func (p *player) rest(c *talk, wait time.Duration) (out []string) {
	for ; ; wait = quiet {
		c.conn.SetReadDeadline(time.Now().Add(wait))
		if c.pop3 {
			line, err := c.r.ReadString('\n')
			if err != nil {
				return append(out, ended(c, err)...)
			}
			out = append(out, normalPOP3(line))
			continue
		}
		b, err := imapview.ReadResponse(c.r)
		if err != nil {
			return append(out, ended(c, err)...)
		}
		if b[0] == '+' {
			b = []byte("+")
			out = append(out, "+")
			continue
		}
		out = append(out, normal(b))
	}
}

func ended(c *talk, err error) []string {
	if e, ok := err.(net.Error); ok && e.Timeout() {
		return nil
	}
	c.gone = true
	return []string{"(closed)"}
}

// play does one step and gives the normalised answer.
func (p *player) play(s step) []string {
	p.t.Helper()
	if s.session == "fill" {
		return p.fill(strings.Fields(s.text))
	}
	if s.session == "drop" {
		p.sessions[s.text].conn.Close()
		delete(p.sessions, s.text)
		return nil
	}
	c := p.session(s.session)
	p.count++
	if c.gone {
		return []string{"(closed)"}
	}
	text := p.literals(s.text)
	if s.kind == '!' {
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
		if err != nil {
			p.t.Fatalf("line %d: %v", s.line, err)
		}
		p.send(c, text)
		return inOrder(p.rest(c, patience))
	}
	if c.pop3 {
		p.send(c, text+"\r\n")
		return p.answerPOP3(c, text)
	}
	tag := fmt.Sprintf("t%d", p.count)
	p.send(c, tag+" "+text+"\r\n")
	out := p.tagged(c, tag)
	for i, line := range out {
		if p.others != "" {
			line = strings.NewReplacer(p.others, "$OTHERS", p.guestID, "$GUEST", p.account.Name, "$USER").Replace(line)
			out[i] = line
		}
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			out[i] = "tag " + rest
		} else if !strings.Contains(text, "SPECIAL-USE") {
			// Said more often by one server in LIST, by the other in LSUB.
			out[i] = strings.ReplaceAll(specialUse.ReplaceAllString(line, ""), "( ", "(")
		}
	}
	return inOrder(out)
}

var specialUse = regexp.MustCompile(` ?\\(archive|drafts|junk|sent|trash)\b`)

// late is answer with what came after the server seemed to be quiet: the machine may
// be busy.
func (p *player) late(s step, answer []string) []string {
	c := p.session(s.session)
	if s.kind != '!' || c.gone {
		return answer
	}
	return inOrder(append(answer, p.rest(c, 10*quiet)...))
}

// inOrder sorts untagged responses of which the order means nothing.
func inOrder(lines []string) []string {
	class := func(s string) string {
		if strings.HasSuffix(s, " EXPUNGE") || !strings.HasPrefix(s, "*") {
			return "~"
		}
		return s
	}
	// Codes that Dovecot gives only with CONDSTORE, or not at all; what Cyrus says of what it has.
	lines = slices.DeleteFunc(lines, func(s string) bool {
		return s == "* OK [HIGHESTMODSEQ #]" || s == "* OK [MAILBOXID (#)]" || s == "* OK" || strings.HasPrefix(s, "* OK [ANNOTATIONS ") || strings.HasPrefix(s, "* OK [URLMECH ")
	})
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(class(a), class(b)) })
	return lines
}

var literal = regexp.MustCompile(`@([\w.-]+\.eml)|<<([^>]*)>>|\$(USER|PASS|GUEST)|(\$OTHERS)(/\S+)`)

// literals puts messages for @name.eml and literals for <<text>>, and names that differ.
func (p *player) literals(text string) string {
	return literal.ReplaceAllStringFunc(text, func(s string) string {
		switch {
		case s == "$GUEST":
			return p.guestID
		case strings.HasPrefix(s, "$OTHERS"):
			return strconv.Quote(p.others + s[len("$OTHERS"):])
		case s == "$USER":
			return p.account.Name
		case s == "$PASS":
			return p.account.Password
		case s[0] == '@':
			b := message(p.t, s[1:])
			return fmt.Sprintf("{%d+}\r\n%s", len(b), b)
		}
		s = s[2 : len(s)-2]
		return fmt.Sprintf("{%d+}\r\n%s", len(s), s)
	})
}

func message(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "message", "testdata", name))
	if err != nil {
		if b, err = os.ReadFile(filepath.Join("testdata", name)); err != nil {
			t.Fatal(err)
		}
	}
	return crlf(b)
}

// fill puts messages into a mailbox: the named ones, or those of a demonstration.
func (p *player) fill(args []string) []string {
	p.t.Helper()
	c := p.session("filler")
	// Some have 8-bit in their header, which a server that knows this wants asked for (RFC 9755, 4).
	p.send(c, "e ENABLE UTF8=ACCEPT\r\n")
	p.tagged(c, "e")
	put := func(mailbox, flags string, at time.Time, body []byte) {
		p.send(c, fmt.Sprintf("f APPEND %q (%s) %q {%d+}\r\n%s\r\n", mailbox, flags, at.Format("_2-Jan-2006 15:04:05 -0700"), len(body), body))
		if out := p.tagged(c, "f"); !strings.HasPrefix(out[len(out)-1], "f OK") {
			p.t.Fatalf("APPEND: %q", out)
		}
	}
	now := time.Date(2024, 2, 29, 12, 0, 0, 0, time.FixedZone("", 3600))
	if args[0] == "demo" {
		made := map[string]bool{"INBOX": true}
		for _, m := range demo.Mail(p.account.Name, "Somebody", now) {
			if !made[m.Mailbox] {
				made[m.Mailbox] = true
				p.send(c, fmt.Sprintf("c CREATE %q\r\n", m.Mailbox))
				p.tagged(c, "c")
			}
			put(m.Mailbox, "", m.Date, m.Raw)
		}
		return nil
	}
	for i, name := range args[1:] {
		put(args[0], "", now.Add(time.Duration(i)*time.Hour), message(p.t, name))
	}
	return nil
}

// normalPOP3 leaves of the first line of a response what is not for people.
func normalPOP3(line string) string {
	line = strings.TrimSuffix(line, "\r\n")
	if rest, ok := strings.CutPrefix(line, "-ERR"); ok {
		return strings.TrimSpace("-ERR " + code.FindString(strings.TrimSpace(rest)))
	}
	if rest, ok := strings.CutPrefix(line, "+OK "); ok && (rest == "" || rest[0] < '0' || rest[0] > '9') {
		return "+OK"
	}
	return line
}

// answerPOP3 reads the answer to a command.
func (p *player) answerPOP3(c *talk, text string) []string {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.gone = true
		return []string{"(closed)"}
	}
	words := strings.Fields(strings.ToUpper(text))
	if len(words) == 0 {
		return []string{normalPOP3(line)}
	}
	word := words[0]
	first := normalPOP3(line)
	multi := slices.Contains([]string{"RETR", "TOP", "CAPA"}, word) ||
		(word == "LIST" || word == "UIDL" || word == "AUTH") && len(words) == 1
	if strings.HasPrefix(first, "+OK") && (multi || word != "STAT" && word != "LIST" && word != "UIDL") {
		first = "+OK"
	}
	out := []string{first}
	if !multi || !strings.HasPrefix(line, "+OK") {
		return out
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.gone = true
			return append(out, "(closed)")
		}
		out = append(out, strings.TrimSuffix(line, "\r\n"))
		if line == ".\r\n" {
			break
		}
	}
	if word == "CAPA" || word == "AUTH" {
		slices.Sort(out)
	}
	return out
}
