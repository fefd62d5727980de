package chain

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/seal"
	"github.com/postern-mail/postern/store/memory"
)

// accounts are a mail store of quotas.
type accounts struct {
	mu    sync.Mutex
	next  mail.AccountID
	quota map[mail.AccountID][2]int64
}

func (a *accounts) CreateAccount(_ context.Context, bytes, messages int64) (mail.AccountID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	a.quota[a.next] = [2]int64{bytes, messages}
	return a.next, nil
}

func (a *accounts) RemoveAccount(_ context.Context, id mail.AccountID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.quota, id)
	return nil
}

func (a *accounts) Quota(_ context.Context, id mail.AccountID) (int64, int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.quota[id][0], a.quota[id][1], nil
}

func (a *accounts) SetQuota(_ context.Context, id mail.AccountID, bytes, messages int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.quota[id] = [2]int64{bytes, messages}
	return nil
}

// fixture is a chain: our own directory for own.example and names without a domain,
// then first for every name, then second.
type fixture struct {
	*Directory
	own           *embedded.Directory
	first, second *outside
	accounts      *accounts
	records       *memory.Engine
	clock         *clock
}

func make3(t *testing.T, change func(links []Link) []Link) *fixture {
	t.Helper()
	f := &fixture{
		first: &outside{}, second: &outside{}, accounts: &accounts{next: 1000, quota: map[mail.AccountID][2]int64{}},
		records: memory.New(), clock: &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
	}
	var err error
	f.own, err = embedded.Open(t.Context(), f.records, embedded.Options{Argon2: embedded.Argon2{Memory: 8, Time: 1, Threads: 1}, ScramIterations: 4096, Key: seal.At(filepath.Join(t.TempDir(), "key"))})
	if err != nil {
		t.Fatal(err)
	}
	links := []Link{
		{Name: "own", Own: f.own, Domains: []string{"own.example", ""}},
		{Name: "first", Source: f.first, Provision: true, Cache: time.Hour},
		{Name: "second", Source: f.second, Provision: true},
	}
	if change != nil {
		links = change(links)
	}
	f.open(t, links)
	return f
}

func (f *fixture) open(t *testing.T, links []Link) {
	t.Helper()
	o := Options{Links: links, Accounts: f.accounts, Records: f.records, Now: f.clock.now}
	o.Secret, o.ScramIterations = f.own.Nobody()
	var err error
	if f.Directory, err = Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	f.wait = func(context.Context, time.Duration) {}
}

func someone(id, name, password string) directorytest.Someone {
	return directorytest.Someone{Person: directory.Person{ID: id, Name: name}, Password: password}
}

// signIn is what auth does.
func (f *fixture) signIn(t *testing.T, name, password string) (*directory.Entry, error) {
	t.Helper()
	e, err := f.CheckPassword(t.Context(), name, password)
	if err != nil {
		return nil, err
	}
	return directory.Provide(t.Context(), f.Directory, e)
}

func (f *fixture) must(t *testing.T, name, password string) *directory.Entry {
	t.Helper()
	e, err := f.signIn(t, name, password)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return e
}

func wantKind(t *testing.T, what string, err error, kind mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != kind {
		t.Errorf("%s: %v, want %v", what, err, kind)
	}
}

// A chain of our own directory alone is what that directory is.
func TestOwnAlone(t *testing.T) {
	directorytest.Run(t, func(t *testing.T) directory.Writable {
		return make3(t, func(links []Link) []Link { return []Link{{Name: "embedded", Own: links[0].Own}} }).Directory
	})
}

