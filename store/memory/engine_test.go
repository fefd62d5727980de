package memory_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

func TestEngine(t *testing.T) {
	var root *memory.Engine
	storetest.Run(t, func(testing.TB) store.Engine {
		root = memory.New()
		return root.Server()
	}, storetest.Options{Reopen: func(t testing.TB, e store.Engine) store.Engine {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return root.Server()
	}})
}

// TestServers has two faces of one memory hear of each other.
func TestServers(t *testing.T) {
	root := memory.New()
	a, b := root.Server(), root.Server()
	if root.Announcements() != nil {
		t.Fatal("New's face listens")
	}
	heard := func(e store.Engine, want ...store.Announcement) {
		t.Helper()
		for _, w := range want {
			select {
			case got := <-e.Announcements():
				if got != w {
					t.Fatalf("%+v, not %+v", got, w)
				}
			default:
				t.Fatalf("%+v was not announced", w)
			}
		}
		select {
		case got := <-e.Announcements():
			t.Fatalf("%+v was announced", got)
		default:
		}
	}
	l := storetest.NewLedger(7)
	m := l.Mailbox("INBOX")
	storetest.Commit(t, a, l.Batch())
	heard(a)
	heard(b, store.Announcement{Account: 7, ModSeq: 1})
	if err := root.PutRecords(context.Background(), []store.Record{
		{Kind: "x", Key: "1", Value: []byte{}}, {Kind: "y", Value: []byte{}}, {Kind: "x", Key: "2", Value: []byte{}},
	}); err != nil {
		t.Fatal(err)
	}
	heard(a, store.Announcement{Kind: "x"}, store.Announcement{Kind: "y"})
	heard(b, store.Announcement{Kind: "x"}, store.Announcement{Kind: "y"})
	for range 257 {
		l.Deliver(m, 1)
		storetest.Commit(t, b, l.Batch())
	}
	heard(a, store.Announcement{All: true})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, open := <-a.Announcements(); open {
		t.Fatal("a closed face listens")
	}
	l.Deliver(m, 1)
	storetest.Commit(t, root, l.Batch())
	heard(b, store.Announcement{Account: 7, ModSeq: l.Head.ModSeq})
	if list, err := b.Messages(context.Background(), 7, m, 0); err != nil || len(list) != 258 {
		t.Fatal(len(list), err)
	}
}

// TestBugs: what a caller must not ask is refused and changes nothing.
func TestBugs(t *testing.T) {
	e := memory.New()
	l := storetest.NewLedger(1)
	m := l.Mailbox("INBOX")
	l.Deliver(m, 1)
	storetest.Commit(t, e, l.Batch())
	before, err := storetest.Everything(e, 1)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(uids ...mail.UID) (list []store.Message) {
		for _, uid := range uids {
			list = append(list, store.Message{UID: uid})
		}
		return list
	}
	for i, change := range []func(*store.Batch){
		func(b *store.Batch) { b.Account.ModSeq = b.Expect },
		func(b *store.Batch) { b.Mailboxes = []store.MailboxRecord{{ID: 3}, {ID: 3}} },
		func(b *store.Batch) { b.Mailboxes = []store.MailboxRecord{{}} },
		func(b *store.Batch) { b.Messages = []store.Messages{{Mailbox: 9}} },
		func(b *store.Batch) { b.Messages = []store.Messages{{Mailbox: m}, {Mailbox: m}} },
		func(b *store.Batch) { b.Messages = []store.Messages{{Mailbox: m, Entries: entry(3, 2)}} },
		func(b *store.Batch) { b.Messages = []store.Messages{{Mailbox: m, Entries: entry(0)}} },
		func(b *store.Batch) { b.Expunged = []store.Expunged{{Mailbox: m, UIDs: mail.UIDSet(2)}} },
		func(b *store.Batch) { b.Expunged = []store.Expunged{{Mailbox: m}} },
		func(b *store.Batch) {
			b.Messages = []store.Messages{{Mailbox: m, Entries: entry(1)}}
			b.Expunged = []store.Expunged{{Mailbox: m, UIDs: mail.UIDSet(1)}}
		},
		func(b *store.Batch) { b.Emails = []store.Email{{ID: 1}} },
		func(b *store.Batch) { b.Emails = []store.Email{{ID: 5}, {ID: 5}} },
		func(b *store.Batch) { b.References = []store.Reference{{Email: 5, Delta: 1}} },
		func(b *store.Batch) { b.References = []store.Reference{{Email: 1, Delta: -2}} },
		func(b *store.Batch) { b.References = []store.Reference{{Email: 1, Delta: 1}, {Email: 1, Delta: 1}} },
		func(b *store.Batch) {
			b.Emails = []store.Email{{ID: 5}}
			b.References = []store.Reference{{Email: 5, Delta: -1}}
		},
		func(b *store.Batch) { b.DeletedMailboxes = []mail.MailboxID{9} },
	} {
		b := &store.Batch{Expect: l.Head.ModSeq, Account: l.Head}
		b.Account.ModSeq++
		change(b)
		if _, err := e.Commit(context.Background(), b); err == nil || mail.KindOf(err) != mail.KindServerBug {
			t.Errorf("%d: %v", i, err)
		}
	}
	after, err := storetest.Everything(e, 1)
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Fatal(after, err)
	}
}
