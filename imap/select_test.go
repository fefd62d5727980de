package imap

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// TestMatching checks what follows from seq-match-data (RFC 7162, 3.2.5.2): a
// client that knew UIDs 1 to 6, of which 3 is gone.
func TestMatching(t *testing.T) {
	ts := newServer(t, memory.New())
	account, err := ts.Store.Account(t.Context(), ts.alice)
	if err != nil {
		t.Fatal(err)
	}
	defer account.Close()
	p := ts.Store.Prepare([]byte("Subject: one\r\n\r\n"))
	for range 6 {
		if _, err := account.Append(t.Context(), "INBOX", store.Arrival{Prepared: p}); err != nil {
			t.Fatal(err)
		}
	}
	m, err := account.Select(t.Context(), "INBOX", false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, _, err := m.Remove(t.Context(), mail.NumSetOf(3)); err != nil {
		t.Fatal(err)
	}
	m.Poll(true)
	set := func(nums ...uint32) mail.NumSet { return mail.NumSetOf(nums...) }
	all := mail.NumSet{{First: 1, Last: mail.MaxNum}}
	for _, c := range []struct {
		seqs, uids mail.NumSet
		want       uint32
	}{
		{nil, nil, 0},
		{set(1, 2), set(1, 2), 2},
		{set(2, 4, 6), set(2, 4, 6), 2},
		{set(3), set(3), 0},
		{set(5, 6), set(6, 7), 6},
		{all, all, 2},
		{set(1000), set(1), 0},
	} {
		q := &resync{matchSeqs: c.seqs, matchUIDs: c.uids}
		if got := q.matching(m.View()); got != c.want {
			t.Errorf("seqs %v, uids %v: %d, not %d", c.seqs, c.uids, got, c.want)
		}
	}
}

// TestFullKeywordTable: when no further keyword fits PERMANENTFLAGS says so (RFC
// 3501, 7.1).
func TestFullKeywordTable(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	conn, err := ts.dial("")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := newClient(t, conn)
	c.must("LOGIN alice secret")
	for first := 0; first < mail.MaxKeywords; first += 28 {
		var names []string
		for i := range 28 {
			names = append(names, fmt.Sprintf("k%d", first+i))
		}
		c.must("APPEND INBOX ("+strings.Join(names, " ")+") {14}", "Subject: one\r\n\r\n")
	}
	c.must("SELECT INBOX")
	for _, line := range c.lines {
		if strings.HasPrefix(line, "* OK [PERMANENTFLAGS ") && (strings.Contains(line, `\*`) || !strings.Contains(line, " k55)")) {
			t.Error(line)
		}
	}
	if a := c.do("APPEND INBOX (another) {14}", "Subject: one\r\n\r\n"); !strings.HasPrefix(a, "NO [LIMIT]") {
		t.Errorf("a further keyword: %s", a)
	}
}
