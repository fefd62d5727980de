package console

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/language"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// spoken are the packages whose texts administrators read in the console.
var spoken = []string{".", "../settings", "../manage", "../certificate", "../audit", "../probe"}

// TestGerman fails for every text without German, and for German of no text. What
// it lists is what belongs into words/de.json.
func TestGerman(t *testing.T) {
	texts := map[string]string{} // to where they are said
	add := func(text, where string) {
		if strings.ContainsFunc(text, func(r rune) bool { return 'a' <= r && r <= 'z' }) {
			texts[text] = where
		}
	}
	templates, err := filepath.Glob("pages/*.html")
	if err != nil {
		t.Fatal(err)
	}
	calls := regexp.MustCompile(`\.(?:T|Count|CountWord|Empty) "((?:[^"\\]|\\.)*)"`)
	offers := regexp.MustCompile(`\.Empty "(?:[^"\\]|\\.)*" "((?:[^"\\]|\\.)*)"`)
	for _, name := range templates {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range append(calls.FindAllStringSubmatch(string(text), -1), offers.FindAllStringSubmatch(string(text), -1)...) {
			s, err := strconv.Unquote(`"` + m[1] + `"`)
			if err != nil {
				t.Fatalf("%s: %s", name, m[0])
			}
			add(s, name)
		}
	}
	for _, folder := range spoken {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				readTexts(t, name, folder == ".", add)
			}
		}
	}
	for _, r := range settings.Table {
		add(r.Help, "settings")
		for _, c := range r.Choices {
			add(c.Label, "settings")
			add(c.Help, "settings")
		}
		for _, s := range r.Services {
			if len(r.Choices) == 0 && !slices.Contains([]string{"int", "size", "time span"}, r.Type) {
				add(r.Limits(s), "settings")
			}
		}
	}
	for _, r := range manage.FolderRoles() {
		add(r.Help, "manage")
	}
	for _, p := range settings.Pages {
		add(string(p), "settings")
	}
	for _, a := range mail.Answers {
		add(a.Text, "mail")
	}
	for _, r := range manage.Roles {
		add(string(r), "manage")
	}
	for _, s := range []manage.State{manage.Running, manage.Stopped, manage.Starting, manage.Stopping} {
		add(string(s), "manage")
	}

	// Texts that are put together of parts, or said below manage.
	said := sources(t, append(spoken, "../listener", "../directory", "../directory/embedded", "../auth", "../role"))
	german, english := catalogueOf(t, "de"), catalogueOf(t, "en")
	var missing []string
	for text := range texts {
		if _, ok := german[text]; !ok {
			missing = append(missing, text)
		}
	}
	slices.Sort(missing)
	for _, text := range missing {
		t.Errorf("%s: no German: %s", texts[text], strconv.Quote(text))
	}
	if path := os.Getenv("POSTERN_MISSING"); path != "" {
		list, _ := json.MarshalIndent(missing, "", "  ")
		os.WriteFile(path, list, 0o600)
	}
	for text := range german {
		if _, ok := texts[text]; !ok && !said(text) {
			t.Errorf("nobody says: %s", strconv.Quote(text))
		}
	}
	for text := range english {
		if _, ok := german[text].(map[string]any); !ok {
			t.Errorf("the German of %q does not depend on the number", text)
		}
	}
	for text, translated := range german {
		for _, form := range forms(translated) {
			if a, b := verbsOf(text), verbsOf(form); !maps.Equal(a, b) {
				t.Errorf("other verbs: %q has %v, %q has %v", text, a, form, b)
			}
		}
	}
}

// sources tells of a text whether all its parts between verbs stand in literals of
// the packages.
func sources(t *testing.T, folders []string) func(text string) bool {
	t.Helper()
	var all strings.Builder
	for _, folder := range folders {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if e, ok := n.(ast.Expr); ok {
					all.WriteString(literal(e) + "\n")
				}
				return true
			})
		}
	}
	return func(text string) bool {
		for _, part := range verb.Split(text, -1) {
			part = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(part), "and "), ", and")
			if !strings.Contains(all.String(), part) {
				return false
			}
		}
		return true
	}
}

// forms are the texts of a catalogue's entry.
func forms(entry any) []string {
	if text, ok := entry.(string); ok {
		return []string{text}
	}
	var list []string
	for _, text := range entry.(map[string]any) {
		list = append(list, text.(string))
	}
	return list
}

// verbsOf gives the verbs of a format by the number of their argument.
func verbsOf(format string) map[int]string {
	verbs := map[int]string{}
	next := 0
	for _, m := range verb.FindAllStringSubmatch(format, -1) {
		if m[2] == "%" {
			continue
		}
		next++
		if m[1] != "" {
			next, _ = strconv.Atoi(m[1])
		}
		verbs[next] = m[2]
	}
	return verbs
}

