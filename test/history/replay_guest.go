package history

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/test/imapview"
)

// guest is a session of the second account of which nothing is followed: it does what
// clients may do and what they may not, several commands at once, cut anywhere. Whatever
// it does, every command that came whole is answered once, the connection does not
// end without a word, and it learns of the first account only what that shares with it.
type guest struct {
	me, owner *account
	rng       *rand.Rand
	conn      net.Conn
	in        *bufio.Reader
	trace     *trace

	tags      int
	open      map[string]bool // tags that are not answered
	condition string          // of the last that was
	bye       bool

	tls, packed bool
}

// shared is the mailbox of the first account that the second may read.
const shared = "Open"

// others is the namespace of the mailboxes that belong to somebody else.
const others = "Other Users/"

// share makes it, with one message, on a server that has ACL.
func (h *History) share() error {
	if len(h.accounts) < 2 {
		return nil
	}
	owner, guest := h.accounts[0], h.accounts[1]
	rng := rand.New(rand.NewPCG(h.options.Seed, 0))
	x, err := owner.login(rng, "owner", &slot{caches: map[string]*cache{}})
	if err != nil {
		return err
	}
	defer x.conn.Close()
	if !x.can["ACL"] {
		return nil
	}
	_, message := h.compose(rng, owner, guest)
	for _, command := range []string{"CREATE " + shared, fmt.Sprintf("APPEND %s {%d+}\r\n%s", shared, len(message), message), fmt.Sprintf("SETACL %s %q lr", shared, guest.Name)} {
		if _, err := x.must(command); err != nil {
			return err
		}
	}
	return nil
}

func (h *History) guest(rng *rand.Rand) (*guest, error) {
	conn, err := h.dial(h.target.IMAP)
	if err != nil {
		return nil, err
	}
	t := &trace{Conn: conn}
	g := &guest{me: h.accounts[1], owner: h.accounts[0], rng: rng, conn: t, in: bufio.NewReaderSize(t, 64<<10), trace: t, open: map[string]bool{}}
	if _, err := imapview.ReadResponse(g.in); err != nil || rng.IntN(5) == 0 {
		return g, err
	}
	return g, g.send([]string{g.command("LOGIN %u %p")})
}

func (g *guest) rest() error { return nil }
func (g *guest) end()        { g.conn.Close() }

func (g *guest) fault(kind, format string, args ...any) {
	a := g.owner
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.faulty(kind, nil, "guest: %s", fmt.Sprintf(format, args...)); f != nil {
		f.History = append(f.History, g.trace.said...)
	}
}

// waits stands in a command where a client waits until the server asks for more.
const waits = '\x00'

