package policy

import (
	"regexp"
	"strings"
	"sync"
	"testing"
)

// journal is the server's log. It keeps the kinds of refused logins by the client's
// address, and no line of it may hold a password.
type journal struct {
	t testing.TB

	mu      sync.Mutex
	refused map[string][]string
}

var (
	remoteOf = regexp.MustCompile(`remote=(\S+)`)
	kindOf   = regexp.MustCompile(`kind=(\S+)`)
)

// Write takes one record of a slog.TextHandler.
func (j *journal) Write(record []byte) (int, error) {
	line := string(record)
	if strings.Contains(line, password) {
		j.t.Errorf("a password is in the log: %s", line)
	}
	if strings.Contains(line, `msg="login refused"`) {
		remote, kind := remoteOf.FindStringSubmatch(line), kindOf.FindStringSubmatch(line)
		if remote == nil || kind == nil {
			j.t.Errorf("a refused login is recorded without address or kind: %s", line)
			return len(record), nil
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		j.refused[remote[1]] = append(j.refused[remote[1]], kind[1])
	}
	return len(record), nil
}

// take gives the kinds recorded of a client since the last call.
func (j *journal) take(c *client) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	remote := c.raw.LocalAddr().String()
	kinds := j.refused[remote]
	delete(j.refused, remote)
	return kinds
}
