package imap

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/test/imapview"
)

// letter is what a naive search knows of a message.
type letter struct {
	flags         []string // lower case
	internal      time.Time
	sent          time.Time // zero: no Date field
	from, subject string
	custom        string // X-Odd, which summaries do not keep; "" is none
	body          string
	size          int
	uid, seq      int
	header        string // folded
	huge          bool   // the header is more than a summary keeps
}

var searchWordsUsed = []string{"apple", "Banana", "CHERRY", "date", "élan", "fig", "an", "e"}

func randomLetter(r *rand.Rand, ts *testServer) (letter, store.Arrival) {
	pick := func() string { return searchWordsUsed[r.IntN(len(searchWordsUsed))] }
	zone := func() *time.Location { return time.FixedZone("", (r.IntN(25)-12)*3600) }
	day := func() time.Time { return time.Date(2026, 1, 1+r.IntN(5), r.IntN(24), r.IntN(60), 0, 0, zone()) }
	l := letter{internal: day(), from: pick() + "@example.org", subject: pick() + " " + pick(), body: pick() + " " + pick() + " " + pick()}
	var b strings.Builder
	if r.IntN(4) > 0 {
		l.sent = day()
		fmt.Fprintf(&b, "Date: %s\r\n", l.sent.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	}
	fmt.Fprintf(&b, "From: %s\r\nSubject: %s\r\n", l.from, l.subject)
	if r.IntN(3) == 0 {
		l.custom = pick()
		fmt.Fprintf(&b, "X-Odd: %s\r\n", l.custom)
	}
	if r.IntN(10) == 0 {
		l.huge = true
		b.WriteString("References:")
		for i := range 2000 {
			fmt.Fprintf(&b, "\r\n <%d@ref>", i)
		}
		b.WriteString("\r\n")
	}
	l.header = plainFold(b.String())
	fmt.Fprintf(&b, "\r\n%s\r\n", l.body)
	a := store.Arrival{Prepared: ts.Store.Prepare([]byte(b.String())), InternalDate: l.internal}
	for _, f := range []mail.Flags{mail.Seen, mail.Answered, mail.Flagged, mail.Deleted, mail.Draft} {
		if r.IntN(2) == 0 {
			a.Flags |= f
			l.flags = append(l.flags, strings.ToLower(string(f.AppendText(nil, nil))))
		}
	}
	if r.IntN(2) == 0 {
		a.Keywords = []string{"$Key"}
		l.flags = append(l.flags, "$key")
	}
	l.size = b.Len()
	return l, a
}

// plainFold folds the few letters that are used: é is e and an accent (RFC 5051).
func plainFold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "é", "e\u0301") }

func (l *letter) has(flag string) bool { return slices.Contains(l.flags, flag) }

func sameDay(t time.Time) int { return t.Year()*10000 + int(t.Month())*100 + t.Day() }

