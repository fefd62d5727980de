package auth

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// grouped is a directory whose people are in groups there.
type grouped struct {
	outside
	groups []string
	asked  int
	err    error
}

func (g *grouped) Groups(context.Context, *directory.Entry) ([]string, error) {
	g.asked++
	return g.groups, g.err
}

func (g *grouped) IsExternal(name string) bool { return name == "company" }

// A rule for a group of a directory holds for who is in it there; while the directory
// cannot say who is, nobody gets in.
func TestDirectoryGroups(t *testing.T) {
	g := &grouped{groups: []string{`company\staff`}}
	a := New(Options{Directory: g, Limits: Limits{FirstDelay: -1}})
	c := Imagined(settings.Defaults(settings.IMAP4, "localhost"), true)
	signIn := func(what string, kind mail.Kind) {
		t.Helper()
		_, err := a.Password(t.Context(), c, "anna", "right")
		if kind == mail.Kind(-1) && err != nil || kind != mail.Kind(-1) && (err == nil || mail.KindOf(err) != kind) {
			t.Errorf("%s: %v", what, err)
		}
	}
	const in = mail.Kind(-1)
	policy := func(rules ...LoginRule) {
		a.SetPolicy(&Policy{Rules: rules, Groups: map[string][]string{"here": {"anna"}}})
	}
	policy(LoginRule{Name: "x", Groups: []string{"elsewhere"}, Block: true})
	signIn("no rule is for a directory's group", in)
	if g.asked != 0 {
		t.Error("the directory was asked for nothing")
	}
	policy(LoginRule{Name: "x", Groups: []string{`company\staff`}, Block: true})
	signIn("in the group", mail.KindAuthenticationFailed)
	var said []string
	for _, s := range a.Explain(t.Context(), c, "anna") {
		said = append(said, s.Detail)
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, `company\staff`) || !strings.Contains(all, `"x" holds`) {
		t.Errorf("Explain says %s", all)
	}
	if cells := a.Matrix(c, &directory.Entry{Name: "anna", Groups: g.groups}, nil); len(cells) == 0 || cells[0].TLS.OK {
		t.Errorf("Matrix: %+v", cells)
	}
	policy(LoginRule{Name: "x", Groups: []string{`company\others`}, Block: true}, LoginRule{Name: "y", Groups: []string{"here"}, AppPasswordsOnly: true})
	signIn("a group of ours counts, too", mail.KindAuthenticationFailed)
	policy(LoginRule{Name: "x", Groups: []string{`company\others`}, Block: true})
	signIn("not in the group", in)
	g.err = mail.Errorf(mail.KindUnavailable, "")
	signIn("who knows", mail.KindUnavailable)
	if last := a.Explain(t.Context(), c, "anna"); last[len(last)-1].Result != Fail {
		t.Errorf("Explain: %+v", last)
	}
}
