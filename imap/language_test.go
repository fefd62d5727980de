package imap

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
)

// TestGerman finds the texts of tagged responses in the packages that make them, and
// those that have no German. POSTERN_MISSING names a file that gets what is missing.
func TestGerman(t *testing.T) {
	german := matchLanguage("de").words
	texts := map[string]string{"%s completed.": "answer.go"}
	for _, a := range mail.Answers {
		texts[a.Text] = "mail/errors.go"
	}
	for _, folder := range []string{".", "wire", "../store", "../convert"} {
		paths, err := filepath.Glob(folder + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				for _, text := range textsOf(n) {
					texts[text] = path
				}
				return true
			})
		}
	}
	var missing []string
	for text, path := range texts {
		said, ok := german[text]
		switch {
		case !ok:
			missing = append(missing, fmt.Sprintf("%s: %q", path, text))
		case !slices.Equal(verbs.FindAllString(said, -1), verbs.FindAllString(text, -1)):
			t.Errorf("%q has other verbs than %q", said, text)
		}
	}
	slices.Sort(missing)
	if path := os.Getenv("POSTERN_MISSING"); path != "" {
		os.WriteFile(path, []byte(strings.Join(missing, "\n")), 0o644)
	}
	if len(missing) > 0 {
		t.Errorf("no German in words/de.json for\n%s", strings.Join(missing, "\n"))
	}
}

var verbs = regexp.MustCompile(`%[a-zA-Z]`)

// textsOf gives the texts that a call makes the text of an answer, and that a
// statement sets the text of the tagged OK to.
func textsOf(n ast.Node) (texts []string) {
	literal := func(e ast.Expr, edit func(string) string) {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			text, _ := strconv.Unquote(l.Value)
			if text = edit(text); strings.Trim(text, "%s ") != "" {
				texts = append(texts, text)
			}
		}
	}
	asIs := func(s string) string { return s }
	switch n := n.(type) {
	case *ast.CallExpr:
		f, ok := n.Fun.(*ast.SelectorExpr)
		switch {
		case !ok:
		case f.Sel.Name == "Errorf" && len(n.Args) > 1:
			if x, ok := f.X.(*ast.Ident); ok && x.Name == "mail" && !corrupt(n.Args[0]) {
				literal(n.Args[1], asIs)
			}
		case (f.Sel.Name == "Bad" || f.Sel.Name == "run") && len(n.Args) > 0:
			literal(n.Args[len(n.Args)-1], sentence)
		}
	case *ast.AssignStmt:
		if f, ok := n.Lhs[0].(*ast.SelectorExpr); ok && f.Sel.Name == "text" && len(n.Rhs) == 1 {
			literal(n.Rhs[0], asIs)
		}
	}
	return texts
}

// corrupt tells the kind that is said of damage in the store, which only a log needs
// to tell.
func corrupt(kind ast.Expr) bool {
	k, ok := kind.(*ast.SelectorExpr)
	return ok && k.Sel.Name == "KindCorrupt"
}

func TestMatchLanguage(t *testing.T) {
	for wanted, tag := range map[string]string{
		"de": "de", "DE-AT": "de", "de-x-y": "de", "en-x-de": "en", "default": "i-default", "*": "i-default", "i-default": "i-default",
		"": "", "-": "", "d": "", "deu": "", "x-de": "", "i": "",
	} {
		got := ""
		if l := matchLanguage(wanted); l != nil {
			got = l.tag
		}
		if got != tag {
			t.Errorf("%q: %q, want %q", wanted, got, tag)
		}
	}
}
