package transcript

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// toy is a server that greets with a number and answers a word with the word.
func toy(t *testing.T) func(int, string) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for n := 100; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintf(c, "hello %d [open]\r\n", n)
				lines := bufio.NewScanner(c)
				for lines.Scan() {
					switch word := lines.Text(); word {
					case "quit":
						return
					case "number":
						fmt.Fprintf(c, "again %d\r\n", n)
					case "odd":
						fmt.Fprint(c, "a\x00b\nc \r\n")
					default:
						fmt.Fprintf(c, "you said %s\r\n", word)
					}
				}
			}()
		}
	}()
	return func(int, string) (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
}

const script = `Prose, and a line with S: in it.

  S: hello {{n}} [open]
  C: number
  C: aGk=
  S: again {{n}}
  S: you said {{base64 "hi"}}
C2: number
S2: hello {{m:[0-9]+}} {{*}}
S2: again {{m}}
C= "od"
C= "d\n"
S: a\x00b\x0A
S: c\x20
C: {{m}}
S: you said {{m}}
[note it]
C: quit
[closed]
[connect]
S: hello {{k}} [open]
`

func player(t *testing.T, noted *string) *Player {
	return &Player{Dial: toy(t), Do: map[string]func(string) error{"note": func(s string) error {
		*noted = s
		return nil
	}}}
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPlay(t *testing.T) {
	var noted string
	player(t, &noted).Play(t, write(t, script))
	if noted != "it" {
		t.Error(noted)
	}
}

// TestUpdate: S lines are written anew, those that fit stay, prose stays.
func TestUpdate(t *testing.T) {
	var noted string
	for _, old := range []string{script, strings.Replace(script, "S: you said {{m}}", "S: something else", 1)} {
		file := write(t, old)
		p := player(t, &noted)
		p.Update = true
		p.Play(t, file)
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := script
		if old != script {
			want = strings.Replace(script, "S: you said {{m}}", "S: you said 101", 1)
		}
		if string(got) != want {
			t.Errorf("got\n%s", got)
		}
	}
}

// failing records that a test failed, and stops as Fatalf does.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Helper() {}
func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f)
}

func TestDifferencesAreFound(t *testing.T) {
	for _, bad := range []string{
		"S: goodbye\n",
		"S: hello {{n}} [open]\nC: number\nS: again {{n}}1\n",
		"S: hello {{n:[a-z]+}} [open]\n",
		"C: hi\nS: hello {{n}} [open]\n", // something is left
		"S: hello {{*}}\n[closed]\n",
		"S: hello {{*}}\nC: {{unknown}}\n",
		"[frobnicate]\n",
		"S: hello {{*}}\nC: hi\n[close]\nS: you said hi\n",
	} {
		f := &failing{TB: t}
		func() {
			defer func() {
				if p := recover(); p != nil && p != any(f) {
					panic(p)
				}
			}()
			(&Player{Dial: toy(t), Timeout: 200_000_000}).Play(f, write(t, bad))
		}()
		if f.text == "" {
			t.Errorf("%q passed", bad)
		}
	}
}

func TestClientLines(t *testing.T) {
	got, err := ClientLines(write(t, script))
	if err != nil || len(got) != 7 || got[0] != "number\r\n" || got[3] != "od" {
		t.Errorf("%q %v", got, err)
	}
}
