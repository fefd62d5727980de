package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// password is every account's.
const password = "bench-password"

// peer is a server under measurement, started for this run alone. All addresses are
// of loopback.
type peer struct {
	name        string
	imap, imaps string
	pop3, pop3s string
	lmtp        string
	command     func(context.Context) *exec.Cmd // starts it, the first time and again
	cmd         *exec.Cmd
	data        string // the folder of its mail
}

// accountName gives the i-th account.
func accountName(i int) string { return fmt.Sprintf("u%d@bench.example", i) }

// site is what a server is started for.
type site struct {
	dir        string      // for its data
	people     int         // accounts in a passwd file; 0: the bench's, as each server keeps them itself
	compressed bool        // bodies are compressed: Dovecot's with zstd, Postern's soon after they came
	started    func(*peer) // is told of each process
}

// peerNames are the servers, in the order of columns; servers starts each.
var (
	peerNames = []string{"Postern", "Dovecot", "Cyrus"}
	servers   = map[string]func(context.Context, site) *peer{"Postern": postern, "Dovecot": dovecot, "Cyrus": cyrus}
)

// names are those of the servers that are measured.
func (b *bench) names() (names []string) {
	for _, p := range b.peers {
		names = append(names, p.name)
	}
	return names
}

// passwd writes a file with the first n accounts.
func passwd(dir string, n int) (file string) {
	var users strings.Builder
	for i := range n {
		fmt.Fprintf(&users, "%s:{PLAIN}%s::::::\n", accountName(i), password)
	}
	file = filepath.Join(dir, "users")
	check(os.WriteFile(file, []byte(users.String()), 0o644))
	return file
}

// gentle lets a server end its processes itself when the run is interrupted.
func gentle(cmd *exec.Cmd) *exec.Cmd {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd
}

// start starts the server; it is ready when start returns.
func (p *peer) start(ctx context.Context) {
	p.cmd = p.command(ctx)
	check(p.cmd.Start())
	for _, addr := range []string{p.imap, p.imaps, p.pop3, p.pop3s, p.lmtp} {
		waitFor(addr)
	}
}

// stop ends the server by its process id and waits.
func (p *peer) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		p.end()
		<-done
	}
	p.cmd = nil
}

// kill ends the server without a word, all its processes, and waits.
func (p *peer) kill() {
	p.end()
	p.cmd.Wait()
	p.cmd = nil
}

// end kills the server's processes.
func (p *peer) end() {
	for _, id := range tree(p.cmd.Process.Pid) {
		syscall.Kill(id, syscall.SIGKILL)
	}
}

// port gives a free loopback address.
func port() string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	defer l.Close()
	return l.Addr().String()
}

// onlyPort gives the port of an address.
func onlyPort(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// waitForFile waits until a file is there.
func waitForFile(name string) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(name); err == nil {
			return
		}
	}
	fail("%s does not appear", name)
}

// waitFor waits until addr accepts.
func waitFor(addr string) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return
		}
	}
	fail("%s does not accept", addr)
}

// pair writes a certificate of its own (ECDSA P-256, as a CA gives today) with its key
// into dir: every peer shows the same.
func pair(dir string) (certFile, keyFile string) {
	certFile, keyFile = filepath.Join(dir, "bench.crt"), filepath.Join(dir, "bench.key")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "bench.example"}, DNSNames: []string{"bench.example"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	check(os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	check(os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o644))
	return certFile, keyFile
}
