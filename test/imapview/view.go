// Package imapview follows what one IMAP session is told about its selected mailbox
// and says when that cannot be true: an EXPUNGE where none may be, a number that
// does not exist, EXISTS that shrinks, UIDs out of order, flags that changed without
// a word. It is a client's side written from RFC 3501 and RFC 7162 alone and shares
// no code with the server.
package imapview

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Message is what a client knows of one message.
type Message struct {
	UID    uint32 // 0: not known
	Flags  string // sorted, with single spaces between, without \Recent; see Known
	Known  bool   // Flags was told
	ModSeq uint64 // 0: not known

	told int // the command, as View counts them, during which Flags was told last
}

// View is what a client knows of the selected mailbox. Messages are in the order of
// their sequence numbers. The zero View has no mailbox.
type View struct {
	Messages []Message
	Keywords map[string]bool // of the FLAGS response, in lower case; nil before one
	QResync  bool            // ENABLED QRESYNC, or UIDONLY, was seen: VANISHED comes, no EXPUNGE

	named   int    // no message above this place has a UID; keeps learning a large mailbox linear
	command string // under way, in upper case and with its UID; "" when there is none
	begun   int    // how many commands were sent
}

// Begin says that a command has been sent: its text without the tag. SELECT and
// EXAMINE forget the mailbox.
func (v *View) Begin(command string) {
	words := strings.Fields(strings.ToUpper(command))
	if len(words) == 0 {
		return
	}
	v.begun++
	v.command = words[0]
	if words[0] == "UID" && len(words) > 1 {
		v.command += " " + words[1]
	}
	switch v.command {
	case "SELECT", "EXAMINE":
		v.Messages, v.Keywords, v.named = nil, nil, 0
	}
}

// End says that the command's tagged response came, with its condition.
func (v *View) End(condition string) {
	if condition == "OK" && (v.command == "CLOSE" || v.command == "UNSELECT") {
		v.Messages, v.named = nil, 0
	}
	if condition == "OK" && v.command == "UNAUTHENTICATE" {
		*v = View{}
	}
	v.command = ""
}

// Untagged takes an untagged response without its CRLF. An error says what is wrong
// with it; the View is of no use after that.
func (v *View) Untagged(response []byte) error {
	rest, ok := bytes.CutPrefix(response, []byte("* "))
	if !ok {
		return fmt.Errorf("no untagged response: %.100q", response)
	}
	if err := v.take(rest); err != nil {
		return fmt.Errorf("during %q: %.200q: %w", v.command, response, err)
	}
	return nil
}

func (v *View) take(rest []byte) error {
	word, rest := cutWord(rest)
	if n, err := strconv.ParseUint(word, 10, 32); err == nil {
		name, rest := cutWord(rest)
		return v.numbered(uint32(n), strings.ToUpper(name), rest)
	}
	switch strings.ToUpper(word) {
	case "FLAGS":
		values, err := ParseValues(rest)
		if err != nil {
			return err
		}
		if len(values) != 1 || values[0].Quote != '(' {
			return fmt.Errorf("FLAGS needs one list")
		}
		v.Keywords = map[string]bool{}
		for _, f := range values[0].List {
			v.Keywords[strings.ToLower(f.Text)] = true
		}
	case "VANISHED":
		return v.vanished(rest)
	case "ENABLED":
		for _, name := range strings.Fields(strings.ToUpper(string(rest))) {
			v.QResync = v.QResync || name == "QRESYNC" || name == "UIDONLY"
		}
	}
	return nil
}

func cutWord(b []byte) (string, []byte) {
	word, rest, _ := bytes.Cut(b, []byte(" "))
	return string(word), rest
}

func (v *View) numbered(n uint32, name string, rest []byte) error {
	switch name {
	case "EXISTS":
		if int(n) < len(v.Messages) {
			return fmt.Errorf("EXISTS shrinks from %d", len(v.Messages))
		}
		v.Messages = append(v.Messages, make([]Message, int(n)-len(v.Messages))...)
	case "RECENT":
		if int(n) > len(v.Messages) && v.command != "SELECT" && v.command != "EXAMINE" {
			return fmt.Errorf("more are recent than the %d that exist", len(v.Messages))
		}
	case "EXPUNGE":
		if v.QResync {
			return fmt.Errorf("EXPUNGE instead of VANISHED (RFC 7162, 3.2.10)")
		}
		if err := v.mayExpunge(); err != nil {
			return err
		}
		if n == 0 || int(n) > len(v.Messages) {
			return fmt.Errorf("there are %d messages", len(v.Messages))
		}
		v.remove(int(n) - 1)
	case "FETCH":
		items, err := ParseFetch(rest)
		if err != nil {
			return err
		}
		return v.fetched(n, items)
	}
	return nil
}

// mayExpunge tells whether messages may vanish now (RFC 3501, 7.4.1).
func (v *View) mayExpunge() error {
	switch v.command {
	case "":
		return fmt.Errorf("no command is under way")
	case "FETCH", "STORE", "SEARCH":
		return fmt.Errorf("not during this command (RFC 3501, 7.4.1)")
	}
	return nil
}

// Seq gives the sequence number of uid, 0 when it is not known.
func (v *View) Seq(uid uint32) int {
	// Unknown UIDs stand between known ones, so no binary search.
	for i := range v.Messages {
		if v.Messages[i].UID == uid {
			return i + 1
		}
	}
	return 0
}

