package manage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// The configuration as a file, in TOML: a table a service with its settings, a
// table [[Administrator]] an assignment, and one list.
//
//	LocalAdministrators = ["alice@example.org"]
//
//	[POP3]
//	LoginType = "SecureLogin"
//
//	[[Administrator]]
//	Identity = "unix:root"
//	Role = "Organization Administrator"
const (
	administratorTable = "Administrator"
	localsKey          = "LocalAdministrators"
)

// configuration is a file that was read; lines are from 1.
type configuration struct {
	services       []configuredService
	administrators []configuredAssignment
	locals         []configuredText // nil when the file does not say
	saysLocals     bool
}

type configuredService struct {
	service settings.Service
	edits   []settings.Edit
	lines   map[string]int // by settings.Row.Name
}

type configuredAssignment struct {
	identity, role configuredText
	scope          []string
	line           int
}

type configuredText struct {
	text string
	line int
}

// maxConfigurationDepth bounds brackets within brackets; a file needs one.
const maxConfigurationDepth = 200

// atLine makes the error of a line of the file.
func atLine(line int, format string, args ...any) error {
	return about("Path", mail.Errorf(mail.KindBadArgument, "line %d: %s", line, fmt.Sprintf(format, args...)))
}

// readConfiguration reads a file. Every error names the line.
func readConfiguration(text []byte) (*configuration, error) {
	if err := tooDeep(text); err != nil {
		return nil, err
	}
	// First whether it is TOML, with nothing twice; then what it says, with lines.
	var all map[string]any
	if err := toml.Unmarshal(text, &all); err != nil {
		var fault *toml.DecodeError
		if errors.As(err, &fault) {
			line, _ := fault.Position()
			return nil, atLine(line, "%s", strings.TrimPrefix(fault.Error(), "toml: "))
		}
		return nil, wrong("Path", "the file is not TOML: %s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	r := configurationReader{out: &configuration{}}
	r.Reset(text)
	for r.NextExpression() {
		if err := r.expression(r.Expression()); err != nil {
			return nil, err
		}
	}
	if err := r.Error(); err != nil {
		return nil, wrong("Path", "the file is not TOML: %v", err)
	}
	for _, a := range r.out.administrators {
		if a.identity.text == "" || a.role.text == "" {
			return nil, atLine(a.line, "an %s needs an Identity and a Role", administratorTable)
		}
	}
	return r.out, nil
}

// tooDeep keeps the reader's recursion small.
func tooDeep(text []byte) error {
	depth, line := 0, 1
	for _, c := range text {
		switch c {
		case '\n':
			line++
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		}
		if depth > maxConfigurationDepth {
			return atLine(line, "brackets are nested too deeply")
		}
	}
	return nil
}

// configurationReader walks a file's expressions.
type configurationReader struct {
	unstable.Parser
	out     *configuration
	service *configuredService
	table   string // the table that the next keys belong to; "" before the first
}

// expression reads a table's head, or a key with its value.
func (r *configurationReader) expression(e *unstable.Node) error {
	if e.Kind == unstable.Comment {
		return nil
	}
	var parts []string
	line := 0
	for k := e.Key(); k.Next(); {
		if line == 0 {
			line = r.Shape(k.Node().Raw).Start.Line
		}
		parts = append(parts, string(k.Node().Data))
	}
	name := strings.Join(parts, ".")
	switch e.Kind {
	case unstable.Table:
		s, err := settings.ParseService(name)
		if err != nil || len(parts) != 1 {
			return atLine(line, "there is no table [%s]; the tables are [POP3], [IMAP4], [LMTP], [Console] and [[%s]]", shown(name), administratorTable)
		}
		if slices.ContainsFunc(r.out.services, func(have configuredService) bool { return have.service == s }) {
			return atLine(line, "%s has a table already", s)
		}
		r.out.services = append(r.out.services, configuredService{service: s, lines: map[string]int{}})
		r.service, r.table = &r.out.services[len(r.out.services)-1], string(s)
		return nil
	case unstable.ArrayTable:
		if name != administratorTable {
			return atLine(line, "there is no table [[%s]]; there is [[%s]]", shown(name), administratorTable)
		}
		r.out.administrators = append(r.out.administrators, configuredAssignment{line: line})
		r.service, r.table = nil, administratorTable
		return nil
	}
	if len(parts) != 1 {
		return atLine(line, "%s has a dot; settings stand below the head of their table, such as [POP3]", shown(name))
	}
	value, err := configuredValue(e.Value())
	if err != nil {
		return atLine(line, "%s %s", shown(name), mail.TextOf(err))
	}
	switch {
	case r.service != nil:
		return r.setting(name, value, line)
	case r.table == administratorTable:
		return r.assignment(name, value, line)
	case name != localsKey:
		return atLine(line, "there is no key %q here; there is %s, and settings stand below the head of their table, such as [POP3]", shown(name), localsKey)
	}
	list, ok := value.([]string)
	if !ok {
		return atLine(line, "%s is a list of texts", localsKey)
	}
	r.out.saysLocals = true
	for _, text := range list {
		r.out.locals = append(r.out.locals, configuredText{text, line})
	}
	return nil
}

func (r *configurationReader) setting(name string, value any, line int) error {
	row := settings.Find(name)
	if row == nil || !row.Has(r.service.service) {
		return atLine(line, "%s has no setting %q", r.service.service, shown(name))
	}
	if r.service.lines[row.Name] != 0 { // in another case
		return atLine(line, "%s is given twice", row.Name)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	r.service.edits = append(r.service.edits, settings.Edit{Name: row.Name, Value: raw})
	r.service.lines[row.Name] = line
	return nil
}

func (r *configurationReader) assignment(name string, value any, line int) error {
	a := &r.out.administrators[len(r.out.administrators)-1]
	text, isText := value.(string)
	list, isList := value.([]string)
	switch {
	case name == "Identity" && isText && text != "":
		a.identity = configuredText{text, line}
	case name == "Role" && isText && text != "":
		a.role = configuredText{text, line}
	case name == "Scope" && isList:
		a.scope = list
	case name == "Identity", name == "Role":
		return atLine(line, "%s is a text that is not empty", name)
	case name == "Scope":
		return atLine(line, "Scope is a list of texts")
	default:
		return atLine(line, "an %s has no %q; it has Identity, Role and Scope", administratorTable, shown(name))
	}
	return nil
}

// configuredValue gives a string, int64, bool or []string.
func configuredValue(n *unstable.Node) (any, error) {
	switch n.Kind {
	case unstable.String:
		return string(n.Data), nil
	case unstable.Bool:
		return string(n.Data) == "true", nil
	case unstable.Integer:
		number, err := strconv.ParseInt(strings.ReplaceAll(string(n.Data), "_", ""), 0, 64)
		if err != nil {
			return nil, mail.Errorf(mail.KindBadArgument, "is too large a number")
		}
		return number, nil
	case unstable.Array:
		list := []string{}
		for c := n.Children(); c.Next(); {
			if c.Node().Kind == unstable.Comment {
				continue
			}
			if c.Node().Kind != unstable.String {
				return nil, mail.Errorf(mail.KindBadArgument, "is a list of texts")
			}
			list = append(list, string(c.Node().Data))
		}
		return list, nil
	}
	return nil, mail.Errorf(mail.KindBadArgument, "is a text, a whole number, true, false or a list of texts")
}

// shown gives a name of the file for an error text.
func shown(name string) string {
	quoted := strconv.Quote(name)
	if r := []rune(quoted[1 : len(quoted)-1]); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return quoted[1 : len(quoted)-1]
}

// writeConfigured writes a key with its value: a string, int, bool or []string.
func writeConfigured(b *bytes.Buffer, key string, value any) {
	fmt.Fprintf(b, "%s = ", key)
	switch v := value.(type) {
	case string:
		b.WriteString(tomlText(v))
	case []string:
		texts := make([]string, len(v))
		for i, text := range v {
			texts[i] = tomlText(text)
		}
		b.WriteString("[" + strings.Join(texts, ", ") + "]")
	default:
		fmt.Fprint(b, v)
	}
	b.WriteByte('\n')
}

// tomlText is a basic string of TOML 1.0.
func tomlText(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case !strconv.IsPrint(r) && r > 0xffff:
			fmt.Fprintf(&b, `\U%08X`, r)
		case !strconv.IsPrint(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
