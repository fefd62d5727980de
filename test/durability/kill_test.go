// Package durability kills the real server while it works and checks that what it
// acknowledged is there when it comes up again.
package durability

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/imapview"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

var accounts = []server.Account{{Name: "a@kill.example", Password: "pass-a-1234"}, {Name: "b@kill.example", Password: "pass-b-1234"}}

// fate is what is known of one message that was handed over.
type fate struct {
	digest       string
	acknowledged bool   // OK or 250 came
	account      int    // whose it is
	flagged      string // last acknowledged state of \Flagged: "yes", "no"
	asked        bool   // a change of \Flagged is under way and not answered
	removed      bool   // the EXPUNGE or MOVE to Trash was answered
	removing     bool   // one was sent
}

// ledger holds every fate; clients write it as they learn.
type ledger struct {
	mu    sync.Mutex
	fates map[string]*fate // by X-Id
	next  int
	// uids remembers which message a UID of a mailbox incarnation meant.
	uids map[string]string
}

// compose makes a message with an id of its own and enters it as sent.
func (l *ledger) compose(account, size int) (id, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	id = fmt.Sprintf("m%d", l.next)
	var b strings.Builder
	fmt.Fprintf(&b, "X-Id: %s\r\nFrom: k@kill.example\r\nSubject: storm %d\r\nMessage-ID: <%s@kill.example>\r\n\r\n", id, l.next, id)
	for b.Len() < size {
		fmt.Fprintf(&b, "line %x\r\n", rand.Uint64())
	}
	text = b.String()
	l.fates[id] = &fate{digest: digest(text), account: account, flagged: "no"}
	return id, text
}

// acknowledged counts messages.
func (l *ledger) acknowledged() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.fates {
		if f.acknowledged {
			n++
		}
	}
	return n
}

// change alters the fate of a message.
func (l *ledger) change(id string, f func(*fate)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.fates[id])
}

// digest is of the message from its X-Id on: delivery puts fields before it.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text[strings.Index(text, "X-Id: "):]))
	return hex.EncodeToString(sum[:8])
}

// TestKill kills the server with SIGKILL in the middle of deliveries, APPENDs,
// flag changes and removals. POSTERN_KILL_CYCLES says how often; 6 by default.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	cycles := 6
	if n, err := strconv.Atoi(os.Getenv("POSTERN_KILL_CYCLES")); err == nil && n > 0 {
		cycles = n
	}
	s := server.Serve(t, server.Options{Accounts: accounts})
	s.SetLoginType("PlainTextLogin")
	l := &ledger{fates: map[string]*fate{}, uids: map[string]string{}}
	const storms = 20 // messages at least that are acknowledged in each cycle
	for cycle := range cycles {
		var wg sync.WaitGroup
		stop := make(chan struct{})
		was := l.acknowledged()
		for i := range 4 {
			wg.Go(func() { storm(stop, func() error { return deliver(s, l, i%2) }) })
			wg.Go(func() { storm(stop, func() error { return session(s, l, i%2) }) })
		}
		time.Sleep(time.Duration(300+rand.IntN(700)) * time.Millisecond)
		for end := time.Now().Add(30 * time.Second); l.acknowledged() < was+storms && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond) // a busy machine stood still
		}
		s.Kill()
		close(stop)
		wg.Wait()
		s.Restart()
		check(t, s, l, cycle)
		if t.Failed() {
			return
		}
	}
	acknowledged, removed := l.acknowledged(), 0
	for _, f := range l.fates {
		if f.removed {
			removed++
		}
	}
	t.Logf("%d cycles: %d messages sent, %d acknowledged, %d of them removed again; none lost", cycles, len(l.fates), acknowledged, removed)
	if acknowledged < storms*cycles {
		t.Errorf("only %d messages were acknowledged: the storm was none", acknowledged)
	}
}

// storm runs work again and again until stop; each run ends when its connection
// dies.
func storm(stop chan struct{}, work func() error) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		if work() != nil {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func dial(addr string) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(20 * time.Second))
}

// deliver hands messages over by LMTP until the connection ends.
func deliver(s *server.Server, l *ledger, account int) error {
	c, err := dial(s.LMTP)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	expect := func(code string) error {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if len(line) > 3 && line[3] == '-' {
				continue
			}
			if !strings.HasPrefix(line, code) {
				return fmt.Errorf("%q", line)
			}
			return nil
		}
	}
	say := func(line, code string) error {
		if _, err := io.WriteString(c, line+"\r\n"); err != nil {
			return err
		}
		return expect(code)
	}
	if err := errors.Join(expect("220"), say("LHLO storm", "250")); err != nil {
		return err
	}
	for {
		id, text := l.compose(account, 200+rand.IntN(8000))
		for _, step := range [][2]string{{"MAIL FROM:<k@kill.example>", "250"}, {"RCPT TO:<" + accounts[account].Name + ">", "250"}, {"DATA", "354"}, {text + ".", "250"}} {
			if err := say(step[0], step[1]); err != nil {
				return err
			}
		}
		l.change(id, func(f *fate) { f.acknowledged = true })
	}
}

