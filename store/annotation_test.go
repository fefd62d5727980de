package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

// note is a change of one annotation; "" removes it.
func note(entry, value string) []store.Annotation {
	x := store.Annotation{Entry: entry}
	if value != "" {
		x.Value = []byte(value)
	}
	return []store.Annotation{x}
}

// notes gives the annotations of a message as "entry=value", shared ones behind "|".
func notes(t *testing.T, m *store.Mailbox, uid mail.UID) string {
	t.Helper()
	m.Poll(true)
	seq, ok := m.View().Seq(uid)
	if !ok {
		return "gone"
	}
	a, err := m.Annotations().Of(ctx, m.View().At(seq))
	check(t, err)
	var text []string
	for i, list := range [][]store.Annotation{a.Private, a.Shared} {
		if i == 1 {
			text = append(text, "|")
		}
		for _, x := range list {
			if x.Value != nil {
				text = append(text, x.Entry+"="+string(x.Value))
			}
		}
	}
	return strings.Join(text, " ")
}

func selected(t *testing.T, v store.Visit, mailbox string) *store.Mailbox {
	t.Helper()
	m, err := v.Select(ctx, mailbox, false)
	check(t, err)
	t.Cleanup(m.Close)
	return m
}

// used is what an account's annotations take.
func used(a *store.Account) int64 { return a.Usage().AnnotationBytes }

// annotationRecords counts those of an account, whosever they are.
func annotationRecords(t *testing.T, e store.Engine) int {
	t.Helper()
	list, err := e.Records(ctx, "annotation", "")
	check(t, err)
	return len(list)
}

