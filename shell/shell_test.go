package shell

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

var update = flag.Bool("update", false, "write what the shell says into the transcripts")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTranscripts types the lines that begin with "> " and compares what the shell
// says; "= 1" is an exit code that is not 0.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, client, _ := managetest.Serve(t)
			var got bytes.Buffer
			screen := &Screen{Out: &got, Err: &got, Width: 80}
			for line := range strings.Lines(string(want)) {
				if strings.HasPrefix(line, "# ") {
					got.WriteString(line)
				}
				text, ok := strings.CutPrefix(line, "> ")
				if !ok {
					continue
				}
				got.WriteString("\n" + line)
				if code := (&session{Screen: screen, client: client}).line(context.Background(), strings.TrimSuffix(text, "\n")); code != Done {
					fmt.Fprintf(&got, "= %d\n", code)
				}
			}
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(want), got.String()); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// TestArguments: what the operating system's shell has taken quotes from.
func TestArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"Set-PopSettings", "-LoginType", "PlainTextLogin", "-whatif"}, Done, "What if: POP3 LoginType: SecureLogin → PlainTextLogin"},
		{[]string{"Set-PopSettings", "-Banner", "Two words, and | ; 'more' $HOME", "-WhatIf"}, Done, "Two words, and | ; 'more' $HOME"},
		{[]string{"Set-PopSettings", "-SSLBindings", "127.0.0.1:1995,127.0.0.1:2995", "-WhatIf"}, Done, "→ {127.0.0.1:1995, 127.0.0.1:2995}"},
		{[]string{"Set-PopSettings", "-SSLBindings", "127.0.0.1:1995,", "127.0.0.1:2995", "-WhatIf"}, Done, "→ {127.0.0.1:1995, 127.0.0.1:2995}"},
		{[]string{"Set-PopSettings", "-SSLBindings", "@{Add=127.0.0.1:1995,127.0.0.1:2995;Remove=[::]:995}", "-WhatIf"}, Done, "→ {0.0.0.0:995, 127.0.0.1:1995, 127.0.0.1:2995}"},
		{[]string{"Get-Mailbox", "|", "Where-Object", "Name", "-like", "b*", "|", "Select-Object", "-ExpandProperty", "Name"}, Done, "bob@example.org\n"},
		{[]string{"Get-Mailbox | ? { $_.Name -like 'b*' } | select -exp Name"}, Done, "bob@example.org\n"},
		{[]string{"Get-Mailbox", "|", "?", "{ $_.Name -like 'b*' }", "|", "ft", "Name"}, Done, "bob@example.org\n"},
		{[]string{"Set-CASMailbox", "alice@example.org", "-PopEnabled:$false", "-WhatIf"}, Done, "PopEnabled: True → False"},
		{[]string{"Remove-Mailbox", "alice@example.org", "-Confirm:"}, Misused, "'-Confirm:$false'"},
		{[]string{"Remove-Mailbox", "alice@example.org"}, Failed, "nobody can be asked"},
		{[]string{"New-Mailbox", "carol", "-Password"}, Misused, "needs -Password"},
		{[]string{"Get-Mailbox", "|"}, Misused, "missing after |"},
		{[]string{"|"}, Misused, "missing before |"},
		{[]string{"Set-PopSettings", "-Ban-ner", "x"}, Misused, "no parameter"},
		{[]string{"Set-PopSettings", "-SSLBindings", "@{Add=x"}, Misused, "not complete"},
		{nil, Done, ""},
	} {
		_, client, _ := managetest.Serve(t)
		var out bytes.Buffer
		code := Run(context.Background(), client, c.args, &Screen{Out: &out, Err: &out, Width: 80})
		if code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: %d %s", c.args, code, &out)
		}
	}
}

