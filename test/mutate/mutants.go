package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// target is a file and what of it is mutated: functions by their names, methods
// without their types, and the variables of tables.
type target struct {
	file  string
	names []string
	// served: the mutants are tried on the running server, too. core: it is the policy
	// itself, of which CI tries every mutant.
	served, core bool
}

// targets are the login policy.
var targets = []target{
	{file: "auth/permits.go", names: []string{"Permits", "Protects"}, served: true, core: true},
	{file: "auth/permits.go", names: []string{"needsTLS", "Err"}, core: true},
	{file: "auth/loginrule.go", names: []string{"Effective"}, core: true},
	{file: "auth/loginrule.go", names: []string{"secretOf", "asMechanism", "ProvedBy", "holds", "means", "Everyone", "forbids", "otherThanPassword", "Narrows", "GroupsOf", "Decide"}, core: true},
	{file: "auth/conn.go", names: []string{"wanted", "permitted", "server", "offers", "means"}},
	{file: "auth/signin.go", names: []string{"Begin", "Authorize"}},
	{file: "auth/auth.go", names: []string{"Offered", "RefusePassword"}},
	{file: "auth/acting.go", names: []string{"isSelf", "actFor", "permittedFor"}},
	{file: "sasl/mechanisms.go", names: []string{"Mechanisms", "Plus", "Legacy"}, core: true},
	{file: "settings/authentication.go", names: []string{"Binds", "requiredNeedsBinding"}},
}

// mutant is one change of one place.
type mutant struct {
	id           int
	served, core bool
	// name says what it is, without a line number: "auth/permits.go Permits: tls → false".
	name string
}

// mutation is all mutants, and the files with every one of them built in.
type mutation struct {
	mutants []mutant
	files   map[string][]byte // by path below the root
}

// mutate reads the targets below root.
func mutate(root string) (*mutation, error) {
	m := &mutation{files: map[string][]byte{}}
	named := map[string]int{}
	byFile := map[string][]target{}
	var order []string
	for _, t := range targets {
		if byFile[t.file] == nil {
			order = append(order, t.file)
		}
		byFile[t.file] = append(byFile[t.file], t)
	}
	for _, path := range order {
		source, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, source, 0)
		if err != nil {
			return nil, err
		}
		w := &writer{m: m, named: named, path: path, set: set, source: source}
		for _, t := range byFile[path] {
			w.served, w.core = t.served, t.core
			for _, name := range t.names {
				before := len(m.mutants)
				for _, d := range file.Decls {
					w.declaration(d, name)
				}
				if len(m.mutants) == before {
					return nil, fmt.Errorf("%s: nothing to mutate in %s", path, name)
				}
			}
		}
		m.files[path] = w.apply()
		m.files[filepath.Join(filepath.Dir(path), "zz_mutants.go")] = []byte("package " + file.Name.Name + helpers)
	}
	return m, nil
}

// helpers are what the mutated places call: the mutant whose number is in the
// environment is the one that lives.
const helpers = `

import (
	"os"
	"strconv"
)

var mutantLives = func() int {
	n, _ := strconv.Atoi(os.Getenv("POSTERN_MUTANT"))
	return n
}()

// mutantCondition is v, not v, true or false.
func mutantCondition(first int, v bool) bool {
	switch mutantLives {
	case first:
		return !v
	case first + 1:
		return true
	case first + 2:
		return false
	}
	return v
}

// mutantValue is v or one of others.
func mutantValue[T any](first int, v T, others ...T) T {
	if n := mutantLives - first; mutantLives > 0 && n >= 0 && n < len(others) {
		return others[n]
	}
	return v
}

// mutantSkips tells whether a statement is left out.
func mutantSkips(id int) bool { return mutantLives == id }
`

// writer mutates one file.
type writer struct {
	m      *mutation
	named  map[string]int
	path   string
	set    *token.FileSet
	source []byte
	served bool
	core   bool

	function string
	edits    []edit
	seen     map[ast.Node]bool
}

// edit puts text in front of from and other text behind to.
type edit struct {
	from, to      int
	before, after string
}

func (w *writer) offset(p token.Pos) int { return w.set.Position(p).Offset }

func (w *writer) text(n ast.Node) string {
	return strings.Join(strings.Fields(string(w.source[w.offset(n.Pos()):w.offset(n.End())])), " ")
}

