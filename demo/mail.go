// Package demo makes the mail that `postern demo` shows: some dozens of messages
// of the kinds that people really get.
package demo

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"mime"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Message is a message of the demonstration and where it lies.
type Message struct {
	Mailbox  string
	Flags    mail.Flags
	Keywords []string
	Date     time.Time
	Raw      []byte
}

// person is somebody who writes.
type person struct{ name, address string }

func (p person) String() string {
	name := mime.QEncoding.Encode("utf-8", p.name)
	if name == p.name {
		return fmt.Sprintf("%s <%s>", p.name, p.address)
	}
	return fmt.Sprintf("%s <%s>", name, p.address)
}

var (
	priya   = person{"Priya Raman", "priya.raman@example.org"}
	joerg   = person{"Jörg Müller", "joerg.mueller@example.de"}
	claire  = person{"Claire Dubois", "claire@example.fr"}
	kenji   = person{"佐藤 健二", "kenji.sato@example.jp"}
	olga    = person{"Ольга Петрова", "olga@example.com"}
	backups = person{"Backup Service", "backup@ops.example.net"}
	shop    = person{"Bean & Leaf", "orders@beanandleaf.example"}
	news    = person{"The Weekly Packet", "editor@weeklypacket.example"}
	list    = person{"gardeners", "gardeners@lists.example.org"}
)

// writer builds the messages of one account.
type writer struct {
	me   person
	now  time.Time
	n    int
	mail []Message
}

// Mail gives the messages of an account with the given address and name, ordered
// from the oldest; dates run up to now.
func Mail(address, name string, now time.Time) []Message {
	w := &writer{me: person{name, address}, now: now.Truncate(time.Second)}
	w.plain()
	w.threads()
	w.structured()
	w.foreign()
	w.reports()
	w.folders()
	return w.mail
}

