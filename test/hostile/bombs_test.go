package hostile

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/server"
)

// mallory has mail made to cost much, and bob waits for nothing meanwhile.
var (
	mallory = server.Account{Name: "mallory@test.example", Password: "does what she may 7"}
	bob     = server.Account{Name: "bob@test.example", Password: "is no part of it 7"}
)

// blast is a server under attack and what each attack took.
type blast struct {
	*server.Server
	t *testing.T

	mu    sync.Mutex
	waits []time.Duration // of bob's commands
}

func newBlast(t *testing.T, cmdlets ...server.Cmdlet) *blast {
	t.Helper()
	long(t)
	b := &blast{Server: server.Serve(t, server.Options{Accounts: []server.Account{alice, mallory, bob}, Cmdlets: cmdlets}), t: t}
	b.MustDeliver(t, "Subject: kept\r\n\r\nkept\r\n", alice.Name, bob.Name)
	return b
}

// does runs an attack: it takes at most so much processor time, and the process never has
// more than so many MiB beyond what it has before; bob's commands are answered meanwhile.
func (b *blast) does(name string, cpu time.Duration, mib int, work func()) {
	b.t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	watch, asked := b.watcher(), len(b.waits)
	go func() {
		defer close(stopped)
		watch(stop)
	}()
	// From now on the peak is of this attack.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", b.PID()), []byte("5"), 0); err != nil {
		b.t.Logf("the peak is that of all attacks until now: %v", err)
	}
	before, had := b.ProcessorTime(), int(b.Memory("VmRSS")>>20)
	work()
	used, most := b.ProcessorTime()-before, peak(b.t, b.Server)-had
	close(stop)
	<-stopped
	waited := time.Duration(0)
	if asked < len(b.waits) {
		waited = slices.Max(b.waits[asked:])
	}
	b.t.Logf("prove: %s: %.2f s of processor time, %d MiB, others wait %v", name, used.Seconds(), max(most, 0), waited.Round(time.Millisecond))
	if used > cpu {
		b.t.Errorf("%s: %v of processor time, more than %v", name, used, cpu)
	}
	if most > mib {
		b.t.Errorf("%s: %d MiB, more than %d", name, most, mib)
	}
}

// watcher signs bob in and gives what has his commands answered until it is told to stop.
func (b *blast) watcher() func(stop <-chan struct{}) {
	b.t.Helper()
	c := b.Login(b.t, bob)
	c.MustIMAP("SELECT INBOX")
	return func(stop <-chan struct{}) {
		defer c.Conn.Close()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			began := time.Now()
			tag := fmt.Sprintf("w%d", i)
			fmt.Fprintf(c.Conn, "%s FETCH 1 (FLAGS BODY.PEEK[])\r\n", tag)
			for {
				line, err := c.ReadLine()
				if err != nil {
					b.t.Errorf("bob waited %v for an answer: %v", time.Since(began), err)
					return
				}
				if strings.HasPrefix(line, tag) {
					break
				}
			}
			b.mu.Lock()
			b.waits = append(b.waits, time.Since(began))
			b.mu.Unlock()
		}
	}
}

// served tells how long bob waited; nobody waits for others' bombs.
func (b *blast) served() {
	b.t.Helper()
	if len(b.waits) == 0 {
		b.t.Fatal("bob has asked nothing")
	}
	slices.Sort(b.waits)
	b.t.Logf("prove: others' commands meanwhile: %d, the median in %v, p99 in %v, the slowest in %v", len(b.waits), b.waits[len(b.waits)/2].Round(time.Millisecond),
		b.waits[len(b.waits)*99/100].Round(time.Millisecond), b.waits[len(b.waits)-1].Round(time.Millisecond))
	if p99 := b.waits[len(b.waits)*99/100]; p99 > 5*time.Second {
		b.t.Errorf("others wait for %v", p99)
	}
	healthy(b.t, b.Server)
}

