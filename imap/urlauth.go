package imap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/store"
)

// URLAUTH (RFC 4467; RFC 5524; RFC 5550, 3): who can read a message gives others a URL with
// a token, for which they get it, or a part of it. The token is made of the rest of the
// URL and a key of the mailbox that never leaves the store.

// maxURLs is how many URLs one GENURLAUTH or URLFETCH may have.
const maxURLs = 50

var errURLs = withCode("LIMIT", mail.Errorf(mail.KindLimit, "A command has at most %d URLs.", maxURLs))

// isInternal tells the one mechanism that there is.
func isInternal(mechanism string) bool { return strings.EqualFold(mechanism, "INTERNAL") }

// urlMechanisms is the response code URLMECH. What it says is worth nothing to who reads
// along, but RFC 4467, 10 wants it kept from him.
func (s *session) urlMechanisms() string {
	if s.conn.TLS() == nil || s.off("URLAUTH") {
		return ""
	}
	return "URLMECH INTERNAL"
}

// readMechanism consumes the name of a mechanism.
//
//	mechanism = "INTERNAL" / 1*(ALPHA / DIGIT / "-" / ".")
func (s *session) readMechanism() string {
	name := string(s.dec.Atom())
	if s.dec.Err() == nil && strings.ContainsFunc(name, func(r rune) bool { return notInURL(r) || strings.ContainsRune("_~!$'()*+,&=:@/;%", r) }) {
		s.dec.Bad("Expected the name of a mechanism.")
	}
	return name
}

