package store_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
)

// entries gives metadata as "name=value" with blanks between.
func entries(t *testing.T, v store.Visit, mailbox string, shared bool) (out string) {
	t.Helper()
	list, err := v.Metadata(ctx, mailbox, shared)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		out += fmt.Sprintf("%s=%s ", e.Name, e.Value)
	}
	return out
}

func entry(name, value string) []store.MetadataEntry {
	return []store.MetadataEntry{{Name: name, Value: []byte(value)}}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMetadata(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		id, err := s.CreateAccount(ctx, 0)
		check(t, err)
		bob := mail.Person{Account: id}
		own := a.Own()
		is := func(v store.Visit, mailbox string, shared bool, want string) {
			t.Helper()
			if got := entries(t, v, mailbox, shared); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		check(t, own.SetMetadata(ctx, "Sent", entry("/shared/a", "1"), append(entry("/private/b", ""), entry("/private/a", "x\x00y")...)))
		is(own, "Sent", true, "/shared/a=1 ")
		is(own, "Sent", false, "/private/a=x\x00y /private/b= /private/specialuse=\\Sent ")
		is(own, "INBOX", false, "")

		// The account's own.
		check(t, own.SetMetadata(ctx, "", nil, entry("/private/x", "me")))
		is(own, "", false, "/private/x=me ")
		kind(t, own.SetMetadata(ctx, "", entry("/shared/x", "1"), nil), mail.KindNoPermission)
		kind(t, a.Visit(bob).SetMetadata(ctx, "", nil, entry("/private/x", "1")), mail.KindNoPermission)
		is(a.Visit(bob), "", false, "")

		// All or nothing.
		big := string(bytes.Repeat([]byte("x"), store.MaxMetadataValue+1))
		kind(t, own.SetMetadata(ctx, "Sent", entry("/shared/a", "2"), entry("/private/c", big)), mail.KindTooBig)
		is(own, "Sent", true, "/shared/a=1 ")

		// Guests.
		guest := a.Visit(bob)
		_, err = guest.Metadata(ctx, "Sent", true)
		kind(t, err, mail.KindNotFound)
		kind(t, guest.SetMetadata(ctx, "Sent", nil, entry("/private/a", "b")), mail.KindNotFound)
		grant(t, own, "Sent", mail.Grantee{Account: id}, "l")
		_, err = guest.Metadata(ctx, "Sent", true)
		kind(t, err, mail.KindNoPermission)
		grant(t, own, "Sent", mail.Grantee{Account: id}, "lr")
		is(guest, "Sent", true, "/shared/a=1 ")
		is(guest, "Sent", false, "")
		check(t, guest.SetMetadata(ctx, "Sent", nil, entry("/private/a", "b")))
		is(guest, "Sent", false, "/private/a=b ")
		is(own, "Sent", false, "/private/a=x\x00y /private/b= /private/specialuse=\\Sent ")
		kind(t, guest.SetMetadata(ctx, "Sent", entry("/shared/a", "2"), nil), mail.KindNoPermission)
		grant(t, own, "Sent", mail.Grantee{Account: id}, "lrw")
		check(t, guest.SetMetadata(ctx, "Sent", entry("/shared/a", "2"), nil))
		is(own, "Sent", true, "/shared/a=2 ")

		// RENAME keeps, DELETE removes, RENAME of INBOX copies.
		check(t, a.RenameMailbox(ctx, "Sent", "Gone"))
		is(guest, "Gone", false, "/private/a=b ")
		is(own, "Gone", true, "/shared/a=2 ")
		check(t, a.DeleteMailbox(ctx, "Gone"))
		_, err = a.CreateMailbox(ctx, "Gone", "")
		check(t, err)
		is(own, "Gone", true, "")
		is(own, "Gone", false, "")
		check(t, own.SetMetadata(ctx, "INBOX", entry("/shared/i", "1"), entry("/private/i", "2")))
		check(t, a.RenameMailbox(ctx, "INBOX", "Old"))
		is(own, "INBOX", true, "/shared/i=1 ")
		is(own, "Old", false, "/private/i=2 ")

		// A nil value removes; what is not there is no fault.
		check(t, own.SetMetadata(ctx, "Old", nil, []store.MetadataEntry{{Name: "/private/i"}, {Name: "/private/j"}}))
		is(own, "Old", false, "")

		// A guest's entries go with the guest's account, an account's with it.
		grant(t, own, "Old", mail.Grantee{Account: id}, "lr")
		check(t, guest.SetMetadata(ctx, "Old", nil, entry("/private/a", "b")))
		check(t, s.RemoveAccount(ctx, id))
		is(guest.Account().Own(), "Old", true, "/shared/i=1 ")
		records, err := e.Records(ctx, "metadata", a.ID().String()+"/")
		check(t, err)
		for _, r := range records {
			if bytes.Contains([]byte(r.Key), []byte(id.String())) {
				t.Error("what the guest had is still there:", r.Key)
			}
		}
		check(t, s.RemoveAccount(ctx, a.ID()))
		if records, err = e.Records(ctx, "metadata", ""); err != nil || len(records) > 0 {
			t.Error(records, err)
		}
	})
}

