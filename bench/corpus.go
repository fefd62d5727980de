package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// message makes the i-th message of about size bytes; a tenth has an attachment. Its
// text has a word that no other has.
func message(i, size int) []byte {
	r := rand.New(rand.NewPCG(7, uint64(i)))
	words := []string{"garden", "invoice", "meeting", "river", "printer", "holiday", "contract", "answer", "maybe", "tomorrow", "coffee", "deadline"}
	var b bytes.Buffer
	date := time.Unix(1_700_000_000+int64(i)*61, 0).UTC().Format(time.RFC1123Z)
	fmt.Fprintf(&b, "Return-Path: <p%d@example.org>\r\nReceived: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mail.bench.example with ESMTPS id %x; %s\r\n", i%97, r.Uint64(), date)
	fmt.Fprintf(&b, "From: Person %d <p%d@example.org>\r\nTo: \"Bench User\" <u@bench.example>\r\nCc: team@example.org\r\nDate: %s\r\n", i%97, i%97, date)
	fmt.Fprintf(&b, "Subject: %s %s %d\r\nMessage-ID: <%d.%x@example.org>\r\nMIME-Version: 1.0\r\n", words[r.IntN(len(words))], words[r.IntN(len(words))], i, i, r.Uint32())
	if i%3 == 0 {
		fmt.Fprintf(&b, "In-Reply-To: <%d@example.org>\r\nReferences: <%d@example.org>\r\n", i/3, i/3)
	}
	text := func(n int) {
		column, _ := fmt.Fprintf(&b, "ref%dx ", i)
		for n > 0 {
			w := words[r.IntN(len(words))]
			if column += len(w) + 1; column > 72 {
				b.WriteString("\r\n")
				column = len(w)
			}
			b.WriteString(w)
			b.WriteByte(' ')
			n -= len(w) + 1
		}
		b.WriteString("\r\n")
	}
	if i%10 == 0 {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\n--b%d\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", i, i)
		text((size - b.Len()) / 2)
		fmt.Fprintf(&b, "--b%d\r\nContent-Type: application/pdf; name=\"file%d.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"file%d.pdf\"\r\n\r\n", i, i, i)
		for b.Len() < size-100 {
			b.WriteString(strings.Repeat("QUJD", 18) + "\r\n")
		}
		fmt.Fprintf(&b, "--b%d--\r\n", i)
		return b.Bytes()
	}
	b.WriteString("Content-Type: text/plain; charset=utf-8\r\n\r\n")
	text(max(size-b.Len(), 10))
	return b.Bytes()
}
