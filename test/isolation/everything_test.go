package isolation

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/test/server"
)

// soul is one of two people who have nothing in common, and do the same at the same time.
type soul struct {
	person
	abc    *alphabet
	other  *soul
	keys   []string // passwords: the own, and of apps
	boxes  []string // names of mailboxes that may be there
	labels []string // keywords, entries, filters: few enough for their bounds
	urls   atomic.Pointer[string]
}

// everything is TestEverything while it runs.
type everything struct {
	*house
	imaps, pops string

	sessions, commands, scanned, mine atomic.Int64

	mu    sync.Mutex
	used  map[string]int // commands by name
	found map[string]int // what one heard of the other, with where
}

// TestEverything: two people, whose every byte tells whose it is, do all that can be done, in
// many sessions at once: every command of IMAP4, POP3 and LMTP, pipelined, in the clear, under
// TLS and compressed, with mistakes, with lines that break in the middle of what is sent and of
// what is read, with sessions that wait for long and that one hands over to the other
// (UNAUTHENTICATE). Neither ever hears six bytes of the other's, in the clear or in base64.
// POSTERN_ISOLATION_TIME says for how many seconds.
func TestEverything(t *testing.T) {
	limit := 6 * time.Second
	if testing.Short() {
		limit = time.Second
	}
	if n, err := strconv.Atoi(os.Getenv("POSTERN_ISOLATION_TIME")); err == nil && n > 0 {
		limit = time.Duration(n) * time.Second
	}
	e := &everything{house: newHouse(t), used: map[string]int{}, found: map[string]int{}}
	caller := manage.Caller{Name: "test", From: "test", Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
	for _, set := range []string{"Set-PopSettings", "Set-ImapSettings"} {
		if _, err := e.Manage().Run(context.Background(), caller, set, []byte(`{"MaxConnectionsPerUser": "1000", "MaxConnectionFromSingleIP": "2000"}`)); err != nil {
			t.Fatal(err)
		}
	}
	e.imaps, e.pops = e.Addrs(settings.IMAP4).SSL[0].String(), e.Addrs(settings.POP3).SSL[0].String()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("POSTERN_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("POSTERN_SEED=%d", seed)
		}
	})
	rng := rand.New(rand.NewPCG(seed, 0))
	souls := []*soul{{abc: newAlphabet("jq")}, {abc: newAlphabet("xz")}}
	for n, s := range souls {
		s.other = souls[1-n]
		w := func() string { return s.abc.word(rng) }
		s.n, s.canary, s.name, s.password = n, w(), w()+"@"+w()+".example", w()+w()
		if err := e.enter(context.Background(), &s.person); err != nil {
			t.Fatal(err)
		}
		s.keys = []string{s.password, e.appPassword(t, caller, s, w())}
		for range 5 {
			s.boxes, s.labels = append(s.boxes, w()), append(s.labels, w())
		}
		s.boxes = append(s.boxes, "INBOX", "INBOX", "INBOX", "Drafts", s.boxes[0]+"/"+w())
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var wait sync.WaitGroup
	for _, s := range souls {
		for kind, work := range []func(context.Context, *rand.Rand, *soul) error{
			e.batches, e.batches, e.batches, e.waits, e.waits, e.breaks, e.breaks, e.popper, e.popper, e.deliverer, e.handsOver,
		} {
			wait.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(s.n)<<8|uint64(kind)+1))
				for ctx.Err() == nil {
					e.sessions.Add(1)
					if err := work(ctx, rng, s); err != nil {
						t.Errorf("person %d: %v", s.n, err)
						return
					}
				}
			})
		}
	}
	wait.Wait()
	for _, s := range souls {
		if err := e.lookThrough(s); err != nil {
			t.Errorf("person %d: %v", s.n, err)
		}
	}
	for where, n := range e.found {
		t.Errorf("%d times: %s", n, where)
	}
	t.Logf("%d sessions, %d commands, %d bytes heard, %d of them lines with one's own", e.sessions.Load(), e.commands.Load(), e.scanned.Load(), e.mine.Load())
	t.Logf("prove: seconds that two people do everything: %.0f", limit.Seconds())
	t.Logf("prove: sessions of two people at once: %d", e.sessions.Load())
	t.Logf("prove: commands of them: %d", e.commands.Load())
	t.Logf("prove: bytes heard and looked through: %d", e.scanned.Load())
	t.Logf("prove: bytes of the other's among them: %d", len(e.found))
	if !testing.Short() {
		e.complete(t)
	}
}

