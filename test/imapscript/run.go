package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/test/conformance"
	"github.com/postern-mail/postern/test/imapview"
)

// Runner plays scripts with a server.
type Runner struct {
	Server *conformance.Server
	Dir    string // of the scripts
	Box    string // the mailbox of the scripts; those whose names begin so are deleted
	Check  bool   // follow what each session is told
}

// run is a script being played.
type run struct {
	*Runner
	*script
	m        matcher
	trace    conformance.Trace
	sessions []*session // in the order of their numbers
	messages []conformance.Message
	next     int // message
}

// session is one connection.
type session struct {
	*conformance.Conn
	run     *run
	index   int
	account conformance.Account
	tags    int
	exists  int    // messages that it was told of
	seqmap  []int  // of the group: first number to the one of now, 0 when expunged
	open    string // tag of the command that "+" left open
	gone    bool
	bye     bool // the server said so
	caps    []string
	view    imapview.View
	group   *group // under way; nil while the script is prepared
	found   []bool // of its untagged
	nearest []nearest
	extras  []string
}

// nearest is what came nearest to an expected response.
type nearest struct {
	n    int
	text string
}

// skipped is why a script is not played.
type skipped string

func (s skipped) Error() string { return string(s) }

// Play plays the script called name.
func (r *Runner) Play(name string) conformance.Result {
	result := conformance.Result{Name: name}
	began := time.Now()
	s, err := read(r.Dir + "/" + name)
	if err != nil {
		result.Err = err
		return result
	}
	result.About = s.about
	p := &run{Runner: r, script: s}
	err = p.play()
	for _, c := range p.sessions {
		c.Close()
	}
	var why skipped
	if errors.As(err, &why) {
		result.Skipped = string(why)
	} else {
		result.Err = err
	}
	result.Said = p.trace.Lines()
	result.Took = time.Since(began)
	return result
}

func (r *run) play() error {
	first := r.Server.Accounts[0]
	host, _, _ := strings.Cut(r.Server.Address, ":")
	values := map[string]string{"mailbox": r.Box, "mailbox_url": r.Box, "host": host}
	for i, a := range r.Server.Accounts {
		suffix := ""
		if i > 0 {
			suffix = strconv.Itoa(i + 1)
		}
		user, domain, ok := strings.Cut(a.Name, "@")
		if !ok {
			domain = host
		}
		values["user"+suffix], values["username"+suffix], values["domain"+suffix], values["password"+suffix] = a.Name, user, domain, a.Password
	}
	r.m.vars = conformance.NewVars(values)
	var err error
	if r.state > nonauth {
		if r.messages, err = conformance.Mailbox(r.Dir, r.path); err != nil {
			return err
		}
	}
	for i := 1; i <= r.connections; i++ {
		account := first
		if user := r.users[i]; user == "user2" {
			if len(r.Server.Accounts) < 2 {
				return skipped("it needs a second account")
			}
			account = r.Server.Accounts[1]
		}
		c := &session{run: r, index: i, account: account}
		var first *group
		if g := r.groups[0]; g.commands[0].verb == greeting && g.conn == i {
			first = g
		}
		if err := c.connect(first); err != nil {
			return fmt.Errorf("preparing: %w", err)
		}
		r.sessions = append(r.sessions, c)
	}
	if err := r.prepare(); err != nil {
		var why skipped
		if errors.As(err, &why) {
			return err
		}
		return fmt.Errorf("preparing: %w", err)
	}
	for _, g := range r.groups {
		if g.commands[0].verb == greeting {
			continue // the greeting was compared when the connection was opened
		}
		if err := r.sessions[g.conn-1].play(g); err != nil {
			return err
		}
	}
	for _, c := range r.sessions {
		if c.gone || c.open != "" {
			continue
		}
		if _, err := c.must("LOGOUT"); err != nil && !c.bye {
			return fmt.Errorf("at the end: %w", err)
		}
	}
	return nil
}

