package policy

import (
	"regexp"
	"strings"
	"sync"
	"testing"
)

// journal is the server's log. It keeps the kinds of refused logins by service and
// the client's address (two clients may have one port, towards two services), and
// no line of it may hold a password.
type journal struct {
	t testing.TB

	mu      sync.Mutex
	refused map[string][]string
}

var (
	serviceOf = regexp.MustCompile(`service=(\S+)`)
	remoteOf  = regexp.MustCompile(`remote=(\S+)`)
	kindOf    = regexp.MustCompile(`kind=(\S+)`)
)

// Write takes one record of a slog.TextHandler.
func (j *journal) Write(record []byte) (int, error) {
	line := string(record)
	if strings.Contains(line, password) {
		j.t.Errorf("a password is in the log: %s", line)
	}
	if strings.Contains(line, `msg="login refused"`) {
		service, remote, kind := serviceOf.FindStringSubmatch(line), remoteOf.FindStringSubmatch(line), kindOf.FindStringSubmatch(line)
		if service == nil || remote == nil || kind == nil {
			j.t.Errorf("a refused login is recorded without service, address or kind: %s", line)
			return len(record), nil
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		who := service[1] + " " + remote[1]
		j.refused[who] = append(j.refused[who], kind[1])
	}
	return len(record), nil
}

// take gives the kinds recorded of a client since the last call.
func (j *journal) take(c *client) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	who := c.protocol + " " + c.raw.LocalAddr().String()
	kinds := j.refused[who]
	delete(j.refused, who)
	return kinds
}
