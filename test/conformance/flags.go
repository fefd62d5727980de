package conformance

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Flags are the command line that the runners have in common.
type Flags struct {
	Dir, Run                             string
	host, port, user, pass, user2, pass2 string
	tls, ca                              string
	insecure, Verbose                    bool
	timeout                              time.Duration
}

// Register puts the flags into set; dir and port are their defaults.
func (f *Flags) Register(set *flag.FlagSet, dir, port string) {
	set.StringVar(&f.Dir, "dir", dir, "folder with the scripts")
	set.StringVar(&f.Run, "run", "", "play only the scripts whose path fits this regular expression")
	set.StringVar(&f.host, "host", "127.0.0.1", "the server")
	set.StringVar(&f.port, "port", port, "its port")
	set.StringVar(&f.user, "user", "", "the account to log in as; its test mailboxes are deleted")
	set.StringVar(&f.pass, "pass", "", "its password")
	set.StringVar(&f.user2, "user2", "", "a second account, for scripts that share; they are skipped without one")
	set.StringVar(&f.pass2, "pass2", "", "its password")
	set.StringVar(&f.tls, "tls", "none", "none, start (STARTTLS or STLS before the login) or implicit")
	set.StringVar(&f.ca, "ca", "", "file of certificates to trust beside the system's")
	set.BoolVar(&f.insecure, "insecure", false, "trust any certificate")
	set.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long the answer to a command may take")
	set.BoolVar(&f.Verbose, "v", false, "tell also what passed, and what was said where something failed")
}

// Server gives the server that the flags name.
func (f *Flags) Server() (*Server, error) {
	if f.user == "" {
		return nil, fmt.Errorf("name the account with -user and -pass")
	}
	s := &Server{
		Address: net.JoinHostPort(f.host, f.port), Timeout: f.timeout,
		TLS:      &tls.Config{ServerName: f.host, InsecureSkipVerify: f.insecure},
		Accounts: []Account{{f.user, f.pass}},
	}
	if f.user2 != "" {
		s.Accounts = append(s.Accounts, Account{f.user2, f.pass2})
	}
	if f.ca != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		text, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate", f.ca)
		}
		s.TLS.RootCAs = pool
	}
	switch f.tls {
	case "none":
	case "start":
		s.Upgrade = true
	case "implicit":
		s.Implicit = true
	default:
		return nil, fmt.Errorf("-tls is none, start or implicit")
	}
	return s, nil
}

// Scripts lists the scripts below dir whose path below it fits the regular
// expression run, in order. Files of messages (.mbox), pages (.md) and hidden ones are
// none.
func Scripts(dir, run string) ([]string, error) {
	wanted, err := regexp.Compile(run)
	if err != nil {
		return nil, err
	}
	var names []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{".mbox", ".md", ".am"}, filepath.Ext(path)) {
			return err
		}
		if wanted.MatchString(name) {
			names = append(names, name)
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("no scripts in %s", dir)
	}
	return names, err
}

// Play plays the scripts that the flags name, reports to w as they end, and gives the
// exit code: 0 when none failed, 1 when one did, 2 when they cannot be played.
func (f *Flags) Play(w io.Writer, play func(name string) Result) int {
	names, err := Scripts(f.Dir, f.Run)
	if err != nil {
		fmt.Fprintln(w, err)
		return 2
	}
	var report Report
	for _, name := range names {
		result := play(name)
		result.Write(w, f.Verbose)
		report.Results = append(report.Results, result)
	}
	fmt.Fprintln(w, report.Sum())
	if _, failed, _ := report.Counts(); failed > 0 {
		return 1
	}
	return 0
}
