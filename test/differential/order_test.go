package differential

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/dovecot"
	"github.com/postern-mail/postern/test/server"
)

// orders are what TestOrder asks of each mailbox.
var orders = []string{
	"SORT (ARRIVAL) UTF-8 ALL", "SORT (REVERSE DATE) UTF-8 ALL", "SORT (DATE) US-ASCII UNSEEN", "SORT (SIZE) UTF-8 ALL",
	"SORT (SUBJECT) UTF-8 ALL", "SORT (REVERSE SUBJECT DATE) UTF-8 ALL", "SORT (FROM) UTF-8 ALL", "SORT (TO REVERSE SIZE) UTF-8 ALL",
	"SORT (CC FROM) UTF-8 ALL", "SORT (DISPLAYFROM) UTF-8 ALL", "SORT (REVERSE DISPLAYTO) UTF-8 ALL", "UID SORT (SUBJECT) UTF-8 2:9",
	"SORT RETURN (MIN MAX COUNT) (SUBJECT) UTF-8 ALL", "SORT RETURN (ALL) (DATE) UTF-8 ALL", "UID SORT RETURN (PARTIAL 2:5) (FROM) UTF-8 ALL",
	"THREAD REFERENCES UTF-8 ALL", "UID THREAD REFERENCES UTF-8 UNSEEN", "THREAD REFS UTF-8 ALL", "THREAD ORDEREDSUBJECT UTF-8 ALL",
	"UID THREAD ORDEREDSUBJECT UTF-8 1:7",
}

// TestOrder has both servers sort and thread the same random mailboxes. In which order
// REFS gives the threads is not compared (refs-order in docs/differences.md).
func TestOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Postern and Dovecot")
	}
	accounts := []server.Account{{Name: "order@example.org", Password: "differential-pw"}}
	plain := map[string]any{"LoginType": "PlainTextLogin"}
	postern := server.Serve(t, server.Options{Accounts: accounts, Cmdlets: []server.Cmdlet{{Name: "Set-ImapSettings", Parameters: plain}}})
	peer := dovecot.Start(t, accounts, dovecot.Options{})
	ours := &player{t: t, account: accounts[0], imap: postern.IMAP, sessions: map[string]*talk{}}
	theirs := &player{t: t, account: accounts[0], imap: peer.IMAP, sessions: map[string]*talk{}}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		letters := letters(r)
		if seed >= 40 {
			odd(r, letters)
		}
		box := fmt.Sprint("order", seed)
		for _, p := range []*player{ours, theirs} {
			c := p.session("1")
			p.send(c, "c CREATE "+box+"\r\n")
			p.tagged(c, "c")
			for i, l := range letters {
				flags := ""
				if i%3 == 0 {
					flags = `\Seen`
				}
				p.send(c, fmt.Sprintf("a APPEND %s (%s) %q {%d+}\r\n%s\r\n", box, flags, l.arrived.Format("_2-Jan-2006 15:04:05 -0700"), len(l.text), l.text))
				if out := p.tagged(c, "a"); !strings.HasPrefix(out[len(out)-1], "a OK") {
					t.Fatalf("APPEND: %q\n%s", out, l.text)
				}
			}
			p.send(c, "s SELECT "+box+"\r\n")
			p.tagged(c, "s")
		}
		for _, order := range orders {
			var answers [2][]string
			for i, p := range []*player{ours, theirs} {
				c := p.session("1")
				p.send(c, "t "+order+"\r\n")
				answers[i] = p.tagged(c, "t")
				answers[i][0] = strings.TrimRight(answers[i][0], " ") // Dovecot's of no threads
				if strings.Contains(order, " REFS ") {
					answers[i][0] = anyOrder(answers[i][0])
				}
			}
			if !slices.Equal(answers[0], answers[1]) {
				t.Errorf("seed %d: %s\n%s", seed, order, difference(answers[0], answers[1]))
				for i, l := range letters {
					t.Logf("%d (%v):\n%s", i+1, l.arrived, l.text)
				}
				return
			}
		}
	}
}

// anyOrder gives a THREAD response with its threads in an order of their texts.
func anyOrder(response string) string {
	var threads []string
	depth, start := 0, 0
	for i, c := range response {
		switch c {
		case '(':
			if depth++; depth == 1 {
				start = i
			}
		case ')':
			if depth--; depth == 0 {
				threads = append(threads, response[start:i+1])
			}
		}
	}
	slices.Sort(threads)
	return "* THREAD" + strings.Join(threads, " ")
}

type letter struct {
	text    string
	arrived time.Time
}

