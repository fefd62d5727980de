package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/test/conformance"
)

// A group of commands: given, answered, and compared with what the script expects.

// begin begins a group.
func (c *session) begin(g *group) {
	c.group, c.found, c.nearest, c.extras = g, make([]bool, len(g.untagged)), make([]nearest, len(g.untagged)), nil
	c.seqmap = c.seqmap[:0]
	for i := range c.exists {
		c.seqmap = append(c.seqmap, i+1)
	}
	c.run.m.vars.Seq = func(n int) string {
		if n < 1 || n > len(c.seqmap) || c.seqmap[n-1] == 0 {
			return "(no message)"
		}
		return strconv.Itoa(c.seqmap[n-1])
	}
}

// fault makes a fault of the group that is under way.
func (c *session) fault(format string, values ...any) *conformance.Fault {
	f := &conformance.Fault{What: fmt.Sprintf(format, values...)}
	if c.group != nil {
		f.Line = c.group.line
		if len(c.group.commands) > 0 {
			f.Command = c.run.m.vars.Show(join(c.group.commands[0].text))
			if v := c.group.commands[0].verb; v != send {
				f.Command = strings.TrimSpace("(" + v.String() + ") " + f.Command)
			}
		}
		if c.run.connections > 1 {
			f.Command = fmt.Sprintf("connection %d: %s", c.index, f.Command)
		}
	}
	return f
}

func (v verb) String() string {
	for name, x := range verbs {
		if x == v {
			return name
		}
	}
	return "the greeting"
}

// untagged compares an untagged response, or a "+", with what the group expects.
func (c *session) untagged(line []byte) error {
	got := args(bytes.TrimPrefix(line, []byte("* ")))
	defer c.learn(line)
	if c.run.Check && !c.run.unchecked && line[0] == '*' {
		if err := c.view.Untagged(line); err != nil {
			return c.fault("what the server tells cannot be: %v", err)
		}
	}
	if c.group == nil {
		return nil
	}
	some := false
	for i, u := range c.group.untagged {
		if c.found[i] {
			continue
		}
		switch n := c.run.m.response(u.args, got); {
		case n == whole && u.must == '!':
			f := c.fault("the server says what it must not")
			f.Want = []string{"not * " + c.run.m.vars.Show(u.text)}
			f.Got = []string{string(line)}
			return f
		case n == whole:
			c.found[i], some = true, true
			if c.group.ordered {
				return nil
			}
			continue
		case n > c.nearest[i].n:
			c.nearest[i] = nearest{n, string(line)}
		}
		if c.group.ordered && u.must == '*' {
			break
		}
	}
	if !some && line[0] == '*' {
		c.extras = append(c.extras, string(line))
	}
	return nil
}

// missing tells whether a response has not come that must.
func (c *session) missing() bool {
	for i, u := range c.group.untagged {
		if u.must == '*' && !c.found[i] {
			return true
		}
	}
	return false
}

// finish says what is wrong with the untagged responses of the group, and ends it.
func (c *session) finish() error {
	g := c.group
	var f *conformance.Fault
	if c.missing() {
		f = c.fault("an untagged response is missing")
		for i, u := range g.untagged {
			if u.must == '*' && !c.found[i] {
				f.Want = append(f.Want, "* "+c.run.m.vars.Show(u.text))
				if c.nearest[i].n > 0 {
					f.Got = append(f.Got, c.nearest[i].text)
				}
			}
		}
		if len(f.Got) == 0 {
			f.Got = c.extras
		}
	} else if !c.run.extra && len(c.extras) > 0 {
		f = c.fault("an untagged response is not expected")
		f.Got = c.extras
	}
	for _, text := range g.output {
		fmt.Println(c.run.m.vars.Show(text))
	}
	time.Sleep(g.sleep)
	c.group = nil
	if f != nil {
		return f
	}
	return nil
}