func TestAnnotations(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		put(t, s, a, "INBOX", 40, 0)
		m := selected(t, a.Own(), "INBOX")
		all := mail.NumSet{{First: 1, Last: 40}}
		is := func(uid mail.UID, want string) {
			t.Helper()
			if got := notes(t, m, uid); got != want {
				t.Fatalf("%d has %q, not %q", uid, got, want)
			}
		}
		before := m.Record().HighestModSeq
		done, err := m.Annotate(ctx, mail.UIDSet(3, 15, 16, 40, 41), store.Annotations{Private: note("/comment", "mine"), Shared: note("/comment", "all's")}, nil)
		check(t, err)
		if done.ModSeq != before+1 || done.Changed.String() != "3,15:16,40" {
			t.Fatalf("%+v", done)
		}
		is(3, "/comment=mine | /comment=all's")
		is(40, "/comment=mine | /comment=all's")
		is(4, "|")
		if got := m.View().At(3); got.ModSeq != done.ModSeq || !got.Annotated || m.View().At(4).Annotated {
			t.Fatalf("%+v", got)
		}
		if n := used(a); n != 4*(4+5) {
			t.Fatalf("%d bytes", n)
		}
		// The same once more is a change; what is removed and not there is none.
		done, err = m.Annotate(ctx, all, store.Annotations{Private: note("/none", "")}, nil)
		check(t, err)
		if done.ModSeq != 0 || len(done.Changed) > 0 {
			t.Fatalf("%+v", done)
		}
		since := m.View().At(4).ModSeq
		done, err = m.Annotate(ctx, mail.UIDSet(3, 4), store.Annotations{Private: append(note("/comment", ""), note("/altsubject", "x")...)}, &since)
		check(t, err)
		if done.Failed.String() != "3" || done.Changed.String() != "4" {
			t.Fatalf("%+v", done)
		}
		is(4, "/altsubject=x |")
		_, err = m.Annotate(ctx, mail.UIDSet(4), store.Annotations{Private: note("/altsubject", "")}, nil)
		check(t, err)
		is(4, "|")
		if n := used(a); n != 4*(4+5) {
			t.Fatalf("%d bytes", n)
		}

		// A copy has them, too; what is moved takes them along.
		copied, err := m.Copy(ctx, mail.UIDSet(3, 5), "Sent")
		check(t, err)
		sent := selected(t, a.Own(), "Sent")
		if got := notes(t, sent, copied.To[0]); got != "/comment=mine | /comment=all's" || sent.View().At(2).Annotated {
			t.Fatalf("%q", got)
		}
		if n := used(a); n != 5*(4+5) {
			t.Fatalf("%d bytes", n)
		}
		_, err = m.Move(ctx, mail.UIDSet(15, 16), "Sent")
		check(t, err)
		is(15, "gone")
		if got := notes(t, sent, 3); got != "/comment=mine | /comment=all's" || used(a) != 5*(4+5) {
			t.Fatalf("%q, %d bytes", got, used(a))
		}
		if n := annotationRecords(t, e); n != 11 {
			t.Fatalf("%d records", n)
		}

		// They go with the message, and with the mailbox.
		_, _, err = m.Remove(ctx, mail.UIDSet(3, 4, 5, 40))
		check(t, err)
		if n := used(a); n != 3*(4+5) || annotationRecords(t, e) != 6 {
			t.Fatalf("%d bytes, %d records", n, annotationRecords(t, e))
		}
		check(t, a.DeleteMailbox(ctx, "Sent"))
		if n := used(a); n != 0 || annotationRecords(t, e) != 0 {
			t.Fatalf("%d bytes, %d records", n, annotationRecords(t, e))
		}

		// RENAME of INBOX moves all that is in it.
		_, err = m.Annotate(ctx, mail.UIDSet(6), store.Annotations{Shared: note("/comment", "six")}, nil)
		check(t, err)
		check(t, a.RenameMailbox(ctx, "INBOX", "Old"))
		old := selected(t, a.Own(), "Old")
		if got := notes(t, old, 3); got != "| /comment=six" || used(a) != 3 {
			t.Fatalf("%q, %d bytes", got, used(a))
		}

		// New messages bring theirs.
		arrival := store.Arrival{Prepared: s.Prepare([]byte("Subject: new\r\n\r\n")), Annotations: store.Annotations{Private: note("/comment", "new")}}
		put, err := a.Append(ctx, "INBOX", arrival)
		check(t, err)
		is(put.UIDs[0], "/comment=new |")
		arrival.Annotations = store.Annotations{Private: note("/comment", "newer")}
		replaced, err := m.Replace(ctx, put.UIDs[0], a.Own(), "INBOX", arrival)
		check(t, err)
		is(replaced.UIDs[0], "/comment=newer |")
		if n := used(a); n != 3+5 || annotationRecords(t, e) != 2 {
			t.Fatalf("%d bytes, %d records", n, annotationRecords(t, e))
		}
		check(t, s.RemoveAccount(ctx, a.ID()))
		if n := annotationRecords(t, e); n != 0 {
			t.Fatalf("%d records", n)
		}
	})
}

func TestAnnotationLimits(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		put(t, s, a, "INBOX", 2500, 0)
		m := selected(t, a.Own(), "INBOX")
		annotate := func(set mail.NumSet, list []store.Annotation) error {
			_, err := m.Annotate(ctx, set, store.Annotations{Private: list}, nil)
			return err
		}
		most := strings.Repeat("x", store.MaxAnnotationValue)
		one := mail.UIDSet(1)
		kind(t, annotate(one, note("/comment", most+"x")), mail.KindTooBig)
		kind(t, annotate(one, note("/"+strings.Repeat("n", store.MaxAnnotationName), "x")), mail.KindBadArgument)
		kind(t, annotate(mail.NumSet{{First: 1, Last: 2500}}, note("/comment", most)), mail.KindOverQuota)
		if used(a) != 0 || annotationRecords(t, e) != 0 {
			t.Fatal("what was refused is kept")
		}
		check(t, annotate(mail.NumSet{{First: 1, Last: 2000}}, note("/comment", most)))
		kind(t, annotate(mail.NumSet{{First: 2001, Last: 2100}}, note("/comment", most)), mail.KindOverQuota)
		_, err := m.Copy(ctx, mail.NumSet{{First: 1, Last: 100}}, "Sent")
		kind(t, err, mail.KindOverQuota)
		_, err = m.Move(ctx, mail.NumSet{{First: 1, Last: 100}}, "Sent")
		check(t, err)
		check(t, annotate(mail.NumSet{{First: 101, Last: 2000}}, note("/comment", "")))
		if n := used(a); n != 100*store.MaxAnnotationValue {
			t.Fatalf("%d bytes", n)
		}

		// 50 of one message; what is removed makes room, and is not remembered for ever.
		for i := range 50 {
			check(t, annotate(mail.UIDSet(2500), note(fmt.Sprintf("/%02dx", i), "x")))
		}
		kind(t, annotate(mail.UIDSet(2500), note("/more", "x")), mail.KindLimit)
		check(t, annotate(mail.UIDSet(2500), note("/00x", "y")))
		for i := range 50 {
			check(t, annotate(mail.UIDSet(2500), note(fmt.Sprintf("/%02dx", i), "")))
		}
		m.Poll(true)
		list, err := m.Annotations().Of(ctx, m.View().At(uint32(m.View().Len())))
		check(t, err)
		if len(list.Private) != 20 || list.Private[0].Entry != "/30x" {
			t.Fatalf("%d are remembered, such as %v", len(list.Private), list.Private[0])
		}
	})
}

