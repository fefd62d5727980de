package main

// target is a fuzz target. What covers says is for docs/fuzzing.md.
type target struct {
	folder, name, covers string
}

// exposed are the targets that read what anybody may send, before a login above all, and
// what the store reads after a crash. Each is to make at least wanted executions a second
// on one core.
var exposed = []target{
	{"imap", "FuzzSession", "A whole session of IMAP4, before login and after: commands, literals, cut off anywhere."},
	{"imap/wire", "FuzzDecoder", "The reader of commands: tokens, literals, number sets, dates, nesting; in one piece and in many."},
	{"imap", "FuzzSearchArguments", "The grammar of SEARCH, with its charsets, options and nested keys."},
	{"pop3", "FuzzLine", "A whole session of POP3, before login and after."},
	{"lmtp", "FuzzLMTP", "A whole session of LMTP: envelopes, DATA, BDAT."},
	{"message", "FuzzParse", "Messages: header fields, addresses, dates, References, MIME, ENVELOPE, BODYSTRUCTURE, sections."},
	{"message", "FuzzText", "Texts: charsets, encoded words, transfer encodings, HTML."},
	{"sasl", "FuzzMechanisms", "Exchanges of SASL: SCRAM with and without channel binding, PLAIN, LOGIN, OAUTHBEARER, XOAUTH2, CRAM-MD5."},
	{"krb5", "FuzzAccept", "Tokens of Kerberos and the GSS-API."},
	{"directory/oidc", "FuzzToken", "Tokens of OpenID providers: JWTs and their signatures."},
	{"deflate", "FuzzReader", "What a client that compresses sends, beside compress/flate."},
	{"listener", "FuzzProxyHeader", "Headers of the PROXY protocol, 1 and 2."},
	{"store/embedded", "FuzzLog", "The store's log as it is replayed after a crash: cut off, flipped, forged records."},
	{"store/embedded", "FuzzValues", "What the store keeps: packed indexes, heads, texts."},
}

// wanted is how many executions a second of processor time a target of exposed makes.
const wanted = 5000
