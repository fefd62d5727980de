package hostile

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/test/server"
)

// hours tells that this is the long form: as many as the promise says, for as long as the
// time-outs are, where the short form shows it with fewer in seconds.
var hours = os.Getenv("POSTERN_HOSTILE") == "long"

// sized gives the figure of the form.
func sized(short, long int) int {
	if hours {
		return long
	}
	return short
}

// place is where a client begins TLS with a service.
type place struct {
	service string // "IMAP4", "POP3", "LMTP", "Console"
	address string
	clear   bool   // the service greets in the clear, and begin begins TLS
	hello   string // a command before that
	begin   string
	agreed  string // how the answer to begin begins
	greets  string // how the greeting begins; "" of a service that does not speak first
	command string // one that is answered without a login, under TLS
	answer  string // how its answer begins
	alpn    string // the protocol's name in TLS
}

func (p place) String() string {
	if p.clear {
		return p.service + " " + p.begin[strings.LastIndexByte(p.begin, ' ')+1:]
	}
	return p.service + " SSL"
}

// placesOf lists all places of a server.
func placesOf(t *testing.T, s *server.Server) []place {
	t.Helper()
	console, err := url.Parse(s.Console)
	if err != nil || console.Host == "" {
		t.Fatalf("the console is at %q: %v", s.Console, err)
	}
	imap := place{service: "IMAP4", address: s.IMAP, clear: true, begin: "s1 STARTTLS", agreed: "s1 OK", greets: "* OK", command: "n1 NOOP", answer: "n1 OK", alpn: "imap"}
	pop := place{service: "POP3", address: s.POP3, clear: true, begin: "STLS", agreed: "+OK", greets: "+OK", command: "AUTH", answer: "+OK", alpn: "pop3"}
	lmtp := place{service: "LMTP", address: s.LMTP, clear: true, hello: "LHLO test", begin: "STARTTLS", agreed: "220", greets: "220", command: "NOOP", answer: "250", alpn: "lmtp"}
	imaps, pops := imap, pop
	imaps.clear, imaps.address = false, s.IMAPS
	pops.clear, pops.address = false, s.POP3S
	return []place{imap, imaps, pop, pops, lmtp, {
		service: "Console", address: console.Host, command: "GET /healthz HTTP/1.1\r\nHost: localhost\r\n", answer: "HTTP/1.1 200", alpn: "http/1.1",
	}}
}

// placeOf gives one place: "IMAP4 STARTTLS", "POP3 SSL".
func placeOf(t *testing.T, s *server.Server, name string) place {
	t.Helper()
	for _, p := range placesOf(t, s) {
		if p.String() == name {
			return p
		}
	}
	t.Fatalf("there is no place %q", name)
	return place{}
}

// mailPlaces are those of mail protocols.
func mailPlaces(t *testing.T, s *server.Server) []place {
	return slices.DeleteFunc(placesOf(t, s), func(p place) bool { return p.service == "Console" })
}

// line reads a line, without its CRLF and no byte further.
func line(c net.Conn) (string, error) {
	var l []byte
	for b := make([]byte, 1); ; {
		if _, err := c.Read(b); err != nil {
			return string(l), err
		}
		if b[0] == '\n' {
			return strings.TrimSuffix(string(l), "\r"), nil
		}
		l = append(l, b[0])
	}
}

// say sends a line, unless it is empty, and reads up to the line with which the answer ends.
func say(c net.Conn, command, answer string) error {
	if command != "" {
		if _, err := c.Write([]byte(command + "\r\n")); err != nil {
			return err
		}
	}
	for {
		l, err := line(c)
		switch {
		case err != nil:
			return fmt.Errorf("%.40q: %.80q, %w", command, l, err)
		case strings.HasPrefix(l, answer):
			return nil
		case len(l) < 4 || l[3] != '-' && l[0] != '*':
			return fmt.Errorf("%.40q was answered %.80q, not %q", command, l, answer)
		}
	}
}

