package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// script is a script as it is read.
type script struct {
	path         string
	about        string
	capabilities []string
	connections  int
	messages     int // -1 is all of the mbox file
	nonauth      bool
	steps        []*step
}

// step is a command, or what the runner does.
type step struct {
	line     int
	conn     int    // from 1
	answer   string // ok, err, +, "" (either) or none
	verb     string // more, bytes, write, stls, close, connect, ended, deliver; "" sends text and CRLF
	text     string
	together bool // sent in one write with the step before

	begins string // of the answer's text
	lines  []line
	exact  bool
	body   []string // the whole listing; nil is none
	raw    bool     // body is as it is sent
	sleep  time.Duration
}

// line is a line of a listing.
type line struct {
	text string
	must bool
}

// verbs are the words with "!"; those that are true are answered.
var verbs = map[string]bool{"more": true, "bytes": true, "write": false, "stls": false, "close": false, "connect": false, "ended": false, "deliver": false}

// maxConnections bounds the connections of a script.
const maxConnections = 100

// read reads the script at path.
func read(path string) (*script, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &script{path: path, connections: 1, messages: -1}
	lines := strings.Split(string(text), "\n")
	header, together := true, 0 // together: 1 before, 2 after the first of them
	for i := 0; i < len(lines); i++ {
		text := lines[i]
		if text == "" {
			header, together = false, 0
			continue
		}
		if text[0] == '#' {
			if s.about == "" && header {
				s.about = strings.TrimSpace(text[1:])
			}
			continue
		}
		var err error
		switch {
		case header:
			err = s.setting(text)
		case text == "!together":
			together = 1
		case text == "{{{" || text == "raw{{{":
			body := []string{}
			for i++; i < len(lines) && lines[i] != "}}}"; i++ {
				body = append(body, lines[i])
			}
			if i == len(lines) || len(s.steps) == 0 {
				err = fmt.Errorf("a listing stands behind its command and ends with }}}")
				break
			}
			last := s.steps[len(s.steps)-1]
			last.body, last.raw = body, text[0] == 'r'
		default:
			err = s.step(i+1, text, &together)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
	}
	if len(s.steps) == 0 {
		return nil, fmt.Errorf("%s has no commands", path)
	}
	return s, nil
}

// setting reads a line of the header.
func (s *script) setting(text string) error {
	key, value, ok := strings.Cut(text, ":")
	if !ok {
		return fmt.Errorf("a line of the header is name: value")
	}
	value = strings.TrimSpace(value)
	var err error
	switch strings.ToLower(strings.TrimSpace(key)) {
	case "capabilities":
		s.capabilities = strings.Fields(value)
	case "connections":
		s.connections, err = strconv.Atoi(value)
		if err == nil && (s.connections < 1 || s.connections > maxConnections) {
			err = fmt.Errorf("not so many connections")
		}
	case "messages":
		if value != "all" {
			s.messages, err = strconv.Atoi(value)
		}
	case "state":
		s.nonauth = value == "nonauth"
		if !s.nonauth && value != "transaction" {
			err = fmt.Errorf("there is no state %s", value)
		}
	default:
		err = fmt.Errorf("there is no setting %s", key)
	}
	return err
}

// step reads a command, or what is expected of the one before.
func (s *script) step(number int, text string, together *int) error {
	if len(s.steps) > 0 {
		last := s.steps[len(s.steps)-1]
		mark, rest, _ := strings.Cut(text, " ")
		switch mark {
		case "=":
			last.begins = rest
			return nil
		case "*", "!":
			last.lines = append(last.lines, line{rest, mark == "*"})
			return nil
		case "!exact":
			last.exact = true
			return nil
		case "!sleep":
			d, err := time.ParseDuration(rest)
			last.sleep = d
			return err
		}
	}
	x := &step{line: number, conn: 1}
	if s.connections > 1 {
		first, rest, _ := strings.Cut(text, " ")
		n, err := strconv.Atoi(first)
		if err != nil || n < 1 || n > s.connections {
			return fmt.Errorf("the number of the connection is missing")
		}
		x.conn, text = n, rest
	}
	if first, rest, _ := strings.Cut(text, " "); slices.Contains([]string{"ok", "err", "+", `""`}, first) {
		x.answer, text = first, rest
	}
	if word, rest, _ := strings.Cut(text, " "); strings.HasPrefix(word, "!") {
		answered, known := verbs[word[1:]]
		if !known || answered != (x.answer != "") {
			return fmt.Errorf("not understood: %s", text)
		}
		x.verb, text = word[1:], rest
	} else if x.answer == "" {
		return fmt.Errorf("a command begins with ok, err, + or \"\"")
	}
	x.text = text
	if *together > 0 {
		if x.answer == "" || *together > 1 && s.steps[len(s.steps)-1].conn != x.conn {
			return fmt.Errorf("what is sent together are commands of one connection")
		}
		x.together = *together > 1
		*together = 2
	}
	s.steps = append(s.steps, x)
	return nil
}