// complete fails unless every command of the tables was sent.
func (e *everything) complete(t *testing.T) {
	for _, table := range []struct{ file, pattern string }{
		{"imap/commands.go", `\{name: "([A-Z0-9]+)", states:`}, {"pop3/commands.go", `\n\t\{"([A-Z0-9]+)", `}, {"lmtp/commands.go", `\n\t\{"([A-Z0-9]+)", `},
	} {
		text, err := os.ReadFile(server.Root() + "/" + table.file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(table.pattern).FindAllSubmatch(text, -1)
		if len(names) < 8 {
			t.Fatalf("%s: only %d commands found", table.file, len(names))
		}
		for _, name := range names {
			key := table.file[:strings.Index(table.file, "/")] + " " + string(name[1])
			if e.used[key] == 0 {
				t.Errorf("%s was never sent: %v", key, slices.Sorted(maps.Keys(e.used)))
			}
		}
	}
}

func (e *everything) appPassword(t *testing.T, caller manage.Caller, s *soul, label string) string {
	t.Helper()
	result, err := e.Manage().Run(context.Background(), caller, "New-AppPassword", fmt.Appendf(nil, `{"Identity": %q, "Name": %q}`, s.name, label))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`"Password":"([^"]+)"`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("New-AppPassword gives %s", text)
	}
	return string(found[1])
}

// line is a connection of a person's, of which every byte that is heard is looked at.
type line struct {
	e     *everything
	s     *soul // who hears
	what  string
	conn  net.Conn // as it is now: plain, or under TLS
	in    *bufio.Reader
	out   io.Writer
	flush func() error
	stop  func() error // ends the compression behind a command; nil without
	tags  int
}

func (e *everything) open(s *soul, what, addr string, secure bool) (*line, error) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	l := &line{e: e, s: s, what: what, flush: func() error { return nil }}
	l.over(conn)
	if secure {
		l.over(tls.Client(conn, &tls.Config{InsecureSkipVerify: true}))
	}
	return l, nil
}

// over has the line go over another connection.
func (l *line) over(conn net.Conn) {
	l.conn, l.in, l.out = conn, bufio.NewReaderSize(conn, 32<<10), conn
}

// compressed has it go on compressed (RFC 4978).
func (l *line) compressed() {
	w, _ := flate.NewWriter(l.conn, 1)
	plain := l.in
	l.in, l.out, l.flush, l.stop = bufio.NewReaderSize(flate.NewReader(plain), 32<<10), w, w.Flush, func() error {
		// RFC 8437, 4.1: the client's ends behind its command, the server's behind the answer.
		if err := w.Close(); err != nil {
			return err
		}
		if _, err := l.until(fmt.Sprintf("t%d ", l.tags)); err != nil {
			return err
		}
		// Its end is that of what was flushed.
		for last := ^uint32(0); last != 0x0000ffff; {
			c, err := plain.ReadByte()
			if err != nil {
				return err
			}
			last = last<<8 | uint32(c)
		}
		l.in, l.out, l.flush, l.stop = plain, l.conn, func() error { return nil }, nil
		return nil
	}
}

func (l *line) close() { l.conn.Close() }

// say sends text.
func (l *line) say(text string) error {
	if _, err := io.WriteString(l.out, text); err != nil {
		return err
	}
	return l.flush()
}

// hear reads a line, or a long one's next part, and looks through it.
func (l *line) hear() ([]byte, error) {
	b, err := l.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	l.e.scanned.Add(int64(len(b)))
	if found := l.s.other.abc.find(b); found != "" {
		l.e.mu.Lock()
		l.e.found[fmt.Sprintf("person %d heard %q over %s in %.300q", l.s.n, found, l.what, b)]++
		l.e.mu.Unlock()
	}
	if l.s.abc.find(b) != "" {
		l.e.mine.Add(1)
	}
	return b, err
}

// until hears up to a line that begins so, or with another of these.
func (l *line) until(begins ...string) ([]byte, error) {
	for {
		b, err := l.hear()
		if err != nil {
			return nil, err
		}
		for _, begin := range begins {
			if bytes.HasPrefix(b, []byte(begin)) {
				return b, nil
			}
		}
	}
}

// use counts a command.
func (e *everything) use(protocol, command string) {
	name := strings.ToUpper(strings.TrimPrefix(strings.ToUpper(command), "UID "))
	if i := strings.IndexAny(name, " \r"); i >= 0 {
		name = name[:i]
	}
	e.commands.Add(1)
	e.mu.Lock()
	e.used[protocol+" "+name]++
	e.mu.Unlock()
}

// gone tells whether an error is that the line broke, as it may.
func gone(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) && !network.Timeout() || errors.Is(err, net.ErrClosed)
}

