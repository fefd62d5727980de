package history

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// talker speaks a protocol of lines and remembers what was said.
type talker struct {
	*liner
	a     *account
	name  string
	rng   *rand.Rand
	trace *trace
	tls   bool
}

func (a *account) talker(rng *rand.Rand, name, addr string) (*talker, error) {
	conn, err := a.h.dial(addr)
	if err != nil {
		return nil, err
	}
	t := &trace{Conn: conn}
	return &talker{&liner{t, bufio.NewReader(t)}, a, name, rng, t, false}, nil
}

func (x *talker) end() { x.conn.Close() }

func (x *talker) fault(kind, format string, args ...any) {
	x.a.mu.Lock()
	defer x.a.mu.Unlock()
	if f := x.a.faulty(kind, nil, "%s: %s", x.name, fmt.Sprintf(format, args...)); f != nil {
		f.History = append(f.History, x.trace.said...)
	}
}

// write sends text, cut anywhere.
func (x *talker) write(text string) error {
	x.a.h.counts.commands.Add(int64(strings.Count(text, "\n")))
	return cut(x.conn, x.rng, text)
}

// secure begins TLS.
func (x *talker) secure() error {
	x.tls = true
	return upgrade(x.trace, x.in)
}

// collector is a session of POP3 in whatever state it is.
type collector struct {
	*talker
	began  int64
	inside bool
	quits  bool // it means to QUIT, and so may read
	user   bool // USER was said

	listing, ids []string
	marked       map[int]bool
	read         *op // nil: nothing was read
}

func (a *account) collector(rng *rand.Rand) (*collector, error) {
	t, err := a.talker(rng, "pop3", a.h.target.POP3)
	if err != nil {
		return nil, err
	}
	c := &collector{talker: t, began: a.h.tick(), marked: map[int]bool{}, quits: rng.IntN(4) > 0}
	_, err = t.line()
	return c, err
}

// one sends a command whose answer is one line, and tells whether that is +OK.
func (c *collector) one(command string) (string, bool, error) {
	if err := c.write(command + "\r\n"); err != nil {
		return "", false, err
	}
	line, err := c.line()
	if err == nil && !strings.HasPrefix(line, "+OK") && !strings.HasPrefix(line, "-ERR") {
		err = fmt.Errorf("%q is no answer to %q", line, command)
	}
	return line, strings.HasPrefix(line, "+OK"), err
}

// wants is one for what must be answered so.
func (c *collector) wants(command string, want bool) (string, error) {
	line, ok, err := c.one(command)
	if err == nil && ok != want {
		err = fmt.Errorf("%q to %q", line, command)
	}
	return line, err
}

// Whatever stands here is refused, in the one state and in the other.
var (
	refusedOutside = []string{"STAT", "LIST", "UIDL 1", "RETR 1", "DELE 1", "RSET", "NOOP", "TOP 1 0", "", "X", "USER", "AUTH NOTHING", "AUTH PLAIN !", "AUTH PLAIN AAAA", "APOP", "CAPA x", "PASS"}
	refusedInside  = []string{"RETR 0", "RETR 99999", "RETR 4294967297", "RETR", "RETR x", "DELE 0", "DELE -1", "DELE", "LIST 0", "LIST 99999", "LIST 1 2", "UIDL 0", "TOP 1", "TOP 0 0", "TOP 1 -1",
		"USER x", "PASS x", "AUTH PLAIN", "STLS", "APOP a b", "", "X", "STAT 1", "NOOP\x00"}
)

func (c *collector) act() error {
	if c.inside {
		return c.actInside()
	}
	switch n := c.rng.IntN(16); {
	case n < 4:
		command := refusedOutside[c.rng.IntN(len(refusedOutside))]
		if command == "PASS" && c.user {
			return nil
		}
		_, err := c.wants(command, false)
		return err
	case n == 4:
		if _, err := c.wants("CAPA", true); err != nil {
			return err
		}
		_, err := c.lines()
		return err
	case n == 5 && !c.tls:
		_, ok, err := c.one("STLS")
		if err == nil && ok {
			c.user = false
			err = c.secure()
		}
		return err
	case n == 6:
		if _, err := c.wants("USER "+c.a.Name, true); err != nil {
			return err
		}
		c.user = false
		_, err := c.wants("PASS not "+c.a.Password, false)
		return err
	case n == 7:
		if _, err := c.wants("QUIT", true); err != nil {
			return err
		}
		return errEnd
	case n == 8:
		return errEnd
	case n == 9:
		_, err := c.wants("USER nobody", true)
		c.user = true
		return err
	}
	return c.login()
}