func TestOrder(t *testing.T) {
	f := make3(t, nil)
	if err := f.own.Create(t.Context(), directory.Entry{Name: "local", Account: 7, Enabled: true}, "own"); err != nil {
		t.Fatal(err)
	}
	if err := f.own.Create(t.Context(), directory.Entry{Name: "hidden@example.org", Account: 8, Enabled: true}, "own"); err != nil {
		t.Fatal(err)
	}
	f.first.people = []directorytest.Someone{someone("1", "anna@example.org", "one"), someone("2", "local", "first"), someone("3", "hidden@example.org", "first")}
	f.second.people = []directorytest.Someone{someone("1", "anna@example.org", "two"), someone("9", "bert@example.org", "two")}
	for _, c := range []struct {
		name, password, directory string
	}{
		{"local", "own", ""}, {"anna@example.org", "one", "first"}, {"bert@example.org", "two", "second"}, {"hidden@example.org", "first", "first"},
	} {
		if e := f.must(t, c.name, c.password); e.Directory != c.directory || e.Name != c.name || e.Account == 0 {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
	// The first that knows a name judges; nobody else's password counts.
	for _, c := range [][2]string{
		{"local", "first"}, {"anna@example.org", "two"}, {"hidden@example.org", "own"}, {"anna@example.org", ""}, {"nobody@example.org", "own"}, {"nobody", "x"},
	} {
		_, err := f.CheckPassword(t.Context(), c[0], c[1])
		wantKind(t, fmt.Sprint(c), err, mail.KindAuthenticationFailed)
	}
	// A directory that does not answer may know the name: no later one is asked.
	f.first.set(func(o *outside) { o.err = mail.Errorf(mail.KindUnavailable, "") })
	before := f.second.calls
	_, err := f.CheckPassword(t.Context(), "bert@example.org", "two")
	wantKind(t, "bert while first is down", err, mail.KindUnavailable)
	_, err = f.Lookup(t.Context(), "bert@example.org")
	wantKind(t, "bert while first is down", err, mail.KindUnavailable)
	_, _, err = f.ScramKeys(t.Context(), "bert@example.org", directory.SHA256)
	wantKind(t, "bert while first is down", err, mail.KindUnavailable)
	if f.second.calls != before {
		t.Error("second was asked")
	}
	if e := f.must(t, "local", "own"); e.Name != "local" {
		t.Error("our own directory needs first")
	}
}

func TestDomains(t *testing.T) {
	f := make3(t, func(links []Link) []Link {
		links[1].Domains = []string{"a.example"}
		links[2].Domains = []string{"b.example", "a.example"}
		return links
	})
	f.second.people = []directorytest.Someone{someone("1", "x@b.example", "p"), someone("2", "y@a.example", "p"), someone("3", "z@c.example", "p")}
	f.first.set(func(o *outside) { o.err = mail.Errorf(mail.KindUnavailable, "") })
	f.must(t, "x@b.example", "p")
	_, err := f.signIn(t, "y@a.example", "p")
	wantKind(t, "first is down and asked first", err, mail.KindUnavailable)
	_, err = f.signIn(t, "z@c.example", "p")
	wantKind(t, "nobody's domain", err, mail.KindAuthenticationFailed)
	answers := f.Asked(t.Context(), "x@b.example")
	var text []string
	for _, a := range answers {
		text = append(text, a.Text)
	}
	if got := strings.Join(text, "|"); got != "The directory own is not asked: the name has none of its domains.|The directory first is not asked: the name has none of its domains.|The directory second knows the name." {
		t.Error(got)
	}
}

// The identifier is the person: names come and go.
func TestIdentity(t *testing.T) {
	f := make3(t, nil)
	f.first.people = []directorytest.Someone{someone("id-a", "anna@example.org", "a")}
	anna := f.must(t, "anna@example.org", "a")
	if again := f.must(t, "anna@example.org", "a"); again.Account != anna.Account {
		t.Errorf("two accounts: %+v, %+v", anna, again)
	}
	// Renamed, and somebody new has the old name.
	f.first.set(func(o *outside) {
		o.people = []directorytest.Someone{someone("id-a", "anna.b@example.org", "a"), someone("id-new", "anna@example.org", "n")}
	})
	other := f.must(t, "anna@example.org", "n")
	if other.Account == anna.Account {
		t.Fatal("the new one has the old one's mail")
	}
	// Until she is seen, the list tells them apart.
	list, err := f.List(t.Context())
	if err != nil || len(list) != 2 || list[0].Name != "anna@example.org" || list[0].Account != other.Account || list[1].Name != "id-a@first" {
		t.Errorf("List: %+v, %v", list, err)
	}
	if renamed := f.must(t, "anna.b@example.org", "a"); renamed.Account != anna.Account || renamed.Name != "anna.b@example.org" {
		t.Errorf("renamed: %+v, was %+v", renamed, anna)
	}
	// After a restart too.
	f.open(t, []Link{f.links[0].Link, f.links[1].Link, f.links[2].Link})
	if e := f.must(t, "anna.b@example.org", "a"); e.Account != anna.Account {
		t.Errorf("after opening again: %+v", e)
	}
	// Another directory's same identifier is somebody else.
	f.second.people = []directorytest.Someone{someone("id-a", "x@example.org", "x")}
	if e := f.must(t, "x@example.org", "x"); e.Account == anna.Account {
		t.Error("two directories share an account")
	}
}

func TestGone(t *testing.T) {
	f := make3(t, nil)
	f.first.people = []directorytest.Someone{someone("1", "anna@example.org", "a")}
	anna := f.must(t, "anna@example.org", "a")
	f.first.set(func(o *outside) { o.people = nil })
	_, err := f.signIn(t, "anna@example.org", "a")
	wantKind(t, "gone", err, mail.KindAuthenticationFailed)
	e, err := f.Lookup(t.Context(), "anna@example.org")
	if err != nil || e.Enabled || !e.Gone || e.Account != anna.Account {
		t.Fatalf("Lookup: %+v, %v", e, err)
	}
	if err := f.Remove(t.Context(), "anna@example.org"); err != nil {
		t.Fatal(err)
	}
	_, err = f.Lookup(t.Context(), "anna@example.org")
	wantKind(t, "removed", err, mail.KindNotFound)
	if list, err := f.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List: %v, %v", list, err)
	}
}

// Nobody who may not get in gets a mailbox; looking makes none.
func TestProvision(t *testing.T) {
	f := make3(t, func(links []Link) []Link { links[2].Provision = false; return links })
	blocked := someone("2", "blocked@example.org", "b")
	blocked.Blocked = "for the test"
	f.first.people = []directorytest.Someone{someone("1", "anna@example.org", "a"), blocked}
	f.second.people = []directorytest.Someone{someone("3", "manual@example.org", "m")}
	if e, err := f.Lookup(t.Context(), "anna@example.org"); err != nil || e.Account != 0 || !e.Enabled {
		t.Errorf("Lookup: %+v, %v", e, err)
	}
	_, err := f.CheckPassword(t.Context(), "anna@example.org", "wrong")
	wantKind(t, "wrong", err, mail.KindAuthenticationFailed)
	_, err = f.signIn(t, "blocked@example.org", "b")
	wantKind(t, "blocked", err, mail.KindDisabled)
	_, err = f.signIn(t, "manual@example.org", "m")
	wantKind(t, "no provisioning", err, mail.KindDisabled)
	if len(f.accounts.quota) != 0 {
		t.Errorf("accounts: %v", f.accounts.quota)
	}
	// An administrator makes it.
	wantKind(t, "with a password", f.Create(t.Context(), directory.Entry{Name: "manual@example.org", Account: 77}, "x"), mail.KindCannot)
	if err := f.Create(t.Context(), directory.Entry{Name: "manual@example.org", Account: 77}, ""); err != nil {
		t.Fatal(err)
	}
	if e := f.must(t, "manual@example.org", "m"); e.Account != 77 {
		t.Errorf("%+v", e)
	}
	wantKind(t, "again", f.Create(t.Context(), directory.Entry{Name: "manual@example.org", Account: 78}, ""), mail.KindAlreadyExists)
	// A new one is our own directory's, within its domains.
	wantKind(t, "another domain", f.Create(t.Context(), directory.Entry{Name: "new@example.org", Account: 79}, ""), mail.KindCannot)
	if err := f.Create(t.Context(), directory.Entry{Name: "new@own.example", Account: 79, Enabled: true}, "x"); err != nil {
		t.Error(err)
	}
	wantKind(t, "an alias that is taken outside", f.Create(t.Context(), directory.Entry{Name: "n2@own.example", Aliases: []string{"anna@example.org"}, Account: 80}, ""), mail.KindAlreadyExists)

	// Of many first logins at once one makes the account.
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() { f.signIn(t, "anna@example.org", "a") })
	}
	wait.Wait()
	if len(f.accounts.quota) != 1 {
		t.Errorf("accounts: %v", f.accounts.quota)
	}
}

