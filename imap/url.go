package imap

import (
	"encoding/hex"
	"errors"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
)

// messageURL is an IMAP URL of a message on this server, or of a part of it.
type messageURL struct {
	mailbox     string           // UTF-8
	uidValidity mail.UIDValidity // 0 when it has none
	uid         mail.UID
	item        fetchItem // its section and what PARTIAL cuts
}

// authURL is a URL that its owner authorizes others to read (RFC 4467, 3; RFC 5092, 6.1).
type authURL struct {
	user   string // the owner, whose names of mailboxes it has
	part   messageURL
	expire time.Time // zero: it does not end
	access accessKind
	reader string // of accessUser and accessSubmit
	rump   string // what the token is made of, as the client wrote it

	// "" and nil in a rump.
	mechanism string
	token     []byte
}

// accessKind says who may read.
type accessKind uint8

const (
	accessAnonymous accessKind = iota // who knows the URL
	accessAuthUser                    // who signed in
	accessUser                        // one user
	accessSubmit                      // a submission server, for a user
)

// schemePrefix is how absolute IMAP URLs begin, in any case.
const schemePrefix = "imap://"

func isAbsoluteURL(text string) bool {
	return len(text) >= len(schemePrefix) && strings.EqualFold(text[:len(schemePrefix)], schemePrefix)
}

// parseAuthURL reads a URL with an access identifier, or says what is wrong with it.
// Which host it names is not looked at: a server has many names, and the token tells the
// URLs that this one authorized.
//
//	authimapurlfull = authimapurlrump ":" mechanism ":" enc-urlauth
//	authimapurlrump = "imap://" enc-user [iauth] "@" hostport "/" imessagepart
//	                  [";EXPIRE=" date-time] ";URLAUTH=" access
//	access          = ("submit+" enc-user) / ("user+" enc-user) / "authuser" / "anonymous"
//	iauth           = ";AUTH=" ("*" / enc-auth-type)
//	enc-urlauth     = 32*HEXDIG
func parseAuthURL(text string) (u authURL, fault string) {
	if !isAbsoluteURL(text) {
		return u, "The URL is not an absolute IMAP URL."
	}
	server, path, slash := strings.Cut(text[len(schemePrefix):], "/")
	user, host, named := strings.Cut(server, "@")
	if !named {
		return u, "The URL names no owner."
	}
	user, auth, given := strings.Cut(user, ";")
	var ok bool
	if u.user, ok = userInURL(user); !ok || given && (len(auth) <= 5 || !strings.EqualFold(auth[:5], "AUTH=") || strings.ContainsFunc(auth, notInURL)) {
		return u, "The URL names no owner."
	}
	if !slash || host == "" || strings.ContainsFunc(host, func(r rune) bool { return r == '@' || notInURL(r) && r != '[' && r != ']' }) {
		return u, "The URL names no server."
	}
	path, access, given := cutLast(path, "URLAUTH")
	if !given {
		return u, "The URL has no access identifier."
	}
	access, verifier, full := strings.Cut(access, ":")
	u.rump = text
	if full {
		u.rump = text[:len(text)-len(verifier)-1]
		mechanism, token, _ := strings.Cut(verifier, ":")
		var err error
		if u.token, err = hex.DecodeString(token); err != nil || len(u.token) < 16 || mechanism == "" {
			return u, "The URL has a token that is none."
		}
		u.mechanism = mechanism
	}
	if u.access, u.reader, ok = readAccess(access); !ok {
		return u, "The URL has no access identifier."
	}
	if cut, expire, given := cutLast(path, "EXPIRE"); given {
		var err error
		if u.expire, err = time.Parse(time.RFC3339, strings.ToUpper(expire)); err != nil {
			return u, "The URL has a time that is none."
		}
		path = cut
	}
	if u.part, ok = parseURL("/" + path); !ok {
		return u, "The URL is not one of a message or of a part of it."
	}
	return u, ""
}

// cutLast cuts the parameter called name off the end of a path.
func cutLast(path, name string) (before, value string, ok bool) {
	i := strings.LastIndexByte(path, ';')
	if i < 0 || !isParameter(path[i+1:], name) {
		return path, "", false
	}
	_, value, ok = strings.Cut(path[i+1:], "=")
	return path[:i], value, ok
}

func readAccess(text string) (kind accessKind, user string, ok bool) {
	switch {
	case strings.EqualFold(text, "anonymous"):
		return accessAnonymous, "", true
	case strings.EqualFold(text, "authuser"):
		return accessAuthUser, "", true
	}
	before, user, plus := strings.Cut(text, "+")
	switch {
	case !plus:
		return 0, "", false
	case strings.EqualFold(before, "user"):
		kind = accessUser
	case strings.EqualFold(before, "submit"):
		kind = accessSubmit
	default:
		return 0, "", false
	}
	user, ok = userInURL(user)
	return kind, user, ok
}

// userInURL reads an enc-user.
func userInURL(text string) (string, bool) {
	if text == "" || strings.ContainsFunc(text, notInURL) || strings.ContainsAny(text, ":@/;") {
		return "", false
	}
	user, ok := decoded(text)
	return user, ok && utf8.ValidString(user) && !strings.ContainsRune(user, 0)
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
			u.item.section, ok = sectionInURL(value)
		case 4:
			ok = u.item.readPartial(value)
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
