package conformance

import (
	"os"
	"path/filepath"
	"testing"
)

func TestVars(t *testing.T) {
	v := NewVars(map[string]string{"user": "a@b", "password": "p", "n": "7"})
	for in, want := range map[string]string{
		"x":                            "x",
		"$user/${user}2":               "a@b/a@b2",
		"a$$b":                         "a$b",
		`${base64:\0$user\0$password}`: "AGFAYgBw",
		"${sum:$n+3-1}":                "9",
		"${url:$user}":                 "a%40b",
		"${md5:$n}":                    "8f14e45fceea167a5a36dedd4bea2543",
	} {
		if got, err := v.Expand(in); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", in, got, err, want)
		}
	}
	if _, err := v.Expand("$none"); err == nil {
		t.Error("a variable without a value")
	}
}

func TestVarsMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, input string
		prefix, fits   bool
	}{
		{"abc", "ABC", false, true},
		{"ab", "abc", false, false},
		{"ab", "abc", true, true},
		{"$x", "anything", false, true},
		{"$x:$x", "1:1", false, true},
		{"$x:$x", "1:2", false, false},
		{"$a:$b", "10:20", false, true},
		{"${case:Ab}", "ab", false, false},
		{"$user", "A@b", false, false}, // values are compared as they are
		{"$", "", false, true},
		{"$modseq3", "2", false, false},
		{"$modseq3", "3", false, true},
	} {
		v := NewVars(map[string]string{"user": "a@b"})
		if fits := v.Match(test.pattern, test.input, test.prefix); fits != test.fits {
			t.Errorf("%s and %s: %v", test.pattern, test.input, fits)
		}
		if !test.fits {
			for _, name := range []string{"x", "a", "modseq3"} {
				if value, ok := v.values[name]; ok {
					t.Errorf("%s and %s: $%s is %q after all", test.pattern, test.input, name, value)
				}
			}
		}
	}
}

func TestMailbox(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "From a@b Fri Feb 22 17:06:23 2008\nSubject: 1\n\nFrom here\n\nFrom a@b Sat Feb 23 17:06:23 2008 +0200\nSubject: 2\n\nx\n"
	if err := os.WriteFile(filepath.Join(dir, "default.mbox"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Mailbox(dir, filepath.Join(sub, "script"))
	if err != nil || len(m) != 2 {
		t.Fatal(m, err)
	}
	if got := string(m[0].Text); got != "Subject: 1\r\n\r\nFrom here\r\n\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(m[1].Text); got != "Subject: 2\r\n\r\nx\r\n" {
		t.Errorf("%q", got)
	}
	if got := m[1].Date.UTC().Format("2 15:04"); got != "23 15:06" {
		t.Error(got)
	}
}
