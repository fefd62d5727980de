package shell

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-mail/postern/manage"
)

// maxHistory bounds the lines that are kept.
const maxHistory = 1000

// history keeps the lines that were typed, in a file that only its owner reads.
// A line with a secret in it is not kept at all.
type history struct {
	path  string
	lines []string
	// secret tells whether a line may hold a secret.
	secret func(line string) bool
}

// openHistory reads what is there; a file that cannot be read is as an empty one.
func openHistory(path string, secret func(string) bool) *history {
	h := &history{path: path, secret: secret}
	f, err := os.Open(path)
	if err != nil {
		return h
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		h.add(lines.Text())
	}
	return h
}

func (h *history) add(line string) {
	h.lines = append(h.lines, line)
	if len(h.lines) > maxHistory {
		h.lines = h.lines[len(h.lines)-maxHistory:]
	}
}

// Write keeps a line; it implements the line editor's interface, as the others do.
func (h *history) Write(line string) (int, error) {
	line = strings.TrimSpace(line)
	if line == "" || strings.ContainsAny(line, "\n\r") || h.secret(line) || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return len(h.lines), nil
	}
	h.add(line)
	return len(h.lines), nil
}

// GetLine gives a line by its number from 0.
func (h *history) GetLine(i int) (string, error) {
	if i < 0 || i >= len(h.lines) {
		return "", errors.New("no such line")
	}
	return h.lines[i], nil
}

// Len tells how many lines there are.
func (h *history) Len() int { return len(h.lines) }

// Dump gives all lines.
func (h *history) Dump() any { return h.lines }

// save writes the file anew, so that it is whole or the old one.
func (h *history) save() error {
	if h.path == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(h.path), ".history-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(h.lines, "\n") + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return err
	}
	return os.Rename(f.Name(), h.path)
}

// holdsSecret tells whether a line gives, or may give, a secret parameter: one
// that cannot be understood may.
func (s *session) holdsSecret(line string) bool {
	lines, err := parse(line)
	if err != nil {
		return strings.Contains(strings.ToLower(line), "-p")
	}
	for _, p := range lines {
		for _, c := range p {
			for _, t := range c.args {
				if t.parameter != "" && s.mayBeSecret(c.name, t.parameter) {
					return true
				}
			}
		}
	}
	return false
}

func (s *session) mayBeSecret(cmdlet, parameter string) bool {
	for _, c := range s.cmdlets {
		if !strings.EqualFold(c.Name, cmdlet) {
			continue
		}
		p, err := parameterNamed(c.Name, c.Parameters, parameter)
		return err == nil && p.Type == manage.TypeSecret
	}
	return len(parameter) <= len("Password") && strings.EqualFold("Password"[:len(parameter)], parameter)
}
