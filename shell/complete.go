package shell

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/postern-mail/postern/manage"
)

// complete gives the candidates for the word that text, the line up to the
// cursor, ends with, and that word. Nothing fits when the line cannot be
// understood.
func (s *session) complete(ctx context.Context, text string) (candidates []Candidate, partial string) {
	segment, behindPipe := lastSegment(text)
	words, partial := fields(segment)
	candidates = s.candidates(ctx, words, partial, behindPipe, quote)
	if len(words) == 0 && !behindPipe && strings.HasPrefix("exit", strings.ToLower(partial)) {
		candidates = append(candidates, Candidate{"exit", s.Catalogue.say("Leaves the shell.")})
	}
	return candidates, partial
}

// candidates gives what fits for partial behind the other words of a command.
// written is how a value is written.
func (s *session) candidates(ctx context.Context, words []string, partial string, behindPipe bool, written func(string) string) (candidates []Candidate) {
	add := func(value, help string) {
		if len(value) >= len(partial) && strings.EqualFold(value[:len(partial)], partial) {
			candidates = append(candidates, Candidate{value, help})
		}
	}
	if len(words) == 0 {
		if behindPipe {
			for _, f := range filters() {
				add(f.name, f.help)
			}
		}
		table, err := s.table(ctx)
		if err != nil {
			return candidates
		}
		for _, c := range table {
			if !behindPipe || s.pipeable(c, nil) == nil {
				add(c.Name, c.Synopsis)
			}
		}
		return candidates
	}
	parameters, name := s.parametersOf(ctx, words[0], behindPipe)
	given := map[string]bool{}
	var values *manage.Parameter // whose value the partial word is
	positions := 0
	for _, w := range words[1:] {
		if values != nil {
			values = nil
			continue
		}
		if !strings.HasPrefix(w, "-") || len(w) < 2 || !isLetter(w[1]) {
			positions++
			continue
		}
		key, _, colon := strings.Cut(w[1:], ":")
		p, err := parameterNamed(name, parameters, key)
		if err != nil {
			continue
		}
		given[p.Name] = true
		if p.Type.Takes() && !colon {
			values = p
		}
	}
	before := ""
	if values == nil && strings.HasPrefix(partial, "-") {
		key, rest, colon := strings.Cut(partial[1:], ":")
		if !colon {
			for _, p := range parameters {
				if !given[p.Name] {
					add("-"+p.Name, p.Help)
				}
			}
			return candidates
		}
		p, err := parameterNamed(name, parameters, key)
		if err != nil {
			return nil
		}
		values, before = p, partial[:len(partial)-len(rest)]
	}
	if values == nil {
		values = nthPositional(parameters, given, positions)
	}
	if values == nil {
		for _, p := range parameters {
			if !given[p.Name] {
				add("-"+p.Name, p.Help)
			}
		}
		return candidates
	}
	offered := values.Values
	if values.Type == manage.TypeBool || values.Type == manage.TypeSwitch {
		offered = []string{"$true", "$false"}
	}
	if values.Type == manage.TypeFile || values.Type == manage.TypeSave {
		offered = files(partial[len(before):])
	}
	if values.Suggest == manage.SuggestCmdlets {
		offered = append(slices.Clone(offered), s.explained(ctx)...)
	} else if values.Suggest != manage.SuggestNothing {
		if list, err := s.client.Suggest(ctx, values.Suggest); err == nil {
			offered = append(slices.Clone(offered), list...)
		}
	}
	for _, v := range offered {
		add(before+written(v), "")
	}
	return candidates
}

func (s *session) parametersOf(ctx context.Context, name string, behindPipe bool) ([]manage.Parameter, string) {
	if behindPipe {
		if f := filterNamed(name); f != nil {
			return f.parameters, f.name
		}
	}
	c, err := s.cmdlet(ctx, name)
	if err != nil {
		return nil, name
	}
	return c.Parameters, c.Name
}

// explained are the names that Get-Help knows.
func (s *session) explained(ctx context.Context) []string {
	var names []string
	if table, err := s.table(ctx); err == nil {
		for _, c := range table {
			names = append(names, c.Name)
		}
	}
	return append(names, manage.Topics()...)
}

func nthPositional(parameters []manage.Parameter, given map[string]bool, n int) *manage.Parameter {
	var list []*manage.Parameter
	for i := range parameters {
		if p := &parameters[i]; p.Position > 0 && !given[p.Name] {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *manage.Parameter) int { return a.Position - b.Position })
	if n < len(list) {
		return list[n]
	}
	return nil
}

// quote puts a value into quotes when it would not be read as one word.
func quote(v string) string {
	if strings.ContainsAny(v, " '\"`,;|(){}#@") && !strings.HasPrefix(v, "$") {
		plain := !strings.ContainsAny(v, " '\"`,;|(){}") && v[0] != '#' && v[0] != '@'
		if !plain {
			return "'" + strings.ReplaceAll(v, "'", "''") + "'"
		}
	}
	return v
}

// lastSegment gives the text behind the last | or ; that is not quoted.
func lastSegment(text string) (segment string, behindPipe bool) {
	from, open := 0, rune(0)
	for i, r := range text {
		switch {
		case open != 0:
			if r == open {
				open = 0
			}
		case r == '\'' || r == '"':
			open = r
		case r == '|' || r == ';':
			from, behindPipe = i+1, r == '|'
		}
	}
	return text[from:], behindPipe
}

// fields splits at white space that is not quoted; the last field is what the
// cursor stands behind, "" after a space.
func fields(text string) (words []string, partial string) {
	var b strings.Builder
	open := rune(0)
	for _, r := range text {
		switch {
		case open != 0 && r == open:
			open = 0
		case open == 0 && (r == '\'' || r == '"'):
			open = r
		case open == 0 && unicode.IsSpace(r):
			if b.Len() > 0 {
				words = append(words, b.String())
				b.Reset()
			}
			continue
		}
		b.WriteRune(r)
	}
	return words, b.String()
}

// maxFiles bounds how many files completion offers.
const maxFiles = 200

// files offers the paths that begin with partial, folders with a slash behind.
func files(partial string) []string {
	folder, name := filepath.Split(partial)
	entries, err := os.ReadDir(cmp.Or(folder, "."))
	if err != nil {
		return nil
	}
	var paths []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), name) || name == "" && strings.HasPrefix(e.Name(), ".") || len(paths) == maxFiles {
			continue
		}
		path := folder + e.Name()
		if e.IsDir() {
			path += "/"
		}
		paths = append(paths, path)
	}
	return paths
}
