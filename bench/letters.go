package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"mime/quotedprintable"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// letters makes mail as people get it, for what depends on how well it compresses:
// a half plain text, a third newsletters with HTML, a sixth with an attachment that is
// compressed already, as PDFs, pictures and office files are; with the header that
// today's servers add. By bytes attachments are four fifths.
type letters struct {
	next map[string][]string // the words that follow a word in the project's own pages
	some []string            // words to begin with
}

func newLetters() *letters {
	l := &letters{next: map[string][]string{}}
	files, err := filepath.Glob("docs/*.md")
	check(err)
	more, err := filepath.Glob("docs/decisions/*.md")
	check(err)
	for _, name := range append(files, more...) {
		text, err := os.ReadFile(name)
		check(err)
		last := "."
		for _, w := range strings.Fields(string(text)) {
			if strings.ContainsAny(w, "|`*#<>=[]") {
				continue
			}
			if strings.HasSuffix(last, ".") {
				l.some = append(l.some, w)
			}
			l.next[last] = append(l.next[last], w)
			last = w
		}
	}
	if len(l.some) < 100 {
		fail("the bench reads its words in docs/: run it in the project's folder")
	}
	return l
}

// prose gives about n bytes of words that follow each other as in the pages.
func (l *letters) prose(r *rand.Rand, n int) string {
	var b strings.Builder
	w, column := l.some[r.IntN(len(l.some))], 0
	for b.Len() < n {
		if column+len(w) > 72 {
			b.WriteString("\r\n")
			column = 0
		}
		b.WriteString(w)
		b.WriteByte(' ')
		column += len(w) + 1
		if after := l.next[w]; len(after) > 0 && r.IntN(20) > 0 {
			w = after[r.IntN(len(after))]
		} else {
			w = l.some[r.IntN(len(l.some))]
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

// base64Of gives n random bytes in base64, in lines as in mail.
func base64Of(r *rand.Rand, n int) string {
	raw := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		v := r.Uint64()
		for j := range 8 {
			raw[i+j] = byte(v >> (8 * j))
		}
	}
	text := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	b.WriteString(text + "\r\n")
	return b.String()
}

// message makes the i-th.
func (l *letters) message(i int) []byte {
	r := rand.New(rand.NewPCG(11, uint64(i)))
	var b bytes.Buffer
	date := time.Unix(1_700_000_000+int64(i)*613, 0).UTC().Format(time.RFC1123Z)
	from := r.IntN(300)
	token := func(n int) string { return strings.Fields(base64Of(r, n))[0] }
	// around is a size that is sometimes much larger (log-normal).
	around := func(n float64, spread float64) int { return int(n * math.Exp(r.NormFloat64()*spread)) }
	fmt.Fprintf(&b, "Return-Path: <bounce-%s@mail.sender%d.example>\r\n", token(18), from)
	for hop := range 2 + r.IntN(3) {
		fmt.Fprintf(&b, "Received: from out%d.sender%d.example (out%d.sender%d.example [192.0.2.%d])\r\n\tby mx%d.bench.example (Postfix) with ESMTPS id %s\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n\tfor <user@bench.example>; %s\r\n", hop, from, hop, from, r.IntN(256), hop, token(12), date)
	}
	fmt.Fprintf(&b, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=sender%d.example; s=s1;\r\n\th=from:to:subject:date:message-id:mime-version; bh=%s;\r\n\tb=%s", from, token(32), strings.ReplaceAll(base64Of(r, 256), "\r\n", "\r\n\t "))
	fmt.Fprintf(&b, "\r\nAuthentication-Results: mx.bench.example; dkim=pass header.d=sender%d.example; spf=pass\r\nFrom: \"%s\" <news%d@sender%d.example>\r\nTo: <user@bench.example>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@sender%d.example>\r\nMIME-Version: 1.0\r\n",
		from, l.some[from%len(l.some)], from, from, strings.TrimSpace(strings.ReplaceAll(l.prose(r, 30), "\r\n", "")), date, strings.ReplaceAll(token(24), "/", "-"), from)
	bound := token(18)
	part := func(kind, encoding string) {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n", bound, kind, encoding)
	}
	switch at := r.IntN(100); {
	case at < 50:
		b.WriteString("Content-Type: text/plain; charset=utf-8\r\n\r\n")
		b.WriteString(l.prose(r, min(around(1800, 0.9), 100_000)))
	case at < 84:
		fmt.Fprintf(&b, "List-Unsubscribe: <https://sender%d.example/u/%s>\r\nContent-Type: multipart/alternative; boundary=\"%s\"\r\n\r\n", from, token(60), bound)
		part("text/plain; charset=utf-8", "quoted-printable")
		b.WriteString(l.prose(r, around(2500, 0.6)))
		part("text/html; charset=utf-8", "quoted-printable")
		w := quotedprintable.NewWriter(&b)
		fmt.Fprintf(w, "<!DOCTYPE html>\r\n<html><head><meta charset=\"utf-8\"><style>body{margin:0;padding:0;background:#f4f4f4;font-family:Helvetica,Arial,sans-serif}.c%d{color:#%06x}</style></head><body><table width=\"100%%\" cellpadding=\"0\" cellspacing=\"0\">\r\n", from, r.IntN(1<<24))
		for end := b.Len() + min(around(30_000, 0.7), 300_000); b.Len() < end; {
			fmt.Fprintf(w, "<tr><td align=\"center\" style=\"padding:%dpx 24px;font-size:%dpx;line-height:1.5;color:#%06x\"><a href=\"https://click.sender%d.example/ls/click?upn=%s\" style=\"text-decoration:none\" target=\"_blank\"><img src=\"https://img.sender%d.example/%s.png\" width=\"%d\" alt=\"\" border=\"0\"></a><p>%s</p></td></tr>\r\n",
				r.IntN(40), 12+r.IntN(8), r.IntN(1<<24), from, token(54), from, token(12), 100+r.IntN(500), l.prose(r, 120+r.IntN(500)))
		}
		fmt.Fprint(w, "</table></body></html>\r\n")
		check(w.Close())
		fmt.Fprintf(&b, "\r\n--%s--\r\n", bound)
	default:
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n", bound)
		part("text/plain; charset=utf-8", "8bit")
		b.WriteString(l.prose(r, around(1200, 0.6)))
		part("application/pdf; name=\"document.pdf\"", "base64")
		b.WriteString(base64Of(r, min(around(150_000, 1), 4_000_000)))
		fmt.Fprintf(&b, "--%s--\r\n", bound)
	}
	return b.Bytes()
}
