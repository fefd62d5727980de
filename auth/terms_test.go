package auth

import (
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// TestTerms: equal terms give the same offers, and rules have none.
func TestTerms(t *testing.T) {
	a := New(Options{Directory: newPeople()})
	c := Conn{Service: settings.IMAP4, LoginType: mail.PlainTextLogin, Protection: settings.AllowProtection}
	before, ok := a.Terms(c)
	if again, _ := a.Terms(c); !ok || again != before {
		t.Fatal("terms of the same connection differ")
	}
	a.SetPolicy(&Policy{})
	if after, ok := a.Terms(c); !ok || after == before {
		t.Error("a policy leaves the terms as they were")
	}
	a.SetPolicy(&Policy{Rules: []LoginRule{{Name: "office", Block: true}}})
	if _, ok := a.Terms(c); ok {
		t.Error("with rules there are terms")
	}
}
