// Popscript plays conformance scripts with any POP3 server and tells where its answers
// are not what the scripts expect:
//
//	go run ./test/popscript -host mail.example.org -port 995 -tls implicit -user USER -pass PASSWORD -imap mail.example.org:143
//
// POP3 puts no messages anywhere, so the runner empties and fills the account's INBOX over IMAP
// (-imap, over TLS with -imaptls). Without it only the scripts are played that need no
// messages. The exit code is 1 when a script failed.
//
// # The format
//
// A script is a file; its messages are in the file of its name with .mbox behind it, or
// in the nearest default.mbox. Lines that begin with "#" are comments. First comes a header,
// ended by an empty line:
//
//	capabilities: TOP SASL=PLAIN   what CAPA must name, or the script is skipped;
//	                               "!X" is what it must not; APOP goes by the greeting
//	connections: 2                 of the script; its commands begin with their number
//	messages: 3                    how many are in the maildrop; all is the default, 0 none
//	state: nonauth                 nothing but the greeting was said; the default is
//	                               transaction: connection 1 is logged in, the others not
//
// Then come commands, each behind what answers it, ok (+OK), err (-ERR), + (the server asks
// for more) or "" (either), and with what else is expected:
//
//	ok list              ok retr 1             err pass wrong
//	= 3 messages         {{{                   = [AUTH]
//	* 1 $size            From: a@example.org
//	! 4 $
//	* .                  .body
//	                     }}}
//
// "= text" is how the text behind +OK or -ERR begins, without regard to case. "* line" is a line that
// the listing must have, "! line" one that it must not; with a line !exact the listing is just
// these lines in this order. {{{ to }}} is the whole of it, as it is before byte-stuffing, raw{{{
// as it is sent. $variables are those of [conformance.Vars]; $user, $password, $greeting and
// $stamp (the greeting's timestamp for APOP, with its angle brackets) are there from the
// beginning, $last is the text of the last answer.
//
// Which answers have many lines goes by the command: CAPA, RETR, TOP, and LIST, UIDL, AUTH
// and LANG without an argument.
//
//	!together              the commands up to the next empty line are sent in one write
//	ok !more text          a line of a SASL exchange
//	ok !bytes "NOOP\r\n"   bytes with Go's escapes
//	!write "NOO"           bytes to which no answer is awaited
//	!stls                  begins TLS
//	!close !connect        ends the connection without a word, opens one without login
//	!ended                 the server must end the connection
//	!deliver               the next message of the mbox file comes into INBOX
//	!sleep 1s
//
// Beside what a script asks for, the first line of an answer is 512 bytes long at most (RFC 2449, 4),
// and every line ends in CRLF.
package main
