package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Change is one difference that was made, or was to be made.
type Change struct {
	Target string `json:"target"` // what was changed: a service, a mailbox
	Name   string `json:"name"`   // the property
	Old    any    `json:"old"`    // what JSON can say; no secrets
	New    any    `json:"new"`
}

// Record says what somebody did. Who makes it leaves secrets out.
type Record struct {
	Time time.Time `json:"time"` // UTC
	// Who is an administrator's identity: "unix:root", "alice@example.org".
	Who  string `json:"who"`
	From string `json:"from"` // "socket", a network address, "server" for the server's own
	// Way is how it was proven: "socket", "session" or "token"; Token names the API
	// token.
	Way   string `json:"way,omitempty"`
	Token string `json:"token,omitempty"`
	// Roles are those by which it was allowed; when it was refused, all that the
	// caller holds.
	Roles []string `json:"roles,omitempty"`
	Local bool     `json:"local"` // whether the caller was a local administrator
	// Server is the server that was changed.
	Server string `json:"server"`
	// Cmdlet is the cmdlet, or what else was done: one of the Actions.
	Cmdlet     string            `json:"cmdlet"`
	Parameters map[string]string `json:"parameters,omitempty"` // secrets are [redacted]
	Changes    []Change          `json:"changes,omitempty"`    // made; of a refused call, to be made
	Warnings   []string          `json:"warnings,omitempty"`   // what the caller was warned of
	Outcome    string            `json:"outcome"`              // OK, or the name of the error's mail.Kind
	Error      string            `json:"error,omitempty"`
	// Omitted counts refused attempts before this one that were too many to record.
	Omitted int `json:"omitted,omitempty"`
	// Shortened: long values were cut, to keep the record within its bound.
	Shortened bool `json:"shortened,omitempty"`
	// Note says what the log found out about itself; Torn are bytes of a record that
	// was not written to its end.
	Note string `json:"note,omitempty"`
	Torn []byte `json:"torn,omitempty"`
}

// OK is the outcome of what was done.
const OK = "OK"

// The actions that are recorded and are no cmdlets.
const (
	SignIn   = "SignIn"   // to the console, with a password or a one-time link
	SignOut  = "SignOut"  // of the console
	TokenUse = "TokenUse" // an API token was used
	ActFor   = "ActFor"   // a sign-in at POP3 or IMAP4 for another mailbox
	Notice   = "Notice"   // the log speaks of itself: Note
)

// Entry is a record with its place in the chain.
type Entry struct {
	Sequence uint64 `json:"sequence"` // 1 for the first record, then one more each
	Previous string `json:"previous"` // Hash of the entry before; genesis for the first
	Record
	Hash string `json:"hash"` // SHA-256 of the line up to the hash, in hex
}

// Head gives the entry's place.
func (e *Entry) Head() Head { return Head{e.Sequence, e.Hash} }

// Head is a place in the chain: a sequence number and the hash of its entry.
type Head struct {
	Sequence uint64 `json:"sequence"`
	Hash     string `json:"hash"`
}

// genesis is what the first entry is chained to.
const genesis = "0000000000000000000000000000000000000000000000000000000000000000"

// Bounds, in bytes.
const (
	maxRecord = 64 << 10  // of a record's JSON, as it is written
	maxLine   = 256 << 10 // of a line, as it is read
	maxTorn   = 128 << 10 // of torn bytes that are kept in a record
)

// A line ends with its hash: the bytes before hashKey are what is hashed.
const (
	hashKey = `,"hash":"`
	lineEnd = `"}`
	tailLen = len(hashKey) + 2*sha256.Size + len(lineEnd)
)

