package store_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
	"github.com/postern-mail/postern/store/memory"
)

// TestReissue: after a store is put back, nothing that was given out since then is given
// out again.
func TestReissue(t *testing.T) {
	e := memory.New()
	s, a := open(t, e)
	letters(t, s, a, "INBOX", 5)
	then := a.Mailboxes()
	before, err := a.Select(ctx, "INBOX", true)
	if err != nil {
		t.Fatal(err)
	}
	first := *before.View().At(1)
	before.Close()
	id := a.ID()
	if err := store.Reissue(ctx, e, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	// What the store would have given out without having been put back.
	lost := map[mail.UIDValidity]bool{}
	for _, r := range then {
		for i := range mail.UIDValidity(1000) {
			lost[r.UIDValidity+i] = true
		}
	}
	s, err = store.Open(e, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	a = account(t, s, id)
	for i, r := range a.Mailboxes() {
		if lost[r.UIDValidity] || r.ID != then[i].ID || r.UIDNext != then[i].UIDNext || r.Messages != then[i].Messages {
			t.Errorf("%+v was %+v", r, then[i])
		}
	}
	made, err := a.CreateMailbox(ctx, "New", "")
	if err != nil {
		t.Fatal(err)
	}
	if lost[made.UIDValidity] || made.ID < then[len(then)-1].ID+1000 {
		t.Errorf("a new mailbox has the UIDVALIDITY %d and the id %v", made.UIDValidity, made.ID)
	}
	m, err := a.Select(ctx, "INBOX", false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := m.View().At(1); got.Email != first.Email || got.UID != first.UID || got.Flags != first.Flags {
		t.Errorf("%+v was %+v", got, first)
	}
	arrived, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: s.Prepare([]byte("Subject: new\r\n\r\nnew\r\n"))})
	if err != nil {
		t.Fatal(err)
	}
	if arrived.Emails[0] < first.Email+1e6 {
		t.Errorf("a new message has the EMAILID %v", arrived.Emails[0])
	}
	if found := damages(t, s, id); len(found) > 0 {
		t.Error(found)
	}
	// An account that is made now begins above what a removed one may have had.
	other, err := s.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := account(t, s, other)
	if r, _ := b.Mailbox("INBOX"); r.UIDValidity < a.Mailboxes()[0].UIDValidity {
		t.Errorf("a new account begins with the UIDVALIDITY %d", r.UIDValidity)
	}
}

// TestReissueTwice: a store that is put back to the same moment twice gives out nothing of what
// it gave out after the first time.
func TestReissueTwice(t *testing.T) {
	then := t.TempDir()
	e, err := embedded.Open(then, embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(e, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	given := map[string]time.Time{}
	for _, at := range []time.Time{time.Now(), time.Now().Add(time.Hour), time.Now().Add(24 * time.Hour)} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(then)); err != nil {
			t.Fatal(err)
		}
		if e, err = embedded.Open(dir, embedded.Options{}); err != nil {
			t.Fatal(err)
		}
		if err := store.Reissue(ctx, e, at, nil); err != nil {
			t.Fatal(err)
		}
		if s, err = store.Open(e, store.Options{}); err != nil {
			t.Fatal(err)
		}
		a, err := s.Account(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		give := func(what string, id any) {
			t.Helper()
			key := fmt.Sprint(what, " ", id)
			if before, twice := given[key]; twice {
				t.Errorf("%s was given out at %v and %v", key, before, at)
			}
			given[key] = at
		}
		for i := range 3 {
			r, err := a.CreateMailbox(ctx, fmt.Sprint("New ", i), "")
			if err != nil {
				t.Fatal(err)
			}
			give("MAILBOXID", r.ID)
			give("UIDVALIDITY", r.UIDValidity)
			out, err := a.Append(ctx, "INBOX", store.Arrival{Prepared: s.Prepare(fmt.Appendf(nil, "Subject: %v\r\n\r\n%d\r\n", at, i))})
			if err != nil {
				t.Fatal(err)
			}
			give("EMAILID", out.Emails[0])
		}
		a.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBringBack: messages of another moment come back with date, flags and keywords,
// beside what is there.
func TestBringBack(t *testing.T) {
	old := memory.New()
	s, a := open(t, old)
	date := time.Date(2020, 2, 3, 4, 5, 6, 0, time.FixedZone("", 2*3600))
	var want []string
	for i := range 150 {
		body := []byte("Subject: letter\r\n\r\n" + strings.Repeat("text ", i*i%7000) + "\r\n")
		arrival := store.Arrival{Prepared: s.Prepare(body), Flags: mail.Flags(i % 4), Keywords: []string{"$Label1", "Work"}[:i%3%2+1], InternalDate: date.Add(time.Duration(i) * time.Hour)}
		if _, err := a.Append(ctx, "INBOX", arrival); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.CreateMailbox(ctx, "Empty/Below", ""); err != nil {
		t.Fatal(err)
	}
	letters(t, s, a, "Sent", 3)
	want = shown(t, a, "INBOX")
	id := a.ID()

	// Into another account, of another store.
	s2, b := open(t, memory.New())
	letters(t, s2, b, "INBOX", 2)
	there := shown(t, b, "INBOX")
	done := 0
	out, err := s2.BringBack(ctx, b.ID(), store.BringBack{From: old, Account: id, Into: "Restored", Progress: func(n, all int) { done = n }})
	if err != nil {
		t.Fatal(err)
	}
	if out.Messages != 153 || done != 153 || out.Mailboxes != len(a.Mailboxes()) || out.Into != "Restored" {
		t.Errorf("%+v, told of %d", out, done)
	}
	if got := shown(t, b, "Restored/INBOX"); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := shown(t, b, "INBOX"); strings.Join(got, "\n") != strings.Join(there, "\n") {
		t.Error("what was there is another now")
	}
	if found := damages(t, s2, b.ID()); len(found) > 0 {
		t.Error(found)
	}
	// Again: beside it.
	if out, err = s2.BringBack(ctx, b.ID(), store.BringBack{From: old, Account: id, Into: "Restored"}); err != nil || out.Into != "Restored (2)" {
		t.Errorf("%+v %v", out, err)
	}

	// Only what is missing, of the same account.
	m, err := a.Select(ctx, "INBOX", false)
	if err != nil {
		t.Fatal(err)
	}
	out, err = s.BringBack(ctx, id, store.BringBack{From: old, Account: id, Into: "Restored", Missing: true})
	if err != nil || out.Into != "" || out.Messages != 0 {
		t.Errorf("%+v %v", out, err)
	}
	m.Close()
	// What is missing of an account that was removed and made again nobody can tell: its
	// EMAILIDs are those of other messages.
	boxes := len(b.Mailboxes())
	if out, err = s2.BringBack(ctx, b.ID(), store.BringBack{From: old, Account: id, Into: "Missing", Missing: true}); mail.KindOf(err) != mail.KindCannot || len(b.Mailboxes()) != boxes {
		t.Errorf("%+v %v", out, err)
	}

	// No room for all: nothing is done.
	if err := b.SetQuota(ctx, b.Usage().Bytes+1000, 0); err != nil {
		t.Fatal(err)
	}
	boxes = len(b.Mailboxes())
	if _, err = s2.BringBack(ctx, b.ID(), store.BringBack{From: old, Account: id, Into: "Restored"}); err == nil || mail.KindOf(err) != mail.KindOverQuota {
		t.Errorf("over the quota: %v", err)
	}
	if n := len(b.Mailboxes()); n != boxes {
		t.Errorf("%d mailboxes were made", n-boxes)
	}
}

// TestMissingAgain: what was brought back is missing no more, though it has other EMAILIDs; so
// bringing back goes on where it was ended, and nothing comes twice.
func TestMissingAgain(t *testing.T) {
	now, then := t.TempDir(), t.TempDir()
	engine := func(dir string) *embedded.Engine {
		e, err := embedded.Open(dir, embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	s, err := store.Open(engine(now), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.CreateAccount(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Account(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	letters(t, s, a, "INBOX", 30)
	m, err := a.Select(ctx, "INBOX", true)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Copy(ctx, mail.UIDSet(4, 5), "Archive")
	m.Close()
	a.Close()
	if err := errors.Join(err, s.Close(), os.CopyFS(then, os.DirFS(now))); err != nil {
		t.Fatal(err)
	}
	from := engine(then)
	defer from.Close()
	if s, err = store.Open(engine(now), store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	a = account(t, s, id)
	remove := func(box string, uids ...mail.UID) {
		t.Helper()
		m, err := a.Select(ctx, box, false)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		set := mail.UIDSet(uids...)
		if _, err := m.StoreFlags(ctx, set, store.FlagChange{Op: store.FlagsAdd, Flags: mail.Deleted}, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := m.Expunge(ctx, &set); err != nil {
			t.Fatal(err)
		}
	}
	bring := func(want int) {
		t.Helper()
		out, err := s.BringBack(ctx, id, store.BringBack{From: from, Account: id, Into: "Restored", Missing: true})
		if err != nil || out.Messages != want || (out.Into == "") != (want == 0) || len(out.Unread) > 0 {
			t.Errorf("%+v, %v; %d are missing", out, err, want)
		}
	}
	bring(0)
	remove("INBOX", 3, 4, 5, 6, 7, 8, 9)
	bring(5) // two are in Archive still
	bring(0)
	remove("Restored/INBOX", 1, 2)
	bring(2)
	bring(0)
	if found := damages(t, s, id); len(found) > 0 {
		t.Error(found)
	}
}

// shown gives what a client sees of the messages of a mailbox, but their numbers.
func shown(t *testing.T, a *store.Account, name string) (out []string) {
	t.Helper()
	m, err := a.Select(ctx, name, true)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	v := m.View()
	for i := range v.Len() {
		x := v.At(uint32(i + 1))
		body, err := m.Body(ctx, x.Email)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, body.Size())
		if n, err := body.ReadAt(text, 0); n < len(text) {
			t.Fatal(err)
		}
		body.Close()
		at := time.Unix(x.InternalDate, 0).In(time.FixedZone("", int(x.Zone)*60))
		out = append(out, at.Format(time.RFC3339)+" "+string(x.Flags.AppendText(nil, v.Mailbox.Keywords))+" "+string(text))
	}
	return out
}
