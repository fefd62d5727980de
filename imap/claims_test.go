package imap

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// TestCommandMemory: LIST, THREAD and SORT that need more than MaxCommandMemory are
// refused, and what a command held is given back, however it ended.
func TestCommandMemory(t *testing.T) {
	ts := newServer(t, memory.New())
	ts.listen(t)
	var arrivals []store.Arrival
	for i := range 200 {
		var references strings.Builder
		for n := range 100 {
			fmt.Fprintf(&references, " <%d.%d@example.org>", i, n)
		}
		arrivals = append(arrivals, store.Arrival{Prepared: ts.Store.Prepare(fmt.Appendf(nil, "Subject: %d\r\nReferences:%s\r\n\r\nx\r\n", i, references.String()))})
	}
	ts.deliver(t, arrivals...)
	conn, err := ts.dial("")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := newClient(t, conn)
	c.must("LOGIN alice secret")
	for i := range 200 {
		c.must(fmt.Sprintf("SUBSCRIBE %d%s", i, strings.Repeat("/x", 49)))
	}
	c.must("SELECT INBOX")
	for _, command := range []string{`LSUB "" %`, `LIST (SUBSCRIBED) "" %`, "THREAD REFERENCES UTF-8 ALL", "UID THREAD REFS UTF-8 ALL"} {
		if err := ts.set("MaxCommandMemory", "512MB"); err != nil {
			t.Fatal(err)
		}
		c.must(command)
		if err := ts.set("MaxCommandMemory", "1MB"); err != nil {
			t.Fatal(err)
		}
		if answer := c.do(command); !strings.HasPrefix(answer, "NO [LIMIT] This takes more memory") {
			t.Errorf("%s: %s", command, answer)
		}
	}
	c.must("SORT (SUBJECT) UTF-8 ALL")
	c.must(`LIST "" %`)
	c.must("LOGOUT")
	ts.claims.mu.Lock()
	defer ts.claims.mu.Unlock()
	if ts.claims.all != 0 || len(ts.claims.of) != 0 {
		t.Errorf("%d bytes are still held", ts.claims.all)
	}
}

// TestClaims: a command waits for what others hold, and only when it has nothing itself;
// one user does not take what is there for another.
func TestClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 512 << 20
		st, err := store.Open(memory.New(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		server := &Server{Settings: func() *settings.Values { return settings.Defaults(settings.IMAP4, "") }}
		var accounts []*store.Account
		for range 3 {
			id, err := st.CreateAccount(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			a, err := st.Account(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			accounts = append(accounts, a)
		}
		of := func(n int) *session {
			return &session{visitor: visitor{ctx: t.Context(), server: server, account: accounts[n]}}
		}
		claim := func(s *session, n int64, want mail.Kind, wait time.Duration) {
			t.Helper()
			began := time.Now()
			err := s.claim(t.Context(), n)
			if (err == nil) != (want == 0) || err != nil && mail.KindOf(err) != want || time.Since(began) != wait {
				t.Errorf("%d bytes: %v after %v", n, err, time.Since(began))
			}
		}
		a, b, c, d := of(0), of(0), of(1), of(2)
		claim(a, most+1, mail.KindLimit, 0)
		claim(a, most-1, 0, 0)
		claim(a, 2, mail.KindLimit, 0)
		claim(b, 2, mail.KindUnavailable, claimWait) // a has it
		claim(c, most, 0, 0)                         // another user
		claim(d, 2, mail.KindUnavailable, claimWait) // all have what there is
		claim(d, 1, 0, 0)
		claim(d, 1, mail.KindUnavailable, 0) // it has some, and does not wait
		go func() {
			time.Sleep(time.Second)
			a.release()
		}()
		claim(b, 2, 0, time.Second)
		b.release()
		c.release()
		d.release()
		if server.claims.all != 0 || len(server.claims.of) != 0 {
			t.Errorf("%d bytes are still held", server.claims.all)
		}
	})
}

// TestFollowedResults: of how many runs the results are that a session follows is bounded.
func TestFollowedResults(t *testing.T) {
	s := sessionWith(t, []threadLetter{{id: "a"}})
	var said strings.Builder
	s.enc = wire.NewEncoder(&said)
	q, _, err := readSearch(decoderOf(t, " ALL\r\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	found := newFindings(s.mailbox.View())
	found.add(1)
	if s.follow(&request{tag: "a"}, q, found, nil) == nil {
		t.Error("a search is not followed")
	}
	s.contexts[0].results = make(mail.NumSet, maxFollowed)
	if s.follow(&request{tag: "b"}, q, found, nil) != nil {
		t.Error("too many results are followed")
	}
	if err := s.enc.Flush(); err != nil || said.String() != "* NO [NOUPDATE \"b\"] Too many results are followed.\r\n" {
		t.Errorf("%q, %v", said.String(), err)
	}
}
