package settings

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// FormatSpan gives a time span as administrators write it: 00:30:00, or
// 1.00:00:00 for a day. Fractions of a second are cut; d is not negative.
func FormatSpan(d time.Duration) string {
	s := int64(d / time.Second)
	clock := fmt.Sprintf("%02d:%02d:%02d", s/3600%24, s/60%60, s%60)
	if days := s / 86400; days > 0 {
		return fmt.Sprintf("%d.%s", days, clock)
	}
	return clock
}

// ParseSpan reads [days.]hours:minutes[:seconds]. Hours are below 24, minutes and
// seconds below 60. A bare number is refused: nobody agrees on its unit.
//
//	span = [1*5DIGIT "."] 1*2DIGIT ":" 1*2DIGIT [":" 1*2DIGIT]
func ParseSpan(text string) (time.Duration, error) {
	bad := func() (time.Duration, error) {
		return 0, mail.Errorf(mail.KindBadArgument, "%q is not a time span such as 00:30:00 or 1.00:00:00", text)
	}
	days, clock, ok := strings.Cut(text, ".")
	if !ok {
		days, clock = "0", text
	}
	n, ok := digits(days, 5)
	if !ok {
		return bad()
	}
	d := time.Duration(n) * 24 * time.Hour
	fields := strings.Split(clock, ":")
	if len(fields) != 2 && len(fields) != 3 {
		return bad()
	}
	units := [...]struct {
		unit  time.Duration
		below int
	}{{time.Hour, 24}, {time.Minute, 60}, {time.Second, 60}}
	for i, f := range fields {
		n, ok := digits(f, 2)
		if !ok || n >= units[i].below {
			return bad()
		}
		d += time.Duration(n) * units[i].unit
	}
	return d, nil
}

func digits(s string, most int) (int, bool) {
	if s == "" || len(s) > most || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}