// fill appends messages to a mailbox, some hundreds at once.
func fill(c *server.Talk, mailbox string, messages []string) {
	for some := range slices.Chunk(messages, 500) {
		var command strings.Builder
		fmt.Fprintf(&command, "fill APPEND %s", mailbox)
		for _, m := range some {
			fmt.Fprintf(&command, " {%d+}\r\n%s", len(m), m)
		}
		c.Write(command.String() + "\r\n")
		c.Until("fill OK")
	}
}

// answer sends a command whose arguments may be literals, and gives the tagged answer and
// how many lines came before it.
func answer(c *server.Talk, command string) (text string, lines int) {
	c.Write("q " + command + "\r\n")
	all := c.Until("q ")
	return strings.TrimPrefix(all[len(all)-1], "q "), len(all) - 1
}

// literalOf gives text as a literal that nobody waits for.
func literalOf(text string) string { return fmt.Sprintf("{%d+}\r\n%s", len(text), text) }

// asks sends a command and fails when it is answered with none of wants.
func (b *blast) asks(c *server.Talk, command string, wants ...string) int {
	b.t.Helper()
	text, lines := answer(c, command)
	if !slices.ContainsFunc(wants, func(w string) bool { return strings.HasPrefix(text, w) }) {
		b.t.Errorf("%.80q: %.200s, want %q", command, text, wants)
	}
	return lines
}

// each runs work in so many sessions of mallory at once.
func (b *blast) each(n int, work func(c *server.Talk)) {
	b.t.Helper()
	var wg sync.WaitGroup
	for range n {
		c := b.Login(b.t, mallory)
		wg.Go(func() {
			work(c)
			c.Conn.Close()
		})
	}
	wg.Wait()
}

