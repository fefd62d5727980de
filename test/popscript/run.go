package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/test/conformance"
)

// Runner plays scripts with a server.
type Runner struct {
	Server *conformance.Server
	IMAP   *conformance.Server // fills the maildrop; nil when nothing can
	Dir    string              // of the scripts
}

// run is a script being played.
type run struct {
	*Runner
	*script
	vars     *conformance.Vars
	trace    conformance.Trace
	sessions []*session
	messages []conformance.Message
	next     int
}

// session is one connection.
type session struct {
	*conformance.Conn
	run  *run
	gone bool
}

// skipped is why a script is not played.
type skipped string

func (s skipped) Error() string { return string(s) }

// Play plays the script called name.
func (r *Runner) Play(name string) conformance.Result {
	result := conformance.Result{Name: name}
	began := time.Now()
	s, err := read(filepath.Join(r.Dir, name))
	if err != nil {
		result.Err = err
		return result
	}
	result.About = s.about
	account := r.Server.Accounts[0]
	p := &run{Runner: r, script: s, vars: conformance.NewVars(map[string]string{"user": account.Name, "password": account.Password})}
	err = p.play()
	for _, c := range p.sessions {
		if !c.gone {
			c.quit()
		}
		c.Close()
	}
	var why skipped
	if errors.As(err, &why) {
		result.Skipped = string(why)
	} else {
		result.Err = err
	}
	result.Said, result.Took = p.trace.Lines(), time.Since(began)
	return result
}

func (r *run) play() error {
	if err := r.prepare(); err != nil {
		var why skipped
		if errors.As(err, &why) {
			return err
		}
		return fmt.Errorf("preparing: %w", err)
	}
	for i := 0; i < len(r.steps); {
		n := 1
		for i+n < len(r.steps) && r.steps[i+n].together {
			n++
		}
		if err := r.sessions[r.steps[i].conn-1].play(r.steps[i : i+n]); err != nil {
			return err
		}
		i += n
	}
	return nil
}

// prepare opens the connections, fills the maildrop and logs the first one in.
func (r *run) prepare() error {
	for i := range r.connections {
		c := &session{run: r}
		if err := c.connect(i + 1); err != nil {
			return err
		}
		r.sessions = append(r.sessions, c)
	}
	c := r.sessions[0]
	if len(r.capabilities) > 0 {
		offered, err := c.offered()
		if err != nil {
			return err
		}
		for _, name := range r.capabilities {
			bare, not := strings.CutPrefix(name, "!")
			has := slices.Contains(offered, strings.ToUpper(bare))
			if has == not {
				if not {
					return skipped("the server has " + bare)
				}
				return skipped("the server has no " + bare)
			}
		}
	}
	if r.script.messages != 0 || !r.nonauth {
		if r.IMAP == nil {
			return skipped("it needs -imap, to fill the maildrop")
		}
		var err error
		if r.messages, err = conformance.Mailbox(r.Dir, r.path); err != nil {
			return err
		}
		n := r.script.messages
		if n < 0 {
			n = len(r.messages)
		}
		if err := r.fill(n); err != nil {
			return fmt.Errorf("filling INBOX over IMAP: %w", err)
		}
	}
	if r.nonauth {
		return nil
	}
	for _, s := range []string{"USER " + r.Server.Accounts[0].Name, "PASS " + r.Server.Accounts[0].Password} {
		if _, err := c.must(s); err != nil {
			return err
		}
	}
	return nil
}

// connect opens a connection and reads the greeting.
func (c *session) connect(index int) error {
	conn, err := c.run.Server.Dial(index, &c.run.trace)
	if err != nil {
		return err
	}
	c.Conn, c.gone = conn, false
	greeting, err := c.line()
	if err != nil {
		return fmt.Errorf("the greeting: %w", err)
	}
	text, ok := strings.CutPrefix(greeting, "+OK")
	if !ok {
		return fmt.Errorf("the greeting is %s", greeting)
	}
	c.run.vars.Set("greeting", strings.TrimPrefix(text, " "))
	if open := strings.LastIndex(text, "<"); open >= 0 && strings.HasSuffix(strings.TrimSpace(text), ">") {
		c.run.vars.Set("stamp", strings.TrimSpace(text[open:]))
	}
	if c.run.Server.Upgrade {
		if _, err := c.must("STLS"); err != nil {
			return err
		}
		return c.StartTLS()
	}
	return nil
}

