package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// postern builds Postern and starts it.
func postern(ctx context.Context, s site) *peer {
	dir := s.dir
	binary, built := filepath.Join(dir, "postern"), filepath.Join(dir, "postern.built")
	if out, err := exec.Command("go", "build", "-o", built, ".").CombinedOutput(); err != nil {
		fail("go build: %s", out)
	}
	// Installed, as the peers are: what the linker writes stands in the page cache in pieces
	// of megabytes, each of which the kernel maps whole when one byte of it is used.
	if out, err := exec.Command("cp", built, binary).CombinedOutput(); err != nil {
		fail("cp: %s", out)
	}
	p := &peer{name: "Postern", imap: port(), imaps: port(), pop3: port(), pop3s: port(), lmtp: port(), data: filepath.Join(dir, "postern-data")}
	socket, config := filepath.Join(dir, "postern.sock"), filepath.Join(dir, "postern.toml")
	text := fmt.Appendf(nil, "data = %q\nname = \"bench.example\"\nsocket = %q\nlmtp = [%q]\n", p.data, socket, p.lmtp)
	if s.compressed {
		text = append(text, "compress_after = \"00:00:00\"\n"...)
	}
	if s.people > 0 {
		text = fmt.Appendf(text, "[[directories]]\nkind = \"passwd\"\nprovision = true\nfile = %q\n", passwd(dir, s.people))
	}
	check(os.WriteFile(config, text, 0o600))
	log, err := os.Create(filepath.Join(dir, "postern.log"))
	check(err)
	command := func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, binary, "serve", "--config", config)
		cmd.Stdout, cmd.Stderr = log, log
		return gentle(cmd)
	}
	certificates := filepath.Join(p.data, "certificates")
	check(os.MkdirAll(certificates, 0o700))
	certFile, keyFile := pair(dir)
	check(os.Symlink(certFile, filepath.Join(certificates, "bench.crt")))
	check(os.Symlink(keyFile, filepath.Join(certificates, "bench.key")))
	// The ports are settings: a first run writes them.
	first := &peer{cmd: command(ctx)}
	check(first.cmd.Start())
	s.started(first)
	waitForFile(socket)
	shell := func(args ...string) {
		out, err := exec.Command(binary, append([]string{"--socket", socket}, args...)...).CombinedOutput()
		if err != nil {
			fail("%v: %s", args, out)
		}
	}
	shell("Set-ImapSettings", "-LoginType", "PlainTextLogin", "-UnencryptedOrTLSBindings", p.imap, "-SSLBindings", p.imaps, "-MaxConnectionsPerUser", "100000", "-X509CertificateName", "bench.example")
	shell("Set-PopSettings", "-LoginType", "PlainTextLogin", "-UnencryptedOrTLSBindings", p.pop3, "-SSLBindings", p.pop3s, "-X509CertificateName", "bench.example")
	// What is expunged is gone at once, as it is with the peers.
	shell("Set-MailboxDatabase", "-DeletedItemRetention", "00:00:00")
	if s.people == 0 {
		for i := range accounts {
			shell("New-Mailbox", accountName(i), "-Password", password)
		}
	}
	first.stop()
	p.command = command
	s.started(p)
	p.start(ctx)
	return p
}