// guestCommands are what a guest says. In them %u and %p are its name and password, %o the owner's name,
// %m is a mailbox, %s a set of messages, %i what FETCH fetches, %k what SEARCH looks for, %f flags,
// %t a message, and %n a number.
var guestCommands = []string{
	"LOGIN %u %p", "LOGIN %u wrong", "LOGIN %o wrong", "AUTHENTICATE PLAIN %a", "AUTHENTICATE PLAIN\r\n\x00%a", "AUTHENTICATE PLAIN\r\n\x00*", "AUTHENTICATE SCRAM-SHA-256 !", "UNAUTHENTICATE",
	"NOOP", "CHECK", "CAPABILITY", "NAMESPACE", "LANGUAGE", "LANGUAGE de", "ID (\"name\" \"guest\")", "COMPARATOR", "CONVERSIONS \"text/html\" \"text/plain\"", "GETJMAPACCESS",
	"ENABLE CONDSTORE", "ENABLE QRESYNC", "ENABLE UIDONLY", "ENABLE UTF8=ACCEPT", "ENABLE IMAP4rev2 METADATA",
	"SELECT %m", "SELECT %m", "SELECT %m", "SELECT %m", "EXAMINE %m", "SELECT %m (CONDSTORE)", "SELECT %m (QRESYNC (%n %n))", "SELECT %m (QRESYNC (%n %n %s (%s %s)))", "SELECT %m (ANNOTATE)", "UNSELECT", "CLOSE",
	"CREATE %m", "CREATE %m (USE (\\Archive))", "DELETE %m", "RENAME %m %m", "SUBSCRIBE %m", "UNSUBSCRIBE %m",
	`LIST "" *`, `LIST "" "Other Users/*"`, `LIST %m %m`, `LIST (SUBSCRIBED RECURSIVEMATCH) "" (* %) RETURN (CHILDREN SPECIAL-USE MYRIGHTS STATUS (MESSAGES UNSEEN SIZE))`, `LSUB "" *`, `LIST "" * RETURN (METADATA (/private/comment))`,
	"STATUS %m (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ SIZE DELETED MAILBOXID)", "STATUS %m (DELETED-STORAGE)",
	"SETACL %m %o lrswipkxtea", "SETACL %m anyone lr", "SETACL %m -%u r", "DELETEACL %m %o", "GETACL %m", "LISTRIGHTS %m %o", "MYRIGHTS %m",
	"GETQUOTA \"\"", "GETQUOTAROOT %m", "SETQUOTA \"#user/%o\" (STORAGE 1)", "GETQUOTA \"#user/%o\"",
	"SETMETADATA %m (/private/comment \"x\" /shared/comment {1}\r\n\x00y)", "GETMETADATA (DEPTH infinity MAXSIZE 5) %m (/private /shared)", "GETMETADATA %m /private/comment",
	"NOTIFY SET (SELECTED (MessageNew (UID FLAGS BODY.PEEK[]) MessageExpunge FlagChange)) (PERSONAL (MessageNew MessageExpunge MailboxName))",
	"NOTIFY SET STATUS (SELECTED-DELAYED (MessageNew MessageExpunge FlagChange AnnotationChange)) (SUBTREE (\"\" \"Other Users\") (MessageNew MessageExpunge FlagChange MailboxName MailboxMetadataChange))", "NOTIFY NONE",
	"NOTIFY SET (MAILBOXES (INBOX %m) (MessageNew MessageExpunge))",
	"APPEND %m %t", "APPEND %m (%f) %t", "APPEND %m \"17-Jul-1996 02:44:25 -0700\" %t", "APPEND %m %t %t", "APPEND %m CATENATE (URL \"/INBOX/;UID=1\" TEXT {1+}\r\nx)", "APPEND %m CATENATE (URL \"/Other%20Users/%o/INBOX/;UID=1\")", "APPEND %m UTF8 (~{3+}\r\n\xc3\xa9\n)",
	"RESETKEY %m", "GENURLAUTH \"imap://%u@localhost/INBOX/;UID=1;URLAUTH=anonymous\" INTERNAL", "URLFETCH \"imap://%o@localhost/INBOX/;UID=1;URLAUTH=anonymous:internal:00000000000000000000000000000000\"",
	"ESEARCH IN (mailboxes INBOX personal) RETURN (MIN COUNT ALL) %k", "ESEARCH IN (subtree \"\" subtree \"Other Users\") %k",
	"IDLE\r\n\x00DONE", "IDLE\r\n\x00x",
	"FETCH %s %i", "FETCH %s %i", "FETCH %s %i", "UID FETCH %s %i", "UID FETCH %s (FLAGS) (CHANGEDSINCE %n VANISHED)", "FETCH %s (FLAGS) (CHANGEDSINCE %n)", "FETCH %s (UID) (PARTIAL -1:-3)", "UID FETCH %s (UID) (PARTIAL 1:2)",
	"CONVERT %s (\"text/html\" (\"charset\" \"utf-8\")) BINARY[1]", "CONVERT %s (\"text/plain\") (BODY[1])",
	"SEARCH %k", "SEARCH %k %k", "SEARCH OR %k NOT (%k %k)", "SEARCH CHARSET UTF-8 TEXT {2}\r\n\x00\xc3\xa9", "UID SEARCH RETURN (SAVE) %k", "SEARCH RETURN (MIN MAX ALL COUNT PARTIAL 1:3) %k", "UID SEARCH RETURN (UPDATE CONTEXT) %k", "CANCELUPDATE \"g%n\"", "SEARCH RETURN (RELEVANCY ALL) FUZZY (SUBJECT a)",
	"SORT (REVERSE DATE SUBJECT SIZE) UTF-8 %k", "UID SORT RETURN (PARTIAL 1:2 UPDATE) (FROM) US-ASCII %k", "THREAD REFERENCES UTF-8 %k", "UID THREAD ORDEREDSUBJECT UTF-8 %k", "UIDBATCHES %n", "UIDBATCHES 500 1:3",
	"STORE %s FLAGS (%f)", "STORE %s +FLAGS.SILENT (%f)", "UID STORE %s -FLAGS (%f)", "STORE %s (UNCHANGEDSINCE %n) +FLAGS (%f)", "STORE %s +FLAGS (\\Deleted)", "STORE %s ANNOTATION (/comment (value.priv \"x\" value.shared {1}\r\n\x00y))", "UID STORE %s ANNOTATION (/comment (value.priv NIL))",
	"COPY %s %m", "UID COPY %s %m", "MOVE %s %m", "UID MOVE %s %m", "REPLACE %n %m %t", "UID REPLACE %n %m (%f) %t", "EXPUNGE", "UID EXPUNGE %s",
	"LOGOUT", "X", "FETCH", "UID", "UID NOOP", "SELECT", "(", "FETCH 1 (FLAGS", "APPEND", "SEARCH (((((((((((ALL", "LIST", "STARTTLS x", "COMPRESS X",
}