func TestChange(t *testing.T) {
	f := make3(t, nil)
	anna := someone("1", "anna@example.org", "a")
	anna.Aliases, anna.DisplayName = []string{"a@example.org"}, "Anna"
	f.first.people = []directorytest.Someone{anna}
	set := func(change func(*directory.Entry)) error {
		return f.Change(t.Context(), "a@example.org", func(e *directory.Entry) error { change(e); return nil })
	}
	wantKind(t, "before there is a mailbox", set(func(e *directory.Entry) { e.PopEnabled = false }), mail.KindCannot)
	f.must(t, "a@example.org", "a")
	for what, change := range map[string]func(*directory.Entry){
		"aliases": func(e *directory.Entry) { e.Aliases = append(e.Aliases, "more@example.org") },
		"name":    func(e *directory.Entry) { e.DisplayName = "Other" },
	} {
		err := set(change)
		wantKind(t, what, err, mail.KindCannot)
		if err != nil && !strings.Contains(mail.TextOf(err), "the directory first") {
			t.Errorf("%s: %v", what, err)
		}
	}
	err := f.SetPassword(t.Context(), "anna@example.org", "new")
	wantKind(t, "SetPassword", err, mail.KindCannot)
	if err := set(func(e *directory.Entry) { e.PopEnabled, e.Enabled = false, false }); err != nil {
		t.Fatal(err)
	}
	if e, err := f.Lookup(t.Context(), "anna@example.org"); err != nil || e.PopEnabled || e.Enabled || !e.ImapEnabled {
		t.Errorf("%+v, %v", e, err)
	}
	if err := set(func(e *directory.Entry) { e.PopEnabled, e.Enabled = true, true }); err != nil {
		t.Fatal(err)
	}
	if e := f.must(t, "anna@example.org", "a"); !e.PopEnabled || !e.Enabled {
		t.Errorf("%+v", e)
	}
	// What the directory switched off stays off.
	f.first.set(func(o *outside) { o.people[0].Blocked = "for the test" })
	wantKind(t, "Enabled", set(func(e *directory.Entry) { e.Enabled = true }), mail.KindCannot)
}

