package convert

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/mail"
)

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Table {
		if seen[r.From+r.To] || r.run == nil || len(r.Parameters) == 0 {
			t.Errorf("%s to %s", r.From, r.To)
		}
		seen[r.From+r.To] = true
	}
	if Default("text/html") != "text/plain" || Default("image/jpeg") != "image/jpeg" || Default("application/pdf") != "" {
		t.Error("other defaults")
	}
}

// TestCharsets: the charsets that RFC 5259, 7.1 names become UTF-8, and come back.
func TestCharsets(t *testing.T) {
	for charset, text := range map[string]string{
		"iso-8859-1": "grüße", "iso-8859-2": "žluťoučký", "iso-8859-3": "ĉĝĥ", "iso-8859-4": "āčēģ", "iso-8859-5": "привет", "iso-8859-6": "سلام",
		"iso-8859-7": "γεια", "iso-8859-8": "שלום", "iso-8859-15": "€uro", "koi8-r": "привет", "gb18030": "你好", "iso-2022-jp": "日本語 text", "utf-16": "ü",
	} {
		made, fault := Run(Source{"text/plain", "utf-8", []byte(text)}, "text/plain", []Parameter{{"CharSet", charset}})
		if fault != nil {
			t.Errorf("%s: %v", charset, fault.Err)
			continue
		}
		back, fault := Run(Source{"text/plain", charset, made.Data}, "text/plain", nil)
		if fault != nil || string(back.Data) != text || back.Charset != "utf-8" {
			t.Errorf("%s: %q, %v", charset, back.Data, fault)
		}
	}
}

func TestReplacement(t *testing.T) {
	src := Source{"text/plain", "utf-8", []byte("a€b日c")}
	for _, c := range []struct {
		charset, replacement, want string
	}{
		{"iso-8859-15", "?", "a\xa4b?c"}, {"us-ascii", "(x)", "a(x)b(x)c"}, {"us-ascii", "€", ""}, {"us-ascii", "", ""}, {"iso-8859-1", "", ""},
		{"none", "?", ""}, {"", "?", ""}, {"utf-7", "?", ""}, {"us-ascii", strings.Repeat("x", 17), ""},
	} {
		params := []Parameter{{Charset, c.charset}}
		if c.replacement != "" {
			params = append(params, Parameter{Replacement, c.replacement})
		}
		made, fault := Run(src, "text/plain", params)
		if c.want == "" && (fault == nil || len(fault.Parameters) == 0) || c.want != "" && (fault != nil || string(made.Data) != c.want) {
			t.Errorf("%+v: %q, %+v", c, made.Data, fault)
		}
	}
}

func TestHTML(t *testing.T) {
	for document, want := range map[string]string{
		"":                        "",
		"<p>a<p>b":                "a\r\n\r\nb\r\n",
		"a<br>b<br><br><br><br>c": "a\r\nb\r\n\r\nc\r\n",
		"<title>no</title><style>p{}</style><script>x<b>y</b></script>yes": "yes\r\n",
		"one\n two   three<b> four</b><i>five</i>":                         "one two three fourfive\r\n",
		"<pre>a  b\n\n  c</pre>d":                                          "a  b\r\n\r\n  c\r\n\r\nd\r\n",
		"<ol><li>x<li>y<ul><li>z</ul></ol>w":                               "1. x\r\n2. y\r\n  * z\r\n\r\nw\r\n",
		"<table><tr><th>a<th>b<tr><td>c<td>d</table>":                      "a\tb\r\nc\td\r\n",
		`<img src=x alt="a picture"> &lt;&euro;&nbsp;&#65;`:                "a picture <€\u00a0A\r\n",
		"<h1>Title</h1>text":                                               "Title\r\n\r\ntext\r\n",
		"</ul></pre></li></script>x":                                       "x\r\n",
		"<li>x":                                                            "x\r\n",
		"<p":                                                               "",
		"a<!-- no -->b":                                                    "ab\r\n",
		"<blockquote>q</blockquote>a<hr>b":                                 "q\r\n\r\na\r\n--------\r\nb\r\n",
	} {
		made, fault := Run(Source{"text/html", "utf-8", []byte(document)}, "text/plain", nil)
		if fault != nil || string(made.Data) != want {
			t.Errorf("%q: %q, want %q, %v", document, made.Data, want, fault)
		}
	}
	made, fault := Run(Source{"text/html", "", []byte("<meta charset=iso-8859-15>\xa4")}, "text/plain", nil)
	if fault != nil || string(made.Data) != "€\r\n" {
		t.Errorf("%q, %v", made.Data, fault)
	}
}

