package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// state is what is done before a script begins; each does what those before it do.
type state int

const (
	nonauth state = iota
	authenticated
	created
	appended
	selected
)

var states = map[string]state{"nonauth": nonauth, "auth": authenticated, "created": created, "appended": appended, "selected": selected}

// script is a script as it is read.
type script struct {
	path         string
	about        string // its first comment
	capabilities []string
	connections  int
	users        map[int]string // connection to user, as written
	messages     int            // -1 is all of the mbox file
	state        state
	extra        bool // untagged responses that are not expected are passed over
	unchecked    bool // what the sessions are told is not followed
	groups       []*group
}

// group is commands that are sent together with what is expected of them.
type group struct {
	line     int
	conn     int // from 1
	commands []*command
	untagged []*untagged
	ordered  bool
	sleep    time.Duration
	output   []string
	bye      bool // * BYE is expected
}

// verb is how a command is sent.
type verb int

const (
	send     verb = iota // with a tag
	greeting             // nothing: the greeting is read
	wait                 // nothing: untagged responses are awaited
	more                 // a line for the open command
	rawBytes             // as they stand, $tag is the tag
	write                // as they stand, without an answer
	startTLS
	compress
	closing
	connecting
)

var verbs = map[string]verb{"!wait": wait, "!more": more, "!bytes": rawBytes, "!write": write, "!starttls": startTLS, "!compress": compress, "!close": closing, "!connect": connecting}

// answered tells whether a tagged response follows.
func (v verb) answered() bool { return v == send || v == more || v == rawBytes }

type command struct {
	line  int
	tag   int // of tag1 and so on; 0 without
	verb  verb
	text  []piece
	reply []arg // nil: not known yet; "" is whatever comes
	open  bool  // "+" is the answer
}

// piece is a piece of a command; a literal is sent with its size.
type piece struct {
	text    string
	literal bool
	binary  bool
}

type untagged struct {
	line int
	must byte // '*', '!' or '?'
	text string
	args []arg
}

// maxConnections bounds the connections of a script.
const maxConnections = 100

// parser reads a script.
type parser struct {
	*script
	group   *group
	pending int // commands of the group without their reply
	skips   []skip
}

// skip is an !ifenv that is open.
type skip struct{ outer, now, elseSeen bool }

func (p *parser) skipping() bool { return len(p.skips) > 0 && p.skips[len(p.skips)-1].now }

// read reads the script at path.
func read(path string) (*script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &parser{script: &script{path: path, connections: 1, users: map[int]string{}, messages: -1, state: selected, extra: true}}
	lines := strings.Split(string(text), "\n")
	header := true
	for i := 0; i < len(lines); i++ {
		line, number := lines[i], i+1
		if line == "" {
			header = false
			continue
		}
		if line[0] == '#' {
			if p.about == "" && header {
				p.about = strings.TrimSpace(line[1:])
			}
			continue
		}
		pieces := []piece{{text: line}}
		for {
			last := &pieces[len(pieces)-1]
			start, ok := strings.CutSuffix(last.text, "{{{")
			if !ok {
				break
			}
			start, binary := strings.CutSuffix(start, "~")
			last.text = start
			var body []string
			for i++; i < len(lines) && !strings.HasPrefix(lines[i], "}}}"); i++ {
				body = append(body, lines[i])
			}
			if i >= len(lines) {
				return nil, fmt.Errorf("%s:%d: the literal has no end", path, number)
			}
			end := "\r\n"
			if binary {
				end = "\n" // its lines are as they stand
			}
			pieces = append(pieces, piece{strings.Join(body, end), true, binary}, piece{text: lines[i][3:]})
		}
		if header {
			err = p.setting(line)
		} else {
			err = p.line(number, pieces)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
	}
	switch {
	case p.pending > 0:
		return nil, fmt.Errorf("%s: line %d has no answer", path, p.group.line)
	case len(p.groups) == 0:
		return nil, fmt.Errorf("%s has no commands", path)
	case len(p.skips) > 0:
		return nil, fmt.Errorf("%s: !endif is missing", path)
	}
	return p.script, nil
}

// setting reads a line of the header.
func (p *parser) setting(line string) error {
	key, value, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("a line of the header is name: value")
	}
	key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
	var err error
	switch {
	case key == "capabilities":
		p.capabilities = strings.Fields(value)
	case key == "connections":
		p.connections, err = strconv.Atoi(value)
		if err == nil && (p.connections < 1 || p.connections > maxConnections) {
			err = fmt.Errorf("not so many connections")
		}
	case strings.HasPrefix(key, "user "):
		var n int
		if n, err = strconv.Atoi(key[5:]); err == nil {
			p.users[n] = strings.Trim(value, "${}")
		}
	case key == "messages":
		if value != "all" {
			p.messages, err = strconv.Atoi(value)
		}
	case key == "state":
		p.state, ok = states[strings.ToLower(value)]
		if !ok {
			err = fmt.Errorf("there is no state %s", value)
		}
	case key == "ignore_extra_untagged":
		p.extra = strings.HasPrefix(value, "y")
	case key == "check":
		p.unchecked = strings.HasPrefix(value, "n")
	default:
		err = fmt.Errorf("there is no setting %s", key)
	}
	return err
}