// login enters by PASS or by AUTH; another session may have the maildrop.
func (c *collector) login() error {
	c.began = c.a.h.tick()
	c.user = false
	var line string
	var ok bool
	var err error
	proof := base64.StdEncoding.EncodeToString([]byte("\x00" + c.a.Name + "\x00" + c.a.Password))
	switch c.rng.IntN(3) {
	case 0:
		line, ok, err = c.one("AUTH PLAIN " + proof)
	case 1:
		if err := c.write("AUTH PLAIN\r\n"); err != nil {
			return err
		}
		if line, err = c.line(); err != nil || !strings.HasPrefix(line, "+ ") {
			return cmpError(err, line)
		}
		line, ok, err = c.one(proof)
	default:
		if _, err = c.wants("USER "+c.a.Name, true); err != nil {
			return err
		}
		line, ok, err = c.one("PASS " + c.a.Password)
	}
	if err != nil || !ok {
		if err == nil && !strings.Contains(line, "IN-USE") {
			err = fmt.Errorf("not let in: %s", line)
		}
		return err
	}
	c.inside = true
	if c.listing, err = c.liner.listing(); err != nil {
		return err
	}
	c.ids, err = c.a.lists(c.liner, c.listing, c.began)
	return err
}

// left gives how many messages are not marked.
func (c *collector) left() int { return len(c.listing) - len(c.marked) }

func (c *collector) actInside() error {
	n := 0
	if len(c.listing) > 0 {
		n = c.rng.IntN(len(c.listing))
	}
	there := len(c.listing) > 0 && !c.marked[n]
	switch k := c.rng.IntN(20); {
	case k < 3:
		_, err := c.wants(refusedInside[c.rng.IntN(len(refusedInside))], false)
		return err
	case k == 3:
		return c.overview()
	case k == 4:
		return c.pipelined()
	case k < 8 && len(c.listing) > 0:
		return c.retrieve(n, there)
	case k == 8 && len(c.listing) > 0:
		_, ok, err := c.one(fmt.Sprintf("TOP %d %d", n+1, c.rng.IntN(3)))
		if err != nil || !ok {
			return err
		}
		if !there {
			return fmt.Errorf("TOP %d of what is marked", n+1)
		}
		_, err = c.lines()
		return err
	case k < 13 && len(c.listing) > 0:
		if c.ids[n] == "" {
			return nil
		}
		_, err := c.wants(fmt.Sprintf("DELE %d", n+1), there)
		c.marked[n] = true
		return err
	case k == 13:
		_, err := c.wants("RSET", true)
		clear(c.marked)
		return err
	case k < 16:
		return c.leave()
	}
	_, err := c.wants("NOOP", true)
	return err
}

// overview asks for the lists, which a session's own DELE alone changes.
func (c *collector) overview() error {
	if _, err := c.wants("UIDL", true); err != nil {
		return err
	}
	lines, err := c.lines()
	if err != nil {
		return err
	}
	var want []string
	for i, unique := range c.listing {
		if !c.marked[i] {
			want = append(want, fmt.Sprintf("%d %s", i+1, unique))
		}
	}
	if !slices.Equal(lines, want) {
		return fmt.Errorf("UIDL lists %q, and %q is there", lines, want)
	}
	if _, err := c.wants("LIST", true); err != nil {
		return err
	}
	if lines, err = c.lines(); err == nil && len(lines) != c.left() {
		err = fmt.Errorf("LIST lists %q, and %d are there", lines, c.left())
	}
	return err
}

// pipelined sends several commands at once, all of which are answered.
func (c *collector) pipelined() error {
	n := 1 + c.rng.IntN(20)
	if err := c.write(strings.Repeat("NOOP\r\nSTAT\r\n", n)); err != nil {
		return err
	}
	for range n {
		for _, want := range []string{"+OK", fmt.Sprintf("+OK %d ", c.left())} {
			if line, err := c.line(); err != nil || !strings.HasPrefix(line, want) {
				return cmpError(err, line)
			}
		}
	}
	return nil
}

// retrieve reads message n, which makes it \Seen when the session ends.
func (c *collector) retrieve(n int, there bool) error {
	if !c.quits || c.ids[n] == "" {
		return nil
	}
	if there {
		if c.read == nil {
			c.read = &op{kind: Retr, client: "pop3", set: seen}
			c.a.send(c.read)
		}
		c.a.mu.Lock()
		c.read.ids = append(c.read.ids, c.ids[n])
		c.a.mu.Unlock()
	}
	_, ok, err := c.one(fmt.Sprintf("RETR %d", n+1))
	if err != nil || !ok {
		return err // an IMAP client has removed it
	}
	if !there {
		return fmt.Errorf("RETR %d of what is marked", n+1)
	}
	lines, err := c.lines()
	if err == nil {
		c.a.compare(c.ids[n], strings.Join(append(lines, ""), "\r\n"), "RETR of "+c.listing[n])
	}
	return err
}

// leave ends the session, by QUIT or, of those who have read nothing, without a word.
func (c *collector) leave() error {
	if !c.quits {
		return errEnd // nothing is removed
	}
	o := &op{kind: Quit, client: "pop3"}
	for n := range c.marked {
		o.doomed, o.ids = append(o.doomed, c.listing[n]), append(o.ids, c.ids[n])
	}
	c.a.send(o)
	_, ok, err := c.one("QUIT")
	if err != nil {
		return err
	}
	outcome := Refused
	if ok {
		outcome = Done
	}
	now := c.a.h.tick()
	c.a.answer(o, outcome, func() {
		if ok {
			for _, unique := range o.doomed {
				c.a.quit[unique] = now
			}
		}
	})
	if c.read != nil {
		c.a.answer(c.read, outcome, nil)
	}
	c.inside = false
	return errEnd
}