func TestQuestions(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	var out bytes.Buffer
	answer := "n"
	var asked []string
	screen := &Screen{Out: &out, Err: &out, Width: 80,
		Ask:       func(q string) (string, error) { asked = append(asked, q); return answer, nil },
		AskSecret: func(q string) (string, error) { return "pass word", nil },
	}
	run := func(line string) int {
		return (&session{Screen: screen, client: client}).line(context.Background(), line)
	}
	if code := run("Remove-Mailbox bob@example.org"); code != Failed || len(asked) != 1 || !strings.Contains(asked[0], "bob@example.org") {
		t.Error(code, asked, out.String())
	}
	answer = "Y"
	if code := run("Remove-Mailbox bob@example.org"); code != Done {
		t.Error(code, out.String())
	}
	if code := run("Get-Mailbox bob@example.org"); code != Failed {
		t.Error("still there")
	}
	if code := run("New-Mailbox carol@example.org"); code != Done {
		t.Error(code, out.String())
	}
	if _, err := f.Directory.CheckPassword(context.Background(), "carol@example.org", "pass word"); err != nil {
		t.Error("the password that was typed:", err)
	}
	screen.AskSecret = func(string) (string, error) { answer += "x"; return answer, nil }
	if code := run("Set-Mailbox carol@example.org -Password"); code != Misused || !strings.Contains(out.String(), "not the same") {
		t.Error(code, out.String())
	}
	// A script hands it over on standard input, where no list of processes shows it.
	screen.Ask, screen.AskSecret = nil, nil
	input := strings.NewReader("from a pipe\r\n")
	screen.ReadSecret = func() (string, error) { return readLine(input) }
	if code := run("Set-Mailbox carol@example.org -Password"); code != Done {
		t.Error(code, out.String())
	}
	if _, err := f.Directory.CheckPassword(context.Background(), "carol@example.org", "from a pipe"); err != nil {
		t.Error("the password that was piped:", err)
	}
	if code := run("Set-Mailbox carol@example.org -Password"); code != Misused || !strings.Contains(out.String(), "no line") {
		t.Error(code, out.String())
	}
	if code := run("New-Mailbox dora@example.org"); code != Misused {
		t.Error("a secret that was not named is not read from a pipe:", code, out.String())
	}
}

// TestQuestionsOfPipelines: what is asked for each object can be answered for all.
func TestQuestionsOfPipelines(t *testing.T) {
	for _, c := range []struct {
		answers []string
		code    int
		left    string // mailboxes
		asked   int
	}{
		{[]string{"y", "yes"}, Done, "", 2},
		{[]string{"A"}, Done, "", 1},
		{[]string{"n", "y"}, Failed, "alice@example.org\n", 2},
		{[]string{"l"}, Failed, "alice@example.org\nbob@example.org\n", 1},
		{[]string{"", "maybe"}, Failed, "alice@example.org\nbob@example.org\n", 2},
		{nil, Failed, "alice@example.org\nbob@example.org\n", 1}, // the input ends
	} {
		_, client, _ := managetest.Serve(t)
		var out, errs bytes.Buffer
		asked := 0
		screen := &Screen{Out: &out, Err: &errs, Width: 80, Ask: func(q string) (string, error) {
			asked++
			if !strings.Contains(q, "[A] Yes to all") {
				t.Error(q)
			}
			if asked > len(c.answers) {
				return "", io.EOF
			}
			return c.answers[asked-1], nil
		}}
		s := &session{Screen: screen, client: client}
		if code := s.line(context.Background(), "Get-Mailbox | Remove-Mailbox"); code != c.code || asked != c.asked {
			t.Errorf("%q: code %d, asked %d\n%s", c.answers, code, asked, &errs)
		}
		out.Reset()
		s.line(context.Background(), "Get-Mailbox | select -ExpandProperty Name")
		if out.String() != c.left {
			t.Errorf("%q: left %q", c.answers, out.String())
		}
	}
	// A password is asked for once.
	f, client, _ := managetest.Serve(t)
	asked := 0
	screen := &Screen{Out: io.Discard, Err: io.Discard, AskSecret: func(string) (string, error) { asked++; return "pass word", nil }}
	if code := (&session{Screen: screen, client: client}).line(context.Background(), "Get-Mailbox | Set-Mailbox -Password"); code != Done || asked != 2 {
		t.Error(code, asked)
	}
	for _, name := range []string{"alice@example.org", "bob@example.org"} {
		if _, err := f.Directory.CheckPassword(context.Background(), name, "pass word"); err != nil {
			t.Error(name, err)
		}
	}
}

