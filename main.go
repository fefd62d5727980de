// Postern is a POP3 and IMAP4 mail access server: one binary that serves, shows
// itself off, and manages a running server.
package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/role"
	"github.com/postern-mail/postern/shell"
)

// commands are what postern does.
type commands struct {
	Socket    string `help:"The server's management socket, instead of the settings file's." placeholder:"PATH"`
	Server    string `help:"A server to manage over HTTPS instead of the socket, such as https://mail.example.org:8443." placeholder:"URL"`
	TokenFile string `help:"A file with the API token for --server." placeholder:"FILE"`
	CAFile    string `name:"ca-file" help:"The certificates, in PEM, that the certificate of --server leads to, instead of the operating system's." placeholder:"FILE"`

	Serve        serveCommand        `cmd:"" help:"Run the server."`
	Demo         demoCommand         `cmd:"" help:"Run a server with two accounts and some mail, on this host only, that is gone when it ends."`
	Shell        shellCommand        `cmd:"" help:"Open the management shell of a running server."`
	Restore      restoreCommand      `cmd:"" help:"Put a backup of Backup-Store back into an empty data folder; the server does not run meanwhile."`
	Console      consoleCommand      `cmd:"" help:"Print a link that signs you in at the web console of a running server, once."`
	Version      versionCommand      `cmd:"" help:"Print the version."`
	Completion   completionCommand   `cmd:"" help:"Print the script that teaches bash, zsh or fish to complete this command line."`
	ExportModule exportModuleCommand `cmd:"" help:"Write a PowerShell module that manages a server over HTTPS."`
	Complete     completeCommand     `cmd:"" name:"__complete" hidden:"" help:"Offer what completes a command line."`
	Docs         docsCommand         `cmd:"" hidden:"" help:"Write the generated pages of docs anew."`
	Cmdlet       cmdletCommand       `cmd:"" default:"withargs" help:"Run one cmdlet, such as: postern Set-PopSettings -LoginType SecureLogin"`
}

const description = `Postern serves mail over POP3 and IMAP4 and is managed with cmdlets.

  postern demo                                  try it
  postern serve                                 run it
  postern shell                                 manage it, interactively
  postern console                               manage it, in a browser
  postern Get-Command                           list the cmdlets
  postern Get-Help Set-ImapSettings             explain one
  postern Set-ImapSettings -LoginType SecureLogin
  postern --server https://mail.example.org:8443 --token-file FILE Get-Service`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run does what args ask and gives the exit code: 0 done, 1 it failed, 2 the
// arguments are wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	var c commands
	code := -1
	parser, err := kong.New(&c, kong.Name("postern"), kong.Description(description), kong.UsageOnError(),
		kong.Writers(stdout, stderr), kong.Exit(func(n int) { code = n }), kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	parsed, err := parser.Parse(args)
	if code >= 0 { // --help
		return code
	}
	if err != nil {
		fmt.Fprintf(stderr, "postern: %v\nRun \"postern --help\" to see what it can do.\n", err)
		return 2
	}
	s := &streams{ctx: ctx, out: stdout, err: stderr, socket: c.Socket}
	if s.remote, err = c.remote(); err != nil {
		fmt.Fprintf(stderr, "postern: %s\n", explainError(err))
		return 2
	}
	if err := parsed.Run(s); err != nil {
		var exit exitCode
		if errors.As(err, &exit) {
			return int(exit)
		}
		fmt.Fprintf(stderr, "postern: %s\n", explainError(err))
		return 1
	}
	return 0
}

// streams are what a command works with.
type streams struct {
	ctx    context.Context
	out    io.Writer
	err    io.Writer
	socket string         // "" when none was named
	remote *manage.Client // the client of --server, nil without
}

// remote gives the client of --server, nil without.
func (c *commands) remote() (*manage.Client, error) {
	if c.Server == "" {
		if c.TokenFile != "" || c.CAFile != "" {
			return nil, mail.Errorf(mail.KindBadArgument, "--token-file and --ca-file belong to --server")
		}
		return nil, nil
	}
	if c.Socket != "" || c.TokenFile == "" {
		return nil, mail.Errorf(mail.KindBadArgument, "--server needs --token-file, and goes without --socket")
	}
	token, err := readSmall(c.TokenFile)
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if c.CAFile != "" {
		text, err := readSmall(c.CAFile)
		if err != nil {
			return nil, err
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(text) {
			return nil, mail.Errorf(mail.KindBadArgument, "%s holds no certificate in PEM", c.CAFile)
		}
	}
	return manage.DialHTTPS(c.Server, string(bytes.TrimSpace(token)), roots)
}

// readSmall reads a file of at most 1 MiB.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, mail.Errorf(mail.KindBadArgument, "%v", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, mail.Errorf(mail.KindBadArgument, "%v", err)
	}
	return text, nil
}

// logger writes records of a level and above to standard error, or to the journal.
func (s *streams) logger(format event.Format, level slog.Level) (*slog.Logger, error) {
	h, err := event.NewHandler(s.err, format, level)
	if err != nil {
		return nil, err
	}
	return slog.New(h), nil
}

// dial gives a client of the server that was named, else of the one that "postern
// serve" without arguments is.
func (s *streams) dial() *manage.Client {
	if s.remote != nil {
		return s.remote
	}
	if s.socket != "" {
		return manage.Dial(s.socket)
	}
	config, err := role.LoadConfig("")
	if err != nil { // such as a file that only the server may read
		return manage.Dial(role.DefaultSocket())
	}
	return manage.Dial(config.Socket)
}

// exitCode ends a command that has said already what there is to say.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// explainError gives the whole story: this reader is the administrator.
func explainError(err error) string {
	var e *mail.Error
	if errors.As(err, &e) {
		text := mail.TextOf(e)
		if e.Cause != nil {
			text += " (" + e.Cause.Error() + ")"
		}
		return text
	}
	return err.Error()
}

type versionCommand struct{}

func (versionCommand) Run(s *streams) error {
	fmt.Fprintln(s.out, "postern", role.Version())
	return nil
}

type shellCommand struct{}

func (shellCommand) Run(s *streams) error {
	client := s.dial()
	defer client.Close()
	if code := shell.Interactive(s.ctx, client, shell.Stdio(), historyFile()); code != 0 {
		return exitCode(code)
	}
	return nil
}

type consoleCommand struct{}

func (consoleCommand) Run(s *streams) error {
	client := s.dial()
	defer client.Close()
	result, err := client.Run(s.ctx, "New-ConsoleLink", nil)
	if err != nil {
		return err
	}
	for _, o := range result.Objects {
		link, _ := o.Value("Url")
		fmt.Fprintln(s.out, link)
	}
	for _, text := range append(result.Warnings, result.Notes...) {
		fmt.Fprintln(s.err, text)
	}
	return nil
}

// historyFile is where the shell keeps its history, "" for nowhere.
func historyFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "postern", "history")
}

type cmdletCommand struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"The cmdlet and its parameters."`
}

func (c cmdletCommand) Run(s *streams) error {
	if len(c.Args) == 0 || strings.HasPrefix(c.Args[0], "-") {
		fmt.Fprintln(s.err, `postern: say what to do; "postern --help" lists it.`)
		return exitCode(2)
	}
	client := s.dial()
	defer client.Close()
	if code := shell.Run(s.ctx, client, c.Args, shell.Stdio()); code != 0 {
		return exitCode(code)
	}
	return nil
}
