package hostile

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/message"
)

// messageBombs are messages that cost much who reads them carelessly: each makes one of
// about so many bytes. What a field, a body or a tree holds is bounded or read once.
var messageBombs = map[string]func(n int) string{
	// Fields.
	"fields of one name":       header(func(n int) string { return strings.Repeat("Received: x\r\n", n/13) }),
	"fields of many names":     header(func(n int) string { return numbered("X-%d: y\r\n", n) }),
	"To a hundred thousand":    header(func(n int) string { return strings.Repeat("To: a@b.example\r\n", n/17) }),
	"lines that are no fields": header(func(n int) string { return strings.Repeat("garbage\r\n", n/9) }),
	"a field of one line":      header(func(n int) string { return "Subject: " + strings.Repeat("x", n) + "\r\n" }),
	"a folded field":           header(func(n int) string { return "Subject: x\r\n" + strings.Repeat(" y\r\n", n/4) }),
	"a folded kept field":      header(func(n int) string { return "List-Id: x\r\n" + strings.Repeat("\t\r\n", n/3) }),
	"spaces before a colon":    header(func(n int) string { return "Subject" + strings.Repeat(" ", n) + ": x\r\n" }),

	// Addresses.
	"commas":                     header(func(n int) string { return "To: " + strings.Repeat(",", n) + "\r\n" }),
	"addresses":                  header(func(n int) string { return "To: " + strings.Repeat("a@b,", n/4) + "\r\n" }),
	"groups":                     header(func(n int) string { return "Cc: " + strings.Repeat("a:", n/2) + "\r\n" }),
	"empty groups":               header(func(n int) string { return "Cc: " + strings.Repeat("a:;,", n/4) + "\r\n" }),
	"comments in addresses":      header(func(n int) string { return "From: " + strings.Repeat("(", n) + "\r\n" }),
	"comments between addresses": header(func(n int) string { return "From: " + strings.Repeat("(a)", n/3) + " a@b\r\n" }),
	"quotes in addresses":        header(func(n int) string { return "From: " + strings.Repeat("\"a", n/2) + "\r\n" }),
	"backslashes in addresses":   header(func(n int) string { return "From: \"" + strings.Repeat("\\", n) + "\r\n" }),
	"angles":                     header(func(n int) string { return "From: " + strings.Repeat("<", n) + "\r\n" }),
	"angles with addresses": header(func(n int) string {
		return "From: a@b " + strings.Repeat("<c@d>", n/5) + "\r\n"
	}),
	"angles that close": header(func(n int) string { return "From: " + strings.Repeat("<a>", n/3) + "\r\n" }),
	"routes":            header(func(n int) string { return "From: <" + strings.Repeat("@a,", n/3) + ":b@c>\r\n" }),
	"words":             header(func(n int) string { return "Reply-To: " + strings.Repeat("a ", n/2) + "\r\n" }),
	"dots":              header(func(n int) string { return "Reply-To: a" + strings.Repeat(" . a", n/4) + "@b\r\n" }),
	"at signs":          header(func(n int) string { return "Reply-To: " + strings.Repeat("@", n) + "\r\n" }),

	// Encoded words.
	"encoded words":                header(func(n int) string { return "Subject: " + strings.Repeat("=?utf-8?q?=C3=A9?= ", n/20) + "\r\n" }),
	"encoded words in names":       header(func(n int) string { return "From: " + strings.Repeat("=?utf-8?b?w6k=?= ", n/18) + "<a@b>\r\n" }),
	"encoded words, begun":         header(func(n int) string { return "Subject: " + strings.Repeat("=?", n/2) + "\r\n" }),
	"encoded words, half":          header(func(n int) string { return "Subject: " + strings.Repeat("=?utf-8?q?", n/10) + "\r\n" }),
	"encoded words, no end":        header(func(n int) string { return "Subject: " + strings.Repeat("=?u?q?a? ", n/9) + "\r\n" }),
	"one encoded word":             header(func(n int) string { return "Subject: =?utf-8?b?" + strings.Repeat("w6nDqcOp", n/8) + "?=\r\n" }),
	"encoded words, charsets":      header(func(n int) string { return "Subject: " + numbered("=?x-%d?q?a?= ", n) + "\r\n" }),
	"encoded words without blanks": header(func(n int) string { return "Subject: " + strings.Repeat("x=?utf-8?q?=C3=A9?=", n/19) + "\r\n" }),
	"encoded words, ISO-2022":      header(func(n int) string { return "Subject: " + strings.Repeat("=?iso-2022-jp?b?GyRCGyhC?= ", n/28) + "\r\n" }),
	"encoded words, UTF-7":         header(func(n int) string { return "Subject: =?utf-7?q?" + strings.Repeat("+-", n/2) + "?=\r\n" }),

	// Subjects and references.
	"Re":              header(func(n int) string { return "Subject: " + strings.Repeat("Re: ", n/4) + "x\r\n" }),
	"Re in brackets":  header(func(n int) string { return "Subject: " + strings.Repeat("Re: [x] ", n/8) + "x\r\n" }),
	"blobs":           header(func(n int) string { return "Subject: " + strings.Repeat("[x] ", n/4) + "x\r\n" }),
	"blobs before Re": header(func(n int) string { return "Subject: " + strings.Repeat("[x]", n/3) + "Re: x\r\n" }),
	"blobs and no Re": header(func(n int) string { return "Subject: " + strings.Repeat("[x]Re", n/5) + "\r\n" }),
	"brackets":        header(func(n int) string { return "Subject: " + strings.Repeat("[", n) + "\r\n" }),
	"forwarded":       header(func(n int) string { return "Subject: x" + strings.Repeat("(fwd) ", n/6) + "\r\n" }),
	"forwarded within": header(func(n int) string {
		return "Subject: " + strings.Repeat("[fwd: ", n/7) + strings.Repeat("]", n/7) + "\r\n"
	}),
	"forwarded and blobs": header(func(n int) string {
		return "Subject: " + strings.Repeat("[fwd: [a] ", n/11) + strings.Repeat("]", n/11) + "\r\n"
	}),
	"References":        header(func(n int) string { return "References: " + numbered("<%d@a> ", n) + "\r\n" }),
	"References, begun": header(func(n int) string { return "References: " + strings.Repeat("<a@b ", n/5) + "\r\n" }),
	"References, quotes": header(func(n int) string {
		return "References: <\"" + strings.Repeat("<a\\\"", n/4) + "\r\n"
	}),
	"References, quotes and none": header(func(n int) string {
		return "Message-ID: <x\r\nReferences: " + strings.Repeat("<a\\\" <a@b>", n/10) + "\r\n"
	}),
	"References, one":      header(func(n int) string { return "References: <" + strings.Repeat(" a", n/2) + ">\r\n" }),
	"In-Reply-To":          header(func(n int) string { return "In-Reply-To: " + numbered("<%d@a> ", n) + "\r\n" }),
	"a date with comments": header(func(n int) string { return "Date: Mon, 2 Feb 2026 10:00:00 +0000 " + strings.Repeat("(", n) + "\r\n" }),
	"a date of digits":     header(func(n int) string { return "Date: " + strings.Repeat("1", n) + "\r\n" }),

	// Parameters.
	"parameters":           header(func(n int) string { return "Content-Type: text/plain" + numbered("; a%d=b", n) + "\r\n" }),
	"parameters in pieces": header(func(n int) string { return "Content-Type: text/plain" + numbered("; name*%d=b", n) + "\r\n" }),
	"parameters in encoded pieces": header(func(n int) string {
		return "Content-Type: text/plain; name*0*=utf-8''" + numbered("; name*%d*=%%20", n) + "\r\n"
	}),
	"parameters in pieces, backwards": header(func(n int) string {
		return "Content-Disposition: attachment" + backwards("; filename*%d=b", n) + "\r\n"
	}),
	"parameters, the same piece":  header(func(n int) string { return "Content-Type: text/plain" + strings.Repeat("; a*0=b", n/7) + "\r\n" }),
	"a parameter":                 header(func(n int) string { return "Content-Type: text/plain; name=\"" + strings.Repeat("\\\"", n/2) + "\r\n" }),
	"semicolons":                  header(func(n int) string { return "Content-Type: text/plain" + strings.Repeat(";", n) + "\r\n" }),
	"comments in a type":          header(func(n int) string { return "Content-Type: text/plain" + strings.Repeat("(", n) + "\r\n" }),
	"comments between parameters": header(func(n int) string { return "Content-Type: text/plain" + strings.Repeat(";()a=b", n/6) + "\r\n" }),
	"languages":                   header(func(n int) string { return "Content-Language: " + strings.Repeat("de, ", n/4) + "\r\n" }),
	"names of attachments": func(n int) string {
		return mixed("b", strings.Repeat("--b\r\nContent-Disposition: attachment; filename*0*=utf-8''%41; filename*1=b\r\n\r\nx\r\n", n/80))
	},

	// Trees.
	"parts": func(n int) string { return mixed("p", strings.Repeat("--p\r\n\r\n", n/7)) },
	"parts with a header": func(n int) string {
		return mixed("p", strings.Repeat("--p\r\nContent-Type: text/html\r\n\r\n<b>x", n/38))
	},
	"parts within parts": func(n int) string {
		return numbered("Content-Type: multipart/mixed; boundary=b%[1]d\r\n\r\n--b%[1]d\r\n", n) + "\r\nx\r\n"
	},
	"boundaries that begin each other": func(n int) string {
		var b strings.Builder
		for i := range min(n/200, 99) {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%[1]s\r\n", strings.Repeat("a", i%69+1))
		}
		return b.String() + "\r\n" + strings.Repeat("--"+strings.Repeat("a", 40)+"b\r\n", n/45)
	},
	"lines that are nearly boundaries": func(n int) string {
		return mixed(strings.Repeat("a", 69)+"b", strings.Repeat("--"+strings.Repeat("a", 69)+"\r\n", n/73))
	},
	"a boundary of a field": func(n int) string { return mixed(strings.Repeat("a", n/2), "--"+strings.Repeat("a", n/2)+"\r\n\r\n") },
	"hyphens":               func(n int) string { return mixed("b", strings.Repeat("--\r\n", n/4)) },
	"messages within messages": func(n int) string {
		return strings.Repeat("Content-Type: message/rfc822\r\n\r\n", n/32) + "Subject: x\r\n\r\nx\r\n"
	},
	"messages side by side": func(n int) string {
		return "Content-Type: multipart/digest; boundary=d\r\n\r\n" + strings.Repeat("--d\r\n\r\nSubject: x\r\nTo: a@b\r\n\r\nx\r\n", n/40) + "--d--\r\n"
	},
	"headers of parts": func(n int) string {
		return mixed("p", strings.Repeat("--p\r\n"+strings.Repeat("To: a@b\r\n", 100)+"\r\nx\r\n", n/913+1))
	},

	// Bodies.
	"base64":                 body("text/plain", "base64", "QUFB"),
	"base64 of nothing":      body("text/plain", "base64", "="),
	"base64 of line ends":    body("text/plain", "base64", "\r\n"),
	"quoted-printable":       body("text/plain", "quoted-printable", "=41"),
	"soft line breaks":       body("text/plain", "quoted-printable", "=\r\n"),
	"equals signs":           body("text/plain", "quoted-printable", "="),
	"blanks at line ends":    body("text/plain", "quoted-printable", strings.Repeat(" ", 1500)+"\r\n"),
	"text in ISO-2022":       body("text/plain; charset=iso-2022-jp", "8bit", "\x1b$B\x1b(B"),
	"text in UTF-7":          body("text/plain; charset=utf-7", "8bit", "+AGEA"),
	"text that is no UTF-8":  body("text/plain; charset=utf-8", "8bit", "\xff"),
	"text of NULs":           body("text/plain", "8bit", "\x00"),
	"text that folds longer": body("text/plain; charset=utf-8", "8bit", "\u0130\u1e9e\ufb03"),
	"HTML tags":              body("text/html", "8bit", "<b>"),
	"HTML angles":            body("text/html", "8bit", "<"),
	"HTML comments":          body("text/html", "8bit", "<!--"),
	"HTML comments that end": body("text/html", "8bit", "<!---->"),
	"HTML entities":          body("text/html", "8bit", "&NotEqualTilde;"),
	"HTML ampersands":        body("text/html", "8bit", "&"),
	"HTML scripts":           body("text/html", "8bit", "<script>"),
	"HTML styles":            body("text/html", "8bit", "<style></styl"),
	"HTML attributes":        body("text/html", "8bit", "<a b='"),
	"HTML charsets":          body("text/html", "8bit", "<meta charset=x"),
	"HTML, deep":             body("text/html", "8bit", "<blockquote><table>"),
}

