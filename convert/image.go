package convert

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strconv"

	"github.com/postern-mail/postern/mail"
)

const (
	// maxImageMemory is how many bytes an image may take when it is decoded and altered.
	maxImageMemory = 160 << 20
	// maxSide is how many pixels an image may be wide or high: what JPEG and GIF can say. Of
	// a row many copies are made.
	maxSide = 1<<16 - 1
	// maxScanned is how many pixels the scans of a progressive JPEG image may go over
	// together, which may be as many as it says in few bytes: some seconds' work.
	maxScanned = 1 << 33
	// maxPalette is how many pixels may be given colors of a palette: about a second's work.
	maxPalette = 1 << 20
	// jpegQuality is that of JPEG images that are made.
	jpegQuality = 85
)

var errImage = mail.Errorf(mail.KindCannot, "That part is no image that can be read.")

// format is how an image is read.
type format struct {
	decode func(io.Reader) (image.Image, error)
	config func(io.Reader) (image.Config, error)
}

var formats = map[string]format{
	"image/jpeg": {jpeg.Decode, jpeg.DecodeConfig},
	"image/png":  {png.Decode, png.DecodeConfig},
	"image/gif":  {gif.Decode, gif.DecodeConfig},
}

// picture gives an image in another format, or smaller. Of what moves it gives the first
// picture. The size is looked at before any of the pixels: few bytes can say that they are
// billions.
func picture(s Source, to string, v values) (Result, *Fault) {
	f := formats[s.Type]
	is, err := f.config(bytes.NewReader(s.Data))
	if err != nil || is.Width <= 0 || is.Height <= 0 {
		return Result{}, &Fault{Err: errImage}
	}
	turn := 1
	if s.Type == "image/jpeg" {
		turn = orientation(s.Data)
	}
	if turn > 4 {
		is.Width, is.Height = is.Height, is.Width
	}
	w, h, fault := wanted(is.Width, is.Height, v)
	if fault != nil {
		return Result{}, fault
	}
	if w == is.Width && h == is.Height && s.Type == to && to != "image/gif" {
		return Result{Type: to, Data: s.Data}, nil
	}
	if is.Width > maxSide || is.Height > maxSide {
		return Result{}, TooLarge()
	}
	altered := w != is.Width || h != is.Height
	copies := int64(0) // of what is made, 4 bytes a pixel
	if altered {
		copies++
	}
	if turn > 1 {
		copies += 2
	}
	if to == "image/jpeg" && s.Type != to {
		copies++ // on white
	}
	need := memory(s.Type, is, s.Data) + 4*int64(w)*int64(h)*max(copies, 1)
	colors := to == "image/gif" && (s.Type != to || altered)
	if need > maxImageMemory || colors && w*h > maxPalette || scanned(s.Type, is, s.Data) > maxScanned {
		return Result{}, TooLarge()
	}
	full, err := f.decode(bytes.NewReader(s.Data))
	if err != nil {
		return Result{}, &Fault{Err: errImage}
	}
	if b := full.Bounds(); b.Dx() <= 0 || b.Dy() <= 0 {
		return Result{}, &Fault{Err: errImage}
	}
	// It is made smaller as it lies, and turned then: less is to be turned.
	if turn > 4 {
		w, h = h, w
	}
	if b := full.Bounds(); w < b.Dx() || h < b.Dy() {
		full = smaller(full, min(w, b.Dx()), min(h, b.Dy()))
	}
	if turn > 1 {
		full = turned(full, turn)
	}
	var out bytes.Buffer
	switch to {
	case "image/png":
		err = png.Encode(&out, full)
	case "image/gif":
		err = gif.Encode(&out, full, nil)
	default:
		err = jpeg.Encode(&out, onWhite(full), &jpeg.Options{Quality: jpegQuality})
	}
	if err != nil {
		return Result{}, &Fault{Err: mail.Wrap(mail.KindServerBug, err)}
	}
	return Result{Type: to, Data: out.Bytes()}, nil
}

// memory is about how many bytes the decoder needs.
func memory(typ string, c image.Config, data []byte) int64 {
	pixel := int64(4)
	switch typ {
	case "image/jpeg":
		// What is not as the colors of the image are is converted once more.
		parts := int64(3)
		switch c.ColorModel {
		case color.YCbCrModel:
			pixel = 3
		case color.GrayModel:
			pixel, parts = 1, 1
		case color.CMYKModel:
			pixel, parts = 8, 4
		default:
			pixel = 7
		}
		if isProgressive(data) {
			pixel += 4 * parts // the coefficients are all kept
		}
	case "image/png":
		transparent := bytes.Contains(data, []byte("tRNS"))
		switch c.ColorModel {
		case color.GrayModel:
			if !transparent {
				pixel = 1
			}
		case color.Gray16Model, color.RGBA64Model, color.NRGBA64Model:
			pixel = 8
		}
		if len(data) > interlacing && data[interlacing] != 0 {
			pixel *= 2 // each pass is an image
		}
	}
	return int64(c.Width) * int64(c.Height) * pixel
}

// interlacing is where a PNG image tells that it is interlaced.
const interlacing = 28

func isProgressive(data []byte) bool { return bytes.Contains(data, []byte{0xff, 0xc2}) }

// scanned is how many pixels the scans of an image go over together, as far as they may do so
// without as many bytes.
func scanned(typ string, c image.Config, data []byte) int64 {
	if typ != "image/jpeg" || !isProgressive(data) {
		return 0
	}
	return int64(c.Width) * int64(c.Height) * int64(bytes.Count(data, []byte{0xff, 0xda}))
}

