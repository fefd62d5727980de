package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// spoiling is an engine of which parts are damaged on purpose.
type spoiling struct {
	store.Engine
	mu      sync.Mutex
	bodies  map[mail.EmailID]bool
	content map[string]map[mail.EmailID]bool // summaries, texts, filters
	indexes map[mail.MailboxID][]mail.UID    // what of them cannot be read
}

func newSpoiling() *spoiling {
	return &spoiling{Engine: memory.New(), bodies: map[mail.EmailID]bool{}, content: map[string]map[mail.EmailID]bool{}, indexes: map[mail.MailboxID][]mail.UID{}}
}

var errSpoiled = mail.Errorf(mail.KindCorrupt, "The file 000007.blob of the mail store is damaged.")

func (e *spoiling) Body(ctx context.Context, id mail.AccountID, m mail.EmailID) (store.Body, error) {
	if e.bodies[m] {
		return nil, errSpoiled
	}
	return e.Engine.Body(ctx, id, m)
}

func (e *spoiling) spoiled(part string, ids []mail.EmailID) error {
	for _, m := range ids {
		if e.content[part][m] {
			return errSpoiled
		}
	}
	return nil
}

func (e *spoiling) Summaries(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	if err := e.spoiled("summary", ids); err != nil {
		return err
	}
	return e.Engine.Summaries(ctx, id, ids, each)
}

func (e *spoiling) Texts(ctx context.Context, id mail.AccountID, ids []mail.EmailID, each func(int, []byte) error) error {
	if err := e.spoiled("text", ids); err != nil {
		return err
	}
	return e.Engine.Texts(ctx, id, ids, each)
}

func (e *spoiling) Messages(ctx context.Context, id mail.AccountID, m mail.MailboxID, since mail.ModSeq) ([]store.Message, error) {
	list, err := e.Engine.Messages(ctx, id, m, since)
	if gone := e.indexes[m]; len(gone) > 0 && err == nil {
		list = slices.DeleteFunc(list, func(x store.Message) bool { return slices.Contains(gone, x.UID) })
		err = mail.Errorf(mail.KindCorrupt, "the index is damaged in the store")
	}
	return list, err
}

// Commit makes what is written anew whole.
func (e *spoiling) Commit(ctx context.Context, b *store.Batch) (func() error, error) {
	wait, err := e.Engine.Commit(ctx, b)
	if err == nil {
		for _, x := range b.Rewritten {
			if x.Summary != nil {
				delete(e.content["summary"], x.ID)
			}
			if x.Text != nil {
				delete(e.content["text"], x.ID)
			}
		}
	}
	return wait, err
}

// damages gives what Verify finds, in short.
func damages(t *testing.T, s *store.Store, id mail.AccountID) (found []string) {
	t.Helper()
	done := 0
	v, err := s.Verify(ctx, id, func(d store.Damage) error {
		found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s %d", d.Part, d.Mailbox, d.UID)))
		return nil
	}, func(n, all int) { done = n })
	if err != nil {
		t.Fatal(err)
	}
	if all := v.Messages + v.Recoverable; all > 0 && done != all {
		t.Errorf("told of %d messages of %d", done, all)
	}
	slices.Sort(found)
	return found
}

