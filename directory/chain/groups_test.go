package chain

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/mail"
)

// grouping is a directory that says groups when it is asked.
type grouping struct {
	*outside
	groups []string
	err    error
}

func (g *grouping) Groups(context.Context, *directory.Person) ([]string, error) {
	return g.groups, g.err
}

// Groups come from who knows somebody and from who proved them; those of a directory
// that does not answer are the last ones, for its time, and then nobody's to say.
func TestGroups(t *testing.T) {
	g := &grouping{groups: []string{"staff"}}
	f := make3(t, func(links []Link) []Link {
		g.outside = links[1].Source.(*outside)
		links[1].Source = g
		return append(links, Link{Name: "provider", Source: &tickets{}, People: []string{"second"}})
	})
	f.first.people = []directorytest.Someone{someone("1", "anna@example.org", "a")}
	bert := someone("2", "bert@example.org", "b")
	bert.Groups = []string{"guests", "night"}
	f.second.people = []directorytest.Someone{bert}
	want := func(what string, e *directory.Entry, groups string) {
		t.Helper()
		got, err := f.Groups(t.Context(), e)
		if err != nil || strings.Join(got, " ") != groups {
			t.Errorf("%s: %q, %v, want %q", what, got, err, groups)
		}
	}
	anna := f.must(t, "anna@example.org", "a")
	want("asked for", anna, `first\staff`)
	want("said with the person", f.must(t, "bert@example.org", "b"), `second\guests second\night`)
	g.groups, g.err = nil, mail.Errorf(mail.KindUnavailable, "")
	want("while it does not answer", anna, `first\staff`)
	f.clock.pass(time.Hour)
	_, err := f.Groups(t.Context(), anna)
	wantKind(t, "after the time", err, mail.KindUnavailable)
	g.err = nil
	want("in none any more", anna, "")
	// Of those whom nobody can ask about, as they were proved last.
	if e, err := f.Proved(t.Context(), "provider", &directory.Person{ID: "s", Name: "bert@example.org", Groups: []string{"token"}}); err != nil {
		t.Error(err)
	} else {
		want("proved", e, `second\guests second\night provider\token`)
	}
	f.second.set(func(o *outside) { o.people = nil })
	gone, err := f.Lookup(t.Context(), "bert@example.org")
	if err != nil {
		t.Fatal(err)
	}
	want("gone", gone, `second\guests second\night`)
	if !f.IsExternal("second") || f.IsExternal("own") || f.IsExternal("x") {
		t.Error("IsExternal")
	}
}
