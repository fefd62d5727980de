package policy

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/mail"
)

// TestNothingAboutUsers compares what is heard when the user does not exist, is switched
// off, may not use the protocol, or the password is wrong: the same lines, the same
// number of them.
func TestNothingAboutUsers(t *testing.T) {
	r := start(t, 1)
	r.login(t, mail.PlainTextLogin)
	s := &speaker{clients: map[string]*scram.Client{}}
	transcripts := 0
	for _, protocol := range protocols {
		for _, w := range ways {
			for _, m := range methods(protocol) {
				if m.class == unknown || m.class == bound && w.version == 0 {
					continue
				}
				for _, initial := range []bool{false, true} {
					first := ""
					for _, who := range []string{anna, nobody, off, map[string]string{"POP3": noPOP, "IMAP4": noIMAP}[protocol]} {
						c, err := r.dial(protocol, w)
						if err != nil {
							t.Fatal(err)
						}
						at := cell{protocol, mail.PlainTextLogin, w, m, "upper", initial, "wrong-password", false}
						heard := s.transcript(t, c, at, who)
						c.close()
						transcripts++
						if who == anna {
							first = heard
						} else if heard != first {
							t.Errorf("%v tells of %s:\n%s\nand of %s:\n%s", at, anna, first, who, heard)
						}
					}
				}
			}
		}
	}
	t.Logf("%d transcripts", transcripts)
}

// transcript is what a client hears that tries a wrong password of who, without what is
// random in it.
func (s *speaker) transcript(t *testing.T, c *client, at cell, who string) string {
	t.Helper()
	name, pass := address(who, 0), "wrong-"+password
	before := len(c.heard)
	var d dialogue
	switch {
	case at.method.mechanism == "":
		d = commandDialogue(at, name, pass)
	case at.method.hash != "":
		talk, err := s.scram(at.method, c, name, pass, "")
		if err != nil {
			t.Fatal(err)
		}
		first, err := talk.Step("")
		if err != nil {
			t.Fatal(err)
		}
		d = saslDialogue(at, first, func(challenge string) string { return step(talk, challenge) })
	case at.method.mechanism == "LOGIN":
		d = saslDialogue(at, name, fixed(encode(pass)))
	case at.method.mechanism == "APOP":
		d = dialogue{opening: "APOP " + name + " " + apop(c.greeting, pass)}
	case at.method.mechanism == "CRAM-MD5":
		d = dialogue{opening: map[string]string{"POP3": "AUTH ", "IMAP4": "AUTHENTICATE "}[at.protocol] + "CRAM-MD5", replies: []func(string) string{cram(name, pass)}}
	default:
		d = saslDialogue(at, "\x00"+name+"\x00"+pass)
	}
	if _, err := c.attempt(d, false); err != nil {
		t.Fatalf("%v: %v", at, err)
	}
	var out []string
	for _, line := range c.heard[before:] {
		out = append(out, blank(line))
	}
	return strings.Join(out, "\n")
}

func saslDialogue(at cell, first string, replies ...func(string) string) dialogue {
	d := dialogue{opening: map[string]string{"POP3": "AUTH ", "IMAP4": "AUTHENTICATE "}[at.protocol] + at.method.mechanism, replies: replies}
	if at.initial {
		d.opening += " " + encode(first)
	} else {
		d.replies = append([]func(string) string{fixed(encode(first))}, replies...)
	}
	return d
}

// blank takes the nonce and the salt out of SCRAM's challenge, but not their lengths.
func blank(line string) string {
	coded, ok := strings.CutPrefix(line, "+ ")
	text, err := base64.StdEncoding.DecodeString(coded)
	if !ok || err != nil || !strings.HasPrefix(string(text), "r=") {
		return line
	}
	var out []string
	for _, attribute := range strings.Split(string(text), ",") {
		if attribute[0] == 'r' || attribute[0] == 's' {
			attribute = attribute[:2] + strings.Repeat("?", len(attribute)-2)
		}
		out = append(out, attribute)
	}
	return "+ " + strings.Join(out, ",")
}

// The salt of a name that does not exist is always the same, and not that of others.
func TestFakeSalt(t *testing.T) {
	r := start(t, 1)
	salt := func(protocol, mechanism, name string) (salt string) {
		c, err := r.dial(protocol, ways[4])
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		exchange(t, c, mechanism, "n,,n="+name+",r=abcdefgh", func(challenge string) string {
			text, _ := base64.StdEncoding.DecodeString(challenge)
			salt = strings.Split(string(text), ",")[1]
			return "*"
		})
		return salt
	}
	seen := map[string]string{}
	for _, hash := range []string{"SHA-1", "SHA-256", "SHA-512"} {
		for _, who := range []string{anna, nobody, "noone"} {
			one := salt("IMAP4", "SCRAM-"+hash, address(who, 0))
			two := salt("POP3", "SCRAM-"+hash, address(who, 0))
			if one == "" || one != two {
				t.Errorf("the salt of %s for %s is %q and %q", who, hash, one, two)
			}
			if other, again := seen[one]; again {
				t.Errorf("%s has the salt of %s", who+hash, other)
			}
			seen[one] = who + hash
		}
	}
}
