package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

// person makes an account and gives it with who it is.
func person(t *testing.T, s *store.Store, groups ...string) (*store.Account, mail.Person) {
	t.Helper()
	id, err := s.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	return account(t, s, id), mail.Person{Account: id, Groups: groups}
}

func grant(t *testing.T, v store.Visit, mailbox string, who mail.Grantee, rights string) {
	t.Helper()
	r, err := mail.ParseRights(rights)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.SetGrant(ctx, mailbox, store.GrantSet, mail.Grant{Grantee: who, Rights: r}); err != nil {
		t.Fatal(err)
	}
}

func flagsOf(m *store.Mailbox, uid mail.UID) string {
	seq, _ := m.View().Seq(uid)
	return string(m.View().At(seq).Flags.AppendText(nil, m.Record().Keywords))
}

// TestRightsMatrix gives a guest one right after the other, each alone, then all but it,
// and does everything that needs rights (RFC 4314, 4). A row says which rights are enough.
func TestRightsMatrix(t *testing.T) {
	add := func(f mail.Flags, k ...string) store.FlagChange {
		return store.FlagChange{Op: store.FlagsAdd, Flags: f, Keywords: k}
	}
	one := mail.UIDSet(1)
	type scene struct {
		v    store.Visit    // of the guest
		m    *store.Mailbox // selected while it still had r
		own  *store.Account
		mail store.Arrival
	}
	rows := []struct {
		what  string
		needs string // all of these letters; "" never suffices alone
		do    func(x scene) error
	}{
		{"SELECT", "r", func(x scene) error {
			m, err := x.v.Select(ctx, "Shared", true)
			if err == nil {
				m.Close()
			}
			return err
		}},
		{"STATUS", "r", func(x scene) error { _, err := x.v.Status(ctx, "Shared"); return err }},
		{"APPEND", "i", func(x scene) error { _, err := x.v.Append(ctx, "Shared", x.mail); return err }},
		{"CREATE below", "k", func(x scene) error { _, err := x.v.CreateMailbox(ctx, "Shared/New", ""); return err }},
		{"DELETE", "x", func(x scene) error { return x.v.DeleteMailbox(ctx, "Shared") }},
		{"RENAME within", "kx", func(x scene) error { return x.v.RenameMailbox(ctx, "Shared/Child", "Shared/Renamed") }},
		{"STORE \\Seen", "s", func(x scene) error { _, err := x.m.StoreFlags(ctx, one, add(mail.Seen), nil); return err }},
		{"STORE \\Flagged", "w", func(x scene) error { _, err := x.m.StoreFlags(ctx, one, add(mail.Flagged), nil); return err }},
		{"STORE keyword", "w", func(x scene) error { _, err := x.m.StoreFlags(ctx, one, add(0, "k"), nil); return err }},
		{"STORE \\Deleted", "t", func(x scene) error { _, err := x.m.StoreFlags(ctx, one, add(mail.Deleted), nil); return err }},
		{"EXPUNGE", "e", func(x scene) error { _, _, err := x.m.Expunge(ctx, nil); return err }},
		{"COPY into it", "i", func(x scene) error { _, err := x.m.Copy(ctx, one, "Shared"); return err }},
		{"MOVE within", "ite", func(x scene) error { _, err := x.m.Move(ctx, one, "Shared"); return err }},
		{"MOVE to one's own", "te", func(x scene) error { _, err := x.m.MoveTo(ctx, one, x.own.Own(), "INBOX"); return err }},
		{"SETACL", "a", func(x scene) error {
			_, _, err := x.v.SetGrant(ctx, "Shared", store.GrantAdd, mail.Grant{Grantee: mail.Grantee{Group: "g"}, Rights: mail.RightPost})
			return err
		}},
		{"GETACL", "a", func(x scene) error { _, err := x.v.Grants("Shared"); return err }},
	}
	const letters = "lrswipkxtea"
	sets := []string{""}
	for i := range letters {
		sets = append(sets, letters[i:i+1], "l"+letters[i:i+1], letters[:i]+letters[i+1:])
	}
	sets = append(sets, letters, "kx", "te", "ite")
	for _, rights := range sets {
		for _, row := range rows {
			s, owner := open(t, memory.New())
			own, guest := person(t, s)
			if _, err := owner.CreateMailbox(ctx, "Shared", ""); err != nil {
				t.Fatal(err)
			}
			grant(t, owner.Own(), "Shared", mail.Grantee{Account: guest.Account}, letters)
			if _, err := owner.CreateMailbox(ctx, "Shared/Child", ""); err != nil {
				t.Fatal(err)
			}
			put(t, s, owner, "Shared", 1, mail.Deleted)
			v := owner.Visit(guest)
			m, err := v.Select(ctx, "Shared", false)
			if err != nil {
				t.Fatal(err)
			}
			grant(t, owner.Own(), "Shared", mail.Grantee{Account: guest.Account}, rights)
			grant(t, owner.Own(), "Shared/Child", mail.Grantee{Account: guest.Account}, rights)
			err = row.do(scene{v, m, own, store.Arrival{Prepared: s.Prepare([]byte("Subject: x\r\n\r\n"))}})
			m.Close()
			enough := !strings.ContainsFunc(row.needs, func(r rune) bool { return !strings.ContainsRune(rights, r) })
			want := mail.KindNotFound // it does not learn that the mailbox is there
			if strings.Contains(rights, "l") {
				want = mail.KindNoPermission
			}
			switch {
			case enough && err != nil:
				t.Errorf("%s with %q: %v", row.what, rights, err)
			case !enough && (err == nil || mail.KindOf(err) != want):
				t.Errorf("%s with %q: %v, not %v", row.what, rights, err, want)
			case !enough && want == mail.KindNotFound && mail.TextOf(err) != "There is no such mailbox.":
				t.Errorf("%s with %q says %q", row.what, rights, mail.TextOf(err))
			}
		}
	}
}

