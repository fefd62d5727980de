package probe

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// pop3 is RFC 1939's client, as much of it as the steps need.
type pop3 struct {
	*run
	capable  []string // lines of CAPA, in capitals
	messages int
	number   int // of the probe's message
}

func (c *pop3) greeting() error {
	_, err := c.ok()
	return err
}

// ok reads a status line and gives its text.
func (c *pop3) ok() (string, error) {
	line, err := c.line()
	if err != nil {
		return "", err
	}
	if text, ok := strings.CutPrefix(line, "+OK"); ok {
		return strings.TrimSpace(text), nil
	}
	return "", said(line)
}

func (c *pop3) command(line string) (string, error) {
	if err := c.send(line); err != nil {
		return "", err
	}
	return c.ok()
}

// lines sends a command and gives the lines of its answer, with CRLF.
func (c *pop3) lines(command string) ([]byte, error) {
	if _, err := c.command(command); err != nil {
		return nil, err
	}
	var text []byte
	for range maxLines {
		line, err := c.line()
		if err != nil {
			return nil, err
		}
		if line == "." {
			return text, nil
		}
		text = append(append(text, strings.TrimPrefix(line, ".")...), "\r\n"...)
	}
	return nil, errors.New("the server's answer has too many lines")
}

func (c *pop3) capabilities() error {
	text, err := c.lines("CAPA")
	if err != nil {
		return err
	}
	c.capable = strings.Split(strings.ToUpper(string(text)), "\r\n")
	return nil
}

func (c *pop3) startTLS() error {
	if !slices.Contains(c.capable, "STLS") {
		return errors.New("the server does not offer STLS")
	}
	_, err := c.command("STLS")
	return err
}

func (c *pop3) signIn() error {
	var mechanisms []string
	for _, line := range c.capable {
		if rest, ok := strings.CutPrefix(line, "SASL "); ok {
			mechanisms = strings.Fields(rest)
		}
	}
	x, err := c.choose(mechanisms)
	switch {
	case err != nil:
		return err
	case x != nil:
		return c.authenticate(x)
	case !slices.Contains(c.capable, "USER"):
		return c.noneKnown()
	case !c.private():
		return errClear
	}
	c.mechanism = "USER command"
	if _, err := c.command("USER " + c.Name); err != nil {
		return err
	}
	_, err = c.command("PASS " + c.Password)
	return err
}

func (c *pop3) authenticate(x *exchange) error {
	if err := c.send("AUTH " + x.mechanism); err != nil {
		return err
	}
	for range 10 {
		line, err := c.line()
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "+OK") {
			return x.accepted()
		}
		challenge, ok := strings.CutPrefix(line, "+")
		if !ok {
			return said(line)
		}
		answer, err := x.answer(strings.TrimSpace(challenge))
		if err != nil {
			return err
		}
		if err := c.send(answer); err != nil {
			return err
		}
	}
	return errors.New("the server asks and asks")
}

func (c *pop3) open() error {
	text, err := c.command("STAT")
	if err != nil {
		return err
	}
	count, _, _ := strings.Cut(text, " ")
	if c.messages, err = strconv.Atoi(count); err != nil || c.messages < 0 {
		return said(text)
	}
	return nil
}

func (c *pop3) deliver(m *message) error {
	if c.Deliver == nil {
		return skip("POP3 does not deliver, and the mailbox is not on this server")
	}
	return c.Deliver(c.ctx, m.raw)
}

// A maildrop with many messages is looked at from its end.
const looked = 20

// find signs in anew: a session does not see what arrives while it lasts.
func (c *pop3) find(m *message) error {
	if c.Deliver == nil {
		return skip("no message was delivered")
	}
	if err := c.signOut(); err != nil {
		return err
	}
	c.close()
	c.secure = false
	steps := len(c.steps)
	c.run.open(c)
	again := c.steps[steps:]
	c.steps = c.steps[:steps]
	for _, s := range again {
		if s.Outcome == Failure {
			c.failed = false
			return errors.New("connecting again: " + s.Scenario + ": " + s.Error)
		}
	}
	if err := c.signIn(); err != nil {
		return err
	}
	if err := c.open(); err != nil {
		return err
	}
	for n := c.messages; n > max(c.messages-looked, 0); n-- {
		command := fmt.Sprintf("TOP %d 0", n)
		if !slices.Contains(c.capable, "TOP") {
			command = fmt.Sprintf("RETR %d", n)
		}
		header, err := c.lines(command)
		if err != nil {
			return err
		}
		if strings.Contains(string(header), "Message-ID: "+m.id) {
			c.number = n
			return nil
		}
	}
	return fmt.Errorf("the message that was delivered is not among the last %d", looked)
}

func (c *pop3) fetch(m *message) error {
	if c.number == 0 {
		return skip("no message was delivered")
	}
	text, err := c.lines(fmt.Sprintf("RETR %d", c.number))
	if err != nil {
		return err
	}
	return m.same(text)
}

func (c *pop3) remove() error {
	if c.number == 0 {
		return skip("no message was delivered")
	}
	_, err := c.command(fmt.Sprintf("DELE %d", c.number))
	return err
}

func (c *pop3) signOut() error {
	_, err := c.command("QUIT")
	return err
}