// TestCommandBombs has mallory ask for what costs much: patterns, trees of keys, texts that
// nearly match, sets, threads and sorts of mail that was made for it. Each costs what its
// bound allows, and bob is served meanwhile.
func TestCommandBombs(t *testing.T) {
	t.Parallel()
	b := newBlast(t, server.Cmdlet{Name: "Set-ImapSettings", Parameters: map[string]any{"MaxCommandTime": "00:00:02", "MaxCommandMemory": "64MB", "MaxConnectionsPerUser": 200}})
	c := b.Login(t, mallory)

	// Names.
	names := sized(400, 9_000)
	b.does("mailboxes with names like the pattern, LIST", time.Duration(sized(4, 60))*time.Second, 256, func() {
		for i := range names {
			b.asks(c, fmt.Sprintf("CREATE %s%d", strings.Repeat("a", 900), i), "OK")
		}
		for _, pattern := range []string{strings.Repeat("*a", 511), strings.Repeat("*a%a", 255) + "b", strings.Repeat("%*", 500) + "x", strings.Repeat("*", 1000) + "b"} {
			b.asks(c, `LIST "" `+pattern, "OK")
			b.asks(c, `LSUB "" `+pattern, "OK")
		}
		b.asks(c, `LIST "" (`+strings.Repeat(" *a*a*a*b", 100)[1:]+")", "OK")
		b.asks(c, `LIST "" `+strings.Repeat("*a", 513), "BAD [LIMIT]")
	})
	b.does("STATUS of all, MULTISEARCH of all", time.Duration(sized(4, 60))*time.Second, 256, func() {
		b.asks(c, `LIST "" * RETURN (STATUS (MESSAGES SIZE UNSEEN HIGHESTMODSEQ))`, "OK")
		b.asks(c, `ESEARCH IN (personal) RETURN (ALL COUNT) TEXT nothing`, "OK", "NO [LIMIT]")
		b.asks(c, `ESEARCH IN (subtree ""`+strings.Repeat(" subtree INBOX", 1001)+`) ALL`, "BAD", "NO")
	})
	levels := sized(500, 9_000)
	b.does("names of fifty levels, LIST in 20 sessions at once", time.Duration(sized(10, 120))*time.Second, 384, func() {
		for i := range levels {
			b.asks(c, fmt.Sprintf("SUBSCRIBE %d%s", i, strings.Repeat("/x", 49)), "OK")
		}
		b.each(20, func(c *server.Talk) {
			for range 3 {
				b.asks(c, `LIST (SUBSCRIBED RECURSIVEMATCH) "" %`, "OK", "NO [LIMIT]", "NO [UNAVAILABLE]")
			}
		})
	})

	// Keys and texts.
	var texts []string
	for i := range sized(200, 5_000) {
		texts = append(texts, fmt.Sprintf("Subject: %d\r\nFrom: a@test.example\r\n\r\n%s\r\n", i, strings.Repeat("a", 20_000)))
	}
	b.asks(c, "CREATE texts", "OK")
	fill(c, "texts", texts)
	b.asks(c, "SELECT texts", "OK")
	tree := strings.Repeat("OR TEXT ab ", 48) + "NOT TEXT a"
	keys := strings.Repeat(" NOT TEXT aaaaaaaaab", 249)
	needle := strings.Repeat("a", 50_000) + "b"
	b.does("SEARCH of trees, of 500 keys, of what nearly matches", time.Duration(sized(12, 20))*time.Second, 256, func() {
		for _, search := range []string{tree, keys[1:], "TEXT " + literalOf(needle), "OR BODY " + literalOf(needle[1:]) + " SUBJECT " + literalOf(needle), "FUZZY TEXT " + literalOf(strings.Repeat("aaab ", 1000)),
			"HEADER " + literalOf(strings.Repeat("x", 10_000)) + " y"} {
			b.asks(c, "SEARCH "+search, "OK", "NO [LIMIT]")
		}
		for _, search := range []string{strings.Repeat("NOT ", 60) + "ALL", strings.Repeat("ALL ", 600) + "ALL", strings.Repeat("(", 60), "TEXT " + literalOf(strings.Repeat("a", 1<<20+1))} {
			b.asks(c, "SEARCH "+search, "BAD", "NO [LIMIT]", "NO [TOOBIG]")
		}
	})
	b.does("SEARCH in 40 sessions at once", time.Duration(sized(20, 60))*time.Second, 256, func() {
		b.each(40, func(c *server.Talk) {
			b.asks(c, "EXAMINE texts", "OK")
			for range 2 {
				b.asks(c, "SEARCH "+keys[1:], "OK", "NO [LIMIT]", "NO [UNAVAILABLE]")
			}
		})
	})
	b.does("SEARCH by 30 clients that are gone", time.Duration(sized(8, 15))*time.Second, 256, func() {
		for range 30 {
			d := b.Login(t, mallory)
			d.MustIMAP("EXAMINE texts")
			d.Send("a SEARCH " + keys[1:])
			d.Conn.Close()
		}
		// They are found out, and nobody searches any more.
		server.Eventually(t, 60*time.Second, "the server rests", func() bool {
			began := b.ProcessorTime()
			time.Sleep(300 * time.Millisecond)
			return b.ProcessorTime()-began < 100*time.Millisecond
		})
	})
	b.does("sets of numbers as long as a line", 8*time.Second, 256, func() {
		for _, set := range []string{
			strings.TrimSuffix(numbered("%d,", 65_000), ","), strings.Repeat("1:*,", 16_000) + "1", strings.Repeat("*:1,", 16_000) + "*", strings.TrimSuffix(backwards("%d,", 30_000), ","),
			strings.Repeat("4294967295:1,", 5_000) + "1", strings.Repeat("1,", 32_000) + "1",
		} {
			set = strings.TrimPrefix(strings.TrimSuffix(strings.ReplaceAll(","+set+",", ",0,", ","), ","), ",")
			for _, command := range []string{"UID SEARCH UID " + set, "UID FETCH " + set + " (FLAGS)", "UID STORE " + set + " -FLAGS.SILENT (x)", "UID FETCH " + set + " (UID) (CHANGEDSINCE 99999999)"} {
				b.asks(c, command, "OK")
			}
		}
		b.asks(c, "UID SEARCH UID "+strings.Repeat("1,", 40_000)+"1", "BAD", "NO [LIMIT]")
	})
	b.does("searches that are followed", 8*time.Second, 256, func() {
		refused := 0
		for i := range 50 {
			c.Write(fmt.Sprintf("u%d UID SEARCH RETURN (UPDATE ALL) NOT KEYWORD k%d\r\n", i, i))
			for _, line := range c.Until(fmt.Sprintf("u%d ", i)) {
				if strings.HasPrefix(line, "* NO [NOUPDATE") {
					refused++
				}
			}
		}
		if refused != 42 {
			t.Errorf("%d of 50 searches are not followed", refused)
		}
		for i := range 60 {
			b.asks(c, fmt.Sprintf("UID STORE 1:* +FLAGS.SILENT (k%d)", i), "OK", "NO [LIMIT]")
		}
	})
	b.asks(c, "CLOSE", "OK")

	// Threads and orders.
	many := sized(4_000, 100_000)
	random := rand.New(rand.NewPCG(1, 2))
	kinds := []struct {
		name    string
		message func(i int) string
	}{
		{"a hundred references each", func(i int) string {
			var r strings.Builder
			for range 100 {
				fmt.Fprintf(&r, "\r\n <%d@x>", random.Uint32())
			}
			return fmt.Sprintf("Message-ID: <m%d@x>\r\nReferences:%s\r\n\r\nx\r\n", i, r.String())
		}},
		{"circles", func(i int) string {
			return fmt.Sprintf("Message-ID: <m%d@x>\r\nReferences: <m%d@x> <m%d@x> <m%d@x>\r\nSubject: Re: same\r\n\r\nx\r\n", i, (i+1)%many, random.IntN(many), i)
		}},
		{"one subject", func(i int) string {
			return "Subject: " + strings.Repeat("Re: [x] ", 100) + strings.Repeat("same ", 80) + "\r\n\r\nx\r\n"
		}},
	}
	for n, kind := range kinds {
		var list []string
		for i := range many {
			list = append(list, kind.message(i))
		}
		mailbox := fmt.Sprintf("t%d", n)
		b.asks(c, "CREATE "+mailbox, "OK")
		fill(c, mailbox, list)
		b.does("THREAD and SORT of "+kind.name+", in 12 sessions", time.Duration(sized(30, 300))*time.Second, 384, func() {
			b.each(12, func(c *server.Talk) {
				b.asks(c, "EXAMINE "+mailbox, "OK")
				for _, command := range []string{
					"THREAD REFERENCES UTF-8 ALL", "THREAD REFS UTF-8 ALL", "THREAD ORDEREDSUBJECT UTF-8 ALL",
					"SORT (" + strings.Repeat("SUBJECT REVERSE SUBJECT ", 9) + "SUBJECT TO) UTF-8 ALL", "SORT RETURN (UPDATE COUNT) (SUBJECT DISPLAYFROM) UTF-8 ALL",
				} {
					b.asks(c, command, "OK", "NO [LIMIT]", "NO [UNAVAILABLE]")
				}
				b.asks(c, "SORT ("+strings.Repeat("SUBJECT ", 20)+"SUBJECT) UTF-8 ALL", "BAD", "NO [LIMIT]")
			})
		})
	}
	b.served()
}

