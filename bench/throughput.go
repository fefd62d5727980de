package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
)

// The accounts: the first 32 are the workers'; then one for each kind of mailbox.
const (
	workers   = 32
	small     = workers   // 2,000 messages of 4 KiB: STORE
	large     = small + 1 // 100,000 of 4 KiB: lists, SELECT
	texts     = large + 1 // 10,000 of 7 KiB: SEARCH, SORT
	bodies    = texts + 1 // 2,000 of 109 KiB: downloads
	fresh     = bodies + 1
	maxRounds = 9 // each lists a fresh one for the first time
	accounts  = fresh + maxRounds
)

// count scales n, at least 1.
func (b *bench) count(n int) int { return max(1, int(float64(n)*b.scale)) }

// parallel runs work n times at once and hands a failure on.
func parallel(n int, work func(i int)) {
	var wg sync.WaitGroup
	failures := make(chan any, n)
	for i := range n {
		wg.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					failures <- r
				}
			}()
			work(i)
		})
	}
	wg.Wait()
	select {
	case r := <-failures:
		panic(r)
	default:
	}
}

var (
	inSmall  = fill(small, 2000, 4096)
	inLarge  = fill(large, 100_000, 4096)
	inTexts  = fill(texts, 10_000, 6900)
	inBodies = fill(bodies, 2000, 109_000)
)

// inFresh delivers to a mailbox that nobody has looked at.
func inFresh(b *bench, p *peer) {
	b.once(p, fresh+b.round, func() { deliver(p, fresh+b.round, 0, b.count(20_000), 4096) })
}

func logins(n int, once func(p *peer, worker int)) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 {
		each := max(1, b.count(n)/16)
		parallel(16, func(worker int) {
			for range each {
				once(p, worker)
			}
		})
		return float64(each * 16)
	}
}

func imapOnce(c *conn, worker int) {
	signIn(c, worker)
	c.imap("LOGOUT")
	c.Close()
}

func popOnce(c *conn, worker int) {
	pop(c, worker)
	c.expect("QUIT", "+OK")
	c.Close()
}

// made makes the first n messages. Making one takes the generator as long as Postern
// takes to keep it, so that is not part of what is measured.
func made(n, size int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = message(i, size)
	}
	return out
}

func appends(at, n, size int) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 {
		each := max(1, b.count(n)/at)
		messages := made(each, size)
		b.begin()
		parallel(at, func(worker int) {
			c := login(p, worker)
			defer c.Close()
			for _, m := range messages {
				c.append("INBOX", m)
			}
		})
		return float64(each * at)
	}
}

func deliveries(at, n, size int) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 {
		each := max(1, b.count(n)/at)
		messages := made(each, size)
		b.begin()
		parallel(at, func(worker int) {
			c := lmtp(p)
			defer c.Close()
			for _, m := range messages {
				c.deliver(worker, m)
			}
		})
		return float64(each * at)
	}
}

// selected opens an account's INBOX.
func selected(open func(*peer, int) *conn, p *peer, account int) *conn {
	c := open(p, account)
	c.imap("SELECT INBOX")
	return c
}

// fetch lists a mailbox, times over.
func fetch(open func(*peer, int) *conn, account, times int, items string) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 {
		n := 0
		c := selected(open, p, account)
		defer c.Close()
		for range times {
			n += c.imap("UID FETCH 1:* (%s)", items)
		}
		b.window.bytes = c.received
		return float64(n)
	}
}

// first lists the round's fresh mailbox.
func first(items string) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 { return fetch(login, fresh+b.round, 1, items)(b, p) }
}

// download gives the megabytes of bodies that were read.
func download(open func(*peer, int) *conn) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 {
		c := selected(open, p, bodies)
		defer c.Close()
		for range 2 {
			c.imap("UID FETCH 1:* (BODY.PEEK[])")
		}
		b.window.bytes = c.received
		return float64(c.bytes) / 1e6
	}
}

// retrieve is download over POP3, pipelined by twenty.
func retrieve(open func(*peer) *conn) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 {
		c := pop(open(p), bodies)
		defer c.Close()
		n := b.count(2000)
		for at := 0; at < n; at += 20 {
			var lines strings.Builder
			end := min(at+20, n)
			for i := at; i < end; i++ {
				fmt.Fprintf(&lines, "RETR %d\r\n", i+1)
			}
			_, err := io.WriteString(c, lines.String())
			check(err)
			for range end - at {
				c.message()
			}
		}
		c.expect("QUIT", "+OK")
		b.window.bytes = c.received
		return float64(c.bytes) / 1e6
	}
}

// repeated runs a command on an account's INBOX, and counts each as ops operations.
func repeated(account, times int, ops func(*bench) int, command string) func(*bench, *peer) float64 {
	return func(b *bench, p *peer) float64 {
		c := selected(login, p, account)
		defer c.Close()
		for range times {
			c.imap("%s", command)
		}
		return float64(times * ops(b))
	}
}

func one(*bench) int { return 1 }

