package auth

import (
	"fmt"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Hours are a time of day on some days of the week. Past midnight they go on into
// the next day.
type Hours struct {
	Days     [7]bool // by time.Weekday
	From, To int     // minutes since midnight: From is in, To is not; To may be 24 × 60
}

const midnight = 24 * 60

var weekdays = [...]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

// Contain tells whether at, by the clock of its location, is within the hours.
func (h Hours) Contain(at time.Time) bool {
	minute, day := at.Hour()*60+at.Minute(), int(at.Weekday())
	if h.From < h.To {
		return h.Days[day] && h.From <= minute && minute < h.To
	}
	return h.Days[day] && h.From <= minute || h.Days[(day+6)%7] && minute < h.To
}

// String gives hours as ParseHours reads them.
func (h Hours) String() string {
	var parts []string
	for n := 0; n < 7; n++ {
		day := (n + 1) % 7 // a week begins on Monday here
		if !h.Days[day] {
			continue
		}
		last := n
		for last < 6 && h.Days[(last+2)%7] {
			last++
		}
		text := weekdays[day]
		if last > n {
			text += "-" + weekdays[(last+1)%7]
		}
		parts = append(parts, text)
		n = last
	}
	days := strings.Join(parts, ",") + " "
	if h.Days == [7]bool{true, true, true, true, true, true, true} {
		days = ""
	}
	return fmt.Sprintf("%s%02d:%02d-%02d:%02d", days, h.From/60, h.From%60, h.To/60, h.To%60)
}

// ParseHours reads hours such as "Mon-Fri 08:00-18:00", "Sat,Sun 10:00-14:00", or
// "22:00-06:00" for every day. KindBadArgument.
func ParseHours(text string) (Hours, error) {
	var h Hours
	bad := func() (Hours, error) {
		return Hours{}, mail.Errorf(mail.KindBadArgument, "%q is not hours such as 'Mon-Fri 08:00-18:00' or 22:00-06:00", text)
	}
	fields := strings.Fields(text)
	switch len(fields) {
	case 1:
		h.Days = [7]bool{true, true, true, true, true, true, true}
	case 2:
		for _, part := range strings.Split(fields[0], ",") {
			first, last, ranged := strings.Cut(part, "-")
			if !ranged {
				last = first
			}
			from, ok := weekday(first)
			to, too := weekday(last)
			if !ok || !too {
				return bad()
			}
			for day := from; ; day = (day + 1) % 7 {
				h.Days[day] = true
				if day == to {
					break
				}
			}
		}
	default:
		return bad()
	}
	from, to, ok := strings.Cut(fields[len(fields)-1], "-")
	if !ok {
		return bad()
	}
	var fine, too bool
	h.From, fine = clock(from)
	h.To, too = clock(to)
	if !fine || !too || h.From == h.To || h.From == midnight {
		return bad()
	}
	if h.To == 0 {
		h.To = midnight
	}
	return h, nil
}

func weekday(text string) (int, bool) {
	for i, name := range weekdays {
		if strings.EqualFold(text, name) {
			return i, true
		}
	}
	return 0, false
}

func clock(text string) (int, bool) {
	if text == "24:00" {
		return midnight, true
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err == nil
}

// MarshalText implements encoding.TextMarshaler.
func (h Hours) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hours) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHours(string(text))
	return err
}