// command sends one and hears up to its answer.
func (l *line) command(text string) ([]byte, error) {
	l.tags++
	tag := fmt.Sprintf("t%d ", l.tags)
	l.e.use("imap", text)
	if err := l.say(tag + text + "\r\n"); err != nil {
		return nil, err
	}
	return l.until(tag)
}

// signIn opens an IMAP session in one of the ways that there are.
func (e *everything) signIn(rng *rand.Rand, s *soul) (*line, error) {
	secure := rng.IntN(3) == 0
	addr := e.imap
	if secure {
		addr = e.imaps
	}
	l, err := e.open(s, "IMAP4", addr, secure)
	if err != nil {
		return nil, err
	}
	if _, err = l.until("* OK"); err != nil {
		return l, err
	}
	if !secure && rng.IntN(3) == 0 {
		if _, err = l.command("STARTTLS"); err != nil {
			return l, err
		}
		l.over(tls.Client(l.conn, &tls.Config{InsecureSkipVerify: true}))
	}
	return l, l.authenticate(rng, s)
}

// authenticate logs in, now and then with a mistake before.
func (l *line) authenticate(rng *rand.Rand, s *soul) error {
	for _, mistake := range []string{
		fmt.Sprintf("LOGIN %q %q", s.name, s.canary), fmt.Sprintf("LOGIN %s", s.abc.word(rng)), fmt.Sprintf("%s %s", s.abc.word(rng), s.abc.word(rng)),
		"AUTHENTICATE PLAIN " + s.abc.word(rng), "AUTHENTICATE " + s.abc.word(rng), "SELECT " + s.boxes[0],
	} {
		if rng.IntN(10) == 0 {
			if _, err := l.command(mistake); err != nil {
				return err
			}
		}
	}
	key := s.keys[rng.IntN(len(s.keys))]
	command := fmt.Sprintf("LOGIN %q %q", s.name, key)
	if rng.IntN(2) == 0 {
		command = "AUTHENTICATE PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+s.name+"\x00"+key))
	}
	answer, err := l.command(command)
	if err != nil {
		return err
	}
	if !bytes.Contains(answer, []byte(" OK ")) {
		return fmt.Errorf("%.40s: %q", command, answer)
	}
	if rng.IntN(3) == 0 {
		if answer, err = l.command("COMPRESS DEFLATE"); err != nil {
			return err
		}
		if bytes.Contains(answer, []byte(" OK ")) {
			l.compressed()
		}
	}
	return nil
}

// ended gives the error of a session: that the line breaks is no error.
func ended(err error) error {
	if err == nil || gone(err) {
		return nil
	}
	return err
}

// batches pipelines commands at random.
func (e *everything) batches(ctx context.Context, rng *rand.Rand, s *soul) error {
	l, err := e.signIn(rng, s)
	if l != nil {
		defer l.close()
	}
	if err != nil {
		return ended(err)
	}
	if rng.IntN(2) == 0 {
		// So that there is never much.
		for _, command := range []string{"SELECT " + s.boxes[rng.IntN(len(s.boxes))], `UID STORE 1:* +FLAGS.SILENT (\Deleted)`, "CLOSE"} {
			if _, err := l.command(command); err != nil {
				return ended(err)
			}
		}
	}
	for range 10 {
		if ctx.Err() != nil {
			break
		}
		if err := l.batch(rng, 1+rng.IntN(25)); err != nil {
			return ended(err)
		}
	}
	_, err = l.command("LOGOUT")
	return ended(err)
}

// batch sends some commands at once and hears up to the answer of the last.
func (l *line) batch(rng *rand.Rand, n int) error {
	var b strings.Builder
	tag := ""
	for range n {
		l.tags++
		tag = fmt.Sprintf("t%d ", l.tags)
		text := l.s.some(rng)
		l.e.use("imap", text)
		b.WriteString(tag + text + "\r\n")
	}
	sent := make(chan error, 1)
	go func() { sent <- l.say(b.String()) }()
	for {
		heard, err := l.hear()
		if err != nil {
			return err
		}
		if url, ok := bytes.CutPrefix(heard, []byte(`* GENURLAUTH "`)); ok {
			url, _, _ := strings.Cut(string(url), `"`)
			l.s.urls.Store(&url)
		}
		if bytes.HasPrefix(heard, []byte("* BYE")) {
			return io.EOF
		}
		if bytes.HasPrefix(heard, []byte(tag)) {
			break
		}
	}
	return <-sent
}