// storeEach sets and clears a flag on each message of the small mailbox.
func storeEach(b *bench, p *peer) float64 {
	c := selected(login, p, small)
	defer c.Close()
	n := b.count(2000)
	for _, sign := range []string{"+", "-"} {
		for i := range n {
			c.imap("STORE %d %sFLAGS.SILENT (\\Flagged)", i+1, sign)
		}
	}
	return float64(2 * n)
}

// storeRange does it to 10,000 of the large mailbox.
func storeRange(b *bench, p *peer) float64 {
	c := selected(login, p, large)
	defer c.Close()
	n := b.count(10_000)
	for range 5 {
		for _, sign := range []string{"+", "-"} {
			c.imap("STORE 1:%d %sFLAGS.SILENT (\\Flagged)", n, sign)
		}
	}
	return float64(10 * n)
}

// qresync asks for the last 100 changes of the large mailbox.
func qresync(b *bench, p *peer) float64 {
	c := login(p, large)
	defer c.Close()
	c.imap("ENABLE QRESYNC")
	validity, before := c.state("SELECT INBOX")
	n := b.count(100_000)
	for i := range 100 {
		c.imap("STORE %d +FLAGS.SILENT (\\Answered)", 1+i*max(1, n/100)%n)
	}
	b.begin() // the changes are not what is measured
	times := b.count(200)
	for range times {
		c.imap("SELECT INBOX (QRESYNC (%d %d))", validity, before)
	}
	b.end()
	for i := range 100 {
		c.imap("STORE %d -FLAGS.SILENT (\\Answered)", 1+i*max(1, n/100)%n)
	}
	return float64(times)
}

// mix is what a hundred clients do all day, like Dovecot's ImapTest. They have a folder
// of their own: in an INBOX to which the rows before delivered thousands, listing and
// searching them is all that would be measured.
func mix(b *bench, p *peer) float64 {
	each := max(10, b.count(20_000)/100)
	parallel(100, func(worker int) {
		r := rand.New(rand.NewPCG(1, uint64(worker)))
		account := worker % workers
		enter := func() *conn {
			c := login(p, account)
			c.imap("SELECT Day")
			return c
		}
		c := enter()
		defer func() { c.Close() }()
		for i := range each {
			switch at := r.IntN(100); {
			case at < 25:
				c.imap("UID FETCH %d:* (UID FLAGS)", 1+r.IntN(50))
			case at < 45:
				c.imap("FETCH 1:10 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)")
			case at < 55:
				c.imap("FETCH %d (BODY.PEEK[])", 1+r.IntN(5))
			case at < 70:
				c.imap("STORE %d %cFLAGS (\\Seen)", 1+r.IntN(5), "+-"[r.IntN(2)])
			case at < 78:
				c.imap("STATUS Day (MESSAGES UNSEEN UIDNEXT)")
			case at < 83:
				c.imap("LIST \"\" *")
			case at < 88:
				c.imap("NOOP")
			case at < 92:
				c.append("Day", message(i, 4096))
			case at < 94:
				c.imap("SEARCH SUBJECT river")
			case at < 97:
				c.imap("SELECT Day")
			default:
				c.imap("LOGOUT")
				c.Close()
				c = enter()
			}
		}
	})
	return float64(each * 100)
}

// inDays gives each worker the folder of mix, with a few messages.
func inDays(b *bench, p *peer) {
	key := p.name + " days"
	if b.filled[key] {
		return
	}
	b.filled[key] = true
	for worker := range workers {
		c := login(p, worker)
		c.imap("CREATE Day")
		for i := range 10 {
			c.append("Day", message(i, 4096))
		}
		c.Close()
	}
}

// inWorkers puts a few messages into each worker's INBOX.
func inWorkers(b *bench, p *peer) {
	key := p.name + " workers"
	if b.filled[key] {
		return
	}
	b.filled[key] = true
	c := lmtp(p)
	defer c.Close()
	for worker := range workers {
		for i := range 10 {
			c.deliver(worker, message(i, 4096))
		}
	}
}

const envelopes = "UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE"

// usual is the part of a ratio that a quick look must find at least: it is of a tenth of the
// work, and of two cores that may do something else. Dovecot's deliveries vary by half.
const usual = 0.7

