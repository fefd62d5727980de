package chain

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/mail"
)

// tickets is a provider of tokens that look like "sub:name".
type tickets struct{ tokens }

func (o *tickets) CheckToken(_ context.Context, name, token string) (*directory.Person, time.Time, error) {
	id, said, ok := strings.Cut(token, ":")
	if !ok {
		return nil, time.Time{}, mail.Errorf(mail.KindNotFound, "")
	}
	return &directory.Person{ID: id, Name: said}, time.Now().Add(time.Hour), nil
}

// proving is a chain whose first directory has people whom "provider" proves by tokens
// and, where there is one, "pam" by passwords.
func proving(t *testing.T, pam *outside) *fixture {
	f := make3(t, func(links []Link) []Link {
		links = append(links, Link{Name: "provider", Source: &tickets{}, People: []string{"first"}})
		if pam != nil {
			links = append(links, Link{Name: "pam", Source: pam, People: []string{"first", "own"}, Cache: time.Hour})
		}
		return links
	})
	anna := someone("id-a", "anna@example.org", "ldap")
	anna.Aliases, anna.DisplayName = []string{"a@example.org"}, "Anna"
	anna.PasswordChanged = time.Unix(1, 0)
	f.first.people = []directorytest.Someone{anna, someone("id-b", "bert@example.org", "ldap")}
	return f
}

func (f *fixture) token(t *testing.T, name, token string) (*directory.Entry, error) {
	t.Helper()
	e, _, err := f.CheckToken(t.Context(), name, token)
	if err != nil {
		return nil, err
	}
	return directory.Provide(t.Context(), f.Directory, e)
}

// A token says a name, and the directory that knows the name says who that is.
func TestProved(t *testing.T) {
	f := proving(t, nil)
	anna := f.must(t, "anna@example.org", "ldap")
	for _, name := range []string{"", "anna@example.org", "a@example.org"} {
		e, err := f.token(t, name, "s1:anna@example.org")
		if err != nil || e.Account != anna.Account || e.Directory != "first" || e.DisplayName != "Anna" || !e.PasswordChanged.IsZero() {
			t.Errorf("%q: %+v, %v", name, e, err)
		}
	}
	// Proved by an alias, asked for by any name.
	if e, err := f.token(t, "anna@example.org", "s1:a@example.org"); err != nil || e.Account != anna.Account {
		t.Errorf("%+v, %v", e, err)
	}
	// A first sign-in makes the mailbox.
	bert, err := f.token(t, "", "s2:bert@example.org")
	if err != nil || bert.Account == 0 || bert.Account == anna.Account || f.must(t, "bert@example.org", "ldap").Account != bert.Account {
		t.Errorf("%+v, %v", bert, err)
	}
	if err := f.own.Create(t.Context(), directory.Entry{Name: "local", Account: 7, Enabled: true}, "own"); err != nil {
		t.Fatal(err)
	}
	f.second.people = []directorytest.Someone{someone("9", "carl@example.org", "p")}
	for what, c := range map[string][2]string{
		"another's name":                      {"bert@example.org", "s1:anna@example.org"},
		"nobody":                              {"", "s3:nobody@example.org"},
		"somebody of a directory not its own": {"", "s3:carl@example.org"},
		"somebody of our own directory":       {"", "s3:local"},
	} {
		_, err := f.token(t, c[0], c[1])
		wantKind(t, what, err, mail.KindAuthenticationFailed)
	}
	f.first.set(func(o *outside) { o.people[0].Blocked = "for the test" })
	if e, err := f.token(t, "", "s1:anna@example.org"); err != nil || e.Enabled {
		t.Errorf("blocked where people are: %+v, %v", e, err)
	}
	f.first.set(func(o *outside) { o.err = mail.Errorf(mail.KindUnavailable, "") })
	if _, err := f.token(t, "", "s2:bert@example.org"); err != nil {
		t.Errorf("people are remembered: %v", err)
	}
	f.clock.pass(time.Hour)
	_, err = f.token(t, "", "s2:bert@example.org")
	wantKind(t, "people cannot be asked", err, mail.KindUnavailable)
	// Who proves says nothing of who exists.
	f.first.set(func(o *outside) { o.err, o.people = nil, nil })
	if e, err := f.Lookup(t.Context(), "bert@example.org"); err != nil || !e.Gone {
		t.Errorf("%+v, %v", e, err)
	}
	_, err = f.token(t, "", "s2:bert@example.org")
	wantKind(t, "gone", err, mail.KindAuthenticationFailed)
	last := f.Asked(t.Context(), "nobody@example.org")
	if got := last[len(last)-1].Text; got != "The directory provider says nothing of who exists: it proves people of first." {
		t.Error(got)
	}
}