// connect opens the connection and reads the greeting, which g compares unless it is
// nil.
func (c *session) connect(g *group) error {
	conn, err := c.run.Server.Dial(c.index, &c.run.trace)
	if err != nil {
		return err
	}
	c.Conn, c.gone, c.bye, c.open, c.exists, c.view, c.caps = conn, false, false, "", 0, imapview.View{}, nil
	if g != nil {
		c.begin(g)
	}
	line, err := c.response(0)
	if err != nil {
		return err
	}
	if c.group != nil {
		if err := c.untagged(line); err != nil {
			return err
		}
		if err := c.finish(); err != nil {
			return err
		}
	} else {
		c.learn(line)
	}
	if !c.run.Server.Upgrade || slices.Contains(c.run.capabilities, "STARTTLS") { // the script does that itself
		return nil
	}
	if _, err := c.must("STARTTLS"); err != nil {
		return err
	}
	c.caps = nil
	return c.StartTLS()
}

// prepare brings the connections into the state in which the script begins.
func (r *run) prepare() error {
	if r.state == nonauth {
		return r.offered(r.sessions[0])
	}
	for _, c := range r.sessions {
		if err := c.login(); err != nil {
			return err
		}
	}
	if err := r.offered(r.sessions[0]); err != nil {
		return err
	}
	var cleaned []string
	for _, c := range r.sessions {
		if slices.Contains(cleaned, c.account.Name) {
			continue
		}
		cleaned = append(cleaned, c.account.Name)
		if err := c.clean(); err != nil {
			return err
		}
	}
	c := r.sessions[0]
	if r.state >= created && !strings.EqualFold(r.Box, "INBOX") {
		if _, err := c.must("CREATE " + quote(r.Box)); err != nil {
			return err
		}
	}
	if r.state >= appended {
		n := r.script.messages
		if n < 0 {
			n = len(r.messages)
		}
		for range n {
			if _, err := c.must(r.append("")); err != nil {
				return err
			}
		}
	}
	for _, c := range r.sessions {
		if r.state == selected && c.account == r.sessions[0].account {
			if _, err := c.must("SELECT " + quote(r.Box)); err != nil {
				return err
			}
		}
	}
	return nil
}

// login logs in and learns the capabilities.
func (c *session) login() error {
	if _, err := c.must("LOGIN " + quote(c.account.Name) + " " + quote(c.account.Password)); err != nil {
		return err
	}
	c.caps = nil
	_, err := c.must("CAPABILITY")
	return err
}

// offered skips the script when the server has not what it needs.
func (r *run) offered(c *session) error {
	if len(r.capabilities) == 0 {
		return nil
	}
	if c.caps == nil {
		if _, err := c.must("CAPABILITY"); err != nil {
			return err
		}
	}
	for _, name := range r.capabilities {
		bare, not := strings.CutPrefix(name, "!")
		has := slices.ContainsFunc(c.caps, func(s string) bool { return strings.EqualFold(s, bare) })
		switch {
		case not && has:
			return skipped("the server has " + bare)
		case !not && !has:
			return skipped("the server has no " + bare)
		}
	}
	return nil
}