// play plays a group.
func (c *session) play(g *group) error {
	c.begin(g)
	vars := c.run.m.vars
	waiting := map[string]*command{} // by tag
	first := ""
	for _, cmd := range g.commands {
		if c.gone && cmd.verb != connecting {
			return c.fault("the connection has ended before")
		}
		if cmd.verb.answered() || cmd.open {
			tag := c.open
			if cmd.verb != more {
				tag = c.tag()
			}
			vars.Set("tag", tag)
			if first == "" {
				first = tag
			}
			waiting[tag] = cmd
			answer, err := c.give(cmd, tag)
			if err != nil {
				return c.wrap(err)
			}
			if answer != nil {
				if err := c.tagged(waiting, tag, answer); err != nil {
					return err
				}
			}
			continue
		}
		if err := c.do(cmd, waiting); err != nil {
			return c.wrap(err)
		}
		if cmd.verb == connecting {
			return nil
		}
	}
	if first != "" {
		vars.Set("tag", first)
	}
	for len(waiting) > 0 {
		line, err := c.response(0)
		if err != nil {
			return c.ended(err, waiting)
		}
		if err := c.take(line, waiting); err != nil {
			return err
		}
	}
	if g.bye && !c.gone {
		for {
			line, err := c.response(0)
			if err != nil {
				return c.ended(err, waiting)
			}
			if err := c.take(line, waiting); err != nil {
				return err
			}
		}
	}
	return c.finish()
}

// wrap makes a fault of what is none.
func (c *session) wrap(err error) error {
	var f *conformance.Fault
	if errors.As(err, &f) {
		return err
	}
	if conformance.TimedOut(err) {
		return c.fault("the server does not answer within %v", c.run.Server.Timeout)
	}
	return c.fault("%v", err)
}

// ended takes the end of the connection, which is right behind an expected BYE when the
// commands do not ask for an answer.
func (c *session) ended(err error, waiting map[string]*command) error {
	if c.group.bye && len(waiting) == 0 && conformance.TimedOut(err) {
		return c.fault("the server does not end the connection")
	}
	if !c.group.bye || conformance.TimedOut(err) {
		if errors.Is(err, io.EOF) {
			return c.fault("the server has closed the connection")
		}
		return c.wrap(err)
	}
	c.gone = true
	for _, cmd := range waiting {
		if !anything(cmd.reply) {
			return c.fault("the server has closed the connection instead of %s", strings.ToUpper(show(cmd.reply)))
		}
	}
	return c.finish()
}

func anything(reply []arg) bool {
	return len(reply) == 1 && (reply[0].text == "" || reply[0].text == `""`)
}

// take takes a response while answers are awaited.
func (c *session) take(line []byte, waiting map[string]*command) error {
	if line[0] == '*' {
		return c.untagged(line)
	}
	tag, rest, _ := bytes.Cut(line, []byte(" "))
	if string(tag) == "+" {
		for t, cmd := range waiting {
			if cmd.open {
				c.open = t
				delete(waiting, t)
				return c.untagged(line)
			}
		}
		if len(c.group.commands) > 0 && c.group.commands[0].verb == wait {
			return c.untagged(line)
		}
		return c.fault("the server asks for more: %s", line)
	}
	if string(tag) == c.open && bytes.HasPrefix(bytes.ToUpper(rest), []byte("OK")) && waiting[c.open] == nil {
		c.open = "" // of the command that was open, as the client ended it by bytes
		return nil
	}
	if waiting[string(tag)] == nil {
		return c.fault("an answer to no command: %s", line)
	}
	return c.tagged(waiting, string(tag), rest)
}

