package main

import (
	"fmt"
	"strings"

	"github.com/postern-mail/postern/test/conformance"
)

// fill leaves the first n messages of the mbox file in INBOX and nothing else.
func (r *run) fill(n int) error {
	c, err := r.dialIMAP()
	if err != nil {
		return err
	}
	defer c.Close()
	for _, command := range []string{"SELECT INBOX", `STORE 1:* +FLAGS.SILENT (\Deleted)`, "EXPUNGE"} {
		// Of an empty mailbox 1:* may be refused.
		if err := c.do(command); err != nil && !strings.HasPrefix(command, "STORE") {
			return err
		}
	}
	return r.append(c, n)
}

// deliver puts the next n messages into INBOX, as if they came from elsewhere.
func (r *run) deliver(n int) error {
	c, err := r.dialIMAP()
	if err != nil {
		return err
	}
	defer c.Close()
	return r.append(c, n)
}

func (r *run) append(c *imap, n int) error {
	for range n {
		m := r.messages[r.next%len(r.messages)]
		r.next++
		if err := c.put(m.Text); err != nil {
			return err
		}
	}
	return c.do("LOGOUT")
}

// imap is as much of an IMAP client as filling a mailbox needs.
type imap struct {
	*conformance.Conn
	tags int
}

func (r *run) dialIMAP() (*imap, error) {
	conn, err := r.IMAP.Dial(0, &conformance.Trace{})
	if err != nil {
		return nil, err
	}
	c := &imap{Conn: conn}
	if _, err := c.until("*"); err != nil {
		return nil, err
	}
	if r.IMAP.Upgrade {
		if err := c.do("STARTTLS"); err != nil {
			return nil, err
		}
		if err := c.StartTLS(); err != nil {
			return nil, err
		}
	}
	a := r.Server.Accounts[0]
	if err := c.do(fmt.Sprintf("LOGIN %q %q", a.Name, a.Password)); err != nil {
		return nil, err
	}
	// A server that knows this may want it said before it takes 8-bit in a header.
	if err := c.do("ENABLE UTF8=ACCEPT"); err != nil && !strings.HasPrefix(err.Error(), "ENABLE") {
		return nil, err
	}
	return c, nil
}

// until reads lines up to one that begins with prefix.
func (c *imap) until(prefix string) (string, error) {
	for {
		c.Wait(0)
		line, err := c.R.ReadString('\n')
		if err != nil || strings.HasPrefix(line, prefix) {
			return line, err
		}
		if prefix == "+" && !strings.HasPrefix(line, "*") {
			return "", fmt.Errorf("APPEND: %s", line)
		}
	}
}

func (c *imap) do(command string) error {
	c.tags++
	tag := fmt.Sprintf("f%d ", c.tags)
	if err := c.Write([]byte(tag + command + "\r\n")); err != nil {
		return err
	}
	return c.ok(tag, command)
}

func (c *imap) ok(tag, command string) error {
	line, err := c.until(tag)
	if err == nil && !strings.HasPrefix(line, tag+"OK") {
		word, _, _ := strings.Cut(command, " ")
		err = fmt.Errorf("%s: %s", word, strings.TrimSpace(line))
	}
	return err
}

func (c *imap) put(text []byte) error {
	c.tags++
	tag := fmt.Sprintf("f%d ", c.tags)
	if err := c.Write(fmt.Appendf(nil, "%sAPPEND INBOX {%d}\r\n", tag, len(text))); err != nil {
		return err
	}
	if _, err := c.until("+"); err != nil {
		return err
	}
	if err := c.Write(append(text[:len(text):len(text)], "\r\n"...)); err != nil {
		return err
	}
	return c.ok(tag, "APPEND")
}
