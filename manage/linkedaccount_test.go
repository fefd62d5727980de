package manage_test

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

// linking is a directory that proves everybody's people, as "login"; who they are is by
// the identifier there.
type linking struct {
	*managetest.Directory
	noSources
	links map[string]string // identifier to sign-in name
}

// noSources are the methods of a Chained that nobody calls here.
type noSources struct{ directory.Chained }

func (l *linking) LinkedAccounts(_ context.Context, e *directory.Entry) (list []directory.LinkedAccount, err error) {
	for id, name := range l.links {
		if name == e.Name {
			list = append(list, directory.LinkedAccount{Directory: "login", ID: id})
		}
	}
	return list, nil
}

func (l *linking) LinkedTo(ctx context.Context, dir, id string) (*directory.Entry, error) {
	if name, ok := l.links[id]; ok && dir == "login" {
		return l.Lookup(ctx, name)
	}
	return nil, nil
}

func (l *linking) Link(_ context.Context, e *directory.Entry, as directory.LinkedAccount) error {
	l.links[as.ID] = e.Name
	return nil
}

func (l *linking) Unlink(_ context.Context, e *directory.Entry, _ string) error {
	for id, name := range l.links {
		if name == e.Name {
			delete(l.links, id)
		}
	}
	return nil
}

// TestLinksAreGuarded: an administrator's link is not taken away by giving it to another
// mailbox, and whoever loses one is named.
func TestLinksAreGuarded(t *testing.T) {
	f := newFake(t, manage.OrganizationAdministrator)
	l := &linking{Directory: f.Directory, links: map[string]string{"s1": "alice@example.org"}}
	f.Server.Directory = l
	clerk := manage.Caller{Name: "unix:clerk", From: "test", Roles: []manage.Role{manage.RecipientAdministrator}}
	set := func(name, id string) (*manage.Result, error) {
		return as(f, clerk, "Set-Mailbox", `{"Identity":"`+name+`","LinkedAccounts":["login:`+id+`"]}`)
	}
	for name, id := range map[string]string{"alice@example.org": "s3", "bob@example.org": "s1"} {
		if _, err := set(name, id); mail.KindOf(err) != mail.KindNoPermission || l.links["s1"] != "alice@example.org" {
			t.Errorf("%s: %v, %v", name, err, l.links)
		}
	}
	if _, err := set("bob@example.org", "s2"); err != nil {
		t.Fatal(err)
	}
	run(t, f, "New-Mailbox", args{"Name": "carol@example.org", "Password": string(secret)})
	r, err := set("carol@example.org", "s2")
	if err != nil || l.links["s2"] != "carol@example.org" {
		t.Fatal(err, l.links)
	}
	if got := plainJSON(t, r); !strings.Contains(got, `"target":"bob@example.org","name":"LinkedAccounts","old":["login:s2"],"new":[]`) {
		t.Error(got)
	}
}
