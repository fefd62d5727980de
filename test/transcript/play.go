package transcript

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Player plays transcripts against one server.
type Player struct {
	// Dial opens a client's connection. mode is what [connect …] says, "" when a
	// client connects because it speaks.
	Dial func(client int, mode string) (net.Conn, error)
	// TLS is the client's configuration for [starttls].
	TLS *tls.Config
	// Do has the test's own directives by their first word; args is the rest.
	Do map[string]func(args string) error
	// Vars are values that are known at the start.
	Vars map[string]string
	// Timeout bounds the wait for each line, 5 s when 0.
	Timeout time.Duration
	// Update writes what the server says into the file instead of comparing. A
	// line that fits stays as it is, with its variables.
	Update bool
}

// Dir plays every file that pattern names as a test of its own, each with a new
// Player.
func Dir(t *testing.T, pattern string, player func(t *testing.T) *Player) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts at %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			player(t).Play(t, file)
		})
	}
}

// quiet is how long a server says nothing before Update, or the end of a
// transcript, takes it that it has said all.
const quiet = 150 * time.Millisecond

// maxLine bounds a line of the server.
const maxLine = 1 << 20

type client struct {
	conn net.Conn
	r    *bufio.Reader
	gone bool // the server has closed
}

type play struct {
	*Player
	file    string
	vars    map[string]string
	clients map[int]*client
	out     []string // the file as updated
}