// add makes a mutant, and tells its number.
func (w *writer) add(what, becomes string) int {
	name := fmt.Sprintf("%s %s: %s → %s", w.path, w.function, what, becomes)
	if w.named[name]++; w.named[name] > 1 {
		name += " #" + strconv.Itoa(w.named[name])
	}
	id := len(w.m.mutants) + 1
	w.m.mutants = append(w.m.mutants, mutant{id: id, served: w.served, core: w.core, name: name})
	return id
}

func (w *writer) wrap(n ast.Node, before, after string) {
	w.edits = append(w.edits, edit{w.offset(n.Pos()), w.offset(n.End()), before, after})
}

// declaration mutates d when it is name's.
func (w *writer) declaration(d ast.Decl, name string) {
	w.function, w.seen = name, map[ast.Node]bool{}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.Name == name && d.Body != nil {
			w.body(d.Type, d.Body)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR && v.Names[0].Name == name {
				w.rows(v)
			}
		}
	}
}

// rows mutates the elements of the rows of a table.
func (w *writer) rows(v *ast.ValueSpec) {
	for _, row := range v.Values[0].(*ast.CompositeLit).Elts {
		cells := row.(*ast.CompositeLit).Elts
		w.function = strings.Trim(w.text(cells[0]), `"`)
		for _, cell := range cells[1:] {
			ast.Inspect(cell, func(n ast.Node) bool {
				if e, ok := n.(ast.Expr); ok && w.constant(e) {
					return false
				}
				return true
			})
		}
	}
}

// families are constants that are changed to each other.
var families = [][]string{
	{"Password", "Challenge", "TLSOnly"},
	{"NeedsKeys", "NeedsTokens", "NeedsCertificate", "NeedsBinding", "NeedsTickets", "NeedsReadable", "NeedsTimestamp", "NeedsNTLM", "0"},
	{"RuleDefault", "RuleTLS", "RuleSecureLogin", "RuleNotNamed", "RuleBindingRequired"},
	{"AccountPassword", "AppSecret", "OtherSecret"},
	{"true", "false"},
	{"KindPrivacyRequired", "KindCannot", "KindDisabled", "KindAuthenticationFailed", "KindAuthorizationFailed"},
}

// constant mutates e when it is one that is known: to each other of its family, and for
// NeedsX | NeedsY to each of both.
func (w *writer) constant(e ast.Expr) bool {
	text := w.text(e)
	var others []string
	if b, ok := e.(*ast.BinaryExpr); ok && b.Op == token.OR {
		others = []string{w.text(b.X), w.text(b.Y), "0"}
	} else if family, of := familyOf(e, text); family != nil {
		for _, other := range family {
			if other != text && other != of+"0" {
				others = append(others, other)
			} else if other != text {
				others = append(others, "0")
			}
		}
	}
	if len(others) == 0 || w.seen[e] {
		return false
	}
	w.seen[e] = true
	first := 0
	for _, other := range others {
		id := w.add(text, other)
		first = cmp.Or(first, id)
	}
	w.wrap(e, fmt.Sprintf("mutantValue(%d, ", first), ", "+strings.Join(others, ", ")+")")
	return true
}

// familyOf gives the family of a constant, written as it is: with the name of its package.
func familyOf(e ast.Expr, text string) (family []string, of string) {
	switch e.(type) {
	case *ast.SelectorExpr:
		of = text[:strings.LastIndexByte(text, '.')+1]
	case *ast.Ident, *ast.BasicLit:
	default:
		return nil, ""
	}
	for _, f := range families {
		name := strings.TrimPrefix(text, of)
		if strings.HasPrefix(name, "Rule") && len(name) > 4 && ast.IsExported(name[4:]) && f[0] == "RuleDefault" {
			// One of each sort that clients can tell apart is enough.
			f = append([]string{name}, f...)
			f = f[:min(len(f), 4)]
		}
		if slices.Contains(f, name) {
			for _, other := range f {
				family = append(family, of+other)
			}
			return family, of
		}
	}
	return nil, ""
}