func (c *collector) rest() error {
	if c.inside {
		return c.leave()
	}
	return nil
}

// carrier is a session of LMTP in whatever state it is.
type carrier struct {
	*talker
	greeted bool
}

func (h *History) carrier(rng *rand.Rand) (*carrier, error) {
	t, err := h.accounts[0].talker(rng, "lmtp", h.target.LMTP)
	if err != nil {
		return nil, err
	}
	return &carrier{talker: t}, t.want("220")
}

// oddLMTP are commands that may be answered in any way, by one reply, and bring no message.
var oddLMTP = []string{"NOOP", "NOOP x", "VRFY x", "RSET", "HELO x", "EHLO x", "DATA", "RCPT TO:<nobody@nowhere.example>", "MAIL FROM:<>", "MAIL FROM:<a@b.example> BODY=8BITMIME",
	"MAIL FROM:<a@b.example> SIZE=99999999999", "MAIL FROM:<a@b.example> X", "MAIL", "RCPT", "BDAT 0 LAST", "BDAT 5\r\nabc", "BDAT 5 LAST\r\nabc", "BDAT x", "LHLO", "", "X", "RCPT TO:<", "MAIL FROM:<a@b.example> SMTPUTF8"}

func (c *carrier) act() error {
	switch n := c.rng.IntN(16); {
	case n < 4:
		command := oddLMTP[c.rng.IntN(len(oddLMTP))]
		if err := c.write(command + "\r\n"); err != nil {
			return err
		}
		line, err := c.reply()
		switch {
		case err != nil:
		case strings.HasPrefix(line, "421"):
			return errEnd
		case len(line) < 4 || strings.IndexByte("245", line[0]) < 0 || strings.HasPrefix(line, "354"):
			err = fmt.Errorf("%q to %q", line, command)
		}
		return err
	case n == 4:
		if err := c.say("QUIT", "221"); err != nil {
			return err
		}
		return errEnd
	case n == 5 && c.greeted && !c.tls:
		if err := c.write("STARTTLS\r\n"); err != nil {
			return err
		}
		line, err := c.reply()
		if err != nil || !strings.HasPrefix(line, "220") {
			return err
		}
		c.greeted = false
		return c.secure()
	case !c.greeted:
		c.greeted = true
		return c.say("LHLO history.example", "250")
	}
	return c.deliver()
}

func (c *carrier) rest() error { return nil }

// deliver hands over a message, to one account or several, as DATA or in chunks, or breaks
// off before the message is whole.
func (c *carrier) deliver() error {
	h := c.a.h
	var to []*account
	for _, i := range c.rng.Perm(len(h.accounts))[:1+c.rng.IntN(len(h.accounts))] {
		to = append(to, h.accounts[i])
	}
	id, message := h.compose(c.rng, to...)
	chunks := c.rng.IntN(3) == 0
	envelope := "RSET\r\nMAIL FROM:<sender@history.example>\r\n"
	for _, a := range to {
		envelope += "RCPT TO:<" + a.Name + ">\r\n"
	}
	if err := c.write(envelope); err != nil {
		return err
	}
	for range 2 {
		if err := c.want("250"); err != nil {
			return err
		}
	}
	var taken []*account
	for _, a := range to {
		line, err := c.reply()
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "250") {
			taken = append(taken, a)
		} else if len(line) < 4 || line[0] != '4' && line[0] != '5' {
			return fmt.Errorf("%q to RCPT", line)
		}
	}
	if len(taken) == 0 { // there is no room
		return c.say("DATA", "503")
	}
	if !chunks {
		if err := c.say("DATA", "354"); err != nil {
			return err
		}
	}
	if c.rng.IntN(8) == 0 {
		part := message[:c.rng.IntN(len(message))]
		if chunks {
			part = fmt.Sprintf("BDAT %d LAST\r\n%s", len(message), part)
		}
		if err := c.write(part); err != nil {
			return err
		}
		return errEnd
	}
	if !chunks {
		message += ".\r\n"
	} else if n := c.rng.IntN(len(message)); n > 0 {
		if err := c.write(fmt.Sprintf("BDAT %d\r\n%s", n, message[:n])); err != nil {
			return err
		}
		if err := c.want("250"); err != nil {
			return err
		}
		message = fmt.Sprintf("BDAT %d LAST\r\n%s", len(message)-n, message[n:])
	} else {
		message = fmt.Sprintf("BDAT %d LAST\r\n%s", len(message), message)
	}
	var ops []*op
	for _, a := range taken {
		o := &op{kind: Deliver, client: "lmtp", name: "INBOX", ids: []string{id}, clear: allFlags}
		a.send(o)
		ops = append(ops, o)
	}
	if err := c.write(message); err != nil {
		return err
	}
	for i, o := range ops {
		line, err := c.reply()
		if err != nil {
			return err
		}
		outcome := Refused
		if strings.HasPrefix(line, "250") {
			outcome = Done
		}
		taken[i].answer(o, outcome, nil)
	}
	return nil
}