// session appends, flags and removes over IMAP until the connection ends.
func session(s *server.Server, l *ledger, account int) error {
	c, err := dial(s.IMAP)
	if err != nil {
		return err
	}
	defer c.Close()
	client, err := imapview.NewClient(c)
	if err != nil {
		return err
	}
	if _, err := client.Must("LOGIN " + accounts[account].Name + " " + accounts[account].Password); err != nil {
		return err
	}
	if _, err := client.Must("SELECT INBOX"); err != nil {
		return err
	}
	// Messages that this session alone works on, so that the last answer decides.
	mine := map[uint32]string{}
	for {
		id, text := l.compose(account, 200+rand.IntN(3000))
		reply, err := client.Must(fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text))
		if err != nil {
			return err
		}
		l.change(id, func(f *fate) { f.acknowledged = true })
		var validity, uid uint32
		if _, err := fmt.Sscanf(reply.Code, "APPENDUID %d %d", &validity, &uid); err != nil {
			return fmt.Errorf("code %q", reply.Code)
		}
		mine[uid] = id
		for uid, id := range mine {
			if rand.IntN(2) == 0 {
				continue
			}
			sign, state := "+", "yes"
			if rand.IntN(2) == 0 {
				sign, state = "-", "no"
			}
			l.change(id, func(f *fate) { f.asked = true })
			if _, err := client.Must(fmt.Sprintf(`UID STORE %d %sFLAGS.SILENT (\Flagged)`, uid, sign)); err != nil {
				return err
			}
			l.change(id, func(f *fate) { f.asked, f.flagged = false, state })
			break
		}
		if len(mine) > 5 {
			for uid, id := range mine {
				l.change(id, func(f *fate) { f.removing = true })
				var err error
				if rand.IntN(2) == 0 {
					_, err = client.Must(fmt.Sprintf(`UID STORE %d +FLAGS.SILENT (\Deleted)`, uid))
					if err == nil {
						_, err = client.Must(fmt.Sprintf("UID EXPUNGE %d", uid))
					}
					if err == nil {
						l.change(id, func(f *fate) { f.removed = true })
					}
				} else {
					_, err = client.Must(fmt.Sprintf("UID MOVE %d Archive", uid))
					if err == nil {
						l.change(id, func(f *fate) { f.removing = false })
					}
				}
				if err != nil {
					return err
				}
				delete(mine, uid)
				break
			}
		}
	}
}

// check reads everything and compares it with the ledger.
func check(t *testing.T, s *server.Server, l *ledger, cycle int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := map[string]int{}
	for account, a := range accounts {
		for _, mailbox := range []string{"INBOX", "Archive"} {
			c, err := dial(s.IMAP)
			if err != nil {
				t.Fatal(err)
			}
			client, err := imapview.NewClient(c)
			if err != nil {
				t.Fatal(err)
			}
			must := func(command string) imapview.Reply {
				t.Helper()
				r, err := client.Must(command)
				if err != nil {
					t.Fatalf("cycle %d: %s: %v", cycle, command, err)
				}
				return r
			}
			must("LOGIN " + a.Name + " " + a.Password)
			validity := ""
			for _, u := range must("SELECT " + mailbox).Untagged {
				if _, v, ok := strings.Cut(string(u), "UIDVALIDITY "); ok {
					validity, _, _ = strings.Cut(v, "]")
				}
			}
			for _, u := range must("FETCH 1:* (UID FLAGS BODY.PEEK[])").Untagged {
				text := string(u)
				i := strings.Index(text, " FETCH ")
				if i < 0 {
					continue
				}
				items, err := imapview.ParseFetch([]byte(text[i+len(" FETCH "):]))
				if err != nil {
					t.Fatal(err)
				}
				var uid, body, flags string
				for _, item := range items {
					switch {
					case item.Name == "UID":
						uid = item.Value.Text
					case item.Name == "FLAGS":
						for _, f := range item.Value.List {
							flags += f.Text + " "
						}
					case strings.HasPrefix(item.Name, "BODY"):
						body = item.Value.Text
					}
				}
				id := between(body, "X-Id: ", "\r\n")
				f := l.fates[id]
				if f == nil {
					t.Errorf("cycle %d: UID %s of %s holds a message that nobody sent", cycle, uid, mailbox)
					continue
				}
				seen[id]++
				if f.digest != digest(body) {
					t.Errorf("cycle %d: message %s is not what was sent", cycle, id)
				}
				if f.account != account {
					t.Errorf("cycle %d: message %s of account %d is in account %d", cycle, id, f.account, account)
				}
				if f.removed {
					t.Errorf("cycle %d: message %s was expunged and is there again", cycle, id)
				}
				if now := map[bool]string{true: "yes", false: "no"}[strings.Contains(flags, `\Flagged`)]; !f.asked && now != f.flagged {
					t.Errorf("cycle %d: message %s: \\Flagged is %s, acknowledged was %s", cycle, id, now, f.flagged)
				} else {
					f.flagged, f.asked = now, false
				}
				key := a.Name + "/" + mailbox + "/" + validity + "/" + uid
				if old, ok := l.uids[key]; ok && old != id {
					t.Errorf("cycle %d: %s meant message %s and means %s now", cycle, key, old, id)
				}
				l.uids[key] = id
			}
			c.Close()
		}
	}
	for id, f := range l.fates {
		switch n := seen[id]; {
		case n > 1:
			t.Errorf("cycle %d: message %s is there %d times", cycle, id, n)
		case n == 0 && f.acknowledged && !f.removing:
			t.Errorf("cycle %d: message %s was acknowledged and is lost", cycle, id)
		case n == 0 && f.removing:
			f.removed = true
		case n == 1:
			// What was not answered and is there now is as good as acknowledged.
			f.acknowledged, f.removing = true, false
		}
	}
	for id, f := range l.fates {
		if seen[id] == 0 && !f.acknowledged {
			f.removed = true // it may not turn up later
			f.removing = true
		}
	}
}

func between(s, a, b string) string {
	_, s, _ = strings.Cut(s, a)
	s, _, _ = strings.Cut(s, b)
	return s
}
