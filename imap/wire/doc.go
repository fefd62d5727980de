// Package wire is the grammar of IMAP4 (RFC 3501, 9; RFC 9051, 9; RFC 4466;
// RFC 7888): it reads the elements of which commands are made and writes those of
// responses. It knows no command and no session.
//
// Command code follows the ABNF element by element. The first fault stays in the
// Decoder and everything after it gives zero values, so there is one check, after
// End. This is a reader of STORE with the modifier of RFC 7162, 3.1.3:
//
//	// store = "STORE" SP sequence-set [SP "(" "UNCHANGEDSINCE" SP mod-sequence-valzer ")"]
//	//         SP ["+" / "-"] "FLAGS" [".SILENT"] SP (flag-list / (flag *(SP flag)))
//	func readStore(d *wire.Decoder) (c store, err error) {
//		d.SP()
//		c.set = d.SequenceSet()
//		d.SP()
//		if d.Peek() == '(' {
//			d.List(func() {
//				switch string(d.Word()) {
//				case "UNCHANGEDSINCE":
//					d.SP()
//					c.unchangedSince = d.ModSeq()
//				default:
//					d.Bad("unknown modifier of STORE")
//				}
//			})
//			d.SP()
//		}
//		switch string(d.Word()) {
//		case "FLAGS":
//			c.op = replace
//		case "+FLAGS.SILENT":
//			c.op, c.silent = add, true
//		// …
//		default:
//			d.Bad("unknown item of STORE")
//		}
//		d.SP()
//		c.flags, c.keywords = d.Flags()
//		d.End()
//		return c, d.Err()
//	}
//
// A session's loop is: Next, Tag, SP, Word, the command's reader and its work, the
// tagged answer, Flush. What is left of a faulty command is skipped by Next, or by
// Skip where the answer should come after it.
package wire
