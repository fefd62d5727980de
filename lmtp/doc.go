// Package lmtp takes mail in for delivery (RFC 2033): one status for each
// recipient, and none positive before the message is durable.
//
// What is stored is the message as it came, byte by byte (dot-stuffing undone,
// nothing else), behind two lines of trace: Return-Path, which the server that
// makes final delivery adds (RFC 5321, 4.4), and Received. Both are the same for
// all recipients, so a message is parsed once for all of them; there is no
// Delivered-To, which would have to differ. A line ends in CRLF and only so: a
// bare LF or CR is content, and no message can end another one early.
//
// An address user+detail@domain, where no such user exists, is delivered to
// user@domain, into the mailbox called detail if there is one ("/" between levels;
// upper and lower case do not matter when only one mailbox fits), else into INBOX.
package lmtp
