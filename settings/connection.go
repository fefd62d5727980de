package settings

import "time"

// AuthenticatedConnectionTimeout ends an idle connection that has logged in.
var AuthenticatedConnectionTimeout = span(Row{
	Name: "AuthenticatedConnectionTimeout", Noun: "Settings", Page: Connection, Services: both,
	Help: "How long a connection that has logged in may be idle before it is closed.",
}, bounds[time.Duration]{30 * time.Minute, 30 * time.Second, 24 * time.Hour})

// PreAuthenticatedConnectionTimeout ends a connection that does not log in.
var PreAuthenticatedConnectionTimeout = span(Row{
	Name: "PreAuthenticatedConnectionTimeout", Noun: "Settings", Page: Connection, Services: both,
	Help: "How long a connection may last, in all, before it has logged in.",
	warn: func(v any) string {
		if v.(time.Duration) > 10*time.Minute {
			return "PreAuthenticatedConnectionTimeout lets whoever does not log in keep a connection for more than ten minutes."
		}
		return ""
	},
}, bounds[time.Duration]{time.Minute, 10 * time.Second, time.Hour})

// MaxConnections bounds the service's connections.
var MaxConnections = count(Row{
	Name: "MaxConnections", Noun: "Settings", Page: Connection, Services: Services,
	Help: "How many connections the service has at once, at most.",
}, same(bounds[int]{Unlimited, 1, Unlimited}))

// MaxConnectionFromSingleIP bounds the connections from one address.
var MaxConnectionFromSingleIP = count(Row{
	Name: "MaxConnectionFromSingleIP", Noun: "Settings", Page: Connection, Services: Services,
	Help: "How many connections come from one IPv4 address or one IPv6 /64 network at once, at most.",
}, same(bounds[int]{Unlimited, 1, Unlimited}))

// MaxConnectionsPerUser bounds the connections of one account.
var MaxConnectionsPerUser = count(Row{
	Name: "MaxConnectionsPerUser", Noun: "Settings", Page: Connection, Services: both,
	Help: "How many connections one user has at once, at most.",
}, same(bounds[int]{64, 1, Unlimited}))

// LoginDelay is how long a POP3 client waits between logins (RFC 2449, 6.5).
var LoginDelay = span(Row{
	Name: "LoginDelay", Noun: "Settings", Page: Connection, Services: []Service{POP3},
	Help: "How long a user waits between two POP3 logins; an earlier one is refused with LOGIN-DELAY, and CAPA tells clients. 00:00:00 is no delay.",
}, bounds[time.Duration]{0, 0, 24 * time.Hour})

// SessionTimeout ends an idle visit to the console.
var SessionTimeout = span(Row{
	Name: "SessionTimeout", Noun: "Settings", Page: Connection, Services: []Service{Console},
	Help: "How long an administrator may be idle in the console before signing in again.",
	warn: func(v any) string {
		if v.(time.Duration) > time.Hour {
			return "SessionTimeout makes whoever finds an unattended browser an administrator for more than an hour."
		}
		return ""
	},
}, bounds[time.Duration]{15 * time.Minute, time.Minute, 24 * time.Hour})

// MaxCommandSize bounds a command, in bytes.
var MaxCommandSize = count(Row{
	Name: "MaxCommandSize", Noun: "Settings", Page: Connection, Services: both,
	Help: "How long a command may be, in bytes, without the literals of IMAP4; SASL lines have their own bound. A longer one is refused.",
}, map[Service]bounds[int]{POP3: {512, 40, 16384}, IMAP4: {65536, 1024, 1048576}})

// MaxMessagesPerCommand bounds what one IMAP4 command works on (RFC 9738).
var MaxMessagesPerCommand = count(Row{
	Name: "MaxMessagesPerCommand", Noun: "Settings", Page: Connection, Services: []Service{IMAP4},
	Help: "How many messages one command of IMAP4 works on, at most; CAPABILITY tells clients with MESSAGELIMIT. FETCH, SEARCH, STORE, MOVE and UID EXPUNGE then take the newest and say where to go on; COPY, APPEND, SORT and THREAD of more are refused. Clients that do not know MESSAGELIMIT, which are most, see a mailbox that seems to lack messages: with MESSAGELIMIT in ClientCapabilityRules they have no limit. 2147483647 is no limit.",
	warn: func(v any) string {
		if v.(int) != Unlimited {
			return "MaxMessagesPerCommand hides older messages of large mailboxes from clients that do not know MESSAGELIMIT."
		}
		return ""
	},
}, map[Service]bounds[int]{IMAP4: {Unlimited, 1000, Unlimited}})

// MaxMessagesPerCopy bounds what one COPY or APPEND brings (RFC 9738).
var MaxMessagesPerCopy = count(Row{
	Name: "MaxMessagesPerCopy", Noun: "Settings", Page: Connection, Services: []Service{IMAP4},
	Help: "How many messages one COPY or APPEND of IMAP4 brings, at most; CAPABILITY tells clients with SAVELIMIT, and more are refused. Does not count where MaxMessagesPerCommand is set. 2147483647 is no limit; an APPEND has at most 1000 messages in any case.",
}, map[Service]bounds[int]{IMAP4: {Unlimited, 1000, Unlimited}})

// MaxCommandTime bounds the work of one IMAP4 command.
var MaxCommandTime = span(Row{
	Name: "MaxCommandTime", Noun: "Settings", Page: Connection, Services: []Service{IMAP4},
	Help: "How long a SEARCH, SORT, THREAD, ESEARCH or LIST of IMAP4 looks for what it was asked, at most; what takes longer is refused. That searches wait for others does not count; they do so for as long at most.",
}, bounds[time.Duration]{2 * time.Minute, time.Second, time.Hour})

// MaxCommandMemory bounds what IMAP4 commands hold.
var MaxCommandMemory = size(Row{
	Name: "MaxCommandMemory", Noun: "Settings", Page: Connection, Services: []Service{IMAP4},
	Help: "How much memory the SORT, THREAD and LIST commands of IMAP4 that one user has under way hold together, at most; all users have twice as much. What needs more is refused, what others have is waited for.",
}, bounds[int64]{512 << 20, 1 << 20, 1 << 40})

// ProxyTargetPort is the port on a Mailbox server that is another host.
var ProxyTargetPort = count(Row{
	Name: "ProxyTargetPort", Noun: "Settings", Page: Connection, Services: both,
	Help: "The port on the Mailbox server when that is another host. Kept; acts when mailboxes live on other hosts.",
	note: func(any) string { return "ProxyTargetPort is kept; it acts when mailboxes live on other hosts." },
}, map[Service]bounds[int]{POP3: {110, 1, 65535}, IMAP4: {143, 1, 65535}})

func same(b bounds[int]) map[Service]bounds[int] {
	all := map[Service]bounds[int]{}
	for _, s := range Services {
		all[s] = b
	}
	return all
}
