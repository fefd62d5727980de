package certificate

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
)

// What the files of the folder end with. NAME.crt and NAME.key are a pair, NAME.csr
// and NAME.key a request that waits for its answer, NAME.json what is known of
// either.
const (
	chainExt   = ".crt"
	keyExt     = ".key"
	requestExt = ".csr"
	detailsExt = ".json"
)

// maxCertificates bounds what the folder may hold.
const maxCertificates = 1000

// Options are what a Store is made of.
type Options struct {
	Folder string
	// Hosts are what the self-signed certificate is for that is made when the folder
	// has none: DNS names or IP addresses.
	Hosts []string
	Log   *slog.Logger
	Now   func() time.Time // time.Now when nil
}

// Store keeps certificates in a folder. Other programs may put pairs there: Watch
// finds them. Its methods may be called from any goroutine.
type Store struct {
	Options
	shown listener.Certificates

	mu sync.Mutex // held through a change
	// Guarded by mu.
	known   string         // what the folder looked like when it was read
	current []*Certificate // pairs as they are chosen among, then requests by name
	told    map[string]time.Time
}

// Open reads the folder, which it makes when it is not there, as well as the
// self-signed certificate. KindUnavailable, and what Load gives.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, mail.Errorf(mail.KindUnavailable, "The folder of certificates cannot be made: %v", err)
	}
	if _, err := SelfSigned(o.Hosts, o.Folder); err != nil {
		return nil, err
	}
	s := &Store{Options: o, told: map[string]time.Time{}}
	return s, s.Load()
}

// Shown are the certificates as services show them.
func (s *Store) Shown() *listener.Certificates { return &s.shown }

// SelfSigned is the path of the certificate that was made at the first start.
func (s *Store) SelfSigned() string { return filepath.Join(s.Folder, CertificateFile) }

// List gives the certificates as they are chosen among, then the requests that wait
// for their answer.
func (s *Store) List() []*Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.current)
}

// Find gives the one with the thumbprint: SHA-1 or SHA-256, or how it begins, 8
// digits at the least, in any case, colons and spaces left out. KindNotFound;
// KindBadArgument when it is too short or begins several.
func (s *Store) Find(thumbprint string) (*Certificate, error) {
	want := strings.ToUpper(strings.NewReplacer(":", "", " ", "").Replace(thumbprint))
	if len(want) < 8 || strings.Trim(want, "0123456789ABCDEF") != "" {
		return nil, bad("A thumbprint is hexadecimal, 8 digits at the least.")
	}
	var found []*Certificate
	for _, c := range s.List() {
		if strings.HasPrefix(c.Thumbprint(), want) || strings.HasPrefix(c.SHA256(), want) {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 0:
		return nil, mail.Errorf(mail.KindNotFound, "There is no certificate with the thumbprint %s.", want)
	case len(found) > 1 && found[0].SHA256() != found[1].SHA256():
		return nil, bad("Several thumbprints begin with %s.", want)
	}
	return found[0], nil
}

// ShownFor gives the certificate that a client sees which names no host itself, at a
// service whose X509CertificateName is name; nil when there is none.
func (s *Store) ShownFor(name string) *Certificate {
	leaf := s.shown.For(name)
	if leaf == nil {
		return nil
	}
	for _, c := range s.List() {
		if c.Leaf() != nil && c.Leaf().Equal(leaf) {
			return c
		}
	}
	return nil
}

// Without gives what services would show if the certificate were not there.
func (s *Store) Without(gone *Certificate) (*listener.Certificates, error) {
	rest := &listener.Certificates{}
	return rest, rest.Set(pairs(slices.DeleteFunc(s.List(), func(c *Certificate) bool { return c.Name == gone.Name }))...)
}

func pairs(list []*Certificate) []tls.Certificate {
	var all []tls.Certificate
	for _, c := range list {
		if c.Chain != nil {
			all = append(all, c.tls())
		}
	}
	return all
}

// Load reads the folder. A pair that cannot be used is logged and left out, or stays
// as it was read before (a file may be half written); when none can be used at all
// it is an error and what was shown before stays.
func (s *Store) Load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load()
}