// randomKey gives a search key and what it means.
func randomKey(r *rand.Rand, n, depth int) (string, func(l *letter) bool) {
	word := searchWordsUsed[r.IntN(len(searchWordsUsed))]
	low := plainFold(word)
	quoted := `"` + word + `"`
	if strings.Contains(word, "é") {
		quoted = "{" + strconv.Itoa(len(word)) + "+}\r\n" + word
	}
	date := time.Date(2026, 1, 1+r.IntN(6), 0, 0, 0, 0, time.UTC)
	on := date.Format("2-Jan-2006")
	d := sameDay(date)
	contains := func(s string) bool { return strings.Contains(plainFold(s), low) }
	kinds := 22
	if depth == 0 {
		kinds = 18
	}
	switch r.IntN(kinds) {
	case 0:
		return "ALL", func(*letter) bool { return true }
	case 1:
		f := []string{"answered", "deleted", "draft", "flagged", "seen"}[r.IntN(5)]
		return strings.ToUpper(f), func(l *letter) bool { return l.has(`\` + f) }
	case 2:
		f := []string{"answered", "deleted", "draft", "flagged", "seen"}[r.IntN(5)]
		return "UN" + f, func(l *letter) bool { return !l.has(`\` + f) }
	case 3:
		return "KEYWORD $key", func(l *letter) bool { return l.has("$key") }
	case 4:
		return "UNKEYWORD $KEY", func(l *letter) bool { return !l.has("$key") }
	case 5:
		return "BEFORE " + on, func(l *letter) bool { return sameDay(l.internal) < d }
	case 6:
		return "ON " + on, func(l *letter) bool { return sameDay(l.internal) == d }
	case 7:
		return "SINCE " + on, func(l *letter) bool { return sameDay(l.internal) >= d }
	case 8:
		return "SENTBEFORE " + on, func(l *letter) bool { return !l.sent.IsZero() && sameDay(l.sent) < d }
	case 9:
		return "SENTON " + on, func(l *letter) bool { return !l.sent.IsZero() && sameDay(l.sent) == d }
	case 10:
		return "SENTSINCE " + on, func(l *letter) bool { return !l.sent.IsZero() && sameDay(l.sent) >= d }
	case 11:
		size := 90 + r.IntN(80)
		if r.IntN(2) == 0 {
			return fmt.Sprint("LARGER ", size), func(l *letter) bool { return l.size > size }
		}
		return fmt.Sprint("SMALLER ", size), func(l *letter) bool { return l.size < size }
	case 12:
		return "SUBJECT " + quoted, func(l *letter) bool { return contains(l.subject) }
	case 13:
		return "FROM " + quoted, func(l *letter) bool { return contains(l.from) }
	case 14:
		return "HEADER X-ODD " + quoted, func(l *letter) bool { return contains(l.custom) }
	case 15:
		return "BODY " + quoted, func(l *letter) bool { return contains(l.body) }
	case 16:
		return "TEXT " + quoted, func(l *letter) bool { return contains(l.body) || strings.Contains(l.header, low) }
	case 17:
		a, b := 1+r.IntN(n), 1+r.IntN(n)
		if r.IntN(2) == 0 {
			return fmt.Sprintf("%d:%d", a, b), func(l *letter) bool { return min(a, b) <= l.seq && l.seq <= max(a, b) }
		}
		return fmt.Sprintf("UID %d:*", a), func(l *letter) bool { return l.uid >= a }
	case 18:
		key, f := randomKey(r, n, depth-1)
		return "NOT " + key, func(l *letter) bool { return !f(l) }
	case 19:
		a, f := randomKey(r, n, depth-1)
		b, g := randomKey(r, n, depth-1)
		return "OR " + a + " " + b, func(l *letter) bool { return f(l) || g(l) }
	case 20:
		a, f := randomKey(r, n, depth-1)
		b, g := randomKey(r, n, depth-1)
		return "(" + a + " " + b + ")", func(l *letter) bool { return f(l) && g(l) }
	default:
		return "HEADER X-ODD \"\"", func(l *letter) bool { return l.custom != "" }
	}
}

// TestSearchAgainstNaive compares random searches with a plain evaluation of the
// same keys.
func TestSearchAgainstNaive(t *testing.T) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) {
			ts := newServer(t, open(t))
			r := rand.New(rand.NewPCG(1, 2))
			var letters []letter
			var arrivals []store.Arrival
			const n = 300 // more than a batch
			for i := range n {
				l, a := randomLetter(r, ts)
				l.uid, l.seq = i+1, i+1
				letters, arrivals = append(letters, l), append(arrivals, a)
			}
			ts.deliver(t, arrivals...)
			c := ts.session(t)
			must(t, c, "SELECT INBOX")
			for range 400 {
				key, means := randomKey(r, n, 3)
				if r.IntN(2) == 0 {
					more, also := randomKey(r, n, 2)
					first := means
					key, means = key+" "+more, func(l *letter) bool { return first(l) && also(l) }
				}
				want := []string{}
				for i := range letters {
					if means(&letters[i]) {
						want = append(want, strconv.Itoa(letters[i].seq))
					}
				}
				reply := must(t, c, "SEARCH %s", key)
				got := strings.Fields(string(reply.Untagged[0]))[2:]
				if !slices.Equal(got, want) {
					t.Fatalf("SEARCH %s:\n got %v\nwant %v", key, got, want)
				}
			}
		})
	}
}

// TestSearchEndsWithClient shows that a search does not go on for a client that is
// gone.
func TestSearchEndsWithClient(t *testing.T) {
	ts := newServer(t, slowEngine{engines["memory"](t), 10 * time.Millisecond})
	var arrivals []store.Arrival
	for i := range 2000 {
		arrivals = append(arrivals, ts.note(i))
	}
	ts.deliver(t, arrivals...)
	ts.listen(t)
	conn, err := ts.dial("")
	if err != nil {
		t.Fatal(err)
	}
	c, err := imapview.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	must(t, c, "LOGIN alice secret")
	must(t, c, "SELECT INBOX")
	c.Send("SEARCH BODY nothing")
	conn.(*net.TCPConn).Close()
	end := time.Now().Add(patience)
	for len(ts.service.Conns()) > 0 {
		if time.Now().After(end) {
			t.Fatal("the session is still there")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestSearchTime: a search that takes too long is ended, and the session goes on.
func TestSearchTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newServer(t, slowEngine{memory.New(), time.Second})
		if err := ts.set("MaxCommandTime", "00:00:30"); err != nil {
			t.Fatal(err)
		}
		var arrivals []store.Arrival
		for i := range 300 {
			arrivals = append(arrivals, ts.note(i))
		}
		ts.deliver(t, arrivals...)
		conn, done := ts.pipe()
		r := bufio.NewReader(conn)
		line(t, r)
		began := time.Now()
		for _, c := range []struct{ command, answer string }{
			{"a1 LOGIN alice secret", "a1 OK "}, {"a2 SELECT INBOX", "a2 OK "},
			{"a3 SEARCH BODY nothing", "a3 NO [LIMIT] The search takes too long"}, {"a4 NOOP", "a4 OK "}, {"a5 LOGOUT", "a5 OK "},
		} {
			say(t, conn, c.command+"\r\n")
			for {
				if got := line(t, r); strings.HasPrefix(got, c.answer) {
					break
				} else if !strings.HasPrefix(got, "* ") {
					t.Fatalf("%s: %q", c.command, got)
				}
			}
		}
		if took := time.Since(began); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("ended after %v", took)
		}
		conn.Close()
		<-done
	})
}

// slowEngine takes its time for every text.
type slowEngine struct {
	store.Engine
	pause time.Duration
}

func (e slowEngine) Texts(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	return e.Engine.Texts(ctx, id, ids, func(i int, text []byte) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(e.pause):
		}
		return each(i, text)
	})
}

// TestSearchBounds: keys are neither nested without end nor without number.
func TestSearchBounds(t *testing.T) {
	for _, c := range []struct {
		arguments string
		ok        bool
	}{
		{strings.Repeat("NOT ", 49) + "ALL", true}, {strings.Repeat("NOT ", 50) + "ALL", false},
		{strings.Repeat("(", 48) + "ALL" + strings.Repeat(")", 48), true}, {strings.Repeat("(", 51) + "ALL" + strings.Repeat(")", 51), false},
		{strings.Repeat("OR ", 49) + "ALL" + strings.Repeat(" ALL", 49), true}, {strings.Repeat("OR ALL ", 10_000) + "ALL", false},
		{"ALL" + strings.Repeat(" ALL", 499), true}, {"ALL" + strings.Repeat(" ALL", 500), false},
	} {
		d := decoderOf(t, " "+c.arguments+"\r\n")
		d.SetLimits(wire.Limits{Line: 1 << 20, Depth: 50, Atoms: 1 << 20})
		_, _, err := readSearch(d, nil)
		if (err == nil) != c.ok || err != nil && mail.KindOf(err) != mail.KindLimit {
			t.Errorf("%.40s… of %d bytes: %v", c.arguments, len(c.arguments), err)
		}
	}
}

func FuzzSearchArguments(f *testing.F) {
	for _, seed := range []string{
		"ALL", "OR (SEEN 1:*) NOT UID $", "RETURN (MIN SAVE) CHARSET UTF-8 SUBJECT {3+}\r\nabc",
		"RETURN (RELEVANCY) FUZZY (SUBJECT a NOT FUZZY BODY b)", "RETURN (PARTIAL -1:-5 UPDATE CONTEXT) OLDER 5 YOUNGER 9",
		"FILTER x", `MODSEQ "/flags/\\draft" all 5`, "HEADER a b LARGER 5 SINCE 1-Jan-2020", "EMAILID M1 THREADID T", "UIDAFTER 5 OR UIDBEFORE 4294967295 UIDAFTER 4294967295",
		`OR ANNOTATION /comment value "x" NOT ANNOTATION "/1/*" value.priv NIL`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arguments string) {
		d := decoderOf(t, " "+arguments+"\r\n")
		q, _, err := readSearch(d, nil)
		if err == nil && q.key == nil {
			t.Error("no fault and no key")
		}
	})
}
