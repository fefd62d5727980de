package imap

// namespace is NAMESPACE (RFC 2342).
func (s *session) namespace(*request) error {
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	s.writeNamespaces()
	return nil
}

// writeNamespaces writes the NAMESPACE response, with what a person may read instead of a
// prefix in the language that the client chose (RFC 5255, 3.4). Commands take the prefix.
//
//	namespace-trans = SP DQUOTE "TRANSLATION" DQUOTE SP "(" string ")"
func (s *session) writeNamespaces() {
	e := s.enc
	e.Untagged().Const(`NAMESPACE (("" "/"))`)
	for _, prefix := range []string{othersNamespace, sharedNamespace} {
		e.Const(" ((").String(prefix).Const(` "/"`)
		if said := s.language.say(prefix); said != prefix {
			e.Const(` "TRANSLATION" (`).MailboxString(said).Close()
		}
		e.Const("))")
	}
	e.CRLF()
}
