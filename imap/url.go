package imap

import (
	"errors"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

// messageURL is an IMAP URL of a message on this server, or of a part of it.
type messageURL struct {
	mailbox     string           // UTF-8
	uidValidity mail.UIDValidity // 0 when it has none
	uid         mail.UID
	part        fetchItem // its section and what PARTIAL cuts
}

// parseURL reads an absolute-path reference (RFC 5092, 7.1 and 11); relative-path
// references are not to be accepted (7.2), and other servers are none of ours (RFC 4469, 3).
//
//	iabsolute-path = "/" imailbox-ref "/;UID=" nz-number ["/;SECTION=" enc-section]
//	                 ["/;PARTIAL=" number ["." nz-number]]
//	imailbox-ref   = enc-mailbox [";UIDVALIDITY=" nz-number]
func parseURL(text string) (u messageURL, ok bool) {
	path, ok := strings.CutPrefix(text, "/")
	if !ok || strings.HasPrefix(path, "/") || strings.ContainsFunc(path, notInURL) {
		return u, false
	}
	// No value has a ";" that is not encoded; all but UIDVALIDITY follow a "/".
	pieces := strings.Split(withoutDots(path), ";")
	names := []string{"", "UIDVALIDITY", "UID", "SECTION", "PARTIAL"}
	last := -1
	for i, piece := range pieces {
		if i+1 < len(pieces) && !isParameter(pieces[i+1], "UIDVALIDITY") {
			if piece, ok = strings.CutSuffix(piece, "/"); !ok {
				return u, false
			}
		}
		which, value := 0, piece
		if i > 0 {
			name, v, _ := strings.Cut(piece, "=")
			which, value = slices.Index(names, strings.ToUpper(name)), v
		}
		if which <= last || value == "" {
			return u, false
		}
		switch last = which; which {
		case 0:
			u.mailbox, ok = decoded(value)
		case 1:
			var n uint64
			n, ok = numberInURL(value, 32, true)
			u.uidValidity = mail.UIDValidity(n)
		case 2:
			var n uint64
			n, ok = numberInURL(value, 32, true)
			u.uid = mail.UID(n)
		case 3:
			u.part.section, ok = sectionInURL(value)
		case 4:
			ok = u.part.readPartial(value)
		}
		if !ok {
			return u, false
		}
	}
	return u, u.uid != 0
}

func isParameter(piece, name string) bool {
	n, _, _ := strings.Cut(piece, "=")
	return strings.EqualFold(n, name)
}

// notInURL tells which characters a path cannot have (RFC 5092, 11 bchar and ";").
func notInURL(r rune) bool {
	alnum := r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	return !alnum && (r > '~' || !strings.ContainsRune("-._~!$'()*+,&=:@/;%", r))
}

// withoutDots gives a path without its dot-segments (RFC 3986, 5.2.4).
func withoutDots(path string) string {
	var kept []string
	segments := strings.Split(path, "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".", "..":
			if s == ".." && len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, "/")
}

func decoded(value string) (string, bool) {
	s, err := url.PathUnescape(value)
	return s, err == nil
}

// numberInURL reads a number, or an nz-number if nonZero.
func numberInURL(value string, bits int, nonZero bool) (uint64, bool) {
	n, err := strconv.ParseUint(value, 10, bits)
	return n, err == nil && !(nonZero && value[0] == '0')
}

// readPartial reads what of a part is wanted.
//
//	partial-range = number ["." nz-number]
func (item *fetchItem) readPartial(value string) bool {
	offset, count, given := strings.Cut(value, ".")
	n, ok := numberInURL(offset, 63, false)
	item.partial, item.offset, item.count = true, int64(n), math.MaxInt64
	if ok && given {
		n, ok = numberInURL(count, 63, true)
		item.count = int64(n)
	}
	return ok
}

// sectionInURL reads a section-spec in its encoded form.
func sectionInURL(value string) (message.Section, bool) {
	spec, ok := decoded(value)
	if !ok || strings.ContainsAny(spec, "\r\n\x00") {
		return message.Section{}, false
	}
	d := wire.NewDecoder(strings.NewReader("["+spec+"]\r\n"), func() error { return errors.New("a literal in a URL") })
	defer d.Release()
	if d.Next() != nil {
		return message.Section{}, false
	}
	section := readSection(d, true)
	d.End()
	return section, d.Err() == nil
}
