package manage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/test/stopwatch"
)

func TestWeakness(t *testing.T) {
	e := directory.Entry{Name: "alice.example@example.org", Aliases: []string{"postmaster@example.org"}, DisplayName: "Alice Müller"}
	for password, want := range map[string]string{
		"":                               weakShort,
		"Xk4#q9!":                        weakShort,
		"password":                       weakGuess,
		"Password1":                      weakGuess,
		"P4ssw0rd!":                      weakGuess,
		"qwertyuiop":                     weakGuess,
		"aaaaaaaaaaaaaaaaaaaa":           weakGuess,
		"abcdefgh12345678":               weakGuess,
		"letmein2024":                    weakGuess,
		"iloveyou123":                    weakGuess,
		"24.12.1999":                     weakGuess,
		"x9-ALICE-kQ7w-Zp2v":             weakName,
		"kQ7w-Zp2v-müller":               weakName,
		"kQ7w-Zp2v-postMASTER":           weakName,
		"correct horse battery staple":   "",
		"kQ7w-Zp2v-9Rm4":                 "",
		strings.Repeat("kQ7w-Zp2v", 400): "",
	} {
		if got := weakness(password, e); got != want {
			t.Errorf("%q: %q, want %q", password, got, want)
		}
	}
}

func FuzzWeakness(f *testing.F) {
	for _, s := range []string{"password", "24.12.1999", "\xff\xfe", "ÄÖÜß€", strings.Repeat("4@", 40), "1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, password string) {
		stopwatch.Within(t, 2*time.Second, fmt.Sprintf("%q", password), func() { weakness(password, directory.Entry{Name: "alice@example.org"}) })
	})
}