func (v *View) vanished(rest []byte) error {
	set, earlier := bytes.CutPrefix(rest, []byte("(EARLIER) "))
	ranges, err := parseSet(string(set))
	if err != nil {
		return err
	}
	in := func(uid uint32) bool {
		return slices.ContainsFunc(ranges, func(r [2]uint32) bool { return r[0] <= uid && uid <= r[1] })
	}
	if earlier {
		switch v.command {
		case "UID FETCH", "SELECT", "EXAMINE":
		default:
			return fmt.Errorf("EARLIER has no place here")
		}
		for _, m := range v.Messages {
			if m.UID != 0 && in(m.UID) {
				return fmt.Errorf("message %d is in the mailbox", m.UID)
			}
		}
		return nil
	}
	if !v.QResync {
		return fmt.Errorf("QRESYNC is not enabled")
	}
	if err := v.mayExpunge(); err != nil {
		return err
	}
	for _, r := range ranges {
		for uid := uint64(r[0]); uid <= uint64(r[1]); uid++ {
			if err := v.vanish(uint32(uid)); err != nil {
				return err
			}
		}
	}
	return nil
}

// vanish takes out the message with uid.
func (v *View) vanish(uid uint32) error {
	// It stands in front of the first message with a known UID that is not below.
	place := 0
	for place < len(v.Messages) && (v.Messages[place].UID == 0 || v.Messages[place].UID < uid) {
		place++
	}
	if place < len(v.Messages) && v.Messages[place].UID == uid {
		v.remove(place)
		return nil
	}
	// Its UID was never told: it is one of those just before, but which one of them
	// is not known.
	first := place
	for first > 0 && v.Messages[first-1].UID == 0 {
		first--
	}
	if first == place {
		return fmt.Errorf("there is no message with UID %d (RFC 7162, 3.2.10.2)", uid)
	}
	clear(v.Messages[first:place])
	v.remove(first)
	return nil
}

func (v *View) fetched(n uint32, items []Item) error {
	if n == 0 || int(n) > len(v.Messages) {
		return fmt.Errorf("there are %d messages", len(v.Messages))
	}
	m := &v.Messages[n-1]
	for _, item := range items {
		switch strings.ToUpper(item.Name) {
		case "UID":
			uid, err := strconv.ParseUint(item.Value.Text, 10, 32)
			if err != nil || uid == 0 {
				return fmt.Errorf("a UID is no number")
			}
			if m.UID != 0 && m.UID != uint32(uid) {
				return fmt.Errorf("message %d had UID %d", n, m.UID)
			}
			m.UID = uint32(uid)
			if err := v.ordered(int(n) - 1); err != nil {
				return err
			}
		case "FLAGS":
			flags, err := v.flags(item.Value)
			if err != nil {
				return err
			}
			m.Flags, m.Known, m.told = flags, true, v.begun
		case "MODSEQ":
			if len(item.Value.List) != 1 {
				return fmt.Errorf("MODSEQ needs a list of one")
			}
			modSeq, err := strconv.ParseUint(item.Value.List[0].Text, 10, 63)
			if err != nil || modSeq == 0 {
				return fmt.Errorf("a MODSEQ is no number")
			}
			if modSeq < m.ModSeq {
				return fmt.Errorf("MODSEQ falls from %d", m.ModSeq)
			}
			m.ModSeq = modSeq
		}
	}
	return nil
}

// remove takes out the message at place i.
func (v *View) remove(i int) {
	v.Messages = slices.Delete(v.Messages, i, i+1)
	if i < v.named {
		v.named--
	}
}

// ordered checks that UIDs ascend about place i.
func (v *View) ordered(i int) error {
	uid := v.Messages[i].UID
	for j := i - 1; j >= 0; j-- {
		if other := v.Messages[j].UID; other != 0 {
			if other >= uid {
				return fmt.Errorf("message %d has UID %d and message %d has %d", j+1, other, i+1, uid)
			}
			break
		}
	}
	if i >= v.named { // nothing above has a UID yet
		v.named = i + 1
		return nil
	}
	for j := i + 1; j < v.named; j++ {
		if other := v.Messages[j].UID; other != 0 {
			if other <= uid {
				return fmt.Errorf("message %d has UID %d and message %d has %d", i+1, uid, j+1, other)
			}
			break
		}
	}
	return nil
}

// flags gives a flag list as a Message has it.
func (v *View) flags(list Value) (string, error) {
	if list.Quote != '(' {
		return "", fmt.Errorf("FLAGS needs a list")
	}
	var names []string
	for _, f := range list.List {
		name := strings.ToLower(f.Text)
		if slices.Contains(names, name) {
			return "", fmt.Errorf("%s stands twice", f.Text)
		}
		if name != `\recent` && v.Keywords != nil && !v.Keywords[name] {
			return "", fmt.Errorf("%s is not in the FLAGS response (RFC 3501, 7.2.6)", f.Text)
		}
		names = append(names, name)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == `\recent` })
	sort.Strings(names)
	return strings.Join(names, " "), nil
}

// Restore puts messages, which a client remembered and brought up to what SELECT with
// QRESYNC told, in the place of those that the view has; there are as many. What has no
// UID yet stands behind the rest.
func (v *View) Restore(messages []Message) {
	v.Messages = messages
	for i := range messages {
		messages[i].told = 0
	}
	v.named = 0
	for v.named < len(messages) && messages[v.named].UID != 0 {
		v.named++
	}
}

// Told tells whether the flags of message n were told since the last command was sent. Only
// FETCH responses that a UID command causes must have the UID: what another session did
// meanwhile may come without.
func (v *View) Told(n int) bool { return v.begun > 0 && v.Messages[n-1].told == v.begun }

// SetFlags changes what the client believes of message n without being told: it
// sent a STORE with .SILENT that was answered with OK. flags are sorted and in
// lower case.
func (v *View) SetFlags(n int, change func(flags []string) []string) {
	if m := &v.Messages[n-1]; m.Known {
		flags := change(strings.Fields(m.Flags))
		sort.Strings(flags)
		m.Flags = strings.Join(slices.Compact(flags), " ")
	}
}
