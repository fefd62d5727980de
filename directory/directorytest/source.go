package directorytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// Someone is a person whom an external directory is to have. ID is left to it.
type Someone struct {
	directory.Person
	Password string // "" for none
}

// SourceTest says how RunSource gets at a directory, and what it cannot keep.
type SourceTest struct {
	// Open gives a directory that has people and nobody else. It is called for
	// every test; the test ends it and whatever it stands on.
	Open func(t *testing.T, people []Someone) directory.Source

	NoAliases, NoDisplayName, NoQuota, NoMessages, NoBlocked bool

	MaxPassword int // octets of the longest password that it takes; 0 is directory.MaxPassword
}

// RunSource tests that a directory.Source keeps its contract.
func RunSource(t *testing.T, s SourceTest) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s SourceTest, d directory.Source)
	}{
		{"Find", sourceFind},
		{"FindUnknown", sourceFindUnknown},
		{"Aliases", sourceAliases},
		{"Identifiers", sourceIdentifiers},
		{"CheckPassword", sourceCheckPassword},
		{"Blocked", sourceBlocked},
		{"Keys", sourceKeys},
		{"People", sourcePeople},
		{"Cancelled", sourceCancelled},
		{"Copies", sourceCopies},
		{"Concurrent", sourceConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s, s.Open(t, s.People())) })
	}
}

// People are whom every test has.
func (s SourceTest) People() []Someone {
	gigabyte, thousand := int64(1<<30), int64(1000)
	list := []Someone{
		{Person: directory.Person{
			Name: "anna@example.org", Aliases: []string{"a.nna@example.org", "postmaster@example.org"},
			DisplayName: "Anna Ä.", QuotaBytes: &gigabyte, QuotaMessages: &thousand,
		}, Password: password},
		{Person: directory.Person{Name: "bert@example.org"}, Password: "geheim ö"},
		{Person: directory.Person{Name: "nopassword@example.org"}},
		{Person: directory.Person{Name: "o'brien+x_y@example.org"}, Password: `q"'\;--`},
		{Person: directory.Person{Name: "blocked@example.org", Blocked: "for the test"}, Password: password},
	}
	for i := range list {
		if s.NoAliases {
			list[i].Aliases = nil
		}
		if s.NoDisplayName {
			list[i].DisplayName = ""
		}
		if s.NoQuota {
			list[i].QuotaBytes = nil
		}
		if s.NoQuota || s.NoMessages {
			list[i].QuotaMessages = nil
		}
	}
	if s.NoBlocked {
		list = list[:len(list)-1]
	}
	return list
}

func who(t *testing.T, d directory.Source, name string) directory.Person {
	t.Helper()
	p, err := d.Find(t.Context(), name)
	if err != nil {
		t.Fatalf("Find(%s): %v", name, err)
	}
	if err := directory.CheckID(p.ID); err != nil {
		t.Errorf("Find(%s): the identifier %q: %v", name, p.ID, err)
	}
	return *p
}

// samePerson compares what people gave with what came back: what the source does
// not say it may leave out.
func samePerson(got, want directory.Person) bool {
	number := func(a, b *int64) bool { return b == nil || a != nil && *a == *b }
	slices.Sort(got.Aliases)
	return got.Name == want.Name && slices.Equal(got.Aliases, want.Aliases) && (want.DisplayName == "" || got.DisplayName == want.DisplayName) &&
		(got.Blocked == "") == (want.Blocked == "") && number(got.QuotaBytes, want.QuotaBytes) && number(got.QuotaMessages, want.QuotaMessages)
}

func sourceFind(t *testing.T, s SourceTest, d directory.Source) {
	for _, want := range s.People() {
		if got := who(t, d, want.Name); !samePerson(got, want.Person) {
			t.Errorf("Find(%s) = %+v, want %+v", want.Name, got, want.Person)
		}
	}
}