// TestExitCode: a test that finds something wrong says so with its exit code, alone
// and in a pipeline.
func TestExitCode(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.Access.Addr = netip.MustParseAddrPort(l.Addr().String())
	l.Close() // nobody listens
	var out bytes.Buffer
	for _, line := range []string{"Test-PopConnectivity -LightMode", "Test-PopConnectivity -LightMode | ? Result -eq Failure | ft Scenario, Error"} {
		out.Reset()
		code := (&session{Screen: &Screen{Out: &out, Err: &out}, client: client}).line(context.Background(), line)
		if code != Failed || !strings.Contains(out.String(), "refused") {
			t.Errorf("%s: %d %s", line, code, &out)
		}
	}
	if code := (&session{Screen: &Screen{Out: &out, Err: &out}, client: client}).line(context.Background(), "New-Mailbox carol@example.org -Password x | ? Nonsense"); code != Failed {
		t.Error("something was done, and the exit code says that nothing was:", code)
	}
}

// TestPipelineFailures: what fails for one object does not keep the cmdlet from the
// others, and is not forgotten.
func TestPipelineFailures(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	if err := f.Directory.Change(context.Background(), "alice@example.org", func(e *directory.Entry) error { e.DisplayName = "nobody"; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := f.Directory.Change(context.Background(), "bob@example.org", func(e *directory.Entry) error { e.DisplayName = "bob@example.org"; return nil }); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code := (&session{Screen: &Screen{Out: &out, Err: &out}, client: client}).line(context.Background(), "Get-Mailbox | % DisplayName | Set-CASMailbox -PopEnabled $true")
	if text := out.String(); code != Failed || !strings.Contains(text, `Set-CASMailbox nobody: there is no mailbox "nobody"`) || !strings.Contains(text, "bob@example.org PopEnabled: False → True") {
		t.Error(code, text)
	}
}

func TestScript(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	for _, c := range []struct {
		script string
		code   int
		want   string
	}{
		{"# nothing\n\nGet-Mailbox |\n  ft Name\nexit\nGet-Nonsense\n", Done, "bob@example.org\n"},
		{"Set-PopSettings -SSLBindings @{\n Add='127.0.0.1:1995'\n} `\n -WhatIf", Done, "1995"},
		{"Get-Nonsense\nGet-Mailbox\n", Misused, "no cmdlet"},
		{"Get-Mailbox nobody\nGet-Mailbox\n", Failed, "no mailbox"},
		{"Get-Mailbox 'open", Misused, "not complete"},
		{strings.Repeat("x", maxLine+1), Misused, ""},
	} {
		var out bytes.Buffer
		code := Script(context.Background(), client, strings.NewReader(c.script), &Screen{Out: &out, Err: &out, Width: 80})
		if code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%.40q: %d %s", c.script, code, &out)
		}
	}
}

func TestNoServer(t *testing.T) {
	var out bytes.Buffer
	client := manage.Dial(filepath.Join(t.TempDir(), "none"))
	code := Run(context.Background(), client, []string{"Get-Mailbox"}, &Screen{Out: io.Discard, Err: &out})
	if code != Failed || !strings.Contains(out.String(), "no server is running") {
		t.Error(code, out.String())
	}
	// Help is there all the same, and says so.
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"Get-Help Set-PopSettings", Done, "SYNTAX"},
		{"get-help about_ExitCodes", Done, "could not be understood"},
		{"Get-Command *-Mailbox | measure", Done, "Count : 6"},
		{"Get-Help Set-PopSetings", Failed, "no cmdlet"},
		{"Get-PopSetings", Misused, "Did you mean Get-PopSettings?"},
		{"Get-Command | Get-Mailbox", Failed, "no server is running"},
	} {
		out.Reset()
		code := Run(context.Background(), client, []string{c.line}, &Screen{Out: &out, Err: &out, Width: 80})
		if text := out.String(); code != c.code || !strings.Contains(text, c.want) || c.code == Done && strings.Count(text, "no server is running") != 1 {
			t.Errorf("%q: %d %s", c.line, code, text)
		}
	}
}

