package settings

// UnencryptedOrTLSBindings are the addresses of clear connections, on which
// STLS or STARTTLS may begin TLS.
var UnencryptedOrTLSBindings = bindings(Row{
	Name: "UnencryptedOrTLSBindings", Noun: "Settings", Page: Binding, Services: both,
	Help: "The IP:port pairs for connections that begin unencrypted and may switch to TLS. @{Add=…; Remove=…} edits the list. New ones are opened before old ones close; live sessions go on.",
}, map[Service]uint16{POP3: 110, IMAP4: 143})

// SSLBindings are the addresses of connections that are TLS from their first byte.
var SSLBindings = bindings(Row{
	Name: "SSLBindings", Noun: "Settings", Page: Binding, Services: []Service{POP3, IMAP4, Console},
	Help: "The IP:port pairs for connections that are encrypted from the first byte. @{Add=…; Remove=…} edits the list.",
}, map[Service]uint16{POP3: 995, IMAP4: 993, Console: 8443})
