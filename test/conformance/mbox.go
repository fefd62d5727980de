package conformance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Message is a message of an mbox file.
type Message struct {
	Date time.Time // of its From line
	Text []byte    // with CRLF
}

// Mailbox finds the messages of the script at path: those of path.mbox, or of the
// nearest default.mbox in its folder and those above, up to the folder root.
func Mailbox(root, path string) ([]Message, error) {
	file := path + ".mbox"
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(file); err == nil {
			break
		}
		file = filepath.Join(dir, "default.mbox")
		if _, err := os.Stat(file); err == nil || len(dir) <= len(filepath.Clean(root)) {
			break
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []Message
	for i, line := range bytes.SplitAfter(text, []byte("\n")) {
		line := strings.TrimRight(string(line), "\r\n")
		if date, ok := fromLine(line); ok {
			out = append(out, Message{Date: date})
			continue
		}
		if len(out) == 0 {
			if line == "" {
				continue
			}
			return nil, fmt.Errorf("%s:%d: no From line", file, i+1)
		}
		m := &out[len(out)-1]
		m.Text = append(append(m.Text, line...), '\r', '\n')
	}
	// What SplitAfter gives behind the last line end is no line.
	if n := len(out); n > 0 && bytes.HasSuffix(text, []byte("\n")) {
		out[n-1].Text = bytes.TrimSuffix(out[n-1].Text, []byte("\r\n"))
	}
	return out, nil
}

// fromLine reads "From someone Fri Feb 22 17:06:23 2008", maybe with a zone.
func fromLine(line string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(line, "From ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 6 {
		return time.Time{}, false
	}
	text := strings.Join(fields[1:], " ")
	for _, form := range []string{"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 2006 -0700"} {
		if date, err := time.Parse(form, text); err == nil {
			return date, true
		}
	}
	return time.Time{}, false
}