// Who was proved under a name once is that person, and nobody else is.
func TestLinked(t *testing.T) {
	f := proving(t, nil)
	var log bytes.Buffer
	f.log = slog.New(slog.NewTextHandler(&log, nil))
	anna, err := f.token(t, "", "s1:anna@example.org")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what, token string) {
		t.Helper()
		log.Reset()
		_, err := f.token(t, "", token)
		wantKind(t, what, err, mail.KindAuthenticationFailed)
		if !strings.Contains(log.String(), "event=1014") {
			t.Errorf("%s: the log says %s", what, log.String())
		}
	}
	refused("somebody else with her name", "s2:anna@example.org")
	refused("somebody else with her alias", "s2:a@example.org")
	refused("one whose sub is the name", "anna@example.org:anna@example.org")
	refused("she herself under a name that nobody used yet", "s1:bert@example.org")
	// Renamed on both sides she is the same.
	f.first.set(func(o *outside) { o.people[0].Name, o.people[0].Aliases = "anna.b@example.org", nil })
	if e, err := f.token(t, "", "s1:anna.b@example.org"); err != nil || e.Account != anna.Account {
		t.Errorf("renamed: %+v, %v", e, err)
	}
	// Her old name goes to somebody new on both sides: another person with another sub.
	f.first.set(func(o *outside) { o.people = append(o.people, someone("id-n", "anna@example.org", "n")) })
	refused("the old owner under her old name", "s1:anna@example.org")
	if e, err := f.token(t, "", "s2:anna@example.org"); err != nil || e.Account == anna.Account {
		t.Errorf("a new one with the old name: %+v, %v", e, err)
	}
	refused("and he under hers", "s2:anna.b@example.org")
	// After a restart too.
	f.open(t, []Link{f.links[0].Link, f.links[1].Link, f.links[2].Link, f.links[3].Link})
	if _, err := f.token(t, "", "s9:anna.b@example.org"); err == nil {
		t.Error("a restart forgot who anna is")
	}
}

// Of many first sign-ins at once, also on several servers, one wins.
func TestLinkedOnce(t *testing.T) {
	f := proving(t, nil)
	var wait sync.WaitGroup
	var mu sync.Mutex
	in := map[string]int{}
	for i := range 16 {
		id := string(rune('a' + i%4))
		wait.Go(func() {
			if _, err := f.token(t, "", id+":anna@example.org"); err == nil {
				mu.Lock()
				defer mu.Unlock()
				in[id]++
			}
		})
	}
	wait.Wait()
	if len(in) != 1 {
		t.Errorf("signed in: %v", in)
	}
}

