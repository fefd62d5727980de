// Package event names what an administrator is told of: a table of events with
// numbers that stay, the log's formats, and the last events, kept over a restart.
package event

import (
	"context"
	"log/slog"
)

// Event is one row of the table.
type Event struct {
	ID    int // never given to another event
	Level slog.Level
	Text  string // what happened; what differs stands in attributes
	Help  string // what to do about it
}

// The events. 1008, 1009 and 2007 are Exchange's; 1008 has no occasion before mail
// is kept on several servers.
var (
	OtherSite          = &Event{1008, slog.LevelWarn, "the user's Mailbox server is on another site", "Serve the user there, or allow sessions between sites."}
	TooManyOfUser      = &Event{1009, slog.LevelWarn, "a user has too many connections; another is refused", "MaxConnectionsPerUser of the service's settings is the limit; Get-Session shows the connections."}
	TooManyOfAddress   = &Event{1010, slog.LevelWarn, "an address has too many connections; another is refused", "MaxConnectionFromSingleIP of the service's settings is the limit."}
	TooManyConnections = &Event{1011, slog.LevelWarn, "the service is full; a connection is refused", "MaxConnections of the service's settings is the limit."}
	Guessing           = &Event{1012, slog.LevelWarn, "logins are slowed down: too many failed", "Somebody guesses passwords, or a program has an old one. Get-LoginThrottle shows what is slowed down, Get-LogonStatistics where from; docs/guessing.md says how."}
	PolicyRefused      = &Event{1013, slog.LevelInfo, "a login policy has refused a right password or proof", "Get-EffectiveLoginPolicy shows the rules that hold for the user; Test-Login explains."}
	NotTheSame         = &Event{1014, slog.LevelWarn, "a directory proved somebody under the name of another one; they are refused", "If it is the same person with a new account there, Set-Mailbox -LinkedAccounts links it. Else the name went to somebody else, or was taken by them."}
	GuessingOver       = &Event{1015, slog.LevelInfo, "logins are not slowed down any more", ""}
	Spraying           = &Event{1016, slog.LevelWarn, "one wrong password was tried for many users", "Somebody sprays passwords; attempts with it are slowed down, known networks are not. Get-LogonStatistics shows where from."}
	NewNetwork         = &Event{1017, slog.LevelInfo, "a user signed in from a network for the first time", "Get-KnownNetwork shows the user's networks. If it was not the user: Set-Mailbox -Password, and Remove-KnownNetwork."}
	WrongCodes         = &Event{1019, slog.LevelWarn, "a right password came with too many wrong codes of the second factor", "Somebody else may know the password: have it changed, with Set-Mailbox -ResetPasswordOnNextLogon $true."}
	ActsFor            = &Event{1020, slog.LevelInfo, "somebody acts for another user", "Get-MailboxPermission shows who may; Get-AuditLog who did."}
	MayNotAct          = &Event{1021, slog.LevelWarn, "somebody wanted to act for another user and may not", "Get-MailboxPermission shows who may; Test-Login with -ActFor explains."}
	NoProxyHeader      = &Event{1022, slog.LevelWarn, "a load balancer's connection began without a PROXY header and was closed", "Make it send one (HAProxy: send-proxy-v2), or take its address out of ProxyProtocolNetworks of the service's settings."}
	RightsChanged      = &Event{1023, slog.LevelInfo, "somebody changed who has rights on a mailbox, over IMAP4", "Get-MailboxFolderPermission shows who has which; Get-AuditLog who changed them with cmdlets."}
	SignedIn           = &Event{1030, slog.LevelInfo, "logged in", ""}
	SignInRefused      = &Event{1031, slog.LevelInfo, "login refused", "The attribute cause says why; Test-Login explains the rules."}
	NoCertificate      = &Event{2007, slog.LevelError, "no usable certificate covers the service's X509CertificateName", "New-, Import- or Enable-ServerCertificate, or another X509CertificateName."}
	CertificateEnds    = &Event{2008, slog.LevelWarn, "a certificate expires soon", "Bring its successor with Import-ServerCertificate, or see Get-ServerCertificate for why it could not be renewed."}
	CertificateExpired = &Event{2009, slog.LevelError, "a certificate has expired", "Clients refuse it. New- or Import-ServerCertificate brings another one."}
	CertificateRenewed = &Event{2010, slog.LevelInfo, "a certificate was renewed", ""}
	NotRenewed         = &Event{2011, slog.LevelError, "a certificate could not be renewed; the old one stays", "It is tried again. Get-ServerCertificate shows the reason, Get-AcmeSettings how it is asked for."}
	CertificateFault   = &Event{2012, slog.LevelError, "a certificate cannot be used", "NAME.crt and NAME.key in the folder of certificates do not belong together, or cannot be read: a link may lead to where the server may not read (docs/hardening.md)."}
	ClientRevoked      = &Event{2013, slog.LevelWarn, "a client's certificate is revoked, or no list says that it is not", "The reason says which. The files of ClientCertificateRevocationList must be replaced before their time is up."}
	ServiceStarted     = &Event{3001, slog.LevelInfo, "service serves", ""}
	ServiceStopped     = &Event{3002, slog.LevelInfo, "service stopped", "Start-Service starts it."}
	CannotStart        = &Event{3003, slog.LevelError, "a service cannot start", "Get-Service shows why; Set-…Settings changes its bindings."}
	BindingNotOpen     = &Event{3004, slog.LevelWarn, "a binding cannot be opened", "Another program has the port, or the host does not have the address."}
	SocketEnded        = &Event{3005, slog.LevelError, "the management socket has ended", "Restart the server."}
	ServerStarted      = &Event{3010, slog.LevelInfo, "the server has started", ""}
	ServerStopping     = &Event{3011, slog.LevelInfo, "the server stops", ""}
	Confined           = &Event{3012, slog.LevelInfo, "the process is confined", "docs/hardening.md says to what."}
	NotConfined        = &Event{3013, slog.LevelWarn, "the process has more rights than it needs", "The attribute problem says which. Start it as a user of its own, with a kernel that has Landlock and seccomp: docs/hardening.md."}
	Panicked           = &Event{3020, slog.LevelError, "a session ended by a fault of the server", "Report it, with the stack in the log."}
	ProtocolLogLost    = &Event{3030, slog.LevelError, "the protocol log cannot be written; records are dropped and counted", "Make room on the disk or set another LogFileLocation; it is tried again every few seconds, and sessions go on."}
	ProtocolLogBack    = &Event{3031, slog.LevelInfo, "the protocol log is written again", ""}
	NotLogged          = &Event{3040, slog.LevelWarn, "lines of the log were too many in a second and are only counted", "The attribute text says which; for logins see Get-LogonStatistics and the metrics, which count all."}
	StoredSetting      = &Event{4001, slog.LevelError, "a stored setting cannot be used", "Set it again."}
	AuditMended        = &Event{5001, slog.LevelWarn, "the audit log had to be mended", "Test-AuditLog tells whether anything is missing."}
	AuditLost          = &Event{5002, slog.LevelError, "audit record lost", "The record is in the log; make room on the disk."}
	StoreFailed        = &Event{6001, slog.LevelError, "the disk of the mail store has failed; mail can be read, and nothing is changed any more", "Look at the disk and its system log, then restart the server; what was acknowledged is there."}
	StoreFull          = &Event{6002, slog.LevelError, "the mail store has no room to write; mail can be read, and nothing is changed until there is", "The attribute error says whether the disk is full or too many files are open. Make room, or raise the limit; the server goes on by itself, within a second."}
	StoreWritten       = &Event{6003, slog.LevelInfo, "the mail store takes changes again", ""}
	StoreDamaged       = &Event{6004, slog.LevelError, "stored mail is damaged", "Test-Store shows what is; Repair-Mailbox mends what can be. Look at the disk."}
	MailRestored       = &Event{6010, slog.LevelInfo, "deleted messages were brought back", "Get-AuditLog -Cmdlet Restore-RecoverableItem shows by whom."}
	MailPurged         = &Event{6011, slog.LevelInfo, "deleted messages were removed before their time", "They cannot be brought back. Get-AuditLog -Cmdlet Remove-RecoverableItem shows by whom."}
	BackedUp           = &Event{6020, slog.LevelInfo, "a backup was made", ""}
	BackupFailed       = &Event{6021, slog.LevelError, "a backup could not be made", "The attribute error says why; the backups before are as they were."}
	BackupDamaged      = &Event{6022, slog.LevelError, "a backup is damaged", "Test-Backup shows what is. Look at its disk, and back up into another folder."}
	MailboxRestored    = &Event{6023, slog.LevelInfo, "a mailbox was restored from a backup", ""}
	StoreRestored      = &Event{6024, slog.LevelInfo, "the server was restored from a backup", "What was revoked or changed since then is as it was: passwords, app passwords, tokens, administrators."}
	AuditHead          = &Event{5003, slog.LevelError, "the head of the audit log cannot be kept; a cut tail would not be noticed", "The store does not write; the log says why."}
)