// put adds a message; headers and body have LF line ends.
func (w *writer) put(mailbox string, flags mail.Flags, age time.Duration, from person, id, headers, body string, keywords ...string) {
	w.n++
	date := w.now.Add(-age)
	to := w.me
	if from == w.me {
		to = priya
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Return-Path: <%s>\n", from.address)
	fmt.Fprintf(&b, "Received: from mx.%s by mail.postern.example with ESMTPS id q%06d\n\tfor <%s>; %s\n",
		from.address[strings.IndexByte(from.address, '@')+1:], w.n, to.address, date.Add(2*time.Second).Format(time.RFC1123Z))
	fmt.Fprintf(&b, "From: %s\n", from)
	if !strings.Contains("\n"+headers, "\nTo: ") {
		fmt.Fprintf(&b, "To: %s\n", to)
	}
	fmt.Fprintf(&b, "Date: %s\n", date.Format(time.RFC1123Z))
	if id == "" {
		id = fmt.Sprintf("%d.%d", w.n, date.Unix())
	}
	fmt.Fprintf(&b, "Message-ID: <%s@%s>\n", id, from.address[strings.IndexByte(from.address, '@')+1:])
	b.WriteString("MIME-Version: 1.0\n")
	b.WriteString(strings.TrimSuffix(headers, "\n") + "\n\n")
	b.WriteString(body)
	if !strings.HasSuffix(body, "\n") {
		b.WriteString("\n")
	}
	w.mail = append(w.mail, Message{
		Mailbox: mailbox, Flags: flags, Keywords: keywords, Date: date,
		Raw: []byte(strings.ReplaceAll(b.String(), "\n", "\r\n")),
	})
}

const (
	day   = 24 * time.Hour
	ascii = "Content-Type: text/plain; charset=us-ascii"
	utf8  = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit"
)

func (w *writer) plain() {
	w.put("INBOX", mail.Seen, 40*day, priya, "", "Subject: Welcome aboard\n"+ascii,
		"Hello,\n\nyour account is ready. The calendar for the team is shared with you, and\nthe printer on the second floor finally works.\n\nPriya\n")
	w.put("INBOX", mail.Seen|mail.Answered, 38*day, joerg, "", "Subject: Lunch on Thursday?\n"+ascii,
		"The place by the river, half past twelve?\n\n-- \nJoerg\n")
	w.put("INBOX", mail.Seen, 33*day, backups, "", "Subject: [ok] nightly backup of fs1\n"+ascii,
		"Started  01:00:03\nFinished 01:42:17\nFiles    182,311\nBytes    41.2 GiB\nErrors   0\n")
	w.put("INBOX", mail.Flagged, 20*day, backups, "", "Subject: [FAILED] nightly backup of fs2\nX-Priority: 1 (Highest)\nImportance: high\n"+ascii,
		"Started  01:00:04\nFailed   01:07:51: no space left on device\n.\n..\n...a line of dots must survive POP3\n.\n")
	w.put("INBOX", 0, 3*day, claire, "", "Subject: Notes from the call\nContent-Type: text/plain; charset=us-ascii; format=flowed; delsp=no",
		"Hi all, \n\nthis paragraph is long enough that a mail program which knows \nformat=flowed will put it together again, and one which does not \nwill still show something readable.\n\n> We agreed on the second option. \n> Nobody objected.\n\nBest, \nClaire\n")
	w.put("INBOX", 0, 2*day, person{"", "noreply@status.example"}, "", "Subject: Planned maintenance on Saturday\nAuto-Submitted: auto-generated\n"+ascii,
		"The network in building B is down from 06:00 to 07:00.\n")
}

func (w *writer) threads() {
	var refs []string
	talk := []struct {
		from person
		body string
	}{
		{priya, "The garden needs water twice a week now. Who has time?\n"},
		{claire, "On Mon, Priya wrote:\n> Who has time?\n\nI can do Tuesdays.\n"},
		{joerg, "Fridays for me.\n"},
		{priya, "> Fridays for me.\n\nPerfect, thank you both. The key is at the desk.\n"},
		{olga, "I would like to join. Is there still a free bed?\n"},
	}
	for i, t := range talk {
		id := fmt.Sprintf("garden-%d", i)
		h := "To: gardeners <gardeners@lists.example.org>\nSubject: Re: Watering plan\n"
		if i == 0 {
			h = "To: gardeners <gardeners@lists.example.org>\nSubject: Watering plan\n"
		} else {
			h += "In-Reply-To: " + refs[len(refs)-1] + "\nReferences: " + strings.Join(refs, "\n\t") + "\n"
		}
		h += "List-Id: The gardeners <gardeners.lists.example.org>\nList-Post: <mailto:gardeners@lists.example.org>\nList-Unsubscribe: <mailto:leave@lists.example.org>\nPrecedence: list\n" + utf8
		flags := mail.Seen
		if i == len(talk)-1 {
			flags = 0
		}
		w.put("INBOX", flags, 15*day-time.Duration(i)*7*time.Hour, t.from, id, h, t.body)
		refs = append(refs, "<"+id+"@"+t.from.address[strings.IndexByte(t.from.address, '@')+1:]+">")
	}
	w.put("INBOX", mail.Seen|mail.Answered, 12*day, kenji, "offer-1", "Subject: Offer 2117\n"+utf8, "Please find our offer below.\n\n  40 units   1,120.00\n")
	w.put("Sent", mail.Seen, 12*day-time.Hour, w.me, "offer-2", "To: "+kenji.String()+"\nSubject: Re: Offer 2117\nIn-Reply-To: <offer-1@example.jp>\nReferences: <offer-1@example.jp>\n"+ascii, "Thank you. Could you deliver before the 12th?\n")
	w.put("INBOX", 0, 11*day, kenji, "offer-3", "Subject: Re: Offer 2117\nIn-Reply-To: <offer-2@"+w.me.address[strings.IndexByte(w.me.address, '@')+1:]+">\nReferences: <offer-1@example.jp> <offer-2@"+w.me.address[strings.IndexByte(w.me.address, '@')+1:]+">\n"+utf8, "Yes, the 10th is possible. \n\n佐藤\n")
}

// part is one body part with its headers.
func part(headers, body string) string { return headers + "\n\n" + body }

func multipart(boundary string, parts ...string) string {
	var b strings.Builder
	b.WriteString("This is a multi-part message in MIME format.\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\n%s\n", boundary, strings.TrimSuffix(p, "\n"))
	}
	fmt.Fprintf(&b, "--%s--\n", boundary)
	return b.String()
}

func b64(data []byte) string {
	s := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	return b.String() + s + "\n"
}

