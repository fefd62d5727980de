package wire

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/stopwatch"
)

// match tells whether a pattern matches a name. A pattern that is too long matches
// nothing.
func match(pattern, name string, delim byte) bool {
	p, err := Compile(pattern, delim)
	return err == nil && p.Match(name)
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"%", "", true}, {"*", "a/b/c", true}, {"%", "a/b", false},
		{"%", "ab", true}, {"a/%", "a/b", true}, {"a/%", "a/b/c", false}, {"a/*", "a/b/c", true}, {"a/%/c", "a/b/c", true},
		{"a*c", "abc", true}, {"a*c", "ab", false}, {"%/%", "a/b", true}, {"*%", "a/b", true}, {"%*", "a/b", true},
		{"%%", "a/b", false}, {"*b%d*", "a/bcd/e", true}, {"%a%b", "xa/ab", false}, {"%a/%b", "aaa/ab", true},
		{"inbox", "INBOX", true}, {"inBOX/*", "INBOX/x", true}, {"inbox*", "INBOXES", false}, {"in%", "INBOX", true},
		{"I*x", "INBOX", true}, {"INBOX/a", "INBOX/A", false}, {"sent", "Sent", false}, {"é%", "éa", true},
		{strings.Repeat("a", 200) + "*", strings.Repeat("a", 200) + "/b", true},
		{strings.Repeat("%a", 100) + "*", strings.Repeat("a", 99), false},
		{strings.Repeat("%a", 100) + "*", strings.Repeat("a", 100) + "/", true},
		{"in*" + strings.Repeat("%x", 70), "INBOX/" + strings.Repeat("x", 70), true},
	} {
		if got := match(c.pattern, c.name, '/'); got != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.name, got)
		}
		if len(c.pattern) > 20 {
			continue
		}
		if got := naive(c.pattern, c.name, '/'); got != c.want {
			t.Errorf("%q %q: the reference says %v", c.pattern, c.name, got)
		}
	}
	if !match("%", "a/b", 0) || match(strings.Repeat("*", 1025), "a", '/') {
		t.Error("no delimiter, or too long a pattern")
	}
}

// TestMatchTime: patterns that are made to be slow are not.
func TestMatchTime(t *testing.T) {
	name := strings.Repeat("a", 1000)
	stopwatch.Within(t, 5*time.Second, "slow patterns", func() {
		for _, pattern := range []string{strings.Repeat("*a", 511) + "b", strings.Repeat("%a", 511) + "*b", "*" + strings.Repeat("%a", 510) + "b"} {
			p, err := Compile(pattern, '/')
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				if p.Match(name) {
					t.Fatal("matches")
				}
			}
		}
	})
}

// naive is the definition of a match, in exponential time.
func naive(pattern, name string, delim byte) bool {
	inbox := strings.HasPrefix(name, Inbox) && (len(name) == len(Inbox) || name[len(Inbox)] == delim)
	var at func(i, j int) bool
	at = func(i, j int) bool {
		if i == len(pattern) {
			return j == len(name)
		}
		switch c := pattern[i]; c {
		case '*', '%':
			return at(i+1, j) || j < len(name) && (c == '*' || name[j] != delim) && at(i, j+1)
		default:
			return j < len(name) && (c == name[j] || inbox && j < len(Inbox) && upper(c) == name[j]) && at(i+1, j+1)
		}
	}
	return at(0, 0)
}

// FuzzMatch compares with the definition.
func FuzzMatch(f *testing.F) {
	f.Add("a/%", "a/b", true)
	f.Add("*%b", "INBOX/b", false)
	f.Add("inb%*x", "INBOX", true)
	f.Fuzz(func(t *testing.T, pattern, name string, long bool) {
		if len(pattern) > 12 || len(name) > 12 || strings.Count(pattern, "*")+strings.Count(pattern, "%") > 5 {
			return
		}
		if long { // the same beyond one word of positions
			pre := strings.Repeat("x", 60)
			if got, want := match(pre+pattern, pre+name, '/'), naive(pre+pattern, pre+name, '/'); got != want {
				t.Fatalf("long %q %q: %v", pattern, name, got)
			}
			return
		}
		if got, want := match(pattern, name, '/'), naive(pattern, name, '/'); got != want {
			t.Fatalf("%q %q: %v", pattern, name, got)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	p, _ := Compile("Lists/%/2024*", '/')
	b.ReportAllocs()
	for b.Loop() {
		if !p.Match("Lists/golang-nuts/2024-11") {
			b.Fatal()
		}
	}
}
