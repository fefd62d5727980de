package policy

import (
	"fmt"
	"strings"
)

// outcome is what came of an attempt.
type outcome struct {
	status string // the deciding status line, without tag; "BYE" when the server hung up
	asks   int    // continuations: how often the server asked for something
	in     bool   // has logged in
}

// attempt plays a dialogue, and then asks whether the session has logged in. When it is
// pipelined, everything that does not depend on the server's words goes in one write,
// the question too if it can.
func (c *client) attempt(d dialogue, pipelined bool) (outcome, error) {
	if c.pop() {
		return c.attemptPOP(d, pipelined)
	}
	return c.attemptIMAP(d, pipelined)
}

// attemptPOP counts: every line that is sent is answered by one line.
func (c *client) attemptPOP(d dialogue, pipelined bool) (o outcome, err error) {
	user := strings.EqualFold(d.opening[:5], "USER ")
	text, replies, lines := d.opening+"\r\n", 0, 1
	probed := false
	if pipelined {
		for ; replies < d.ahead && replies < len(d.replies); replies++ {
			text += d.replies[replies]("") + "\r\n"
			lines++
		}
		if replies == len(d.replies) {
			text += "STAT\r\n"
			lines++
			probed = true
		}
	}
	if err := c.send(text); err != nil {
		return o, err
	}
	last := ""
	for step := 0; lines > 0; {
		line, err := c.line()
		if err == errClosed && o.status == "" {
			return outcome{status: "BYE"}, nil
		}
		if err != nil {
			return o, err
		}
		lines--
		last = line
		asks := o.status == "" && (strings.HasPrefix(line, "+ ") || user && step == 0 && strings.HasPrefix(line, "+OK"))
		switch {
		case asks:
			o.asks++
			if step >= replies {
				reply := ""
				if step < len(d.replies) {
					reply = d.replies[step](strings.TrimPrefix(line, "+ "))
				}
				if err := c.send(reply + "\r\n"); err != nil {
					return o, err
				}
				lines++
			}
			step++
		case o.status == "":
			o.status = line
		case good(line) && !(probed && lines == 0):
			return o, fmt.Errorf("%q was answered %q", "a line behind the attempt", line)
		case strings.HasPrefix(line, "+ "):
			o.asks++
		}
	}
	if !probed {
		if o.in, err = c.authenticated(); err != nil {
			return o, err
		}
	} else {
		o.in = good(last)
	}
	return o, nil
}

// attemptIMAP goes by tags.
func (c *client) attemptIMAP(d dialogue, pipelined bool) (o outcome, err error) {
	tag, probe, end := c.tag(), c.tag(), c.tag()
	question := probe + " " + c.probe() + "\r\n" + end + " NOOP\r\n"
	text, replies := tag+" "+d.opening+"\r\n", 0
	asked := false
	if pipelined {
		for ; replies < d.ahead && replies < len(d.replies); replies++ {
			text += d.replies[replies]("") + "\r\n"
		}
		if asked = replies == len(d.replies); asked {
			text += question
		}
	}
	if err := c.send(text); err != nil {
		return o, err
	}
	bye, answered := false, ""
	for step := 0; ; {
		line, err := c.line()
		if err == errClosed && bye {
			return outcome{status: "BYE", asks: o.asks}, nil
		}
		if err != nil {
			return o, err
		}
		status, mine := strings.CutPrefix(line, tag+" ")
		switch {
		case line == "+" || strings.HasPrefix(line, "+ "):
			o.asks++
			if o.status == "" && step >= replies {
				reply := ""
				if step < len(d.replies) {
					reply = d.replies[step](strings.TrimPrefix(line, "+ "))
				}
				if err := c.send(reply + "\r\n"); err != nil {
					return o, err
				}
			}
			step++
		case mine && o.status == "":
			o.status = status
			if !asked {
				if err := c.send(question); err != nil {
					return o, err
				}
			}
		case strings.HasPrefix(line, "* BYE"):
			bye = true
		case strings.HasPrefix(line, probe+" "):
			answered = strings.TrimPrefix(line, probe+" ")
		case strings.HasPrefix(line, end+" "):
			if o.status == "" || answered == "" {
				return o, fmt.Errorf("a command was not answered: %q", c.heard)
			}
			o.in = good(answered)
			return o, nil
		case strings.HasPrefix(line, "* "):
		default:
			if _, rest, _ := strings.Cut(line, " "); good(rest) {
				return o, fmt.Errorf("a line behind the attempt was answered %q", line)
			}
		}
	}
}