func TestQuota(t *testing.T) {
	f := make3(t, nil)
	size := func(n int64) *int64 { return &n }
	anna := someone("1", "anna@example.org", "a")
	anna.QuotaBytes = size(100)
	f.first.people = []directorytest.Someone{anna}
	id := f.must(t, "anna@example.org", "a").Account
	want := func(what string, bytes int64) {
		t.Helper()
		f.must(t, "anna@example.org", "a")
		if got := f.accounts.quota[id][0]; got != bytes {
			t.Errorf("%s: the quota is %d, want %d", what, got, bytes)
		}
	}
	want("at first", 100)
	f.first.set(func(o *outside) { o.people[0].QuotaBytes = size(200) })
	want("the directory's", 200)
	f.accounts.SetQuota(t.Context(), id, 50, 0)
	f.first.set(func(o *outside) { o.people[0].QuotaBytes = size(300) })
	want("an administrator's", 50)
	f.accounts.SetQuota(t.Context(), id, 300, 0)
	f.first.set(func(o *outside) { o.people[0].QuotaBytes = size(400) })
	want("the directory's again", 400)
}

// What was seen serves while the directory does not answer, for its time, until the
// directory says something else.
func TestOutage(t *testing.T) {
	f := make3(t, nil)
	down := func(is bool) {
		f.first.set(func(o *outside) {
			o.err = nil
			if is {
				o.err = mail.Errorf(mail.KindUnavailable, "")
			}
		})
	}
	anna := someone("1", "anna@example.org", "a")
	anna.Aliases = []string{"alias@example.org"}
	f.first.people = []directorytest.Someone{anna}
	first := f.must(t, "anna@example.org", "a")
	f.must(t, "alias@example.org", "a")

	down(true)
	if e := f.must(t, "anna@example.org", "a"); e.Account != first.Account {
		t.Errorf("%+v", e)
	}
	if e, err := f.Lookup(t.Context(), "alias@example.org"); err != nil || e.Account != first.Account {
		t.Errorf("%+v, %v", e, err)
	}
	for _, c := range [][2]string{{"anna@example.org", "other"}, {"bert@example.org", "a"}, {"nobody@example.org", "x"}} {
		_, err := f.CheckPassword(t.Context(), c[0], c[1])
		wantKind(t, fmt.Sprint("down: ", c), err, mail.KindUnavailable)
	}
	f.clock.pass(time.Hour)
	_, err := f.signIn(t, "anna@example.org", "a")
	wantKind(t, "after the time", err, mail.KindUnavailable)

	for what, change := range map[string]func(){
		"another password, tried by an alias": func() {
			f.first.set(func(o *outside) { o.people[0].Password = "b" })
			f.CheckPassword(t.Context(), "alias@example.org", "a")
		},
		"gone": func() {
			f.first.set(func(o *outside) { o.people = nil })
			f.Lookup(t.Context(), "anna@example.org")
		},
		"blocked": func() {
			f.first.set(func(o *outside) { o.people[0].Blocked = "x" })
			f.Lookup(t.Context(), "alias@example.org")
		},
		"changed": func() {
			f.first.set(func(o *outside) { o.people[0].PasswordChanged = time.Unix(5, 0) })
			f.Lookup(t.Context(), "anna@example.org")
		},
		"somebody else": func() {
			f.first.set(func(o *outside) { o.people[0].ID = "2" })
			f.Lookup(t.Context(), "anna@example.org")
		},
	} {
		down(false)
		f.first.set(func(o *outside) { o.people = []directorytest.Someone{anna} })
		f.must(t, "anna@example.org", "a")
		f.must(t, "alias@example.org", "a")
		change()
		down(true)
		for _, name := range []string{"anna@example.org", "alias@example.org"} {
			if _, err := f.signIn(t, name, "a"); err == nil {
				t.Errorf("%s: %s signs in", what, name)
			}
		}
	}
	// Not at all where the settings do not say so.
	f.first.set(func(o *outside) { o.err, o.people = nil, nil })
	f.second.people = []directorytest.Someone{someone("9", "bert@example.org", "b")}
	f.must(t, "bert@example.org", "b")
	f.second.set(func(o *outside) { o.err = mail.Errorf(mail.KindUnavailable, "") })
	_, err = f.signIn(t, "bert@example.org", "b")
	wantKind(t, "no cache", err, mail.KindUnavailable)
}

