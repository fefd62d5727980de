package isolation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// sharers is how many people TestShared has.
const sharers = 9

// sharer is somebody who shares a mailbox. Besides the canary, which is in all that is not
// shared and in its own keywords, it has words for what needs a right.
type sharer struct {
	person
	label string // what needs l: its own name, the mailbox's
	words string // what needs r: all that is in the mailbox
	later string // what came into it when some had lost their rights
	box   string // the mailbox, for its guests
}

var markers = regexp.MustCompile(`(canary|label|words|later)[0-9]{2}[0-9a-f]{8}`)

// given are the rights that the guests get, by how far behind the owner they stand; those
// behind them get none.
var given = []struct {
	acl      []string // arguments of SETACL behind the mailbox, %s for the guest
	l, r, wi bool     // what it comes to
	lost     bool     // they are taken away in the end
}{
	{}, // the owner
	{acl: []string{"%s lrs"}, l: true, r: true},
	{acl: []string{"%s lrswite"}, l: true, r: true, wi: true},
	{acl: []string{"%s l"}, l: true},
	{acl: []string{"%s lrs"}, l: true, r: true, lost: true},
	{acl: []string{"%s lr", "-%s r"}, l: true},
}

// behind tells how far p is behind owner.
func (p *sharer) behind(owner *sharer) int { return (p.n - owner.n + sharers) % sharers }

// may lists the markers that p may hear.
func (p *sharer) may(all []*sharer) map[string]bool {
	words := map[string]bool{p.canary: true, p.label: true, p.words: true, p.later: true}
	for _, other := range all {
		if d := p.behind(other); d > 0 && d < len(given) {
			words[other.label] = words[other.label] || given[d].l
			words[other.words] = given[d].r
			words[other.later] = given[d].r && !given[d].lost
		}
		// Those to whom it gave rights stand in its own ACL.
		if d := other.behind(p); d > 0 && d < len(given) {
			words[other.label] = true
		}
	}
	return words
}

// wrong gives the first marker that a client heard and its user may not hear, and whether it
// heard any.
func (p *sharer) wrong(all []*sharer, clients ...*client) (found string, any bool) {
	may := p.may(all)
	for _, c := range clients {
		for _, word := range markers.FindAllString(c.heard.String(), -1) {
			if any = true; !may[word] {
				return word, true
			}
		}
	}
	return "", any
}

