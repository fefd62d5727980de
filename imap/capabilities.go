package imap

import (
	"strconv"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/settings"
)

// capability is a row of the table: one name of the registry, or a family of names
// that differ by what stands behind "=".
type capability struct {
	name string
	// when tells whether it works in the present state of the session; nil is
	// always. What is offered is what is accepted.
	when func(s *session) bool
	// names lists the names of a family; nil is the one name.
	names func(s *session) []string
	// enable is what ENABLE does (RFC 5161); nil for a capability that is not
	// enabled.
	enable func(s *session)
}

// capabilities lists what CAPABILITY can name, in its order.
var capabilities = []capability{
	{name: "IMAP4rev1"},
	{name: "IMAP4rev2", enable: (*session).enableRev2},
	// Before login a literal without asking has a bound (RFC 7888, 5).
	{name: "LITERAL-", when: beforeLogin},
	{name: "LITERAL+", when: afterLogin},
	{name: "ID"},
	// These two work after login. Clients that ask only once, before it, such as
	// Python's imaplib, look for them there.
	{name: "ENABLE"},
	{name: "LANGUAGE"},
	{name: "IDLE"},
	{name: "STARTTLS", when: canStartTLS},
	{name: "LOGIN-REFERRALS", when: beforeLogin},
	{name: "LOGINDISABLED", when: loginDisabled},
	{name: "SASL-IR", when: func(s *session) bool { return beforeLogin(s) && len(s.server.Auth.Offered(s.authConn())) > 0 }},
	{name: "AUTH=", when: beforeLogin, names: func(s *session) []string { return s.server.Auth.Offered(s.authConn()) }},

	{name: "COMPRESS=DEFLATE", when: func(s *session) bool { return afterLogin(s) && s.compressed == nil }},
	{name: "UTF8=ACCEPT", when: afterLogin, enable: (*session).enableUTF8},
	{name: "UIDONLY", when: afterLogin, enable: (*session).enableUIDOnly},
	{name: "UIDBATCHES", when: afterLogin},
	{name: "UNAUTHENTICATE", when: afterLogin},
	{name: "NAMESPACE", when: afterLogin},
	{name: "CHILDREN", when: afterLogin},
	{name: "LIST-EXTENDED", when: afterLogin},
	{name: "LIST-STATUS", when: afterLogin},
	{name: "LIST-METADATA", when: afterLogin},
	{name: "LIST-MYRIGHTS", when: afterLogin},
	{name: "MAILBOX-REFERRALS", when: refersMailboxes},
	{name: "ACL", when: afterLogin},
	{name: "RIGHTS=kxten", when: afterLogin},
	{name: "QUOTA", when: afterLogin},
	{name: "QUOTA=", when: afterLogin, names: quotaNames},
	{name: "QUOTASET", when: func(s *session) bool { return afterLogin(s) && s.server.SetQuota != nil }},
	{name: "METADATA", when: afterLogin, enable: (*session).enableMetadata},
	{name: "ANNOTATE-EXPERIMENT-1", when: afterLogin},
	{name: "NOTIFY", when: afterLogin},
	{name: "SPECIAL-USE", when: afterLogin},
	{name: "CREATE-SPECIAL-USE", when: afterLogin},
	{name: "STATUS=SIZE", when: afterLogin},
	{name: "OBJECTID", when: afterLogin},
	{name: "JMAPACCESS", when: offersJMAP},
	{name: "APPENDLIMIT=", when: afterLogin, names: func(s *session) []string {
		return []string{strconv.FormatInt(s.server.Store.MaxMessage(), 10)}
	}},
	{name: "MESSAGELIMIT=", when: afterLogin, names: messageLimits},
	{name: "SAVELIMIT=", when: afterLogin, names: saveLimits},
	{name: "INPROGRESS", when: afterLogin},
	{name: "MULTIAPPEND", when: afterLogin},
	{name: "CATENATE", when: afterLogin},
	{name: "URLAUTH", when: afterLogin},
	{name: "URLAUTH=BINARY", when: afterLogin},
	{name: "URL-PARTIAL", when: afterLogin},
	{name: "REPLACE", when: afterLogin},
	{name: "UIDPLUS", when: afterLogin},
	{name: "UNSELECT", when: afterLogin},
	{name: "MOVE", when: afterLogin},
	{name: "CONDSTORE", when: afterLogin, enable: (*session).enableCondstore},
	{name: "QRESYNC", when: afterLogin, enable: (*session).enableQresync},
	{name: "ESEARCH", when: afterLogin},
	{name: "SEARCHRES", when: afterLogin},
	{name: "WITHIN", when: afterLogin},
	{name: "FILTERS", when: afterLogin},
	{name: "PARTIAL", when: afterLogin},
	{name: "CONTEXT=SEARCH", when: afterLogin},
	{name: "MULTISEARCH", when: afterLogin},
	{name: "SEARCH=FUZZY", when: afterLogin},
	{name: "SORT", when: afterLogin},
	{name: "SORT=DISPLAY", when: afterLogin},
	{name: "ESORT", when: afterLogin},
	{name: "CONTEXT=SORT", when: afterLogin},
	{name: "THREAD=", when: afterLogin, names: func(*session) []string {
		var names []string
		for _, a := range threadAlgorithms {
			names = append(names, a.name)
		}
		return names
	}},
	{name: "I18NLEVEL=1", when: afterLogin},
	{name: "I18NLEVEL=2", when: afterLogin},
	{name: "BINARY", when: afterLogin},
	{name: "CONVERT", when: afterLogin},
	{name: "SAVEDATE", when: afterLogin},
	{name: "PREVIEW", when: afterLogin},
}

