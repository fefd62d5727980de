package shell

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// follows tells whether a pipeline begins with a cmdlet that is to go on.
func follows(first stage) bool {
	return first.cmdlet != nil && first.bound[manage.FollowSwitch] == true
}

// follow runs a pipeline whose cmdlet goes on until ctx ends: each object goes through
// the filters by itself and is shown at once, and a bar shows how far one is that has an end.
// It gives an exit code.
func (s *session) follow(ctx context.Context, stages []stage) int {
	cmdlet := stages[0].cmdlet
	parameters := map[string]string{}
	for name, v := range stages[0].bound {
		if name != manage.FollowSwitch {
			parameters[name] = fmt.Sprint(v)
		}
	}
	for _, g := range stages[1:] {
		if g.filter == nil || g.filter.all {
			s.fail(g.name(), mail.Errorf(mail.KindBadArgument, "cannot stand behind -%s, which has no end", manage.FollowSwitch))
			return Misused
		}
	}
	var shown *manage.Result
	table := followTable{s: s.Screen}
	bar := NewBar(s.Screen)
	misused := false
	err := s.client.Follow(ctx, cmdlet.Name, parameters, func(r *manage.Result) error {
		s.remarks(r)
		shown = r
		return nil
	}, func(o manage.Object) error {
		one := *shown
		one.Objects = []manage.Object{o}
		st := &stream{result: &one}
		for _, g := range stages[1:] {
			if err := g.filter.run(st, g.bound, g.args); err != nil {
				misused = true
				return &hint{err, ""}
			}
		}
		if len(st.result.Objects) == 0 {
			return nil
		}
		bar.End()
		return table.print(st)
	}, bar.Show)
	bar.End()
	if err == nil && ctx.Err() != nil && bar.Heard() != "" { // of a log nothing is heard: it has no end
		err = &hint{mail.Errorf(mail.KindUnavailable, "it was ended before it was done"), s.endedAt(bar, cmdlet)}
	}
	if err != nil {
		s.fail(cmdlet.Name, err)
		if misused {
			return Misused
		}
		return Failed
	}
	return Done
}

// followTable shows objects one by one, the names of a table once. Columns get wider
// as they need to; nothing is cut, since what is seen once cannot be asked for again.
type followTable struct {
	s      *Screen
	names  []string
	widths []int
	right  []bool // numbers
}

func (t *followTable) print(st *stream) error {
	o := st.result.Objects[0]
	var b bytes.Buffer
	switch {
	case st.format == asJSON && st.expand == "": // one object a line
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(o); err != nil {
			return mail.Wrap(mail.KindServerBug, err)
		}
	case st.format == asCSV && t.names != nil:
		if err := printCSV(&b, st.result.Objects, st.delimiter); err != nil {
			return err
		}
		_, rest, _ := bytes.Cut(b.Bytes(), []byte{'\n'}) // without the names
		return t.write(rest)
	case st.format == asCSV:
		t.names = []string{}
		return t.s.print(st)
	case st.format == asList || st.expand != "" || st.format == byView && st.result.View != manage.ViewTable:
		return t.s.print(st)
	default:
		t.row(&b, st, o)
	}
	return t.write(b.Bytes())
}

func (t *followTable) row(w io.Writer, st *stream, o manage.Object) {
	if t.names == nil {
		patterns := st.properties
		if patterns == nil && !st.selected {
			patterns = st.result.Columns
		}
		if patterns == nil {
			patterns = []string{"*"}
		}
		t.names = properties(o, patterns)
		t.widths, t.right = make([]int, len(t.names)), make([]bool, len(t.names))
		cells := make([]string, len(t.names))
		for j, n := range t.names {
			v, _ := o.Value(n)
			_, t.right[j] = v.(int64)
			cells[j] = show(v, st.result.Units[n])
		}
		t.line(cells, "") // sets the widths
		fmt.Fprintln(w, t.line(t.names, green))
	}
	cells := make([]string, len(t.names))
	for j, n := range t.names {
		v, _ := o.Value(n)
		cells[j] = show(v, st.result.Units[n])
	}
	fmt.Fprintln(w, t.line(cells, ""))
}

// line makes a line of cells.
func (t *followTable) line(cells []string, how style) string {
	var b strings.Builder
	for j, text := range cells {
		t.widths[j] = max(t.widths[j], runewidth.StringWidth(text))
		if j > 0 {
			b.WriteByte(' ')
		}
		if t.right[j] {
			b.WriteString(runewidth.FillLeft(text, t.widths[j]))
		} else {
			b.WriteString(runewidth.FillRight(text, t.widths[j]))
		}
	}
	text := strings.TrimRight(b.String(), " ")
	if how != "" {
		return t.s.paint(how, text)
	}
	return text
}

// errGone: nobody reads what is shown.
var errGone = errors.New("the output is closed")

func (t *followTable) write(b []byte) error {
	if _, err := t.s.Out.Write(b); err != nil {
		return mail.Wrap(mail.KindUnavailable, errGone)
	}
	return nil
}