// waits idles, by IDLE, by NOTIFY or by doing nothing, now and then so long that the session
// is parked.
func (e *everything) waits(ctx context.Context, rng *rand.Rand, s *soul) error {
	l, err := e.signIn(rng, s)
	if l != nil {
		defer l.close()
	}
	if err != nil {
		return ended(err)
	}
	for range 3 {
		if err := l.batch(rng, 3); err != nil {
			return ended(err)
		}
		if _, err := l.command("SELECT INBOX"); err != nil {
			return ended(err)
		}
		d := time.Duration(rng.IntN(500)) * time.Millisecond
		if rng.IntN(3) == 0 {
			d = 5 * time.Second
		}
		pause := func() {
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
		}
		if rng.IntN(2) == 0 {
			e.use("imap", "IDLE")
			l.tags++
			if err := l.say(fmt.Sprintf("t%d IDLE\r\n", l.tags)); err != nil {
				return ended(err)
			}
			pause()
			if err := l.say("DONE\r\n"); err != nil {
				return ended(err)
			}
			if _, err := l.until(fmt.Sprintf("t%d ", l.tags)); err != nil {
				return ended(err)
			}
			continue
		}
		if _, err := l.command("NOTIFY SET STATUS (selected (MessageNew (UID FLAGS ENVELOPE BODY.PEEK[HEADER]) MessageExpunge FlagChange AnnotationChange)) (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange))"); err != nil {
			return ended(err)
		}
		pause()
		if _, err := l.command("NOOP"); err != nil {
			return ended(err)
		}
	}
	return nil
}

// breaks leaves in the middle: of a literal, of a command, of what is sent to it.
func (e *everything) breaks(ctx context.Context, rng *rand.Rand, s *soul) error {
	l, err := e.signIn(rng, s)
	if l != nil {
		defer l.close()
	}
	if err != nil {
		return ended(err)
	}
	if err := l.batch(rng, 2); err != nil {
		return ended(err)
	}
	letter := s.abc.letter(rng)
	switch rng.IntN(4) {
	case 0: // in a literal
		e.use("imap", "APPEND")
		l.say(fmt.Sprintf("x APPEND INBOX {%d+}\r\n%s", len(letter), letter[:rng.IntN(len(letter))]))
	case 1: // in a command
		text := s.some(rng)
		l.say(fmt.Sprintf("x %s", text[:rng.IntN(len(text))]))
	case 2: // in what is read
		if _, err := l.command("SELECT INBOX"); err != nil {
			return ended(err)
		}
		e.use("imap", "FETCH")
		l.say("x UID FETCH 1:* (UID BODY.PEEK[] ENVELOPE)\r\n")
		for range rng.IntN(40) {
			heard, err := l.hear()
			if err != nil {
				return ended(err)
			}
			if bytes.HasPrefix(heard, []byte("x ")) {
				break
			}
		}
	case 3: // slowly
		e.use("imap", "APPEND")
		text := fmt.Sprintf("x APPEND INBOX {%d+}\r\n%s\r\n", len(letter), letter)
		for len(text) > 0 && ctx.Err() == nil {
			n := min(len(text), 1+rng.IntN(8<<10))
			if err := l.say(text[:n]); err != nil {
				return ended(err)
			}
			text = text[n:]
			time.Sleep(time.Millisecond)
		}
		if len(text) > 0 {
			return nil
		}
		_, err := l.until("x ")
		return ended(err)
	}
	return nil
}

// handsOver has one person log out of a connection by UNAUTHENTICATE, and the other one log
// in there: what comes then is the other's.
func (e *everything) handsOver(ctx context.Context, rng *rand.Rand, s *soul) error {
	l, err := e.signIn(rng, s)
	if l != nil {
		defer l.close()
	}
	if err != nil {
		return ended(err)
	}
	for range 4 {
		if ctx.Err() != nil {
			break
		}
		if err := l.batch(rng, 1+rng.IntN(10)); err != nil {
			return ended(err)
		}
		if l.stop != nil {
			l.tags++
			e.use("imap", "UNAUTHENTICATE")
			if err := l.say(fmt.Sprintf("t%d UNAUTHENTICATE\r\n", l.tags)); err != nil {
				return ended(err)
			}
			if err := l.stop(); err != nil {
				return ended(err)
			}
		} else if answer, err := l.command("UNAUTHENTICATE"); err != nil {
			return ended(err)
		} else if !bytes.Contains(answer, []byte(" OK ")) {
			return fmt.Errorf("%q", answer)
		}
		l.s = l.s.other
		if err := l.authenticate(rng, l.s); err != nil {
			return ended(err)
		}
	}
	return nil
}