// tagged compares a tagged response.
func (c *session) tagged(waiting map[string]*command, tag string, answer []byte) error {
	cmd := waiting[tag]
	delete(waiting, tag)
	word, _, _ := bytes.Cut(answer, []byte(" "))
	c.view.End(strings.ToUpper(string(word)))
	if tag == c.open {
		c.open = ""
	}
	if anything(cmd.reply) {
		return nil
	}
	got := args(answer)
	mark := c.run.m.vars.Mark()
	if len(cmd.reply) > 0 && c.run.m.args(cmd.reply, got, true) == whole {
		return nil
	}
	c.run.m.vars.Back(mark)
	f := c.fault("another answer")
	f.Want = []string{c.run.m.vars.Show(show(cmd.reply))}
	if cmd.open {
		f.Want = []string{"+"}
	}
	f.Got = []string{string(answer)}
	return f
}

var (
	// bodiless are APPEND and REPLACE; what comes behind shows whether they have a message.
	bodiless = regexp.MustCompile(`(?i)^(append|replace \S+|uid replace \S+) `)
	appends  = regexp.MustCompile(`(?i)^append$`)
)

// give sends a command that is answered.
func (c *session) give(cmd *command, tag string) (answer []byte, err error) {
	vars := c.run.m.vars
	var pieces []piece
	for _, x := range cmd.text {
		if x.text, err = vars.Expand(x.text); err != nil {
			return nil, err
		}
		pieces = append(pieces, x)
	}
	start := pieces[0].text
	switch cmd.verb {
	case rawBytes:
		b, err := raw(start)
		if err != nil {
			return nil, err
		}
		c.view.Begin(strings.TrimPrefix(string(b), tag+" "))
		return nil, c.Write(b)
	case more:
		if tag == "" {
			return nil, fmt.Errorf("no command is open")
		}
		return c.send("", pieces)
	}
	if appends.MatchString(start) {
		pieces = c.run.append("")
	} else if head := bodiless.FindString(start); head != "" && len(pieces) == 1 && !hasBody(start[len(head):]) {
		pieces = c.run.append(start)
	}
	c.view.Begin(start)
	return c.send(tag, pieces)
}

// hasBody tells whether something stands behind mailbox, flags and date.
func hasBody(s string) bool {
	a := args([]byte(s))
	i := 1
	if i < len(a) && a[i].kind == list {
		i++
	}
	if i < len(a) && a[i].kind == text && strings.Contains(a[i].text, " ") { // a date-time
		i++
	}
	return i < len(a)
}

// raw reads bytes with Go's escapes between quotes.
func raw(s string) ([]byte, error) {
	s, err := strconv.Unquote(strings.TrimSpace(s))
	if err != nil {
		return nil, fmt.Errorf("bytes are a Go string: %w", err)
	}
	return []byte(s), nil
}

// do does what no tagged response answers.
func (c *session) do(cmd *command, waiting map[string]*command) error {
	argument, err := c.run.m.vars.Expand(cmd.text[0].text)
	if err != nil {
		return err
	}
	switch cmd.verb {
	case wait:
		var limit time.Duration
		if argument != "" {
			if limit, err = duration(argument); err != nil {
				return err
			}
		} else {
			limit = c.run.Server.Timeout
		}
		return c.await(limit)
	case write:
		b, err := raw(argument)
		if err != nil {
			return err
		}
		return c.Write(b)
	case startTLS:
		c.caps = nil
		return c.StartTLS()
	case compress:
		return c.Compress()
	case closing:
		c.gone = true
		c.Close()
		return nil
	case connecting:
		return c.connect(c.group)
	}
	return fmt.Errorf("nothing to do")
}

// await reads until every response has come that must, or, when only some must not, for
// the time named.
func (c *session) await(limit time.Duration) error {
	must := c.missing()
	for end := time.Now().Add(limit); !must || c.missing(); {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		line, err := c.response(left)
		switch {
		case conformance.TimedOut(err):
			return nil // what is missing is told by finish
		case err != nil && c.group.bye:
			c.gone = true
			return nil
		case err != nil:
			return err
		}
		if err := c.take(line, nil); err != nil {
			return err
		}
	}
	return nil
}
