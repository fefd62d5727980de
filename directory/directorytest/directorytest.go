// Package directorytest is the definition of a directory.Writable and of a
// directory.Source: every sentence of their contracts as a test.
package directorytest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// Run tests the directories that open gives, each empty and of its own. Passwords
// should be made cheap in them.
func Run(t *testing.T, open func(t *testing.T) directory.Writable) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, d directory.Writable)
	}{
		{"Lookup", lookup},
		{"LookupUnknown", lookupUnknown},
		{"Aliases", aliases},
		{"NamesAreUnique", namesAreUnique},
		{"CreateRefuses", createRefuses},
		{"CheckPassword", checkPassword},
		{"CheckPasswordAsksNoMore", checkPasswordAsksNoMore},
		{"SetPassword", setPassword},
		{"PasswordChangedIsItsOwn", passwordChangedIsItsOwn},
		{"ScramKeys", scramKeys},
		{"ScramKeysOfNobody", scramKeysOfNobody},
		{"Change", change},
		{"ChangeFails", changeFails},
		{"LegacyMechanisms", legacyMechanisms},
		{"Protocols", protocols},
		{"ReadablePassword", readablePassword},
		{"List", list},
		{"Remove", remove},
		{"Cancelled", cancelled},
		{"EntriesAreCopies", entriesAreCopies},
		{"Concurrent", concurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

const password = "correct horse"

// anna has everything.
func anna() directory.Entry {
	return directory.Entry{
		Name: "anna@example.org", Aliases: []string{"postmaster@example.org", "a.nna@example.org"},
		Account: 7, DisplayName: "Anna Ä.", Enabled: true, PopEnabled: true, ImapEnabled: true,
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func create(t *testing.T, d directory.Writable, e directory.Entry, password string) {
	t.Helper()
	if err := d.Create(t.Context(), e, password); err != nil {
		t.Fatalf("Create(%s): %v", e.Name, err)
	}
}

func find(t *testing.T, d directory.Writable, name string) directory.Entry {
	t.Helper()
	e, err := d.Lookup(t.Context(), name)
	if err != nil {
		t.Fatalf("Lookup(%s): %v", name, err)
	}
	return *e
}

func wantKind(t *testing.T, what string, err error, kind mail.Kind) {
	t.Helper()
	var e *mail.Error
	if err == nil || !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("%s: got %v, want %v", what, err, kind)
	}
}

// same compares all but PasswordChanged, which is the directory's.
func same(a, b directory.Entry) bool {
	return a.Name == b.Name && slices.Equal(a.Aliases, b.Aliases) && a.Account == b.Account && a.DisplayName == b.DisplayName &&
		a.Enabled == b.Enabled && a.PopEnabled == b.PopEnabled && a.ImapEnabled == b.ImapEnabled && a.ResetPassword == b.ResetPassword && a.Created.Equal(b.Created)
}

func lookup(t *testing.T, d directory.Writable) {
	create(t, d, anna(), password)
	if e := find(t, d, "anna@example.org"); !same(e, anna()) || e.PasswordChanged.IsZero() {
		t.Errorf("got %+v, want %+v with PasswordChanged", e, anna())
	}
	create(t, d, directory.Entry{Name: "bare", Account: 8}, "")
	if e := find(t, d, "bare"); e.Enabled || e.PopEnabled || e.ImapEnabled || !e.PasswordChanged.IsZero() || e.Created.IsZero() {
		t.Errorf("an entry of zeros came back as %+v", e)
	}
}

func lookupUnknown(t *testing.T, d directory.Writable) {
	create(t, d, anna(), "")
	// Parts, prefixes and patterns of names are not names.
	for _, name := range []string{"anna", "anna@example.or", "anna@example.org.", "", "*", "%", "anna@example.org\x00"} {
		_, err := d.Lookup(t.Context(), name)
		wantKind(t, fmt.Sprintf("Lookup(%q)", name), err, mail.KindNotFound)
	}
}

func aliases(t *testing.T, d directory.Writable) {
	create(t, d, anna(), password)
	for _, name := range anna().Aliases {
		if e := find(t, d, name); !same(e, anna()) {
			t.Errorf("Lookup(%s) = %+v", name, e)
		}
		if e, err := d.CheckPassword(t.Context(), name, password); err != nil || e.Name != "anna@example.org" {
			t.Errorf("CheckPassword(%s) = %v, %v", name, e, err)
		}
		if e, _, err := d.ScramKeys(t.Context(), name, directory.SHA256); err != nil || e == nil || e.Name != "anna@example.org" {
			t.Errorf("ScramKeys(%s) = %v, %v", name, e, err)
		}
	}
}

func namesAreUnique(t *testing.T, d directory.Writable) {
	create(t, d, anna(), "")
	create(t, d, directory.Entry{Name: "bert", Account: 8}, "")
	for _, e := range []directory.Entry{
		{Name: "anna@example.org", Account: 9},
		{Name: "postmaster@example.org", Account: 9},
		{Name: "new", Aliases: []string{"bert"}, Account: 9},
		{Name: "new", Aliases: []string{"free", "postmaster@example.org"}, Account: 9},
	} {
		wantKind(t, fmt.Sprintf("Create(%s %v)", e.Name, e.Aliases), d.Create(t.Context(), e, ""), mail.KindAlreadyExists)
	}
	for _, alias := range []string{"anna@example.org", "postmaster@example.org"} {
		err := d.Change(t.Context(), "bert", func(e *directory.Entry) error {
			e.Aliases = []string{alias}
			return nil
		})
		wantKind(t, "Change to a taken alias", err, mail.KindAlreadyExists)
	}
	// All or nothing: nothing of the refused entries is there.
	for _, name := range []string{"new", "free"} {
		_, err := d.Lookup(t.Context(), name)
		wantKind(t, "Lookup("+name+")", err, mail.KindNotFound)
	}
	if e := find(t, d, "postmaster@example.org"); e.Name != "anna@example.org" {
		t.Errorf("the alias went to %s", e.Name)
	}
}

func createRefuses(t *testing.T, d directory.Writable) {
	for _, e := range []directory.Entry{
		{Name: "", Account: 1},
		{Name: "Anna", Account: 1},                      // not prepared
		{Name: "anna@Example.org", Account: 1},          // not prepared
		{Name: "an na", Account: 1},                     // a blank
		{Name: "anna\x00", Account: 1},                  //
		{Name: strings.Repeat("a", 256), Account: 1},    //
		{Name: "anna"},                                  // no account
		{Name: "x", Aliases: []string{"x"}, Account: 1}, // twice
		{Name: "x", Aliases: []string{"Y"}, Account: 1}, // not prepared
		{Name: "x", Aliases: []string{""}, Account: 1},  //
		{Name: "x", Aliases: []string{"y", "y"}, Account: 1},
	} {
		wantKind(t, fmt.Sprintf("Create(%q %q)", e.Name, e.Aliases), d.Create(t.Context(), e, ""), mail.KindBadArgument)
	}
	for _, p := range badPasswords {
		wantKind(t, fmt.Sprintf("Create with %.20q", p), d.Create(t.Context(), directory.Entry{Name: "x", Account: 1}, p), mail.KindBadArgument)
	}
	if l, err := d.List(t.Context()); err != nil || len(l) != 0 {
		t.Errorf("after refusals there are %v, %v", l, err)
	}
}

var badPasswords = []string{"a\x00b", "a\nb", "\xff", strings.Repeat("x", directory.MaxPassword+1)}

func checkPassword(t *testing.T, d directory.Writable) {
	create(t, d, anna(), password)
	create(t, d, directory.Entry{Name: "nopassword", Account: 8, Enabled: true}, "")
	if e, err := d.CheckPassword(t.Context(), "anna@example.org", password); err != nil || !same(*e, anna()) {
		t.Errorf("right password: %v, %v", e, err)
	}
	for _, c := range []struct{ name, password string }{
		{"anna@example.org", "wrong"},
		{"anna@example.org", password + " "},
		{"anna@example.org", password[:len(password)-1]},
		{"anna@example.org", ""},
		{"unknown", password},
		{"unknown", ""},
		{"", ""},
		{"nopassword", ""},
		{"nopassword", password},
		{"nopassword", strings.Repeat("\x00", 32)},
	} {
		e, err := d.CheckPassword(t.Context(), c.name, c.password)
		wantKind(t, fmt.Sprintf("CheckPassword(%q, %q)", c.name, c.password), err, mail.KindAuthenticationFailed)
		if e != nil {
			t.Errorf("CheckPassword(%q, %q) gave an entry", c.name, c.password)
		}
	}
}

func checkPasswordAsksNoMore(t *testing.T, d directory.Writable) {
	create(t, d, directory.Entry{Name: "off", Account: 8}, password)
	if e, err := d.CheckPassword(t.Context(), "off", password); err != nil || e.Enabled {
		t.Errorf("a disabled entry's right password: %v, %v", e, err)
	}
}

func setPassword(t *testing.T, d directory.Writable) {
	ctx := t.Context()
	create(t, d, anna(), "")
	check := func(p string, ok bool) {
		t.Helper()
		if _, err := d.CheckPassword(ctx, "anna@example.org", p); (err == nil) != ok {
			t.Errorf("CheckPassword(%q): %v", p, err)
		}
		_, k, err := d.ScramKeys(ctx, "anna@example.org", directory.SHA1)
		if err != nil || matches(t, k, p) != ok {
			t.Errorf("ScramKeys for %q: %v, %v", p, k, err)
		}
	}
	check("one", false)
	if err := d.SetPassword(ctx, "anna@example.org", "one"); err != nil {
		t.Fatal(err)
	}
	check("one", true)
	if err := d.SetPassword(ctx, "postmaster@example.org", "two"); err != nil {
		t.Fatal(err)
	}
	check("one", false)
	check("two", true)
	for _, p := range badPasswords {
		wantKind(t, "SetPassword", d.SetPassword(ctx, "anna@example.org", p), mail.KindBadArgument)
	}
	check("two", true)
	// A password is prepared when it is set: a no-break space is a space.
	if err := d.SetPassword(ctx, "anna@example.org", "a\u00a0b"); err != nil {
		t.Fatal(err)
	}
	check("a b", true)
	if err := d.SetPassword(ctx, "anna@example.org", ""); err != nil {
		t.Fatal(err)
	}
	check("a b", false)
	check("", false)
	if e := find(t, d, "anna@example.org"); !e.PasswordChanged.IsZero() || !same(e, anna()) {
		t.Errorf("without a password: %+v", e)
	}
	wantKind(t, "SetPassword(unknown)", d.SetPassword(ctx, "unknown", "x"), mail.KindNotFound)
}

func passwordChangedIsItsOwn(t *testing.T, d directory.Writable) {
	create(t, d, anna(), "same")
	seen := []time.Time{find(t, d, "anna@example.org").PasswordChanged}
	for range 3 {
		if err := d.SetPassword(t.Context(), "anna@example.org", "same"); err != nil {
			t.Fatal(err)
		}
		at := find(t, d, "anna@example.org").PasswordChanged
		if slices.ContainsFunc(seen, at.Equal) {
			t.Errorf("two passwords have the time %v", at)
		}
		seen = append(seen, at)
	}
}

// matches plays RFC 5802, 3 with a password against keys.
func matches(t *testing.T, k directory.ScramKeys, password string) bool {
	t.Helper()
	n := k.Hash.New()
	if n == nil || len(k.StoredKey) != n().Size() || len(k.ServerKey) != n().Size() || len(k.Salt) == 0 || k.Iterations < 4096 {
		t.Fatalf("keys are not of the right form: %+v", k)
	}
	if password == "" {
		password = "\x00"
	}
	salted := hi(n, password, k.Salt, k.Iterations)
	h := n()
	h.Write(mac(n, salted, []byte("Client Key")))
	return bytes.Equal(h.Sum(nil), k.StoredKey) && bytes.Equal(mac(n, salted, []byte("Server Key")), k.ServerKey)
}

// hi is Hi of RFC 5802, 2.2, written from there and not from a library.
func hi(n func() hash.Hash, text string, salt []byte, iterations int) []byte {
	u := mac(n, []byte(text), append(slices.Clone(salt), 0, 0, 0, 1))
	sum := slices.Clone(u)
	for range iterations - 1 {
		u = mac(n, []byte(text), u)
		for i := range sum {
			sum[i] ^= u[i]
		}
	}
	return sum
}

func mac(n func() hash.Hash, key, text []byte) []byte {
	m := hmac.New(n, key)
	m.Write(text)
	return m.Sum(nil)
}

func scramKeys(t *testing.T, d directory.Writable) {
	create(t, d, anna(), password)
	var salts []string
	for _, h := range directory.Hashes {
		e, k, err := d.ScramKeys(t.Context(), "anna@example.org", h)
		if err != nil || e == nil || !same(*e, anna()) {
			t.Fatalf("ScramKeys(%s) = %v, %v", h, e, err)
		}
		if k.Hash != h || !matches(t, k, password) || matches(t, k, "wrong") {
			t.Errorf("keys for %s are not the password's", h)
		}
		if slices.Contains(salts, string(k.Salt)) {
			t.Errorf("the salt of %s is used twice", h)
		}
		salts = append(salts, string(k.Salt))
	}
	_, _, err := d.ScramKeys(t.Context(), "anna@example.org", "MD5")
	wantKind(t, "ScramKeys(MD5)", err, mail.KindBadArgument)
}

func scramKeysOfNobody(t *testing.T, d directory.Writable) {
	create(t, d, anna(), password)
	create(t, d, directory.Entry{Name: "nopassword", Account: 8}, "")
	_, real, err := d.ScramKeys(t.Context(), "anna@example.org", directory.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	salts := map[string]string{}
	for _, name := range []string{"unknown", "unknown@example.org", "nopassword"} {
		for _, h := range directory.Hashes {
			e, k, err := d.ScramKeys(t.Context(), name, h)
			_, again, err2 := d.ScramKeys(t.Context(), name, h)
			if err != nil || err2 != nil || e != nil {
				t.Fatalf("ScramKeys(%s, %s) = %v, %v, %v; want no entry and no error", name, h, e, err, err2)
			}
			if !bytes.Equal(k.Salt, again.Salt) || k.Iterations != again.Iterations {
				t.Errorf("ScramKeys(%s, %s) gave two salts", name, h)
			}
			if len(k.Salt) != len(real.Salt) || k.Iterations != real.Iterations {
				t.Errorf("ScramKeys(%s, %s) does not look like a real one: %d octets of salt, %d iterations", name, h, len(k.Salt), k.Iterations)
			}
			if matches(t, k, "") || matches(t, k, password) {
				t.Errorf("ScramKeys(%s, %s) can be matched", name, h)
			}
			if other, taken := salts[string(k.Salt)]; taken {
				t.Errorf("%s %s has the salt of %s", name, h, other)
			}
			salts[string(k.Salt)] = name + " " + string(h)
		}
	}
	_, _, err = d.ScramKeys(t.Context(), "unknown", "MD5")
	wantKind(t, "ScramKeys(unknown, MD5)", err, mail.KindBadArgument)
}

func change(t *testing.T, d directory.Writable) {
	create(t, d, anna(), password)
	before := find(t, d, "anna@example.org")
	err := d.Change(t.Context(), "a.nna@example.org", func(e *directory.Entry) error {
		if !same(*e, anna()) {
			t.Errorf("change was given %+v", e)
		}
		e.Aliases = []string{"a.nna@example.org", "new@example.org"}
		e.DisplayName, e.Enabled, e.PopEnabled, e.ResetPassword = "Other", false, false, true
		e.Name, e.Account, e.Created, e.PasswordChanged = "other", 99, time.Time{}, time.Time{}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := anna()
	want.Aliases = []string{"a.nna@example.org", "new@example.org"}
	want.DisplayName, want.Enabled, want.PopEnabled, want.ResetPassword = "Other", false, false, true
	for _, name := range append([]string{want.Name}, want.Aliases...) {
		if e := find(t, d, name); !same(e, want) || !e.PasswordChanged.Equal(before.PasswordChanged) {
			t.Errorf("Lookup(%s) = %+v, want %+v", name, e, want)
		}
	}
	_, err = d.Lookup(t.Context(), "postmaster@example.org")
	wantKind(t, "Lookup of an alias that was taken away", err, mail.KindNotFound)
	if _, err := d.CheckPassword(t.Context(), "anna@example.org", password); err != nil {
		t.Errorf("the password did not survive: %v", err)
	}
	// What is free may be used again.
	create(t, d, directory.Entry{Name: "postmaster@example.org", Account: 8}, "")
}

func legacyMechanisms(t *testing.T, d directory.Writable) {
	e := anna()
	e.LegacyMechanisms = []string{"NTLM"}
	create(t, d, e, password)
	set := func(list ...string) error {
		return d.Change(t.Context(), e.Name, func(e *directory.Entry) error {
			e.LegacyMechanisms = list
			return nil
		})
	}
	if e := find(t, d, e.Name); !slices.Equal(e.LegacyMechanisms, []string{"NTLM"}) || e.ReadablePassword {
		t.Errorf("got %+v", e)
	}
	for _, list := range [][]string{{"PLAIN"}, {"ntlm"}, {""}, {"NTLM", "NTLM"}} {
		wantKind(t, fmt.Sprintf("Change to %q", list), set(list...), mail.KindBadArgument)
	}
	if err := set(); err != nil {
		t.Fatal(err)
	}
	if e := find(t, d, e.Name); len(e.LegacyMechanisms) != 0 {
		t.Errorf("got %+v", e)
	}
	if r, ok := d.(directory.Readable); !ok || !r.HasReadable() {
		wantKind(t, "Change to CRAM-MD5", set("CRAM-MD5"), mail.KindCannot)
	}
}

func protocols(t *testing.T, d directory.Writable) {
	e := anna()
	e.ImapReferralURL, e.DisabledCapabilities = "imap://two.example.org/", []string{"IDLE"}
	create(t, d, e, password)
	set := func(url string, disabled ...string) error {
		return d.Change(t.Context(), e.Name, func(e *directory.Entry) error {
			e.ImapReferralURL, e.DisabledCapabilities = url, disabled
			return nil
		})
	}
	if e := find(t, d, e.Name); e.ImapReferralURL != "imap://two.example.org/" || !slices.Equal(e.DisabledCapabilities, []string{"IDLE"}) {
		t.Errorf("got %+v", e)
	}
	for _, url := range []string{"two.example.org", "http://two.example.org/", "imap://u@two.example.org/", "imap://two.example.org", "imap://two.example.org/x"} {
		wantKind(t, "Change to "+url, set(url), mail.KindBadArgument)
	}
	wantKind(t, "Change to IDEL", set("", "IDEL"), mail.KindBadArgument)
	if err := set(""); err != nil {
		t.Fatal(err)
	}
	if e := find(t, d, e.Name); e.ImapReferralURL != "" || len(e.DisabledCapabilities) != 0 {
		t.Errorf("got %+v", e)
	}
}

func readablePassword(t *testing.T, d directory.Writable) {
	r, ok := d.(directory.Readable)
	if !ok || !r.HasReadable() {
		t.Skip("it keeps none")
	}
	ctx := t.Context()
	create(t, d, anna(), password)
	create(t, d, directory.Entry{Name: "bert", Account: 8}, password)
	// check wants exactly this password to be readable, "" for none.
	check := func(want string) {
		t.Helper()
		for _, name := range []string{"anna@example.org", "a.nna@example.org", "bert", "unknown", ""} {
			hers := strings.Contains(name, "nna@")
			var asked []string
			e, err := r.CheckAnswer(ctx, name, func(p []byte) bool {
				asked = append(asked, string(p))
				return true
			})
			switch {
			case len(asked) != 1 || asked[0] == "" || slices.Contains([]string{password, "one", "two", "a b"}, asked[0]) != (hers && want != ""):
				t.Errorf("%s: right was asked about %q", name, asked)
			case hers && want != "":
				if err != nil || e.Name != "anna@example.org" || !e.ReadablePassword || asked[0] != want {
					t.Errorf("%s: %v, %v; asked about %q", name, e, err, asked)
				}
				_, err = r.CheckAnswer(ctx, name, func([]byte) bool { return false })
				wantKind(t, name+" with a wrong answer", err, mail.KindAuthenticationFailed)
			default:
				wantKind(t, name, err, mail.KindAuthenticationFailed)
			}
		}
		if e := find(t, d, "anna@example.org"); e.ReadablePassword != (want != "") {
			t.Errorf("%+v", e)
		}
	}
	set := func(list ...string) {
		t.Helper()
		if err := d.Change(ctx, "anna@example.org", func(e *directory.Entry) error {
			e.LegacyMechanisms = list
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	setPassword := func(p string) {
		t.Helper()
		if err := d.SetPassword(ctx, "anna@example.org", p); err != nil {
			t.Fatal(err)
		}
	}
	check("")
	set("CRAM-MD5")
	check("") // the password was set before
	setPassword("one")
	check("one")
	set("CRAM-MD5", "APOP", "NTLM")
	check("one")
	setPassword("a\u00a0b")
	check("a b")
	set("NTLM") // which needs none
	check("")
	set("APOP")
	check("")
	setPassword("two")
	check("two")
	setPassword("")
	check("")
	setPassword("two")
	set()
	check("")
	e := directory.Entry{Name: "new", Account: 9, LegacyMechanisms: []string{"APOP"}}
	create(t, d, e, "one")
	if e := find(t, d, "new"); !e.ReadablePassword {
		t.Errorf("made as %+v", e)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := r.CheckAnswer(cancelled, "new", func([]byte) bool { return true })
	wantKind(t, "CheckAnswer, cancelled", err, mail.KindUnavailable)
}

func changeFails(t *testing.T, d directory.Writable) {
	create(t, d, anna(), "")
	mine := mail.Errorf(mail.KindOverQuota, "mine")
	if err := d.Change(t.Context(), "anna@example.org", func(e *directory.Entry) error {
		e.DisplayName = "changed"
		return mine
	}); !errors.Is(err, mine) {
		t.Errorf("Change gave %v, want the error of change", err)
	}
	for _, aliases := range [][]string{{"Upper"}, {"anna@example.org"}, {"x", "x"}, {""}} {
		err := d.Change(t.Context(), "anna@example.org", func(e *directory.Entry) error {
			e.Aliases, e.DisplayName = aliases, "changed"
			return nil
		})
		wantKind(t, fmt.Sprintf("Change to %q", aliases), err, mail.KindBadArgument)
	}
	if e := find(t, d, "anna@example.org"); !same(e, anna()) {
		t.Errorf("a failed change left %+v", e)
	}
	wantKind(t, "Change(unknown)", d.Change(t.Context(), "unknown", func(*directory.Entry) error {
		t.Error("change was called for nobody")
		return nil
	}), mail.KindNotFound)
}

func list(t *testing.T, d directory.Writable) {
	names := []string{"b", "a@example.org", "c", "a", "ä"}
	for i, name := range names {
		create(t, d, directory.Entry{Name: name, Aliases: []string{"alias-" + name}, Account: mail.AccountID(i + 1)}, "")
	}
	l, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range l {
		got = append(got, e.Name)
		if !same(e, find(t, d, e.Name)) {
			t.Errorf("List and Lookup differ for %s", e.Name)
		}
	}
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("List gave %v, want %v", got, names)
	}
}

func remove(t *testing.T, d directory.Writable) {
	create(t, d, anna(), password)
	if err := d.Remove(t.Context(), "anna@example.org"); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(anna().Aliases, "anna@example.org") {
		_, err := d.Lookup(t.Context(), name)
		wantKind(t, "Lookup("+name+")", err, mail.KindNotFound)
	}
	_, err := d.CheckPassword(t.Context(), "anna@example.org", password)
	wantKind(t, "CheckPassword", err, mail.KindAuthenticationFailed)
	if e, _, err := d.ScramKeys(t.Context(), "anna@example.org", directory.SHA256); e != nil || err != nil {
		t.Errorf("ScramKeys of a removed entry: %v, %v", e, err)
	}
	wantKind(t, "Remove again", d.Remove(t.Context(), "anna@example.org"), mail.KindNotFound)
	create(t, d, anna(), "")
	if e := find(t, d, "postmaster@example.org"); !same(e, anna()) {
		t.Errorf("made again it is %+v", e)
	}
}

func cancelled(t *testing.T, d directory.Writable) {
	create(t, d, anna(), password)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Lookup(ctx, "anna@example.org")
	wantKind(t, "Lookup", err, mail.KindUnavailable)
	_, err = d.CheckPassword(ctx, "anna@example.org", password)
	wantKind(t, "CheckPassword", err, mail.KindUnavailable)
	_, _, err = d.ScramKeys(ctx, "anna@example.org", directory.SHA256)
	wantKind(t, "ScramKeys", err, mail.KindUnavailable)
	_, err = d.List(ctx)
	wantKind(t, "List", err, mail.KindUnavailable)
}

func entriesAreCopies(t *testing.T, d directory.Writable) {
	given := anna()
	create(t, d, given, "")
	given.Aliases[0] = "changed"
	e, err := d.Lookup(t.Context(), "anna@example.org")
	if err != nil {
		t.Fatal(err)
	}
	e.Aliases[0], e.Enabled = "changed", false
	l, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l[0].Aliases[0] = "changed"
	if e := find(t, d, "anna@example.org"); !same(e, anna()) {
		t.Errorf("a caller changed the entry to %+v", e)
	}
}

func concurrent(t *testing.T, d directory.Writable) {
	create(t, d, anna(), password)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for j := range 5 {
				if err := d.Change(t.Context(), "anna@example.org", func(e *directory.Entry) error {
					e.Aliases = append(e.Aliases, fmt.Sprintf("alias-%d-%d", i, j))
					return nil
				}); err != nil {
					t.Errorf("Change: %v", err)
				}
				if _, err := d.Lookup(t.Context(), fmt.Sprintf("alias-%d-%d", i, j)); err != nil {
					t.Errorf("Lookup: %v", err)
				}
				if _, err := d.CheckPassword(t.Context(), "anna@example.org", password); err != nil {
					t.Errorf("CheckPassword: %v", err)
				}
			}
			name := fmt.Sprintf("user-%d", i)
			if err := d.Create(t.Context(), directory.Entry{Name: name, Account: mail.AccountID(100 + i)}, ""); err != nil {
				t.Errorf("Create: %v", err)
			}
		})
	}
	// Of many that want one name, one has it.
	made := make(chan bool, 8)
	for i := range 8 {
		wait.Go(func() {
			made <- d.Create(t.Context(), directory.Entry{Name: "wanted", Account: mail.AccountID(200 + i)}, "") == nil
		})
	}
	wait.Wait()
	close(made)
	n := 0
	for ok := range made {
		if ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d have the one name", n)
	}
	if e := find(t, d, "anna@example.org"); len(e.Aliases) != 2+8*5 {
		t.Errorf("%d aliases are there, want %d", len(e.Aliases), 2+8*5)
	}
}