func TestComplete(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	s := &session{Screen: &Screen{}, client: client}
	for _, c := range []struct {
		line string
		want []string // the first ones
	}{
		{"get-po", []string{"Get-PopSettings"}},
		{"Set-PopSettings -logint", []string{"-LoginType"}},
		{"Set-PopSettings -LoginType ", []string{"PlainTextLogin", "PlainTextAuthentication", "SecureLogin"}},
		{"Set-PopSettings -LoginType s", []string{"SecureLogin"}},
		{"Set-PopSettings -LoginType:s", []string{"-LoginType:SecureLogin"}},
		{"Set-PopSettings -LoginType 3 -LoginT", nil},
		{"Set-CASMailbox -PopEnabled ", []string{"$true", "$false"}},
		{"Set-CASMailbox ", []string{"alice@example.org", "bob@example.org"}},
		{"Set-CASMailbox -Identity b", []string{"bob@example.org"}},
		{"Set-CASMailbox alice@example.org ", []string{"-Identity", "-PopEnabled"}},
		{"Start-Service p", []string{"POP3"}},
		{"Get-Help set-m", []string{"Set-MailboxDatabase", "Set-Mailbox"}},
		{"Get-Mailbox | Form", []string{"Format-List", "Format-Table"}},
		{"Get-Mailbox | Sort-Object -D", []string{"-Descending"}},
		{"Get-Mailbox | Set-CAS", []string{"Set-CASMailbox"}},
		{"Get-Mailbox | New-C", nil},
		{"Get-Mailbox | Set-CASMailbox -PopE", []string{"-PopEnabled"}},
		{"Get-Help about_L", []string{"about_LoginType"}},
		{"Get-PopSettings; Get-Imap", []string{"Get-ImapSettings"}},
		{"Remove-Mailbox x -Confirm:", []string{"-Confirm:$true", "-Confirm:$false"}},
		{"Get-Nonsense -", nil},
		{"exi", []string{"exit"}},
	} {
		candidates, _ := s.complete(context.Background(), c.line)
		var got []string
		for _, c := range candidates {
			got = append(got, c.Value)
		}
		if len(got) < len(c.want) || !slices.Equal(got[:len(c.want)], c.want) || c.want == nil && got != nil {
			t.Errorf("%q: %q", c.line, got)
		}
	}
}

