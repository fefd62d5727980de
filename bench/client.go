package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// conn is a client that is as light as can be: it looks for the end of an answer
// and reads past the rest.
type conn struct {
	net.Conn
	r        *bufio.Reader
	tag      int
	want     []byte
	bytes    int64 // of literals and of POP3 messages that were read
	received int64 // bytes in all
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received += int64(n)
	return n, err
}

func dial(addr string) *conn {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	check(err)
	return newConn(c)
}

// dialTLS is dial with a full TLS 1.3 handshake and the one key exchange that every
// peer has.
func dialTLS(addr string) *conn { return newConn(secure(dial(addr).Conn)) }

// dialFrom is dialTLS for one of very many: from a loopback address that some 20,000
// share, as one has no more ports, and with a small buffer.
func dialFrom(addr string, i int) *conn {
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/20_000))}}
	c, err := d.Dial("tcp4", addr)
	check(err)
	c.SetDeadline(time.Now().Add(30 * time.Minute))
	c = secure(c)
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 1<<10)}
}

func newConn(c net.Conn) *conn {
	c.SetDeadline(time.Now().Add(time.Hour))
	client := &conn{Conn: c}
	client.r = bufio.NewReaderSize(client, 64<<10)
	return client
}

func secure(c net.Conn) net.Conn {
	t := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}})
	check(t.Handshake())
	return t
}

// line reads a line, which is valid until the next.
func (c *conn) line() []byte {
	l, err := c.r.ReadSlice('\n')
	for err == bufio.ErrBufferFull { // only its end is of interest
		l, err = c.r.ReadSlice('\n')
	}
	check(err)
	return bytes.TrimRight(l, "\r\n")
}

// imap sends a command and reads up to its tagged answer, which must be OK. It
// counts the untagged answers' lines that begin with "* ".
func (c *conn) imap(format string, args ...any) (untagged int) {
	c.start(format, args...)
	return c.finish()
}

// start sends a command.
func (c *conn) start(format string, args ...any) {
	c.tag++
	c.want = append(c.want[:0], 't')
	c.want = strconv.AppendInt(c.want, int64(c.tag), 10)
	c.want = append(c.want, ' ')
	var b bytes.Buffer
	b.Write(c.want)
	fmt.Fprintf(&b, format, args...)
	b.WriteString("\r\n")
	_, err := c.Write(b.Bytes())
	check(err)
}

// finish reads the answers to what start sent.
func (c *conn) finish() (untagged int) {
	for {
		l := c.line()
		if bytes.HasPrefix(l, c.want) {
			if !bytes.HasPrefix(l[len(c.want):], []byte("OK")) {
				fail("%s", l)
			}
			return untagged
		}
		if bytes.HasPrefix(l, []byte("* ")) {
			untagged++
		}
		for len(l) > 2 && l[len(l)-1] == '}' { // a literal
			n, err := strconv.Atoi(string(l[bytes.LastIndexByte(l, '{')+1 : len(l)-1]))
			if err != nil {
				break
			}
			_, err = c.r.Discard(n)
			check(err)
			c.bytes += int64(n)
			l = c.line()
		}
	}
}

// login opens an IMAP session.
func login(p *peer, account int) *conn { return signIn(dial(p.imap), account) }

// loginTLS opens an IMAP session over TLS.
func loginTLS(p *peer, account int) *conn { return signIn(dialTLS(p.imaps), account) }

func signIn(c *conn, account int) *conn {
	c.line()
	c.imap("LOGIN %s %s", accountName(account), password)
	return c
}

// pop opens a POP3 session.
func pop(c *conn, account int) *conn {
	c.line()
	c.expect("USER "+accountName(account), "+OK")
	c.expect("PASS "+password, "+OK")
	return c
}

// message reads a POP3 message to its end.
func (c *conn) message() {
	end := []byte("\r\n.\r\n")
	if l := c.line(); !bytes.HasPrefix(l, []byte("+OK")) {
		fail("RETR answered %q", l)
	}
	for {
		_, err := c.r.Peek(len(end))
		check(err)
		have, err := c.r.Peek(c.r.Buffered())
		check(err)
		n := len(have) - len(end) + 1
		i := bytes.Index(have, end)
		if i >= 0 {
			n = i + len(end)
		}
		c.bytes += int64(n)
		_, err = c.r.Discard(n)
		check(err)
		if i >= 0 {
			return
		}
	}
}

// expect sends a line and reads one line that must begin with prefix.
func (c *conn) expect(line, prefix string) []byte {
	if line != "" {
		_, err := io.WriteString(c, line+"\r\n")
		check(err)
	}
	l := c.line()
	if !bytes.HasPrefix(l, []byte(prefix)) {
		fail("%q answered %q", line, l)
	}
	return l
}

// state sends a SELECT and gives UIDVALIDITY and HIGHESTMODSEQ.
func (c *conn) state(command string) (validity, modseq uint64) {
	c.start("%s", command)
	for {
		l := string(c.line())
		for name, n := range map[string]*uint64{"UIDVALIDITY": &validity, "HIGHESTMODSEQ": &modseq} {
			if _, after, ok := strings.Cut(l, "["+name+" "); ok {
				fmt.Sscan(strings.TrimRight(strings.Fields(after)[0], "]"), n)
			}
		}
		if strings.HasPrefix(l, string(c.want)) {
			return validity, modseq
		}
	}
}

// append puts a message into a mailbox, without waiting for the continuation.
func (c *conn) append(mailbox string, body []byte) {
	c.tag++
	head := fmt.Sprintf("t%d APPEND %s {%d}\r\n", c.tag, mailbox, len(body))
	_, err := io.WriteString(c, head)
	check(err)
	if l := c.line(); len(l) == 0 || l[0] != '+' {
		fail("APPEND answered %q", l)
	}
	_, err = (&net.Buffers{body, []byte("\r\n")}).WriteTo(c.Conn)
	check(err)
	c.want = fmt.Appendf(c.want[:0], "t%d ", c.tag)
	c.finish()
}

// deliver hands a message over by LMTP.
func (c *conn) deliver(account int, body []byte) {
	c.expect("MAIL FROM:<sender@bench.example>", "250")
	// Cyrus refuses for the moment who makes an INBOX while another does.
	for tries := 0; ; tries++ {
		answer := c.expect("RCPT TO:<"+accountName(account)+">", "")
		if bytes.HasPrefix(answer, []byte("2")) {
			break
		} else if !bytes.HasPrefix(answer, []byte("4")) || tries == 20 {
			fail("RCPT TO of account %d is answered %q", account, answer)
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.expect("DATA", "354")
	_, err := (&net.Buffers{body, []byte(".\r\n")}).WriteTo(c.Conn)
	check(err)
	c.expect("", "250")
}

// lmtp opens a delivery session.
func lmtp(p *peer) *conn {
	c := dial(p.lmtp)
	c.line()
	_, err := io.WriteString(c, "LHLO bench.example\r\n")
	check(err)
	for {
		if l := c.line(); len(l) < 4 || l[3] != '-' {
			return c
		}
	}
}