// clean deletes the mailboxes and subscriptions whose names begin as the script's.
func (c *session) clean() error {
	for _, pair := range [][2]string{{"LIST", "DELETE"}, {"LSUB", "UNSUBSCRIBE"}} {
		lines, err := c.must(pair[0] + ` "" ` + quote(c.run.Box+"*"))
		if err != nil {
			return err
		}
		var names []string
		for _, line := range lines {
			if a := args(line[2:]); len(a) >= 4 && strings.EqualFold(a[0].text, pair[0]) && !strings.EqualFold(a[3].text, "INBOX") {
				names = append(names, a[3].text)
			}
		}
		slices.Sort(names)
		slices.Reverse(names) // children first
		for _, name := range names {
			// A level that is no mailbox cannot be deleted, and needs not.
			if _, _, err := c.command([]piece{{text: pair[1] + " " + quote(name)}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// append is an APPEND of the next message: start is the command up to it, "" puts it
// into the script's mailbox with its date.
func (r *run) append(start string) []piece {
	if len(r.messages) == 0 {
		return []piece{{text: start}}
	}
	m := r.messages[r.next%len(r.messages)]
	r.next++
	if start == "" {
		start = "APPEND " + quote(r.Box) + ` "` + m.Date.Format("_2-Jan-2006 15:04:05 -0700") + `"`
	}
	return []piece{{text: start + " "}, {text: string(m.Text), literal: true}, {}}
}

// must sends a command, text or pieces, of which the answer must be OK, and gives the
// untagged responses.
func (c *session) must(command any) ([][]byte, error) {
	pieces, ok := command.([]piece)
	if !ok {
		pieces = []piece{{text: command.(string)}}
	}
	lines, answer, err := c.command(pieces)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(bytes.ToUpper(answer), []byte("OK")) {
		return nil, fmt.Errorf("%s: the server answers %s", pieces[0].text, answer)
	}
	return lines, nil
}

// command sends a command of the runner's own.
func (c *session) command(pieces []piece) (lines [][]byte, answer []byte, err error) {
	tag := c.tag()
	c.view.Begin(pieces[0].text)
	if answer, err = c.send(tag, pieces); err != nil {
		return nil, nil, err
	}
	for answer == nil {
		line, err := c.response(0)
		if err != nil {
			return nil, nil, err
		}
		if rest, ok := bytes.CutPrefix(line, []byte(tag+" ")); ok {
			answer = rest
			break
		}
		if bytes.HasPrefix(line, []byte("* ")) {
			lines = append(lines, line)
			if err := c.untagged(line); err != nil {
				return nil, nil, err
			}
		}
	}
	word, _, _ := bytes.Cut(answer, []byte(" "))
	c.view.End(strings.ToUpper(string(word)))
	return lines, answer, nil
}

func (c *session) tag() string {
	c.tags++
	return fmt.Sprintf("%d.%d", c.index, c.tags)
}

// response reads one response, for at most limit or the server's time-out.
func (c *session) response(limit time.Duration) ([]byte, error) {
	c.Wait(limit)
	line, err := imapview.ReadResponse(c.R)
	if len(line) > 0 {
		c.Heard(line)
	}
	return line, err
}

// send sends a command with its literals, each when the server asks for it. answer is the
// tagged response without its tag when that came instead.
func (c *session) send(tag string, pieces []piece) (answer []byte, err error) {
	out := []byte(tag + " ")
	if tag == "" {
		out = nil
	}
	for _, x := range pieces {
		if !x.literal {
			out = append(out, x.text...)
			continue
		}
		if x.binary {
			out = append(out, '~')
		}
		out = fmt.Appendf(out, "{%d}\r\n", len(x.text))
		if err := c.Write(out); err != nil {
			return nil, err
		}
		out = []byte(x.text)
		for asked := false; !asked; {
			line, err := c.response(0)
			if err != nil {
				return nil, err
			}
			switch {
			case line[0] == '+':
				asked = true
			case bytes.HasPrefix(line, []byte(tag+" ")):
				return line[len(tag)+1:], nil
			default:
				if err := c.untagged(line); err != nil {
					return nil, err
				}
			}
		}
	}
	return nil, c.Write(append(out, "\r\n"...))
}

// learn takes from a response what the runner itself goes by.
func (c *session) learn(line []byte) {
	a := args(bytes.TrimPrefix(line, []byte("* ")))
	if len(a) == 0 {
		return
	}
	if strings.EqualFold(a[0].text, "BYE") {
		c.bye = true
	}
	if strings.EqualFold(a[0].text, "CAPABILITY") {
		c.caps = nil
		for _, x := range a[1:] {
			c.caps = append(c.caps, x.text)
		}
		return
	}
	n, err := strconv.Atoi(a[0].text)
	if err != nil || len(a) < 2 {
		return
	}
	switch strings.ToUpper(a[1].text) {
	case "EXISTS":
		c.exists = n
	case "EXPUNGE":
		c.exists--
		for i, now := range c.seqmap {
			if now == n {
				c.seqmap[i] = 0
			} else if now > n {
				c.seqmap[i]--
			}
		}
	}
}
