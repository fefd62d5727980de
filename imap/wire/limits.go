package wire

// Limits bounds what a Decoder reads for one command, whatever the state of the
// session. A value of zero permits nothing, except where said.
type Limits struct {
	// Line is how many bytes the lines of one command may have together, CRLFs
	// and literal headers included, literals not.
	Line int
	// Literal is how many bytes one literal may have that is not a message. Zero
	// refuses every literal but the empty one.
	Literal int64
	// LiteralSum is how many bytes all literals of one command may have together,
	// messages not counted.
	LiteralSum int64
	// NonSync is how many bytes a non-synchronizing literal may have, messages
	// included; 4096 under LITERAL- (RFC 7888, 5). Zero sets no bound of its own.
	NonSync int64
	// Depth is how deep parentheses may nest.
	Depth int
	// Atoms is how many tokens (atoms, strings, numbers, sets, flags) a command
	// may have.
	Atoms int
	// Discard is how many bytes of a refused command (rest of a line, refused
	// non-synchronizing literals) are read and thrown away; a command with more
	// ends the connection (RFC 7888, 4).
	Discard int64
	// SASLLine is how many bytes one line of a SASL exchange may have, CRLF
	// included.
	SASLLine int
}

// LimitsBeforeLogin gives the bounds for somebody who did not authenticate yet. A line of
// AUTHENTICATE with its initial response is as long as one of the exchange: a Kerberos
// ticket of somebody in many groups, or a token, has 8 KiB, in base64 11.
func LimitsBeforeLogin() Limits {
	return Limits{
		Line: 12 << 10, Literal: 1 << 10, LiteralSum: 8 << 10, NonSync: 4096,
		Depth: 50, Atoms: 10_000, Discard: 64 << 10, SASLLine: 12288,
	}
}

// LimitsAfterLogin gives the bounds for an authenticated user.
func LimitsAfterLogin() Limits {
	return Limits{
		Line: 64 << 10, Literal: 1 << 20, LiteralSum: 1 << 20,
		Depth: 50, Atoms: 10_000, Discard: 8 << 20, SASLLine: 64 << 10,
	}
}

// maxPattern is how many bytes a LIST pattern may have.
const maxPattern = 1024
