package imap

import (
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// maxMetadataNames is how many entries one command may name.
const maxMetadataNames = 200

// The scopes of entries (RFC 5464, 3.2).
const (
	privateEntries = store.PrivateEntries
	sharedEntries  = store.SharedEntries
)

// metadataMailbox consumes a mailbox name, or "" for the server.
func (s *session) metadataMailbox() string {
	name := s.dec.MailboxOrEmpty()
	if name == "" || s.dec.Err() != nil {
		return ""
	}
	clean, err := cleanName(name)
	s.dec.Fail(err)
	return clean
}

// inScope tells whether an entry is in a scope, or its root.
func inScope(entry, scope string) bool { return below(entry, scope) >= 0 }

// below gives how many levels an entry is below another, 0 for itself, -1 if it is not.
func below(entry, above string) int {
	rest, ok := strings.CutPrefix(entry, above)
	if !ok || rest != "" && rest[0] != '/' {
		return -1
	}
	return strings.Count(rest, "/")
}

// metadataEntry consumes the name of an entry and gives it in lower case, as names are
// not case-sensitive (RFC 5464, 3.2).
//
//	entry = astring  ; slash-separated path to entry, MUST NOT contain "*" or "%"
func (s *session) metadataEntry() string {
	d := s.dec
	name := d.AString()
	if d.Err() != nil {
		return ""
	}
	name, err := store.CleanEntry(name)
	if err != nil {
		d.Bad(mail.TextOf(err))
	}
	return name
}

// addEntry consumes the name of one more entry.
func (s *session) addEntry(entries *[]string) {
	if len(*entries) == maxMetadataNames {
		s.dec.Fail(mail.Errorf(mail.KindLimit, "Too many entries are named."))
		return
	}
	*entries = append(*entries, s.metadataEntry())
}

// readEntries consumes "(" entry *(SP entry) ")".
func (s *session) readEntries() (entries []string) {
	s.dec.List(func() { s.addEntry(&entries) })
	if len(entries) == 0 {
		s.dec.Bad("The name of an entry is expected.")
	}
	return entries
}

// gettingMetadata is a GETMETADATA.
type gettingMetadata struct {
	mailbox string
	maxSize int64 // -1: any
	depth   int   // levels below the entries that are named
	entries []string
}

// infiniteDepth is more levels than names have.
const infiniteDepth = store.MaxMetadataName

// readGetMetadata reads the arguments of GETMETADATA. The options may stand behind the
// mailbox, too, as in the examples of RFC 5464, 4.2.1 and 4.2.2.
//
//	getmetadata         = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries
//	getmetadata-options = "(" getmetadata-option *(SP getmetadata-option) ")"
//	entries             = entry / "(" entry *(SP entry) ")"
func (s *session) readGetMetadata() gettingMetadata {
	d := s.dec
	g := gettingMetadata{maxSize: -1}
	d.SP()
	options := d.Peek() == '('
	if options {
		d.List(func() { g.readOption(d) })
		d.SP()
	}
	g.mailbox = s.metadataMailbox()
	d.SP()
	entry := func() { s.addEntry(&g.entries) }
	if d.Peek() != '(' {
		entry()
		return g
	}
	d.List(func() {
		switch d.Peek() {
		case '/', '"', '{':
			entry()
		default:
			if options || len(g.entries) > 0 {
				d.Bad("The name of an entry is expected.")
				return
			}
			g.readOption(d)
		}
	})
	if d.Err() == nil && len(g.entries) == 0 {
		// The list was of options.
		d.SP()
		if d.Peek() != '(' {
			entry()
			return g
		}
		g.entries = s.readEntries()
	}
	return g
}

// readOption reads an option of GETMETADATA (RFC 5464, 4.2.1 and 4.2.2).
//
//	maxsize-opt = "MAXSIZE" SP number
//	scope-opt   = "DEPTH" SP ("0" / "1" / "infinity")
func (g *gettingMetadata) readOption(d *wire.Decoder) {
	switch string(d.Word()) {
	case "MAXSIZE":
		d.SP()
		g.maxSize = int64(d.Number())
	case "DEPTH":
		d.SP()
		switch string(d.Word()) {
		case "0":
			g.depth = 0
		case "1":
			g.depth = 1
		case "INFINITY":
			g.depth = infiniteDepth
		default:
			d.Bad("The depth is 0, 1 or infinity.")
		}
	default:
		d.Bad("This option is not known.")
	}
}

// getMetadata is GETMETADATA (RFC 5464, 4.2). An entry that is named and not there is
// answered with NIL.
func (s *session) getMetadata(r *request) error {
	g := s.readGetMetadata()
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	p, err := s.metadataPlace(g.mailbox)
	if err != nil {
		return err
	}
	list, err := s.metadata(p, g)
	if err != nil {
		return err
	}
	var found []store.MetadataEntry
	longest := -1
	for _, e := range list {
		switch size := int64(len(e.Value)); {
		case g.maxSize >= 0 && size > g.maxSize:
			longest = max(longest, len(e.Value))
		default:
			found = append(found, e)
		}
	}
	if longest >= 0 {
		r.code = "METADATA LONGENTRIES " + strconv.Itoa(longest)
	}
	s.writeMetadata(g.mailbox, found)
	return nil
}

// beginMetadata begins a METADATA response, of the server when mailbox is "".
func (s *session) beginMetadata(mailbox string) *wire.Encoder {
	s.enc.Untagged().Const("METADATA ")
	if mailbox == "" {
		return s.enc.Const(`""`)
	}
	return s.enc.Mailbox(mailbox)
}

// writeMetadata writes the METADATA response with the values of entries, if there are any.
func (s *session) writeMetadata(mailbox string, list []store.MetadataEntry) {
	if len(list) == 0 {
		return // the response has at least one entry
	}
	s.beginMetadata(mailbox).SP().Open()
	for i, e := range list {
		if i > 0 {
			s.enc.SP()
		}
		s.enc.AString(e.Name).SP()
		writeValue(s.enc, e.Value)
	}
	s.enc.Close().CRLF()
}

// metadata gives what a GETMETADATA asks for in a place, whatever its size, each entry
// once.
func (s *session) metadata(p place, g gettingMetadata) ([]store.MetadataEntry, error) {
	var list []store.MetadataEntry
	for _, scope := range []string{privateEntries, sharedEntries} {
		var wanted []string
		for _, e := range g.entries {
			if inScope(e, scope) && !slices.Contains(wanted, e) {
				wanted = append(wanted, e)
			}
		}
		if len(wanted) == 0 {
			continue
		}
		stored, err := p.Metadata(s.ctx, p.name, scope == sharedEntries)
		if err != nil {
			return nil, err
		}
		there := map[string]bool{}
		for _, e := range stored {
			there[e.Name] = true
			if slices.ContainsFunc(wanted, func(above string) bool {
				n := below(e.Name, above)
				return n >= 0 && n <= g.depth
			}) {
				list = append(list, e)
			}
		}
		for _, name := range wanted {
			if g.depth == 0 && !there[name] {
				list = append(list, store.MetadataEntry{Name: name})
			}
		}
	}
	return list, nil
}

// metadataPlace finds a mailbox, or the client's account for the server's entries.
func (s *session) metadataPlace(mailbox string) (place, error) {
	if mailbox == "" {
		return s.own(""), nil
	}
	return s.place(mailbox)
}

// setMetadata is SETMETADATA (RFC 5464, 4.3).
//
//	setmetadata  = "SETMETADATA" SP mailbox SP entry-values
//	entry-values = "(" entry-value *(SP entry-value) ")"
//	entry-value  = entry SP value
//	value        = nstring / literal8
func (s *session) setMetadata(*request) error {
	d := s.dec
	d.SP()
	mailbox := s.metadataMailbox()
	d.SP()
	var shared, private []store.MetadataEntry
	n := 0
	d.List(func() {
		if n++; n > maxMetadataNames {
			d.Fail(mail.Errorf(mail.KindLimit, "Too many entries are named."))
			return
		}
		e := store.MetadataEntry{Name: s.metadataEntry()}
		if d.Err() == nil {
			if err := store.SettableEntry(e.Name); err != nil {
				d.Bad(mail.TextOf(err))
			}
		}
		d.SP()
		e.Value = readValue(d)
		if inScope(e.Name, sharedEntries) {
			shared = append(shared, e)
		} else {
			private = append(private, e)
		}
	})
	if n == 0 {
		d.Bad("The name of an entry is expected.")
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	if mailbox == "" {
		for _, e := range slices.Concat(shared, private) {
			if e.Value != nil {
				if err := s.checkFilter(e.Name, string(e.Value)); err != nil {
					return err
				}
			}
		}
	}
	p, err := s.metadataPlace(mailbox)
	if err != nil {
		return err
	}
	err = p.SetMetadata(s.ctx, p.name, shared, private)
	if err != nil {
		switch mail.KindOf(err) {
		case mail.KindTooBig:
			err = withCode("METADATA MAXSIZE "+strconv.Itoa(store.MaxMetadataValue), err)
		case mail.KindLimit:
			err = withCode("METADATA TOOMANY", err)
		}
	}
	return err
}