// resetKey is RESETKEY (RFC 4467, 7): a mailbox gets another access key, or all keys of the
// user go.
//
// DEVIATES: RFC 4467, 7 tells other sessions that have the mailbox selected. The mechanism
// INTERNAL has nothing that they could do with it.
//
//	resetkey = "RESETKEY" [SP mailbox *(SP mechanism)]
func (s *session) resetKey(r *request) error {
	d := s.dec
	name, others := "", false
	if d.TrySP() {
		name = s.mailboxName()
		for d.TrySP() {
			others = !isInternal(s.readMechanism()) || others
		}
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	if others {
		return mail.Errorf(mail.KindCannot, "The only mechanism for URLs is INTERNAL.")
	}
	if name == "" {
		r.text = "All keys are removed."
		return s.account.RemoveURLKeys(s.ctx)
	}
	p, record, err := s.readable(name)
	if err == nil && record == nil {
		err = errNoMailbox
	}
	if err != nil {
		return err
	}
	r.code = s.urlMechanisms()
	return s.account.ResetURLKey(s.ctx, p.Account().ID(), record.ID)
}

// genURLAuth is GENURLAUTH (RFC 4467, 7). Only the owner of the URL gets one, and only of
// what it can read now; who may fetch it is not looked up, so that nobody learns here who
// there is.
//
//	genurlauth      = "GENURLAUTH" 1*(SP url-rump SP mechanism)
//	genurlauth-data = "*" SP "GENURLAUTH" 1*(SP url-full)
func (s *session) genURLAuth(*request) error {
	d := s.dec
	var texts []string
	for {
		d.SP()
		texts = append(texts, d.AString())
		d.SP()
		mechanism := s.readMechanism()
		if d.Err() == nil && !isInternal(mechanism) {
			d.Bad("The only mechanism for URLs is INTERNAL.")
		}
		if len(texts) > maxURLs {
			d.Fail(errURLs)
		}
		if d.AtEnd() {
			break
		}
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	urls := urlReader{s: s}
	defer urls.close()
	parts := make([]*messageURL, len(texts))
	for i, text := range texts {
		u, fault := parseAuthURL(text)
		switch {
		case fault != "":
			return &wire.SyntaxError{Text: fault}
		case u.token != nil:
			return &wire.SyntaxError{Text: "The URL has a token already."}
		case u.part.item.partial && s.off("URL-PARTIAL"):
			return &wire.SyntaxError{Text: mail.TextOf(errNotOurURL)}
		}
		v, err := urls.owner(u.user)
		if err != nil {
			return err
		}
		if v != &s.visitor {
			return &wire.SyntaxError{Text: "The URL has another owner."}
		}
		if err = urls.open(v, u.part.mailbox); err == nil {
			var p urlPart
			if p, err = urls.part(&u.part); err == nil {
				p.content.Close()
			}
		}
		var bad badURL
		if errors.As(err, &bad) {
			return &wire.SyntaxError{Text: mail.TextOf(bad.error)}
		}
		if err != nil {
			return err
		}
		parts[i] = &u.part
	}
	if _, err := s.account.MakeURLKeys(s.ctx); err != nil {
		return err
	}
	tokens := make([][]byte, len(texts))
	for i, u := range parts {
		key, err := s.urlKey(u.mailbox)
		if err == nil && key == nil {
			err = errURLMailbox.error // at this moment
		}
		if err != nil {
			return err
		}
		tokens[i] = urlToken(key, texts[i])
	}
	e := s.enc.Untagged().Const("GENURLAUTH")
	for i, text := range texts {
		e.SP().String(text + ":internal:" + hex.EncodeToString(tokens[i]))
	}
	e.CRLF()
	return nil
}

// urlFetching is one URL of URLFETCH.
type urlFetching struct {
	text      string
	extended  bool // RFC 5524: with at least one of these
	structure bool
	binary    bool
	body      bool
}

// urlFetch is URLFETCH (RFC 4467, 7; RFC 5524, 3): each URL is answered by itself, what is
// none, or does not permit to read, with NIL.
//
//	urlfetch        = "URLFETCH" 1*(SP url-fetch-arg)
//	url-fetch-arg   = url-full / "(" url-full *(SP url-fetch-param) ")"
//	url-fetch-param = "BODY" / "BINARY" / "BODYPARTSTRUCTURE" / atom
func (s *session) urlFetch(*request) error {
	d := s.dec
	var list []urlFetching
	for {
		d.SP()
		var u urlFetching
		if d.Peek() == '(' && !s.off("URLAUTH=BINARY") {
			u = s.readURLFetching()
		} else {
			u.text = d.AString()
		}
		list = append(list, u)
		if len(list) > maxURLs {
			d.Fail(errURLs)
		}
		if d.AtEnd() {
			break
		}
	}
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	urls := urlReader{s: s}
	defer urls.close()
	for i := range list {
		if err := s.fetchURL(&urls, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// readURLFetching consumes a url-fetch-arg in parentheses.
func (s *session) readURLFetching() (u urlFetching) {
	d := s.dec
	d.Open()
	u.text = d.AString()
	for d.TrySP() {
		var item *bool
		switch string(d.Word()) {
		case "BODY":
			item = &u.body
		case "BINARY":
			item = &u.binary
		case "BODYPARTSTRUCTURE":
			item = &u.structure
		default:
			d.Bad("This parameter is not known.")
			return u
		}
		if *item || u.body && item == &u.binary || u.binary && item == &u.body {
			d.Bad("These parameters exclude each other.")
			return u
		}
		*item, u.extended = true, true
	}
	d.Close()
	return u
}

// fetchURL answers for one URL.
func (s *session) fetchURL(urls *urlReader, u *urlFetching) error {
	var p urlPart
	err := error(errNotOurURL)
	if isAbsoluteURL(u.text) {
		p, err = urls.findAuthorized(u.text)
	}
	var bad badURL
	switch {
	case errors.As(err, &bad):
		s.enc.Untagged().Const("URLFETCH ").String(u.text).Const(" NIL").CRLF()
		return s.enc.Err()
	case err != nil:
		return err
	}
	defer p.content.Close()
	p.item.kind = itemSection
	if u.binary && p.item.section.Kind == message.Whole {
		p.item.kind = itemBinary
	}
	w := &fetching{s: s, fetch: &fetch{items: []fetchItem{p.item}}, pieces: make([]piece, 1)}
	w.prepare(p.message, p.summary)
	known := true
	if err := w.load(p.content, p.summary); err != nil {
		if known = mail.KindOf(err) != mail.KindUnknownCTE; known {
			return err
		}
	}
	e := s.enc.Untagged().Const("URLFETCH ").String(u.text).SP()
	if u.structure {
		e.Const("(BODYPARTSTRUCTURE ").Raw(w.structure(&p, known)).Close()
		if u.binary || u.body {
			e.SP()
		}
	}
	switch {
	case u.binary && !known:
		e.Const("(BINARY NIL)")
	case u.binary:
		e.Const("(BINARY ")
		w.writePiece(&w.items[0], &w.pieces[0], p.summary, p.content)
		e.Close()
	case u.body:
		e.Const("(BODY ")
		w.writePiece(&w.items[0], &w.pieces[0], p.summary, p.content)
		e.Close()
	case !u.extended:
		w.writePiece(&w.items[0], &w.pieces[0], p.summary, p.content)
	}
	e.CRLF()
	return e.Err()
}

// structure describes what a URL gives (RFC 5524, 3.2): a part, or, of a header or a text
// alone, that this is text.
func (w *fetching) structure(p *urlPart, decoded bool) message.Structure {
	section, piece := p.item.section, &w.pieces[0]
	if section.Kind != message.Whole {
		size, lines := w.extent(p)
		return message.Structure(`("text" "plain" NIL NIL NIL "8bit" 0 0)`).Holding(message.Content{Encoding: "8bit", Size: size, Lines: lines})
	}
	b, ok := p.summary.PartStructure(section.Path)
	if part, _ := p.summary.Part(section.Path); ok && decoded && p.item.kind == itemBinary && !part.Multipart() {
		lines := lineCounter(0)
		if strings.HasPrefix(part.Type, "text/") {
			if r, err := piece.decoder(p.content); err == nil {
				io.Copy(&lines, r)
			}
		}
		b = b.Holding(message.Content{Encoding: "binary", Size: piece.size, Lines: int64(lines)})
	}
	return b
}

// extent tells how many bytes and lines a header or a text has of which PARTIAL may have
// cut a piece.
func (w *fetching) extent(p *urlPart) (size, lines int64) {
	section := p.item.section
	span, _ := p.summary.Locate(section)
	if section.Kind == message.HeaderFields || section.Kind == message.HeaderFieldsNot {
		block, _ := store.ReadSpan(p.content, span)
		text := p.item.cutText(message.AppendFields(nil, block, section.Names, section.Kind == message.HeaderFieldsNot), false)
		return int64(len(text)), int64(bytes.Count(text, []byte{'\n'}))
	}
	span = p.item.cut(span)
	w.source.reset(p.content, span)
	count := lineCounter(0)
	io.Copy(&count, &w.source)
	return span.Len(), int64(count)
}

// lineCounter counts line feeds.
type lineCounter int64

func (c *lineCounter) Write(p []byte) (int, error) {
	*c += lineCounter(bytes.Count(p, []byte{'\n'}))
	return len(p), nil
}