func TestHistory(t *testing.T) {
	_, client, _ := managetest.Serve(t)
	s := &session{Screen: &Screen{}, client: client}
	if _, err := s.table(context.Background()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "postern", "history")
	h := openHistory(path, s.holdsSecret)
	for _, line := range []string{"Get-Mailbox", "Get-Mailbox", " ", "New-Mailbox carol -Password s3cret", "Set-Mailbox carol -pas:s3cret", "New-Mailbox carol -p 's3cret", "x -pa s3cret", "Set-PopSettings -ProxyTargetPort 110"} {
		if _, err := h.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.save(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "Get-Mailbox\nSet-PopSettings -ProxyTargetPort 110\n" {
		t.Errorf("%q %v", text, err)
	}
	if file, err := os.Stat(path); err != nil || file.Mode().Perm() != 0o600 {
		t.Error(file.Mode(), err)
	}
	again := openHistory(path, s.holdsSecret)
	if line, err := again.GetLine(1); again.Len() != 2 || err != nil || !strings.HasPrefix(line, "Set-") {
		t.Error(again.lines)
	}
	if _, err := again.GetLine(2); err == nil {
		t.Error("a line that is not there")
	}
}

// TestScreen: a terminal gets colour and lines that fit; a foreign text cannot
// write to it.
func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := &Screen{Out: &out, Err: &out, Terminal: true, Width: 40}
	r := &manage.Result{View: manage.ViewTable, Objects: []manage.Object{{{Name: "Name", Value: "\x1b]0;owned\a" + strings.Repeat("x", 60)}, {Name: "Size", Value: int64(5)}}}}
	if err := s.print(&stream{result: r}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b]") || !strings.Contains(out.String(), "…") || !strings.Contains(out.String(), `\u001b]0;owned`) {
		t.Errorf("%q", out.String())
	}
	if got := s.wrap(strings.Repeat("word ", 20), 4); strings.Count(got, "\n") != 2 {
		t.Errorf("%q", got)
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KB", 1536: "1.5 KB", 1 << 20: "1 MB", 5 << 30: "5 GB", 150 << 20: "150 MB", 9 << 40: "9 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

func TestCatalogue(t *testing.T) {
	c := Catalogue{"Nothing was changed.": "Es wurde nichts geändert.", "%s: ": "%s? "}
	if c.say("Nothing was changed.") != "Es wurde nichts geändert." || c.say("%s: ", "Passwort") != "Passwort? " || Catalogue(nil).say("100%") != "100%" {
		t.Error("the catalogue does not translate")
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line, ok := strings.CutPrefix(line, "> "); ok {
				f.Add(line)
			}
		}
	}
	f.Add("a -b:@{c=@(d,'e'''),\"f`n\"} {{g}} `\n|h;#i")
	cmdlets := manage.Cmdlets()
	f.Fuzz(func(t *testing.T, line string) {
		lines, err := parse(line)
		if err != nil {
			return
		}
		for _, p := range lines {
			for _, c := range p {
				for _, cmdlet := range cmdlets[:4] {
					bind(cmdlet.Name, cmdlet.Parameters, c.args)
				}
				st := &stream{result: &manage.Result{Objects: []manage.Object{{{Name: "Name", Value: "x"}}}}}
				whereObject(st, nil, c.args)
			}
		}
		s := &session{Screen: &Screen{}, cmdlets: cmdlets}
		s.holdsSecret(line)
		_, _ = lastSegment(line)
		fields(line)
	})
}

func FuzzWhere(f *testing.F) {
	f.Add(`$_.Name -eq 'x' -and -not ($_.Name -like "y*") -or !$_.Name`)
	f.Add(`((((`)
	f.Fuzz(func(t *testing.T, text string) {
		st := &stream{result: &manage.Result{Objects: []manage.Object{{{Name: "Name", Value: "x"}}}}}
		keep, err := parseBlock(st, text)
		if err == nil {
			keep(st.result.Objects[0])
		}
	})
}

func FuzzArguments(f *testing.F) {
	f.Add("Get-Mailbox\x01|\x01ft\x01-Name:@{a=b}")
	f.Fuzz(func(t *testing.T, text string) {
		parseArguments(strings.Split(text, "\x01"))
	})
}

func TestBashWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                           {""},
		"postern ":                   {"postern", ""},
		`postern Set-X -A:$fa`:       {"postern", "Set-X", "-A:$fa"},
		`postern  'a b' "c d"e f\ g`: {"postern", "a b", "c de", "f g"},
		`postern 'open it`:           {"postern", "open it"},
		`postern '' \`:               {"postern", "", `\`},
	} {
		if got := BashWords(line); !slices.Equal(got, want) {
			t.Errorf("%q: %q", line, got)
		}
	}
}
