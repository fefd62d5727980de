package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
	"github.com/postern-mail/postern/store/memory"
)

var ctx = context.Background()

// everyEngine runs a test on each engine: the rules are the same on all.
func everyEngine(t *testing.T, test func(t *testing.T, e store.Engine)) {
	t.Run("memory", func(t *testing.T) { test(t, memory.New()) })
	t.Run("embedded", func(t *testing.T) {
		e, err := embedded.Open(t.TempDir(), embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		test(t, e)
	})
}

func open(t *testing.T, e store.Engine) (*store.Store, *store.Account) {
	t.Helper()
	s, err := store.Open(e, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	id, err := s.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s, account(t, s, id)
}

func account(t *testing.T, s *store.Store, id mail.AccountID) *store.Account {
	t.Helper()
	a, err := s.Account(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func put(t *testing.T, s *store.Store, a *store.Account, mailbox string, n int, flags mail.Flags, keywords ...string) store.Appended {
	t.Helper()
	var arrivals []store.Arrival
	for i := range n {
		p := s.Prepare(fmt.Appendf(nil, "Message-ID: <%d@x>\r\nSubject: %d\r\n\r\nhello\r\n", i, i))
		arrivals = append(arrivals, store.Arrival{Prepared: p, Flags: flags, Keywords: keywords})
	}
	out, err := a.Append(ctx, mailbox, arrivals...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sel(t *testing.T, a *store.Account, name string) *store.Mailbox {
	t.Helper()
	m, err := a.Select(ctx, name, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func kind(t *testing.T, err error, want mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != want {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func all() mail.NumSet { return mail.NumSet{{First: 1, Last: mail.MaxNum}} }

func TestAppendAndSelect(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		_, err := a.Append(ctx, "nowhere", store.Arrival{Prepared: s.Prepare([]byte("x"))})
		kind(t, err, mail.KindNotFound)
		put(t, s, a, "INBOX", 3, mail.Seen, "$Work", "later")
		m := sel(t, a, "INBOX")
		if m.View().Len() != 3 || m.RecentCount() != 3 {
			t.Fatal(m.View().Len(), m.RecentCount())
		}
		if got := m.View().At(2); string(got.Flags.AppendText(nil, m.Record().Keywords)) != `\Seen $Work later` || got.UID != 2 {
			t.Fatal(got)
		}
		other := sel(t, a, "INBOX")
		if other.RecentCount() != 0 {
			t.Fatal("\\Recent told twice")
		}
		put(t, s, a, "INBOX", 1, 0)
		for i, x := range []*store.Mailbox{m, other} {
			told := make(chan struct{}, 2)
			x.OnChange(func() { told <- struct{}{} })
			select {
			case <-told:
			case <-time.After(30 * time.Second):
				t.Fatal("not told")
			}
			c := x.Poll(false)
			x.OnChange(func() { t.Error("told twice") })
			x.OnChange(nil)
			if !c.Exists || c.Recent != (i == 0) || x.View().Len() != 4 {
				t.Fatal(i, c)
			}
		}
		r, _ := a.Mailbox("INBOX")
		if r.Messages != 4 || r.Unseen != 1 || r.UIDNext != 5 {
			t.Fatal(r)
		}
		if u := a.Usage(); u.Messages != 4 || u.Bytes != r.Bytes || u.Bytes == 0 {
			t.Fatal(u, r)
		}
	})
}

func TestFlags(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		put(t, s, a, "INBOX", 5, 0)
		m, other := sel(t, a, "INBOX"), sel(t, a, "INBOX")
		got, err := m.StoreFlags(ctx, mail.UIDSet(2, 4, 9), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Flagged, Keywords: []string{"A"}}, nil)
		if err != nil || got.Changed.String() != "2,4" {
			t.Fatal(got, err)
		}
		c := other.Poll(false)
		if !slices.Equal(c.Changed, []uint32{2, 4}) || !c.Keywords {
			t.Fatal(c)
		}
		if m := other.View().At(2); m.ModSeq != got.ModSeq || m.Flags != mail.Flagged|mail.Keyword(0) {
			t.Fatal(*m)
		}
		before := got.ModSeq - 1
		got, err = m.StoreFlags(ctx, all(), store.FlagChange{Op: store.FlagsSet, Flags: mail.Seen}, &before)
		if err != nil || got.Failed.String() != "2,4" || got.Changed.String() != "1,3,5" {
			t.Fatal(got, err)
		}
		again, err := m.StoreFlags(ctx, mail.UIDSet(1), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}, nil)
		if err != nil || again.ModSeq != 0 || len(again.Changed) != 0 {
			t.Fatal("a change of nothing has no MODSEQ:", again, err)
		}
		r, _ := a.Mailbox("INBOX")
		if r.Unseen != 2 {
			t.Fatal(r)
		}
		var many []string
		for i := range mail.MaxKeywords {
			many = append(many, fmt.Sprintf("k%d", i))
		}
		_, err = m.StoreFlags(ctx, mail.UIDSet(1), store.FlagChange{Op: store.FlagsAdd, Keywords: many}, nil)
		kind(t, err, mail.KindLimit)
	})
}

func TestExpungeIsTold(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		put(t, s, a, "INBOX", 6, mail.Deleted)
		m, other := sel(t, a, "INBOX"), sel(t, a, "INBOX")
		set := mail.UIDSet(2, 3, 6)
		gone, seq, err := m.Expunge(ctx, &set)
		if err != nil || gone.String() != "2:3,6" || seq == 0 {
			t.Fatal(gone, err)
		}
		if c := other.Poll(false); len(c.Expunged) != 0 || other.View().Len() != 6 || !other.View().At(2).Gone {
			t.Fatal(c)
		}
		put(t, s, a, "INBOX", 1, 0)
		if c := other.Poll(false); !c.Exists || other.View().Len() != 7 || other.View().At(7).UID != 7 {
			t.Fatal(c)
		}
		c := other.Poll(true)
		if !slices.Equal(c.Expunged, []uint32{6, 3, 2}) || c.Vanished.String() != "2:3,6" || other.View().Len() != 4 {
			t.Fatal(c)
		}
		v, err := other.Vanished(ctx, seq-1)
		if err != nil || v.String() != "2:3,6" {
			t.Fatal(v, err)
		}
		if v, _ := other.Vanished(ctx, seq); len(v) != 0 {
			t.Fatal(v)
		}
	})
}

func TestCopyAndMove(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		up := put(t, s, a, "INBOX", 3, mail.Seen, "X", "Y")
		put(t, s, a, "Trash", 1, 0, "Y")
		m := sel(t, a, "INBOX")
		_, err := m.Copy(ctx, all(), "nowhere")
		kind(t, err, mail.KindNotFound)
		c, err := m.Copy(ctx, mail.UIDSet(1, 3), "Trash")
		if err != nil || !slices.Equal(c.From, []mail.UID{1, 3}) || !slices.Equal(c.To, []mail.UID{2, 3}) {
			t.Fatal(c, err)
		}
		c, err = m.Move(ctx, mail.UIDSet(1), "Archive")
		if err != nil || len(c.To) != 1 {
			t.Fatal(c, err)
		}
		trash, archive := sel(t, a, "Trash"), sel(t, a, "Archive")
		got := trash.View().At(2)
		if got.Email != up.Emails[0] || string(got.Flags.AppendText(nil, trash.Record().Keywords)) != `\Seen Y X` {
			t.Fatal(*got, trash.Record().Keywords)
		}
		// The body lives as long as one mailbox has it.
		if err := a.DeleteMailbox(ctx, "Trash"); err != nil {
			t.Fatal(err)
		}
		body, err := archive.Body(ctx, up.Emails[0])
		if err != nil {
			t.Fatal(err)
		}
		body.Close()
		if _, _, err := archive.Remove(ctx, all()); err != nil {
			t.Fatal(err)
		}
		if _, err = archive.Body(ctx, up.Emails[0]); err == nil {
			t.Fatal("the last reference is gone, the body is not")
		}
		if !trash.Poll(true).Deleted {
			t.Fatal("a session of a deleted mailbox must learn it")
		}
		_, err = trash.StoreFlags(ctx, all(), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}, nil)
		kind(t, err, mail.KindNotFound)
		// Within one mailbox.
		c, err = m.Move(ctx, mail.UIDSet(2), "INBOX")
		if err != nil || len(c.To) != 1 {
			t.Fatal(c, err)
		}
		ch := m.Poll(true)
		if m.View().Len() != 2 || len(ch.Expunged) != 2 {
			t.Fatal(ch, m.View().Len())
		}
		if u := a.Usage(); u.Messages != 2 {
			t.Fatal(u)
		}
	})
}

