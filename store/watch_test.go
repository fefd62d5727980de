package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// told gives what a watch gathered, as text.
func told(w *store.Watch) string {
	events, lost := w.Take()
	var out []string
	for _, e := range events {
		text := fmt.Sprintf("%s %q", happened(e.What), e.Name)
		if e.OldName != "" {
			text += fmt.Sprintf(" of %q", e.OldName)
		}
		if len(e.Entries) > 0 {
			text += fmt.Sprint(" ", e.Entries)
		}
		out = append(out, text)
	}
	if lost {
		out = append(out, "lost")
	}
	return strings.Join(out, "; ")
}

func happened(what store.Happening) string {
	var out []string
	for i, name := range []string{"came", "went", "flags", "unseen", "created", "deleted", "renamed", "rights", "subscription", "metadata"} {
		if what&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, "+")
}

func everything(*store.Event) bool { return true }

// TestWatch: what others do is gathered, once, and what is done under the watch's own
// context is not.
func TestWatch(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		w := a.NewWatch(everything)
		defer w.Close()
		calls := 0
		w.OnChange(func() { calls++ })
		is := func(want string) {
			t.Helper()
			if got := told(w); got != want {
				t.Fatalf("got %s\nwant %s", got, want)
			}
		}
		is("")
		put(t, s, a, "INBOX", 3, 0)
		put(t, s, a, "INBOX", 1, mail.Seen)
		put(t, s, a, "Sent", 1, mail.Seen)
		if calls != 1 {
			t.Errorf("told %d times", calls)
		}
		is(`came+unseen "INBOX"; came "Sent"`)
		m, err := a.Select(ctx, "INBOX", false)
		check(t, err)
		defer m.Close()
		flag := func(op store.FlagOp, f mail.Flags) {
			t.Helper()
			_, err := m.StoreFlags(ctx, mail.UIDSet(1), store.FlagChange{Op: op, Flags: f}, nil)
			check(t, err)
		}
		flag(store.FlagsAdd, mail.Flagged)
		is(`flags "INBOX"`)
		flag(store.FlagsAdd, mail.Flagged)
		is("")
		flag(store.FlagsAdd, mail.Seen|mail.Deleted)
		is(`flags+unseen "INBOX"`)
		_, _, err = m.Expunge(ctx, nil)
		check(t, err)
		is(`went "INBOX"`)

		_, err = a.CreateMailbox(ctx, "a/b", "")
		check(t, err)
		_, err = a.CreateMailbox(ctx, "a", "")
		check(t, err)
		check(t, a.RenameMailbox(ctx, "a", "c"))
		check(t, a.RenameMailbox(ctx, "INBOX", "d"))
		check(t, a.DeleteMailbox(ctx, "c/b"))
		is(`created "a/b"; created "a"; renamed "c" of "a"; renamed "d" of "INBOX"; deleted "c/b"; went+unseen "INBOX"; came+unseen "d"`)
		check(t, a.Subscribe(ctx, "x"))
		check(t, a.Subscribe(ctx, "x"))
		check(t, a.Unsubscribe(ctx, "x"))
		is(`subscription "x"; subscription "x"`)
		check(t, a.Own().SetMetadata(ctx, "d", entry("/shared/a", "1"), append(entry("/private/a", "1"), store.MetadataEntry{Name: "/private/none"})))
		check(t, a.Own().SetMetadata(ctx, "", nil, entry("/private/a", "1")))
		is(`metadata "d" [/shared/a]; metadata "d" [/private/a]; metadata "" [/private/a]`)

		// Its own.
		own := w.Context(ctx)
		_, err = a.Append(own, "INBOX", store.Arrival{Prepared: s.Prepare([]byte("Subject: x\r\n\r\n"))})
		check(t, err)
		check(t, a.Subscribe(own, "y"))
		is("")

		// Too much.
		for i := range 1001 {
			check(t, a.Subscribe(ctx, fmt.Sprint("many ", i)))
		}
		is("lost")
		is("")
		if calls < 3 {
			t.Errorf("told %d times", calls)
		}
		w.OnChange(nil)
		put(t, s, a, "INBOX", 1, 0)
		before := calls
		w.OnChange(func() { calls++ })
		if calls != before+1 {
			t.Error("not told of what was there already")
		}
		w.Close()
		put(t, s, a, "INBOX", 1, 0)
		is("")
	})
}

