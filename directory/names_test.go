package directory

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postern-mail/postern/mail"
)

func TestPrepareName(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"anna", "anna"},
		{"ANNA", "anna"},
		{"Anna@Example.ORG", "anna@example.org"},
		{"a.b+c_d-e'f@example.org", "a.b+c_d-e'f@example.org"},
		{"jürgen@example.org", "jürgen@example.org"},
		{"JU\u0308RGEN@example.org", "jürgen@example.org"}, // decomposed
		{"ａｎｎａ", "anna"},                                   // full width
		{"anna@MÜNCHEN.example", "anna@münchen.example"},
		{"anna@xn--mnchen-3ya.example", "anna@münchen.example"},
		{"anna@XN--MNCHEN-3YA.example", "anna@münchen.example"},
		{"anna@mail_host", "anna@mail_host"},
		{"a@b@example.org", "a@b@example.org"}, // the last @ counts
		{"אבג@example.org", "אבג@example.org"},
		{strings.Repeat("a", 255), strings.Repeat("a", 255)},
	} {
		got, err := PrepareName(c.in)
		if err != nil || got != c.want {
			t.Errorf("PrepareName(%q) = %q, %v; want %q", c.in, got, err, c.want)
		}
		if again, err := PrepareName(got); err != nil || again != got {
			t.Errorf("PrepareName(%q) = %q, %v: not stable", got, again, err)
		}
	}
	for _, in := range []string{
		"", " ", "an na", "anna ", "anna\x00", "anna\r\n", "anna\x7f", "anna\u200b", "anna\u202eb", "\xff", "anna@", "@example.org", "@",
		"anna@example..org", "anna@.example.org", "anna@example.org.", "anna@exa mple.org", "anna@[192.0.2.1]", "anna@example.org\x00",
		"anna@exam/ple", "אa", strings.Repeat("a", 256), strings.Repeat("a", 250) + "@example.org", "anna@xn--a", "anna@xn--\x80",
	} {
		if got, err := PrepareName(in); err == nil || mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("PrepareName(%q) = %q, %v; want KindBadArgument", in, got, err)
		}
	}
}

func TestPreparePassword(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"secret", "secret"},
		{"Correct Horse", "Correct Horse"},
		{" x ", " x "},
		{"a\u00a0b\u3000c", "a b c"},
		{"A\u030angstro\u0308m", "Ångström"},
		{"ﬁ", "ﬁ"}, // compatibility characters stay
		{"🐎", "🐎"},
		{strings.Repeat("x", MaxPassword), strings.Repeat("x", MaxPassword)},
	} {
		if got, err := PreparePassword(c.in); err != nil || got != c.want {
			t.Errorf("PreparePassword(%q) = %q, %v; want %q", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{"", "\x00", "a\nb", "a\tb", "a\x7f", "\xff", strings.Repeat("x", MaxPassword+1)} {
		if got, err := PreparePassword(in); err == nil || mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("PreparePassword(%q) = %q, %v; want KindBadArgument", in, got, err)
		}
	}
}

// The keys of the exchange that RFC 7677, 3 prints: its proof, undone with our
// StoredKey, is the client's key.
func TestNewScramKeys(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	k, err := NewScramKeys(SHA256, "pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if got := base64.StdEncoding.EncodeToString(k.StoredKey); got != "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=" {
		t.Errorf("StoredKey %s", got)
	}
	if got := base64.StdEncoding.EncodeToString(k.ServerKey); got != "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=" {
		t.Errorf("ServerKey %s", got)
	}
	// RFC 5802 clients hash the SASLprep form.
	one, _ := NewScramKeys(SHA1, "ﬁsh", salt, 4096)
	two, _ := NewScramKeys(SHA1, "fish", salt, 4096)
	if hex.EncodeToString(one.StoredKey) != hex.EncodeToString(two.StoredKey) {
		t.Error("not SASLprep")
	}
	for _, c := range []struct {
		h          Hash
		salt       []byte
		iterations int
	}{{"MD5", salt, 4096}, {SHA1, nil, 4096}, {SHA1, salt, 4095}} {
		if _, err := NewScramKeys(c.h, "x", c.salt, c.iterations); err == nil || mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("NewScramKeys(%v): %v", c, err)
		}
	}
}

func FuzzPrepareName(f *testing.F) {
	for _, s := range []string{"anna", "Anna@Example.org", "a@xn--mnchen-3ya.de", "אבג", "a\u0308@ẞ.de", "", "@", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := PrepareName(s)
		if err != nil {
			return
		}
		if name == "" || len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			t.Errorf("PrepareName(%q) = %q", s, name)
		}
		if again, err := PrepareName(name); err != nil || again != name {
			t.Errorf("%q becomes %q and then %q, %v", s, name, again, err)
		}
	})
}

func FuzzPreparePassword(f *testing.F) {
	for _, s := range []string{"secret", "a\u00a0b", "\x00", "A\u030a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := PreparePassword(s)
		if err != nil {
			return
		}
		if p == "" || len(p) > MaxPassword || strings.ContainsRune(p, 0) {
			t.Errorf("PreparePassword(%q) = %q", s, p)
		}
		if again, err := PreparePassword(p); err != nil || again != p {
			t.Errorf("%q becomes %q and then %q, %v", s, p, again, err)
		}
	})
}
