package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// accounts is how many accounts each server has; the last one has the large
// mailbox.
const (
	accounts = 34
	large    = accounts - 1
	small    = accounts - 2 // a mailbox for POP3 and STORE
)

// workload is one kind of work; run does it and says how many operations it were.
type workload struct {
	name    string
	prepare func(p *peer, scale float64) // once, before the first run
	run     func(p *peer, scale float64) int
}

// count scales n, at least 1.
func count(n int, scale float64) int { return max(1, int(float64(n)*scale)) }

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

// message makes the i-th message of about size bytes; a tenth has an attachment.
func message(i, size int) []byte {
	r := rand.New(rand.NewPCG(7, uint64(i)))
	words := []string{"garden", "invoice", "meeting", "river", "printer", "holiday", "contract", "answer", "maybe", "tomorrow", "coffee", "deadline"}
	var b bytes.Buffer
	date := time.Unix(1_700_000_000+int64(i)*61, 0).UTC().Format(time.RFC1123Z)
	fmt.Fprintf(&b, "Return-Path: <p%d@example.org>\r\nReceived: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mail.bench.example with ESMTPS id %x; %s\r\n", i%97, r.Uint64(), date)
	fmt.Fprintf(&b, "From: Person %d <p%d@example.org>\r\nTo: \"Bench User\" <u@bench.example>\r\nCc: team@example.org\r\nDate: %s\r\n", i%97, i%97, date)
	fmt.Fprintf(&b, "Subject: %s %s %d\r\nMessage-ID: <%d.%x@example.org>\r\nMIME-Version: 1.0\r\n", words[r.IntN(len(words))], words[r.IntN(len(words))], i, i, r.Uint32())
	if i%3 == 0 {
		fmt.Fprintf(&b, "In-Reply-To: <%d@example.org>\r\nReferences: <%d@example.org>\r\n", i/3, i/3)
	}
	text := func(n int) {
		column := 0
		for n > 0 {
			w := words[r.IntN(len(words))]
			if column += len(w) + 1; column > 72 {
				b.WriteString("\r\n")
				column = len(w)
			}
			b.WriteString(w)
			b.WriteByte(' ')
			n -= len(w) + 1
		}
		b.WriteString("\r\n")
	}
	if i%10 == 0 {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\n--b%d\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", i, i)
		text((size - b.Len()) / 2)
		fmt.Fprintf(&b, "--b%d\r\nContent-Type: application/pdf; name=\"file%d.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"file%d.pdf\"\r\n\r\n", i, i, i)
		for b.Len() < size-100 {
			b.WriteString(strings.Repeat("QUJD", 18) + "\r\n")
		}
		fmt.Fprintf(&b, "--b%d--\r\n", i)
		return b.Bytes()
	}
	b.WriteString("Content-Type: text/plain; charset=utf-8\r\n\r\n")
	text(max(size-b.Len(), 10))
	return b.Bytes()
}

const largeMailbox = 20000

// fill puts messages into a mailbox by LMTP, eight at once, if it is empty.
func fill(account, n, size int) func(p *peer, scale float64) {
	return func(p *peer, scale float64) {
		n := count(n, scale)
		c := login(p, account)
		exists := 0
		c.start("STATUS INBOX (MESSAGES)")
		l := string(c.line())
		fmt.Sscanf(l[strings.LastIndexByte(l, '(')+1:], "MESSAGES %d", &exists)
		c.finish()
		c.Close()
		if exists > 0 {
			return
		}
		parallel(8, func(worker int) {
			c := lmtp(p)
			defer c.Close()
			for i := worker; i < n; i += 8 {
				c.deliver(account, message(i, size))
			}
		})
	}
}

var (
	inLarge = fill(large, largeMailbox, 4096)
	inSmall = fill(small, 2000, 4096)
)

func appends(at, n, size int) func(p *peer, scale float64) int {
	return func(p *peer, scale float64) int {
		each := count(n, scale) / at
		parallel(at, func(worker int) {
			c := login(p, worker)
			defer c.Close()
			for i := range each {
				c.append("INBOX", message(i, size))
			}
		})
		return each * at
	}
}

func deliveries(at, n, size int) func(p *peer, scale float64) int {
	return func(p *peer, scale float64) int {
		each := count(n, scale) / at
		parallel(at, func(worker int) {
			c := lmtp(p)
			defer c.Close()
			for i := range each {
				c.deliver(worker, message(i, size))
			}
		})
		return each * at
	}
}

// fetch lists the large mailbox, times over.
func fetch(times int, items string) func(p *peer, scale float64) int {
	return func(p *peer, scale float64) (n int) {
		c := login(p, large)
		defer c.Close()
		c.imap("SELECT INBOX")
		for range times {
			n += c.imap("UID FETCH 1:* (%s)", items)
		}
		return n
	}
}

// warm signs everybody in once, so that no workload pays for the first time.
func warm(p *peer) {
	for i := range accounts {
		login(p, i).Close()
	}
}

