package history

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/postern-mail/postern/test/imapview"
)

// actor is one of those among whom a script chooses.
type actor interface {
	act() error  // does one thing; the error ends it
	rest() error // says goodbye: nobody changes anything any more
	end()        // the line breaks
	fault(kind, format string, args ...any)
}

// part is an actor's place in the play.
type part struct {
	often int
	enter func() (actor, error)
	actor actor // nil while it is not connected
}

// play takes what came of what the actor did.
func (p *part) play(err error) {
	if err == nil {
		return
	}
	if !broken(err) {
		p.actor.fault("session", "%v", err)
	}
	p.actor.end()
	p.actor = nil
}

// Replay plays what script chooses, one thing at a time, by some IMAP sessions, one of POP3
// and one of LMTP of the first account, by one that never logs in, and by a guest: a session
// of the second account, if there is one, that does what it likes and may read one mailbox
// of the first. It checks the first account: the oracle of a fuzz target. Like Check it takes what is
// there as the next beginning. The error says that the server cannot be read.
func (h *History) Replay(ctx context.Context, script []byte, sessions int) ([]Fault, error) {
	h.hasty = true
	a := h.accounts[0]
	if a.base == nil {
		if err := h.share(); err != nil {
			return nil, err
		}
		if err := a.begin(ctx); err != nil {
			return nil, err
		}
	}
	h.life++
	h.began = h.tick()
	choice := &choices{script: script}
	cast := h.cast(rand.New(choice), min(sessions, len(a.slots)))
	all := 0
	for _, p := range cast {
		all += p.often
	}
	rng := rand.New(choice)
	for choice.more() {
		n, p := rng.IntN(all), (*part)(nil)
		for _, p = range cast {
			if n -= p.often; n < 0 {
				break
			}
		}
		if p.actor == nil {
			var err error
			if p.actor, err = p.enter(); err != nil {
				return nil, err
			}
			continue
		}
		p.play(p.actor.act())
	}
	// Those who change something as they leave go first.
	for i := len(cast) - 1; i >= 0; i-- {
		if p := cast[i]; p.actor != nil {
			if p.play(p.actor.rest()); p.actor != nil {
				p.actor.end()
			}
		}
	}
	c, err := a.examine(ctx)
	if err != nil {
		return nil, err
	}
	return c.finish(), nil
}

// cast gives the parts: first the IMAP sessions, which are compared at the end.
func (h *History) cast(rng *rand.Rand, sessions int) []*part {
	a := h.accounts[0]
	var cast []*part
	for i := range sessions {
		cast = append(cast, &part{often: 8, enter: func() (actor, error) {
			x, err := a.login(rng, fmt.Sprintf("imap %d", i), a.slots[i])
			if err != nil {
				return nil, err
			}
			return &wanderer{x}, x.begin()
		}})
	}
	cast = append(cast, &part{often: 1, enter: func() (actor, error) {
		x, err := a.connect(rng, "stranger", &slot{caches: map[string]*cache{}})
		return &stranger{x}, err
	}})
	if h.target.POP3 != "" {
		cast = append(cast, &part{often: 4, enter: func() (actor, error) { return a.collector(rng) }})
	}
	if h.target.LMTP != "" {
		cast = append(cast, &part{often: 3, enter: func() (actor, error) { return h.carrier(rng) }})
	}
	if len(h.accounts) > 1 {
		cast = append(cast, &part{often: 4, enter: func() (actor, error) { return h.guest(rng) }})
	}
	return cast
}

// choices makes what is random of a script, and after its end of nothing in particular.
type choices struct {
	script []byte
	at     uint64
}

func (c *choices) more() bool { return c.at < uint64(len(c.script)) }

// Uint64 implements rand.Source: the next byte decides the most.
func (c *choices) Uint64() uint64 {
	c.at++
	v := c.at * 0x9e3779b97f4a7c15
	v ^= v >> 29
	if c.at <= uint64(len(c.script)) {
		return uint64(c.script[c.at-1])<<56 | v>>8
	}
	return v
}

// wanderer is a session in whatever state it is.
type wanderer struct{ *session }

func (x *wanderer) rest() error { return x.verify() }

