// Imapscript plays scripts in the format of Dovecot's ImapTest with any IMAP server
// and tells where its answers are not what the scripts expect:
//
//	go run ./test/imapscript -host mail.example.org -port 993 -tls implicit -user USER -pass PASSWORD
//
// The mailbox "imaptest" of the account (-box), and all whose names begin so, are
// deleted for each script. The exit code is 1 when a script failed.
//
// # The format
//
// A script is a file; the messages that it needs are in the file of its name with .mbox
// behind it, or in the nearest default.mbox. Lines that begin with "#" are
// comments. First comes a header, ended by an empty line:
//
//	capabilities: QRESYNC MOVE   what the server must offer, or the script is skipped;
//	                             "!X" is what it must not offer
//	connections: 2               of the script; its commands begin with their number
//	user 2: $user2               connection 2 logs in with the second account (-user2)
//	messages: 3                  how many are put into the mailbox; all is the default
//	state: selected              what is done before: nonauth, auth (mailboxes deleted),
//	                             created, appended or selected, the default
//	ignore_extra_untagged: no    every untagged response must be in the script
//
// Then come commands, in one of three forms, each with the untagged responses that
// must come (*), must not come (!) or may come (?), in any order:
//
//	ok select $mailbox           select $mailbox              tag1 noop
//	* 0 exists                   * 0 exists                   tag2 check
//	                             ok [read-write]              tag1 ok
//	                                                          tag2 ok
//
// OK, NO or BAD, or "" for whatever comes, may be followed by the beginning of the
// tagged response. Case does not matter. Literals are written {{{ at the end of a line,
// their lines, }}} and the rest of the line; ~{{{ is a literal8. "append" alone, and an
// APPEND or REPLACE without a message, take the next message of the mbox file.
// $variables are those of [conformance.Vars]; $user, $username, $domain, $password (and
// the same with 2 behind them), $host, $mailbox and $tag are there from the beginning. $3
// is the number that message 3 had when the command was sent, after the EXPUNGEs since. A
// "$" stands for any value or list, "$]" for all up to a "]", or to the end.
//
// A list may begin with directives: $!ordered, $!unordered, $!unordered=n for chains of
// n values, $!noextra, $!extra, $!ignore=x, $!ban=x. Without any, the items of FETCH and
// STATUS are in any order with others between them, the flags of FETCH are exactly these
// in any order (but for \Recent), the attributes of LIST and LSUB in any order with
// others; all other lists are ordered. The results of ESEARCH are in any order, CAPABILITY and
// ENABLED may have others between them.
//
// Lines of their own are !ordered (the untagged responses of this command come in this
// order), !sleep 100ms, !output text, and !ifenv NAME, !ifnenv NAME, !else, !endif.
//
// What ImapTest has not:
//
//   - idle               a command that is answered by "+" and stays open; "* + text" is
//     what stands behind the "+"
//     !wait 2s             waits until every * line has come; with ! lines alone, for so long
//     ok !more done        a line without a tag, for the open command, which it ends
//     bad !bytes "$tag NOOP\x00\r\n"   bytes with Go's escapes, that are a command
//     !write "GET /\r\n"   bytes to which no answer is awaited
//     !starttls !compress  begins TLS, DEFLATE
//     !close !connect      ends the connection without a word, opens it anew without login
//
// With -check, the default, what each session is told is also followed as a client does
// (test/imapview): EXPUNGE where none may be, numbers that do not exist and so on fail
// a script that does not ask for them, unless its header says "check: no".
package main