// load is Load; the caller holds mu.
func (s *Store) load() error {
	s.known = s.look()
	entries, err := os.ReadDir(s.Folder)
	if err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	var list []*Certificate
	var fault error
	count := 0
	add := func(name string, c *Certificate, err error) {
		if err == nil {
			c.Name, c.Details = name, s.details(name)
			list = append(list, c)
			return
		}
		fault = err
		event.CertificateFault.Log(context.Background(), s.Log, "name", name, "error", err)
		for _, old := range s.current {
			if old.Name == name {
				kept := *old
				kept.Fault = mail.TextOf(err)
				list = append(list, &kept)
			}
		}
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ext)
		if ext != chainExt && ext != requestExt || strings.HasPrefix(name, ".") {
			continue
		}
		if count++; count > maxCertificates {
			s.Log.Error("the folder of certificates has too many; the rest is left out", "most", maxCertificates)
			break
		}
		if ext == chainExt {
			c, err := readFiles(s.path(name, chainExt), s.path(name, keyExt))
			add(name, c, err)
			continue
		}
		if _, err := os.Lstat(s.path(name, chainExt)); err == nil {
			continue // it was answered
		}
		c, err := readRequest(s.path(name, requestExt), s.path(name, keyExt))
		add(name, c, err)
	}
	c, err := readFiles(s.SelfSigned(), filepath.Join(s.Folder, KeyFile))
	if _, gone := os.Lstat(s.SelfSigned()); !errors.Is(gone, fs.ErrNotExist) || len(list) == 0 {
		add(firstName, c, err)
	}
	slices.SortStableFunc(list, func(a, b *Certificate) int {
		if (a.Chain == nil) != (b.Chain == nil) {
			if a.Chain == nil {
				return 1
			}
			return -1
		}
		return before(a, b)
	})
	usable := pairs(list)
	if len(usable) == 0 {
		return fault
	}
	if err := s.shown.Set(usable...); err != nil {
		return err
	}
	s.current = list
	return nil
}

func (s *Store) path(name, ext string) string { return filepath.Join(s.Folder, name+ext) }

// details reads what is known of a certificate; what an administrator put there has
// none.
func (s *Store) details(name string) Details {
	d := Details{Source: FromFile}
	if name == firstName {
		d.Source = FromHere
	}
	text, err := readFile(s.path(name, detailsExt))
	if mail.KindOf(err) == mail.KindNotFound {
		return d
	}
	if err == nil {
		read := d
		if err = json.Unmarshal(text, &read); err == nil {
			return read
		}
	}
	s.Log.Error("what is known of a certificate cannot be read", "name", name, "error", err)
	return d
}

func readRequest(requestFile, keyFile string) (*Certificate, error) {
	text, err := readFile(requestFile)
	if err != nil {
		return nil, err
	}
	keyText, err := readFile(keyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, bad("%s is no request.", requestFile)
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, &mail.Error{Kind: mail.KindBadArgument, Text: requestFile + " is no request.", Cause: err}
	}
	_, key, err := readPEM(keyText)
	if err != nil || key == nil {
		return nil, bad("%s is no private key.", keyFile)
	}
	return &Certificate{Request: request, key: key}, nil
}

// look gives a digest that is another one when a file of the folder was changed. It
// reads them: what certbot's links lead to may be of the same size and time.
func (s *Store) look() string {
	entries, err := os.ReadDir(s.Folder)
	if err != nil {
		return err.Error()
	}
	h := sha256.New()
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if text, err := readFile(filepath.Join(s.Folder, e.Name())); err == nil {
			fmt.Fprintf(h, "%s %x\n", e.Name(), sha256.Sum256(text))
		} else { // which load tells
			fmt.Fprintf(h, "%s %v\n", e.Name(), err)
		}
	}
	return string(h.Sum(nil))
}