// TestOwnFlags: \Seen and keywords are each guest's own, with MODSEQs that go up for who
// sees the change and stay for who does not.
func TestOwnFlags(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, owner := open(t, e)
		_, bob := person(t, s)
		_, carol := person(t, s)
		for _, p := range []mail.Person{bob, carol} {
			grant(t, owner.Own(), "INBOX", mail.Grantee{Account: p.Account}, "lrswite")
		}
		put(t, s, owner, "INBOX", 3, mail.Seen|mail.Answered, "mine")
		hers := sel(t, owner, "INBOX")
		guest := func(p mail.Person) *store.Mailbox {
			m, err := owner.Visit(p).Select(ctx, "INBOX", false)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(m.Close)
			return m
		}
		b, c := guest(bob), guest(carol)
		if got := flagsOf(b, 1); got != `\Answered` {
			t.Fatal(got)
		}
		if b.Record().Unseen != 3 || hers.Record().Unseen != 0 || len(b.Record().Keywords) != 0 || b.RecentCount() != 0 {
			t.Fatalf("%+v", b.Record())
		}
		before := hers.Record().HighestModSeq
		out, err := b.StoreFlags(ctx, mail.UIDSet(2), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen, Keywords: []string{"his"}}, nil)
		if err != nil || !out.Changed.Contains(2) {
			t.Fatal(out, err)
		}
		for _, m := range []*store.Mailbox{hers, c} {
			if d := m.Poll(true); len(d.Changed) > 0 || d.Keywords || m.Record().HighestModSeq != before {
				t.Fatalf("others saw it: %+v", d)
			}
		}
		d := b.Poll(true)
		if !slices.Equal(d.Changed, []uint32{2}) || !d.Keywords || flagsOf(b, 2) != `\Answered \Seen his` {
			t.Fatalf("%+v %s", d, flagsOf(b, 2))
		}
		if h := b.Record().HighestModSeq; h != out.ModSeq || h <= before || b.View().At(2).ModSeq != h || b.View().At(1).ModSeq > before {
			t.Fatal(h, out.ModSeq, before)
		}
		// What is the message's is everybody's, and its MODSEQ is above all that anyone was told.
		out, err = c.StoreFlags(ctx, mail.UIDSet(2), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Flagged}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*store.Mailbox{hers, b, c} {
			if d := m.Poll(true); !slices.Equal(d.Changed, []uint32{2}) || m.View().At(2).ModSeq != out.ModSeq || m.Record().HighestModSeq != out.ModSeq {
				t.Fatalf("%+v", d)
			}
		}
		if got := []string{flagsOf(hers, 2), flagsOf(b, 2), flagsOf(c, 2)}; !slices.Equal(got, []string{`\Answered \Flagged \Seen mine`, `\Answered \Flagged \Seen his`, `\Answered \Flagged`}) {
			t.Fatal(got)
		}
		// UNCHANGEDSINCE is of the message as the guest sees it.
		since := before
		if out, err = b.StoreFlags(ctx, mail.UIDSet(1, 2), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen}, &since); err != nil || out.Failed.String() != "2" || out.Changed.String() != "1" {
			t.Fatal(out, err)
		}
		// A copy takes the guest's own along.
		if _, err := owner.CreateMailbox(ctx, "To", ""); err != nil {
			t.Fatal(err)
		}
		grant(t, owner.Own(), "To", mail.Grantee{Account: bob.Account}, "lrswite")
		if _, err := b.Move(ctx, mail.UIDSet(2), "To"); err != nil {
			t.Fatal(err)
		}
		to, err := owner.Visit(bob).Select(ctx, "To", true)
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		if got := []string{flagsOf(to, 1), flagsOf(sel(t, owner, "To"), 1)}; !slices.Equal(got, []string{`\Answered \Flagged \Seen his`, `\Answered \Flagged \Seen mine`}) {
			t.Fatal(got)
		}
		if r, err := owner.Visit(bob).Status(ctx, "To"); err != nil || r.Unseen != 0 || r.Messages != 1 {
			t.Fatal(r, err)
		}
		// It is all there for who comes later, and gone with the mailbox.
		if err := owner.DeleteMailbox(ctx, "To"); err != nil {
			t.Fatal(err)
		}
		if left, _ := e.Records(ctx, "marks", ""); len(left) != 2 || !strings.Contains(left[0].Key, "/00000001/") {
			t.Fatal(left)
		}
	})
}