// TestShared: nine people share a mailbox each, with some of the others and with different
// rights, and do at the same time whatever can be done to all of them. Nobody hears in answers,
// in what is pushed, in flags, annotations, sorts or searches what needs a right that he lacks;
// nobody hears of keywords that are another's, or of anything that is not shared; what was
// taken away is heard of no more.
func TestShared(t *testing.T) {
	h := newHouse(t)
	var all []*sharer
	for n := range sharers {
		id := fmt.Sprintf("%02d%08x", n, rand.Uint32())
		p := &sharer{person: person{n: n, canary: "canary" + id, letters: 2}, label: "label" + id, words: "words" + id, later: "later" + id}
		p.name, p.password = p.label+"@isolation.example", "password of "+p.canary
		p.box = fmt.Sprintf("Other Users/%s/%s-box", p.name, p.label)
		if err := h.enter(context.Background(), &p.person); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	each := func(what string, work func(p *sharer) error) {
		t.Helper()
		var wait sync.WaitGroup
		for _, p := range all {
			wait.Go(func() {
				if err := work(p); err != nil {
					t.Errorf("%s, person %d: %v", what, p.n, err)
				}
			})
		}
		if wait.Wait(); t.Failed() {
			t.FailNow()
		}
	}
	each("furnish", func(p *sharer) error { return h.furnish(&p.person) })
	each("share", func(p *sharer) error { return h.share(p, all) })

	// Everybody listens at every mailbox that opens, and at an own one.
	listeners := make([][]*client, sharers)
	each("listen", func(p *sharer) (err error) {
		listeners[p.n], err = h.listen(p, all)
		return err
	})
	each("explore", func(p *sharer) error { return errors.Join(h.visit(p, all), h.busy(p, p.words)) })
	each("guess", func(p *sharer) error { return h.guessShared(p, all) })
	each("POP3", func(p *sharer) error {
		c, err := dial(h.pop)
		if err != nil {
			return err
		}
		defer c.conn.Close()
		for _, say := range []string{"USER " + p.name, "PASS " + p.password} {
			if _, err := c.ask("+OK", "%s", say); err != nil {
				return err
			}
		}
		for n := range 6 {
			if line, err := c.ask("", "RETR %d", n+1); err == nil && strings.HasPrefix(line, "+OK") {
				_, err = c.multi()
				if err != nil {
					return err
				}
			}
		}
		if found, any := p.wrong(all, c); found != "" || !any {
			return fmt.Errorf("heard %q, any %v", found, any)
		}
		return nil
	})

	// Rights are lost, and something comes afterwards.
	each("take away", func(p *sharer) error {
		c, err := h.login(&p.person)
		if err != nil {
			return err
		}
		defer c.conn.Close()
		for _, guest := range all {
			if d := guest.behind(p); d > 0 && d < len(given) && given[d].lost {
				if _, err := c.must(fmt.Sprintf("DELETEACL %s-box %s", p.label, guest.name)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	each("later", func(p *sharer) error { return h.busy(p, p.later) })
	each("explore later", func(p *sharer) error { return h.visit(p, all) })
	each("end", func(p *sharer) error {
		told := 0
		for _, c := range listeners[p.n] {
			fmt.Fprintf(c.conn, "DONE\r\n")
			for { // to the tagged answer, or the end of a session that lost its mailbox
				line, err := c.line()
				if err != nil || strings.HasPrefix(line, "idle ") {
					break
				}
			}
			if _, pushed, _ := strings.Cut(c.heard.String(), "\r\n+ "); strings.Contains(pushed, " EXISTS\r\n") {
				told++
			}
			c.conn.Close()
		}
		if found, _ := p.wrong(all, listeners[p.n]...); found != "" {
			return fmt.Errorf("a listener heard %s", found)
		}
		if told == 0 {
			return errors.New("no listener heard anything")
		}
		return nil
	})
}

// letterOf is a letter of p.person in which another word stands instead of the canary.
func (p *sharer) letterOf(word string, i int) string {
	return strings.ReplaceAll(p.letter(i), p.canary, word)
}

// share makes the mailbox, with what is in it, and gives the rights.
func (h *house) share(p *sharer, all []*sharer) error {
	c, err := h.login(&p.person)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	box := p.label + "-box"
	commands := []string{
		"CREATE " + box, "CREATE " + box + "/" + p.canary + "-below",
		"APPEND " + box + " (\\Flagged " + p.canary + "-keyword) {}", "APPEND " + box + " (\\Seen) {}", "APPEND " + box + "/" + p.canary + "-below {}",
		fmt.Sprintf("SETMETADATA %s (/shared/comment %q /private/comment %q)", box, p.words, p.canary),
		fmt.Sprintf("SETMETADATA %s-folder (/shared/comment %q /private/comment %q)", p.canary, p.canary, p.canary),
		fmt.Sprintf("SETMETADATA \"\" (/private/comment %q)", p.canary),
	}
	for _, guest := range all {
		if d := guest.behind(p); d > 0 && d < len(given) {
			for _, acl := range given[d].acl {
				commands = append(commands, "SETACL "+box+" "+fmt.Sprintf(acl, guest.name))
			}
		}
	}
	for i, command := range append(commands, "GETACL "+box) {
		word := p.words
		if strings.Contains(command, "-below {}") {
			word = p.canary
		}
		if _, err := c.must(command, p.letterOf(word, i)); err != nil {
			return err
		}
	}
	return nil
}

// listen idles in each mailbox that somebody shares, as far as it opens, and in an own one.
func (h *house) listen(p *sharer, all []*sharer) (clients []*client, err error) {
	for _, owner := range all {
		box := owner.box
		if owner == p {
			box = p.label + "-box"
		}
		c, err := h.login(&p.person)
		if err != nil {
			return nil, err
		}
		untagged, err := c.must("CAPABILITY")
		if err != nil {
			return nil, err
		}
		if strings.Contains(strings.Join(untagged, " "), " NOTIFY") {
			// Whatever can be told.
			if _, _, err := c.imap(`NOTIFY SET STATUS (SELECTED (MessageNew (ENVELOPE BODY.PEEK[] FLAGS) MessageExpunge FlagChange)) ` +
				`(SUBTREE ("Other Users" "") (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))`); err != nil {
				return nil, err
			}
		}
		_, answer, err := c.imap(fmt.Sprintf("SELECT %q", box))
		if err != nil {
			return nil, err
		}
		d := p.behind(owner)
		if opens := owner == p || d < len(given) && given[d].r; opens != strings.HasPrefix(answer, "OK") {
			return nil, fmt.Errorf("SELECT of the mailbox of person %d: %s", owner.n, answer)
		} else if opens {
			// A search that goes on (RFC 5267).
			if _, err := c.must("SEARCH RETURN (UPDATE ALL) TEXT " + owner.words); err != nil {
				return nil, err
			}
		}
		if _, err := c.ask("+", "idle IDLE"); err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

// busy changes the shared mailbox, and others, while people listen. What it makes below the
// shared mailbox has its rights from there, so its name is for who has l (RFC 4314, 4).
func (h *house) busy(p *sharer, word string) error {
	c, err := h.login(&p.person)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	box := p.label + "-box"
	for i, command := range []string{
		"APPEND " + box + " {}", "SELECT " + box, "STORE 1:* +FLAGS (\\Answered " + p.canary + "-other)", "STORE 1:* -FLAGS (" + p.canary + "-other)",
		fmt.Sprintf("SETMETADATA %s (/shared/comment %q /private/comment %q)", box, word, p.canary),
		"CREATE " + p.canary + "-new", "RENAME " + p.canary + "-new " + p.canary + "-newer", "APPEND " + p.canary + "-newer {}", "DELETE " + p.canary + "-newer",
		"CREATE " + box + "/" + p.label + "-new", "DELETE " + box + "/" + p.label + "-new", "APPEND " + box + " (\\Deleted) {}", "EXPUNGE",
	} {
		in := word
		if strings.Contains(command, "-newer {}") {
			in = p.canary
		}
		// A guest may have expunged something meanwhile.
		_, answer, err := c.imap(command, p.letterOf(in, 10+i))
		if err != nil || !strings.HasPrefix(answer, "OK") && !strings.HasPrefix(answer, "NO [EXPUNGEISSUED]") {
			return fmt.Errorf("%s: %s, %w", command, answer, err)
		}
	}
	return nil
}

// visit does to every mailbox that somebody shares all that a guest can do, the same whether
// there are rights or not.
func (h *house) visit(p *sharer, all []*sharer) error {
	clients := []*client{}
	for _, owner := range all {
		if owner == p {
			continue
		}
		c, err := h.login(&p.person)
		if err != nil {
			return err
		}
		defer c.conn.Close()
		clients = append(clients, c)
		d := p.behind(owner)
		commands := []string{
			"ENABLE CONDSTORE",
			"NAMESPACE", `LIST "" * RETURN (MYRIGHTS SPECIAL-USE SUBSCRIBED STATUS (MESSAGES SIZE UIDNEXT MAILBOXID HIGHESTMODSEQ))`, `LSUB "" *`, `LIST "Other Users/" %/%`,
			`LIST (RECURSIVEMATCH SUBSCRIBED) "" "Other Users/*"`,
		}
		if d < len(given) && given[d].l { // who does not know it finds it in guessShared
			commands = append(commands,
				"MYRIGHTS %q", "GETACL %q", "LISTRIGHTS %q anyone", "GETQUOTAROOT %q", "STATUS %q (MESSAGES UNSEEN SIZE UIDNEXT MAILBOXID)",
				`GETMETADATA (DEPTH infinity) %q (/shared /private)`, `SETMETADATA %q (/private/comment "`+p.canary+`")`, `GETMETADATA %q (/private/comment /shared/comment)`,
				`SUBSCRIBE %q`, `LIST "" %q RETURN (MYRIGHTS STATUS (MESSAGES))`, `UNSUBSCRIBE %q`,
				"SELECT %q", "FETCH 1:* FULL", "FETCH 1:* (UID FLAGS MODSEQ EMAILID THREADID SAVEDATE PREVIEW ENVELOPE BODYSTRUCTURE)",
				"UID FETCH 1:* (BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[2.HEADER] BINARY.PEEK[1] RFC822.PEEK)", "UID FETCH 1:* FLAGS (CHANGEDSINCE 1)",
				"STORE 1:* +FLAGS (\\Seen "+p.canary+"-guest)", "UID STORE 1:* -FLAGS.SILENT ("+p.canary+"-guest)", "NOOP",
				"SEARCH RETURN (ALL COUNT SAVE) TEXT words", "UID FETCH $ (BODY.PEEK[TEXT])", "UID SEARCH KEYWORD "+owner.canary+"-keyword", "SEARCH TEXT "+owner.canary,
				"UID SEARCH FUZZY TEXT "+owner.words, "SORT (SUBJECT DISPLAYFROM) UTF-8 ALL", "UID THREAD REFERENCES UTF-8 ALL", "UID SORT RETURN (PARTIAL 1:5) (DATE) UTF-8 TEXT words",
				"ENABLE QRESYNC", "CLOSE", "SELECT %q (QRESYNC (1 1 1:100))", "UNSELECT", `RENAME %q "`+p.canary+`-mine"`, "DELETE %q",
				`CREATE "`+owner.box+`/`+p.canary+`"`, `DELETE "`+owner.box+`/`+p.canary+`"`,
				`APPEND Drafts CATENATE (URL "/`+strings.ReplaceAll(owner.box, " ", "%20")+`/;UID=1")`,
			)
			if given[d].r && !given[d].lost {
				commands = append(commands, "SELECT %q", "UID COPY 1:* INBOX", "UID COPY 1 Drafts")
			}
			if given[d].wi {
				commands = append(commands, "APPEND %q {}", "SELECT %q", "UID STORE * +FLAGS (\\Deleted)", "UID EXPUNGE 1:*")
			}
		}
		commands = append(commands,
			"ESEARCH IN (SUBTREE \"Other Users\" PERSONAL SUBSCRIBED) RETURN (COUNT ALL) TEXT words", "ESEARCH IN (PERSONAL SUBTREE-ONE \"Other Users/"+owner.name+"\") ALL",
			"SELECT INBOX", "UID FETCH 1:* (BODY.PEEK[] FLAGS)", "SELECT Drafts", "UID FETCH 1:* (BODY.PEEK[] FLAGS)",
		)
		for _, command := range commands {
			command = strings.ReplaceAll(command, "%q", fmt.Sprintf("%q", owner.box))
			if _, _, err := c.imap(command, owner.letterOf(owner.words, 50)); err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
		}
		heard := c.heard.String()
		if d < len(given) && given[d].r && !given[d].lost && !strings.Contains(heard, owner.words+" letter") {
			return fmt.Errorf("with the right to read nothing of person %d's was read", owner.n)
		}
	}
	if found, any := p.wrong(all, clients...); found != "" || !any {
		for _, c := range clients {
			for _, line := range strings.Split(c.heard.String(), "\n") {
				if found != "" && strings.Contains(line, found) {
					return fmt.Errorf("heard %s in %.300q", found, line)
				}
			}
		}
		return errors.New("heard nothing at all")
	}
	return nil
}

// guessShared names the mailboxes that others share, with and without rights to list them, and
// one that is nowhere: who lacks l hears the same.
func (h *house) guessShared(p *sharer, all []*sharer) error {
	c, err := h.login(&p.person)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	const nowhere = "labelNNnothere0"
	for _, owner := range all {
		if d := p.behind(owner); d < len(given) {
			continue
		}
		for _, form := range []string{"Other Users/WORD@isolation.example/WORD-box", "Other Users/WORD@isolation.example", "Shared/WORD@isolation.example/WORD-box", "Other Users/WORD@isolation.example/INBOX"} {
			for _, command := range []string{
				"SELECT %s", "EXAMINE %s", "STATUS %s (MESSAGES)", "MYRIGHTS %s", "GETACL %s", "LISTRIGHTS %s anyone", "SETACL %s anyone lr", "DELETEACL %s anyone", "GETQUOTAROOT %s",
				"GETMETADATA %s /shared/comment", "SETMETADATA %s (/shared/comment x)", "APPEND %s {}", "CREATE %s/x", "DELETE %s", "RENAME %s mine", `LIST "" %s`, `LIST %s *`, `LSUB "" %s`,
				"SUBSCRIBE %s", "UNSUBSCRIBE %s", "ESEARCH IN (MAILBOXES %s) ALL", "ESEARCH IN (SUBTREE %s) RETURN (COUNT) ALL",
			} {
				var answers [2]string
				for i, word := range []string{owner.label, nowhere} {
					name := fmt.Sprintf("%q", strings.ReplaceAll(form, "WORD", word))
					untagged, answer, err := c.imap(strings.ReplaceAll(command, "%s", name), "x\r\n")
					if err != nil {
						return fmt.Errorf("%s: %w", command, err)
					}
					answers[i] = strings.ReplaceAll(strings.Join(append(untagged, answer), "\n"), word, "WORD")
				}
				if answers[0] != answers[1] {
					return fmt.Errorf("%s of %s: another's is answered with\n%s\nand nobody's with\n%s", command, form, answers[0], answers[1])
				}
				if found := markers.FindString(strings.ReplaceAll(answers[0], p.label, "")); found != "" && found != p.canary && !slices.Contains([]string{p.words, p.later}, found) {
					return fmt.Errorf("%s of %s: heard %s", command, form, found)
				}
			}
		}
	}
	return nil
}