var workloads = []workload{
	{name: "IMAP login and logout, 16 at once", run: func(p *peer, scale float64) int {
		n := count(3000, scale) / 16
		parallel(16, func(worker int) {
			for range n {
				c := login(p, worker)
				c.imap("LOGOUT")
				c.Close()
			}
		})
		return n * 16
	}},
	{name: "POP3 login and quit, 16 at once", run: func(p *peer, scale float64) int {
		n := count(3000, scale) / 16
		parallel(16, func(worker int) {
			for range n {
				c := dial(p.pop3)
				c.line()
				c.expect("USER "+accountName(worker), "+OK")
				c.expect("PASS "+password, "+OK")
				c.expect("QUIT", "+OK")
				c.Close()
			}
		})
		return n * 16
	}},
	{name: "APPEND 4 KiB, 1 mailbox", run: appends(1, 1000, 4096)},
	{name: "APPEND 4 KiB, 8 mailboxes at once", run: appends(8, 4000, 4096)},
	{name: "APPEND 4 KiB, 32 mailboxes at once", run: appends(32, 6400, 4096)},
	{name: "APPEND 100 KiB, 8 mailboxes at once", run: appends(8, 800, 100<<10)},
	{name: "LMTP 4 KiB, 8 at once", run: deliveries(8, 4000, 4096)},
	{name: "LMTP 4 KiB, 32 at once", run: deliveries(32, 6400, 4096)},
	{name: "list ENVELOPE BODYSTRUCTURE, first time", prepare: inLarge, run: fetch(1, "UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE")},
	{name: "list ENVELOPE BODYSTRUCTURE, warm", prepare: inLarge, run: fetch(5, "UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE")},
	{name: "list header fields", prepare: inLarge, run: fetch(5, "UID BODY.PEEK[HEADER.FIELDS (From To Subject Date)]")},
	{name: "list FLAGS", prepare: inLarge, run: fetch(25, "FLAGS")},
	{name: "download bodies", prepare: inLarge, run: fetch(2, "BODY.PEEK[]")},
	{name: "POP3 RETR", prepare: inSmall, run: func(p *peer, scale float64) int {
		c := dial(p.pop3)
		defer c.Close()
		c.line()
		c.expect("USER "+accountName(small), "+OK")
		c.expect("PASS "+password, "+OK")
		n := count(2000, scale)
		for i := range n {
			c.expect(fmt.Sprintf("RETR %d", i+1), "+OK")
			for l := c.line(); len(l) != 1 || l[0] != '.'; l = c.line() {
			}
		}
		c.expect("QUIT", "+OK")
		return n
	}},
	{name: "STORE +FLAGS one by one", prepare: inSmall, run: func(p *peer, scale float64) int {
		c := login(p, small)
		defer c.Close()
		c.imap("SELECT INBOX")
		n := count(1000, scale)
		for _, sign := range []string{"+", "-"} {
			for i := range n {
				c.imap("STORE %d %sFLAGS.SILENT (\\Flagged)", i+1, sign)
			}
		}
		return 2 * n
	}},
	{name: "STORE +FLAGS of a range", prepare: inLarge, run: func(p *peer, scale float64) int {
		c := login(p, large)
		defer c.Close()
		c.imap("SELECT INBOX")
		n := count(largeMailbox, scale)
		for range 5 {
			for _, sign := range []string{"+", "-"} {
				c.imap("STORE 1:%d %sFLAGS.SILENT (\\Flagged)", n, sign)
			}
		}
		return 10 * n
	}},
	{name: "SELECT of the large mailbox", prepare: inLarge, run: func(p *peer, scale float64) int {
		c := login(p, large)
		defer c.Close()
		n := count(300, scale)
		for range n {
			c.imap("SELECT INBOX")
			c.imap("CLOSE")
		}
		return n
	}},
	{name: "SEARCH SUBJECT, messages searched", prepare: inLarge, run: func(p *peer, scale float64) int {
		c := login(p, large)
		defer c.Close()
		c.imap("SELECT INBOX")
		for range 10 {
			c.imap("SEARCH SUBJECT \"river holiday\"")
		}
		return 10 * count(largeMailbox, scale)
	}},
	{name: "SEARCH TEXT of an absent word, messages searched", prepare: inLarge, run: func(p *peer, scale float64) int {
		c := login(p, large)
		defer c.Close()
		c.imap("SELECT INBOX")
		c.imap("SEARCH TEXT xylophone")
		return count(largeMailbox, scale)
	}},
}

// idle holds sessions in IDLE and prints what each costs in memory.
func idle(peers []*peer, scale float64) {
	n := count(500, scale)
	var each []float64
	for _, p := range peers {
		before := memory(p.cmd.Process.Pid)
		var sessions []*conn
		for i := range n {
			c := login(p, i%16)
			c.imap("SELECT INBOX")
			c.start("IDLE")
			c.expect("", "+")
			sessions = append(sessions, c)
		}
		time.Sleep(2 * time.Second)
		each = append(each, float64(memory(p.cmd.Process.Pid)-before)/float64(n)/1024)
		for _, c := range sessions {
			c.Close()
		}
	}
	fmt.Printf("\nMemory of an idle IMAP session, %d of them: Postern %.1f KiB, Dovecot %.1f KiB (%.1f ×)\n", n, each[0], each[1], each[1]/each[0])
}
