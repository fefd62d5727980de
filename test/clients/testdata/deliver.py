"""Python's smtplib.LMTP delivers one message: address (a socket's path or
host:port), to, subject. Prints the refusals as JSON."""
import json
import smtplib

from login import TIMEOUT, arguments

args = arguments()
if args["address"].startswith("/"):
    c = smtplib.LMTP(args["address"])
else:
    host, port = args["address"].rsplit(":", 1)
    c = smtplib.LMTP(host, int(port), timeout=TIMEOUT)
message = (
    f"From: sender@test.example\r\nTo: {args['to'][0]}\r\nSubject: {args['subject']}\r\n"
    "Message-ID: <lmtp@test.example>\r\n\r\n.a line that begins with a dot\r\n" + "x" * args.get("size", 0) + "\r\n"
)
try:
    refused = c.sendmail("sender@test.example", args["to"], message.encode())
except smtplib.SMTPRecipientsRefused as e:
    refused = e.recipients
c.quit()
print(json.dumps({to: [code, text.decode()] for to, (code, text) in refused.items()}))