// What is remembered is bounded.
func TestSeenIsBounded(t *testing.T) {
	s := newSeen(time.Hour, time.Now)
	for i := range maxSeen + 10 {
		s.proved(fmt.Sprint("u", i), "p", &directory.Person{ID: fmt.Sprint(i)})
	}
	for i := range 10 {
		s.proved("u99", fmt.Sprint(i), &directory.Person{ID: "99"})
	}
	if len(s.names) != maxSeen || s.order.Len() != maxSeen || len(s.byID) != maxSeen || len(s.names["u99"].Value.(*sight).proofs) != maxProofs {
		t.Errorf("%d names, %d in order, %d people", len(s.names), s.order.Len(), len(s.byID))
	}
	if s.was("u99", "9") == nil || s.was("u99", "p") != nil || s.was("u0", "p") != nil {
		t.Error("the wrong ones went")
	}
}

// What a directory may not say counts as no answer.
func TestLies(t *testing.T) {
	f := make3(t, nil)
	for _, p := range []directory.Person{
		{ID: "", Name: "anna@example.org"}, {ID: "a b", Name: "anna@example.org"}, {ID: "1", Name: "Anna@example.org"}, {ID: "1"},
		{ID: "1", Name: "anna@example.org", Aliases: []string{"X"}},
	} {
		f.first.people = []directorytest.Someone{{Person: p, Password: "a"}}
		name := p.Name
		_, err := f.signIn(t, name, "a")
		wantKind(t, fmt.Sprintf("%+v", p), err, mail.KindUnavailable)
	}
}

// Failures of names that other servers do not know take as long as wrong passwords.
func TestFailuresTakeSteps(t *testing.T) {
	f := make3(t, nil)
	f.first.people = []directorytest.Someone{someone("1", "anna@example.org", "a")}
	var waited []time.Duration
	f.wait = func(_ context.Context, d time.Duration) { waited = append(waited, d) }
	for _, name := range []string{"anna@example.org", "nobody@example.org"} {
		f.CheckPassword(t.Context(), name, "wrong")
	}
	f.must(t, "anna@example.org", "a")
	if len(waited) != 2 || waited[0] != failureStep || waited[1] != failureStep {
		t.Errorf("waited %v", waited)
	}
}