var guestWords = map[byte][]string{
	'm': {"INBOX", "INBOX", "INBOX", "A", "A", "V1", "V1/V2", `"&AOk-"`, `"&"`, `"Other Users/%o/Open"`, `"Other Users/%o/Open"`, `"Other Users/%o/INBOX"`, `"Other Users/%o/A"`, `"Other Users/%o"`, `"Other Users"`, `"Shared/%o"`, `""`, `"*"`, "{2}\r\n\x00V1", "{5+}\r\nINBOX", `"../x"`, `"a\\b"`, "Trash"},
	's': {"1", "1:*", "*", "2,1", "1:2", "4294967295", "$", "3:1", "*:1", "0", "4294967296"},
	'i': {"FLAGS", "ALL", "(UID FLAGS MODSEQ)", "(ENVELOPE BODYSTRUCTURE)", "(BODY.PEEK[])", "BODY[]", "(BODY[HEADER.FIELDS (SUBJECT)]<0.10> RFC822.SIZE)", "(BINARY[1] BINARY.SIZE[1])", "(EMAILID THREADID SAVEDATE)", "(PREVIEW (LAZY))", "(ANNOTATION (/comment value))", "BODY[1.MIME]", "(RFC822.HEADER INTERNALDATE BODY.PEEK[TEXT]<5.1000000>)"},
	'k': {"ALL", "UNSEEN", "1:*", "UID 1:3", "TEXT history", "SUBJECT h", "HEADER X-History h", "BODY line", "LARGER 10", "SINCE 1-Jan-2020", "MODSEQ 1", "KEYWORD a", "$", "YOUNGER 100", "NOT DELETED", "EMAILID M1", "ANNOTATION /comment value \"x\"", "FROM {1+}\r\nh"},
	'f': {`\Seen`, `\Deleted`, `\Flagged a`, "a b c", `\Recent`, "", "$Forwarded"},
	'n': {"0", "1", "2", "3", "1000000", "4294967295", "9223372036854775807"},
	't': {"{11}\r\n\x00Subject: x\n", "{14+}\r\nSubject: y\r\n\r\n", "{0+}\r\n", "~{3+}\r\na\x01b", "{1}\r\n\x00z", "{3+}\r\n\x80\xff\r"},
}

// command puts random words into one.
func (g *guest) command(row string) string {
	var b strings.Builder
	for i := 0; i < len(row); i++ {
		if row[i] != '%' || i+1 == len(row) {
			b.WriteByte(row[i])
			continue
		}
		switch c := row[i+1]; c {
		case 'u':
			b.WriteString(g.me.Name)
		case 'p':
			b.WriteString(g.me.Password)
		case 'o':
			b.WriteString(g.owner.Name)
		case 'a':
			b.WriteString(base64.StdEncoding.EncodeToString([]byte("\x00" + g.me.Name + "\x00" + g.me.Password)))
		default:
			words := guestWords[c]
			if words == nil { // a % of LIST or of an URL
				b.WriteByte('%')
				continue
			}
			b.WriteString(g.command(words[g.rng.IntN(len(words))]))
		}
		i++
	}
	return b.String()
}

// odd is a command that is none, or nearly one.
func (g *guest) odd() string {
	const letters = `aA1 ()[]<>"\*%:,.+-~$&/=` + "\t\x01\x7f\x80\xc3\xff"
	if g.rng.IntN(2) == 0 {
		b := make([]byte, g.rng.IntN(30))
		for i := range b {
			b[i] = letters[g.rng.IntN(len(letters))]
		}
		return string(b)
	}
	command := g.command(guestCommands[g.rng.IntN(len(guestCommands))])
	if strings.ContainsAny(command, "{\r\x00") { // its end would be another one
		return "X"
	}
	b, i := []byte(command), g.rng.IntN(len(command))
	if g.rng.IntN(2) == 0 {
		return string(append(b[:i], b[i+1:]...))
	}
	b[i] = letters[g.rng.IntN(len(letters))]
	return string(b)
}

