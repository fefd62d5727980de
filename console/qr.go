package console

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// QR is a QR code as a drawing: squares of the size 1, with the quiet zone that readers
// want around them.
type QR struct {
	Size int    // of the whole, in squares
	Path string // of the dark ones, for SVG
}

const quietZone = 4 // squares, as the standard has it

// newQR makes the code of a text of some hundred bytes at most.
func newQR(text string) (*QR, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+quietZone, y+quietZone, x-from, x-from)
			}
		}
	}
	return &QR{Size: code.Size + 2*quietZone, Path: b.String()}, nil
}
