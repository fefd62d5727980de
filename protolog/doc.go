// Package protolog keeps the protocol log of a service: which commands each session
// gave and how they were answered, never a secret or the text of a message. A
// session writes through its Session; one goroutine for each Log formats, writes,
// rolls over and removes old files. A session never waits for it: what the disk
// does not take in time is dropped, counted, and the log says so.
//
// The form is Exchange's: a CSV file with header lines, or JSON lines.
//
//	#Software: Postern
//	#Version: 1.0
//	#Log-type: IMAP4 Log
//	#Date: 2026-11-23T09:30:00.000Z
//	#Fields: dateTime,sessionId,seqNumber,sIp,cIp,user,duration,rqsize,rpsize,command,parameters,context
//
// A file is named after the service, the beginning of its period (UTC) and its
// number within it: IMAP4-20261123-1.LOG by day and by week (the Monday),
// IMAP4-2026112309-1.LOG by hour, IMAP4-202611-1.LOG by month; .JSONL instead of
// .LOG for JSON lines. Each start of the server or of the log begins a new file, so
// nothing is written behind a line that a crash cut.
package protolog
