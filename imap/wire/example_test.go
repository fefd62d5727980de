package wire_test

import (
	"fmt"
	"strings"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/mail"
)

type store struct {
	set            wire.SeqSet
	unchangedSince mail.ModSeq
	op             byte // '+', '-', or 0 to replace
	silent         bool
	flags          mail.Flags
	keywords       []string
}

// store = "STORE" SP sequence-set [SP "(" "UNCHANGEDSINCE" SP mod-sequence-valzer ")"]
// SP ["+" / "-"] "FLAGS" [".SILENT"] SP (flag-list / (flag *(SP flag)))
func readStore(d *wire.Decoder) (c store, err error) {
	d.SP()
	c.set = d.SequenceSet()
	d.SP()
	if d.Peek() == '(' {
		d.List(func() {
			switch string(d.Word()) {
			case "UNCHANGEDSINCE":
				d.SP()
				c.unchangedSince = d.ModSeq()
			default:
				d.Bad("unknown modifier of STORE")
			}
		})
		d.SP()
	}
	if d.Peek() == '+' || d.Peek() == '-' {
		c.op = d.Peek()
		d.Byte(c.op)
	}
	switch string(d.Word()) {
	case "FLAGS":
	case "FLAGS.SILENT":
		c.silent = true
	default:
		d.Bad("unknown item of STORE")
	}
	d.SP()
	c.flags, c.keywords = d.Flags()
	d.End()
	return c, d.Err()
}

func Example() {
	in := strings.NewReader("a1 STORE 2,4:* (UNCHANGEDSINCE 320) +FLAGS.SILENT (\\Seen Work)\r\n" +
		"a2 STORE 0 FLAGS ()\r\n")
	var answers strings.Builder
	out := wire.NewEncoder(&answers)
	d := wire.NewDecoder(in, func() error { return out.Continue("go ahead").Flush() })
	for d.Next() == nil {
		tag := d.Tag()
		d.SP()
		if string(d.Word()) == "STORE" {
			c, err := readStore(d)
			switch {
			case wire.IsSyntax(err):
				out.Tagged(tag, wire.BAD, "", mail.TextOf(err))
			case err != nil:
				out.Tagged(tag, wire.NO, mail.KindOf(err).Answer().IMAP, mail.TextOf(err))
			default:
				fmt.Println(c.set.Resolve(9), c.unchangedSince, string(rune(c.op)), c.silent, c.flags == mail.Seen, c.keywords)
				out.Tagged(tag, wire.OK, "HIGHESTMODSEQ 321", "STORE completed")
			}
		}
		_ = out.Flush()
	}
	fmt.Print(strings.ReplaceAll(answers.String(), "\r", ""))
	// Output:
	// 2,4:9 320 + true true [Work]
	// a1 OK [HIGHESTMODSEQ 321] STORE completed
	// a2 BAD a sequence set must not have the number 0
}