// Nobody of an external directory has keys here: the exchange is played and fails.
func TestScramKeysOutside(t *testing.T) {
	f := make3(t, nil)
	f.first.people = []directorytest.Someone{someone("1", "anna@example.org", "a")}
	_, nobody, _ := f.own.ScramKeys(t.Context(), "anna@example.org", directory.SHA256)
	for _, name := range []string{"anna@example.org", "nobody@example.org"} {
		e, k, err := f.ScramKeys(t.Context(), name, directory.SHA256)
		if e != nil || err != nil || len(k.Salt) != len(nobody.Salt) || k.Iterations != nobody.Iterations {
			t.Errorf("%s: %v, %v, %v", name, e, k, err)
		}
	}
	if !f.HasKeys() {
		t.Error("our own directory has keys")
	}
	if d := make3(t, func(links []Link) []Link { return links[1:] }); d.HasKeys() {
		t.Error("nobody has keys")
	}
}

// keyless offers SCRAM, and nobody has keys yet.
type keyless struct{ *outside }

func (keyless) ScramKeys(context.Context, string, directory.Hash) (*directory.Person, directory.ScramKeys, error) {
	return nil, directory.ScramKeys{}, mail.Errorf(mail.KindNotFound, "")
}

// Who is known without keys is not somebody else with the same name in a later
// directory.
func TestScramKeysOfAnother(t *testing.T) {
	f := make3(t, func(links []Link) []Link {
		links[1].Source = keyless{links[1].Source.(*outside)}
		return []Link{links[1], {Name: "own", Own: links[0].Own}}
	})
	f.first.people = []directorytest.Someone{someone("1", "anna@example.org", "a")}
	for _, name := range []string{"anna@example.org", "bert@example.org"} {
		if err := f.own.Create(t.Context(), directory.Entry{Name: name, Account: 7}, "geheim 1"); err != nil {
			t.Fatal(err)
		}
	}
	if e, _, err := f.ScramKeys(t.Context(), "anna@example.org", directory.SHA256); e != nil || err != nil {
		t.Errorf("anna has the keys of %v, %v", e, err)
	}
	if e, _, err := f.ScramKeys(t.Context(), "bert@example.org", directory.SHA256); e == nil || err != nil {
		t.Errorf("bert has the keys of %v, %v", e, err)
	}
}

// Readable passwords are our own directory's; who is known to one before it has none.
func TestCheckAnswer(t *testing.T) {
	f := make3(t, func(links []Link) []Link {
		links[0].Domains = nil
		return []Link{links[1], links[0], links[2]}
	})
	f.first.set(func(o *outside) {
		o.people = append(o.people, someone("1", "anna@example.org", "theirs"))
	})
	var waits int
	f.wait = func(context.Context, time.Duration) { waits++ }
	for i, name := range []string{"anna@example.org", "bert@example.org"} {
		e := directory.Entry{Name: name, Account: mail.AccountID(50 + i), LegacyMechanisms: []string{"CRAM-MD5"}}
		if err := f.own.Create(t.Context(), e, "ours"); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name, want string) error {
		t.Helper()
		asked := 0
		_, err := f.CheckAnswer(t.Context(), name, func(p []byte) bool {
			asked++
			return want == "" || string(p) == want
		})
		if asked != 1 && mail.KindOf(err) != mail.KindUnavailable && mail.KindOf(err) != mail.KindCannot {
			t.Errorf("%s: asked %d times", name, asked)
		}
		return err
	}
	if err := check("bert@example.org", "ours"); err != nil || waits != 0 {
		t.Errorf("bert: %v, %d waits", err, waits)
	}
	for i, name := range []string{"bert@example.org", "anna@example.org", "nobody@example.org"} {
		want := ""
		if name == "bert@example.org" {
			want = "theirs"
		}
		wantKind(t, name, check(name, want), mail.KindAuthenticationFailed)
		if waits != i+1 {
			t.Errorf("%s: %d waits", name, waits)
		}
	}
	f.first.set(func(o *outside) { o.err = mail.Errorf(mail.KindUnavailable, "down") })
	for _, name := range []string{"bert@example.org", "nobody@example.org"} {
		wantKind(t, name+" while the first is down", check(name, "ours"), mail.KindUnavailable)
	}
	if !f.HasReadable() {
		t.Error("the chain has no readable passwords")
	}
	f = make3(t, func(links []Link) []Link { return links[1:] })
	if f.HasReadable() {
		t.Error("external directories have readable passwords")
	}
	wantKind(t, "without a directory of our own", check("anna@example.org", ""), mail.KindCannot)
}