func (x *wanderer) act() error {
	switch n := x.rng.IntN(16); {
	case n < 3:
		return x.wild()
	case n == 3:
		return x.stepNames()
	case n == 4 && x.box != 0:
		x.remember()
		x.box, x.known = 0, nil
		_, err := x.must("UNSELECT")
		return err
	case n == 5:
		return errEnd // the line breaks
	case x.box == 0:
		return x.open(x.someName())
	}
	return x.step()
}

// stranger is a session that never logs in.
type stranger struct{ *session }

func (x *stranger) act() error  { return x.wild() }
func (x *stranger) rest() error { return nil }

// wilds are commands that may be answered in any way, and change nothing but what a client
// is told.
var wilds = []string{
	"NOOP", "CHECK", "CAPABILITY", "NAMESPACE", "ENABLE CONDSTORE", "ENABLE QRESYNC", "ENABLE IMAP4rev2", "ENABLE",
	"FETCH 1:* (FLAGS UID)", "FETCH 99 FLAGS", "FETCH * (UID MODSEQ FLAGS)", "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
	"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)", "UID FETCH 1:* (ENVELOPE BODYSTRUCTURE INTERNALDATE)", "FETCH 1 (BODY.PEEK[HEADER] RFC822.SIZE)",
	"SEARCH RETURN (SAVE) ALL", "UID SEARCH RETURN (MIN MAX COUNT ALL) UNSEEN", "FETCH $ FLAGS", "SEARCH MODSEQ 2", "UID SEARCH $",
	"SORT (DATE) UTF-8 ALL", "UID THREAD REFERENCES UTF-8 ALL", `LIST "" *`, `LIST "" % RETURN (STATUS (MESSAGES UIDNEXT))`, `LSUB "" *`,
	"STATUS A (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ)", "GETQUOTAROOT INBOX", "SUBSCRIBE A", "UNSUBSCRIBE A", "CREATE INBOX", "DELETE INBOX", "RENAME nowhere V9",
	"STORE 0 FLAGS ()", "UID STORE 99999 FLAGS (\\Seen)", "COPY 99999 A", "UID MOVE 99999 A", "UID EXPUNGE 99999", "FETCH", "X", "FETCH 1 (",
	"SEARCH RETURN (UPDATE) ALL", "UIDBATCHES 2", "GETACL INBOX", "MYRIGHTS A", "ID NIL",
	"SETMETADATA INBOX (/private/comment " + private + ")", "GETMETADATA INBOX (/private/comment)", "SETMETADATA A (/private/comment NIL)",
}

// private is what the first account keeps for itself.
const private = "for-nobody-else"

// wild sends one of them.
func (x *session) wild() error {
	command := wilds[x.rng.IntN(len(wilds))]
	reply, err := x.do(command)
	if err != nil || reply.Condition != "OK" {
		return err
	}
	switch command {
	case "ENABLE CONDSTORE":
		x.condstore = true
	case "ENABLE QRESYNC":
		x.condstore, x.qresync = true, true
	}
	return nil
}

// connect opens a connection and does not log in.
func (a *account) connect(rng *rand.Rand, name string, s *slot) (*session, error) {
	conn, err := a.h.dial(a.h.target.IMAP)
	if err != nil {
		return nil, err
	}
	traced := &trace{Conn: conn}
	c, err := imapview.NewClient(traced)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &session{a: a, name: name, rng: rng, slot: s, conn: conn, trace: traced, c: c, can: map[string]bool{}}, nil
}

// cut writes text whole or in pieces, cut anywhere.
func cut(w io.Writer, rng *rand.Rand, text string) error {
	if text == "" {
		return nil
	}
	for pieces := rng.IntN(4); pieces > 0 && len(text) > 1; pieces-- {
		n := 1 + rng.IntN(len(text)-1)
		if _, err := io.WriteString(w, text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	_, err := io.WriteString(w, text)
	return err
}

// upgrade begins TLS on a connection whose server has agreed to it, in is its reader.
func upgrade(t *trace, in *bufio.Reader) error {
	if n := in.Buffered(); n > 0 {
		return fmt.Errorf("%d bytes came before TLS, behind the answer", n)
	}
	c := tls.Client(t.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	t.Conn = c
	return nil
}