// TestOwnFlagsAreKept plays random changes of the owner and two guests on two stores of
// one memory, and compares what is seen with a plain model; then opens all anew.
func TestOwnFlagsAreKept(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 3))
		mem := memory.New()
		s, owner := open(t, mem.Server())
		second, err := store.Open(mem.Server(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { second.Close() })
		other := account(t, second, owner.ID())
		who := []mail.Person{{}}
		for range 2 {
			_, p := person(t, s)
			grant(t, owner.Own(), "INBOX", mail.Grantee{Account: p.Account}, "lrswite")
			who = append(who, p)
		}
		visit := func(a *store.Account, i int) store.Visit {
			if i == 0 {
				return a.Own()
			}
			return a.Visit(who[i])
		}
		put(t, s, owner, "INBOX", 1200, 0)
		seen := make([]map[mail.UID]bool, 3)
		var boxes [3][2]*store.Mailbox
		known := make([]map[mail.UID]mail.ModSeq, 3)
		for i := range seen {
			seen[i], known[i] = map[mail.UID]bool{}, map[mail.UID]mail.ModSeq{}
			for j, a := range []*store.Account{owner, other} {
				m, err := visit(a, i).Select(ctx, "INBOX", false)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(m.Close)
				boxes[i][j] = m
			}
		}
		flagged := map[mail.UID]bool{}
		gone := map[mail.UID]bool{}
		// A server acts on what it knows: the two are to know the same before each change.
		same := func() {
			t.Helper()
			for until := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
				ok := true
				for i := range boxes {
					boxes[i][0].Poll(true)
					boxes[i][1].Poll(true)
					ok = ok && boxes[i][0].Record().HighestModSeq == boxes[i][1].Record().HighestModSeq
				}
				if ok {
					return
				}
				if time.Now().After(until) {
					t.Fatal("the stores do not come to know the same")
				}
			}
		}
		for range 150 {
			same()
			i, uid := r.IntN(3), mail.UID(1+r.IntN(1200))
			m := boxes[i][r.IntN(2)]
			op := store.FlagsAdd
			if r.IntN(3) == 0 {
				op = store.FlagsRemove
			}
			switch r.IntN(8) {
			case 0:
				if _, _, err := m.Remove(ctx, mail.UIDSet(uid)); err != nil {
					t.Fatal(err)
				}
				gone[uid] = true
			case 1, 2:
				if _, err := m.StoreFlags(ctx, mail.UIDSet(uid), store.FlagChange{Op: op, Flags: mail.Flagged}, nil); err != nil {
					t.Fatal(err)
				}
				flagged[uid] = op == store.FlagsAdd
			default:
				if _, err := m.StoreFlags(ctx, mail.UIDSet(uid), store.FlagChange{Op: op, Flags: mail.Seen}, nil); err != nil {
					t.Fatal(err)
				}
				seen[i][uid] = op == store.FlagsAdd
			}
			// A client that asks for what is newer than HIGHESTMODSEQ misses nothing.
			was := m.Record().HighestModSeq
			m.Poll(true)
			m.View().EachSeq(m.View().All(), func(_ uint32, x *store.Message) bool {
				if x.ModSeq > m.Record().HighestModSeq {
					t.Fatalf("MODSEQ %d above the highest, %d", x.ModSeq, m.Record().HighestModSeq)
				}
				return true
			})
			if m.Record().HighestModSeq < was {
				t.Fatal("HIGHESTMODSEQ went down")
			}
		}
		check := func(a *store.Account, what string) {
			for i := range who {
				m, err := visit(a, i).Select(ctx, "INBOX", true)
				if err != nil {
					t.Fatal(err)
				}
				unseen := uint32(0)
				m.View().EachSeq(m.View().All(), func(_ uint32, x *store.Message) bool {
					if gone[x.UID] || x.Flags.Has(mail.Seen) != seen[i][x.UID] || x.Flags.Has(mail.Flagged) != flagged[x.UID] {
						t.Errorf("seed %d, %s, person %d: message %d has %b", seed, what, i, x.UID, x.Flags)
					}
					if !seen[i][x.UID] {
						unseen++
					}
					return true
				})
				if m.Record().Unseen != unseen || m.View().Len() != 1200-len(gone) {
					t.Errorf("seed %d, %s, person %d: %d unseen of %d, not %d", seed, what, i, m.Record().Unseen, m.View().Len(), unseen)
				}
				m.Close()
			}
		}
		same()
		check(owner, "first")
		third, err := store.Open(mem.Server(), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		check(account(t, third, owner.ID()), "anew")
		third.Close()
	}
}