// Of somebody outside only mechanisms that need no readable password are switched on.
func TestLegacyOutside(t *testing.T) {
	f := make3(t, nil)
	f.first.set(func(o *outside) { o.people = append(o.people, someone("1", "anna@example.org", "theirs")) })
	e, err := f.Provide(t.Context(), f.must(t, "anna@example.org", "theirs"))
	if err != nil {
		t.Fatal(err)
	}
	set := func(list ...string) error {
		return f.Change(t.Context(), e.Name, func(e *directory.Entry) error {
			e.LegacyMechanisms = list
			return nil
		})
	}
	wantKind(t, "CRAM-MD5", set("CRAM-MD5", "NTLM"), mail.KindCannot)
	if err := set("NTLM"); err != nil {
		t.Fatal(err)
	}
	if e := f.must(t, "anna@example.org", "theirs"); len(e.LegacyMechanisms) != 1 || e.LegacyMechanisms[0] != "NTLM" {
		t.Errorf("got %+v", e)
	}
	if err := set(); err != nil {
		t.Fatal(err)
	}
	if e := f.must(t, "anna@example.org", "theirs"); len(e.LegacyMechanisms) != 0 {
		t.Errorf("got %+v", e)
	}
}

// Of somebody outside Postern keeps what it does with protocols.
func TestProtocolsOutside(t *testing.T) {
	f := make3(t, nil)
	f.first.set(func(o *outside) { o.people = append(o.people, someone("1", "anna@example.org", "theirs")) })
	e, err := f.Provide(t.Context(), f.must(t, "anna@example.org", "theirs"))
	if err != nil {
		t.Fatal(err)
	}
	set := func(url string, disabled ...string) error {
		return f.Change(t.Context(), e.Name, func(e *directory.Entry) error {
			e.ImapReferralURL, e.DisabledCapabilities = url, disabled
			return nil
		})
	}
	wantKind(t, "no URL", set("http://h/"), mail.KindBadArgument)
	wantKind(t, "no capability", set("", "NONE"), mail.KindBadArgument)
	if err := set("imap://two.example.org/", "IDLE"); err != nil {
		t.Fatal(err)
	}
	if e := f.must(t, "anna@example.org", "theirs"); e.ImapReferralURL != "imap://two.example.org/" || len(e.DisabledCapabilities) != 1 {
		t.Errorf("got %+v", e)
	}
	if err := set(""); err != nil {
		t.Fatal(err)
	}
	if e := f.must(t, "anna@example.org", "theirs"); e.ImapReferralURL != "" || len(e.DisabledCapabilities) != 0 {
		t.Errorf("got %+v", e)
	}
}

func TestClose(t *testing.T) {
	f := make3(t, nil)
	if err := f.Close(); err != nil || !f.first.closed || !f.second.closed {
		t.Errorf("Close: %v", err)
	}
}

// tokens is an external directory that is asked by tokens alone: a token is
// somebody's name.
type tokens struct {
	outside
	at string
}

func (o *tokens) Find(context.Context, string) (*directory.Person, error) {
	return nil, mail.Errorf(mail.KindCannot, "")
}

func (o *tokens) CheckPassword(context.Context, string, string) (*directory.Person, error) {
	return nil, mail.Errorf(mail.KindCannot, "")
}