func header(fields func(n int) string) func(n int) string {
	return func(n int) string { return fields(n) + "\r\nbody\r\n" }
}

func mixed(boundary, rest string) string {
	return "Content-Type: multipart/mixed; boundary=\"" + boundary + "\"\r\n\r\n" + rest
}

func body(mediaType, encoding, text string) func(n int) string {
	return func(n int) string {
		return "Content-Type: " + mediaType + "\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + strings.Repeat(text, max(n/len(text), 1)) + "\r\n"
	}
}

// numbered repeats a format with numbers from 0 on.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// backwards repeats it with numbers down to 0.
func backwards(format string, n int) string {
	var b strings.Builder
	for i := n / len(format); i >= 0; i-- {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// threadTime gives the processor time of the calling thread.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// readAll does with a message all that a server does for a client: what is computed at its
// delivery, and what is made of it when it is fetched, sorted and converted.
func readAll(raw []byte) {
	m := message.Parse(raw, message.DefaultLimits)
	s := m.Summary()
	text := m.SearchText()
	message.FilterOf(s, text)
	message.FuzzyOf([]byte("nothing like this")).Score(text)
	m.References()
	m.MessageID()
	s.Preview()
	s.AttachmentNames()
	s.Fields([]string{"Subject", "To"})
	header := raw[:min(s.HeaderSize(), int64(len(raw)))]
	for f := message.SortDate + 1; f <= message.SortReferences; f++ {
		message.AppendSortField(nil, f, header)
	}
	message.AppendFields(nil, header, []string{"Subject", "Received"}, true)
	for range message.DecodedField(header, "Subject") {
	}
	message.RecodeHeader(header[:min(len(header), 1<<20)], "iso-8859-1", "?")
	m.Surrogate()
	if r, err := message.Decode("quoted-printable", strings.NewReader(string(raw))); err == nil {
		io.Copy(io.Discard, r)
	}
	message.Parse(raw, message.DefaultLimits).ShowGlobal().Summary()
}

// TestMessageBombs: what is done with a message takes time and memory that grow with its
// size, whatever it is made of: sixteen times the size is far from 256 times the work.
// The long form is of 16 MiB.
func TestMessageBombs(t *testing.T) {
	small, large := 16<<10, 256<<10
	if hours {
		small, large = 1<<20, 16<<20
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	type result struct {
		name  string
		took  time.Duration
		times float64
		bytes float64 // allocated for each byte of the message
	}
	var results []result
	measure := func(raw []byte) (took time.Duration, allocated uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := threadTime(t)
		readAll(raw)
		took = threadTime(t) - began
		runtime.ReadMemStats(&after)
		return took, after.TotalAlloc - before.TotalAlloc
	}
	for name, build := range messageBombs {
		one, many := []byte(build(small)), []byte(build(large))
		short, _ := measure(one)
		long, bytes := measure(many)
		for try := 0; try < 2 && suspicious(one, many, short, long, bytes); try++ {
			// What happened elsewhere in the machine does not happen three times.
			again, _ := measure(one)
			short = max(short, again)
			again, bytes = measure(many)
			long = min(long, again)
		}
		r := result{name, long, float64(long) / float64(max(short, time.Millisecond)), float64(bytes) / float64(len(many))}
		results = append(results, r)
		if suspicious(one, many, short, long, bytes) {
			t.Errorf("%s: %d bytes took %v, %d bytes %v and %d bytes of memory", name, len(one), short, len(many), long, bytes)
		}
	}
	slices.SortFunc(results, func(a, b result) int { return int(b.took - a.took) })
	for i, r := range results {
		if i < 12 || hours {
			t.Logf("%-34s %8v for %d KiB, %5.1f times as long as %d KiB, %5.1f bytes of memory for each", r.name, r.took.Round(time.Millisecond), large>>10, r.times, small>>10, r.bytes)
		}
	}
	t.Logf("prove: messages made to cost much: %d", len(results))
	t.Logf("prove: the costliest of them, for each MiB: %v (%s)", (results[0].took * (1 << 20) / time.Duration(large)).Round(time.Millisecond), results[0].name)
}

// suspicious tells whether work grew much more than the message, or took much for its
// size: more than 4 s or 600 bytes of memory for each byte.
func suspicious(one, many []byte, short, long time.Duration, bytes uint64) bool {
	ratio := float64(len(many)) / float64(len(one))
	return float64(long) > 4*ratio*float64(max(short, 2*time.Millisecond)) ||
		long > 4*time.Second*time.Duration(len(many)+1<<20)>>20 || bytes > uint64(600*(len(many)+64<<10))
}
