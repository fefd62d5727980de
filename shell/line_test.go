package shell

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/postern-mail/postern/manage"
)

func TestLine(t *testing.T) {
	set := cmdlet(t, "Set-PopSettings")
	for _, c := range []struct {
		cmdlet    *manage.Cmdlet
		arguments []Argument
		want      string
	}{
		{set, []Argument{{"LoginType", "SecureLogin"}}, "Set-PopSettings -LoginType SecureLogin"},
		{set, []Argument{{"Banner", "It's ready."}, {"WhatIf", true}}, "Set-PopSettings -Banner 'It''s ready.' -WhatIf"},
		{set, []Argument{{"SSLBindings", []string{"[::]:995", "0.0.0.0:995"}}}, "Set-PopSettings -SSLBindings '[::]:995','0.0.0.0:995'"},
		{set, []Argument{{"SSLBindings", []string{}}, {"Banner", nil}}, "Set-PopSettings -SSLBindings @() -Banner $null"},
		{set, []Argument{{"EnableExactRFC822Size", true}, {"Confirm", false}}, "Set-PopSettings -EnableExactRFC822Size $true -Confirm:$false"},
		{cmdlet(t, "Stop-Service"), []Argument{{"Name", "POP3"}}, "Stop-Service POP3"},
		{cmdlet(t, "New-Mailbox"), []Argument{{"Name", "a@example.org"}, {"Password", "secret"}, {"MaxMessages", 5}}, "New-Mailbox a@example.org -Password -MaxMessages 5"},
	} {
		if got := Line(c.cmdlet, c.arguments); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestLineRoundTrip writes random values and reads them again.
func TestLineRoundTrip(t *testing.T) {
	const letters = "aZ0 .,;:'\"`$@#%&|(){}[]<>=-\\/*?!\n\tü€—\u202e"
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		pool := []rune(letters)
		out := make([]rune, random.IntN(8))
		for i := range out {
			out[i] = pool[random.IntN(len(pool))]
		}
		return string(out)
	}
	set := cmdlet(t, "Set-PopSettings")
	for range 20_000 {
		list := []string{}
		for range random.IntN(4) {
			list = append(list, text())
		}
		arguments := []Argument{{"Banner", text()}, {"SSLBindings", list}, {"EnableExactRFC822Size", random.IntN(2) == 0}, {"LoginType", text()}}
		line := Line(set, arguments)
		pipelines, err := parse(line)
		if err != nil || len(pipelines) != 1 || len(pipelines[0]) != 1 {
			t.Fatalf("%q: %v %v", line, pipelines, err)
		}
		got, err := bind(set.Name, set.Parameters, pipelines[0][0].args)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want := map[string]any{}
		for _, a := range arguments {
			want[a.Name] = a.Value
		}
		if !reflect.DeepEqual(got, want) {
			g, _ := json.Marshal(got)
			w, _ := json.Marshal(want)
			t.Fatalf("%q\ngot  %s\nwant %s", line, g, w)
		}
	}
}

func cmdlet(t *testing.T, name string) *manage.Cmdlet {
	t.Helper()
	for _, c := range manage.Cmdlets() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no cmdlet %s", name)
	return nil
}
