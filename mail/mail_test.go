package mail

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAnswersAreInOrder(t *testing.T) {
	for i, a := range Answers {
		if int(a.Kind) != i {
			t.Errorf("row %d holds %v", i, a.Kind)
		}
		if a.Text == "" || a.Name == "" || a.LMTP == 0 || a.HTTP == 0 {
			t.Errorf("row %d (%s) is incomplete", i, a.Name)
		}
	}
}

func TestErrors(t *testing.T) {
	err := Wrap(KindUnavailable, io.ErrUnexpectedEOF)
	if KindOf(err) != KindUnavailable || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, &Error{Kind: KindUnavailable}) {
		t.Fatal(err)
	}
	if TextOf(err) != Answers[KindUnavailable].Text {
		t.Fatal("the cause must not reach the client")
	}
	if Wrap(KindServerBug, err) != err || Wrap(KindServerBug, nil) != nil {
		t.Fatal("Wrap must keep what has a kind")
	}
}

// TestNumSet compares NumSet's operations with those of a map.
func TestNumSet(t *testing.T) {
	gen := func(rt *rapid.T, name string) (NumSet, map[uint32]bool) {
		var s NumSet
		m := map[uint32]bool{}
		for range rapid.IntRange(0, 8).Draw(rt, name) {
			a := rapid.Uint32Range(1, 40).Draw(rt, "a")
			b := rapid.Uint32Range(1, 40).Draw(rt, "b")
			s.AddRange(a, b)
			for n := min(a, b); n <= max(a, b); n++ {
				m[n] = true
			}
		}
		return s, m
	}
	check := func(rt *rapid.T, what string, s NumSet, want func(uint32) bool) {
		for i := 1; i < len(s); i++ {
			if s[i].First <= s[i-1].Last+1 {
				rt.Fatalf("%s: %v is not normal", what, s)
			}
		}
		n := uint64(0)
		for i := uint32(1); i <= 41; i++ {
			if want(i) {
				n++
			}
			if s.Contains(i) != want(i) {
				rt.Fatalf("%s: %v and %d", what, s, i)
			}
		}
		if s.Len() != n || len(slices.Collect(s.All())) != int(n) {
			rt.Fatalf("%s: %v has not length %d", what, s, n)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		s, m := gen(rt, "s")
		u, k := gen(rt, "u")
		check(rt, "add", s, func(n uint32) bool { return m[n] })
		check(rt, "intersect", s.Intersect(u), func(n uint32) bool { return m[n] && k[n] })
		check(rt, "subtract", s.Subtract(u), func(n uint32) bool { return m[n] && !k[n] })
		check(rt, "union", s.Union(u), func(n uint32) bool { return m[n] || k[n] })
	})
	var s NumSet
	s.AddRange(MaxNum, 1)
	s.AddRange(MaxNum, MaxNum)
	if s.String() != "1:*" {
		t.Fatal(s)
	}
	if got := NumSetOf(9, 2, 4, 5, 6, 7).String(); got != "2,4:7,9" {
		t.Fatal(got)
	}
}

func TestFlags(t *testing.T) {
	k := []string{"$Forwarded", "Work"}
	f := Seen | Deleted | Keyword(1)
	if got := string(f.AppendText(nil, k)); got != `\Deleted \Seen Work` {
		t.Fatal(got)
	}
	if got := f.AppendNames(nil, k); len(got) != 3 || got[2] != "Work" {
		t.Fatal(got)
	}
	for _, bad := range []string{"", "a b", "a*", `\x`, "ä", "a]"} {
		if ValidKeyword(bad) {
			t.Error(bad)
		}
	}
}

func TestSpelledKeyword(t *testing.T) {
	for _, k := range registeredKeywords {
		if !ValidKeyword(k) || SpelledKeyword(strings.ToUpper(k)) != k || SpelledKeyword(strings.ToLower(k)) != k {
			t.Error(k)
		}
	}
	for _, k := range []string{"work", "$label1", "$", "Junk"} {
		if SpelledKeyword(k) != k {
			t.Error(k)
		}
	}
}

func TestLoginType(t *testing.T) {
	for _, s := range []string{"2", "plaintextauthentication", "PlainTextAuthentication"} {
		if lt, err := ParseLoginType(s); err != nil || lt != PlainTextAuthentication {
			t.Error(s, lt, err)
		}
	}
	for _, s := range []string{"", "0", "4", "Secure"} {
		if _, err := ParseLoginType(s); err == nil {
			t.Error(s)
		}
	}
}
