package imap

import (
	"slices"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
)

// Filters are searches by name, which stand among the entries of the server (RFC 5466).

const (
	// maxFilterDepth is how deep filters may name filters. RFC 5466, 3.1 asks for 3.
	maxFilterDepth = 10
	// filterValues is how the entries of filters go on behind the scope.
	filterValues = "/filters/values/"
)

// filters are those of one command.
type filters struct {
	s      *session
	values map[string]string // nil: not read yet
}

// filters gives the client's.
func (s *session) filters() *filters { return &filters{s: s} }

// value gives the text of a filter: the client's own before that of all.
func (f *filters) value(name string) (string, error) {
	if f.values == nil {
		f.values = map[string]string{}
		own := f.s.account.Own()
		for _, scope := range []string{sharedEntries, privateEntries} {
			list, err := own.Metadata(f.s.ctx, "", scope == sharedEntries)
			if err != nil {
				return "", err
			}
			for _, e := range list {
				if name, ok := strings.CutPrefix(e.Name, scope+filterValues); ok {
					f.values[name] = string(e.Value)
				}
			}
		}
	}
	text, ok := f.values[name]
	if !ok {
		return "", undefinedFilter(name)
	}
	return text, nil
}

// undefinedFilter refuses a filter that there is not.
//
//	resp-text-code =/ "UNDEFINED-FILTER" SP filter-name
func undefinedFilter(name string) error {
	return withCode("UNDEFINED-FILTER "+name, mail.Errorf(mail.KindNotFound, "There is no such filter."))
}

// filterName consumes the name of a filter and gives it as entries have it.
//
//	filter-name = 1*<any ATOM-CHAR except "/">
func (p *searchReader) filterName() string {
	name := strings.ToLower(string(p.d.Atom()))
	if strings.Contains(name, "/") {
		p.d.Bad("the name of a filter has no slash")
	}
	return name
}

// filterKey reads FILTER and puts the keys of the filter in its place (RFC 5466, 3.1), as
// they stand: NOT before it is for its first key. A filter that does not exist, or is its
// own part, is told when the whole command was read.
func filterKey(p *searchReader) *searchKey {
	p.d.SP()
	name := p.filterName()
	switch {
	case p.d.Err() != nil:
		return &searchKey{}
	case p.charset != "" && !strings.EqualFold(p.charset, "UTF-8") && !strings.EqualFold(p.charset, "US-ASCII"):
		p.d.Fail(withCode(searchCharsets, &wire.SyntaxError{Text: "A search with a filter is in UTF-8."}))
		return &searchKey{}
	case p.filters == nil:
		return &searchKey{} // it is only looked at whether all is well
	case len(p.reading) == maxFilterDepth, slices.Contains(p.reading, name):
		p.refuse(undefinedFilter(name))
		return &searchKey{}
	}
	text, err := p.filters.value(name)
	if err != nil {
		p.refuse(err)
		return &searchKey{}
	}
	outer, charset := p.d, p.charset
	p.charset = ""
	p.reading = append(p.reading, name)
	keys, err := p.readFilter(text, outer.Limits(), p.filters.s.denied)
	p.d, p.charset = outer, charset
	p.reading = p.reading[:len(p.reading)-1]
	switch {
	case err == nil:
	case mail.KindOf(err) == mail.KindLimit:
		p.d.Fail(err)
		return &searchKey{}
	default:
		p.refuse(notWhole(name))
		return &searchKey{}
	}
	p.pending = keys[1:]
	return keys[0]
}

// readFilter reads the keys of a filter's text. The reader reads from there then.
func (p *searchReader) readFilter(text string, l wire.Limits, deny func(string) error) ([]*searchKey, error) {
	d := wire.NewDecoder(strings.NewReader(text+"\r\n"), func() error { return nil })
	p.d = d
	l.Line = max(l.Line, len(text)+2)
	d.SetLimits(l)
	d.SetUTF8(true)
	d.Deny(deny)
	if err := d.Next(); err != nil {
		return nil, err
	}
	keys := p.readKeys().keys
	d.End()
	if d.Err() == nil && d.Buffered() > 0 {
		d.Bad("text behind the search")
	}
	return keys, d.Err()
}

// refuse notes why a search that is well written is not made.
func (p *searchReader) refuse(err error) {
	if p.refused == nil {
		p.refused = err
	}
}

// checkFilter gives an error if an entry of the server is that of a filter and is none:
// its name, or its text, which may name filters that do not exist yet.
func (s *session) checkFilter(entry, text string) error {
	_, rest, _ := strings.Cut(entry[1:], "/")
	name, ok := strings.CutPrefix("/"+rest, filterValues)
	if !ok {
		return nil
	}
	named := &searchReader{d: wire.NewDecoder(strings.NewReader(name+"\r\n"), nil)}
	if named.d.Next() == nil {
		named.filterName()
		named.d.End()
	}
	if named.d.Err() != nil {
		return mail.Errorf(mail.KindCannot, "A filter cannot have this name.")
	}
	if _, err := new(searchReader).readFilter(text, s.dec.Limits(), nil); err != nil {
		return notWhole(name)
	}
	return nil
}

func notWhole(name string) error {
	return mail.Errorf(mail.KindCannot, "The filter %s is not a whole search.", name)
}