func TestNames(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		for _, bad := range []string{"", "a//b", "/a", "a/", "a\x00", "a*", "%", "#news", " a", "a\u202e", "\xff", string(make([]byte, 2000))} {
			if _, err := store.CleanName(bad); err == nil {
				t.Errorf("%q", bad)
			}
		}
		for in, want := range map[string]string{"inbox": "INBOX", "Inbox/x": "INBOX/x", "A\u0308": "Ä", "inboxes": "inboxes", "..": ".."} {
			if got, err := store.CleanName(in); err != nil || got != want {
				t.Errorf("%q: %q %v", in, got, err)
			}
		}
		deep := strings.Repeat("a/", 49) + "a"
		for _, c := range []struct {
			name string
			ok   bool
		}{
			{deep, true}, {deep + "/a", false},
			{strings.Repeat("x", 1000), true}, {strings.Repeat("x", 1001), false},
			{strings.Repeat("a\u0344", 250), true}, {strings.Repeat("a\u0344", 251), false}, // NFC makes it longer
			{"a/../b", true}, {"../../etc/passwd", true}, {"C:\\x", true}, // keys, never paths
			{"a\x7f", false}, {"a\r", false}, {"a\n", false}, {"a\u0085", false}, {"a\u2028", false}, {"\u200fa", false},
			{"a\u2066b", false}, {"\u061c", false}, {"a/ b", false}, {"a /b", false}, {"\u00a0a", false}, {"#user/x", false},
		} {
			got, err := store.CleanName(c.name)
			if (err == nil) != c.ok {
				t.Errorf("%.40q: %v", c.name, err)
			}
			if err == nil {
				if again, err := store.CleanName(got); again != got || err != nil {
					t.Errorf("%.40q is not clean: %v", got, err)
				}
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		// What a new name makes of the mailboxes below is checked too.
		_, err := a.CreateMailbox(ctx, "long/"+strings.Repeat("x", 990), "")
		must(err)
		kind(t, a.RenameMailbox(ctx, "long", "longer-than-it-was"), mail.KindCannot)
		_, err = a.CreateMailbox(ctx, "deep/"+strings.Repeat("a/", 48)+"a", "")
		must(err)
		kind(t, a.RenameMailbox(ctx, "deep", "deep/er"), mail.KindCannot)
		kind(t, a.RenameMailbox(ctx, "deep", "more/deep"), mail.KindCannot)
		first, err := a.CreateMailbox(ctx, "a/b/c", "")
		must(err)
		_, err = a.CreateMailbox(ctx, "a/b/c", "")
		kind(t, err, mail.KindAlreadyExists)
		_, err = a.CreateMailbox(ctx, "S", `\Sent`)
		kind(t, err, mail.KindCannot)
		kind(t, a.DeleteMailbox(ctx, "a"), mail.KindHasChildren)
		kind(t, a.DeleteMailbox(ctx, "INBOX"), mail.KindCannot)
		kind(t, a.DeleteMailbox(ctx, "zz"), mail.KindNotFound)
		must(a.RenameMailbox(ctx, "a", "n"))
		r, ok := a.Mailbox("n/b/c")
		if !ok || r.ID != first.ID || r.UIDValidity != first.UIDValidity {
			t.Fatal(r, ok)
		}
		kind(t, a.RenameMailbox(ctx, "n", "n/x"), mail.KindCannot)
		kind(t, a.RenameMailbox(ctx, "n/b/c", "Trash"), mail.KindAlreadyExists)
		must(a.DeleteMailbox(ctx, "n/b/c"))
		again, err := a.CreateMailbox(ctx, "n/b/c", "")
		must(err)
		if again.UIDValidity <= first.UIDValidity || again.ID == first.ID {
			t.Fatal("UIDVALIDITY must grow")
		}
		put(t, s, a, "INBOX", 3, mail.Seen, "k")
		must(a.RenameMailbox(ctx, "INBOX", "old"))
		in, _ := a.Mailbox("INBOX")
		old, _ := a.Mailbox("old")
		if in.Messages != 0 || in.UIDNext != 4 || old.Messages != 3 || a.Usage().Messages != 3 {
			t.Fatal(in, old)
		}
		must(a.Subscribe(ctx, "no/such"))
		must(a.Unsubscribe(ctx, "Sent"))
		if got := a.Subscriptions(); !slices.Contains(got, "no/such") || slices.Contains(got, "Sent") {
			t.Fatal(got)
		}
	})
}