// body mutates a function's.
func (w *writer) body(of *ast.FuncType, body *ast.BlockStmt) {
	bools := map[int]bool{} // its results that are bool
	if of.Results != nil {
		i := 0
		for _, f := range of.Results.List {
			for range max(1, len(f.Names)) {
				if id, ok := f.Type.(*ast.Ident); ok && id.Name == "bool" {
					bools[i] = true
				}
				i++
			}
		}
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			w.body(n.Type, n.Body)
			return false
		case *ast.IfStmt:
			w.condition(n.Cond)
		case *ast.ForStmt:
			if n.Cond != nil {
				w.condition(n.Cond)
			}
		case *ast.SwitchStmt:
			for _, c := range n.Body.List {
				for _, e := range c.(*ast.CaseClause).List {
					if n.Tag == nil {
						w.condition(e)
					} else if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						w.wrap(e, fmt.Sprintf("mutantValue(%d, ", w.add("case "+lit.Value, "none")), `, "no such case")`)
					}
				}
			}
		case *ast.ReturnStmt:
			for i, r := range n.Results {
				if id, ok := r.(*ast.Ident); bools[i] && !(ok && (id.Name == "true" || id.Name == "false")) {
					w.condition(r)
				}
			}
		case *ast.CompositeLit:
			w.decision(n)
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE && !w.initial(body, n) {
				w.wrap(n, fmt.Sprintf("if !mutantSkips(%d) { ", w.add(w.text(n), "nothing")), " }")
			}
		case *ast.ExprStmt:
			w.wrap(n, fmt.Sprintf("if !mutantSkips(%d) { ", w.add(w.text(n), "nothing")), " }")
		case *ast.SelectorExpr:
			w.seen[n.Sel] = true
			return !w.constant(n)
		case *ast.Ident:
			w.constant(n)
		case *ast.KeyValueExpr:
			w.seen[n.Key] = true // a field's name is no constant
		}
		return true
	})
}

// initial tells whether n is the first part of an if or switch, which is no statement of
// its own.
func (w *writer) initial(body *ast.BlockStmt, n ast.Stmt) (found bool) {
	ast.Inspect(body, func(other ast.Node) bool {
		switch other := other.(type) {
		case *ast.IfStmt:
			found = found || other.Init == n
		case *ast.SwitchStmt:
			found = found || other.Init == n
		}
		return !found
	})
	return found
}

// decision mutates a Decision that says no by silence.
func (w *writer) decision(n *ast.CompositeLit) {
	if id, ok := n.Type.(*ast.Ident); !ok || id.Name != "Decision" {
		return
	}
	for _, e := range n.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok && w.text(kv.Key) == "OK" {
			return // its value is a constant
		}
	}
	comma := ", "
	if len(n.Elts) == 0 {
		comma = ""
	}
	at := w.offset(n.Lbrace) + 1
	w.edits = append(w.edits, edit{at, at, fmt.Sprintf("OK: mutantValue(%d, false, true)%s", w.add(w.text(n), "OK"), comma), ""})
}

// condition mutates a bool: negates it, and makes each of its parts true and false.
func (w *writer) condition(e ast.Expr) {
	if w.seen[e] {
		return
	}
	w.seen[e] = true
	switch x := e.(type) {
	case *ast.ParenExpr:
		w.condition(x.X)
		return
	case *ast.UnaryExpr:
		if x.Op == token.NOT {
			w.condition(x.X)
			return
		}
	case *ast.BinaryExpr:
		if x.Op == token.LAND || x.Op == token.LOR {
			w.condition(x.X)
			w.condition(x.Y)
			return
		}
	}
	ast.Inspect(e, func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok {
			return false
		}
		w.seen[n] = true // a constant of a comparison is not another mutant
		return n != nil
	})
	text := w.text(e)
	first := w.add(text, "not")
	w.add(text, "true")
	w.add(text, "false")
	w.wrap(e, fmt.Sprintf("mutantCondition(%d, ", first), ")")
}

// apply gives the source with all edits.
func (w *writer) apply() []byte {
	type insertion struct {
		at, other int
		text      string
		closes    bool
	}
	var list []insertion
	for _, e := range w.edits {
		list = append(list, insertion{e.from, e.to, e.before, false}, insertion{e.to, e.from, e.after, true})
	}
	slices.SortStableFunc(list, func(a, b insertion) int {
		switch {
		case a.at != b.at:
			return a.at - b.at
		case a.closes != b.closes:
			return map[bool]int{true: -1, false: 1}[a.closes]
		}
		return b.other - a.other // the outer one opens first, the inner one closes first
	})
	var out bytes.Buffer
	last := 0
	for _, i := range list {
		out.Write(w.source[last:i.at])
		out.WriteString(i.text)
		last = i.at
	}
	out.Write(w.source[last:])
	return out.Bytes()
}
