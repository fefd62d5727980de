package store_test

import (
	"bytes"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/embedded"
	"github.com/postern-mail/postern/store/memory"
)

func TestURLKeys(t *testing.T) {
	everyEngine(t, func(t *testing.T, e store.Engine) {
		s, a := open(t, e)
		of := func(account mail.AccountID, mailbox mail.MailboxID) []byte {
			t.Helper()
			k, err := a.URLKeys(ctx)
			check(t, err)
			return k.Of(account, mailbox)
		}
		if of(a.ID(), 1) != nil {
			t.Fatal("there is a key before one was made")
		}
		made, err := a.MakeURLKeys(ctx)
		check(t, err)
		again, err := a.MakeURLKeys(ctx)
		check(t, err)
		first, second, others := of(a.ID(), 1), of(a.ID(), 2), of(a.ID()+1, 1)
		if len(first) != 32 || !bytes.Equal(first, made.Of(a.ID(), 1)) || !bytes.Equal(first, again.Of(a.ID(), 1)) {
			t.Fatal("a key does not stay")
		}
		if bytes.Equal(first, second) || bytes.Equal(first, others) {
			t.Fatal("two mailboxes have one key")
		}
		for range 2 {
			before := of(a.ID(), 1)
			check(t, a.ResetURLKey(ctx, a.ID(), 1))
			if bytes.Equal(before, of(a.ID(), 1)) {
				t.Fatal("the key is the same")
			}
		}
		if !bytes.Equal(second, of(a.ID(), 2)) || !bytes.Equal(others, of(a.ID()+1, 1)) {
			t.Fatal("another mailbox's key changed")
		}

		check(t, a.RemoveURLKeys(ctx))
		check(t, a.RemoveURLKeys(ctx))
		if of(a.ID(), 2) != nil {
			t.Fatal("a key is left")
		}
		check(t, a.ResetURLKey(ctx, a.ID(), 2))
		if fresh := of(a.ID(), 2); fresh == nil || bytes.Equal(fresh, second) {
			t.Fatal("the key came back")
		}

		id := a.ID()
		a.Close()
		check(t, s.RemoveAccount(ctx, id))
		if left, err := s.Records(ctx, "urlkeys", ""); err != nil || len(left) != 0 {
			t.Fatal(left, err)
		}
	})
}

// TestURLKeysBound: so many mailboxes have salts; those that are deleted do not count.
func TestURLKeysBound(t *testing.T) {
	_, a := open(t, memory.New())
	check(t, a.ResetURLKey(ctx, a.ID(), 1)) // makes the secret
	for i := range mail.MailboxID(1500) {
		check(t, a.ResetURLKey(ctx, a.ID(), 100+i))
	}
	for i := range mail.MailboxID(1000) {
		check(t, a.ResetURLKey(ctx, a.ID()+1, 100+i))
	}
	kind(t, a.ResetURLKey(ctx, a.ID()+2, 1), mail.KindLimit)
	check(t, a.ResetURLKey(ctx, a.ID()+1, 100))
}

// TestURLKeysStay: keys are durable.
func TestURLKeysStay(t *testing.T) {
	dir := t.TempDir()
	var key []byte
	for i := range 2 {
		e, err := embedded.Open(dir, embedded.Options{})
		check(t, err)
		s, err := store.Open(e, store.Options{})
		check(t, err)
		if i == 0 {
			_, err := s.CreateAccount(ctx, 0)
			check(t, err)
		}
		ids, err := s.Accounts(ctx)
		check(t, err)
		a, err := s.Account(ctx, ids[0])
		check(t, err)
		k, err := a.MakeURLKeys(ctx)
		check(t, err)
		if i == 0 {
			key = k.Of(1, 1)
		} else if !bytes.Equal(key, k.Of(1, 1)) {
			t.Fatal("the key is another one")
		}
		a.Close()
		check(t, s.Close())
	}
}