// Add keeps a pair and shows it. It is durable when Add returns; an error has changed
// nothing. KindAlreadyExists when this very certificate is here.
func (s *Store) Add(chain []*x509.Certificate, key crypto.Signer, d Details) (*Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(&Certificate{Chain: chain, Details: d, key: key})
}

// AddRequest keeps a request with its key until Answer.
func (s *Store) AddRequest(request *x509.CertificateRequest, key crypto.Signer, d Details) (*Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(&Certificate{Request: request, Details: d, key: key})
}

// add keeps a new one; the caller holds mu.
func (s *Store) add(c *Certificate) (*Certificate, error) {
	if len(s.current) >= maxCertificates {
		return nil, mail.Errorf(mail.KindLimit, "There are %d certificates, which is the most.", maxCertificates)
	}
	for _, have := range s.current {
		if have.SHA256() == c.SHA256() {
			return nil, mail.Errorf(mail.KindAlreadyExists, "The certificate %s is here already.", c.Thumbprint())
		}
	}
	c.Created = s.Now().UTC().Round(0)
	c.Name = fileName(c)
	ext := chainExt
	if c.Request != nil {
		ext = requestExt
	}
	if err := c.write(s.Folder, s.path(c.Name, ext), s.path(c.Name, keyExt)); err != nil {
		return nil, err
	}
	return s.reread(c.Name)
}

// reread shows a change of our own; the caller holds mu.
func (s *Store) reread(name string) (*Certificate, error) {
	if err := s.load(); err != nil {
		return nil, err
	}
	for _, c := range s.current {
		if c.Name == name {
			return c, nil
		}
	}
	return nil, mail.Errorf(mail.KindServerBug, "the certificate %s is not there", name)
}

// fileName makes the name of a new certificate's files.
func fileName(c *Certificate) string {
	name := "certificate"
	if names := c.DomainNames(); len(names) > 0 {
		name = strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.':
				return r
			case r == '*':
				return '_'
			}
			return -1
		}, strings.ToLower(names[0]))
	}
	name = strings.Trim(name[:min(len(name), 100)], ".")
	return name + "-" + strings.ToLower(c.Thumbprint()[:16])
}

// Pending finds the request that a chain answers, nil when none waits for it.
func (s *Store) Pending(chain []*x509.Certificate) *Certificate {
	for _, c := range s.List() {
		if c.Request != nil && matches(chain[0], c.key) {
			return c
		}
	}
	return nil
}

// Answer makes a pair of a request and the chain that answers it, as Pending found
// it, and shows it. An error has changed nothing.
func (s *Store) Answer(request *Certificate, chain []*x509.Certificate) (*Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if request.Request == nil || !matches(chain[0], request.key) {
		return nil, bad("The certificate does not answer this request.")
	}
	if _, err := os.Lstat(s.path(request.Name, requestExt)); err != nil {
		return nil, mail.Errorf(mail.KindNotFound, "The request is gone.")
	}
	if err := writeFile(s.path(request.Name, chainExt), pemChain(chain)); err != nil {
		return nil, err
	}
	os.Remove(s.path(request.Name, requestExt)) // one that stays is passed over
	return s.reread(request.Name)
}

// Replace keeps a new pair in the place of an old one: what is known of the old by now
// holds for the new but for its Renewal. An error has changed nothing; KindNotFound
// when the old one is gone.
func (s *Store) Replace(old *Certificate, chain []*x509.Certificate, key crypto.Signer, renewal *Renewal) (*Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now(old)
	if now == nil {
		return nil, mail.Errorf(mail.KindNotFound, "The certificate %s is gone.", old.Thumbprint())
	}
	details := now.Details
	details.Renewal = renewal
	c, err := s.add(&Certificate{Chain: chain, Details: details, key: key})
	if err != nil {
		return nil, err
	}
	// Both are usable: one that cannot be removed does no harm.
	if err := s.remove(now); err != nil {
		s.Log.Warn("a certificate that was renewed cannot be removed", "name", old.Name, "error", err)
	}
	return c, nil
}