// letters makes messages that answer each other, more or less.
func letters(r *rand.Rand) []letter {
	n := 1 + r.IntN(25)
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	id := func() string {
		return fmt.Sprintf("<%s%d@x>", pick("m", "m", "m", "M"), r.IntN(n+3))
	}
	begun := time.Date(2024, 2, 1, 12, 0, 0, 0, time.UTC)
	address := func() string {
		return pick("", "Zoe ", `"A. Nother" `, "=?utf-8?q?=C3=84rger?= ", "anna ") + "<" + pick("bob", "Bob", "alice", "zed", "a_b", "a-b") + "@" + pick("x.org", "Y.net") + ">"
	}
	var out []letter
	for range n {
		var b strings.Builder
		sent := begun.Add(time.Duration(r.IntN(3000)) * time.Minute)
		if r.IntN(12) > 0 {
			fmt.Fprintf(&b, "Date: %s\r\n", sent.In(time.FixedZone("", (r.IntN(25)-12)*3600)).Format(time.RFC1123Z))
		}
		if r.IntN(10) > 0 {
			fmt.Fprintf(&b, "Message-ID: %s\r\n", id())
		}
		fmt.Fprintf(&b, "From: %s\r\n", address())
		if r.IntN(3) > 0 {
			fmt.Fprintf(&b, "To: %s,\r\n %s\r\n", address(), address())
		}
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, "Cc: %s\r\n", address())
		}
		if r.IntN(8) > 0 {
			fmt.Fprintf(&b, "Subject: %s%s%s%d%s\r\n", pick("", "", "Re: ", "RE:", "Fwd: ", "re[2]: "), pick("", "", "[list] ", "[a][b] "),
				pick("lunch", "Lunch", "=?utf-8?q?=C3=A4pfel?= ", "_x", "zebra  crossing", "a\tb"), r.IntN(3), pick("", "", " (fwd)"))
		}
		if r.IntN(2) == 0 {
			b.WriteString("References:")
			for range 1 + r.IntN(3) {
				b.WriteString(" " + id())
			}
			b.WriteString("\r\n")
		}
		if r.IntN(4) == 0 {
			fmt.Fprintf(&b, "In-Reply-To: %s%s\r\n", pick("", "message of "), id())
		}
		fmt.Fprintf(&b, "\r\n%s\r\n", strings.Repeat("x", r.IntN(20)))
		out = append(out, letter{b.String(), begun.Add(time.Duration(r.IntN(5000)) * time.Minute)})
	}
	return out
}

// odd gives some letters a Date and addresses that are seldom or wrong.
func odd(r *rand.Rand, letters []letter) {
	pick := func(words []string) string { return words[r.IntN(len(words))] }
	for i := range letters {
		l := &letters[i]
		for _, field := range slices.Sorted(maps.Keys(oddFields)) {
			if r.IntN(2) == 0 {
				l.text = regexp.MustCompile("(?m)^"+field+": .*\r\n(?: .*\r\n)*").ReplaceAllLiteralString(l.text, field+": "+pick(oddFields[field])+"\r\n")
			}
		}
	}
}

// oddFields are values of header fields of which two servers may make different things, apart
// from those of odd-dates and odd-addresses in docs/differences.md.
var oddFields = map[string][]string{
	"Date": {
		"Mon, 5 Feb 24 10:00 GMT", "5 Feb 2024 11:00:00", "2024-02-05 14:00:00", "Mon, 5 Feb 2024 16:00:00 PST", "Mon, 5 Feb 2024 17:00:00 +0100 (CET)", "nonsense", "",
		"Fri, 31 Feb 2024 10:00:00 +0000", "Mon, 5 Feb 2024 10:00:60 +0000", "(a) 5 (b) Feb (c) 2024 19:00:00 +0000",
		"Mon,5 Feb 2024 20:00:00 +0000", "Mon, 5 Feb 2024 21:00:00 UTC", "Mon, 5 Feb 2024 22:00:00 Z", "Mon, 5 Feb 2024 10:00:00 -2400",
	},
	"From": oddAddresses, "To": oddAddresses, "Cc": oddAddresses,
}

var oddAddresses = []string{
	"bob@x.org", "<bob@x.org>", "\"Q uoted\"@x.org", "bob@x.org (Bob Comment)", "<@a.org,@b.org:bob@x.org>", "Group: bob@x.org, alice@x.org;", "undisclosed-recipients:;",
	"bob", "", "Zoe <zoe@x.org> trailing", "\"\" <anna@x.org>", "=?utf-8?q?=C3=84?= <x@y.org>", "=?utf-8?b?w4Q=?= =?utf-8?q?rger?= <y@y.org>",
	"Bob . B <bob@x.org>", "bob@[127.0.0.1]", "bob @ x.org", "bob.@x.org", "\"a\\\"b\" <z@x.org>", "=?x-unknown?q?=C4?= <u@x.org>", "(comment) only@x.org", "<a@b>, <c@d>", "Group:;, late@x.org",
}
