// Package rfc holds the index of the RFCs that Postern follows and our status
// with each; its test checks the code's citations against it.
package rfc

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed index.txt
var index string

// Row is one document of the index.
type Row struct {
	Number string // "3501", or a draft's name
	Status string // "yes", "partly", "no": whether Postern does what it says
	Title  string
	Note   string // what is missing, or where it is done
}

// Index reads the rows, in the order of the file.
func Index() ([]Row, error) {
	var rows []Row
	for i, line := range strings.Split(index, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "|")
		if len(f) != 4 {
			return nil, fmt.Errorf("rfc/index.txt:%d: a row has four fields: number | status | title | note", i+1)
		}
		r := Row{strings.TrimSpace(f[0]), strings.TrimSpace(f[1]), strings.TrimSpace(f[2]), strings.TrimSpace(f[3])}
		switch r.Status {
		case "yes", "partly", "no", "used":
		default:
			return nil, fmt.Errorf("rfc/index.txt:%d: status %q", i+1, r.Status)
		}
		rows = append(rows, r)
	}
	return rows, nil
}
