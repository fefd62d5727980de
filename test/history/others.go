package history

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"

	"github.com/postern-mail/postern/test/imapview"
)

// namer is the client that makes, renames and deletes mailboxes.
const namer = "names"

// playNames makes, renames and deletes mailboxes. Nobody else does, so what there is
// follows from the answers in their order.
func (a *account) playNames(ctx context.Context, rng *rand.Rand, _ func()) {
	for more := true; more; more = again(ctx, rng) {
		x, err := a.login(rng, namer, &slot{caches: map[string]*cache{}})
		if err != nil {
			continue
		}
		for err == nil && ctx.Err() == nil {
			err = x.stepNames()
			a.h.pause(ctx, rng)
		}
		if err != nil && !broken(err) {
			x.fault("session", "%v", err)
		}
		x.close()
	}
}

func (x *session) stepNames() error {
	name := fmt.Sprint(volatile, x.rng.IntN(3))
	switch x.rng.IntN(8) {
	case 0, 1:
		o := &op{kind: Create, name: name}
		reply, err := x.act(o, "CREATE "+name, nil)
		if err != nil || reply.Condition != "OK" {
			return err
		}
		return x.statusOf(name)
	case 2:
		_, err := x.act(&op{kind: Delete, name: name}, "DELETE "+name, nil)
		return err
	case 3:
		other := fmt.Sprint(volatile, x.rng.IntN(3))
		if other == name || slices.Contains(x.a.h.options.Without, Rename) {
			return nil
		}
		_, err := x.act(&op{kind: Rename, name: name, newName: other}, "RENAME "+name+" "+other, nil)
		return err
	case 4, 5:
		id, message := x.a.h.compose(x.rng, x.a)
		o := &op{kind: Append, name: name, ids: []string{id}, clear: allFlags, bytes: int64(len(message)), count: 1}
		_, err := x.act(o, fmt.Sprintf("APPEND %s {%d+}\r\n%s", name, len(message), message), func(reply imapview.Reply) { o.placed(reply.Code) })
		return err
	}
	return x.statusOf(name)
}

func (x *session) statusOf(name string) error {
	items := "UIDNEXT UIDVALIDITY"
	if x.can["OBJECTID"] {
		items += " MAILBOXID"
	}
	t := told{client: x.name, start: x.a.h.tick(), name: name}
	reply, err := x.do(fmt.Sprintf("STATUS %s (%s)", name, items))
	if err != nil || reply.Condition != "OK" {
		return err
	}
	t.end = x.a.h.tick()
	s := readStatus(reply)
	t.box, t.uidNext = s.validity, s.uidNext
	x.a.hears(t, s.objectID)
	return nil
}

// liner speaks a protocol of lines.
type liner struct {
	conn net.Conn
	in   *bufio.Reader
}

func (h *History) lines(addr string) (*liner, error) {
	conn, err := h.dial(addr)
	if err != nil {
		return nil, err
	}
	return &liner{conn, bufio.NewReader(conn)}, nil
}

func (l *liner) send(text string) error {
	_, err := io.WriteString(l.conn, text)
	return err
}

