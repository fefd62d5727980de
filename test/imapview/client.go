package imapview

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Client is a session that keeps a View. It is used by one goroutine.
type Client struct {
	View View

	conn io.ReadWriter
	r    *bufio.Reader
	tags int
}

// Reply is what came back for a command.
type Reply struct {
	Condition string   // OK, NO or BAD
	Code      string   // response code without brackets
	Text      string   // text behind it
	Untagged  [][]byte // untagged responses without CRLF; literals are in them
}

// NewClient reads the greeting on conn.
func NewClient(conn io.ReadWriter) (*Client, error) {
	c := &Client{conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	greeting, err := ReadResponse(c.r)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(greeting, []byte("* OK ")) && !bytes.HasPrefix(greeting, []byte("* PREAUTH ")) {
		return nil, fmt.Errorf("unexpected greeting %.200q", greeting)
	}
	return c, nil
}

// Do sends a command without its tag, which may hold non-synchronizing literals, and
// reads up to its tagged response. The error says that a response was impossible or
// that the connection ended; NO and BAD are no errors.
func (c *Client) Do(command string) (Reply, error) {
	tag := c.Send(command)
	return c.Wait(tag)
}

// Send sends a command and gives its tag. Errors show in Wait.
func (c *Client) Send(command string) (tag string) {
	c.tags++
	tag = "t" + strconv.Itoa(c.tags)
	c.View.Begin(command)
	io.WriteString(c.conn, tag+" "+command+"\r\n")
	return tag
}

// Wait reads up to the tagged response of tag.
func (c *Client) Wait(tag string) (Reply, error) {
	var reply Reply
	for {
		response, err := ReadResponse(c.r)
		if err != nil {
			return reply, err
		}
		switch {
		case bytes.HasPrefix(response, []byte("+")):
			continue
		case bytes.HasPrefix(response, []byte("* ")):
			reply.Untagged = append(reply.Untagged, response)
			if err := c.View.Untagged(response); err != nil {
				return reply, err
			}
			continue
		}
		rest, ok := strings.CutPrefix(string(response), tag+" ")
		if !ok {
			return reply, fmt.Errorf("%.200q is no answer to %s", response, tag)
		}
		reply.Condition, reply.Text, _ = strings.Cut(rest, " ")
		if code, ok := strings.CutPrefix(reply.Text, "["); ok {
			reply.Code, reply.Text, _ = strings.Cut(code, "] ")
		}
		c.View.End(reply.Condition)
		return reply, nil
	}
}

// Next reads one response that comes between commands, as NOTIFY asks for.
func (c *Client) Next() ([]byte, error) {
	response, err := ReadResponse(c.r)
	if err == nil {
		err = c.View.Untagged(response)
	}
	return response, err
}

// Idle sends IDLE, waits for leave, and then reads until done has been called and
// the tagged response came. each is called after every response, and the IDLE ends
// when it returns false.
func (c *Client) Idle(each func() bool) (Reply, error) {
	tag := c.Send("IDLE")
	ended := false
	var reply Reply
	for {
		response, err := ReadResponse(c.r)
		if err != nil {
			return reply, err
		}
		if bytes.HasPrefix(response, []byte("* ")) {
			reply.Untagged = append(reply.Untagged, response)
			if err := c.View.Untagged(response); err != nil {
				return reply, err
			}
		} else if rest, ok := strings.CutPrefix(string(response), tag+" "); ok {
			reply.Condition, reply.Text, _ = strings.Cut(rest, " ")
			c.View.End(reply.Condition)
			return reply, nil
		}
		if !ended && !each() {
			ended = true
			io.WriteString(c.conn, "DONE\r\n")
		}
	}
}

// Must is Do of a command whose answer must be OK.
func (c *Client) Must(command string) (Reply, error) {
	reply, err := c.Do(command)
	if err == nil && reply.Condition != "OK" {
		err = fmt.Errorf("%.100q: %s [%s] %s", command, reply.Condition, reply.Code, reply.Text)
	}
	return reply, err
}

// Learn asks for the UIDs and flags of all messages.
func (c *Client) Learn() error {
	if len(c.View.Messages) == 0 {
		return nil
	}
	_, err := c.Must("FETCH 1:* (UID FLAGS)")
	return err
}

// Verify asks for what changed (NOOP) and then compares the view with what the
// server says of all messages. It is called when nobody changes the mailbox, and
// after Learn, so that every message that came before is known.
func (c *Client) Verify() error {
	if _, err := c.Must("NOOP"); err != nil {
		return err
	}
	before := append([]Message(nil), c.View.Messages...)
	if len(before) == 0 {
		reply, err := c.Must("UID FETCH 1:* (UID FLAGS)")
		if err == nil && len(reply.Untagged) > 0 {
			err = fmt.Errorf("the view is empty and there is %.100q", reply.Untagged[0])
		}
		return err
	}
	reply, err := c.Must("FETCH 1:* (UID FLAGS)")
	if err != nil {
		return err
	}
	told := 0
	for _, u := range reply.Untagged {
		if bytes.Contains(u, []byte(" FETCH (")) {
			told++
		}
	}
	if told != len(before) || len(c.View.Messages) != len(before) {
		return fmt.Errorf("the view has %d messages, FETCH told of %d", len(before), told)
	}
	for i, m := range c.View.Messages {
		old := before[i]
		if m.UID == 0 || !m.Known {
			return fmt.Errorf("FETCH did not tell of message %d", i+1)
		}
		if old.UID != 0 && old.UID != m.UID {
			return fmt.Errorf("message %d had UID %d and has %d", i+1, old.UID, m.UID)
		}
		if old.Known && old.Flags != m.Flags {
			return fmt.Errorf("message %d (UID %d) had flags (%s) and has (%s), of which nobody told", i+1, m.UID, old.Flags, m.Flags)
		}
	}
	return nil
}
