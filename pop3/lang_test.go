package pop3

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/language"
	"github.com/postern-mail/postern/mail"
)

// TestGerman finds the texts that this package says, and those of the kinds of error,
// and what of them has no German.
func TestGerman(t *testing.T) {
	german := language.Read(wordFiles, "de")
	var texts []string
	for _, a := range mail.Answers {
		texts = append(texts, a.Text)
	}
	paths, err := filepath.Glob("*.go")
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
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"ok", "fault", "refuse", "Errorf"}, f.Sel.Name) {
				return true
			}
			for _, arg := range call.Args {
				if l, ok := arg.(*ast.BasicLit); ok && l.Kind == token.STRING {
					text, _ := strconv.Unquote(l.Value)
					texts = append(texts, text)
					break
				}
			}
			return true
		})
	}
	if len(texts) < 50 {
		t.Errorf("only %d texts were found", len(texts))
	}
	verbs := regexp.MustCompile(`%[a-z]`)
	for _, text := range texts {
		said, ok := german[text]
		if !ok {
			t.Errorf("no German for %q", text)
		} else if !slices.Equal(verbs.FindAllString(said, -1), verbs.FindAllString(text, -1)) {
			t.Errorf("%q has other verbs than %q", said, text)
		}
	}
}
