package protolog

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Filter says which records are wanted.
type Filter struct {
	Since, Until time.Time            // zero for no bound; both are included
	Match        func(r *Record) bool // nil for all
}

func (f *Filter) wants(r *Record) bool {
	return (f.Since.IsZero() || !r.Time.Before(f.Since)) && (f.Until.IsZero() || !r.Time.After(f.Until)) && (f.Match == nil || f.Match(r))
}

// Read gives the newest records of the log that are wanted, at most the given
// number, the oldest first. It reads the files in the folder of now, of both forms.
// A line that a crash cut, or that somebody changed, is passed over. Errors:
// KindUnavailable when a file cannot be read or ctx ends.
func (l *Log) Read(ctx context.Context, f Filter, most int) ([]Record, error) {
	if err := l.Flush(ctx); err != nil {
		return nil, err
	}
	folder := l.Config().Folder
	var found []Record
	for _, file := range slices.Backward(files(folder, l.service)) {
		if len(found) >= most || !f.Since.IsZero() && file.written.Before(f.Since.Add(-time.Minute)) {
			break // it was last written before what is wanted
		}
		part, err := readFile(ctx, filepath.Join(folder, file.name), l.service, f, most-len(found))
		if err != nil {
			return nil, err
		}
		found = append(part, found...)
	}
	return found, nil
}

// readFile gives the last of a file's records that are wanted.
func readFile(ctx context.Context, path, service string, f Filter, most int) ([]Record, error) {
	file, err := os.Open(path)
	if os.IsNotExist(err) { // removed meanwhile
		return nil, nil
	}
	if err != nil {
		return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "A file of the protocol log cannot be read.", Cause: err}
	}
	defer file.Close()
	parse := parseCSV
	if filepath.Ext(path) == jsonFile {
		parse = parseJSON
	}
	var last ring
	err = lines(ctx, file, func(line string) {
		if line == "" || line[0] == '#' {
			return
		}
		r, err := parse(line)
		if err != nil {
			return
		}
		if r.Service == "" {
			r.Service = service
		}
		if f.wants(&r) {
			last.add(r, most)
		}
	})
	return last.list(), err
}

// lines calls each for every line of r; those that are too long are passed over,
// and so is a last one without its end.
func lines(ctx context.Context, r io.Reader, each func(line string)) error {
	in := bufio.NewReaderSize(r, maxLine)
	skipping := false
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return mail.Wrap(mail.KindUnavailable, ctx.Err())
		}
		line, err := in.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			skipping = true
		case err == io.EOF:
			return nil
		case err != nil:
			return &mail.Error{Kind: mail.KindUnavailable, Text: "A file of the protocol log cannot be read.", Cause: err}
		case skipping:
			skipping = false
		default:
			each(strings.TrimSuffix(string(bytes.TrimSuffix(line, []byte{'\n'})), "\r"))
		}
	}
}

// ring keeps the last records that were added.
type ring struct {
	records []Record
	next    int
}

func (r *ring) add(one Record, most int) {
	if most <= 0 {
		return
	}
	if len(r.records) < most {
		r.records = append(r.records, one)
		return
	}
	r.records[r.next] = one
	r.next = (r.next + 1) % most
}

func (r *ring) list() []Record {
	return append(slices.Clone(r.records[r.next:]), r.records[:r.next]...)
}
