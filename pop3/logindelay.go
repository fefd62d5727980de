package pop3

import (
	"strconv"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// logins knows when the accounts were last logged in to, for as long as LoginDelay asks.
// Safe for concurrent use. A restart forgets.
type logins struct {
	mu    sync.Mutex
	last  map[mail.AccountID]time.Time
	sweep int // how many there may be before those that are over are removed
}

// errLoginDelay refuses a login that comes too early (RFC 2449, 8.1.1).
var errLoginDelay = mail.Errorf(mail.KindLimit, "There was a login a short while ago")

// early tells whether the last login of the account is less than delay ago.
func (l *logins) early(id mail.AccountID, now time.Time, delay time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, ok := l.last[id]
	return ok && now.Sub(last) < delay
}

// note records a login. What is older than delay is forgotten now and then, so that
// there is never much more than the logins of one delay.
func (l *logins) note(id mail.AccountID, now time.Time, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		l.last = map[mail.AccountID]time.Time{}
	}
	l.last[id] = now
	if len(l.last) <= l.sweep {
		return
	}
	for id, last := range l.last {
		if now.Sub(last) >= delay {
			delete(l.last, id)
		}
	}
	l.sweep = 2*len(l.last) + 1000
}

// loginDelay is the delay for this client; 0 where it is off.
func (x *session) loginDelay() time.Duration {
	if x.masked["LOGIN-DELAY"] {
		return 0
	}
	return settings.LoginDelay.Of(x.Settings())
}

// loginDelayArgument is the argument of the capability, in seconds (RFC 2449, 6.5).
func (x *session) loginDelayArgument() (string, bool) {
	d := x.loginDelay()
	return " " + strconv.FormatInt(int64(d/time.Second), 10), d > 0
}