// wanted gives the size of the image that is asked for: with one of the two numbers the
// other follows.
func wanted(width, height int, v values) (w, h int, fault *Fault) {
	number := func(name string, most int) (int, bool) {
		text, given := v[name]
		if !given {
			return 0, true
		}
		n, err := strconv.ParseUint(text, 10, 31)
		return int(n), err == nil && n > 0 && int(n) <= most
	}
	w, okW := number(Width, width)
	h, okH := number(Height, height)
	if !okW || !okH {
		return 0, 0, v.fault(mail.Errorf(mail.KindBadArgument, "The image has %d x %d pixels, and is not made larger.", width, height), Width, Height)
	}
	switch {
	case w == 0 && h == 0:
		w, h = width, height
	case w == 0:
		w = max(int(int64(width)*int64(h)/int64(height)), 1)
	case h == 0:
		h = max(int(int64(height)*int64(w)/int64(width)), 1)
	}
	return w, h, nil
}

// smaller gives an image of w × h pixels, of which each is the mean of those that it
// stands for.
func smaller(src image.Image, w, h int) *image.RGBA {
	b := src.Bounds()
	dst := image.NewRGBA(image.Rect(0, 0, w, h))
	// Rows are taken one at a time: Draw knows each kind of image.
	strip := image.NewRGBA(image.Rect(0, 0, b.Dx(), 1))
	sums := make([][4]uint64, w)
	for y := range h {
		top, bottom := y*b.Dy()/h, max((y+1)*b.Dy()/h, y*b.Dy()/h+1)
		clear(sums)
		for row := top; row < bottom; row++ {
			draw.Draw(strip, strip.Bounds(), src, image.Pt(b.Min.X, b.Min.Y+row), draw.Src)
			line := strip.Pix[:4*b.Dx()]
			for x := range w {
				left, right := x*b.Dx()/w, max((x+1)*b.Dx()/w, x*b.Dx()/w+1)
				s := &sums[x]
				for p := line[4*left : 4*right]; len(p) >= 4; p = p[4:] {
					s[0] += uint64(p[0])
					s[1] += uint64(p[1])
					s[2] += uint64(p[2])
					s[3] += uint64(p[3])
				}
			}
		}
		out := dst.Pix[y*dst.Stride:]
		for x := range w {
			left, right := x*b.Dx()/w, max((x+1)*b.Dx()/w, x*b.Dx()/w+1)
			n := uint64((right - left) * (bottom - top))
			for c := range 4 {
				out[4*x+c] = byte((sums[x][c] + n/2) / n)
			}
		}
	}
	return dst
}

// onWhite gives an image without transparency: JPEG has none.
func onWhite(src image.Image) image.Image {
	if o, ok := src.(interface{ Opaque() bool }); ok && o.Opaque() {
		return src
	}
	dst := image.NewRGBA(src.Bounds())
	draw.Draw(dst, dst.Bounds(), image.White, image.Point{}, draw.Src)
	draw.Draw(dst, dst.Bounds(), src, src.Bounds().Min, draw.Over)
	return dst
}

// turned gives an image as it is to be seen, by the number that cameras write.
func turned(src image.Image, turn int) image.Image {
	b := src.Bounds()
	w, h := b.Dx(), b.Dy()
	in := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(in, in.Bounds(), src, b.Min, draw.Src)
	size := image.Rect(0, 0, w, h)
	if turn > 4 {
		size = image.Rect(0, 0, h, w)
	}
	out := image.NewRGBA(size)
	for y := range h {
		for x := range w {
			tx, ty := x, y
			switch turn {
			case 2:
				tx = w - 1 - x
			case 3:
				tx, ty = w-1-x, h-1-y
			case 4:
				ty = h - 1 - y
			case 5:
				tx, ty = y, x
			case 6:
				tx, ty = h-1-y, x
			case 7:
				tx, ty = h-1-y, w-1-x
			case 8:
				tx, ty = y, w-1-x
			}
			copy(out.Pix[out.PixOffset(tx, ty):][:4], in.Pix[in.PixOffset(x, y):][:4])
		}
	}
	return out
}

// orientation reads how a JPEG image is to be turned: 1 to 8, as TIFF's tag 274 says it in
// the Exif segment.
func orientation(data []byte) int {
	const upright = 1
	for i := 2; i+4 <= len(data) && data[i] == 0xff; {
		marker, size := data[i+1], int(binary.BigEndian.Uint16(data[i+2:]))
		if marker == 0xda || size < 2 || i+2+size > len(data) {
			return upright
		}
		if body := data[i+4 : i+2+size]; marker == 0xe1 && len(body) > 14 && string(body[:6]) == "Exif\x00\x00" {
			return tiffOrientation(body[6:])
		}
		i += 2 + size
	}
	return upright
}

func tiffOrientation(b []byte) int {
	var order binary.ByteOrder = binary.BigEndian
	if b[0] == 'I' {
		order = binary.LittleEndian
	}
	at := int64(order.Uint32(b[4:8]))
	if at+2 > int64(len(b)) {
		return 1
	}
	entries := int(order.Uint16(b[at:]))
	for i := range entries {
		e := at + 2 + 12*int64(i)
		if e+12 > int64(len(b)) {
			break
		}
		if order.Uint16(b[e:]) == 274 {
			if n := int(order.Uint16(b[e+8:])); n >= 1 && n <= 8 {
				return n
			}
			break
		}
	}
	return 1
}