func (l *liner) line() (string, error) {
	line, err := l.in.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// reply reads an answer of LMTP to its last line.
func (l *liner) reply() (string, error) {
	for {
		line, err := l.line()
		if strings.HasPrefix(line, "421") {
			err = io.EOF // the server ends, and what was asked is not answered
		}
		if err != nil || len(line) < 4 || line[3] != '-' {
			return line, err
		}
	}
}

// say sends a line of LMTP and wants an answer that begins so.
func (l *liner) say(line, code string) error {
	if err := l.send(line + "\r\n"); err != nil {
		return err
	}
	return l.want(code)
}

func (l *liner) want(code string) error {
	reply, err := l.reply()
	if err == nil && !strings.HasPrefix(reply, code) {
		err = fmt.Errorf("%q, and %s was expected", reply, code)
	}
	return err
}

// playLMTP delivers messages, to one account or several.
func (h *History) playLMTP(ctx context.Context, rng *rand.Rand, _ func()) {
	var queue []delivery
	for more := true; more; more = again(ctx, rng) {
		l, err := h.lines(h.target.LMTP)
		if err != nil {
			continue
		}
		if err = l.want("220"); err == nil {
			err = l.say("LHLO history.example", "250")
		}
		for err == nil && ctx.Err() == nil {
			var d delivery
			if len(queue) > 0 && rng.IntN(2) == 0 {
				// What was not answered is tried again, as mail servers do.
				d, queue = queue[0], queue[1:]
				h.counts.retried.Add(1)
			} else {
				d.id, d.message = h.compose(rng)
				for _, i := range rng.Perm(len(h.accounts))[:1+rng.IntN(len(h.accounts))] {
					if a := h.accounts[i]; !a.full() {
						d.to = append(d.to, a)
					}
				}
			}
			var open []*account
			open, err = h.deliver(l, d)
			if len(open) > 0 && len(queue) < 20 {
				d.to, d.again = open, true
				queue = append(queue, d)
			}
			h.pause(ctx, rng)
		}
		if err != nil && !broken(err) {
			h.accounts[0].fault("session", "lmtp: %v", err)
		}
		l.conn.Close()
	}
}

// delivery is a message with its recipients.
type delivery struct {
	id, message string
	to          []*account
	again       bool // it may be there already
}

// deliver gives the recipients of whom no answer came.
func (h *History) deliver(l *liner, d delivery) (open []*account, err error) {
	if len(d.to) == 0 {
		return nil, l.say("NOOP", "250")
	}
	for _, a := range d.to {
		a.sends(d.id, d.message, d.again)
	}
	if err := l.say("MAIL FROM:<sender@history.example>", "250"); err != nil {
		return nil, err
	}
	var to []*account
	for _, a := range d.to {
		o := &op{kind: Deliver, client: "lmtp", name: "INBOX", bytes: 1, count: 1, full: true}
		o.start = h.tick()
		if err := l.send("RCPT TO:<" + a.Name + ">\r\n"); err != nil {
			return nil, err
		}
		reply, err := l.reply()
		switch {
		case err != nil:
			return nil, err
		case strings.HasPrefix(reply, "250"):
			to = append(to, a)
		case strings.HasPrefix(reply, overQuota):
			a.refused(o)
		default:
			return nil, fmt.Errorf("RCPT: %q", reply)
		}
	}
	if len(to) == 0 {
		return nil, l.say("RSET", "250")
	}
	if err := l.say("DATA", "354"); err != nil {
		return nil, err
	}
	var ops []*op
	for _, a := range to {
		o := &op{kind: Deliver, client: "lmtp", name: "INBOX", ids: []string{d.id}, clear: allFlags, bytes: int64(len(d.message)), count: 1}
		a.send(o)
		ops = append(ops, o)
	}
	if err := l.send(d.message + ".\r\n"); err != nil {
		return to, err
	}
	h.counts.commands.Add(1)
	for i, o := range ops {
		reply, err := l.reply()
		if err != nil {
			return to[i:], err
		}
		outcome := Refused
		if strings.HasPrefix(reply, "250") {
			outcome = Done
		}
		to[i].answer(o, outcome, func() { o.full = strings.HasPrefix(reply, overQuota) })
	}
	return nil, nil
}

// overQuota is how LMTP refuses what the recipient has no room for.
const overQuota = "452 4.2.2"

// sends notes that a message may come to the account; again, that it may have come before.
func (a *account) sends(id, message string, again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.texts[id] = text{sha256.Sum256([]byte(message)), len(message)}
	a.figures.Messages++
	if again {
		a.repeated[id] = true
	}
}

// refused notes an operation that was refused as soon as it was named.
func (a *account) refused(o *op) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o.outcome, o.end = Refused, a.h.tick()
	a.log = append(a.log, o)
}