// letters puts n messages with a conversation into a mailbox.
func letters(t *testing.T, s *store.Store, a *store.Account, box string, n int) {
	t.Helper()
	for i := range n {
		text := fmt.Sprintf("Message-ID: <%s%d@x>\r\nDate: Mon, 2 Jan 2006 15:04:05 +0000\r\nReferences: <%s%d@x>\r\nSubject: letter %d\r\n\r\nText %d of a letter.\r\n", box, i, box, i-1, i, i)
		if _, err := a.Append(ctx, box, store.Arrival{Prepared: s.Prepare([]byte(text)), Flags: mail.Flags(i % 2 * int(mail.Seen)), Keywords: []string{"letter"}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVerifyWhole: an account that was used in all ways has no damage.
func TestVerifyWhole(t *testing.T) {
	e := memory.New()
	s, a := open(t, e)
	letters(t, s, a, "INBOX", 20)
	letters(t, s, a, "Archive", 5)
	m := sel(t, a, "INBOX")
	for _, err := range []error{
		second(m.Copy(ctx, mail.UIDSet(1, 2, 3), "Archive")),
		second(m.Move(ctx, mail.UIDSet(4, 5), "Sent")),
		second(m.StoreFlags(ctx, mail.UIDSet(6), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted, Keywords: []string{"k"}}, nil)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if found := damages(t, s, a.ID()); len(found) > 0 {
		t.Fatal(found)
	}
	if done, err := s.Repair(ctx, a.ID(), nil); err != nil || len(done) > 0 {
		t.Fatal(done, err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestRepair damages each part of an account and mends it: afterwards only what cannot be
// read is damaged, nothing is missing, and a session that was open goes on.
func TestRepair(t *testing.T) {
	e := newSpoiling()
	s, err := store.Open(e, store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id, err := s.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	a := account(t, s, id)
	letters(t, s, a, "INBOX", 10)
	letters(t, s, a, "Archive", 10)
	if _, err := sel(t, a, "INBOX").Copy(ctx, mail.UIDSet(3), "Sent"); err != nil {
		t.Fatal(err)
	}
	session := sel(t, a, "INBOX")
	archive, _ := a.Mailbox("Archive")
	email := func(box string, uid mail.UID) mail.EmailID {
		t.Helper()
		m := sel(t, a, box)
		seq, ok := m.View().Seq(uid)
		if !ok {
			t.Fatal(box, uid)
		}
		return m.View().At(seq).Email
	}
	e.bodies[email("INBOX", 3)] = true // it is in Sent too
	e.content["summary"] = map[mail.EmailID]bool{email("INBOX", 5): true}
	e.content["text"] = map[mail.EmailID]bool{email("INBOX", 6): true}
	// The index of Archive loses three messages.
	e.indexes[archive.ID] = []mail.UID{2, 3, 9}
	want := []string{"Body INBOX 3", "Index Archive 0", "SearchText INBOX 6", "Summary INBOX 5"}
	if found := damages(t, s, id); !slices.Equal(found, want) {
		t.Fatalf("%q, not %q", found, want)
	}
	done, err := s.Repair(ctx, id, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range done {
		t.Logf("%s %s %d lost=%v: %s", r.Part, r.Mailbox, r.UID, r.Lost, r.Detail)
	}
	if found := damages(t, s, id); !slices.Equal(found, []string{"Body Damaged 1"}) {
		t.Fatal(found)
	}
	if again, err := s.Repair(ctx, id, nil); err != nil || len(again) > 0 {
		t.Fatal(again, err)
	}
	for box, n := range map[string]int{"INBOX": 9, "Sent": 0, "Archive": 10, "Damaged": 1} {
		if m := sel(t, a, box); m.View().Len() != n {
			t.Errorf("%s has %d messages, not %d", box, m.View().Len(), n)
		}
	}
	if now, _ := a.Mailbox("Archive"); now.UIDValidity <= archive.UIDValidity || now.Messages != 10 {
		t.Errorf("%+v", now)
	}
	if u := a.Usage(); u.Messages != 20 {
		t.Errorf("%+v", u)
	}
	if changes := session.Poll(true); session.View().Len() != 9 {
		t.Errorf("%+v", changes)
	}
	// And a store that reads it anew agrees.
	fresh, err := store.Open(e.Engine.(*memory.Engine).Server(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if got, want := fmt.Sprint(account(t, fresh, id).Mailboxes()), fmt.Sprint(a.Mailboxes()); got != want {
		t.Errorf("%s\n%s", got, want)
	}
}

// TestRepairCounts: counts, references and numbers that are wrong are made right.
func TestRepairCounts(t *testing.T) {
	e := memory.New()
	s, a := open(t, e)
	letters(t, s, a, "INBOX", 4)
	if found := damages(t, s, a.ID()); len(found) > 0 {
		t.Fatal(found)
	}
	st, err := e.Account(ctx, a.ID())
	if err != nil {
		t.Fatal(err)
	}
	in := st.Mailboxes[0]
	list, err := e.Messages(ctx, a.ID(), in.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	head := st.Account
	head.ModSeq++
	head.Bytes += 1000
	in.Unseen, in.UIDNext = 77, 2
	lost := store.Email{ID: head.NextEmail, Body: []byte("Subject: lost\r\n\r\nlost\r\n")}
	p := s.Prepare(lost.Body)
	lost.Summary = p.Summary()
	head.NextEmail++
	wait, err := e.Server().Commit(ctx, &store.Batch{
		Expect: st.Account.ModSeq, Account: head, Mailboxes: []store.MailboxRecord{in}, Emails: []store.Email{lost},
		References: []store.Reference{{Email: list[1].Email, Delta: 2}},
	})
	if err == nil {
		err = wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := store.Open(e.Server(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	found := damages(t, fresh, a.ID())
	want := []string{"Count INBOX 0", "Number INBOX 2", "Number INBOX 3", "Number INBOX 4", "Quota  0", "References  0", "References  0"}
	if !slices.Equal(found, want) {
		t.Fatalf("%q, not %q", found, want)
	}
	done, err := fresh.Repair(ctx, a.ID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range done {
		t.Logf("%+v", r)
	}
	if found := damages(t, fresh, a.ID()); len(found) > 0 {
		t.Fatal(found)
	}
	b := account(t, fresh, a.ID())
	if m := sel(t, b, "Recovered"); m.View().Len() != 1 {
		t.Error(m.View().Len())
	}
	if r, _ := b.Mailbox("INBOX"); r.UIDNext < 5 || r.Unseen > 4 {
		t.Errorf("%+v", r)
	}
}

// TestClockSetBack: an account that is made again when the clock was set back has a
// UIDVALIDITY that it never had.
func TestClockSetBack(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := store.Open(memory.New(), store.Options{Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	last := mail.UIDValidity(0)
	for _, step := range []time.Duration{0, -24 * time.Hour, -time.Hour * 24 * 365 * 80, 24 * time.Hour * 365 * 200, -time.Second} {
		now = now.Add(step)
		id, err := s.CreateAccount(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		a := account(t, s, id)
		for range 3 {
			if _, err := a.CreateMailbox(ctx, fmt.Sprint("box", len(a.Mailboxes())), ""); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range a.Mailboxes() {
			if r.UIDValidity <= last {
				t.Fatalf("after %v: %s has the UIDVALIDITY %d; %d was given out", step, r.Name, r.UIDValidity, last)
			}
		}
		for _, r := range a.Mailboxes() {
			last = max(last, r.UIDValidity)
		}
		letters(t, s, a, "INBOX", 2)
		if err := s.RemoveAccount(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
}

// expunging is an engine on which a client expunges a message as soon as Repair has read it.
type expunging struct {
	*spoiling
	read func(mail.EmailID)
}

func (e *expunging) Body(ctx context.Context, id mail.AccountID, m mail.EmailID) (store.Body, error) {
	b, err := e.spoiling.Body(ctx, id, m)
	e.read(m)
	return b, err
}

// TestRepairExpunged: what a client expunges while it is repaired is gone.
func TestRepairExpunged(t *testing.T) {
	// When Verify reads it, when it was looked at, and when it is read to be mended.
	for _, readings := range []int{1, 0, 2} {
		e := &expunging{newSpoiling(), func(mail.EmailID) {}}
		s, a := open(t, e)
		letters(t, s, a, "INBOX", 4)
		in := sel(t, a, "INBOX")
		email := in.View().At(2).Email
		if err := second(in.StoreFlags(ctx, mail.UIDSet(2), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted}, nil)); err != nil {
			t.Fatal(err)
		}
		e.content["text"] = map[mail.EmailID]bool{email: true}
		expunge := func() {
			if gone, _, err := in.Expunge(ctx, nil); err != nil || gone.Len() != 1 {
				t.Error(gone, err)
			}
		}
		var progress func(store.RepairStage, int, int)
		if readings == 0 {
			progress = func(stage store.RepairStage, done, all int) {
				if stage == store.RepairReads && done == all {
					expunge()
				}
			}
		}
		e.read = func(m mail.EmailID) {
			if m == email {
				if readings--; readings == 0 {
					expunge()
				}
			}
		}
		if _, err := s.Repair(ctx, a.ID(), progress); err != nil {
			t.Fatal(err)
		}
		delete(e.content, "text")
		if err := e.Engine.Texts(ctx, a.ID(), []mail.EmailID{email}, func(_ int, text []byte) error {
			if text != nil {
				t.Error("the text of a message that is expunged was written")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if found := damages(t, s, a.ID()); len(found) > 0 {
			t.Error(found)
		}
	}
}

// TestRepairLongText: a search text that is damaged is mended also where it would not be
// kept of a message that comes now.
func TestRepairLongText(t *testing.T) {
	e := newSpoiling()
	s, a := open(t, e)
	if _, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: s.Prepare([]byte("Subject: long\r\n\r\n" + strings.Repeat("Hello, World.\r\n", 10_000)))}); err != nil {
		t.Fatal(err)
	}
	email := sel(t, a, "INBOX").View().At(1).Email
	e.content["text"] = map[mail.EmailID]bool{email: true}
	if done, err := s.Repair(ctx, a.ID(), nil); err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}
	if found := damages(t, s, a.ID()); len(found) > 0 {
		t.Error(found)
	}
}