func TestAnnotationsOfGuests(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, alice := open(t, e)
		bob, b := person(t, s)
		put(t, s, alice, "INBOX", 3, 0)
		grant(t, alice.Own(), "INBOX", mail.Grantee{Account: b.Account}, "lr")
		mine := selected(t, alice.Own(), "INBOX")
		his := selected(t, alice.Visit(b), "INBOX")
		one := mail.UIDSet(1)
		annotate := func(m *store.Mailbox, private, shared []store.Annotation) (store.Stored, error) {
			return m.Annotate(ctx, one, store.Annotations{Private: private, Shared: shared}, nil)
		}
		_, err := annotate(his, nil, note("/comment", "no"))
		kind(t, err, mail.KindNoPermission)
		_, err = annotate(mine, note("/comment", "alice's"), note("/comment", "shared"))
		check(t, err)
		done, err := annotate(his, note("/comment", "bob's"), nil)
		check(t, err)
		if got := notes(t, mine, 1); got != "/comment=alice's | /comment=shared" {
			t.Fatalf("alice sees %q", got)
		}
		if got := notes(t, his, 1); got != "/comment=bob's | /comment=shared" {
			t.Fatalf("bob sees %q", got)
		}
		// A guest's own is a change for the guest alone.
		if a, b := mine.View().At(1).ModSeq, his.View().At(1).ModSeq; a >= done.ModSeq || b != done.ModSeq {
			t.Fatalf("MODSEQ %d and %d of %d", a, b, done.ModSeq)
		}
		mine.Poll(true)
		his.Poll(true)
		_, err = annotate(mine, nil, note("/comment", "other"))
		check(t, err)
		if c := his.Poll(true); !slices.Equal(c.Changed, []uint32{1}) {
			t.Fatalf("bob is told %+v", c)
		}
		grant(t, alice.Own(), "INBOX", mail.Grantee{Account: b.Account}, "lrn")
		_, err = annotate(his, nil, note("/comment", "bob for all"))
		check(t, err)
		if got := notes(t, mine, 1); got != "/comment=alice's | /comment=bob for all" {
			t.Fatalf("alice sees %q", got)
		}

		// A copy into the guest's own account takes what the guest sees; a mailbox that it
		// may not annotate takes no shared ones.
		copied, err := his.CopyTo(ctx, one, bob.Own(), "INBOX")
		check(t, err)
		if got := notes(t, selected(t, bob.Own(), "INBOX"), copied.To[0]); got != "/comment=bob's | /comment=bob for all" {
			t.Fatalf("the copy has %q", got)
		}
		grant(t, alice.Own(), "Sent", mail.Grantee{Account: b.Account}, "lri")
		_, err = his.Copy(ctx, one, "Sent")
		check(t, err)
		sent := selected(t, alice.Visit(b), "Sent")
		if got := notes(t, sent, 1); got != "/comment=bob's |" {
			t.Fatalf("the copy has %q", got)
		}
		_, err = alice.Visit(b).Append(ctx, "Sent", store.Arrival{Prepared: s.Prepare([]byte("x")), Annotations: store.Annotations{Shared: note("/comment", "x")}})
		kind(t, err, mail.KindNoPermission)

		// What is bob's goes with bob.
		was := used(alice)
		check(t, s.RemoveAccount(ctx, b.Account))
		if got := notes(t, mine, 1); got != "/comment=alice's | /comment=bob for all" || used(alice) != was-2*5 {
			t.Fatalf("alice sees %q, %d bytes of %d", got, used(alice), was)
		}
	})
}