func beforeLogin(s *session) bool { return s.account == nil }
func afterLogin(s *session) bool  { return s.account != nil }
func canStartTLS(s *session) bool { return beforeLogin(s) && s.conn.CanStartTLS() }

func loginDisabled(s *session) bool {
	return beforeLogin(s) && !s.server.Auth.PasswordAllowed(s.authConn()).OK
}

// authConn describes the connection to auth as it is at this moment.
func (s *session) authConn() auth.Conn {
	return auth.Over(s.conn, s.server.settings())
}

// firstList is the list of a session that begins, and what it was made of: nearly all
// sessions have the same, and each mechanism of it is asked about.
type firstList struct {
	of    firstTerms
	names string
}

// firstTerms are what the list depends on before a session has said anything.
type firstTerms struct {
	settings *settings.Values // which never change
	terms    auth.Terms
	startTLS bool
}

// firstTerms gives those of now; false as of auth.Terms, and for a client for which
// capabilities are switched off.
func (s *session) firstTerms() (firstTerms, bool) {
	v := s.server.settings()
	terms, lasting := s.server.Auth.Terms(auth.Over(s.conn, v))
	return firstTerms{v, terms, s.conn.CanStartTLS()}, lasting && s.masked == nil
}

// firstCapabilities is capabilityList for the greeting.
func (s *session) firstCapabilities() string {
	now, lasting := s.firstTerms()
	if !lasting {
		return s.capabilityList()
	}
	if l := s.server.first.Load(); l != nil && l.of == now {
		return l.names
	}
	l := &firstList{now, s.capabilityList()}
	if after, lasting := s.firstTerms(); lasting && after == now { // nothing changed meanwhile
		s.server.first.Store(l)
	}
	return l.names
}

// capabilityList gives the names that are true now, separated by spaces.
func (s *session) capabilityList() string {
	var b strings.Builder
	b.Grow(512)
	add := func(name, value string) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(name)
		b.WriteString(value)
	}
	for i := range capabilities {
		c := &capabilities[i]
		switch {
		case c.when != nil && !c.when(s), s.off(c.name):
		case c.names == nil:
			add(c.name, "")
		default:
			for _, value := range c.names(s) {
				add(c.name, value)
			}
		}
	}
	return b.String()
}

// capability is CAPABILITY (RFC 3501, 6.1.1).
func (s *session) capability(*request) error {
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	s.enc.Untagged().Const("CAPABILITY ").RawString(s.capabilityList()).CRLF()
	return nil
}

// enable is ENABLE (RFC 5161, 3.1). Names that are not known, or that need no
// enabling, are passed over; what is answered is what is newly enabled.
//
//	enable = "ENABLE" 1*(SP capability)
func (s *session) enable(*request) error {
	d := s.dec
	var wanted []*capability
	for {
		d.SP()
		name := d.Word()
		for i := range capabilities {
			if c := &capabilities[i]; c.enable != nil && strings.EqualFold(c.name, string(name)) && !s.off(c.name) {
				wanted = append(wanted, c)
			}
		}
		if d.AtEnd() {
			break
		}
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	var names []string
	for _, c := range wanted {
		if s.enabled[c.name] {
			continue
		}
		if s.enabled == nil {
			s.enabled = map[string]bool{}
		}
		s.enabled[c.name] = true
		names = append(names, c.name)
	}
	s.enc.Untagged().Const("ENABLED")
	for _, name := range names {
		s.enc.SP().RawString(name)
	}
	s.enc.CRLF()
	for _, c := range wanted {
		c.enable(s)
	}
	return nil
}