func TestQuota(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		p := s.Prepare(make([]byte, 100))
		if err := a.SetQuota(ctx, 250, 0); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: p}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: p})
		kind(t, err, mail.KindOverQuota)
		m := sel(t, a, "INBOX")
		_, err = m.Copy(ctx, all(), "Trash")
		kind(t, err, mail.KindOverQuota)
		if _, err := m.Move(ctx, all(), "Trash"); err != nil {
			t.Fatal("a move takes no more room:", err)
		}
		if err := a.SetQuota(ctx, 0, 2); err != nil {
			t.Fatal(err)
		}
		_, err = a.Append(ctx, "INBOX", store.Arrival{Prepared: p})
		kind(t, err, mail.KindOverQuota)
	})
}

func TestThreads(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		add := func(header string) mail.ThreadID {
			t.Helper()
			out, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: s.Prepare([]byte(header + "\r\n\r\nx\r\n"))})
			if err != nil {
				t.Fatal(err)
			}
			m, err := a.Select(ctx, "INBOX", true)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			seq, _ := m.View().Seq(out.UIDs[0])
			return m.View().At(seq).Thread
		}
		one := add("Message-ID: <1@x>")
		if add("Message-ID: <2@x>\r\nIn-Reply-To: <1@x>") != one || add("Message-ID: <3@x>\r\nReferences: <0@x> <2@x>") != one {
			t.Fatal("answers belong to the conversation")
		}
		if add("Message-ID: <9@x>") == one || add("Subject: none") == one {
			t.Fatal("others do not")
		}
		// The parent arrives last.
		if late := add("Message-ID: <b@x>\r\nReferences: <a@x>"); add("Message-ID: <a@x>") != late {
			t.Fatal("a parent that comes late joins its answers")
		}
	})
}