// full tells that there is much in the account: about as far as clients know.
func (a *account) full() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, o := range a.log {
		switch {
		case o.outcome != Done:
		case o.kind == Deliver:
			n++
		case o.kind == Expunge || o.kind == UIDExpunge || o.kind == Close:
			n -= len(o.sure)
		case o.kind == Quit:
			n -= len(o.doomed)
		}
	}
	if a.base != nil {
		for _, b := range a.base.boxes {
			n += len(b.messages)
		}
	}
	return n > a.h.options.Messages
}

// playPOP3 reads the maildrop and removes some of it.
func (a *account) playPOP3(ctx context.Context, rng *rand.Rand, _ func()) {
	for more := true; more; more = again(ctx, rng) {
		l, err := a.h.lines(a.h.target.POP3)
		if err != nil {
			continue
		}
		if err := a.pop3(ctx, l, rng); err != nil && !broken(err) {
			a.fault("session", "pop3: %v", err)
		}
		l.conn.Close()
	}
}

// ok sends a command of POP3 and tells whether it was answered +OK.
func (l *liner) ok(command string) (string, bool, error) {
	if err := l.send(command + "\r\n"); err != nil {
		return "", false, err
	}
	line, err := l.line()
	if strings.HasPrefix(line, "-ERR [SYS/TEMP]") {
		err = io.EOF // as 421 of LMTP
	}
	return line, strings.HasPrefix(line, "+OK"), err
}

// lines reads up to the line with a dot.
func (l *liner) lines() ([]string, error) {
	var out []string
	for {
		line, err := l.line()
		if err != nil || line == "." {
			return out, err
		}
		out = append(out, strings.TrimPrefix(line, "."))
	}
}

// enter logs in; false when somebody else has the maildrop.
func (a *account) enter(l *liner) (bool, error) {
	if _, err := l.line(); err != nil {
		return false, err
	}
	if line, ok, err := l.ok("USER " + a.Name); err != nil || !ok {
		return false, cmpError(err, line)
	}
	line, ok, err := l.ok("PASS " + a.Password)
	if err == nil && !ok && !strings.Contains(line, "IN-USE") {
		err = fmt.Errorf("PASS: %s", line)
	}
	return ok, err
}

func cmpError(err error, line string) error {
	if err == nil {
		err = fmt.Errorf("%q", line)
	}
	return err
}

// listing gives the unique-ids of the maildrop in their order.
func (l *liner) listing() ([]string, error) {
	line, ok, err := l.ok("UIDL")
	if err != nil || !ok {
		return nil, cmpError(err, line)
	}
	lines, err := l.lines()
	var out []string
	for i, line := range lines {
		n, id, _ := strings.Cut(line, " ")
		if n != fmt.Sprint(i+1) || id == "" {
			return nil, fmt.Errorf("UIDL lists %q at place %d", line, i+1)
		}
		out = append(out, id)
	}
	return out, err
}

// header gives the X-History of message n, "" when somebody has removed it.
func (l *liner) header(n int) (string, error) {
	_, ok, err := l.ok(fmt.Sprintf("TOP %d 0", n))
	if err != nil || !ok {
		return "", err
	}
	lines, err := l.lines()
	for _, line := range lines {
		if id, ok := strings.CutPrefix(line, "X-History: "); ok {
			return id, err
		}
	}
	return "", err
}

// lists enters what a session found in the maildrop, and gives X-History of each.
func (a *account) lists(l *liner, listing []string, began int64) ([]string, error) {
	ids := make([]string, len(listing))
	for i, unique := range listing {
		if slices.Contains(listing[:i], unique) {
			a.fault("UIDL", "%s is listed twice", unique)
		}
		a.mu.Lock()
		id, known := a.drops[unique]
		if at, removed := a.quit[unique]; removed && at < began {
			a.faulty("POP3", nil, "%s (message %s) is listed, which QUIT has removed", unique, id)
		}
		a.mu.Unlock()
		// Now and then what is known is asked again.
		if !known || i == int(began)%len(listing) {
			found, err := l.header(i + 1)
			if err != nil {
				return nil, err
			}
			if known && found != "" && found != id {
				a.fault("UIDL", "%s was message %s and is %s", unique, id, found)
			}
			if id = found; id != "" {
				a.mu.Lock()
				a.drops[unique] = id
				a.mu.Unlock()
			}
		}
		ids[i] = id
	}
	return ids, nil
}