// popper reads and removes over POP3.
func (e *everything) popper(ctx context.Context, rng *rand.Rand, s *soul) error {
	secure := rng.IntN(3) == 0
	addr := e.pop
	if secure {
		addr = e.pops
	}
	l, err := e.open(s, "POP3", addr, secure)
	if err != nil {
		return err
	}
	defer l.close()
	ask := func(format string, args ...any) ([]byte, error) {
		command := fmt.Sprintf(format, args...)
		e.use("pop3", command)
		if err := l.say(command + "\r\n"); err != nil {
			return nil, err
		}
		return l.until("+", "-")
	}
	if _, err := l.until("+OK"); err != nil {
		return ended(err)
	}
	for _, before := range []string{"CAPA", "UTF8", "LANG de", "XCLIENT " + s.abc.word(rng), "USER " + s.abc.word(rng), "APOP " + s.abc.word(rng) + " " + s.abc.word(rng), "AUTH", "AUTH " + s.abc.word(rng), "NOOP", "STLS"} {
		if rng.IntN(6) > 0 {
			continue
		}
		answer, err := ask("%s", before)
		if err != nil {
			return ended(err)
		}
		if list := before == "CAPA" || before == "AUTH"; list && answer[0] == '+' {
			if _, err := l.until(".\r\n"); err != nil {
				return ended(err)
			}
		}
		if before == "STLS" && answer[0] == '+' {
			l.over(tls.Client(l.conn, &tls.Config{InsecureSkipVerify: true}))
		}
	}
	key := s.keys[rng.IntN(len(s.keys))]
	if rng.IntN(2) == 0 {
		if _, err := ask("AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+s.name+"\x00"+key))); err != nil {
			return ended(err)
		}
	} else {
		if _, err := ask("USER %s", s.name); err != nil {
			return ended(err)
		}
		answer, err := ask("PASS %s", key)
		if err != nil || answer[0] == '-' { // in use
			time.Sleep(20 * time.Millisecond)
			return ended(err)
		}
	}
	for range 3 + rng.IntN(10) {
		n := 1 + rng.IntN(12)
		command := []string{"STAT", "LIST", "UIDL", "RETR %d", "RETR %d", "TOP %d 3", "TOP %d 100", "DELE %d", "RSET", "NOOP", "LIST %d", "UIDL %d", "LANG", "CAPA", "RETR 100000", "RETR " + s.abc.word(rng)}[rng.IntN(16)]
		command = strings.ReplaceAll(command, "%d", strconv.Itoa(n))
		answer, err := ask("%s", command)
		if err != nil {
			return ended(err)
		}
		word, argument, _ := strings.Cut(command, " ")
		many := word == "RETR" || word == "TOP" || word == "CAPA" || argument == "" && (word == "LIST" || word == "UIDL" || word == "LANG")
		if answer[0] != '+' || !many {
			continue
		}
		if rng.IntN(15) == 0 {
			l.hear()
			return nil // the line breaks in the middle
		}
		if _, err := l.until(".\r\n"); err != nil {
			return ended(err)
		}
	}
	_, err = ask("QUIT")
	return ended(err)
}

// shared are words of neither, for messages that both get.
const shared = "both of them get this"

// deliverer delivers over LMTP: letters of one's own, and now and then the same to both, which
// each gets with fields of its own.
func (e *everything) deliverer(ctx context.Context, rng *rand.Rand, s *soul) error {
	l, err := e.open(s, "LMTP", e.lmtp, false)
	if err != nil {
		return err
	}
	defer l.close()
	ask := func(format string, args ...any) ([]byte, error) {
		text := fmt.Sprintf(format, args...)
		e.use("lmtp", text)
		if err := l.say(text); err != nil {
			return nil, err
		}
		for {
			b, err := l.hear()
			if err != nil || len(b) < 4 || b[3] != '-' {
				return b, err
			}
		}
	}
	// To both of them only what is of neither: also the names that go into fields of the
	// message.
	both := rng.IntN(5) == 0
	name := s.abc.word(rng)
	if both {
		name = "neither"
	}
	if _, err := ask("LHLO %s\r\n", name); err != nil { // the greeting
		return ended(err)
	}
	if _, err := l.until("250 "); err != nil {
		return ended(err)
	}
	for ctx.Err() == nil {
		for _, text := range []string{"NOOP\r\n", "VRFY " + s.name + "\r\n", "RSET\r\n", "STARTTLS " + s.abc.word(rng) + "\r\n", s.abc.word(rng) + "\r\n"} {
			if rng.IntN(10) == 0 {
				if _, err := ask("%s", text); err != nil {
					return ended(err)
				}
			}
		}
		letter, recipients := s.abc.letter(rng), []string{s.name}
		from := s.abc.word(rng) + "@" + s.abc.word(rng) + ".example"
		if both {
			from = "neither@neither.example"
			letter, recipients = "Subject: "+shared+"\r\n\r\n"+shared+"\r\n", append(recipients, s.other.name)
		}
		if _, err := ask("MAIL FROM:<%s>\r\n", from); err != nil {
			return ended(err)
		}
		if both {
			// That this client hears of both is no leak.
			l.quietly(func() { err = l.toBoth(recipients, letter) })
			if err != nil {
				return ended(err)
			}
			continue
		}
		if _, err := ask("RCPT TO:<%s>\r\n", recipients[0]); err != nil {
			return ended(err)
		}
		if rng.IntN(3) == 0 {
			cut := rng.IntN(len(letter))
			if _, err := ask("BDAT %d\r\n%s", cut, letter[:cut]); err != nil {
				return ended(err)
			}
			if _, err := ask("BDAT %d LAST\r\n%s", len(letter)-cut, letter[cut:]); err != nil {
				return ended(err)
			}
			continue
		}
		if _, err := ask("DATA\r\n"); err != nil {
			return ended(err)
		}
		if rng.IntN(10) == 0 {
			l.say(letter[:len(letter)/2])
			return nil // the line breaks
		}
		if err := l.say(letter + ".\r\n"); err != nil {
			return ended(err)
		}
		if _, err := l.until("2", "4", "5"); err != nil {
			return ended(err)
		}
		if rng.IntN(20) == 0 {
			break
		}
	}
	_, err = ask("QUIT\r\n")
	return ended(err)
}