// offered gives what CAPA names in upper case, the mechanisms as SASL=X.
func (c *session) offered() ([]string, error) {
	if err := c.Write([]byte("CAPA\r\n")); err != nil {
		return nil, err
	}
	status, lines, err := c.answer(true)
	if err != nil || !strings.HasPrefix(status, "+OK") {
		return nil, err
	}
	var names []string
	if strings.HasSuffix(c.run.vars.Show("$greeting"), ">") {
		names = append(names, "APOP") // told by the greeting's timestamp
	}
	for _, line := range lines {
		words := strings.Fields(strings.ToUpper(line))
		if len(words) == 0 {
			continue
		}
		names = append(names, words[0])
		if words[0] == "SASL" {
			for _, w := range words[1:] {
				names = append(names, "SASL="+w)
			}
		}
	}
	return names, nil
}

// must sends a command that must be answered +OK.
func (c *session) must(command string) (string, error) {
	if err := c.Write([]byte(command + "\r\n")); err != nil {
		return "", err
	}
	status, _, err := c.answer(false)
	if err == nil && !strings.HasPrefix(status, "+OK") {
		word, _, _ := strings.Cut(command, " ")
		err = fmt.Errorf("%s: %s", word, status)
	}
	return status, err
}

// quit ends a session, so that the next script finds the maildrop free.
func (c *session) quit() {
	if c.Write([]byte("QUIT\r\n")) != nil {
		return
	}
	for {
		if _, err := c.line(); err != nil {
			return
		}
	}
}

// maxLine bounds a line of the server, and maxAnswer the first one (RFC 2449, 4).
const (
	maxLine   = 1 << 20
	maxAnswer = 512
)

// line reads a line without its CRLF.
func (c *session) line() (string, error) {
	c.Wait(0)
	var out []byte
	for {
		b, err := c.R.ReadSlice('\n')
		out = append(out, b...)
		if err == nil {
			break
		}
		if len(b) == 0 || len(out) > maxLine {
			return "", err
		}
	}
	c.Heard(out)
	if !bytes.HasSuffix(out, []byte("\r\n")) {
		return "", fmt.Errorf("a line ends in a bare LF: %.100q", out)
	}
	return string(out[:len(out)-2]), nil
}

// answer reads an answer, of many lines if it is +OK and multi says so; they are as
// they are sent.
func (c *session) answer(multi bool) (status string, lines []string, err error) {
	if status, err = c.line(); err != nil {
		return "", nil, err
	}
	if len(status)+2 > maxAnswer {
		return "", nil, fmt.Errorf("the first line of an answer is longer than %d bytes: %.60q…", maxAnswer, status)
	}
	if !multi || !strings.HasPrefix(status, "+OK") {
		return status, nil, nil
	}
	lines = []string{}
	for {
		s, err := c.line()
		if err != nil || s == "." {
			return status, lines, err
		}
		lines = append(lines, s)
	}
}

// multiline tells whether a command is answered by many lines.
func multiline(command string) bool {
	words := strings.Fields(strings.ToUpper(command))
	if len(words) == 0 {
		return false
	}
	switch words[0] {
	case "CAPA", "RETR", "TOP":
		return true
	case "LIST", "UIDL", "AUTH", "LANG":
		return len(words) == 1
	}
	return false
}

// play plays commands that are sent together.
func (c *session) play(steps []*step) error {
	x := steps[0]
	if c.gone && x.verb != "connect" && x.verb != "deliver" {
		return c.fault(x, "the connection has ended before")
	}
	if x.answer == "" {
		if err := c.do(x); err != nil {
			return c.wrap(x, err)
		}
		time.Sleep(x.sleep)
		return nil
	}
	var out []byte
	texts := make([]string, len(steps))
	for i, s := range steps {
		text, err := c.run.vars.Expand(s.text)
		if err != nil {
			return c.wrap(s, err)
		}
		if s.verb == "bytes" {
			if text, err = strconv.Unquote(text); err != nil {
				return c.wrap(s, fmt.Errorf("bytes are a Go string: %w", err))
			}
		} else {
			text += "\r\n"
		}
		texts[i] = text
		out = append(out, text...)
	}
	if err := c.Write(out); err != nil {
		return c.wrap(x, err)
	}
	for i, s := range steps {
		if err := c.compare(s, texts[i]); err != nil {
			return c.wrap(s, err)
		}
		time.Sleep(s.sleep)
	}
	return nil
}

