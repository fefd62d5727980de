package message

import (
	"fmt"
	"strings"
	"testing"
)

// plainMessage is a message of about 4 KiB as it arrives over SMTP.
var plainMessage = []byte("Return-Path: <anna@example.org>\r\n" +
	"Received: from mx.example.org (mx.example.org [192.0.2.7])\r\n\tby mail.example.net (Postfix) with ESMTPS id 4ABCDE\r\n\tfor <bob@example.net>; Mon,  6 Jan 2025 10:11:12 +0100 (CET)\r\n" +
	"Received: from [192.0.2.33] (host33.example.org [192.0.2.33])\r\n\tby mx.example.org (Postfix) with ESMTPSA id 3ABCDE;\r\n\tMon,  6 Jan 2025 10:11:11 +0100 (CET)\r\n" +
	"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=2024;\r\n\th=from:to:subject:date:message-id; bh=" + strings.Repeat("Qm9keUhhc2g", 4) + "=;\r\n\tb=" + strings.Repeat("U2lnbmF0dXJl", 14) + "==\r\n" +
	"Date: Mon, 6 Jan 2025 10:11:10 +0100\r\n" +
	"From: =?utf-8?q?Anna_M=C3=BCller?= <anna@example.org>\r\n" +
	"To: Bob <bob@example.net>, Carol Smith <carol@example.net>\r\n" +
	"Cc: \"The Team\" <team@example.net>\r\n" +
	"Message-ID: <20250106101110.4711@example.org>\r\n" +
	"In-Reply-To: <20250105091009.815@example.net>\r\n" +
	"References: <20250104080808.1@example.net> <20250105091009.815@example.net>\r\n" +
	"Subject: Re: the agenda of next week\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"Content-Transfer-Encoding: 8bit\r\n" +
	"User-Agent: Mozilla Thunderbird\r\n" +
	"\r\n" +
	strings.Repeat("Dear Bob, here is what we will talk about next Tuesday; do tell Carol.\r\n", 36))

func BenchmarkDelivery(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(plainMessage)))
	for b.Loop() {
		m := Parse(plainMessage, DefaultLimits)
		m.Summary()
		m.SearchText()
		m.MessageID()
		m.References()
	}
}

func BenchmarkMultipart(b *testing.B) {
	var s strings.Builder
	s.WriteString("From: a@b\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n")
	for i := range 5 {
		fmt.Fprintf(&s, "--outer\r\nContent-Type: text/plain; charset=utf-8; name=n%d.txt\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s\r\n", i, strings.Repeat("Gr=C3=BC=C3=9Fe aus M=C3=BCnchen=\r\n", 30))
	}
	s.WriteString("--outer--\r\n")
	raw := []byte(s.String())
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		m := Parse(raw, DefaultLimits)
		m.Summary()
		m.SearchText()
	}
}

func BenchmarkFields(b *testing.B) {
	s := Parse(plainMessage, DefaultLimits).Summary()
	names := []string{"From", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID", "Priority", "X-Priority", "References", "Newsgroups", "In-Reply-To", "Content-Type", "Reply-To"}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Fields(names); !ok {
			b.Fatal("not kept")
		}
	}
}
