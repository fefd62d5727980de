package console

import (
	"time"

	"github.com/postern-mail/postern/manage"
)

// Column is one of a table.
type Column struct {
	Property string // of the objects
	Title    string // English; "" is Property
	// Text writes the property's value; nil: as Visit.Value.
	Text func(value any) string
	// Link gives where a row leads; nil is nowhere. The column that has it names the
	// row.
	Link func(row manage.Object) string
	// Badge gives "good", "warn", "bad" or "off"; nil or "" is none.
	Badge  func(value any) string
	Number bool // numbers stand at the right
}

// Table is objects of a cmdlet, for the part "table".
type Table struct {
	*Visit
	Caption string // in the visitor's language
	Columns []Column
	Rows    [][]Cell
}

// Cell is one of a table.
type Cell struct {
	Text, Link, Badge string
	Number            bool
}

// Table makes a table of a result's objects. Without columns it has those that
// the cmdlet shows in the shell.
func (v *Visit) Table(result *manage.Result, columns ...Column) *Table {
	if len(columns) == 0 {
		names := result.Columns
		if len(names) == 0 && len(result.Objects) > 0 {
			for _, p := range result.Objects[0] {
				names = append(names, p.Name)
			}
		}
		for _, name := range names {
			columns = append(columns, Column{Property: name})
		}
	}
	t := &Table{Visit: v, Columns: columns, Caption: v.Heading()}
	for i := range t.Columns {
		if t.Columns[i].Title == "" {
			t.Columns[i].Title = t.Columns[i].Property
		}
	}
	for _, o := range result.Objects {
		row := make([]Cell, len(columns))
		for i, column := range columns {
			value, _ := o.Value(column.Property)
			cell := Cell{Number: column.Number}
			switch n, whole := value.(int64); {
			case column.Text != nil:
				cell.Text = column.Text(value)
			case whole && result.Units[column.Property] == "bytes":
				cell.Text, cell.Number = v.Size(n), true
			default:
				cell.Text = v.Value(value)
			}
			if column.Link != nil {
				cell.Link = column.Link(o)
			}
			if column.Badge != nil {
				cell.Badge = column.Badge(value)
			}
			row[i] = cell
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// Moment writes a property that is a time as RFC 3339 writes it.
func (v *Visit) Moment(value any) string {
	text, _ := value.(string)
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return v.When(t)
	}
	return v.Value(value)
}

// With goes with a part of a page: the visit and what the part is about.
type With struct {
	*Visit
	Item any
}

// With gives item to a part.
func (v *Visit) With(item any) With { return With{v, item} }