// line reads a line of the script, maybe with literals.
func (p *parser) line(number int, pieces []piece) error {
	line := pieces[0].text
	if done, err := p.condition(line); done || err != nil || p.skipping() {
		return err
	}
	if p.group != nil {
		if done, err := p.directive(line); done || err != nil {
			return err
		}
		if len(line) > 2 && line[1] == ' ' && strings.IndexByte("*!?", line[0]) >= 0 {
			return p.untagged(number, pieces)
		}
	}
	conn := 1
	if p.connections > 1 {
		first, rest, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(first)
		if err != nil || n < 1 || n > p.connections {
			return fmt.Errorf("the number of the connection is missing")
		}
		conn, line = n, rest
	}
	tag, reply, rest := cutReply(line)
	if p.pending > 0 && reply != "" {
		if c := p.find(tag); c != nil && c.reply == nil {
			if conn != p.group.conn {
				return fmt.Errorf("the answer comes on another connection than its command")
			}
			c.reply = args([]byte(strings.TrimSpace(reply + " " + rest)))
			p.pending--
			return nil
		}
	}
	if p.pending == 0 || tag == 0 {
		if p.pending > 0 {
			return fmt.Errorf("the answer of line %d is missing", p.group.line)
		}
		p.group = &group{line: number, conn: conn}
		p.groups = append(p.groups, p.group)
	}
	if p.group.conn != conn || p.find(tag) != nil {
		return fmt.Errorf("commands that are sent together use one connection and a tag each")
	}
	if len(p.group.commands) == 0 && strings.HasPrefix(rest, "* ") {
		p.group.commands = []*command{{line: number, verb: greeting}}
		return p.untagged(number, []piece{{text: rest}})
	}
	c := &command{line: number, tag: tag}
	word, argument, _ := strings.Cut(rest, " ")
	if v, ok := verbs[strings.ToLower(word)]; ok {
		c.verb, rest = v, argument
	}
	pieces[0].text = rest
	c.text = pieces
	switch reply {
	case "":
		if c.verb.answered() {
			p.pending++
		}
	case "+":
		c.open = true
		c.reply = []arg{}
	default:
		c.reply = []arg{{text: reply}}
	}
	p.group.commands = append(p.group.commands, c)
	return nil
}

func (p *parser) find(tag int) *command {
	for _, c := range p.group.commands {
		if c.tag == tag {
			return c
		}
	}
	return nil
}

// cutReply takes "tag1", and then OK, NO, BAD, "" or + from the beginning of a line.
// The reply "" is given as `""`.
func cutReply(line string) (tag int, reply, rest string) {
	first, after, _ := strings.Cut(line, " ")
	if len(first) > 3 && strings.EqualFold(first[:3], "tag") {
		if n, err := strconv.Atoi(first[3:]); err == nil && n > 0 {
			tag, line = n, after
			first, after, _ = strings.Cut(line, " ")
		}
	}
	switch strings.ToLower(first) {
	case "ok", "no", "bad", `""`, "+":
		return tag, first, after
	}
	return tag, "", line
}

func (p *parser) untagged(number int, pieces []piece) error {
	line := pieces[0].text
	u := &untagged{line: number, must: line[0]}
	pieces[0].text = line[2:]
	u.text = join(pieces)
	var err error
	if u.args, err = withDefaults(args([]byte(u.text))); err != nil {
		return err
	}
	if len(u.args) > 0 && strings.EqualFold(u.args[0].text, "BYE") && u.must == '*' {
		p.group.bye = true
	}
	p.group.untagged = append(p.group.untagged, u)
	return nil
}

// join writes literals with their sizes.
func join(pieces []piece) string {
	var b strings.Builder
	for _, x := range pieces {
		if x.literal {
			fmt.Fprintf(&b, "{%d}\r\n", len(x.text))
		}
		b.WriteString(x.text)
	}
	return b.String()
}

// directive reads !sleep, !output and !ordered.
func (p *parser) directive(line string) (bool, error) {
	name, value, _ := strings.Cut(line, " ")
	switch name {
	case "!sleep":
		d, err := duration(value)
		p.group.sleep = d
		return true, err
	case "!output":
		p.group.output = append(p.group.output, value)
	case "!ordered":
		p.group.ordered = true
	default:
		return false, nil
	}
	return true, nil
}

// duration reads "200ms", "2 secs", "1s".
func duration(s string) (time.Duration, error) {
	s = strings.ReplaceAll(s, " ", "")
	for _, unit := range [][2]string{{"msecs", "ms"}, {"msec", "ms"}, {"secs", "s"}, {"sec", "s"}, {"mins", "m"}, {"min", "m"}} {
		if n, ok := strings.CutSuffix(s, unit[0]); ok {
			s = n + unit[1]
			break
		}
	}
	return time.ParseDuration(s)
}

// condition reads !ifenv and so on.
func (p *parser) condition(line string) (bool, error) {
	word, name, _ := strings.Cut(line, " ")
	switch word {
	case "!ifenv", "!ifnenv":
		_, set := os.LookupEnv(name)
		outer := p.skipping()
		p.skips = append(p.skips, skip{outer: outer, now: outer || set != (word == "!ifenv")})
		return true, nil
	case "!else", "!endif":
		if len(p.skips) == 0 {
			return true, fmt.Errorf("%s without !ifenv", word)
		}
		s := &p.skips[len(p.skips)-1]
		if word == "!endif" {
			p.skips = p.skips[:len(p.skips)-1]
			return true, nil
		}
		if s.elseSeen {
			return true, fmt.Errorf("a second !else")
		}
		s.elseSeen = true
		s.now = s.outer || !s.now
		return true, nil
	}
	return false, nil
}

// name is the script's, below dir.
func (s *script) name(dir string) string {
	if name, err := filepath.Rel(dir, s.path); err == nil {
		return name
	}
	return s.path
}
