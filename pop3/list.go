package pop3

import (
	"context"
	"strconv"

	"github.com/postern-mail/postern/store"
)

// stat = "STAT" (RFC 1939, 5)
func (x *session) stat(context.Context, string) {
	x.numbers("+OK ", int64(x.drop.left), x.drop.bytes)
}

// list = "LIST" [ SP msg ] (RFC 1939, 5). A size is that of the stored message.
func (x *session) list(_ context.Context, args string) {
	x.listing(args, func(dst []byte, m *store.Message) []byte {
		return strconv.AppendUint(dst, uint64(m.Size), 10)
	})
}

// uidl = "UIDL" [ SP msg ] (RFC 1939, 7)
func (x *session) uidl(_ context.Context, args string) {
	x.listing(args, x.drop.uid)
}

// listing writes a line for one message or for each that is not deleted.
func (x *session) listing(args string, column func([]byte, *store.Message) []byte) {
	if args != "" {
		if number, m := x.message(args); m != nil {
			line := append(strconv.AppendUint([]byte("+OK "), uint64(number), 10), ' ')
			x.respond(append(column(line, m), '\r', '\n'))
		}
		return
	}
	x.numbers("+OK ", int64(x.drop.left), x.drop.bytes)
	var space [64]byte
	for number := uint32(1); number <= x.drop.count && !x.over; number++ {
		if x.drop.isDeleted(number) {
			continue
		}
		line := append(strconv.AppendUint(space[:0], uint64(number), 10), ' ')
		x.respond(append(column(line, x.drop.at(number)), '\r', '\n'))
	}
	x.respond([]byte(".\r\n"))
}
