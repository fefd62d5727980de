// Package completion drives the shells of the operating system: what the Tab key
// offers for postern.
package completion

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

// offers gives what a shell offers for a line: one candidate a line.
type offers func(t *testing.T, line string) []string

// run runs a shell's program with postern in PATH.
func run(t *testing.T, bin, name string, args ...string) []string {
	t.Helper()
	cmd := exec.Command(server.Program(t, name, name), args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+bin+":/usr/bin:/bin", "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home, "TERM=xterm", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		lines = append(lines, strings.TrimRight(line, "\r\n"))
	}
	return lines
}

// bash calls the function as readline does.
func bash(bin string) offers {
	return func(t *testing.T, line string) []string {
		return run(t, bin, "bash", "--norc", "--noprofile", "-c", `
eval "$(postern completion bash)"
COMP_LINE=$1 COMP_POINT=${#1}
_postern postern
printf '%s\n' "${COMPREPLY[@]}"`, "bash", line)
	}
}

// fish has a way to ask.
func fish(bin string) offers {
	return func(t *testing.T, line string) []string {
		var values []string
		for _, l := range run(t, bin, "fish", "--no-config", "-c", `postern completion fish | source; complete -C $argv[1]`, "--", line) {
			value, _, _ := strings.Cut(l, "\t")
			values = append(values, value)
		}
		return values
	}
}

// zsh's completion works in an interactive shell only: its compadd tells what it
// is given.
func zsh(bin string) offers {
	return func(t *testing.T, line string) []string {
		script := filepath.Join(t.TempDir(), "drive")
		if err := os.WriteFile(script, []byte(`
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1= PS2= RPS1=; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D; eval "$(postern completion zsh)"'
zpty -w z 'tell() { compadd () { local -a given; local i; if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi; builtin compadd -A given "$@"; for i in $given; do print -r -- "<<$i>>" > /dev/tty; done; builtin compadd "$@" }; _main_complete; print -r -- "<<END>>" > /dev/tty }'
zpty -w z 'zle -C tell complete-word tell; bindkey "^I" tell; print READY'
zpty -r -m z seen '*READY*READY*' 
zpty -w -n z "$1"$'\t'
zpty -r -m z seen '*<<END>>*'
print -r -- "$seen"
zpty -d z
`), 0o600); err != nil {
			t.Fatal(err)
		}
		var values []string
		for _, l := range run(t, bin, "zsh", "-f", script, line) {
			if _, rest, ok := strings.Cut(l, "<<"); ok {
				if value, _, ok := strings.Cut(rest, ">>"); ok && value != "END" {
					values = append(values, value)
				}
			}
		}
		return values
	}
}

func TestCompletion(t *testing.T) {
	s := server.Demo(t)
	bin := t.TempDir()
	if err := os.Symlink(server.Binary(t), filepath.Join(bin, "postern")); err != nil {
		t.Fatal(err)
	}
	at := "postern --socket " + s.Socket + " "
	nowhere := "postern --socket " + filepath.Join(bin, "none") + " "
	for name, ask := range map[string]offers{"bash": bash(bin), "fish": fish(bin), "zsh": zsh(bin)} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct{ line, want string }{
				{"postern comple", "completion"},
				{"postern completion ", "bash zsh fish"},
				{nowhere + "Get-PopS", "Get-PopSettings"},
				{nowhere + "get-pops", "Get-PopSettings"},
				{nowhere + "Set-PopSettings -LoginT", "-LoginType"},
				{nowhere + "Set-PopSettings -LoginType ", "PlainTextLogin PlainTextAuthentication SecureLogin"},
				{nowhere + "Set-PopSettings -LoginType se", "SecureLogin"},
				{nowhere + "Set-CASMailbox -PopEnabled ", "true false"},
				{nowhere + "Get-Help about_LoginT", "about_LoginType"},
				{nowhere + "Get-Mailbox '|' Sort", "Sort-Object"},
				{nowhere + "Set-CASMailbox ", ""}, // names that only a server knows
				{at + "Set-CASMailbox ", "alice@demo.example bob@demo.example"},
				{at + "Set-CASMailbox -Identity b", "bob@demo.example"},
			} {
				values := ask(t, c.line)
				want := strings.Fields(c.want)
				if name == "zsh" { // shows them in our order, and is told them in its own
					slices.Sort(values)
					slices.Sort(want)
				}
				got := strings.Join(values, " ")
				c.want = strings.Join(want, " ")
				if c.want == "" && strings.Contains(got, "@") || c.want != "" && got != c.want {
					t.Errorf("%q: %q, want %q", c.line, got, c.want)
				}
			}
		})
	}
	// Bash replaces only what follows a colon.
	if got := strings.Join(bash(bin)(t, nowhere+"Remove-Mailbox x -Confirm:"), " "); got != "true false" {
		t.Error(got)
	}
}
