package message

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/transform"

	"github.com/postern-mail/postern/mail"
)

// charsetAliases are names that messages use and the IANA registry has not.
var charsetAliases = map[string]encoding.Encoding{
	"cp932":         japanese.ShiftJIS,
	"ms932":         japanese.ShiftJIS,
	"windows-31j":   japanese.ShiftJIS,
	"shift-jis":     japanese.ShiftJIS,
	"x-sjis":        japanese.ShiftJIS,
	"sjis":          japanese.ShiftJIS,
	"iso-2022-jp-1": japanese.ISO2022JP,
	"iso-2022-jp-2": japanese.ISO2022JP,
	"iso-2022-jp-3": japanese.ISO2022JP,
	"cp50220":       japanese.ISO2022JP,
	"cp50221":       japanese.ISO2022JP,
	"eucjp":         japanese.EUCJP,
	"x-euc-jp":      japanese.EUCJP,
	"cp949":         korean.EUCKR,
	"ms949":         korean.EUCKR,
	"uhc":           korean.EUCKR,
	"x-windows-949": korean.EUCKR,
	"euckr":         korean.EUCKR,
	"ks_c_5601":     korean.EUCKR,
	"ksc5601":       korean.EUCKR,
	"cp936":         simplifiedchinese.GBK,
	"ms936":         simplifiedchinese.GBK,
	"x-gbk":         simplifiedchinese.GBK,
	"gb2312":        simplifiedchinese.GBK,
	"euc-cn":        simplifiedchinese.GBK,
	"hz-gb-2312":    simplifiedchinese.HZGB2312,
	"cp950":         traditionalchinese.Big5,
	"ms950":         traditionalchinese.Big5,
	"x-big5":        traditionalchinese.Big5,
	"big5-hkscs":    traditionalchinese.Big5,
	"cp874":         charmap.Windows874,
	"iso-8859-1":    charmap.Windows1252,
	"latin1":        charmap.Windows1252,
	"ansi":          charmap.Windows1252,
	"iso-8859-9":    charmap.Windows1254,
	"iso-8859-11":   charmap.Windows874,
	"tis-620":       charmap.Windows874,
	"iso-8859-8-i":  charmap.ISO8859_8,
	"iso-8859-8-e":  charmap.ISO8859_8,
	"koi8-ru":       charmap.KOI8U,
	"macintosh":     charmap.Macintosh,
	"x-mac-roman":   charmap.Macintosh,
}

// ConvertCharset gives b, which is text in charset, in UTF-8; what is no text in
// it becomes U+FFFD. KindUnknownCharset when there is no such charset. At most
// three bytes are given for one of b, and twelve more.
func ConvertCharset(charset string, b []byte) (string, error) {
	name := strings.ToLower(strings.TrimSpace(charset))
	switch name {
	case "utf-8", "utf8", "unicode-1-1-utf-8", "us-ascii", "ascii", "ansi_x3.4-1968", "iso646-us", "646":
		return strings.ToValidUTF8(string(b), "\uFFFD"), nil
	case "utf-7", "utf7", "unicode-1-1-utf-7":
		return string(appendUTF7(nil, b)), nil
	case "iso-2022-kr":
		b = shiftedKorean(b)
		name = "euc-kr"
	}
	e := findCharset(name)
	if e == nil {
		return "", mail.Errorf(mail.KindUnknownCharset, "That charset is not known.")
	}
	return string(convert(e, b)), nil
}

// findCharset gives the encoding called name, in lower case, or nil.
func findCharset(name string) encoding.Encoding {
	if len(name) == 0 || len(name) > maxCharset {
		return nil
	}
	if e := charsetAliases[name]; e != nil {
		return e
	}
	if strings.HasPrefix(name, "cp125") {
		name = "windows-" + name[2:]
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e
	}
	if e, err := ianaindex.IANA.Encoding(name); err == nil && e != nil {
		return e
	}
	if e, err := htmlindex.Get(name); err == nil && e != encoding.Replacement {
		return e
	}
	return nil
}

// convert decodes b. It makes progress with every round, or puts U+FFFD for a
// byte, so that no decoder can hold it up.
func convert(e encoding.Encoding, b []byte) []byte {
	var t transform.Transformer = e.NewDecoder()
	limit := 3*len(b) + 12
	dst := make([]byte, 0, len(b)+len(b)/2+12)
	var buf [1024]byte
	for rounds := 0; rounds <= limit; rounds++ {
		n, m, err := t.Transform(buf[:], b, true)
		dst = append(dst, buf[:n]...)
		b = b[m:]
		if err == nil && len(b) == 0 || len(dst) >= limit {
			break
		}
		if n == 0 && m == 0 || err != nil && !errors.Is(err, transform.ErrShortDst) {
			if len(b) == 0 {
				break
			}
			dst = append(dst, "\uFFFD"...)
			b = b[1:]
		}
	}
	return bytes.ToValidUTF8(cutUTF8(dst, limit), []byte("\uFFFD"))
}

// toUTF8 gives b in UTF-8 as well as it can: by charset, and when that is empty,
// unknown or a lie, as UTF-8 where b is that, else as windows-1252. It may give b.
func toUTF8(charset, b []byte) []byte {
	ascii := isASCII(b)
	switch {
	case equalFold(charset, "utf-8"):
		if ascii || utf8.Valid(b) {
			return b
		}
		return bytes.ToValidUTF8(b, []byte("\uFFFD"))
	case len(charset) == 0 || equalFold(charset, "us-ascii"):
		if ascii || utf8.Valid(b) {
			return b
		}
		return convert(charmap.Windows1252, b)
	case ascii && asciiCompatible(charset):
		return b
	}
	if s, err := ConvertCharset(string(charset), b); err == nil {
		return []byte(s)
	}
	return toUTF8(nil, b)
}

// ToUTF8 gives text in UTF-8 as the search text has it: by charset, and when that is "" or
// says too little, as UTF-8 where text is that, else as windows-1252. KindUnknownCharset.
func ToUTF8(charset string, text []byte) (string, error) {
	if _, err := ConvertCharset(charset, nil); err != nil && strings.TrimSpace(charset) != "" {
		return "", err
	}
	return string(toUTF8([]byte(strings.ToLower(strings.TrimSpace(charset))), text)), nil
}

// HTMLCharset gives the charset that the beginning of an HTML document names, or "".
func HTMLCharset(document []byte) string { return string(metaCharset(document)) }

// asciiCompatible tells the charsets of which seven-bit text is ASCII.
func asciiCompatible(charset []byte) bool {
	return len(charset) > 7 && (equalFold(charset[:8], "iso-8859") || equalFold(charset[:8], "windows-"))
}

func isASCII(b []byte) bool {
	for len(b) >= 8 {
		if (uint64(b[0])|uint64(b[1])|uint64(b[2])|uint64(b[3])|uint64(b[4])|uint64(b[5])|uint64(b[6])|uint64(b[7]))&0x80 != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// cutUTF8 cuts b to at most n bytes and not inside a character.
func cutUTF8(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	for i := 0; i < 3 && n > 0 && !utf8.RuneStart(b[n]); i++ {
		n--
	}
	return b[:n]
}