// TestAnnotationsSurvive closes the engine and opens the folder again.
func TestAnnotationsSurvive(t *testing.T) {
	dir := t.TempDir()
	e, err := embedded.Open(dir, embedded.Options{})
	check(t, err)
	s, err := store.Open(e, store.Options{})
	check(t, err)
	id, err := s.CreateAccount(ctx, 0)
	check(t, err)
	a, err := s.Account(ctx, id)
	check(t, err)
	put(t, s, a, "INBOX", 300, 0)
	m, err := a.Select(ctx, "INBOX", false)
	check(t, err)
	_, err = m.Annotate(ctx, mail.NumSet{{First: 2, Last: 299}}, store.Annotations{Shared: note("/comment", "x")}, nil)
	check(t, err)
	m.Close()
	a.Close()
	check(t, s.Close())
	e, err = embedded.Open(dir, embedded.Options{})
	check(t, err)
	s, err = store.Open(e, store.Options{})
	check(t, err)
	t.Cleanup(func() { s.Close() })
	a = account(t, s, id)
	m = selected(t, a.Own(), "INBOX")
	if notes(t, m, 1) != "|" || notes(t, m, 2) != "| /comment=x" || notes(t, m, 299) != "| /comment=x" || used(a) != 298 {
		t.Fatalf("%q %q %q, %d bytes", notes(t, m, 1), notes(t, m, 2), notes(t, m, 299), used(a))
	}
}

// TestAnnotationsFail: whatever call fails, messages have all of a change or nothing of it.
func TestAnnotationsFail(t *testing.T) {
	f := storetest.NewFailing(memory.New(), nil)
	s, a := open(t, f)
	put(t, s, a, "INBOX", 40, 0)
	m := selected(t, a.Own(), "INBOX")
	some := mail.UIDSet(1, 20)
	annotate := func(value string) error {
		_, err := m.Annotate(ctx, some, store.Annotations{Private: note("/comment", value), Shared: note("/comment", value)}, nil)
		return err
	}
	check(t, annotate("0"))
	state := func() string {
		return fmt.Sprint(notes(t, m, 1), notes(t, m, 20), used(a), m.View().Len(), a.Usage().Messages, annotationRecords(t, f))
	}
	for i, do := range []func() error{
		func() error { return annotate("next") },
		func() error { _, err := m.Copy(ctx, some, "Sent"); return err },
		func() error { _, err := m.Move(ctx, some, "Sent"); return err },
		func() error { _, _, err := m.Remove(ctx, some); return err },
		func() error { return a.DeleteMailbox(ctx, "Sent") },
	} {
		before := state()
		for n := 1; ; n++ {
			f.Plan(storetest.Nth(n, "Records", storetest.Before))
			err := do()
			f.Plan(nil)
			if err == nil {
				if n == 1 {
					t.Errorf("change %d reads no records", i)
				}
				break
			}
			if now := state(); now != before {
				t.Fatalf("change %d after failure %d: %s, not %s", i, n, now, before)
			}
			f.Plan(storetest.Nth(1, "Commit", storetest.Before))
			kind(t, do(), mail.KindUnavailable)
			f.Plan(nil)
			if now := state(); now != before {
				t.Fatalf("change %d after a failed commit: %s, not %s", i, now, before)
			}
		}
		if i == 2 {
			_, err := selected(t, a.Own(), "Sent").Move(ctx, mail.UIDSet(3, 4), "INBOX")
			check(t, err)
			some = mail.UIDSet(41, 42)
		}
	}
	if used(a) != 0 || annotationRecords(t, f) != 0 {
		t.Fatalf("%d bytes, %d records are left", used(a), annotationRecords(t, f))
	}
}