// quietly does something of which nothing that is heard is looked at.
func (l *line) quietly(work func()) {
	s := l.s
	l.s = &soul{abc: s.abc, other: &soul{abc: newAlphabet("\x00\x01")}}
	defer func() { l.s = s }()
	work()
}

// toBoth delivers to both.
func (l *line) toBoth(recipients []string, letter string) error {
	for _, to := range recipients {
		if err := l.say("RCPT TO:<" + to + ">\r\n"); err != nil {
			return err
		}
		if _, err := l.until("2", "4", "5"); err != nil {
			return err
		}
	}
	if err := l.say("DATA\r\n"); err != nil {
		return err
	}
	if _, err := l.until("354"); err != nil {
		return err
	}
	if err := l.say(letter + ".\r\n"); err != nil {
		return err
	}
	for range recipients {
		if _, err := l.until("2", "4", "5"); err != nil {
			return err
		}
	}
	return nil
}

// lookThrough reads all that a person has in the end.
func (e *everything) lookThrough(s *soul) error {
	l, err := e.open(s, "IMAP4 in the end", e.imap, false)
	if err != nil {
		return err
	}
	defer l.close()
	if _, err := l.command(fmt.Sprintf("LOGIN %q %q", s.name, s.password)); err != nil {
		return err
	}
	before := e.mine.Load()
	for _, box := range append(slices.Clone(s.boxes), "Sent", "Trash", "Archive", "Junk") {
		for _, command := range []string{
			"EXAMINE " + box, "UID FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE PREVIEW EMAILID THREADID BODY.PEEK[])",
			`UID FETCH 1:* (ANNOTATION (/* (value.priv value.shared)))`, "GETMETADATA (DEPTH infinity) " + box + " (/private /shared)",
		} {
			if _, err := l.command(command); err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
		}
	}
	for _, command := range []string{`LIST "" * RETURN (SUBSCRIBED STATUS (MESSAGES))`, `LSUB "" *`, `GETMETADATA (DEPTH infinity) "" (/private /shared)`, "LOGOUT"} {
		if _, err := l.command(command); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
	}
	if e.mine.Load() < before+20 {
		return errors.New("it has next to nothing in the end")
	}
	return nil
}