// picture draws a small picture.
func picture(seed byte) []byte {
	img := image.NewRGBA(image.Rect(0, 0, 64, 48))
	for y := range 48 {
		for x := range 64 {
			img.Set(x, y, color.RGBA{byte(x * 4), byte(y*5) ^ seed, seed, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err) // drawing into memory does not fail
	}
	return b.Bytes()
}

// pdf is a small document that viewers open.
func pdf(text string) []byte {
	var b bytes.Buffer
	var offsets []int
	obj := func(s string) {
		offsets = append(offsets, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", len(offsets), s)
	}
	b.WriteString("%PDF-1.4\n")
	obj("<< /Type /Catalog /Pages 2 0 R >>")
	obj("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
	obj("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 144] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>")
	stream := "BT /F1 18 Tf 20 90 Td (" + text + ") Tj ET"
	obj(fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", len(stream), stream))
	obj("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
	start := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
	for _, o := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", o)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(offsets)+1, start)
	return b.Bytes()
}

func (w *writer) structured() {
	w.put("INBOX", mail.Seen, 30*day, shop, "", "Subject: Your order 88213 is on its way\nContent-Type: multipart/alternative; boundary=\"=_alt1\"",
		multipart("=_alt1",
			part(utf8, "Your order 88213 has left our roastery.\n\n  2 x House Blend, whole bean   19,80 €\n  Shipping                       0,00 €\n"),
			part("Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable",
				"<html><head><style>td { padding: 4px }</style></head><body>\n<p>Your order <b>88213</b> has left our roastery.</p>\n<table><tr><td>2 =C3=97 House Blend, whole bean</td><td>19,80=C2=A0=E2=82=AC</td></tr></table>\n</body></html>\n")))
	w.put("INBOX", 0, 9*day, news, "", "Subject: The Weekly Packet, issue 47\nList-Unsubscribe: <https://weeklypacket.example/leave>\nContent-Type: multipart/related; type=\"multipart/alternative\"; boundary=\"rel.7\"",
		multipart("rel.7",
			part("Content-Type: multipart/alternative; boundary=alt.7", multipart("alt.7",
				part(ascii, "This week: why mailboxes outlive file formats.\n"),
				part("Content-Type: text/html; charset=us-ascii", "<h1>This week</h1><img src=\"cid:banner@weeklypacket.example\"><p>Why mailboxes outlive file formats.</p>\n"))),
			part("Content-Type: image/png; name=banner.png\nContent-ID: <banner@weeklypacket.example>\nContent-Transfer-Encoding: base64\nContent-Disposition: inline; filename=banner.png", b64(picture(7)))))
	w.put("INBOX", mail.Flagged, 8*day, claire, "", "Cc: "+joerg.String()+"\nSubject: Contract, second draft\nContent-Type: multipart/mixed; boundary=\"----=_Part_4711\"",
		multipart("----=_Part_4711",
			part(ascii, "Both files attached. Page 2 is new.\n"),
			part("Content-Type: application/pdf; name=\"contract.pdf\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"contract.pdf\"", b64(pdf("Contract, second draft"))),
			part("Content-Type: text/csv; charset=utf-8\nContent-Transfer-Encoding: 8bit\nContent-Disposition: attachment;\n filename*=utf-8''%C3%9Cbersicht%20der%20Kosten.csv", "Posten;Betrag\nMöbel;1200\nTüren;340\n")))
	w.put("INBOX", 0, 7*day, joerg, "", "Subject: Fwd: Lost umbrella\nContent-Type: multipart/mixed; boundary=fwd",
		multipart("fwd",
			part(ascii, "Is this yours?\n"),
			part("Content-Type: message/rfc822\nContent-Disposition: inline",
				"From: Front Desk <desk@example.org>\nTo: all@example.org\nDate: Mon, 02 Nov 2026 09:12:00 +0100\nSubject: Lost umbrella\nMessage-ID: <umbrella@example.org>\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=inner\n\n"+
					multipart("inner", part(ascii, "A blue umbrella was left in room 4.\n"),
						part("Content-Type: image/png\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=umbrella.png", b64(picture(90)))))))
	start := w.now.Add(5 * day).UTC().Format("20060102T150000Z")
	w.put("INBOX", 0, 4*day, priya, "", "Subject: Invitation: Review of the quarter\nContent-Type: multipart/mixed; boundary=cal",
		multipart("cal", part("Content-Type: multipart/alternative; boundary=calalt", multipart("calalt",
			part(ascii, "Review of the quarter, big room.\n"),
			part("Content-Type: text/calendar; method=REQUEST; charset=utf-8",
				"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//example//EN\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:review@example.org\nDTSTAMP:"+start+"\nDTSTART:"+start+"\nDURATION:PT1H\nSUMMARY:Review of the quarter\nLOCATION:Big room\nORGANIZER:mailto:"+priya.address+"\nEND:VEVENT\nEND:VCALENDAR\n")))))
	w.put("INBOX", mail.Seen, 25*day, kenji, "", "Subject: Signed: price list\nContent-Type: multipart/signed; micalg=pgp-sha256; protocol=\"application/pgp-signature\"; boundary=sig",
		multipart("sig", part(ascii, "The prices of last month stay in force.\n"),
			part("Content-Type: application/pgp-signature; name=signature.asc", "-----BEGIN PGP SIGNATURE-----\n\niHUEARYKAB0WIQ\n=abcd\n-----END PGP SIGNATURE-----\n")))
	w.put("INBOX", mail.Seen, 22*day, list, "", "Subject: gardeners Digest, Vol 12\nContent-Type: multipart/digest; boundary=dig",
		multipart("dig",
			part("", "From: a@example.org\nSubject: Slugs\nDate: Sun, 01 Nov 2026 10:00:00 +0000\n\nThey are back.\n"),
			part("", "From: b@example.org\nSubject: Re: Slugs\nDate: Sun, 01 Nov 2026 11:00:00 +0000\n\nBeer traps.\n")))
}

func (w *writer) foreign() {
	encode := func(charset, s string) string { return mime.BEncoding.Encode(charset, s) }
	w.put("INBOX", 0, 6*day, joerg, "", "Subject: "+mime.QEncoding.Encode("utf-8", "Grüße aus Köln – schöne Tage")+"\n"+utf8,
		"Hallo,\n\nviele Grüße aus Köln. Das Wetter ist schön, der Käse auch.\n\nJörg\n")
	w.put("INBOX", 0, 5*day, olga, "", "Subject: "+encode("utf-8", "Отчёт за октябрь")+"\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64",
		b64([]byte("Здравствуйте!\r\n\r\nОтчёт готов, замечаний нет.\r\n")))
	w.put("INBOX", mail.Seen, 19*day, kenji, "", "Subject: "+encode("utf-8", "来週の会議について")+"\n"+utf8,
		"お疲れ様です。\n\n来週の会議は水曜日の十時からです。\n\n佐藤\n")
	w.put("INBOX", mail.Seen, 18*day, claire, "", "Subject: =?iso-8859-1?Q?R=E9sum=E9_de_la_r=E9union?=\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable",
		"La r=E9union a dur=E9 deux heures=2C mais nous avons d=E9cid=E9.\n\n=C0 bient=F4t=2C\nClaire\n")
	w.put("INBOX", 0, 30*time.Hour, priya, "", "Subject: "+mime.QEncoding.Encode("utf-8", "🎉 Release day")+"\n"+utf8, "It is out. Thank you all! 🎂\n", "$Important")
}

func (w *writer) reports() {
	w.put("INBOX", mail.Seen, 17*day, person{"Mail Delivery System", "mailer-daemon@mx.example.net"}, "", "Subject: Undelivered Mail Returned to Sender\nAuto-Submitted: auto-replied\nContent-Type: multipart/report; report-type=delivery-status; boundary=dsn",
		multipart("dsn",
			part(ascii, "Your message could not be delivered to nobody@example.net.\n"),
			part("Content-Type: message/delivery-status", "Reporting-MTA: dns; mx.example.net\n\nFinal-Recipient: rfc822; nobody@example.net\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no such user\n"),
			part("Content-Type: text/rfc822-headers", "From: "+w.me.address+"\nTo: nobody@example.net\nSubject: Hello?\n")))
	for i := range 6 {
		w.put("INBOX", mail.Seen, time.Duration(14-i)*day-3*time.Hour, backups, "", "Subject: [ok] nightly backup of fs1\n"+ascii,
			fmt.Sprintf("Started  01:00:0%d\nFiles    %d\nChecksum %08x\nErrors   0\n", i, 182_000+i*117, crc32.ChecksumIEEE([]byte{byte(i)})))
	}
	var log strings.Builder
	for i := range 1200 {
		fmt.Fprintf(&log, "%s host app[%d]: request %d took %d ms\n", w.now.Add(-time.Duration(1200-i)*time.Minute).Format("15:04:05"), 400+i%7, i, 3+i*7919%250)
	}
	w.put("INBOX", 0, 20*time.Hour, backups, "", "Subject: Log of the day\n"+ascii, log.String())
	w.put("INBOX", 0, 40*time.Minute, priya, "", "Subject: Are you there?\n"+ascii, "Ping. If you read this with Postern, it works.\n")
}

func (w *writer) folders() {
	w.put("Sent", mail.Seen, 37*day, w.me, "", "Subject: Re: Lunch on Thursday?\nTo: "+joerg.String()+"\n"+ascii, "Gladly. See you there.\n")
	w.put("Sent", mail.Seen, 6*day, w.me, "", "Subject: Holiday pictures\nContent-Type: multipart/mixed; boundary=pics",
		multipart("pics", part(ascii, "Two of them.\n"),
			part("Content-Type: image/png; name=one.png\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=one.png", b64(picture(30))),
			part("Content-Type: image/png; name=two.png\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=two.png", b64(picture(200)))))
	w.put("Drafts", mail.Draft|mail.Seen, 2*day, w.me, "", "Subject: Idea\n"+ascii, "What if we\n")
	w.put("Archive", mail.Seen, 90*day, claire, "", "Subject: Old but worth keeping\n"+ascii, "The wiring diagram is behind the left panel.\n")
	w.put("Junk", 0, 28*time.Hour, person{"Prince", "rich@spam.example"}, "", "Subject: =?utf-8?Q?You_have_won_=F0=9F=92=B0?=\n"+ascii, "Send your bank details.\n", "$Junk")
	w.put("Trash", mail.Seen|mail.Deleted, 50*day, shop, "", "Subject: Ten percent off, today only\n"+ascii, "Come back.\n")
}