func (a *account) pop3(ctx context.Context, l *liner, rng *rand.Rand) error {
	began := a.h.tick()
	if ok, err := a.enter(l); err != nil || !ok {
		return err
	}
	own := a.holds()
	defer a.leaves(own)
	listing, err := l.listing()
	if err != nil {
		return err
	}
	ids, err := a.lists(l, listing, began)
	if err != nil {
		return err
	}
	quit := rng.IntN(4) > 0
	read, doomed := &op{kind: Retr, client: "pop3", set: seen}, &op{kind: Quit, client: "pop3"}
	for range rng.IntN(4) {
		if len(ids) == 0 || ctx.Err() != nil || !quit {
			break
		}
		// What was read is \Seen when the session ends, which those who hang up are not
		// told of: they do not read.
		if len(read.ids) == 0 {
			a.send(read)
		}
		n := rng.IntN(len(ids))
		if ids[n] == "" {
			continue
		}
		a.mu.Lock()
		read.ids = append(read.ids, ids[n])
		a.mu.Unlock()
		_, ok, err := l.ok(fmt.Sprintf("RETR %d", n+1))
		if err != nil {
			return err
		}
		if !ok {
			continue // an IMAP client has removed it
		}
		lines, err := l.lines()
		if err != nil {
			return err
		}
		a.compare(ids[n], strings.Join(append(lines, ""), "\r\n"), "RETR of "+listing[n])
	}
	much := 1
	if a.full() {
		much = 12
	}
	dele := func() error {
		for range rng.IntN(3 * much) {
			if len(listing) == 0 {
				break
			}
			n := rng.IntN(len(listing))
			if ids[n] == "" || slices.Contains(doomed.doomed, listing[n]) {
				continue
			}
			line, ok, err := l.ok(fmt.Sprintf("DELE %d", n+1))
			if err != nil || !ok {
				return cmpError(err, line)
			}
			doomed.doomed, doomed.ids = append(doomed.doomed, listing[n]), append(doomed.ids, ids[n])
		}
		return nil
	}
	if err := dele(); err != nil {
		return err
	}
	if rng.IntN(5) == 0 {
		if line, ok, err := l.ok("RSET"); err != nil || !ok {
			return cmpError(err, line)
		}
		doomed.doomed, doomed.ids = nil, nil
		if err := dele(); err != nil {
			return err
		}
	}
	if !quit {
		return nil // the line breaks: nothing is removed
	}
	a.send(doomed)
	contested := a.leaves(own)
	a.h.counts.commands.Add(1)
	_, ok, err := l.ok("QUIT")
	if err != nil {
		return err
	}
	outcome := Refused
	if ok {
		outcome = Done
	}
	if ok && contested {
		a.fault("POP3", "two sessions had the maildrop at the same time, and QUIT of the first was answered")
	}
	now := a.h.tick()
	a.answer(doomed, outcome, func() {
		if ok {
			for _, unique := range doomed.doomed {
				a.quit[unique] = now
			}
		}
	})
	if len(read.ids) > 0 {
		a.answer(read, outcome, nil)
	}
	return nil
}

// holder is a POP3 session that has the maildrop, from when it heard so to when it gives it
// back.
type holder struct{ contested bool }

// holds notes that a session has the maildrop.
func (a *account) holds() *holder {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.holder != nil {
		a.holder.contested = true
	}
	a.holder = &holder{}
	return a.holder
}

// leaves notes that it gives it back, and tells whether another one got it before.
func (a *account) leaves(own *holder) (contested bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.holder == own {
		a.holder = nil
	}
	return own.contested
}