// foreign are names that mean nobody: parts, patterns, and what breaks out of
// queries that are put together as text.
var foreign = []string{
	"", "anna", "nna@example.org", "anna@example.or", "*", "a*", "anna*@example.org", "*@example.org", "%", "a%", "_nna@example.org",
	"anna@example.org)(uid=*", "*)(objectclass=*", "anna@example.org)(|(uid=*", `anna\40example.org`, `\61nna@example.org`, "anna@example.org,dc=test", "anna@example.org+cn=x",
	"anna@example.org' or '1'='1", `anna@example.org" or ""="`, "anna@example.org;--", "x' union select 1--", "$(id)", "anna@example.org:x", "../anna@example.org",
	"anna@example.org\x00", "anna@example.org\n", "#anna", strings.Repeat("a", directory.MaxName),
}

func sourceFindUnknown(t *testing.T, s SourceTest, d directory.Source) {
	for _, name := range foreign {
		p, err := d.Find(t.Context(), name)
		wantKind(t, fmt.Sprintf("Find(%q) = %v", name, p), err, mail.KindNotFound)
		p, err = d.CheckPassword(t.Context(), name, password)
		wantKind(t, fmt.Sprintf("CheckPassword(%q) = %v", name, p), err, mail.KindNotFound)
	}
}

func sourceAliases(t *testing.T, s SourceTest, d directory.Source) {
	for _, want := range s.People() {
		for _, alias := range want.Aliases {
			if got := who(t, d, alias); !samePerson(got, want.Person) {
				t.Errorf("Find(%s) = %+v, want %+v", alias, got, want.Person)
			}
			if p, err := d.CheckPassword(t.Context(), alias, want.Password); err != nil || p.Name != want.Name {
				t.Errorf("CheckPassword(%s) = %v, %v", alias, p, err)
			}
		}
	}
}

func sourceIdentifiers(t *testing.T, s SourceTest, d directory.Source) {
	ids := map[string]string{}
	for _, p := range s.People() {
		id := who(t, d, p.Name).ID
		if other, taken := ids[id]; taken {
			t.Errorf("%s and %s have one identifier", other, p.Name)
		}
		ids[id] = p.Name
		for _, alias := range p.Aliases {
			if again := who(t, d, alias).ID; again != id {
				t.Errorf("%s has the identifier %q, %s %q", p.Name, id, alias, again)
			}
		}
		if p.Password == "" || p.Blocked != "" {
			continue
		}
		if checked, err := d.CheckPassword(t.Context(), p.Name, p.Password); err != nil || checked.ID != id {
			t.Errorf("CheckPassword(%s) = %v, %v; Find gave the identifier %q", p.Name, checked, err, id)
		}
	}
}

func sourceCheckPassword(t *testing.T, s SourceTest, d directory.Source) {
	most := s.MaxPassword
	if most == 0 {
		most = directory.MaxPassword
	}
	for _, p := range s.People() {
		if p.Password != "" && p.Blocked == "" {
			got, err := d.CheckPassword(t.Context(), p.Name, p.Password)
			if err != nil || !samePerson(*got, p.Person) {
				t.Errorf("the right password of %s: %+v, %v", p.Name, got, err)
			}
		}
		for _, wrong := range []string{
			"", "wrong", p.Password + " ", p.Password + "x", " " + p.Password, strings.ToUpper(p.Password), "*", "%", "' or '1'='1", "\x00",
			p.Password + "\x00", p.Password + "\x00x", strings.Repeat("x", most),
		} {
			if wrong == p.Password && wrong != "" {
				continue
			}
			got, err := d.CheckPassword(t.Context(), p.Name, wrong)
			wantKind(t, fmt.Sprintf("CheckPassword(%s, %.20q)", p.Name, wrong), err, mail.KindAuthenticationFailed)
			if got != nil {
				t.Errorf("CheckPassword(%s, %.20q) gave somebody", p.Name, wrong)
			}
		}
	}
	_, err := d.CheckPassword(t.Context(), "nobody@example.org", "")
	if err == nil || mail.KindOf(err) != mail.KindAuthenticationFailed && mail.KindOf(err) != mail.KindNotFound {
		t.Errorf("an empty password of nobody: %v", err)
	}
}