func catalogueOf(t *testing.T, tag string) map[string]any {
	t.Helper()
	text, err := wordFiles.ReadFile("words/" + tag + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// sayers are the functions whose argument of this index is a text for people.
var sayers = map[string]int{
	"Errorf": 1, "wrong": 1, "refuse": 0, "hinted": 1, "Warn": 0, "Note": 0,
	"T": 0, "Count": 0, "CountWord": 0, // of this package
}

// fieldsOfText are the fields of literals that hold texts for people.
var fieldsOfText = []string{"Title", "Done", "Help", "Submit", "Lead", "Group", "Fix", "Detail", "Text", "Remedy", "Label", "Action"}

// readTexts finds the texts and formats that a file says.
func readTexts(t *testing.T, name string, mine bool, add func(text, where string)) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			called := calledName(n.Fun)
			if called == "add" && len(n.Args) == 3 && slices.Contains([]string{"Pass", "Warn", "Fail"}, calledName(n.Args[0])) { // a finding of Test-ServerConfiguration
				add(formatText(n.Args[1]), set.Position(n.Pos()).String())
			}
			at, ok := sayers[called]
			if !ok || at >= len(n.Args) || !mine && (called == "T" || called == "Count") {
				return true
			}
			if called == "Errorf" {
				if s, ok := n.Fun.(*ast.SelectorExpr); !ok || calledName(s.X) != "mail" {
					return true
				}
			}
			format := formatText(n.Args[at])
			if called == "refuse" && format != "" {
				format = "%s " + format
			}
			if strings.ContainsFunc(verb.ReplaceAllString(format, ""), func(r rune) bool { return 'a' <= r|0x20 && r|0x20 <= 'z' }) {
				add(format, set.Position(n.Pos()).String())
			}
		case *ast.CompositeLit:
			rows := []ast.Expr{n}
			kind := n.Type
			if list, ok := n.Type.(*ast.ArrayType); ok {
				rows, kind = n.Elts, list.Elt
			}
			for _, row := range rows {
				if row, ok := row.(*ast.CompositeLit); ok && calledName(kind) == "finding" && len(row.Elts) == 4 {
					add(formatText(row.Elts[2]), set.Position(row.Pos()).String())
				}
			}
		case *ast.KeyValueExpr:
			key, ok := n.Key.(*ast.Ident)
			if !ok {
				break
			}
			if mine && slices.Contains(fieldsOfText, key.Name) {
				add(literal(n.Value), set.Position(n.Pos()).String())
			}
			if f, ok := n.Value.(*ast.FuncLit); ok && (key.Name == "warn" || key.Name == "note") {
				ast.Inspect(f, func(n ast.Node) bool {
					if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) == 1 {
						add(formatText(r.Results[0]), set.Position(r.Pos()).String())
					}
					return true
				})
			}
		case *ast.ValueSpec:
			for i, v := range n.Values {
				if mine && i < len(n.Names) && strings.HasPrefix(n.Names[i].Name, "group") {
					add(literal(v), set.Position(n.Pos()).String())
				}
				if mine && n.Names[i].Name == "classes" {
					for _, e := range v.(*ast.CompositeLit).Elts {
						add(literal(e.(*ast.KeyValueExpr).Value), set.Position(e.Pos()).String())
					}
				}
			}
		}
		return true
	})
}

func calledName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func literal(e ast.Expr) string {
	if b, ok := e.(*ast.BasicLit); ok && b.Kind == token.STRING {
		text, _ := strconv.Unquote(b.Value)
		return text
	}
	return ""
}

// formatText gives the format that an expression makes a text of: a literal, the
// format of Sprintf, or a sum, in which what is no literal is %s.
func formatText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		return literal(e)
	case *ast.CallExpr:
		if calledName(e.Fun) == "Sprintf" && len(e.Args) > 0 {
			return formatText(e.Args[0])
		}
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return ""
		}
		part := func(e ast.Expr) string {
			if text := formatText(e); text != "" {
				return text
			}
			return "%s"
		}
		return part(e.X) + part(e.Y)
	case *ast.ParenExpr:
		return formatText(e.X)
	}
	return ""
}

func german(t *testing.T) *Words {
	t.Helper()
	c, err := OpenCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	return c.Pick("de", "")
}

func TestPick(t *testing.T) {
	c, err := OpenCatalogue()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		chosen, accept string
		want           language.Tag
	}{
		{"", "", language.English}, {"", "de-AT, en;q=0.8", language.German}, {"en", "de", language.English}, {"de", "fr", language.German},
		{"xx", "fr, de;q=0.2", language.German}, {"", ";;;=", language.English}, {"", strings.Repeat("de,", 1000), language.English},
	} {
		if got := c.Pick(x.chosen, x.accept).Tag; got != x.want {
			t.Errorf("%q %.20q: %v", x.chosen, x.accept, got)
		}
	}
}

func TestNumbers(t *testing.T) {
	time.Local = time.UTC
	w := german(t)
	when := time.Date(2026, 11, 3, 5, 4, 0, 0, time.UTC)
	for _, x := range [][2]string{
		{w.Number(0), "0"}, {w.Number(999), "999"}, {w.Number(1000), "1.000"}, {w.Number(-1234567), "−1.234.567"},
		{w.Size(1), "1 B"}, {w.Size(1536), "1,5 KB"}, {w.Size(5 << 30), "5 GB"},
		{w.Value(settings.Unlimited), w.T("unlimited")}, {w.Value([]string{}), "–"}, {w.When(when), "03.11.2026, 05:04"},
	} {
		if x[0] != x[1] {
			t.Errorf("got %q, want %q", x[0], x[1])
		}
	}
}

// TestServerTexts translates texts that the server made of formats, whole or
// through the format that an error keeps.
func TestServerTexts(t *testing.T) {
	w := german(t)
	for _, x := range []struct {
		got  string
		want string // a part
	}{
		{w.Error(mail.Errorf(mail.KindNotFound, "there is no cmdlet %q", "x<y")), `"x<y"`},
		{w.Text(fmt.Sprintf("there is no cmdlet %q", "No%sne")), `"No%sne"`},
		{w.Text("something that nobody translated"), "something that nobody translated"},
		{w.Error(mail.Errorf(mail.KindBadArgument, "%s", "100 %d no format")), "100 %d no format"},
	} {
		if !strings.Contains(x.got, x.want) {
			t.Errorf("got %q, want %q in it", x.got, x.want)
		}
		if strings.Contains(x.got, "there is no cmdlet") {
			t.Errorf("not German: %q", x.got)
		}
	}
}