// TestWatchGuest: a guest hears of an account that shares something with it, of its own
// marks, and of rights everywhere.
func TestWatchGuest(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, alice := open(t, e)
		id, err := s.CreateAccount(ctx, 0)
		check(t, err)
		bob := account(t, s, id)
		put(t, s, alice, "INBOX", 2, 0)
		w := bob.NewWatch(everything)
		defer w.Close()
		w.Everywhere()
		is := func(want string) {
			t.Helper()
			if got := told(w); got != want {
				t.Fatalf("got %s\nwant %s", got, want)
			}
		}
		grant := func(r mail.Rights) {
			t.Helper()
			_, _, err := alice.Own().SetGrant(ctx, "INBOX", store.GrantSet, mail.Grant{Grantee: mail.Grantee{Account: id}, Rights: r})
			check(t, err)
		}
		put(t, s, alice, "INBOX", 1, 0)
		grant(mail.RightLookup | mail.RightRead | mail.RightSeen)
		is(`rights "INBOX"`)
		// Of the rights of others it hears nothing, however often they change.
		for i := range 1010 {
			_, _, err := alice.Own().SetGrant(ctx, "INBOX", store.GrantSet, mail.Grant{Grantee: mail.Grantee{Account: id + 1}, Rights: mail.Rights(1 + i%2)})
			check(t, err)
		}
		is("")
		w.Add(alice)
		w.Add(alice)
		owner, err := alice.Select(ctx, "INBOX", false)
		check(t, err)
		defer owner.Close()
		_, err = owner.StoreFlags(ctx, mail.UIDSet(1), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}, nil)
		check(t, err)
		is(`flags "INBOX"`)
		for _, v := range []store.Visit{alice.Visit(mail.Person{Account: id})} {
			m, err := v.Select(ctx, "INBOX", false)
			check(t, err)
			_, err = m.StoreFlags(ctx, mail.UIDSet(1), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}, nil)
			check(t, err)
			m.Close()
		}
		is(`flags+unseen "INBOX"`)
		check(t, alice.Own().SetMetadata(ctx, "INBOX", entry("/shared/a", "1"), entry("/private/a", "1")))
		is(`metadata "INBOX" [/shared/a]`)
		grant(0)
		is(`rights "INBOX"`)
		check(t, s.RemoveAccount(ctx, alice.ID()))
		if got := told(w); !strings.Contains(got, `deleted "INBOX"`) {
			t.Error(got)
		}
	})
}

// TestWatchGrants: a long access control list does not make an event too much.
func TestWatchGrants(t *testing.T) {
	s, alice := open(t, memory.New())
	id, err := s.CreateAccount(ctx, 0)
	check(t, err)
	for i := range 500 {
		_, _, err := alice.Own().SetGrant(ctx, "Sent", store.GrantSet, mail.Grant{Grantee: mail.Grantee{Account: id + mail.AccountID(i)}, Rights: mail.RightLookup})
		check(t, err)
	}
	own := alice.NewWatch(everything)
	defer own.Close()
	guest := account(t, s, id).NewWatch(everything)
	defer guest.Close()
	guest.Add(alice)
	check(t, alice.RenameMailbox(ctx, "Sent", "Gone"))
	for _, w := range []*store.Watch{own, guest} {
		if got := told(w); got != `renamed "Gone" of "Sent"` {
			t.Error(got)
		}
	}
}

// TestWatchOtherServers: what another server does is gathered, too.
func TestWatchOtherServers(t *testing.T) {
	one := memory.New()
	other, a := open(t, one)
	s, err := store.Open(one.Server(), store.Options{})
	check(t, err)
	defer s.Close()
	mine, err := s.Account(ctx, a.ID())
	check(t, err)
	defer mine.Close()
	w := mine.NewWatch(everything)
	defer w.Close()
	roused := make(chan struct{}, 1)
	w.OnChange(func() { roused <- struct{}{} })
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { put(t, other, a, "INBOX", 2, 0); return nil }, `came+unseen "INBOX"`},
		{func() error { _, err := a.CreateMailbox(ctx, "a", ""); return err }, `created "a"`},
		{func() error { return a.RenameMailbox(ctx, "a", "b") }, `renamed "b" of "a"`},
		{func() error { return a.DeleteMailbox(ctx, "b") }, `deleted "b"`},
		{func() error { return a.Subscribe(ctx, "c") }, `subscription "c"`},
	} {
		check(t, step.do())
		select {
		case <-roused:
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: nothing", step.want)
		}
		if got := told(w); got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
	}
}
