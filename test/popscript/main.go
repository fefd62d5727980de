package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/postern-mail/postern/test/conformance"
)

func main() {
	var f conformance.Flags
	f.Register(flag.CommandLine, "test/popscript/scripts", "110")
	address := flag.String("imap", "", "host:port of the account's IMAP server, to fill its INBOX; what is there is deleted")
	imapTLS := flag.String("imaptls", "none", "none, start or implicit")
	flag.Parse()
	server, err := f.Server()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	r := &Runner{Server: server, Dir: f.Dir}
	if *address != "" {
		imap := *server
		imap.Address, imap.Implicit, imap.Upgrade = *address, *imapTLS == "implicit", *imapTLS == "start"
		r.IMAP = &imap
	}
	os.Exit(f.Play(os.Stdout, r.Play))
}
