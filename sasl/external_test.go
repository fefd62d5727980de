package sasl

import (
	"strings"
	"testing"
)

func TestExternal(t *testing.T) {
	for _, c := range []struct {
		message string
		ok      bool
	}{{"", true}, {"anna", true}, {"bert", true}, {"an\x00na", false}, {"\xff", false}, {strings.Repeat("a", MaxResponse+1), false}} {
		for _, initial := range []bool{true, false} {
			u := anna()
			x := begin(t, "EXTERNAL", Server{Credentials: u})
			if !initial {
				if challenge, done, err := x.Next(t.Context(), nil); len(challenge) != 0 || done || err != nil {
					t.Fatalf("asked with %q, %v, %v", challenge, done, err)
				}
			}
			_, done, err := x.Next(t.Context(), []byte(c.message))
			if !c.ok {
				wantFailed(t, c.message, done, err)
			} else if err != nil || !done || u.name != "anna" || u.authzid != c.message {
				t.Errorf("%q: %v, %v; %+v", c.message, done, err, u)
			}
		}
	}
}

// Whoever showed a certificate is let in as who it says; nothing that is sent panics or
// changes who that is.
func FuzzExternal(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("anna\x00"))
	f.Fuzz(func(t *testing.T, input []byte) {
		u := anna()
		_, done, err := begin(t, "EXTERNAL", Server{Credentials: u}).Next(t.Context(), append([]byte{}, input...))
		if done != (err == nil) || done && (u.name != "anna" || u.authzid != string(input)) {
			t.Fatalf("%q: %v, %v; %+v", input, done, err, u)
		}
	})
}