// encode gives the line of a record that follows head, with its line feed, and
// the new head.
func encode(head Head, r Record) (line []byte, next Head, err error) {
	body, err := marshal(struct {
		Sequence uint64 `json:"sequence"`
		Previous string `json:"previous"`
		Record
	}{head.Sequence + 1, head.Hash, r})
	if err != nil {
		return nil, head, err
	}
	body = body[:len(body)-1] // the closing brace comes behind the hash
	next = Head{head.Sequence + 1, hashOf(body)}
	return append(append(append(append(body, hashKey...), next.Hash...), lineEnd...), '\n'), next, nil
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// marshal is json.Marshal that leaves <, > and & legible.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, &mail.Error{Kind: mail.KindServerBug, Text: "the audit record cannot be written as JSON", Cause: err}
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// decode reads a line without its line feed. KindCorrupt when it is not as it was
// written: any other byte is noticed.
func decode(line []byte) (*Entry, error) {
	at := len(line) - tailLen
	if len(line) > maxLine || at <= 0 || !bytes.HasPrefix(line[at:], []byte(hashKey)) || !bytes.HasSuffix(line, []byte(lineEnd)) {
		return nil, mail.Errorf(mail.KindCorrupt, "it is not an audit record")
	}
	hash := string(line[at+len(hashKey) : len(line)-len(lineEnd)])
	if hashOf(line[:at]) != hash {
		return nil, mail.Errorf(mail.KindCorrupt, "it was changed: its content does not match its hash")
	}
	e := &Entry{}
	if err := json.Unmarshal(line, e); err != nil || e.Hash != hash || e.Sequence == 0 || len(e.Previous) != len(genesis) {
		return nil, mail.Errorf(mail.KindCorrupt, "it is not an audit record")
	}
	return e, nil
}

// bounded gives the record within maxRecord: long values are cut, then the last
// changes, warnings and parameters are left out, and Shortened says so.
func bounded(r Record) (Record, error) {
	r.Who, r.From, r.Server, r.Cmdlet = cut(r.Who, 1000), cut(r.From, 1000), cut(r.Server, 1000), cut(r.Cmdlet, 1000)
	r.Way, r.Token, r.Error, r.Note = cut(r.Way, 100), cut(r.Token, 1000), cut(r.Error, 4000), cut(r.Note, 4000)
	if len(r.Torn) > 0 { // the log's own, bounded where it is made
		return r, nil
	}
	for _, limit := range []int{0, 4000, 1000, 100} {
		short := r
		if limit > 0 {
			short = shortened(r, limit)
		}
		text, err := marshal(short)
		if err != nil || len(text) <= maxRecord {
			return short, err
		}
	}
	short := shortened(r, 100)
	short.Parameters, short.Roles = nil, nil
	short.Changes = short.Changes[:min(len(short.Changes), 20)]
	short.Warnings = short.Warnings[:min(len(short.Warnings), 20)]
	return short, nil
}

// shortened cuts what is longer than limit bytes, and keeps 200 of a kind.
func shortened(r Record, limit int) Record {
	r.Shortened = true
	parameters := map[string]string{}
	for name, value := range r.Parameters {
		if len(parameters) < 200 {
			parameters[cut(name, limit)] = cut(value, limit)
		}
	}
	r.Parameters = parameters
	changes := make([]Change, 0, min(len(r.Changes), 200))
	for _, c := range r.Changes[:min(len(r.Changes), 200)] {
		changes = append(changes, Change{cut(c.Target, limit), cut(c.Name, limit), cutValue(c.Old, limit), cutValue(c.New, limit)})
	}
	r.Changes = changes
	r.Roles, r.Warnings = cutTexts(r.Roles, 20, limit), cutTexts(r.Warnings, 200, limit)
	return r
}

// cutTexts keeps the first n texts, each shortened to limit bytes.
func cutTexts(texts []string, n, limit int) []string {
	kept := make([]string, 0, min(len(texts), n))
	for _, text := range texts[:min(len(texts), n)] {
		kept = append(kept, cut(text, limit))
	}
	return kept
}

// cutValue gives a value whose JSON is longer than limit as the beginning of it.
func cutValue(v any, limit int) any {
	text, err := marshal(v)
	if err == nil && len(text) <= limit {
		return v
	}
	return cut(string(text), limit)
}

// cut shortens a text to limit bytes.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