// Table lists the events in the order of their numbers.
var Table = []*Event{
	OtherSite, TooManyOfUser, TooManyOfAddress, TooManyConnections, Guessing, PolicyRefused, NotTheSame, GuessingOver, Spraying,
	NewNetwork, WrongCodes, ActsFor, MayNotAct, NoProxyHeader, RightsChanged, SignedIn, SignInRefused, NoCertificate,
	CertificateEnds, CertificateExpired, CertificateRenewed, NotRenewed, CertificateFault, ClientRevoked,
	ServiceStarted, ServiceStopped, CannotStart, BindingNotOpen, SocketEnded, ServerStarted, ServerStopping, Confined, NotConfined, Panicked,
	ProtocolLogLost, ProtocolLogBack, NotLogged, StoredSetting, AuditMended, AuditLost, AuditHead, StoreFailed, StoreFull, StoreWritten, StoreDamaged,
	MailRestored, MailPurged,
	BackedUp, BackupFailed, BackupDamaged, MailboxRestored, StoreRestored,
}

// LoggedOnly tells whether the event is in the log alone and not among the last events:
// there are too many of it, or whoever has a mailbox can cause as many as they like and
// would drive the others out.
func (e *Event) LoggedOnly() bool {
	return e == SignedIn || e == SignInRefused || e == RightsChanged
}

// Key is the attribute that holds an event's number in the log.
const Key = "event"

// Log writes the event, with attributes as slog takes them; a "service" is its
// source.
func (e *Event) Log(ctx context.Context, log *slog.Logger, args ...any) {
	log.Log(ctx, e.Level, e.Text, append([]any{Key, e.ID}, args...)...)
}

// Find gives the event of a number, or nil.
func Find(id int) *Event {
	for _, e := range Table {
		if e.ID == id {
			return e
		}
	}
	return nil
}