// compare reads the answer to a command and compares it.
func (c *session) compare(x *step, command string) error {
	status, lines, err := c.answer(x.verb != "more" && multiline(command))
	if err != nil {
		return err
	}
	word, text, _ := strings.Cut(status, " ")
	c.run.vars.Set("last", text)
	want := map[string]string{"ok": "+OK", "err": "-ERR", "+": "+", `""`: word}[x.answer]
	if word != want || word != "+OK" && word != "-ERR" && word != "+" {
		return c.fault(x, "another answer", want, status)
	}
	if words := strings.Fields(strings.ToUpper(command)); len(words) == 1 && words[0] == "UIDL" {
		if err := uniqueIDs(lines); err != nil {
			return c.fault(x, err.Error())
		}
	}
	vars := c.run.vars
	if x.begins != "" && !vars.Match(x.begins, text, true) {
		return c.fault(x, "another text", want+" "+vars.Show(x.begins), status)
	}
	if x.body != nil {
		body := make([]string, len(x.body))
		for i, s := range x.body {
			body[i] = vars.Show(s)
		}
		if !x.raw {
			for i, s := range lines {
				lines[i] = strings.TrimPrefix(s, ".")
			}
		}
		if !slices.Equal(body, lines) {
			return c.fault(x, "another message", fmt.Sprintf("%q", body), fmt.Sprintf("%q", lines))
		}
	}
	if x.exact {
		for i, l := range x.lines {
			if i >= len(lines) || !vars.Match(l.text, lines[i], false) {
				return c.fault(x, "another listing", vars.Show(l.text), fmt.Sprintf("%q", lines))
			}
		}
		if len(lines) > len(x.lines) {
			return c.fault(x, "the listing is longer", fmt.Sprintf("%d lines", len(x.lines)), fmt.Sprintf("%q", lines))
		}
		return nil
	}
	for _, l := range x.lines {
		found := slices.ContainsFunc(lines, func(s string) bool { return vars.Match(l.text, s, false) })
		switch {
		case l.must && !found:
			return c.fault(x, "a line is missing", vars.Show(l.text), fmt.Sprintf("%q", lines))
		case !l.must && found:
			return c.fault(x, "a line is there that must not be", "no "+vars.Show(l.text), fmt.Sprintf("%q", lines))
		}
	}
	return nil
}

// uniqueIDs says what is wrong with a listing of unique-ids: each has 1 to 70 characters
// from 0x21 to 0x7E (RFC 1939, 7), and no two are the same.
func uniqueIDs(lines []string) error {
	seen := map[string]bool{}
	for _, l := range lines {
		_, id, _ := strings.Cut(l, " ")
		wrong := strings.ContainsFunc(id, func(r rune) bool { return r < 0x21 || r > 0x7e })
		switch {
		case len(id) < 1 || len(id) > 70 || wrong:
			return fmt.Errorf("this is no unique-id: %q", id)
		case seen[id]:
			return fmt.Errorf("two messages have the unique-id %q", id)
		}
		seen[id] = true
	}
	return nil
}

// fault makes a fault; wantGot are what was expected and what came.
func (c *session) fault(x *step, what string, wantGot ...string) error {
	f := &conformance.Fault{Line: x.line, Command: c.run.vars.Show(x.text), What: what}
	if x.verb != "" {
		f.Command = strings.TrimSpace("!" + x.verb + " " + f.Command)
	}
	if c.run.connections > 1 {
		f.Command = fmt.Sprintf("connection %d: %s", x.conn, f.Command)
	}
	if len(wantGot) == 2 {
		f.Want, f.Got = wantGot[:1], wantGot[1:]
	}
	return f
}

// wrap makes a fault of what is none.
func (c *session) wrap(x *step, err error) error {
	var f *conformance.Fault
	if errors.As(err, &f) {
		return err
	}
	if conformance.TimedOut(err) {
		return c.fault(x, fmt.Sprintf("the server does not answer within %v", c.run.Server.Timeout))
	}
	return c.fault(x, err.Error())
}

// do does what is no command.
func (c *session) do(x *step) error {
	text, err := c.run.vars.Expand(x.text)
	if err != nil {
		return err
	}
	switch x.verb {
	case "write":
		if text, err = strconv.Unquote(text); err != nil {
			return err
		}
		return c.Write([]byte(text))
	case "stls":
		return c.StartTLS()
	case "close":
		c.gone = true
		c.Close()
		return nil
	case "connect":
		c.Close()
		return c.connect(x.conn)
	case "deliver":
		return c.run.deliver(1)
	}
	// ended
	c.gone = true
	for {
		if _, err := c.line(); conformance.TimedOut(err) {
			return fmt.Errorf("the server does not end the connection")
		} else if err != nil {
			return nil
		}
	}
}
