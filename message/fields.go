package message

import "strings"

// slot is where a part keeps the place of a header field that structure and
// envelope are made of.
type slot uint8

const (
	slotDate slot = iota
	slotSubject
	slotFrom
	slotSender
	slotReplyTo
	slotTo
	slotCc
	slotBcc
	slotInReplyTo
	slotMessageID
	slotReferences
	slotType
	slotEncoding
	slotDisposition
	slotID
	slotDescription
	slotLanguage
	slotLocation
	slotMD5
	numSlots
	noSlot
)

// knownField is a row of the table of header fields.
type knownField struct {
	name string
	slot slot
	kept bool
}

// knownFields is the table: which fields make envelope and structure, and which
// are kept in the summary. The kept ones are what Thunderbird, mutt, mbsync, K-9,
// Apple Mail, Outlook and Roundcube ask for when they list a mailbox. A field that
// messages seldom have costs nothing: that it is absent is an answer too.
var knownFields = []knownField{
	{"Date", slotDate, true},
	{"Subject", slotSubject, true},
	{"From", slotFrom, true},
	{"Sender", slotSender, true},
	{"Reply-To", slotReplyTo, true},
	{"To", slotTo, true},
	{"Cc", slotCc, true},
	{"Bcc", slotBcc, true},
	{"In-Reply-To", slotInReplyTo, true},
	{"Message-ID", slotMessageID, true},
	{"References", slotReferences, true},
	{"Content-Type", slotType, true},
	{"Content-Transfer-Encoding", slotEncoding, true},
	{"Content-Disposition", slotDisposition, true},
	{"Content-ID", slotID, true},
	{"Content-Description", slotDescription, true},
	{"Content-Language", slotLanguage, true},
	{"Content-Location", slotLocation, true},
	{"Content-MD5", slotMD5, false},
	{"Auto-Submitted", noSlot, true},
	{"Chat-Version", noSlot, true},
	{"Content-Class", noSlot, true},
	{"Content-Length", noSlot, true},
	{"Delivered-To", noSlot, true},
	{"Disposition-Notification-To", noSlot, true},
	{"Followup-To", noSlot, true},
	{"Importance", noSlot, true},
	{"Keywords", noSlot, true},
	{"Lines", noSlot, true},
	{"List-Archive", noSlot, true},
	{"List-Help", noSlot, true},
	{"List-Id", noSlot, true},
	{"List-Owner", noSlot, true},
	{"List-Post", noSlot, true},
	{"List-Subscribe", noSlot, true},
	{"List-Unsubscribe", noSlot, true},
	{"List-Unsubscribe-Post", noSlot, true},
	{"Mail-Followup-To", noSlot, true},
	{"Mail-Reply-To", noSlot, true},
	{"Mailing-List", noSlot, true},
	{"MIME-Version", noSlot, true},
	{"Newsgroups", noSlot, true},
	{"Organization", noSlot, true},
	{"Original-Recipient", noSlot, true},
	{"Precedence", noSlot, true},
	{"Priority", noSlot, true},
	{"Resent-Date", noSlot, true},
	{"Resent-From", noSlot, true},
	{"Resent-To", noSlot, true},
	{"Resent-Message-ID", noSlot, true},
	{"Return-Path", noSlot, true},
	{"Return-Receipt-To", noSlot, true},
	{"Sensitivity", noSlot, true},
	{"Status", noSlot, true},
	{"Thread-Index", noSlot, true},
	{"Thread-Topic", noSlot, true},
	{"User-Agent", noSlot, true},
	{"X-BeenThere", noSlot, true},
	{"X-Draft-Info", noSlot, true},
	{"X-K9mail-Identity", noSlot, true},
	{"X-Label", noSlot, true},
	{"X-Mailer", noSlot, true},
	{"X-Mailing-List", noSlot, true},
	{"X-Mozilla-Draft-Info", noSlot, true},
	{"X-Mozilla-Keys", noSlot, true},
	{"X-Mozilla-Status", noSlot, true},
	{"X-MSMail-Priority", noSlot, true},
	{"X-Original-To", noSlot, true},
	{"X-Priority", noSlot, true},
	{"X-Spam-Flag", noSlot, true},
	{"X-Spam-Level", noSlot, true},
	{"X-Spam-Status", noSlot, true},
	{"X-Status", noSlot, true},
	{"X-TUID", noSlot, true},
	{"X-Uniform-Type-Identifier", noSlot, true},
	{"X-Universally-Unique-Identifier", noSlot, true},
}

// fieldsByLen holds knownFields under the length of their names.
var fieldsByLen = func() (t [32][]knownField) {
	for _, f := range knownFields {
		t[len(f.name)] = append(t[len(f.name)], f)
	}
	return t
}()

// Kept tells whether a Summary keeps the header fields of a name, in any case.
func Kept(name string) bool {
	if len(name) >= len(fieldsByLen) {
		return false
	}
	for _, f := range fieldsByLen[len(name)] {
		if strings.EqualFold(f.name, name) {
			return f.kept
		}
	}
	return false
}

// lookUpField gives the row of name, or nil.
func lookUpField(name []byte) *knownField {
	if len(name) >= len(fieldsByLen) {
		return nil
	}
	rows := fieldsByLen[len(name)]
	for i := range rows {
		if equalFold(name, rows[i].name) {
			return &rows[i]
		}
	}
	return nil
}

// equalFold compares without regard to ASCII case.
func equalFold[A, B []byte | string](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}

// lower maps ASCII letters to lower case and leaves other bytes.
var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] = byte(i) + 'a' - 'A'
		}
	}
	return t
}()