func (g *guest) act() error {
	switch g.rng.IntN(32) {
	case 0: // the line breaks in the middle of a command
		command := "g " + strings.ReplaceAll(g.command(guestCommands[g.rng.IntN(len(guestCommands))]), string(waits), "")
		if err := cut(g.conn, g.rng, command[:g.rng.IntN(len(command))]); err != nil {
			return err
		}
		return errEnd
	case 1:
		if g.tls || g.packed {
			return nil
		}
		if err := g.send([]string{"STARTTLS"}); err != nil || g.condition != "OK" {
			return err
		}
		g.tls = true
		return upgrade(g.trace, g.in)
	case 2:
		if g.packed {
			return nil
		}
		if err := g.send([]string{"COMPRESS DEFLATE"}); err != nil || g.condition != "OK" {
			return err
		}
		g.packed = true
		if g.in.Buffered() > 0 {
			return errors.New("something stands behind the answer to COMPRESS")
		}
		w, _ := flate.NewWriter(g.trace.Conn, flate.BestSpeed)
		g.trace.Conn = &packed{g.trace.Conn, flate.NewReader(bufio.NewReader(g.trace.Conn)), w}
		return nil
	}
	var commands []string
	for range 1 + g.rng.IntN(4) {
		command := g.command(guestCommands[g.rng.IntN(len(guestCommands))])
		if g.rng.IntN(8) == 0 {
			command = g.odd()
		}
		if g.packed && strings.EqualFold(command, "UNAUTHENTICATE") { // which ends the compression
			continue
		}
		commands = append(commands, command)
		if strings.EqualFold(command, "LOGOUT") {
			break
		}
	}
	return g.send(commands)
}

// packed is a connection that is compressed.
type packed struct {
	net.Conn
	r io.Reader
	w *flate.Writer
}

func (p *packed) Read(b []byte) (int, error) { return p.r.Read(b) }
func (p *packed) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if err == nil {
		err = p.w.Flush()
	}
	return n, err
}

// send sends commands at once, as far as they need not wait, and reads all answers.
func (g *guest) send(commands []string) error {
	out := ""
	for _, command := range commands {
		g.owner.h.counts.commands.Add(1)
		g.tags++
		tag := "g" + strconv.Itoa(g.tags)
		g.open[tag] = true
		out += tag + " "
		for rest, more := command, true; more; {
			var part string
			part, rest, more = strings.Cut(rest, string(waits))
			out += part
			if !more {
				break
			}
			g.write(out)
			out = ""
			if err := g.hear(tag, true); err != nil {
				return err
			}
			if !g.open[tag] { // refused before
				break
			}
		}
		if g.open[tag] {
			out += "\r\n"
		}
	}
	g.write(out)
	return g.hear("", false)
}

// write writes text. Where the server has closed the connection meanwhile, what it said
// before is there to be read.
func (g *guest) write(text string) { _ = cut(g.conn, g.rng, text) }

// hear reads until tag is answered, of "" until all are, or until the server asks for
// more, which only fits with more set.
func (g *guest) hear(tag string, more bool) error {
	for tag != "" && g.open[tag] || tag == "" && len(g.open) > 0 || g.bye {
		line, err := imapview.ReadResponse(g.in)
		if err != nil {
			return g.gone(err)
		}
		if err := g.permitted(line); err != nil {
			return err
		}
		switch {
		case line[0] == '+':
			if !more {
				return fmt.Errorf("%q, and nothing waits", line)
			}
			return nil
		case bytes.HasPrefix(line, []byte("* BYE ")):
			if g.bye = true; len(line) < len("* BYE x") {
				return errors.New("BYE without a reason")
			}
		case bytes.HasPrefix(line, []byte("* ")):
		default:
			answered, rest, _ := strings.Cut(string(line), " ")
			if !g.open[answered] {
				return fmt.Errorf("%.100q answers nothing that is open", line)
			}
			delete(g.open, answered)
			if g.condition, _, _ = strings.Cut(rest, " "); g.condition != "OK" && g.condition != "NO" && g.condition != "BAD" {
				return fmt.Errorf("%.100q is no answer", line)
			}
		}
	}
	return nil
}

// gone says whether the connection may have ended.
func (g *guest) gone(err error) error {
	switch {
	case !broken(err):
		return fmt.Errorf("%d commands are not answered: %w", len(g.open), err)
	case !g.bye:
		return errors.New("the connection ended without a word")
	}
	return errEnd
}

// permitted says when a response tells what is the first account's alone.
func (g *guest) permitted(line []byte) error {
	if bytes.Contains(line, []byte(private)) {
		return fmt.Errorf("%.200q is not the guest's", line)
	}
	sign := fmt.Appendf(nil, "h%d-", g.me.h.options.Seed)
	for rest := line; ; {
		i := bytes.Index(rest, sign)
		if i < 0 {
			return nil
		}
		rest = rest[i:]
		end := len(sign)
		for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
			end++
		}
		id := string(rest[:end])
		// As Message-ID it stands in messages that answer it, too.
		if rest = rest[end:]; len(rest) > 0 && rest[0] == '@' {
			continue
		}
		g.me.mu.Lock()
		_, known := g.me.texts[id]
		g.me.mu.Unlock()
		if !known {
			return fmt.Errorf("%.200q tells of message %s, which is not the guest's", line, id)
		}
	}
}