// Play plays one transcript; the test fails at the first difference.
func (p *Player) Play(t testing.TB, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := parse(string(text))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	run := &play{Player: p, file: file, vars: maps.Clone(p.Vars), clients: map[int]*client{}}
	if run.vars == nil {
		run.vars = map[string]string{}
	}
	defer func() {
		for _, c := range run.clients {
			c.conn.Close()
		}
	}()
	if err := run.lines(lines); err != nil {
		t.Fatalf("%s:%v", file, err)
	}
	if p.Update {
		if err := os.WriteFile(file, []byte(strings.Join(run.out, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *play) lines(lines []line) error {
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		var err error
		switch l.kind {
		case prose:
			p.out = append(p.out, l.text)
			continue
		case directive:
			err = p.directive(l)
			p.out = append(p.out, l.text)
		case send, raw:
			n := 1
			for i+n < len(lines) && (lines[i+n].kind == send || lines[i+n].kind == raw) && lines[i+n].client == l.client {
				n++
			}
			err = p.send(lines[i : i+n])
			for _, o := range lines[i : i+n] {
				p.out = append(p.out, o.text)
			}
			i += n - 1
		case expect:
			if !p.Update {
				err = p.expect(l)
				break
			}
			end := i
			for end < len(lines) && (lines[end].kind == expect || lines[end].kind == prose) {
				end++
			}
			err = p.update(lines[i:end])
			i = end - 1
		}
		if err != nil {
			return fmt.Errorf("%d: %w", l.number, err)
		}
	}
	if p.Update {
		return nil
	}
	for n, c := range p.clients {
		if s, ok := c.more(quiet / 5); ok {
			return fmt.Errorf("%d: client %d was told more: %s", len(lines), n, show(s))
		}
	}
	return nil
}

func (p *play) timeout() time.Duration {
	if p.Timeout > 0 {
		return p.Timeout
	}
	return 30 * time.Second
}

func (p *play) client(n int) (*client, error) {
	if c := p.clients[n]; c != nil {
		return c, nil
	}
	return p.connect(n, "")
}

func (p *play) connect(n int, mode string) (*client, error) {
	if c := p.clients[n]; c != nil {
		c.conn.Close()
	}
	conn, err := p.Dial(n, mode)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, r: bufio.NewReader(conn)}
	p.clients[n] = c
	return c, nil
}

func (p *play) send(lines []line) error {
	c, err := p.client(lines[0].client)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, l := range lines {
		s, err := expand(l, p.vars)
		if err != nil {
			return err
		}
		b.WriteString(s)
	}
	c.conn.SetWriteDeadline(time.Now().Add(p.timeout()))
	_, err = io.WriteString(c.conn, b.String())
	return err
}

func (p *play) expect(l line) error {
	c, err := p.client(l.client)
	if err != nil {
		return err
	}
	got, err := c.line(p.timeout())
	if err != nil {
		return fmt.Errorf("want %q, got %q and %w", l.body, show(got), err)
	}
	ok, err := matches(l.body, show(got), p.vars)
	if err != nil {
		return err
	}
	if !ok {
		rest := []string{show(got)}
		for range 5 {
			s, ok := c.more(quiet)
			if !ok {
				break
			}
			rest = append(rest, show(s))
		}
		return fmt.Errorf("\n want %s\n got  %s", l.body, strings.Join(rest, "\n      "))
	}
	return nil
}

// update writes what the servers say in place of the S lines of block.
func (p *play) update(block []line) error {
	wanted := map[int][]line{}
	var order []int
	for _, l := range block {
		if l.kind != expect {
			continue
		}
		if _, err := p.client(l.client); err != nil {
			return err
		}
		if wanted[l.client] == nil {
			order = append(order, l.client)
		}
		wanted[l.client] = append(wanted[l.client], l)
	}
	for n := range p.clients {
		if !slices.Contains(order, n) {
			order = append(order, n)
		}
	}
	for _, n := range order {
		c := p.clients[n]
		for i, wait := 0, p.timeout(); ; i, wait = i+1, quiet {
			if wanted[n] == nil {
				wait = quiet
			}
			got, ok := c.more(wait)
			if !ok {
				break
			}
			if i < len(wanted[n]) {
				if ok, err := matches(wanted[n][i].body, show(got), p.vars); err != nil {
					return err
				} else if ok {
					p.out = append(p.out, wanted[n][i].text)
					continue
				}
			}
			name := "S"
			if n > 1 {
				name += fmt.Sprint(n)
			}
			p.out = append(p.out, strings.TrimSpace(name+": "+show(got)))
		}
	}
	for _, l := range block {
		if l.kind == prose {
			p.out = append(p.out, l.text)
		}
	}
	return nil
}

func (p *play) directive(l line) error {
	verb, args, _ := strings.Cut(l.body, " ")
	if do := p.Do[verb]; do != nil {
		return do(args)
	}
	if verb == "connect" {
		_, err := p.connect(l.client, args)
		return err
	}
	c, err := p.client(l.client)
	if err != nil {
		return err
	}
	switch verb {
	case "starttls":
		if n := c.r.Buffered(); n > 0 {
			return fmt.Errorf("the server sent %d bytes before TLS", n)
		}
		session := tls.Client(c.conn, p.TLS)
		c.conn.SetDeadline(time.Now().Add(p.timeout()))
		if err := session.Handshake(); err != nil {
			return err
		}
		c.conn, c.r = session, bufio.NewReader(session)
		return nil
	case "close":
		return c.conn.Close()
	case "closed":
		got, err := c.line(p.timeout())
		if err == nil || !c.gone {
			return fmt.Errorf("the server did not close; got %q (%v)", show(got), err)
		}
		return nil
	}
	return fmt.Errorf("the directive [%s] is not known", l.body)
}

// line reads one line with its end.
func (c *client) line(wait time.Duration) (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(wait))
	var b strings.Builder
	for b.Len() < maxLine {
		s, err := c.r.ReadSlice('\n')
		b.Write(s)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		var t net.Error
		if err != nil && !(errors.As(err, &t) && t.Timeout()) {
			c.gone = true
		}
		return b.String(), err
	}
	return b.String(), fmt.Errorf("a line of more than %d bytes", maxLine)
}

// more reads a line if one comes in time.
func (c *client) more(wait time.Duration) (string, bool) {
	if c.gone {
		return "", false
	}
	s, err := c.line(wait)
	return s, err == nil || s != ""
}