func (o *tokens) CheckToken(_ context.Context, name, token string) (*directory.Person, time.Time, error) {
	if name != "" && name != token {
		return nil, time.Time{}, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	return &directory.Person{ID: "id-" + token, Name: token}, time.Now().Add(time.Hour), nil
}

func (o *tokens) Issuer() (string, string) { return "https://login.example/" + o.at, "mail" }

// A client is told of the provider for its name, or the first one.
func TestIssuer(t *testing.T) {
	f := make3(t, func(links []Link) []Link {
		return append(links, Link{Name: "a", Source: &tokens{at: "a"}, Domains: []string{"a.example"}}, Link{Name: "b", Source: &tokens{at: "b"}, Domains: []string{"b.example"}})
	})
	for name, want := range map[string]string{"": "a", "x@a.example": "a", "x@b.example": "b", "x@c.example": "a"} {
		if at, scope := f.Issuer(name); at != "https://login.example/"+want || scope != "mail" {
			t.Errorf("%q: %s, %s", name, at, scope)
		}
	}
	if at, scope := make3(t, nil).Issuer(""); at != "" || scope != "" {
		t.Errorf("nobody: %s, %s", at, scope)
	}
}

// TestTokens: who proves a token is known from then on, and nobody becomes the
// namesake of somebody whom an earlier directory knows.
func TestTokens(t *testing.T) {
	source := &tokens{}
	f := make3(t, func(links []Link) []Link {
		return append(links, Link{Name: "tokens", Source: source, Provision: true})
	})
	f.first.set(func(o *outside) { o.people = []directorytest.Someone{someone("1", "anna@example.org", "secret")} })
	check := func(name, token string) (*directory.Entry, error) {
		e, _, err := f.CheckToken(t.Context(), name, token)
		return e, err
	}
	_, err := check("", "anna@example.org")
	wantKind(t, "a namesake", err, mail.KindAuthenticationFailed)
	_, err = f.Lookup(t.Context(), "new@example.org")
	wantKind(t, "before the first login", err, mail.KindNotFound)
	e, err := check("new@example.org", "new@example.org")
	if err != nil || e.Directory != "tokens" {
		t.Fatalf("%+v, %v", e, err)
	}
	if e, err = f.Provide(t.Context(), e); err != nil || e.Account == 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	if again, err := f.Lookup(t.Context(), "new@example.org"); err != nil || again.Account != e.Account {
		t.Errorf("after the first login: %+v, %v", again, err)
	}
	f.first.set(func(o *outside) { o.err = mail.Errorf(mail.KindUnavailable, "") })
	_, err = check("", "new@example.org")
	wantKind(t, "a name that another may know, which does not answer", err, mail.KindUnavailable)
}

// slow is a directory that takes its time for passwords.
type slow struct {
	*outside
	took time.Duration

	mu            sync.Mutex
	running, most int
}

func (s *slow) CheckPassword(ctx context.Context, name, password string) (*directory.Person, error) {
	s.mu.Lock()
	s.running++
	s.most = max(s.most, s.running)
	s.mu.Unlock()
	time.Sleep(s.took)
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	return s.outside.CheckPassword(ctx, name, password)
}

// Who waits for a slow directory keeps nobody of another waiting, and is told when too
// many wait.
func TestSlowDirectoryAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &slow{took: 4 * time.Second} // three begin within the wait of a gate, one after the other
		f := make3(t, func(links []Link) []Link {
			late.outside = links[1].Source.(*outside)
			links[1].Source = late
			return links
		})
		if err := f.Create(t.Context(), directory.Entry{Name: "anna@own.example", Account: 1, Enabled: true}, "secret"); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		kinds := map[mail.Kind]int{}
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				_, err := f.CheckPassword(t.Context(), fmt.Sprintf("u%d@elsewhere.example", i), "wrong")
				mu.Lock()
				defer mu.Unlock()
				kinds[mail.KindOf(err)]++
			})
		}
		synctest.Wait()
		began := time.Now()
		if _, err := f.CheckPassword(t.Context(), "anna@own.example", "secret"); err != nil || !time.Now().Equal(began) {
			t.Errorf("our own directory: %v after %v", err, time.Since(began))
		}
		all.Wait()
		if late.most != proofsStrangers || kinds[mail.KindAuthenticationFailed] != 3*proofsStrangers || kinds[mail.KindUnavailable] != 200-3*proofsStrangers {
			t.Errorf("%d at once, %v", late.most, kinds)
		}
	})
}
