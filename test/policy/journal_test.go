package policy

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"
)

// journal is the server's log. It keeps the records of sign-ins by service and the
// client's address (two clients may have one port, towards two services), and no line
// of it may hold a password.
type journal struct {
	t testing.TB

	mu      sync.Mutex
	records map[string][]record
	secret  [][]byte // beside the password
}

// record is what the log has of one sign-in.
type record struct {
	Message   string `json:"msg"`
	Service   string
	Remote    string
	TLS       *bool
	Mechanism string
	Name      *string
	Kind      string // of the refusal, "" for a login
}

// outcome is the kind of the refusal, or OK.
func (r record) outcome() string {
	if r.Kind == "" {
		return "OK"
	}
	return r.Kind
}

// Write takes one record of a slog.JSONHandler.
func (j *journal) Write(line []byte) (int, error) {
	for _, secret := range append([][]byte{[]byte(password)}, j.secret...) {
		if bytes.Contains(line, secret) {
			j.t.Errorf("a password is in the log: %s", line)
		}
	}
	var r record
	err := json.Unmarshal(line, &r)
	if r.Message != "login refused" && r.Message != "logged in" {
		return len(line), nil
	}
	if err != nil || r.Service == "" || r.Remote == "" || r.TLS == nil || r.Mechanism == "" || r.Name == nil || (r.Kind == "") != (r.Message == "logged in") {
		j.t.Errorf("a sign-in is recorded without service, address, state of TLS, mechanism, name or kind: %s", line)
		return len(line), nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	who := r.Service + " " + r.Remote
	j.records[who] = append(j.records[who], r)
	return len(line), nil
}

// secrets names more that may be in no line, before anything is tried.
func (j *journal) secrets(list ...string) {
	for _, s := range list {
		j.secret = append(j.secret, []byte(s))
	}
}

// take gives the records of a client since the last call.
func (j *journal) take(c *client) []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	who := c.protocol + " " + c.raw.LocalAddr().String()
	list := j.records[who]
	delete(j.records, who)
	return list
}

// refusals are the kinds of those that were refused.
func refusals(list []record) (kinds []string) {
	for _, r := range list {
		if r.Kind != "" {
			kinds = append(kinds, r.Kind)
		}
	}
	return kinds
}