// dial connects, as far as the client's first byte of TLS.
func (p place) dial() (net.Conn, error) {
	c, err := p.greeted()
	if err != nil || !p.clear {
		return c, err
	}
	return c, closing(c, say(c, p.begin, p.agreed))
}

// greeted connects; where the service begins in the clear, as far as the command that
// begins TLS.
func (p place) greeted() (net.Conn, error) {
	c, err := net.DialTimeout("tcp", p.address, patience)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	if p.clear {
		err = say(c, "", p.greets)
		if err == nil && p.hello != "" {
			err = say(c, p.hello, "250 ")
		}
	}
	return c, closing(c, err)
}

// closing closes c where there is an error, and gives it.
func closing(c net.Conn, err error) error {
	if err != nil {
		c.Close()
	}
	return err
}

// open connects and begins TLS; what the service says first was read.
func (p place) open(config *tls.Config) (*tls.Conn, error) {
	c, err := p.dial()
	if err != nil {
		return nil, err
	}
	session := tls.Client(c, config)
	err = session.Handshake()
	if err == nil && !p.clear && p.greets != "" {
		err = say(session, "", p.greets)
	}
	return session, closing(c, err)
}

// talk does a whole session: TLS, and a command that is answered, behind which all tickets
// have come.
func (p place) talk(config *tls.Config) (state tls.ConnectionState, err error) {
	c, err := p.open(config)
	if err != nil {
		return state, err
	}
	defer c.Close()
	if err := say(c, p.command, p.answer); err != nil {
		return state, err
	}
	return c.ConnectionState(), nil
}

// anyone is a client's configuration that trusts everybody.
func anyone() *tls.Config { return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"} }

// said reads to the connection's end. It is an error when the server does not end it.
func said(c net.Conn) ([]byte, error) {
	var all bytes.Buffer
	_, err := all.ReadFrom(c)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		return all.Bytes(), fmt.Errorf("the server keeps the connection open; it said %.200q", all.Bytes())
	}
	return all.Bytes(), nil // a reset is an end, too
}

// ended is said with less patience: for what is to be ended at once. errLate says that it was not.
func ended(c net.Conn, within time.Duration) ([]byte, error) {
	c.SetReadDeadline(time.Now().Add(within))
	text, err := said(c)
	if err != nil && within < patience {
		err = fmt.Errorf("%w: %w", errLate, err)
	}
	return text, err
}

var errLate = errors.New("not at once")

// commandsOf gives the names of a protocol's commands, out of its table.
func commandsOf(t *testing.T, table string) []string {
	t.Helper()
	text, err := os.ReadFile(server.Root() + "/" + table)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\t\{(?:name: )?"([A-Z0-9]+)", `).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	if len(names) < 8 {
		t.Fatalf("%s: where are the commands? %q", table, names)
	}
	return names
}

// together does work for each of a list, some at a time, and reports what failed, ten
// faults at most. What is late is tried three times: what happens elsewhere in the machine does not
// happen so often.
func together[T any](t *testing.T, atOnce int, list []T, work func(T) error) {
	t.Helper()
	queue := make(chan T)
	faults := make(chan string, len(list))
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for one := range queue {
				err := work(one)
				for try := 0; try < 2 && errors.Is(err, errLate); try++ {
					err = work(one)
				}
				if err != nil {
					faults <- fmt.Sprintf("%v: %v", one, err)
				}
			}
		})
	}
	for _, one := range list {
		queue <- one
	}
	close(queue)
	wg.Wait()
	close(faults)
	n := 0
	for fault := range faults {
		if n++; n <= 10 {
			t.Error(fault)
		}
	}
	if n > 10 {
		t.Errorf("and %d more of %d", n-10, len(list))
	}
}

// unharmed proves that no session ended by a fault of the server's own, and that it serves.
func unharmed(t *testing.T, s *server.Server) {
	t.Helper()
	if strings.Contains(s.Output(), event.Panicked.Text) {
		t.Error("a session ended by a fault of the server")
	}
	healthy(t, s)
}
