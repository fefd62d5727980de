"""Python's imaplib at work; forms: LOGIN, PLAIN, AUTHLOGIN, SCRAM-*."""
import imaplib
import re
import time

from login import HOST, TIMEOUT, Scram, arguments, check, context, plain, refused

args = arguments()
form = args["form"]

if args["connection"] == "tls":
    c = imaplib.IMAP4_SSL(HOST, args["port"], ssl_context=context(args), timeout=TIMEOUT)
else:
    c = imaplib.IMAP4(HOST, args["port"], timeout=TIMEOUT)
    if args["connection"] == "starttls":
        c.starttls(context(args))

try:
    if form == "LOGIN":
        c.login(args["user"], args["password"])
    elif form == "PLAIN":
        c.authenticate("PLAIN", lambda challenge: plain(args))
    elif form == "AUTHLOGIN":
        answers = [args["user"].encode(), args["password"].encode()]
        c.authenticate("LOGIN", lambda challenge: answers.pop(0))
    else:
        scram = Scram(form, args["user"], args["password"])
        c.authenticate(form, scram)
        check(scram.verified, "the server has not proved that it knows the password")
except imaplib.IMAP4.error as e:
    refused(e.args[0])

if not args.get("work"):
    c.logout()
    raise SystemExit(0)


def ok(answer):
    status, lines = answer
    check(status == "OK", status, lines)
    return lines


MESSAGES = [
    b"From: a@test.example\r\nTo: b@test.example\r\nSubject: first of %d\r\nMessage-ID: <%d@test.example>\r\n\r\nline\r\n.\r\n..dots\r\n" % (n, n)
    for n in range(3)
]
WORK, DONE = '"Imaplib Work"', '"Imaplib Work/D&AOk-p&APQ-t"'
ok(c.create(WORK))
ok(c.create(DONE))
check(any(WORK.encode() in line for line in ok(c.list())), "LIST does not have the new mailbox")
for m in MESSAGES:
    ok(c.append(WORK, r"(\Draft)", imaplib.Time2Internaldate(time.time()), m))
check(ok(c.status(WORK, "(MESSAGES UNSEEN)"))[0].endswith(b"(MESSAGES 3 UNSEEN 3)"), "STATUS")
check(ok(c.select(WORK)) == [b"3"], "SELECT says how many messages there are")
check(ok(c.search(None, "SUBJECT", '"first of 1"')) == [b"2"], "SEARCH SUBJECT")
check(ok(c.search("UTF-8", "TEXT", '"..dots"')) == [b"1 2 3"], "SEARCH TEXT")
for n, m in enumerate(MESSAGES, 1):
    data = ok(c.fetch(str(n), "(UID FLAGS RFC822.SIZE BODY.PEEK[])"))
    check(data[0][1] == m, "message", n, "came back as", data[0][1])
    check(b"RFC822.SIZE %d" % len(m) in data[0][0] + data[1], "size of message", n, data)
data = ok(c.fetch("1:3", "(ENVELOPE BODYSTRUCTURE)"))
check(len(data) == 3 and all(b'"first of ' in d for d in data), "ENVELOPE", data)
check(rb"\Flagged" in ok(c.store("1,3", "+FLAGS", r"(\Flagged $Forwarded)"))[0], "STORE")
check(ok(c.search(None, "FLAGGED", "KEYWORD", "$Forwarded")) == [b"1 3"], "SEARCH FLAGGED")
ok(c.copy("1,3", DONE))
check(c.response("COPYUID")[1][0] is not None, "COPYUID")
ok(c.store("1,3", "+FLAGS.SILENT", r"(\Deleted)"))
check(sorted(ok(c.expunge())) in ([b"1", b"2"], [b"1", b"3"]), "EXPUNGE")
check(ok(c.select(DONE)) == [b"2"], "the copies")
flags = ok(c.fetch("1", "(FLAGS)"))[0]
check(rb"\Flagged" in flags and b"$Forwarded" in flags, "flags of a copy", flags)
uid = re.search(rb"UID (\d+)", ok(c.fetch("2", "(UID)"))[0]).group(1).decode()
check(ok(c.uid("FETCH", uid, "(BODY[HEADER.FIELDS (SUBJECT)])"))[0][1] == b"Subject: first of 2\r\n\r\n", "UID FETCH")
check(rb"\Seen" in ok(c.fetch("2", "(FLAGS)"))[0], "BODY[] sets \\Seen")
ok(c.close())
ok(c.rename(DONE, '"Imaplib Done"'))
ok(c.delete('"Imaplib Done"'))
ok(c.delete(WORK))
status, _ = c.select('"Imaplib Done"')
check(status == "NO", "a deleted mailbox can be selected")
check(c.logout()[0] == "BYE", "LOGOUT")
