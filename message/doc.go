// Package message reads Internet messages (RFC 5322, RFC 2045, RFC 6532). A
// message is read once, when it is delivered; everything that a client will list
// (ENVELOPE, BODYSTRUCTURE, the usual header fields, PREVIEW, where each section
// lies) is then kept as a Summary and answered from that.
//
// Reading never fails: whatever the bytes are, they are a message with a header
// (perhaps empty) and a text. Work and memory grow linearly with the message, and
// Limits bound the tree. Lines end in CRLF or in a bare LF; a bare CR is not a
// line end. The bytes are never altered and every offset is into them.
//
// Nothing here keeps state between calls: every function may be called from any
// goroutine, and a Summary may be shared; a Message belongs to one goroutine.
package message

// Limits bound the tree of a message. What lies beyond a limit is one opaque part
// of type application/octet-stream.
type Limits struct {
	// Depth is how deep parts may nest; the message itself has depth 1.
	Depth int
	// Parts is how many parts a message may have, itself and nested messages included.
	Parts int
	// HeaderBytes bounds one header block.
	HeaderBytes int
	// TotalHeaderBytes bounds all header blocks of a message together.
	TotalHeaderBytes int
}

// DefaultLimits are what deliveries use.
var DefaultLimits = Limits{Depth: 100, Parts: 10000, HeaderBytes: 10 << 20, TotalHeaderBytes: 50 << 20}

// Range is the bytes Start ≤ i < End of a message as it was received.
type Range struct{ Start, End int64 }

// Len is the number of bytes.
func (r Range) Len() int64 { return r.End - r.Start }

// Bounds on what is kept of a message, in bytes.
const (
	// MaxKeptBytes bounds the kept header fields; see Summary.Fields.
	MaxKeptBytes = 16 << 10
	// MaxSearchText bounds SearchText.
	MaxSearchText = 4 << 20
	// MaxStringBytes bounds one string of ENVELOPE or BODYSTRUCTURE.
	MaxStringBytes = 64 << 10
	// MaxStructureBytes bounds all strings of one ENVELOPE or BODYSTRUCTURE
	// together; what exceeds it is NIL or empty.
	MaxStructureBytes = 4 << 20
	// PreviewChars bounds PREVIEW, in characters (RFC 8970, 3.3).
	PreviewChars = 200
)
