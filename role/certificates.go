package role

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
)

// certificates are the PEM pairs in the folder "certificates" of the data folder:
// NAME.crt with NAME.key, as many as there are, and the self-signed cert.pem with
// key.pem, which is made at the first start. Pairs of NAME.crt come first.
type certificates struct {
	shown listener.Certificates
	dir   string
	log   *slog.Logger

	mu    sync.Mutex
	known string // what the folder looked like when it was read
}

// certificatePoll is how often the folder is looked at for renewed certificates.
const certificatePoll = 10 * time.Second

func openCertificates(c Config, log *slog.Logger) (*certificates, error) {
	cs := &certificates{dir: filepath.Join(c.Data, "certificates"), log: log}
	if err := os.MkdirAll(cs.dir, 0o700); err != nil {
		return nil, mail.Errorf(mail.KindUnavailable, "The folder of certificates cannot be made: %v", err)
	}
	hosts := []string{c.Name, "localhost", "127.0.0.1", "::1"}
	if c.Name == "localhost" {
		hosts = hosts[1:]
	}
	if _, err := listener.SelfSigned(hosts, cs.dir); err != nil {
		return nil, err
	}
	return cs, cs.load()
}

// selfSigned is the path of the certificate that was made at the first start.
func (c *certificates) selfSigned() string { return filepath.Join(c.dir, listener.CertificateFile) }

// load reads the folder. A pair that cannot be used is logged and left out; when
// none can be used it is an error and what was shown before stays.
func (c *certificates) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = c.look()
	names, err := filepath.Glob(filepath.Join(c.dir, "*.crt"))
	if err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	sort.Strings(names)
	var pairs []tls.Certificate
	var fault error
	add := func(cert, key string) {
		pair, err := listener.LoadPair(cert, key)
		if err != nil {
			fault = err
			c.log.Error("a certificate cannot be used", "file", cert, "error", err)
			return
		}
		pairs = append(pairs, pair)
	}
	for _, n := range names {
		add(n, strings.TrimSuffix(n, ".crt")+".key")
	}
	add(c.selfSigned(), filepath.Join(c.dir, listener.KeyFile))
	if len(pairs) == 0 {
		return fault
	}
	return c.shown.Set(pairs...)
}

// look gives a text that is another one when a file of the folder was changed.
func (c *certificates) look() string {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			fmt.Fprintln(&b, e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

// watch shows renewed certificates without a restart, until ctx ends.
func (c *certificates) watch(ctx context.Context) {
	tick := time.NewTicker(certificatePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.mu.Lock()
			same := c.known == c.look()
			c.mu.Unlock()
			if same {
				continue
			}
			if err := c.load(); err != nil {
				c.log.Error("the certificates cannot be read again; the old ones stay", "error", err)
			} else {
				c.log.Info("certificates read again", "names", c.shown.Names())
			}
		}
	}
}