func sourceBlocked(t *testing.T, s SourceTest, d directory.Source) {
	for _, p := range s.People() {
		if p.Blocked == "" {
			continue
		}
		if who(t, d, p.Name).Blocked == "" {
			t.Errorf("%s is not blocked", p.Name)
		}
		got, err := d.CheckPassword(t.Context(), p.Name, p.Password)
		if err == nil && got.Blocked == "" {
			t.Errorf("the password of %s, who is blocked, is right", p.Name)
		}
		if err != nil {
			wantKind(t, "CheckPassword of "+p.Name, err, mail.KindAuthenticationFailed)
		}
	}
}

func sourceKeys(t *testing.T, s SourceTest, d directory.Source) {
	keys, ok := d.(directory.KeySource)
	if !ok {
		t.Skip("this directory gives no SCRAM keys")
	}
	given := 0
	for _, p := range s.People() {
		for _, h := range directory.Hashes {
			got, k, err := keys.ScramKeys(t.Context(), p.Name, h)
			if err != nil {
				wantKind(t, fmt.Sprintf("ScramKeys(%s, %s)", p.Name, h), err, mail.KindNotFound)
				continue
			}
			given++
			if p.Password == "" || got.Name != p.Name || k.Hash != h || !matches(t, k, p.Password) || matches(t, k, "wrong") {
				t.Errorf("ScramKeys(%s, %s) = %v: not the password's", p.Name, h, got)
			}
		}
	}
	if given == 0 {
		t.Error("nobody has keys")
	}
	for _, name := range foreign {
		_, _, err := keys.ScramKeys(t.Context(), name, directory.SHA256)
		wantKind(t, fmt.Sprintf("ScramKeys(%q)", name), err, mail.KindNotFound)
	}
}

func sourcePeople(t *testing.T, s SourceTest, d directory.Source) {
	lister, ok := d.(directory.Lister)
	if !ok {
		t.Skip("this directory does not say whom it knows")
	}
	var got, want []string
	for _, p := range s.People() {
		want = append(want, p.Name)
	}
	if err := lister.People(t.Context(), func(p directory.Person) error {
		got = append(got, p.Name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("People gave %v, want %v", got, want)
	}
	mine, calls := mail.Errorf(mail.KindLimit, "enough"), 0
	err := lister.People(t.Context(), func(directory.Person) error { calls++; return mine })
	if err == nil || mail.KindOf(err) != mail.KindLimit || calls != 1 {
		t.Errorf("People went on after an error: %d calls, %v", calls, err)
	}
}

func sourceCancelled(t *testing.T, s SourceTest, d directory.Source) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Find(ctx, "anna@example.org")
	wantKind(t, "Find", err, mail.KindUnavailable)
	_, err = d.CheckPassword(ctx, "anna@example.org", password)
	wantKind(t, "CheckPassword", err, mail.KindUnavailable)
	// The directory is well after that.
	if p, err := d.CheckPassword(t.Context(), "anna@example.org", password); err != nil {
		t.Errorf("after a call that was given up: %v, %v", p, err)
	}
}

func sourceCopies(t *testing.T, s SourceTest, d directory.Source) {
	p, err := d.Find(t.Context(), "anna@example.org")
	if err != nil {
		t.Fatal(err)
	}
	p.Name, p.Blocked = "changed", "changed"
	for i := range p.Aliases {
		p.Aliases[i] = "changed"
	}
	if got := who(t, d, "anna@example.org"); !samePerson(got, s.People()[0].Person) {
		t.Errorf("a caller changed the person to %+v", got)
	}
}

func sourceConcurrent(t *testing.T, s SourceTest, d directory.Source) {
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for range 5 {
				if p, err := d.CheckPassword(t.Context(), "anna@example.org", password); err != nil || p.Name != "anna@example.org" {
					t.Errorf("the right password: %v, %v", p, err)
				}
				if p, err := d.CheckPassword(t.Context(), "bert@example.org", fmt.Sprint("wrong", i)); err == nil || mail.KindOf(err) != mail.KindAuthenticationFailed {
					t.Errorf("a wrong password: %v, %v", p, err)
				}
				if p, err := d.Find(t.Context(), "bert@example.org"); err != nil || p.Name != "bert@example.org" {
					t.Errorf("Find: %v, %v", p, err)
				}
			}
		})
	}
	wait.Wait()
}
