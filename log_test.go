package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode"
)

// TestLogEscapes: whatever a client calls itself, a record is one line of printable
// characters, so nobody can write a record of his own or turn around how one reads.
func TestLogEscapes(t *testing.T) {
	var out strings.Builder
	log := logger(&out, slog.LevelDebug)
	texts := []string{"\xff", "a\x00b", "level=ERROR msg=\"forged\""}
	for r := range rune(0x3000) {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029 || r == 0xfeff {
			texts = append(texts, "a"+string(r)+"b")
		}
	}
	for _, text := range texts {
		out.Reset()
		log.With("session", text).WithGroup("g").Debug(text, "value", text, "error", errors.New(text), "bytes", []byte(text), "list", []string{text})
		line, rest, _ := strings.Cut(out.String(), "\n")
		if rest != "" || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
			t.Errorf("%+q is logged as %+q", text, out.String())
		}
		if strings.Contains(line, ` level=ERROR`) {
			t.Errorf("%+q makes its own attributes: %s", text, line)
		}
	}
}