// some is a command at random, as a person sends it, with literals that do not wait.
func (s *soul) some(rng *rand.Rand) string {
	w := func() string { return s.abc.word(rng) }
	label := func() string { return s.labels[rng.IntN(len(s.labels))] }
	box := func() string { return s.boxes[rng.IntN(len(s.boxes))] }
	uid := func() string { return "UID "[:4*rng.IntN(2)] }
	set := func() string {
		return []string{"1:*", "*", "1", "1:3", "2:5,7", strconv.Itoa(1 + rng.IntN(40)), "$", "1000:2000"}[rng.IntN(8)]
	}
	few := func() string { return []string{"1", "1:2", "3", strconv.Itoa(1 + rng.IntN(20))}[rng.IntN(4)] }
	entry := func() string {
		return []string{"/private/comment", "/shared/comment", "/private/vendor/a/" + label() + "/b", "/private/filters/values/" + label()}[rng.IntN(4)]
	}
	letter := func() string {
		text := s.abc.letter(rng)
		return fmt.Sprintf("{%d+}\r\n%s", len(text), text)
	}
	key := func() string {
		return []string{
			"ALL", "TEXT " + w(), "BODY " + label(), "SUBJECT " + string(s.abc.letters[rng.IntN(2)]), "FROM " + string(s.abc.letters[0]), "HEADER Comments " + string(s.abc.letters[1]),
			"KEYWORD " + label(), "OR UNSEEN TO " + w()[:2], "FUZZY TEXT " + w(), "NOT DELETED", "LARGER 3000", "MODSEQ 5", "FILTER " + label(), "EMAILID M" + strconv.Itoa(1+rng.IntN(40)),
			"THREADID T" + strconv.Itoa(1+rng.IntN(40)), "ANNOTATION /comment value \"" + w()[:2] + "\"", "SAVEDSINCE 1-Jan-2000", "YOUNGER 100000", "$",
		}[rng.IntN(19)]
	}
	result := func() string {
		return []string{"", "", " RETURN (ALL)", " RETURN (MIN MAX COUNT)", " RETURN (SAVE)", " RETURN (PARTIAL 1:5)", " RETURN (ALL SAVE)", " RETURN (UPDATE ALL)", " RETURN (RELEVANCY COUNT ALL)"}[rng.IntN(9)]
	}
	url := func() string {
		if u := s.urls.Load(); u != nil {
			return *u
		}
		return "imap://localhost/INBOX/;UID=1"
	}
	switch n := rng.IntN(100); {
	case n < 8:
		return []string{"SELECT ", "SELECT ", "EXAMINE "}[rng.IntN(3)] + box() + []string{"", "", " (CONDSTORE)", " (QRESYNC (1 1 1:100))", " (ANNOTATE)"}[rng.IntN(5)]
	case n < 16:
		return fmt.Sprintf("APPEND %s (\\Flagged %s) %s", box(), label(), letter())
	case n < 18:
		return fmt.Sprintf("APPEND %s %s (\\Seen) %s", box(), letter(), letter())
	case n == 18:
		text := w()
		return fmt.Sprintf("APPEND %s CATENATE (URL \"/INBOX;UID=%s\" TEXT {%d+}\r\n%s URL %q)", box(), few(), len(text), text, url())
	case n == 19:
		return uid() + "REPLACE " + few() + " " + box() + " " + letter()
	case n < 32:
		items := []string{
			"FULL", "ALL", "(UID FLAGS MODSEQ)", "(ENVELOPE BODY BODYSTRUCTURE)", "BODY.PEEK[]", "BODY[]", "(BODY.PEEK[HEADER] BODY.PEEK[TEXT])", "BODY.PEEK[1]", "BODY.PEEK[4.HEADER]",
			"BODY.PEEK[HEADER.FIELDS (SUBJECT COMMENTS)]", "BINARY.PEEK[1]", "BINARY.PEEK[3]", "BINARY.SIZE[1]", "BODY.PEEK[]<10.300>", "(PREVIEW EMAILID THREADID SAVEDATE)",
			"ANNOTATION (/* (value.priv size.shared))", "RFC822", "(INTERNALDATE RFC822.SIZE)", "BODY.PEEK[1.MIME]",
		}
		return uid() + "FETCH " + set() + " " + items[rng.IntN(len(items))]
	case n < 40:
		return uid() + "SEARCH" + result() + " " + key() + " " + key()
	case n < 43:
		return uid() + "SORT" + result() + " (" + []string{"SUBJECT", "FROM", "REVERSE DATE", "DISPLAYTO", "SIZE CC", "ARRIVAL", "ANNOTATION /comment value.priv"}[rng.IntN(7)] + ") UTF-8 " + key()
	case n < 46:
		return uid() + "THREAD " + []string{"REFERENCES", "REFS", "ORDEREDSUBJECT"}[rng.IntN(3)] + " UTF-8 " + key()
	case n < 50:
		return uid() + "STORE " + set() + " " + []string{"+FLAGS", "-FLAGS", "FLAGS", "+FLAGS.SILENT"}[rng.IntN(4)] + " (" + []string{`\Deleted`, `\Seen`, `\Flagged`, label(), label() + " " + label()}[rng.IntN(5)] + ")"
	case n < 52:
		return uid() + "STORE " + few() + fmt.Sprintf(" ANNOTATION (/comment (value.priv %q value.shared %q))", w(), w())
	case n < 54:
		return uid() + "COPY " + few() + " " + box()
	case n < 56:
		return uid() + "MOVE " + few() + " " + box()
	case n < 59:
		return []string{"EXPUNGE", "UID EXPUNGE 1:*", "CLOSE", "UNSELECT", "CHECK", "CANCELUPDATE \"t1\"", "UIDBATCHES 3"}[rng.IntN(7)]
	case n < 62:
		return []string{"CREATE ", "CREATE ", "DELETE ", "SUBSCRIBE ", "UNSUBSCRIBE "}[rng.IntN(5)] + s.boxes[rng.IntN(5)]
	case n == 62:
		return "RENAME " + s.boxes[rng.IntN(5)] + " " + s.boxes[rng.IntN(5)]
	case n < 68:
		return []string{
			`LIST "" *`, `LIST "" (% */%) RETURN (CHILDREN SUBSCRIBED SPECIAL-USE MYRIGHTS STATUS (MESSAGES UNSEEN UIDNEXT SIZE MAILBOXID))`, `LIST (SUBSCRIBED RECURSIVEMATCH) "" *`,
			`LIST "" * RETURN (METADATA (/private/comment /shared/comment))`, `LSUB "" *`, `RLIST "" *`, `RLSUB "" *`, `LIST "" ` + s.boxes[0] + "*",
		}[rng.IntN(8)]
	case n < 70:
		return "STATUS " + box() + " (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE HIGHESTMODSEQ MAILBOXID DELETED)"
	case n < 73:
		name := []string{box(), box(), `""`}[rng.IntN(3)]
		return "SETMETADATA " + name + " (" + entry() + " " + []string{`"` + w() + `"`, `"` + w() + `"`, "NIL", `"SUBJECT ` + w() + `"`}[rng.IntN(4)] + ")"
	case n < 75:
		return "GETMETADATA (DEPTH infinity) " + []string{box(), `""`}[rng.IntN(2)] + " (/private /shared)"
	case n < 78:
		return []string{"GETACL ", "MYRIGHTS ", "GETQUOTAROOT ", "LISTRIGHTS "}[rng.IntN(4)] + box() + []string{"", " " + w()}[rng.IntN(2)]
	case n < 80:
		return []string{"SETACL " + box() + " " + w() + " lr", "DELETEACL " + box() + " " + w(), "SETQUOTA \"#user/" + s.name + "\" (STORAGE 1)", "GETQUOTA \"#user/" + s.name + "\"", "LISTRIGHTS " + box() + " " + w()}[rng.IntN(5)]
	case n < 82:
		return []string{"NOTIFY NONE", "NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))", "NOTIFY SET (subtree " + s.boxes[0] + " (MessageNew MessageExpunge))"}[rng.IntN(3)]
	case n < 85:
		return []string{
			fmt.Sprintf(`GENURLAUTH "imap://%s@localhost/INBOX/;UID=%s;URLAUTH=authuser" INTERNAL`, strings.ReplaceAll(s.name, "@", "%40"), few()),
			fmt.Sprintf("URLFETCH %q", url()), fmt.Sprintf("URLFETCH (%q BODYPARTSTRUCTURE BINARY)", url()), "RESETKEY INBOX",
		}[rng.IntN(4)]
	case n < 89:
		return "ESEARCH IN (" + []string{"PERSONAL", "SUBTREE " + s.boxes[0], "SUBSCRIBED", "MAILBOXES INBOX"}[rng.IntN(4)] + ")" + result() + " " + key()
	case n < 92:
		return uid() + fmt.Sprintf(`CONVERT %s (%s ("charset" "utf-16")) BINARY[%d]`, few(), []string{`"text/plain"`, `"text/html"`, "NIL"}[rng.IntN(3)], 1+rng.IntN(2))
	case n == 92:
		return `CONVERSIONS "text/html" "*"`
	case n < 95:
		return []string{"COMPARATOR", `COMPARATOR "i;ascii-casemap"`, "LANGUAGE de", "LANGUAGE default", "GETJMAPACCESS", "NAMESPACE", "CAPABILITY"}[rng.IntN(7)]
	case n < 97:
		return []string{fmt.Sprintf(`ID ("name" %q "version" %q)`, w(), w()), "ENABLE CONDSTORE", "ENABLE METADATA", "ENABLE UTF8=ACCEPT", "NOOP", "ENABLE QRESYNC IMAP4rev2"}[rng.IntN(6)]
	}
	return []string{w(), w() + " " + w(), "FETCH " + w(), "SELECT " + w(), "STATUS " + w() + " (MESSAGES)", "UID " + w(), "SEARCH " + w(), "APPEND " + w() + " (" + w() + ")", "STORE 1 " + w(), "NOTIFY " + w()}[rng.IntN(10)]
}