// rates are the workloads whose figure is operations a second, and processor time of
// each. The goals are ratios to the best peer of the run.
var rates = []rate{
	{name: "IMAP LOGIN, LOGOUT, 16 at once", goal: goal{cpu: 6}, quick: usual, run: logins(6000, func(p *peer, w int) { imapOnce(dial(p.imap), w) })},
	{name: "the same over TLS 1.3, full handshakes", bound: byHandshake, goal: goal{cpu: 3}, quick: usual, run: logins(3000, func(p *peer, w int) { imapOnce(dialTLS(p.imaps), w) })},
	{name: "POP3 USER, PASS, QUIT, 16 at once", goal: goal{cpu: 6}, quick: usual, run: logins(6000, func(p *peer, w int) { popOnce(dial(p.pop3), w) })},
	{name: "the same over TLS 1.3, full handshakes", bound: byHandshake, goal: goal{cpu: 3}, run: logins(3000, func(p *peer, w int) { popOnce(dialTLS(p.pop3s), w) })},
	{name: "APPEND 4 KiB, 1 mailbox", bound: bySync, goal: goal{speed: 1.5, cpu: 4}, run: appends(1, 2000, 4096)},
	{name: "APPEND 4 KiB, 8 mailboxes at once", goal: goal{speed: 3, cpu: 4}, quick: usual, run: appends(8, 6000, 4096)},
	{name: "APPEND 4 KiB, 32 mailboxes at once", goal: goal{speed: 5, cpu: 4}, run: appends(32, 9600, 4096)},
	{name: "APPEND 100 KiB, 8 mailboxes at once", goal: goal{speed: 2}, quick: usual, run: appends(8, 1600, 100<<10)},
	{name: "LMTP 4 KiB, 8 at once", goal: goal{speed: 6, cpu: 8}, quick: 0.5, run: deliveries(8, 4000, 4096)},
	{name: "LMTP 4 KiB, 32 at once", goal: goal{speed: 6, cpu: 8}, run: deliveries(32, 6400, 4096)},
	{name: "list ENVELOPE and BODYSTRUCTURE of 100,000", bound: byLoopback, goal: goal{speed: 2.5}, quick: usual, prepare: inLarge, run: fetch(login, large, 2, envelopes)},
	{name: "the same over TLS", bound: byTLS, goal: goal{speed: 2}, quick: usual, prepare: inLarge, run: fetch(loginTLS, large, 2, envelopes)},
	{name: "the same of 20,000 for the first time after delivery", bound: byLoopback, goal: goal{speed: 2.5}, prepare: inFresh, run: first(envelopes)},
	{name: "list From, To, Subject, Date of 100,000", bound: byLoopback, goal: goal{speed: 3}, quick: usual, prepare: inLarge, run: fetch(login, large, 2, "UID BODY.PEEK[HEADER.FIELDS (From To Subject Date)]")},
	{name: "list FLAGS of 100,000", bound: byLoopback, goal: goal{speed: 2}, quick: usual, prepare: inLarge, run: fetch(login, large, 10, "FLAGS")},
	{name: "download bodies of 109 KB, MB", bound: byLoopback, goal: goal{cpu: 1.5}, quick: usual, prepare: inBodies, run: download(login)},
	{name: "the same over TLS 1.3, MB", bound: byTLS, goal: goal{cpu: 2}, quick: usual, prepare: inBodies, run: download(loginTLS)},
	{name: "POP3 RETR of the same, pipelined, MB", bound: byLoopback, goal: goal{speed: 2}, quick: usual, prepare: inBodies, run: retrieve(func(p *peer) *conn { return dial(p.pop3) })},
	{name: "the same over TLS 1.3, MB", bound: byTLS, goal: goal{speed: 3}, prepare: inBodies, run: retrieve(func(p *peer) *conn { return dialTLS(p.pop3s) })},
	{name: "STORE +FLAGS one by one", bound: bySync, goal: goal{cpu: 2}, quick: usual, prepare: inSmall, run: storeEach},
	{name: "STORE +FLAGS of a range of 10,000", goal: goal{speed: 1}, prepare: inLarge, run: storeRange},
	{name: "SEARCH SUBJECT in 10,000", goal: goal{speed: 5}, prepare: inTexts, run: repeated(texts, 20, one, `SEARCH SUBJECT "river holiday"`)},
	{name: "SEARCH TEXT, a rare word in 10,000", goal: goal{speed: 20}, prepare: inTexts, run: repeated(texts, 3, one, `SEARCH TEXT ref4990x`)},
	{name: "SEARCH TEXT, an absent word in 10,000", goal: goal{speed: 20}, prepare: inTexts, run: repeated(texts, 3, one, `SEARCH TEXT xylophone`)},
	{name: "SEARCH TEXT, a rare word in 100,000", goal: goal{speed: 20}, prepare: inLarge, run: repeated(large, 1, one, `SEARCH TEXT ref49900x`)},
	{name: "SEARCH TEXT, a word of every message, 10,000", goal: goal{speed: 1}, prepare: inTexts, run: repeated(texts, 1, one, `SEARCH TEXT tomorrow`)},
	{name: "SORT DATE of 10,000", goal: goal{speed: 2}, prepare: inTexts, run: repeated(texts, 20, one, `SORT (DATE) UTF-8 ALL`)},
	{name: "THREAD REFERENCES of 10,000", goal: goal{speed: 2}, prepare: inTexts, run: repeated(texts, 20, one, `THREAD REFERENCES UTF-8 ALL`)},
	{name: "SELECT of 100,000", goal: goal{speed: 1}, prepare: inLarge, run: repeated(large, 300, one, "SELECT INBOX")},
	{name: "QRESYNC, 100 changes of 100,000", goal: goal{speed: 1 / 0.3}, prepare: inLarge, run: qresync},
	{name: "100 clients' mixed commands", goal: goal{cpu: 4}, quick: usual, prepare: inDays, run: mix},
}