func TestMetadataBounds(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		_, a := open(t, e)
		own := a.Own()
		for i := range 100 {
			check(t, own.SetMetadata(ctx, "INBOX", nil, entry(fmt.Sprint("/private/", i), "x")))
		}
		kind(t, own.SetMetadata(ctx, "INBOX", nil, entry("/private/more", "x")), mail.KindLimit)
		check(t, own.SetMetadata(ctx, "INBOX", nil, entry("/private/1", "y")))

		// An account is full after 8 MiB.
		var much []store.MetadataEntry
		for i := range 15 {
			much = append(much, entry(fmt.Sprint("/shared/", i), string(bytes.Repeat([]byte("x"), store.MaxMetadataValue)))...)
		}
		var err error
		n := 0
		for ; n < 100 && err == nil; n++ {
			name := fmt.Sprint("Box", n)
			_, err := a.CreateMailbox(ctx, name, "")
			check(t, err)
			if err := own.SetMetadata(ctx, name, much, nil); err != nil {
				kind(t, err, mail.KindLimit)
				break
			}
		}
		if n != 34 {
			t.Error(n)
		}
		// What makes it less is permitted.
		check(t, own.SetMetadata(ctx, "Box1", []store.MetadataEntry{{Name: "/shared/1"}}, nil))
	})
}

// TestMetadataAfterRestart: what was acknowledged is there when the store is opened again.
func TestMetadataAfterRestart(t *testing.T) {
	dir := t.TempDir()
	var id mail.AccountID
	for i := range 2 {
		e, err := embedded.Open(dir, embedded.Options{})
		check(t, err)
		s, err := store.Open(e, store.Options{})
		check(t, err)
		if i == 0 {
			id, err = s.CreateAccount(ctx, 0)
			check(t, err)
		}
		a, err := s.Account(ctx, id)
		check(t, err)
		if i == 0 {
			check(t, a.Own().SetMetadata(ctx, "INBOX", nil, entry("/private/comment", "kept")))
		} else if got := entries(t, a.Own(), "INBOX", false); got != "/private/comment=kept " {
			t.Error(got)
		}
		a.Close()
		check(t, s.Close())
	}
}

// TestServerMetadata: what administrators say of the server is everybody's, and told.
func TestServerMetadata(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		w := a.NewWatch(everything)
		defer w.Close()
		id, err := s.CreateAccount(ctx, 0)
		check(t, err)
		is := func(want string) {
			t.Helper()
			for _, v := range []store.Visit{a.Own(), account(t, s, id).Own()} {
				if got := entries(t, v, "", true); got != want {
					t.Fatalf("got %q, want %q", got, want)
				}
			}
		}
		is("")
		check(t, s.SetServerMetadata(ctx, append(entry("/shared/b", "1"), entry("/shared/a", "")...)))
		is("/shared/a= /shared/b=1 ")
		check(t, s.SetServerMetadata(ctx, append(entry("/shared/b", "2"), store.MetadataEntry{Name: "/shared/a"}, store.MetadataEntry{Name: "/shared/c"})))
		is("/shared/b=2 ")
		if got := told(w); got != `metadata "" [/shared/b /shared/a]; metadata "" [/shared/b /shared/a]` {
			t.Error(got)
		}
		check(t, s.SetServerMetadata(ctx, []store.MetadataEntry{{Name: "/shared/b"}}))
		is("")
		check(t, s.SetServerMetadata(ctx, entry("/shared/b", "3")))
		is("/shared/b=3 ")
		if got := entries(t, a.Visit(mail.Person{Account: id}), "", true); got != "" {
			t.Error("a guest", got)
		}
		kind(t, s.SetServerMetadata(ctx, entry("/shared/b", string(make([]byte, store.MaxMetadataValue+1)))), mail.KindTooBig)
		kind(t, a.Own().SetMetadata(ctx, "", entry("/shared/b", "4"), nil), mail.KindNoPermission)
	})
}