// TestSharedWith: who has rights where is known without opening anything, and is right
// after every change.
func TestSharedWith(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, alice := open(t, e)
		carol, _ := person(t, s)
		bobs, bob := person(t, s, "team", `corp\sales/east`)
		with := func(want ...*store.Account) {
			t.Helper()
			var ids []mail.AccountID
			for _, a := range want {
				ids = append(ids, a.ID())
			}
			slices.Sort(ids)
			got, err := s.SharedWith(ctx, bob)
			if err != nil || !slices.Equal(got, ids) {
				t.Fatal(got, err, ids)
			}
		}
		me, team, sales := mail.Grantee{Account: bob.Account}, mail.Grantee{Group: "team"}, mail.Grantee{Group: `corp\sales/east`}
		with()
		grant(t, alice.Own(), "INBOX", me, "l")
		grant(t, alice.Own(), "Sent", me, "l")
		with(alice)
		grant(t, alice.Own(), "INBOX", me, "")
		with(alice)
		grant(t, alice.Own(), "Sent", me, "")
		with()
		grant(t, alice.Own(), "Sent", team, "l")
		grant(t, carol.Own(), "INBOX", sales, "l")
		grant(t, bobs.Own(), "INBOX", team, "l") // one's own is not shared with one
		with(alice, carol)
		grant(t, alice.Own(), "Sent", team, "")
		with(carol)
		grant(t, alice.Own(), "Drafts", mail.Grantee{}, "l")
		with(alice, carol)
		if _, err := alice.CreateMailbox(ctx, "Drafts/Below", ""); err != nil { // has its rights
			t.Fatal(err)
		}
		if err := alice.RenameMailbox(ctx, "Drafts", "Moved"); err != nil {
			t.Fatal(err)
		}
		with(alice, carol)
		for _, name := range []string{"Moved", "Moved/Below"} {
			with(alice, carol)
			if err := alice.DeleteMailbox(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		with(carol)
		// A negative right alone shares nothing.
		if _, _, err := alice.Own().SetGrant(ctx, "INBOX", store.GrantSet, mail.Grant{Grantee: me, Negative: true, Rights: mail.AllRights}); err != nil {
			t.Fatal(err)
		}
		with(carol)
		if used, err := s.Grants(ctx, sales); err != nil || !used {
			t.Fatal(used, err)
		}
		// An account takes its rights along, and those of others on it.
		grant(t, alice.Own(), "Archive", me, "lr")
		if err := s.RemoveAccount(ctx, carol.ID()); err != nil {
			t.Fatal(err)
		}
		with(alice)
		if err := s.RemoveAccount(ctx, bob.Account); err != nil {
			t.Fatal(err)
		}
		if r, _ := alice.Mailbox("Archive"); r.Grants != nil {
			t.Fatal(r.Grants)
		}
		if left, err := e.Records(ctx, "share", ""); err != nil || len(left) != 0 {
			t.Fatal(left, err)
		}
	})
}

func TestGrantsOfTheOwner(t *testing.T) {
	s, a := open(t, memory.New())
	_, _, err := a.Own().SetGrant(ctx, "INBOX", store.GrantSet, mail.Grant{Grantee: mail.Grantee{Account: a.ID()}, Rights: 0})
	kind(t, err, mail.KindCannot)
	for i := range 500 {
		grant(t, a.Own(), "INBOX", mail.Grantee{Group: fmt.Sprint(i)}, "l")
	}
	_, _, err = a.Own().SetGrant(ctx, "INBOX", store.GrantSet, mail.Grant{Rights: 1})
	kind(t, err, mail.KindLimit)
	_ = s
}

