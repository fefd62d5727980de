"""Python's poplib at work; forms: USER, PLAIN, PLAIN-IR, SCRAM-*."""
import base64
import poplib
import time

from login import HOST, TIMEOUT, Scram, arguments, check, context, plain, refused

poplib._MAXLINE = 1 << 16  # its own bound of 2,048 is below what it is sent here
args = arguments()
form = args["form"]


def connect():
    if args["connection"] == "tls":
        return poplib.POP3_SSL(HOST, args["port"], context=context(args), timeout=TIMEOUT)
    c = poplib.POP3(HOST, args["port"], timeout=TIMEOUT)
    if args["connection"] == "starttls":
        check("STLS" in c.capa(), "STLS is not offered")
        c.stls(context(args))
    return c


def login(patience=0):
    """poplib knows USER only; AUTH (RFC 5034) is spoken through it. The maildrop may be in use for patience seconds."""
    until = time.monotonic() + patience
    c = connect()
    try:
        if form == "USER":
            c.user(args["user"])
            c.pass_(args["password"])
        elif form == "PLAIN-IR":
            c._shortcmd("AUTH PLAIN " + base64.b64encode(plain(args)).decode())
        else:
            answer = c._shortcmd("AUTH " + form)
            step = Scram(form, args["user"], args["password"]) if form != "PLAIN" else lambda challenge: plain(args)
            while answer.startswith(b"+ "):
                c._putline(base64.b64encode(step(base64.b64decode(answer[2:]))))
                answer = line(c)
            check(form == "PLAIN" or step.verified, "the server has not proved that it knows the password")
    except poplib.error_proto as e:
        left = until - time.monotonic()
        if b"[IN-USE]" in e.args[0] and left > 0:
            c.close()
            time.sleep(0.05)
            return login(left)
        refused(e.args[0])
    return c


def line(c):
    answer, _ = c._getline()
    if not answer.startswith(b"+"):
        raise poplib.error_proto(answer)
    return answer


c = login()
if not args.get("work"):
    c.quit()
    raise SystemExit(0)

count, size = c.stat()
check(count >= 3, "STAT", count)
capa = c.capa()
for name in "TOP UIDL PIPELINING RESP-CODES AUTH-RESP-CODE EXPIRE IMPLEMENTATION UTF8".split():
    check(name in capa, name, "is not in", capa)
lines = c.list()[1]
check(len(lines) == count and sum(int(l.split()[1]) for l in lines) == size, "LIST and STAT differ")
uids = [l.split()[1] for l in c.uidl()[1]]
check(len(set(uids)) == count, "UIDL", uids)
check(c.uidl(2).split()[2] == uids[1], "UIDL 2")
whole = c.retr(1)[1]
header = whole.index(b"")
check(c.top(1, 2)[1] == whole[: header + 3], "TOP 1 2 is the header and two lines")
check(c.top(1, 0)[1][: header] == whole[: header], "TOP 1 0")
for n in range(1, count + 1):
    octets = sum(len(l) + 2 for l in c.retr(n)[1])
    check(octets == int(lines[n - 1].split()[1]), "message", n, "has", octets, "octets, LIST says", lines[n - 1])
c.noop()
c.dele(1)
try:
    c.retr(1)
    check(False, "a deleted message can be read")
except poplib.error_proto:
    pass
c.rset()
check(c.stat() == (count, size), "RSET")
c.dele(2)
c.quit()

c = login()
check([l.split()[1] for l in c.uidl()[1]] == uids[:1] + uids[2:], "after QUIT one message is gone and UIDL is the same")
c.dele(1)
c.close()  # without QUIT nothing is deleted (RFC 1939, 6)

c = login(TIMEOUT)  # the server may not have seen yet that the connection is closed
check(c.stat()[0] == count - 1, "a session without QUIT deletes nothing")
c.quit()

# UTF8 (RFC 6856) comes before the login.
c = connect()
c.utf8()
c.quit()
