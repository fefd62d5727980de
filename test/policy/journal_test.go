package policy

import (
	"bytes"
	"encoding/json"
	"net"
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
	clients map[string]bool // who are connected
	secret  [][]byte        // beside the password
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
	w := r.Service + " " + r.Remote
	j.records[w] = append(j.records[w], r)
	return len(line), nil
}

// secrets names more that may be in no line, before anything is tried.
func (j *journal) secrets(list ...string) {
	for _, s := range list {
		j.secret = append(j.secret, []byte(s))
	}
}

func who(protocol string, raw net.Conn) string { return protocol + " " + raw.LocalAddr().String() }

// claim tells whether a client's address is nobody else's at its service. Towards two
// ports of a service, in the clear and with TLS, the system may give one twice.
func (j *journal) claim(protocol string, raw net.Conn) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := who(protocol, raw)
	if j.clients[w] {
		return false
	}
	j.clients[w] = true
	delete(j.records, w) // of who had it before
	return true
}

// release gives a claimed address back.
func (j *journal) release(protocol string, raw net.Conn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.clients, who(protocol, raw))
}

// take gives the records of a client since the last call.
func (j *journal) take(c *client) []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := who(c.protocol, c.raw)
	list := j.records[w]
	delete(j.records, w)
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
