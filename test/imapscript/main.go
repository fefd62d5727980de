package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/postern-mail/postern/test/conformance"
)

func main() {
	var f conformance.Flags
	f.Register(flag.CommandLine, "test/imapscript/scripts", "143")
	box := flag.String("box", "imaptest", "the mailbox of the scripts; those whose names begin so are deleted")
	check := flag.Bool("check", true, "follow what each session is told, and fail where that cannot be")
	flag.Parse()
	server, err := f.Server()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	r := &Runner{Server: server, Dir: f.Dir, Box: *box, Check: *check}
	os.Exit(f.Play(os.Stdout, r.Play))
}