// TestFloods has mallory fill what is hers: each kind of thing has a number, and what does
// not fit is refused by its name.
func TestFloods(t *testing.T) {
	t.Parallel()
	b := newBlast(t, server.Cmdlet{Name: "Set-ImapSettings", Parameters: map[string]any{"MaxCommandTime": "00:00:02"}})
	c := b.Login(t, mallory)
	fill(c, "INBOX", []string{"Subject: x\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat("x", 50_000) + "\r\n"})
	b.asks(c, "SELECT INBOX", "OK")
	// until repeats a command until it is refused as it must be, at the latest after most.
	until := func(most int, command func(i int) string, refused ...string) {
		t.Helper()
		for i := range most + 1 {
			text, _ := answer(c, command(i))
			if slices.ContainsFunc(refused, func(w string) bool { return strings.HasPrefix(text, w) }) {
				return
			}
			if !strings.HasPrefix(text, "OK") {
				t.Errorf("%.60q: %s", command(i), text)
				return
			}
		}
		t.Errorf("%.60q: never refused", command(0))
	}
	b.does("keywords, entries, rights, names", 30*time.Second, 192, func() {
		until(100, func(i int) string { return fmt.Sprintf("STORE 1 +FLAGS.SILENT (keyword%d)", i) }, "NO [LIMIT]")
		until(110, func(i int) string { return fmt.Sprintf(`SETMETADATA INBOX (/private/vendor/x/%d "x")`, i) }, "NO [METADATA TOOMANY]", "NO [LIMIT]", "NO [OVERQUOTA]")
		until(600, func(i int) string { return fmt.Sprintf("SETACL INBOX nobody%d lr", i) }, "NO", "BAD")
		b.asks(c, `SETMETADATA INBOX (/private/comment `+literalOf(strings.Repeat("x", 100_000))+")", "NO [METADATA MAXSIZE")
		b.asks(c, "GETMETADATA INBOX ("+strings.TrimSuffix(numbered("/private/vendor/x/%d ", 10_000), " ")+")", "BAD", "NO [LIMIT]")
		b.asks(c, "SETACL INBOX "+literalOf(strings.Repeat("x", 100_000))+" lr", "BAD", "NO")
		b.asks(c, "NOTIFY SET (mailboxes ("+strings.TrimSuffix(numbered("m%d ", 10_000), " ")+") (MessageNew MessageExpunge))", "BAD", "NO")
		b.asks(c, "NOTIFY SET"+strings.Repeat(" (personal (MessageNew MessageExpunge))", 60), "BAD", "NO")
		b.asks(c, "ENABLE"+strings.Repeat(" QRESYNC", 5_000), "OK", "BAD")
		b.asks(c, "ID ("+strings.TrimSuffix(strings.Repeat(`"x" "y" `, 40), " ")+")", "BAD", "NO")
		b.asks(c, "GETQUOTAROOT INBOX", "OK")
	})
	b.does("APPEND, CATENATE, URLFETCH, FETCH of much at once", 20*time.Second, 512, func() {
		b.asks(c, "APPEND INBOX"+strings.Repeat(" {1+}\r\nx", 1001), "NO [LIMIT]", "BAD")
		b.asks(c, "APPEND INBOX CATENATE ("+strings.TrimPrefix(strings.Repeat(" TEXT {1+}\r\nx", 501), " ")+")", "NO [LIMIT]", "BAD")
		b.asks(c, "APPEND INBOX CATENATE ("+strings.TrimPrefix(strings.Repeat(` URL "/INBOX/;UID=1"`, 500), " ")+")", "OK", "NO")
		url := `"imap://mallory%40test.example@localhost/INBOX/;UID=1;URLAUTH=anonymous:INTERNAL:` + strings.Repeat("0", 66) + `"`
		b.asks(c, "URLFETCH"+strings.Repeat(" "+url, 51), "NO [LIMIT]", "BAD")
		b.asks(c, "URLFETCH"+strings.Repeat(" "+url, 50), "OK")
		b.asks(c, "FETCH 1 ("+strings.TrimSuffix(strings.Repeat("BODY.PEEK[]<0.1> ", 90), " ")+")", "OK")
		b.asks(c, "FETCH 1 ("+strings.TrimSuffix(numbered("BODY.PEEK[]<%d.1> ", 2_500), " ")+")", "BAD", "NO [LIMIT]")
		b.asks(c, "FETCH 1 (BODY.PEEK["+strings.Repeat("1.", 200)+"1])", "BAD", "NO")
		b.asks(c, "FETCH 1 (BODY.PEEK[HEADER.FIELDS ("+strings.TrimSuffix(numbered("x%d ", 50_000), " ")+")])", "OK", "BAD")
	})
	b.MustShell("Set-Mailbox", mallory.Name, "-ProhibitSendReceiveQuota", "20MB")
	b.does("COPY of all to itself until the quota is full", 20*time.Second, 192, func() {
		until(30, func(i int) string { return "COPY 1:* INBOX" }, "NO [OVERQUOTA]", "NO [LIMIT]")
	})
	b.does("10,000 recipients, POP3's UIDL and TOP", 20*time.Second, 192, func() {
		l := lmtp(t, b.Server)
		l.Send("MAIL FROM:<a@test.example>")
		l.Want("250")
		accepted, refused := 0, 0
		for range 100 {
			l.Write(strings.Repeat("RCPT TO:<"+mallory.Name+">\r\n", 100))
			for range 100 {
				switch line := l.Line(); {
				case strings.HasPrefix(line, "250"):
					accepted++
				case strings.HasPrefix(line, "452 4.5.3"), strings.HasPrefix(line, "452 4.2.2"):
					refused++
				default:
					t.Fatalf("RCPT: %s", line)
				}
			}
		}
		if accepted > 1000 || accepted+refused != 10_000 {
			t.Errorf("%d recipients of one message, %d refused", accepted, refused)
		}
		p := pop(t, b.Server, &mallory)
		defer p.Ended()
		const storm = 2000
		go func() { p.Conn.Write([]byte(strings.Repeat("UIDL 1\r\nTOP 1 1\r\nSTAT\r\n", storm))) }()
		for range storm {
			p.Want("+OK")
			p.Want("+OK")
			p.Until(".")
			p.Want("+OK")
		}
		p.Send("QUIT")
	})
	b.served()
}

// TestMailBombs has the costliest messages delivered over LMTP, listed, searched and sorted
// by IMAP; and looks at what one of them costs.
func TestMailBombs(t *testing.T) {
	t.Parallel()
	b := newBlast(t)
	c := b.Login(t, mallory)
	b.asks(c, "SELECT INBOX", "OK")
	names := []string{"fields of many names", "a folded field", "comments in addresses", "addresses", "encoded words", "References", "parameters in encoded pieces", "parts with a header",
		"parts within parts", "boundaries that begin each other", "messages within messages", "headers of parts", "HTML tags", "HTML comments", "equals signs", "text that folds longer"}
	large := sized(1<<20, 10<<20)
	if hours {
		names = names[:0]
		for name := range messageBombs {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	worst, worstName := time.Duration(0), ""
	b.does(fmt.Sprintf("%d messages of %d MiB, delivered, listed, searched, sorted", len(names), large>>20), time.Duration(len(names))*time.Duration(sized(4, 40))*time.Second, sized(320, 640), func() {
		for n, name := range names {
			before := b.ProcessorTime()
			b.MustDeliver(t, messageBombs[name](large), mallory.Name)
			for _, items := range []string{"(ENVELOPE BODYSTRUCTURE)", "BODY", "PREVIEW", "BODY.PEEK[HEADER]", "BODY.PEEK[HEADER.FIELDS (SUBJECT X-7)]", "BODY.PEEK[" + strings.Repeat("1.", 40) + "1]", "BODY.PEEK[2.MIME]",
				"BINARY.PEEK[1]", "BINARY.SIZE[1]", "EMAILID"} {
				b.asks(c, fmt.Sprintf("UID FETCH %d %s", n+1, items), "OK", "NO")
			}
			b.asks(c, fmt.Sprintf("UID SEARCH UID %d OR TEXT nothing HEADER X-9 nothing", n+1), "OK")
			b.asks(c, "SORT (SUBJECT DISPLAYFROM TO) UTF-8 ALL", "OK")
			b.asks(c, "THREAD REFERENCES UTF-8 ALL", "OK")
			if used := b.ProcessorTime() - before; used > worst {
				worst, worstName = used, name
			}
		}
	})
	t.Logf("prove: the costliest of these messages: %.2f s of processor time (%s)", worst.Seconds(), worstName)
	p := pop(t, b.Server, &mallory)
	for n := range names {
		p.Send(fmt.Sprintf("TOP %d 1", n+1))
		p.Want("+OK")
		p.Until(".")
	}
	p.Send("QUIT")
	p.Ended()
	b.served()
}
