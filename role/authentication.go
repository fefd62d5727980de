package role

import (
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// maxRemember bounds AuthenticationConfig.Remember: the digests are of passwords, and
// whoever reads the memory of the process could try guesses against them.
const maxRemember = time.Hour

// AuthenticationConfig is the table [authentication] of the settings file.
type AuthenticationConfig struct {
	// Remember is a time span: how long a password that was right is remembered (see
	// auth.Limits.Verified); 00:05:00 when it is left out, 00:00:00 never, at most
	// 01:00:00.
	Remember string `toml:"remember"`
}

// limits gives l with what the settings file says where l says nothing. KindBadArgument.
func (a AuthenticationConfig) limits(l auth.Limits) (auth.Limits, error) {
	if a.Remember == "" {
		return l, nil
	}
	span, err := settings.ParseSpan(a.Remember)
	if err != nil || span < 0 || span > maxRemember {
		return l, mail.Errorf(mail.KindBadArgument, "authentication: remember is a time span from 00:00:00 (never) to 01:00:00, not %q.", a.Remember)
	}
	if l.Verified != 0 {
		return l, nil
	}
	if l.Verified = span; span == 0 {
		l.Verified = -1
	}
	return l, nil
}
