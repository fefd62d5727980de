package shell

import (
	"fmt"
	"strings"

	"github.com/postern-mail/postern/manage"
)

// Argument is a parameter with its value: nil, string, bool, []string, or a whole
// number.
type Argument struct {
	Name  string
	Value any
}

// Line writes a cmdlet with arguments as the shell reads them: what a person
// types to do the same. A secret is left out, so that the shell asks for it.
func Line(cmdlet *manage.Cmdlet, arguments []Argument) string {
	var b strings.Builder
	b.WriteString(cmdlet.Name)
	first := true
	for _, a := range arguments {
		var parameter manage.Parameter
		for _, p := range cmdlet.Parameters {
			if strings.EqualFold(p.Name, a.Name) {
				parameter = p
			}
		}
		switch {
		case parameter.Type == manage.TypeSecret:
			b.WriteString(" -" + a.Name)
		case parameter.Type == manage.TypeSwitch && a.Value == true:
			b.WriteString(" -" + a.Name)
		case parameter.Type == manage.TypeSwitch:
			b.WriteString(" -" + a.Name + ":" + written(a.Value))
		case parameter.Position == 1 && first:
			b.WriteString(" " + written(a.Value))
		default:
			b.WriteString(" -" + a.Name + " " + written(a.Value))
		}
		first = false
	}
	return b.String()
}

// written writes a value.
func written(value any) string {
	switch v := value.(type) {
	case nil:
		return "$null"
	case bool:
		if v {
			return "$true"
		}
		return "$false"
	case []string:
		if len(v) == 0 {
			return "@()"
		}
		list := make([]string, len(v))
		for i, text := range v {
			list[i] = inQuotes(text)
		}
		return strings.Join(list, ",")
	case string:
		return bare(v)
	}
	return bare(fmt.Sprint(value))
}

// bare leaves the quotes out where nothing could be misread, by this shell or by
// the operating system's.
func bare(text string) string {
	const safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:/@_+-"
	if text == "" || text[0] == '-' || text[0] == '@' || strings.Trim(text, safe) != "" {
		return inQuotes(text)
	}
	return text
}

func inQuotes(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
