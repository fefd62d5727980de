package probe

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// imap is RFC 9051's client, as much of it as the steps need.
type imap struct {
	*run
	tag     int
	offered []string // capabilities, in capitals
	uid     uint64
}

// response is one untagged response: its line without "* ", and its literals,
// whose octets are not in the line.
type response struct {
	line     string
	literals [][]byte
}

func (c *imap) greeting() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	if !hasPrefix(line, "* OK") {
		return said(line)
	}
	return nil
}

func hasPrefix(line, prefix string) bool {
	return len(line) >= len(prefix) && strings.EqualFold(line[:len(prefix)], prefix)
}

// command sends a command and gives the untagged responses up to its OK. A
// continuation request is answered by continued, nil when there is none.
func (c *imap) command(text string, continued func(line string) error) ([]response, error) {
	c.tag++
	tag := "p" + strconv.Itoa(c.tag) + " "
	if err := c.send(tag + text); err != nil {
		return nil, err
	}
	var responses []response
	for range maxLines {
		line, err := c.line()
		switch {
		case err != nil:
			return nil, err
		case hasPrefix(line, tag+"OK"):
			return responses, nil
		case strings.HasPrefix(line, tag):
			return nil, said(line[len(tag):])
		case strings.HasPrefix(line, "+"):
			if continued == nil {
				return nil, said(line)
			}
			if err := continued(strings.TrimPrefix(line[1:], " ")); err != nil {
				return nil, err
			}
		case strings.HasPrefix(line, "* "):
			r, err := c.literals(line[2:])
			if err != nil {
				return nil, err
			}
			if hasPrefix(r.line, "BYE") && !strings.HasPrefix(text, "LOGOUT") {
				return nil, said(r.line)
			}
			responses = append(responses, r)
		default:
			return nil, said(line)
		}
	}
	return nil, errors.New("the server's answer has too many lines")
}

// literals reads the literals that a response goes on with.
func (c *imap) literals(line string) (response, error) {
	r := response{line: line}
	for range maxLines {
		at := strings.LastIndexByte(line, '{')
		if at < 0 || !strings.HasSuffix(line, "}") {
			return r, nil
		}
		n, err := strconv.ParseUint(line[at+1:len(line)-1], 10, 32)
		if err != nil {
			return r, nil
		}
		if n > maxLiteral {
			return r, fmt.Errorf("the server sent a literal of %d octets", n)
		}
		literal := make([]byte, n)
		if _, err := io.ReadFull(c.in, literal); err != nil {
			return r, err
		}
		r.literals = append(r.literals, literal)
		if line, err = c.line(); err != nil {
			return r, err
		}
		if len(r.line)+len(line) > maxLine {
			break
		}
		r.line += line
	}
	return r, errors.New("the server's response is too long")
}

func (c *imap) capabilities() error {
	responses, err := c.command("CAPABILITY", nil)
	if err != nil {
		return err
	}
	for _, r := range responses {
		if hasPrefix(r.line, "CAPABILITY ") {
			c.offered = strings.Fields(strings.ToUpper(r.line))[1:]
			return nil
		}
	}
	return errors.New("the server named no capabilities")
}

func (c *imap) startTLS() error {
	if !slices.Contains(c.offered, "STARTTLS") {
		return errors.New("the server does not offer STARTTLS")
	}
	_, err := c.command("STARTTLS", nil)
	return err
}

func (c *imap) signIn() error {
	var mechanisms []string
	for _, o := range c.offered {
		if name, ok := strings.CutPrefix(o, "AUTH="); ok {
			mechanisms = append(mechanisms, name)
		}
	}
	x, err := c.choose(mechanisms)
	if err != nil {
		return err
	}
	if x == nil {
		if slices.Contains(c.offered, "LOGINDISABLED") {
			return c.noneKnown()
		}
		if !c.private() {
			return errClear
		}
		name, err := quoted(c.Name)
		if err != nil {
			return err
		}
		password, err := quoted(c.Password)
		if err != nil {
			return err
		}
		c.mechanism = "LOGIN command"
		if _, err := c.command("LOGIN "+name+" "+password, nil); err != nil {
			return err
		}
		return c.capabilities()
	}
	_, err = c.command("AUTHENTICATE "+x.mechanism, func(challenge string) error {
		answer, err := x.answer(challenge)
		if err != nil {
			return err
		}
		return c.send(answer)
	})
	if err == nil {
		err = x.accepted()
	}
	if err != nil {
		return err
	}
	return c.capabilities()
}

// quoted gives a quoted string, which is ASCII here.
func quoted(text string) (string, error) {
	for _, b := range []byte(text) {
		if b < ' ' || b > '~' {
			return "", errors.New("the server offers only LOGIN, which takes the name and the password in ASCII")
		}
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`, nil
}

func (c *imap) open() error {
	_, err := c.command("SELECT INBOX", nil)
	return err
}

func (c *imap) deliver(m *message) error {
	sent := false
	_, err := c.command(fmt.Sprintf(`APPEND INBOX (\Seen) {%d}`, len(m.raw)), func(line string) error {
		if sent {
			return said("+ " + line)
		}
		sent = true
		return c.sendRaw(append(m.raw[:len(m.raw):len(m.raw)], "\r\n"...))
	})
	return err
}

func (c *imap) find(m *message) error {
	if _, err := c.command("NOOP", nil); err != nil { // tells of what has arrived
		return err
	}
	responses, err := c.command(`UID SEARCH HEADER Message-ID "`+m.id+`"`, nil)
	if err != nil {
		return err
	}
	var uids []string
	for _, r := range responses {
		if hasPrefix(r.line, "SEARCH") {
			uids = append(uids, strings.Fields(r.line)[1:]...)
		}
	}
	if len(uids) != 1 {
		return fmt.Errorf("INBOX has %d messages with the Message-ID that was delivered", len(uids))
	}
	if c.uid, err = strconv.ParseUint(uids[0], 10, 32); err != nil {
		return said(uids[0])
	}
	return nil
}

func (c *imap) fetch(m *message) error {
	responses, err := c.command(fmt.Sprintf("UID FETCH %d (BODY.PEEK[])", c.uid), nil)
	if err != nil {
		return err
	}
	for _, r := range responses {
		if strings.Contains(strings.ToUpper(r.line), "BODY[]") && len(r.literals) == 1 {
			return m.same(r.literals[0])
		}
	}
	return errors.New("the server did not send the message")
}

func (c *imap) remove() error {
	if _, err := c.command(fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Deleted)`, c.uid), nil); err != nil {
		return err
	}
	if !slices.Contains(c.offered, "UIDPLUS") && !slices.Contains(c.offered, "IMAP4REV2") {
		return skip(`the message has \Deleted; the server cannot remove it alone`)
	}
	_, err := c.command(fmt.Sprintf("UID EXPUNGE %d", c.uid), nil)
	return err
}

func (c *imap) signOut() error {
	_, err := c.command("LOGOUT", nil)
	return err
}