// TestAnnotationsCompete: when another server was first, the change is computed again.
func TestAnnotationsCompete(t *testing.T) {
	shared := memory.New()
	f := storetest.NewFailing(shared, nil)
	s, a := open(t, f)
	put(t, s, a, "INBOX", 2, 0)
	m := selected(t, a.Own(), "INBOX")
	f.Plan(storetest.Nth(1, "Commit", storetest.Conflict))
	_, err := m.Annotate(ctx, mail.UIDSet(1, 2), store.Annotations{Shared: note("/comment", "x")}, nil)
	f.Plan(nil)
	check(t, err)
	if notes(t, m, 1) != "| /comment=x" || used(a) != 2 {
		t.Fatalf("%q, %d bytes", notes(t, m, 1), used(a))
	}
}

// TestAnnotationsOfNow: a session reads annotations as they are by now, also the first of a
// message, which it was not told of yet; of a message that is gone it does not read that there
// are none.
func TestAnnotationsOfNow(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		put(t, s, a, "INBOX", 2, mail.Deleted)
		writer, reader := selected(t, a.Own(), "INBOX"), selected(t, a.Own(), "INBOX")
		one, two := reader.View().At(1), reader.View().At(2)
		_, err := writer.Annotate(ctx, mail.UIDSet(1), store.Annotations{Shared: note("/comment", "x")}, nil)
		check(t, err)
		found, err := reader.Annotations().Of(ctx, one)
		check(t, err)
		if got := found.Of("/comment", true); string(got) != "x" {
			t.Errorf("the first annotation is read as %q", got)
		}
		if !reader.Annotated(one) || reader.Annotated(two) {
			t.Error("it is not known which message has annotations")
		}
		only := mail.UIDSet(1)
		_, _, err = writer.Expunge(ctx, &only)
		check(t, err)
		if found, err = reader.Annotations().Of(ctx, one); mail.KindOf(err) != mail.KindExpunged {
			t.Errorf("what is gone has %v (%v)", found, err)
		}
		_, err = reader.Annotations().Of(ctx, two)
		check(t, err)
	})
}

// TestAnnotationsLeaving: of a message whose removal is on the disk and not shown yet, nobody reads
// that it has no annotations, also where the reader's view is from before they were made.
func TestAnnotationsLeaving(t *testing.T) {
	for _, before := range []bool{false, true} {
		everyEngine(t, func(t *testing.T, e store.Engine) { annotationsLeaving(t, e, before) })
	}
}

func annotationsLeaving(t *testing.T, e store.Engine, before bool) {
	p := &pausing{Engine: e}
	s, a := open(t, p)
	put(t, s, a, "INBOX", 1, mail.Deleted)
	writer := selected(t, a.Own(), "INBOX")
	early := selected(t, a.Own(), "INBOX")
	_, err := writer.Annotate(ctx, mail.UIDSet(1), store.Annotations{Shared: note("/comment", "x")}, nil)
	check(t, err)
	reader := selected(t, a.Own(), "INBOX")
	if before {
		reader = early
	}
	if reader.View().At(1).Annotated == before {
		t.Fatal("the reader's view is not the one that is meant")
	}
	durable, goOn := p.arm()
	expunged, read := make(chan error, 1), make(chan error, 1)
	go func() {
		_, _, err := writer.Expunge(ctx, nil)
		expunged <- err
	}()
	<-durable
	go func() {
		_, err := reader.Annotations().Of(ctx, reader.View().At(1))
		read <- err
	}()
	select {
	case err := <-read:
		t.Errorf("read before it was decided: %v", err)
		read <- err
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	check(t, <-expunged)
	if err := <-read; mail.KindOf(err) != mail.KindExpunged {
		t.Errorf("what is gone is read: %v", err)
	}
}
