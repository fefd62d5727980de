package shell

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// style is a terminal's way to show a text.
type style string

const (
	red    style = "31"
	yellow style = "33"
	green  style = "32"
	bold   style = "1"
	faint  style = "2"
)

// paint shows text in a style on a terminal, plain elsewhere.
func (s *Screen) paint(how style, text string) string {
	if !s.Terminal || text == "" {
		return text
	}
	return "\x1b[" + string(how) + "m" + text + "\x1b[0m"
}

// show gives a value for people: a size with its unit, a list in braces.
func show(v any, unit string) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return safe(v)
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		if unit == "bytes" {
			return size(v)
		}
		return strconv.FormatInt(v, 10)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = show(e, unit)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case manage.Object:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = p.Name + "=" + show(p.Value, "")
		}
		return "@{" + strings.Join(parts, "; ") + "}"
	}
	return safe(fmt.Sprint(v))
}

// size gives bytes with three digits and a unit.
func size(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, unit := float64(n)/1024, 0
	for f >= 1000 && unit < 3 {
		f /= 1024
		unit++
	}
	digits := 2
	if f >= 100 {
		digits = 0
	} else if f >= 10 {
		digits = 1
	}
	text := strconv.FormatFloat(f, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + " " + []string{"KB", "MB", "GB", "TB"}[unit]
}

// print shows what came out of a pipeline.
func (s *Screen) print(st *stream) error {
	r := st.result
	var b bytes.Buffer
	switch {
	case r.File != nil && st.format == byView && !st.selected && st.expand == "":
		if !isText(r.File.Content) {
			return mail.Errorf(mail.KindCannot, "the file is not text: name a path for it")
		}
		b.Write(r.File.Content)
	case st.format == asJSON:
		values := make([]any, len(r.Objects))
		for i, o := range r.Objects {
			values[i] = o
			if st.expand != "" {
				values[i], _ = o.Value(st.expand)
			}
		}
		if err := printJSON(&b, values); err != nil {
			return err
		}
	case st.format == asCSV:
		if err := printCSV(&b, r.Objects, st.delimiter); err != nil {
			return err
		}
	case st.expand != "":
		for _, o := range r.Objects {
			v, _ := o.Value(st.expand)
			fmt.Fprintln(&b, show(v, ""))
		}
	case len(r.Objects) == 0:
	case st.format == byView && r.View == manage.ViewHelp:
		s.help(&b, r.Objects)
	case st.format == byView && r.View == manage.ViewText:
		for _, o := range r.Objects {
			content, _ := o.Value("Content")
			for line := range strings.Lines(fmt.Sprint(content)) {
				fmt.Fprintln(&b, safe(strings.TrimSuffix(line, "\n")))
			}
		}
	case st.format == asTable || st.format == byView && r.View == manage.ViewTable && !(st.selected && len(r.Objects[0]) > 6):
		patterns := st.properties
		if patterns == nil && !st.selected {
			patterns = r.Columns
		}
		s.table(&b, r, patterns)
	default:
		s.list(&b, r, st.properties)
	}
	_, err := s.Out.Write(b.Bytes())
	return err
}

// printJSON writes one object as itself, several as an array.
func printJSON(w io.Writer, values []any) error {
	var v any = values
	if len(values) == 1 {
		v = values[0]
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	// JSON may have as they are what a terminal would obey.
	var escaped bytes.Buffer
	for _, r := range b.String() {
		if r != '\n' && harmful(r) {
			fmt.Fprintf(&escaped, `\u%04x`, r)
		} else {
			escaped.WriteRune(r)
		}
	}
	_, err := escaped.WriteTo(w)
	return mail.Wrap(mail.KindUnavailable, err)
}

// printCSV writes all objects with the properties of the first. Sizes are bytes.
func printCSV(w io.Writer, objects []manage.Object, delimiter rune) error {
	if len(objects) == 0 {
		return nil
	}
	c := csv.NewWriter(w)
	c.Comma, c.UseCRLF = delimiter, false
	row := make([]string, len(objects[0]))
	for i, p := range objects[0] {
		row[i] = p.Name
	}
	names := slices.Clone(row)
	c.Write(row)
	for _, o := range objects {
		for i, name := range names {
			v, _ := o.Value(name)
			row[i] = csvText(v)
		}
		c.Write(row)
	}
	c.Flush()
	return mail.Wrap(mail.KindServerBug, c.Error())
}

func csvText(v any) string {
	list, ok := v.([]any)
	if !ok {
		return show(v, "")
	}
	texts := make([]string, len(list))
	for i, e := range list {
		texts[i] = show(e, "")
	}
	return strings.Join(texts, ";")
}

// list writes one property a line.
func (s *Screen) list(w io.Writer, r *manage.Result, patterns []string) {
	for i, o := range r.Objects {
		if i > 0 {
			fmt.Fprintln(w)
		}
		names := properties(o, patterns)
		if patterns == nil {
			for _, p := range o {
				names = append(names, p.Name)
			}
		}
		widest := 0
		for _, n := range names {
			widest = max(widest, runewidth.StringWidth(n))
		}
		for _, n := range names {
			v, _ := o.Value(n)
			label := runewidth.FillRight(safe(n), widest) + " : "
			text := s.wrap(show(v, r.Units[n]), widest+3)
			fmt.Fprintln(w, s.paint(green, label)+text)
		}
	}
}

// wrap breaks a text at spaces so that it fits the terminal beside a margin.
func (s *Screen) wrap(text string, margin int) string {
	room := s.Width - margin
	if !s.Terminal || room < 20 || runewidth.StringWidth(text) <= room {
		return text
	}
	var b strings.Builder
	at := 0
	for i, w := range strings.Split(text, " ") {
		n := runewidth.StringWidth(w)
		switch {
		case i == 0:
		case at+1+n > room:
			b.WriteString("\n" + strings.Repeat(" ", margin))
			at = 0
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += n
	}
	return b.String()
}

// table writes one object a line. On a terminal the widest text columns give way
// so that a line fits; elsewhere nothing is cut.
func (s *Screen) table(w io.Writer, r *manage.Result, patterns []string) {
	var names []string
	for _, o := range r.Objects {
		if patterns != nil {
			names = properties(o, patterns)
			break
		}
		for _, p := range o {
			if !slices.Contains(names, p.Name) {
				names = append(names, p.Name)
			}
		}
	}
	cells := make([][]string, len(r.Objects))
	widths := make([]int, len(names))
	right := make([]bool, len(names))
	for j, n := range names {
		widths[j], right[j] = runewidth.StringWidth(n), true
	}
	for i, o := range r.Objects {
		cells[i] = make([]string, len(names))
		for j, n := range names {
			v, _ := o.Value(n)
			switch v.(type) {
			case int64, float64:
			default:
				right[j] = right[j] && v == "unlimited"
			}
			cells[i][j] = show(v, r.Units[n])
			widths[j] = max(widths[j], runewidth.StringWidth(cells[i][j]))
		}
	}
	if s.Terminal {
		narrow(widths, s.Width)
	}
	line := func(how style, texts []string) {
		var b strings.Builder
		for j, text := range texts {
			if j > 0 {
				b.WriteByte(' ')
			}
			text = runewidth.Truncate(text, widths[j], "…")
			switch {
			case right[j]:
				b.WriteString(runewidth.FillLeft(text, widths[j]))
			case j < len(texts)-1:
				b.WriteString(runewidth.FillRight(text, widths[j]))
			default:
				b.WriteString(text)
			}
		}
		text := strings.TrimRight(b.String(), " ")
		if how != "" {
			text = s.paint(how, text)
		}
		fmt.Fprintln(w, text)
	}
	rule := make([]string, len(names))
	for j, n := range names {
		rule[j] = strings.Repeat("-", min(widths[j], runewidth.StringWidth(n)))
	}
	line(green, names)
	line(green, rule)
	for _, row := range cells {
		line(s.rowStyle(names, row), row)
	}
}

// rowStyle shows a row that says Fail or Failure in red.
func (s *Screen) rowStyle(names, row []string) style {
	if j := slices.Index(names, "Result"); j >= 0 && (row[j] == "Fail" || row[j] == "Failure") {
		return red
	}
	return ""
}

// narrow takes width from the widest columns until they fit into total, one
// column apart; none gets narrower than eight.
func narrow(widths []int, total int) {
	sum := len(widths) - 1
	for _, w := range widths {
		sum += w
	}
	for sum > total {
		widest := 0
		for j, w := range widths {
			if w > widths[widest] {
				widest = j
			}
		}
		if widths[widest] <= 8 {
			return
		}
		widths[widest]--
		sum--
	}
}

// help writes help pages.
func (s *Screen) help(w io.Writer, pages []manage.Object) {
	say := s.Catalogue.say
	for _, o := range pages {
		text := func(name string) string { v, _ := o.Value(name); return show(v, "") }
		section := func(title, body string) {
			if body != "" {
				fmt.Fprintf(w, "%s\n    %s\n\n", s.paint(bold, say(title)), s.wrap(body, 4))
			}
		}
		if _, whole := o.Value("Syntax"); whole {
			section("NAME", text("Name"))
			section("SYNOPSIS", text("Synopsis"))
			section("SYNTAX", text("Syntax"))
			section("DESCRIPTION", text("Description"))
			if a := text("Aliases"); a != "{}" {
				section("ALIASES", strings.Trim(a, "{}"))
			}
			section("NEEDS", text("Role"))
		}
		if list, _ := o.Value("Text"); list != nil {
			section(text("Name"), text("Synopsis"))
			s.topic(w, list)
		}
		if list, _ := o.Value("Parameters"); list != nil {
			fmt.Fprintln(w, s.paint(bold, say("PARAMETERS")))
			for _, p := range objects(list) {
				s.parameterHelp(w, p)
			}
		}
		if list, _ := o.Value("Examples"); list != nil {
			fmt.Fprintln(w, s.paint(bold, say("EXAMPLES")))
			for _, e := range objects(list) {
				line, _ := e.Value("Line")
				help, _ := e.Value("Help")
				fmt.Fprintf(w, "    %s\n", s.paint(green, show(line, "")))
				if text := show(help, ""); text != "" {
					fmt.Fprintf(w, "        %s\n", s.wrap(text, 8))
				}
			}
			fmt.Fprintln(w)
		}
	}
}

// topic writes paragraphs; one that begins with a space is shown as it is.
func (s *Screen) topic(w io.Writer, paragraphs any) {
	list, _ := paragraphs.([]any)
	for i, p := range list {
		text := show(p, "")
		if line, verbatim := strings.CutPrefix(text, " "); verbatim {
			fmt.Fprintf(w, "      %s\n", s.paint(green, line))
			continue
		}
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "    %s\n", s.wrap(text, 4))
	}
	fmt.Fprintln(w)
}

func (s *Screen) parameterHelp(w io.Writer, p manage.Object) {
	say := s.Catalogue.say
	text := func(name string) string { v, _ := p.Value(name); return show(v, "") }
	head := s.paint(green, "-"+text("Name"))
	if t := text("Type"); t != "switch" {
		head += " <" + t + ">"
	}
	if text("Mandatory") == "True" {
		head += "  " + s.paint(yellow, say("mandatory"))
	}
	if a := strings.Trim(text("Aliases"), "{}"); a != "" {
		head += "  " + s.paint(faint, say("alias -%s", strings.ReplaceAll(a, ", ", ", -")))
	}
	if text("Pipeline") == "True" {
		head += "  " + s.paint(faint, say("from a pipe"))
	}
	fmt.Fprintf(w, "    %s\n        %s\n", head, s.wrap(text("Help"), 8))
	if d := text("Default"); d != "" {
		fmt.Fprintf(w, "        %s\n", s.paint(faint, s.wrap(say("Default: %s", d), 8)))
	}
	fmt.Fprintln(w)
}

// objects gives the objects of a list.
func objects(v any) []manage.Object {
	list, _ := v.([]any)
	var out []manage.Object
	for _, e := range list {
		if o, ok := e.(manage.Object); ok {
			out = append(out, o)
		}
	}
	return out
}