// TestTwoServers runs two stores over one engine, as two servers over one
// database, and checks that neither loses the other's changes and both sessions
// end up with the same view.
func TestTwoServers(t *testing.T) {
	shared := memory.New()
	s1, err := store.Open(shared.Server(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s2, err := store.Open(shared.Server(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s1.Close()
	defer s2.Close()
	id, err := s1.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stores := []*store.Store{s1, s2}
	boxes := make([]*store.Mailbox, 2)
	for i, s := range stores {
		a, err := s.Account(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if boxes[i], err = a.Select(ctx, "INBOX", false); err != nil {
			t.Fatal(err)
		}
		defer boxes[i].Close()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 200 {
				var err error
				switch r.IntN(4) {
				case 0, 1:
					_, err = a.Append(ctx, "INBOX", store.Arrival{Prepared: s.Prepare([]byte("x"))})
				case 2:
					_, err = boxes[i].StoreFlags(ctx, mail.UIDSet(mail.UID(r.IntN(100)+1)), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Flagged}, nil)
				case 3:
					_, _, err = boxes[i].Remove(ctx, mail.UIDSet(mail.UID(r.IntN(100)+1)))
				}
				if err != nil {
					t.Error(err)
				}
				boxes[i].Poll(r.IntN(2) == 0)
			}
		})
	}
	wg.Wait()
	deadline := time.Now().Add(30 * time.Second)
	for {
		boxes[0].Poll(true)
		boxes[1].Poll(true)
		var views [2][]store.Message
		for i, b := range boxes {
			b.View().EachSeq(b.View().All(), func(_ uint32, m *store.Message) bool {
				views[i] = append(views[i], *m)
				return true
			})
		}
		if len(views[0]) > 0 && slices.Equal(views[0], views[1]) && boxes[0].Record().Messages == uint32(len(views[0])) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the views stay different:", len(views[0]), len(views[1]))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestRemoveAccount(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		m := sel(t, a, "INBOX")
		if err := s.RemoveAccount(ctx, a.ID()); err != nil {
			t.Fatal(err)
		}
		if !m.Poll(true).Deleted {
			t.Fatal("the session was not told")
		}
		_, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: s.Prepare([]byte("x"))})
		kind(t, err, mail.KindNotFound)
		_, err = s.Account(ctx, a.ID())
		kind(t, err, mail.KindNotFound)
		kind(t, s.RemoveAccount(ctx, a.ID()), mail.KindNotFound)
	})
}