// TestAcross copies and moves between accounts: the body is the other's, and so is the
// quota.
func TestAcross(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, alice := open(t, e)
		bobs, bob := person(t, s)
		grant(t, alice.Own(), "INBOX", mail.Grantee{Account: bob.Account}, "lrswite")
		put(t, s, alice, "INBOX", 3, mail.Flagged)
		m, err := alice.Visit(bob).Select(ctx, "INBOX", false)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if _, err := m.StoreFlags(ctx, mail.UIDSet(1), store.FlagChange{Op: store.FlagsAdd, Flags: mail.Seen, Keywords: []string{"k"}}, nil); err != nil {
			t.Fatal(err)
		}
		m.Poll(true)
		out, err := m.MoveTo(ctx, mail.UIDSet(1, 2), bobs.Own(), "Archive")
		if err != nil || !slices.Equal(out.From, []mail.UID{1, 2}) || !slices.Equal(out.To, []mail.UID{1, 2}) {
			t.Fatal(out, err)
		}
		in := sel(t, bobs, "Archive")
		if in.View().Len() != 2 || flagsOf(in, 1) != `\Flagged \Seen k` || bobs.Usage().Messages != 2 || alice.Usage().Messages != 1 {
			t.Fatal(in.View().Len(), flagsOf(in, 1), bobs.Usage(), alice.Usage())
		}
		// And into the shared one: \Flagged is the message's, \Seen and the keyword bob's.
		if _, err := in.CopyTo(ctx, mail.UIDSet(1), alice.Visit(bob), "INBOX"); err != nil {
			t.Fatal(err)
		}
		m.Poll(true)
		hers := sel(t, alice, "INBOX")
		if flagsOf(m, 4) != `\Flagged \Seen k` || flagsOf(hers, 4) != `\Flagged` {
			t.Fatal(flagsOf(m, 4), flagsOf(hers, 4))
		}
		if err := bobs.SetQuota(ctx, 0, 2); err != nil {
			t.Fatal(err)
		}
		_, err = m.MoveTo(ctx, mail.UIDSet(3), bobs.Own(), "Archive")
		kind(t, err, mail.KindOverQuota)
		_, err = in.CopyTo(ctx, mail.UIDSet(1), alice.Visit(bob), "Sent") // hidden
		kind(t, err, mail.KindNotFound)
		if left, _ := e.Records(ctx, "move", ""); len(left) != 0 {
			t.Fatal(left)
		}
	})
}

// TestMoveAcrossFails lets the n-th commit of a move between accounts fail in every way,
// as a crash would, and opens the store anew: each message is in one place, never in none
// and never in two.
func TestMoveAcrossFails(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.Before, storetest.After, storetest.Wait} {
		for n := 1; n <= 2; n++ {
			mem := memory.New()
			on := false
			count := 0
			s, err := store.Open(storetest.NewFailing(mem.Server(), func(c storetest.Call) storetest.Fault {
				if on && c.Method == "Commit" {
					if count++; count >= n {
						return fault
					}
				}
				return storetest.Works
			}), store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			alice, _ := person(t, s)
			bobs, bob := person(t, s)
			grant(t, alice.Own(), "INBOX", mail.Grantee{Account: bob.Account}, "lrswite")
			put(t, s, alice, "INBOX", 3, 0)
			m, err := alice.Visit(bob).Select(ctx, "INBOX", false)
			if err != nil {
				t.Fatal(err)
			}
			on = true
			_, failed := m.MoveTo(ctx, mail.UIDSet(1, 3), bobs.Own(), "INBOX")
			on = false
			if failed == nil {
				t.Errorf("fault %d of commit %d was not told", fault, n)
			}
			anew, err := store.Open(mem.Server(), store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			here, there := account(t, anew, alice.ID()).Usage().Messages, account(t, anew, bob.Account).Usage().Messages
			if here+there != 3 || there != 0 && there != 2 || n == 2 && there != 2 {
				t.Errorf("fault %d of commit %d: %d here, %d there", fault, n, here, there)
			}
			if left, _ := mem.Records(ctx, "move", ""); len(left) != 0 {
				t.Errorf("fault %d of commit %d leaves %v", fault, n, left)
			}
			anew.Close()
		}
	}
}
