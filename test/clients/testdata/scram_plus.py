"""Signs in to IMAP over TLS with SCRAM-*-PLUS by libsasl2 (Cyrus SASL), bound to the
server's certificate (tls-server-end-point), and prints what the server says last.

scram_plus.py PORT CAFILE USER PASSWORD MECHANISM RIGHT|WRONG
"""
import base64, ctypes, hashlib, socket, ssl, sys

port, cafile, user, password, mechanism, which = sys.argv[1:]
sasl = ctypes.CDLL("libsasl2.so.2")


class Callback(ctypes.Structure):
    _fields_ = [("id", ctypes.c_ulong), ("proc", ctypes.c_void_p), ("context", ctypes.c_void_p)]


class Secret(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ulong), ("data", ctypes.c_char * 256)]


class Binding(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("critical", ctypes.c_int), ("len", ctypes.c_ulong), ("data", ctypes.c_char_p)]


SIMPLE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_uint))
SECRET = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.POINTER(Secret)))
name = user.encode()
secret = Secret(len(password.encode()), password.encode())


@SIMPLE
def simple(context, kind, result, length):
    result[0] = name
    if length:
        length[0] = len(name)
    return 0


@SECRET
def secretly(conn, context, kind, result):
    result[0] = ctypes.pointer(secret)
    return 0


CB_USER, CB_AUTHNAME, CB_PASS, CHANNEL_BINDING = 0x4001, 0x4002, 0x4004, 21
callbacks = (Callback * 4)(
    Callback(CB_USER, ctypes.cast(simple, ctypes.c_void_p), None),
    Callback(CB_AUTHNAME, ctypes.cast(simple, ctypes.c_void_p), None),
    Callback(CB_PASS, ctypes.cast(secretly, ctypes.c_void_p), None),
    Callback(0, None, None),
)


def must(code, what):
    if code not in (0, 1):  # SASL_OK, SASL_CONTINUE
        raise SystemExit("%s: %d %s" % (what, code, ctypes.string_at(sasl.sasl_errdetail(conn)).decode() if conn else ""))


conn = ctypes.c_void_p()
sasl.sasl_errdetail.restype = ctypes.c_void_p
must(sasl.sasl_client_init(None), "init")
must(sasl.sasl_client_new(b"imap", b"localhost", None, None, callbacks, 0, ctypes.byref(conn)), "new")

raw = socket.create_connection(("localhost", int(port)), timeout=30)
tls = ssl.create_default_context(cafile=cafile).wrap_socket(raw, server_hostname="localhost")
digest = hashlib.sha256(tls.getpeercert(True)).digest()
if which == "WRONG":
    digest = bytes(32)
binding = Binding(b"tls-server-end-point", 1, len(digest), digest)
must(sasl.sasl_setprop(conn, CHANNEL_BINDING, ctypes.byref(binding)), "channel binding")

lines = tls.makefile("rwb")
lines.readline()
out, length, chosen = ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_char_p()
must(sasl.sasl_client_start(conn, mechanism.encode(), None, ctypes.byref(out), ctypes.byref(length), ctypes.byref(chosen)), "start")
# It gives the name without -PLUS and means it with: the first message begins with p=.
first = ctypes.string_at(out.value, length.value)
assert first.startswith(b"p=tls-server-end-point,"), first


def say(data):
    lines.write(base64.b64encode(data) + b"\r\n")
    lines.flush()


lines.write(b"a AUTHENTICATE " + mechanism.encode() + b" " + base64.b64encode(first) + b"\r\n")
lines.flush()
while True:
    line = lines.readline().decode().rstrip("\r\n")
    if not line.startswith("+ "):
        break
    challenge = base64.b64decode(line[2:])
    must(sasl.sasl_client_step(conn, challenge, len(challenge), None, ctypes.byref(out), ctypes.byref(length)), "step")
    say(ctypes.string_at(out.value, length.value) if length.value else b"")
print(line)