// now gives a certificate as it is by now, nil when it is gone. The caller holds mu.
func (s *Store) now(c *Certificate) *Certificate {
	for _, have := range s.current {
		if have.Name == c.Name && have.SHA256() == c.SHA256() {
			return have
		}
	}
	return nil
}

// Change changes what is known of a certificate by now. An error has changed nothing;
// KindNotFound when it is gone.
func (s *Store) Change(c *Certificate, change func(*Details)) (*Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now(c)
	if now == nil {
		return nil, mail.Errorf(mail.KindNotFound, "The certificate %s is gone.", c.Thumbprint())
	}
	details := now.Details
	change(&details)
	text, err := json.MarshalIndent(details, "", "  ")
	if err != nil {
		return nil, mail.Wrap(mail.KindServerBug, err)
	}
	if err := writeFile(s.path(c.Name, detailsExt), append(text, '\n')); err != nil {
		return nil, err
	}
	return s.reread(c.Name)
}

// Remove deletes a certificate with its key, or a request. KindCannot when nothing
// would be left to show; KindNotFound when it is gone.
func (s *Store) Remove(c *Certificate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remove(c)
}

// remove is Remove; the caller holds mu.
func (s *Store) remove(c *Certificate) error {
	files := []string{s.path(c.Name, chainExt), s.path(c.Name, requestExt), s.path(c.Name, keyExt), s.path(c.Name, detailsExt)}
	if c.Name == firstName {
		files = []string{s.SelfSigned(), filepath.Join(s.Folder, KeyFile), s.path(c.Name, detailsExt)}
	}
	rest := slices.DeleteFunc(slices.Clone(s.current), func(have *Certificate) bool { return have.Name == c.Name })
	switch {
	case len(rest) == len(s.current):
		return mail.Errorf(mail.KindNotFound, "The certificate %s is gone.", c.Thumbprint())
	case len(pairs(rest)) == 0:
		return mail.Errorf(mail.KindCannot, "It is the only certificate.")
	}
	// The certificate first: without it the key does not count.
	for _, f := range files {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.load()
			return unwritable(f, err)
		}
	}
	if err := syncFolder(s.Folder); err != nil {
		return err
	}
	return s.load()
}

// PEM gives the chain, with the key before it when that is asked for.
func (s *Store) PEM(c *Certificate, withKey bool) ([]byte, error) {
	if c.Request != nil {
		return pemRequest(c.Request), nil
	}
	if !withKey {
		return pemChain(c.Chain), nil
	}
	key, err := pemKey(c.key)
	return append(key, pemChain(c.Chain)...), err
}

// PKCS12 gives chain and key in a PKCS#12 file under a password, with AES-256 and
// PBKDF2 of SHA-256.
func (s *Store) PKCS12(c *Certificate, password string) ([]byte, error) {
	if c.Chain == nil {
		return nil, mail.Errorf(mail.KindCannot, "It is a request that has no certificate yet.")
	}
	file, err := pkcs12.Modern2023.Encode(c.key, c.Chain[0], c.Chain[1:], password)
	return file, mail.Wrap(mail.KindServerBug, err)
}

// poll is how often the folder is looked at for what others put there.
const poll = 10 * time.Second

// Watch shows what others put into the folder without a restart, and tells once a
// day of certificates that end soon, until ctx ends.
func (s *Store) Watch(ctx context.Context) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		s.tell()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.refresh()
		}
	}
}

func (s *Store) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == s.look() {
		return
	}
	if err := s.load(); err != nil {
		s.Log.Error("the certificates cannot be read again; the old ones stay", "error", err)
		return
	}
	s.Log.Info("certificates read again", "names", s.shown.Names())
}
