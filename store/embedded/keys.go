package embedded

import (
	"encoding/binary"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Every key begins with one byte, its zone; numbers are big-endian, so that
// Pebble's order is theirs. What is small and read together lies together.
//
//	format                                                  "Postern 1"
//	format     'n'                                          number of the last change (writeahead.go)
//	records    kind 00 key                                  a store.Record
//	heads      account(8)                                   an account's head
//	accounts   account(8) mailboxes     mailbox(4)          a mailbox's record
//	accounts   account(8) subscriptions name                nothing
//	accounts   account(8) contents      mailbox(4) run(1)       ModSeq(8) number(4)  many newer entries, or UIDs: expunged
//	accounts   account(8) contents      mailbox(4) chunk(1)     first UID(4)  packed index entries
//	accounts   account(8) contents      mailbox(4) delta(1)     UID(4)        a newer entry, or nothing: expunged
//	accounts   account(8) contents      mailbox(4) vanished(1)  ModSeq(8)     the UIDs of one Expunged
//	accounts   account(8) contents      mailbox(4) forgotten(1)               ModSeq up to which vanished is incomplete
//	accounts   account(8) emails        email(8)            references and body pieces; absent: one of each
//	accounts   account(8) threads       key(16)             a thread
//	summaries  account(8) email(8)                          a summary
//	texts      account(8) email(8)                          search text, perhaps compressed
//	bodies     account(8) email(8) piece(4)                 256 KiB of a body; piece 0 begins with the body's size, or says where a large body stands
//	body files number(4)                                    the file is there: nothing, or 2 when its bodies are packed
//	filters    account(8) email(8)                          a search filter
//
// From bigZone to before zoneFilters Pebble may keep values in blob files
// apart from the keys, which compaction then need not copy. Account-major order
// in one zone would cut a table at every change between small and big.
const (
	zoneFormat    byte = 0x01
	zoneRecords   byte = 0x02
	zoneHeads     byte = 0x03
	zoneAccounts  byte = 0x04
	zoneSummaries byte = 0x05
	zoneTexts     byte = 0x06
	zoneBodies    byte = 0x07
	zoneBodyFiles byte = 0x08
	zoneFilters   byte = 0x09
	zoneEnd       byte = 0x0a

	bigZone = zoneTexts
)

// Kinds in zoneAccounts.
const (
	kindMailboxes     byte = 0x01
	kindSubscriptions byte = 0x02
	kindContents      byte = 0x03
	kindEmails        byte = 0x04
	kindThreads       byte = 0x05
)

// Parts of kindContents.
const (
	partRun       byte = 0x00
	partChunk     byte = 0x01
	partDelta     byte = 0x02
	partVanished  byte = 0x03
	partForgotten byte = 0x04
)

const (
	// accountPrefix is the length of zone and account.
	accountPrefix = 1 + 8
	// kindPrefix is the length of zone, account and kind.
	kindPrefix = accountPrefix + 1
	// contentsPrefix is the length of zone, account, kind, mailbox and part.
	contentsPrefix = kindPrefix + 4 + 1
)

var formatKey = []byte{zoneFormat}

// inAccount gives a zone's key prefix for an account.
func inAccount(zone byte, id mail.AccountID) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 40), zone), uint64(id))
}

func headKey(id mail.AccountID) []byte { return inAccount(zoneHeads, id) }

func kindKey(id mail.AccountID, kind byte) []byte {
	return append(inAccount(zoneAccounts, id), kind)
}

func mailboxKey(id mail.AccountID, mailbox mail.MailboxID) []byte {
	return binary.BigEndian.AppendUint32(kindKey(id, kindMailboxes), uint32(mailbox))
}

func subscriptionKey(id mail.AccountID, name string) []byte {
	return append(kindKey(id, kindSubscriptions), name...)
}

// contentsKey is before everything of a part of a mailbox's contents.
func contentsKey(id mail.AccountID, mailbox mail.MailboxID, part byte) []byte {
	return append(binary.BigEndian.AppendUint32(kindKey(id, kindContents), uint32(mailbox)), part)
}

func chunkKey(id mail.AccountID, mailbox mail.MailboxID, first mail.UID) []byte {
	return binary.BigEndian.AppendUint32(contentsKey(id, mailbox, partChunk), uint32(first))
}

func deltaKey(id mail.AccountID, mailbox mail.MailboxID, uid mail.UID) []byte {
	return binary.BigEndian.AppendUint32(contentsKey(id, mailbox, partDelta), uint32(uid))
}

// runKey is the key of one value of the runs that the change modSeq wrote.
func runKey(id mail.AccountID, mailbox mail.MailboxID, modSeq mail.ModSeq, number uint32) []byte {
	k := binary.BigEndian.AppendUint64(contentsKey(id, mailbox, partRun), uint64(modSeq))
	return binary.BigEndian.AppendUint32(k, number)
}

func vanishedKey(id mail.AccountID, mailbox mail.MailboxID, modSeq mail.ModSeq) []byte {
	return binary.BigEndian.AppendUint64(contentsKey(id, mailbox, partVanished), uint64(modSeq))
}

func forgottenKey(id mail.AccountID, mailbox mail.MailboxID) []byte {
	return contentsKey(id, mailbox, partForgotten)
}

func emailKey(id mail.AccountID, m mail.EmailID) []byte {
	return binary.BigEndian.AppendUint64(kindKey(id, kindEmails), uint64(m))
}

func threadKey(id mail.AccountID, k store.ThreadKey) []byte {
	return append(kindKey(id, kindThreads), k[:]...)
}

// contentKey is the key of an email's summary or text.
func contentKey(zone byte, id mail.AccountID, m mail.EmailID) []byte {
	return binary.BigEndian.AppendUint64(inAccount(zone, id), uint64(m))
}

func bodyKey(id mail.AccountID, m mail.EmailID, piece uint32) []byte {
	return binary.BigEndian.AppendUint32(contentKey(zoneBodies, id, m), piece)
}

// recordKey is a record's key, and with part of a key the prefix of several. A
// kind has no NUL.
func recordKey(kind, key string) []byte {
	k := append(make([]byte, 0, 2+len(kind)+len(key)), zoneRecords)
	k = append(k, kind...)
	k = append(k, 0)
	return append(k, key...)
}

// after gives the first key that does not begin with prefix, which is not all
// 0xff: the zone is not.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; ; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}