// stripes is a picture whose left third is red, the middle one green, the right one blue.
func stripes(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, []color.Color{color.NRGBA{255, 0, 0, 255}, color.NRGBA{0, 255, 0, 255}, color.NRGBA{0, 0, 255, 255}}[x*3/w])
		}
	}
	return m
}

func encode(t testing.TB, typ string, m image.Image) []byte {
	var b bytes.Buffer
	var err error
	switch typ {
	case "image/png":
		err = png.Encode(&b, m)
	case "image/gif":
		err = gif.Encode(&b, m, nil)
	default:
		err = jpeg.Encode(&b, m, &jpeg.Options{Quality: 95})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func near(c color.Color, r, g, b uint8) bool {
	x := color.NRGBAModel.Convert(c).(color.NRGBA)
	d := func(a, b uint8) bool { return max(a, b)-min(a, b) < 40 }
	return d(x.R, r) && d(x.G, g) && d(x.B, b)
}

func TestImages(t *testing.T) {
	for from := range formats {
		data := encode(t, from, stripes(90, 30))
		for to := range formats {
			for size, want := range map[[2]string]image.Point{
				{"", ""}: {90, 30}, {"30", ""}: {30, 10}, {"", "10"}: {30, 10}, {"30", "30"}: {30, 30}, {"7", "3"}: {7, 3}, {"3", "1"}: {3, 1}, {"90", "30"}: {90, 30},
			} {
				var params []Parameter
				if size[0] != "" {
					params = append(params, Parameter{Width, size[0]})
				}
				if size[1] != "" {
					params = append(params, Parameter{"PIX-Y", size[1]})
				}
				made, fault := Run(Source{Type: from, Data: data}, to, params)
				if fault != nil {
					t.Errorf("%s to %s %v: %v", from, to, size, fault.Err)
					continue
				}
				m, name, err := image.Decode(bytes.NewReader(made.Data))
				if err != nil || made.Type != "image/"+name || made.Type != to || m.Bounds().Size() != want {
					t.Errorf("%s to %s %v: %v, %v", from, to, size, made.Type, err)
					continue
				}
				if w := want.X; w >= 30 && !(near(m.At(w/6, 0), 255, 0, 0) && near(m.At(w/2, want.Y/2), 0, 255, 0) && near(m.At(w*5/6, want.Y-1), 0, 0, 255)) {
					t.Errorf("%s to %s %v has other colors", from, to, size)
				}
			}
		}
	}
}

func TestImageFaults(t *testing.T) {
	data := encode(t, "image/png", stripes(9, 3))
	for _, p := range []Parameter{{Width, "10"}, {Width, "0"}, {Width, "-1"}, {Width, "x"}, {Height, "4"}, {Height, "1.5"}, {Height, "99999999999999999999"}} {
		if _, fault := Run(Source{Type: "image/png", Data: data}, "image/jpeg", []Parameter{p}); fault == nil || len(fault.Parameters) != 1 || fault.Parameters[0] != p {
			t.Errorf("%v: %+v", p, fault)
		}
	}
	for _, bad := range [][]byte{nil, []byte("x"), data[:20], data[:len(data)-30], append([]byte("GIF89a"), make([]byte, 20)...)} {
		for from := range formats {
			if _, fault := Run(Source{Type: from, Data: bad}, "image/jpeg", []Parameter{{Width, "1"}}); fault == nil {
				t.Errorf("%s of %d bytes", from, len(bad))
			}
		}
	}
}

// TestBombs: few bytes that say they are very many pixels are refused unread.
func TestBombs(t *testing.T) {
	data := encode(t, "image/png", stripes(9, 3))
	header := data[16:29]
	binary.BigEndian.PutUint32(header, 60000)
	binary.BigEndian.PutUint32(header[4:], 60000)
	binary.BigEndian.PutUint32(data[29:], crc32.ChecksumIEEE(data[12:29]))
	for _, params := range [][]Parameter{nil, {{Width, "1"}}} {
		_, fault := Run(Source{Type: "image/png", Data: data}, "image/jpeg", params)
		if fault == nil || mail.KindOf(fault.Err) != mail.KindTooBig {
			t.Errorf("%+v", fault)
		}
	}
	if _, fault := Run(Source{Type: "text/plain", Data: make([]byte, maxText+1)}, "text/plain", nil); fault == nil || mail.KindOf(fault.Err) != mail.KindTooBig {
		t.Errorf("%+v", fault)
	}
	large := image.NewNRGBA(image.Rect(0, 0, 1100, 1000))
	draw.Draw(large, large.Bounds(), image.White, image.Point{}, draw.Src)
	for typ, params := range map[string][]Parameter{"image/png": nil, "image/gif": {{Width, "1099"}}} {
		if _, fault := Run(Source{Type: typ, Data: encode(t, typ, large)}, "image/gif", params); fault == nil || mail.KindOf(fault.Err) != mail.KindTooBig {
			t.Errorf("%s: %+v", typ, fault)
		}
	}
}

// TestRows: of a very long row many copies would be made.
func TestRows(t *testing.T) {
	row := encode(t, "image/png", image.NewGray(image.Rect(0, 0, 70000, 1)))
	for _, to := range []string{"image/png", "image/jpeg", "image/gif"} {
		for _, params := range [][]Parameter{{{Width, "69999"}}, {{Width, "1"}}} {
			if _, fault := Run(Source{Type: "image/png", Data: row}, to, params); fault == nil || mail.KindOf(fault.Err) != mail.KindTooBig {
				t.Errorf("%s: %+v", to, fault)
			}
		}
	}
	if _, fault := Run(Source{Type: "image/png", Data: row}, "image/jpeg", nil); fault == nil || mail.KindOf(fault.Err) != mail.KindTooBig {
		t.Errorf("%+v", fault)
	}
}

// TestSmallerMemory: what is made very small takes no more than the image itself.
func TestSmallerMemory(t *testing.T) {
	const side = 3000
	data := encode(t, "image/png", image.NewGray(image.Rect(0, 0, side, side)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, fault := Run(Source{Type: "image/png", Data: data}, "image/png", []Parameter{{Height, "1"}})
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; fault != nil || took > 2*side*side {
		t.Errorf("%d bytes, %+v", took, fault)
	}
}

// TestMemory: what decoders keep besides the image counts.
func TestMemory(t *testing.T) {
	progressive, plain := []byte{0xff, 0xc2}, []byte{0xff, 0xc0}
	interlaced := make([]byte, 40)
	interlaced[interlacing] = 1
	for _, c := range []struct {
		typ   string
		model color.Model
		data  []byte
		want  int64
	}{
		{"image/jpeg", color.YCbCrModel, plain, 3}, {"image/jpeg", color.YCbCrModel, progressive, 15}, {"image/jpeg", color.GrayModel, progressive, 5},
		{"image/jpeg", color.RGBAModel, plain, 7}, {"image/jpeg", color.RGBAModel, progressive, 19}, {"image/jpeg", color.CMYKModel, progressive, 24},
		{"image/png", color.GrayModel, nil, 1}, {"image/png", color.GrayModel, []byte("tRNS"), 4}, {"image/png", color.Gray16Model, nil, 8},
		{"image/png", color.RGBA64Model, interlaced, 16}, {"image/gif", color.Palette{}, nil, 4},
	} {
		if got := memory(c.typ, image.Config{ColorModel: c.model, Width: 1, Height: 1}, c.data); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// scans is a progressive JPEG image that says n times of all its pixels, in few bytes, that
// nothing changes.
func scans(n int) []byte {
	data := []byte{0xff, 0xd8, 0xff, 0xc2, 0, 11, 8, 4000 >> 8, 4000 & 0xff, 4000 >> 8, 4000 & 0xff, 1, 1, 0x11, 0}
	data = append(data, 0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe0)
	for range n {
		data = append(data, 0xff, 0xda, 0, 8, 1, 1, 0, 1, 63, 0)
		bits, length := 0, 0
		for range 10 { // a run of 27306 blocks each
			bits, length = bits<<15|0b010101010101010, length+15
			for ; length >= 8; length -= 8 {
				data = append(data, byte(bits>>(length-8)))
			}
			bits &= 1<<length - 1
		}
		data = append(data, byte(bits<<(8-length)|1<<(8-length)-1))
	}
	return append(data, 0xff, 0xd9)
}

// TestScans: so many scans would take hours.
func TestScans(t *testing.T) {
	for n, refused := range map[int]bool{5: false, 1000: true} {
		began := time.Now()
		_, fault := Run(Source{Type: "image/jpeg", Data: scans(n)}, "image/png", []Parameter{{Width, "10"}})
		if refused != (fault != nil && mail.KindOf(fault.Err) == mail.KindTooBig) || !refused && fault != nil {
			t.Errorf("%d scans: %+v after %v", n, fault, time.Since(began))
		}
	}
}

// TestTurned: cameras write how a picture is to be turned.
func TestTurned(t *testing.T) {
	plain := encode(t, "image/jpeg", stripes(90, 30))
	for turn, first := range []struct{ x, y float64 }{{}, {0, .5}, {1, .5}, {1, .5}, {0, .5}, {.5, 0}, {.5, 0}, {.5, 1}, {.5, 1}} {
		if turn == 0 {
			continue
		}
		exif := []byte("Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00" + string(rune(turn)) + "\x00\x00\x00\x00\x00\x00")
		data := append(append(append([]byte{0xff, 0xd8, 0xff, 0xe1}, byte((len(exif)+2)>>8), byte(len(exif)+2)), exif...), plain[2:]...)
		for _, params := range [][]Parameter{nil, {{Width, "20"}}} {
			made, fault := Run(Source{Type: "image/jpeg", Data: data}, "image/png", params)
			if fault != nil {
				t.Fatal(turn, fault.Err)
			}
			m, _, err := image.Decode(bytes.NewReader(made.Data))
			if err != nil {
				t.Fatal(err)
			}
			size := m.Bounds().Size()
			if tall := turn > 4; tall != (size.Y > size.X) || params != nil && size.X != 20 {
				t.Errorf("%d: %v", turn, size)
			}
			at := m.At(int(first.x*float64(size.X-1)), int(first.y*float64(size.Y-1)))
			if !near(at, 255, 0, 0) {
				t.Errorf("%d: %v at %v of %v", turn, at, first, size)
			}
		}
	}
}

// FuzzRun: whatever a part is, it is converted or not, and what comes can be read.
func FuzzRun(f *testing.F) {
	for typ := range formats {
		f.Add(typ, "image/png", "5", encode(f, typ, stripes(9, 3)))
	}
	f.Add("text/plain", "text/plain", "iso-8859-1", []byte("grüße"))
	f.Add("text/html", "text/plain", "us-ascii", []byte("<ol><li>x<pre>\n</ol>&amp;<img alt=x>"))
	f.Fuzz(func(t *testing.T, from, to, value string, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		names := []string{Charset, Replacement}
		if strings.HasPrefix(from, "image/") {
			names = []string{Width}
			if c, _, err := image.DecodeConfig(bytes.NewReader(data)); err == nil && c.Width*c.Height > 1<<22 {
				return // it takes too long here
			}
		}
		var params []Parameter
		for _, n := range names {
			params = append(params, Parameter{n, value})
		}
		made, fault := Run(Source{Type: from, Charset: value, Data: data}, to, params)
		if fault != nil {
			if mail.KindOf(fault.Err) == mail.KindServerBug {
				t.Fatal(fault.Err)
			}
			return
		}
		if strings.HasPrefix(to, "image/") {
			if _, _, err := image.DecodeConfig(bytes.NewReader(made.Data)); err != nil {
				t.Fatal(err)
			}
		} else if len(made.Data) > 64*len(data)+1024 {
			t.Fatalf("%d bytes of %d", len(made.Data), len(data))
		}
	})
}
