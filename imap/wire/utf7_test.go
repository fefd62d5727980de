package wire

import (
	"testing"
	"unicode/utf8"
)

func TestUTF7(t *testing.T) {
	for name, want := range map[string]string{
		"":                         "",
		"Sent":                     "Sent",
		"R&D":                      "R&-D",
		"&":                        "&-",
		"&&":                       "&-&-",
		"~peter/mail/台北/日本語":       "~peter/mail/&U,BTFw-/&ZeVnLIqe-", // RFC 3501, 5.1.3
		"é":                        "&AOk-",
		"☺&":                       "&Jjo-&-",
		"Entwürfe":                 "Entw&APw-rfe",
		"😀":                        "&2D3eAA-",
		"a😀b":                      "a&2D3eAA-b",
		"\U0010ffff\u0000\x7f\t-x": "&2,,f,wAAAH8ACQ--x",
	} {
		if got := EncodeUTF7(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
		if got, err := DecodeUTF7(want); got != name || err != nil {
			t.Errorf("%q: %q, want %q; %v", want, got, name, err)
		}
	}
	for what, bad := range map[string]string{
		"no end":                     "&AOk",
		"nothing":                    "&",
		"printable in BASE64":        "&AGE-",
		"ampersand in BASE64":        "&ACY-",
		"superfluous shift":          "&Jjo-&Jjo-",
		"8-bit":                      "é",
		"control":                    "a\tb",
		"slash for comma":            "&U/BTFw-",
		"padding":                    "&AOk=-",
		"bits left over, not zero":   "&AOl-",
		"a digit too many":           "&AOkA-",
		"one digit":                  "&A-",
		"low half alone":             "&3gA-",
		"high half alone":            "&2D0-",
		"high half before a letter":  "&2D0A6Q-",
		"two high halves":            "&2D3YPd4A-",
		"space":                      "&AO k-",
		"printable behind non-ASCII": "&AOkAYQ-",
	} {
		if got, err := DecodeUTF7(bad); err == nil {
			t.Errorf("%s: %q is taken, as %q", what, bad, got)
		}
	}
	if got := EncodeUTF7("a\xff"); got != "a&,,0-" {
		t.Errorf("%q", got)
	}
}

// FuzzUTF7: what is decoded is encoded to the same again, and every name comes
// back from its encoding.
func FuzzUTF7(f *testing.F) {
	for _, s := range []string{"", "&-", "&AOk-", "&2D3eAA-x", "&Jjo-&-", "日本語", "a\xffb", "&AGE-", "&,,8-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, err := DecodeUTF7(s); err == nil {
			if !utf8.ValidString(name) {
				t.Fatalf("%q gives %q", s, name)
			}
			if again := EncodeUTF7(name); again != s {
				t.Fatalf("%q gives %q gives %q", s, name, again)
			}
		}
		if !utf8.ValidString(s) {
			return
		}
		if again, err := DecodeUTF7(EncodeUTF7(s)); err != nil || again != s {
			t.Fatalf("%q gives %q: %v", s, again, err)
		}
	})
}