// An administrator says who somebody is, and that it is open again.
func TestLink(t *testing.T) {
	f := proving(t, nil)
	for _, token := range []string{"s1:anna@example.org", "s2:bert@example.org"} {
		if _, err := f.token(t, "", token); err != nil {
			t.Fatal(err)
		}
	}
	look := func(name string) *directory.Entry {
		e, err := f.Lookup(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	anna, bert := look("anna@example.org"), look("bert@example.org")
	linked := func(e *directory.Entry, want string) {
		t.Helper()
		list, err := f.LinkedAccounts(t.Context(), e)
		var ids []string
		for _, l := range list {
			ids = append(ids, l.Directory+"/"+l.ID)
		}
		if got := strings.Join(ids, " "); got != want || err != nil {
			t.Errorf("%s is %q, %v, want %q", e.Name, got, err, want)
		}
	}
	linked(anna, "provider/s1")
	for id, want := range map[string]string{"s1": "anna@example.org", "s2": "bert@example.org", "s9": ""} {
		got := ""
		e, err := f.LinkedTo(t.Context(), "provider", id)
		if e != nil {
			got = e.Name
		}
		if got != want || err != nil {
			t.Errorf("%s is linked to %q, %v, want %q", id, got, err, want)
		}
	}
	// What was bert's becomes anna's: bert's is open, and s1 is nobody.
	if err := f.Link(t.Context(), anna, directory.LinkedAccount{Directory: "provider", ID: "s2"}); err != nil {
		t.Fatal(err)
	}
	linked(anna, "provider/s2")
	linked(bert, "")
	for token, in := range map[string]bool{"s1:anna@example.org": false, "s2:anna@example.org": true, "s2:bert@example.org": false} {
		if _, err := f.token(t, "", token); (err == nil) != in {
			t.Errorf("%s: %v", token, err)
		}
	}
	if _, err := f.token(t, "", "s1:bert@example.org"); err != nil {
		t.Errorf("s1 is bert from now on: %v", err)
	}
	if err := f.Unlink(t.Context(), anna, "provider"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "again", f.Unlink(t.Context(), anna, "provider"), mail.KindNotFound)
	if _, err := f.token(t, "", "s7:anna@example.org"); err != nil {
		t.Errorf("open again: %v", err)
	}
	wantKind(t, "no such directory", f.Link(t.Context(), anna, directory.LinkedAccount{Directory: "x", ID: "s2"}), mail.KindBadArgument)
	wantKind(t, "one that does not prove", f.Link(t.Context(), anna, directory.LinkedAccount{Directory: "second", ID: "s2"}), mail.KindBadArgument)
	wantKind(t, "no identifier", f.Link(t.Context(), anna, directory.LinkedAccount{Directory: "provider", ID: "a b"}), mail.KindBadArgument)
	// A removed mailbox is forgotten.
	if err := f.Remove(t.Context(), "bert@example.org"); err != nil {
		t.Fatal(err)
	}
	linked(bert, "")
}

// Tickets come to the chain as who they are for.
func TestProvedElsewhere(t *testing.T) {
	f := proving(t, nil)
	prove := func(dir, id, name string) (*directory.Entry, error) {
		return f.Proved(t.Context(), dir, &directory.Person{ID: id, Name: name})
	}
	if e, err := prove("provider", "anna@example.org", "anna@example.org"); err != nil || e.Directory != "first" {
		t.Errorf("%+v, %v", e, err)
	}
	if list, err := f.LinkedAccounts(t.Context(), &directory.Entry{Directory: "first", ID: "id-a"}); len(list) != 0 || err != nil {
		t.Errorf("a name is remembered: %v, %v", list, err)
	}
	// A directory with people of its own.
	if e, err := prove("second", "x", "new@example.org"); err != nil || e.Directory != "second" || e.ID != "x" {
		t.Errorf("%+v, %v", e, err)
	}
	_, err := prove("second", "x", "anna@example.org")
	wantKind(t, "a namesake", err, mail.KindAuthenticationFailed)
	_, err = prove("provider", "x", "Anna@example.org")
	wantKind(t, "a name that is not prepared", err, mail.KindUnavailable)
	_, err = prove("nowhere", "x", "anna@example.org")
	wantKind(t, "no such directory", err, mail.KindServerBug)
}

// Passwords of people of one directory that another one judges.
func TestJudge(t *testing.T) {
	pam := &outside{people: []directorytest.Someone{someone("anna@example.org", "anna@example.org", "pam"), someone("local", "local", "pam"),
		someone("carl@example.org", "carl@example.org", "pam")}}
	f := proving(t, pam)
	f.second.people = []directorytest.Someone{someone("9", "carl@example.org", "second")}
	if err := f.own.Create(t.Context(), directory.Entry{Name: "local", Account: 7, Enabled: true}, "own"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, password, directory string }{
		{"anna@example.org", "pam", "first"}, {"a@example.org", "pam", "first"}, {"local", "pam", ""},
		{"carl@example.org", "second", "second"}, // none of pam's people
		{"bert@example.org", "ldap", "first"},    // pam does not know bert
	} {
		if e := f.must(t, c.name, c.password); e.Directory != c.directory {
			t.Errorf("%+v: %+v", c, e)
		}
	}
	for _, c := range [][2]string{{"anna@example.org", "ldap"}, {"local", "own"}, {"carl@example.org", "pam"}, {"nobody@example.org", "pam"}, {"anna@example.org", ""}} {
		_, err := f.CheckPassword(t.Context(), c[0], c[1])
		wantKind(t, strings.Join(c[:], " "), err, mail.KindAuthenticationFailed)
	}
	// Keys of the password that does not count count no more.
	if e, _, err := f.ScramKeys(t.Context(), "local", directory.SHA256); e != nil || err != nil {
		t.Errorf("keys: %+v, %v", e, err)
	}
	// Down, it is asked by nobody else, and remembers what was right.
	pam.set(func(o *outside) { o.err = mail.Errorf(mail.KindUnavailable, "") })
	f.must(t, "anna@example.org", "pam")
	_, err := f.CheckPassword(t.Context(), "anna@example.org", "ldap")
	wantKind(t, "down", err, mail.KindUnavailable)
	f.clock.pass(time.Hour)
	_, err = f.CheckPassword(t.Context(), "anna@example.org", "pam")
	wantKind(t, "after the time", err, mail.KindUnavailable)
	pam.set(func(o *outside) { o.err = nil; o.people[0].Blocked = "for the test" })
	if e, err := f.signIn(t, "anna@example.org", "pam"); err != nil || e.Enabled {
		t.Errorf("switched off there: %+v, %v", e, err)
	}
	pam.set(func(o *outside) {
		o.people[0].Name, o.people[0].Aliases = "other@example.org", []string{"anna@example.org"}
	})
	_, err = f.CheckPassword(t.Context(), "anna@example.org", "pam")
	wantKind(t, "it proves somebody else", err, mail.KindUnavailable)
}

// Whose password another directory judges does not get in with the one that is kept here,
// by whatever mechanism.
func TestJudgedHasNoAnswer(t *testing.T) {
	pam := &outside{people: []directorytest.Someone{someone("local", "local", "pam")}}
	f := proving(t, pam)
	e := directory.Entry{Name: "local", Account: 7, Enabled: true, LegacyMechanisms: []string{"CRAM-MD5"}}
	if err := f.own.Create(t.Context(), e, "own"); err != nil {
		t.Fatal(err)
	}
	_, err := f.CheckPassword(t.Context(), "local", "own")
	wantKind(t, "PLAIN", err, mail.KindAuthenticationFailed)
	asked := 0
	_, err = f.CheckAnswer(t.Context(), "local", func([]byte) bool { asked++; return true })
	wantKind(t, "CRAM-MD5", err, mail.KindAuthenticationFailed)
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	// A directory that proves others' people and is asked first says nothing of who exists.
	f.open(t, []Link{{Name: "ldap", Source: &outside{people: []directorytest.Someone{someone("x", "free", "")}}, People: []string{"first"}},
		{Name: "own", Own: f.own}, {Name: "first", Source: f.first}})
	e.Name, e.Account = "free", 8
	if err := f.own.Create(t.Context(), e, "own"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CheckAnswer(t.Context(), "free", func(p []byte) bool { return string(p) == "own" }); err != nil {
		t.Errorf("nobody judges it: %v", err)
	}
}
