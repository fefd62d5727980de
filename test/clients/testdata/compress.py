"""COMPRESS=DEFLATE (RFC 4978) with zlib: every answer must come without another byte
being sent, whichever way the commands are flushed. Arguments as in login.py, and
flush, a name of zlib's."""
import imaplib
import time
import zlib

from login import HOST, TIMEOUT, arguments, check, context

args = arguments()
mail = imaplib.IMAP4_SSL(HOST, args["port"], ssl_context=context(args), timeout=TIMEOUT)
mail.login(args["user"], args["password"])
check("COMPRESS=DEFLATE" in mail.capability()[1][0].decode().split(), "not offered")
mail.send(b"z1 COMPRESS DEFLATE\r\n")
answer = mail.readline()
check(answer.startswith(b"z1 OK"), answer)

pack = zlib.compressobj(6, zlib.DEFLATED, -15)
unpack = zlib.decompressobj(-15)
buffer = b""
sent = received = 0


def say(text):
    global sent
    packed = pack.compress(text) + pack.flush(getattr(zlib, args["flush"]))
    sent += len(packed)
    mail.sock.sendall(packed)


def line():
    global buffer, received
    while b"\n" not in buffer:
        packed = mail.sock.recv(65536)
        check(packed, "the server closed")
        received += len(packed)
        buffer += unpack.decompress(packed)
    first, buffer = buffer.split(b"\n", 1)
    return first.rstrip(b"\r")


def do(tag, command):
    say(tag + b" " + command + b"\r\n")
    lines = []
    while True:
        text = line()
        lines.append(text)
        if text.startswith(tag + b" "):
            check(text.startswith(tag + b" OK"), text)
            return lines


begin = time.monotonic()
for i in range(200):
    do(b"n%d" % i, b"NOOP")
body = b"Subject: long\r\n\r\n" + b"All work and no play makes Jack a dull boy.\r\n" * 3000
do(b"a1", b"APPEND INBOX {%d+}\r\n" % len(body) + body)
do(b"a2", b"SELECT INBOX")
lines = do(b"a3", b"FETCH * (BODY.PEEK[])")
check(b"\r\n".join(lines).count(b"dull boy") == 3000, "the message came back otherwise")
say(b"a4 IDLE\r\n")
check(line() == b"+ idling")
say(b"DONE\r\n")
check(line().startswith(b"a4 OK"))
do(b"a5", b"LOGOUT")
check(received < len(body) // 10, received, "bytes came for", len(body))
check(time.monotonic() - begin < 20, "slow")
