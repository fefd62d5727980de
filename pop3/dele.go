package pop3

import "context"

// dele = "DELE" SP msg (RFC 1939, 5): marks; QUIT removes.
func (x *session) dele(_ context.Context, args string) {
	number, m := x.message(args)
	if m == nil {
		return
	}
	d := x.drop
	if d.deleted == nil {
		d.deleted = make([]bool, d.count)
	}
	d.deleted[number-1] = true
	d.left--
	d.bytes -= int64(m.Size)
	x.ok("Marked as deleted")
}

// rset = "RSET" (RFC 1939, 5)
func (x *session) rset(context.Context, string) {
	x.drop.undelete()
	x.numbers("+OK ", int64(x.drop.left), x.drop.bytes)
}

// noop = "NOOP" (RFC 1939, 5)
func (x *session) noop(context.Context, string) { x.ok("Nothing done") }