func TestReserve(t *testing.T) {
	s, err := store.Open(memory.New(), store.Options{MaxMessage: 100, Memory: 150})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Reserve(ctx, 101)
	kind(t, err, mail.KindTooBig)
	release, err := s.Reserve(ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, err = s.Reserve(short, 100)
	kind(t, err, mail.KindUnavailable)
	release()
	release()
	if _, err := s.Reserve(ctx, 100); err != nil {
		t.Fatal(err)
	}
}

// TestFailedWait: what was not made durable is neither acknowledged nor shown.
func TestFailedWait(t *testing.T) {
	bad := &deaf{Engine: memory.New()}
	s, a := open(t, bad)
	m := sel(t, a, "INBOX")
	bad.err = mail.Wrap(mail.KindUnavailable, errors.New("disk on fire"))
	_, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: s.Prepare([]byte("x"))})
	kind(t, err, mail.KindUnavailable)
	if c := m.Poll(true); c.Exists || m.View().Len() != 0 {
		t.Fatal("told of what may be lost")
	}
	if r, _ := a.Mailbox("INBOX"); r.Messages != 0 {
		t.Fatal(r)
	}
	_, err = a.Select(ctx, "INBOX", false)
	kind(t, err, mail.KindUnavailable)
}

// deaf is an engine whose waits fail.
type deaf struct {
	store.Engine
	err error
}

func (d *deaf) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	wait, err := d.Engine.Commit(ctx, b)
	if err != nil {
		return nil, err
	}
	return func() error {
		if d.err != nil {
			return d.err
		}
		return wait()
	}, nil
}

func TestReplace(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		put(t, s, a, "Drafts", 2, mail.Draft)
		m := sel(t, a, "Drafts")
		defer m.Close()
		before := a.Usage()
		arrival := store.Arrival{Prepared: s.Prepare([]byte("Message-ID: <1@x>\r\n\r\nanother\r\n")), Flags: mail.Seen}
		out, err := m.Replace(ctx, 1, a.Own(), "Drafts", arrival)
		if err != nil || len(out.UIDs) != 1 || out.UIDs[0] != 3 {
			t.Fatal(out, err)
		}
		c := m.Poll(true)
		if !c.Exists || len(c.Expunged) != 1 || m.View().Len() != 2 || m.View().At(2).ModSeq != out.ModSeq || m.Record().HighestModSeq != out.ModSeq {
			t.Errorf("%+v, %d messages", c, m.View().Len())
		}
		if use := a.Usage(); use.Messages != before.Messages || use.Bytes >= before.Bytes {
			t.Errorf("%+v, before %+v", use, before)
		}
		if _, err := m.Replace(ctx, 1, a.Own(), "Drafts", arrival); err == nil || mail.KindOf(err) != mail.KindExpunged {
			t.Error("of a message that is gone:", err)
		}
		if _, err := m.Replace(ctx, 2, a.Own(), "nowhere", arrival); err == nil || mail.KindOf(err) != mail.KindNotFound {
			t.Error("into no mailbox:", err)
		}
		if _, err := m.Replace(ctx, 2, a.Own(), "Sent", arrival); err != nil {
			t.Error(err)
		}
		m.Poll(true)
		if r, _ := a.Mailbox("Sent"); r.Messages != 1 || m.View().Len() != 1 {
			t.Error(r.Messages, m.View().Len())
		}
	})
}
