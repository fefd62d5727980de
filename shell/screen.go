package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// What a command line ends with. A cmdlet that tests something may say another
// one, Result.ExitCode.
const (
	Done    = 0 // all went well
	Failed  = 1 // a cmdlet failed, for at least one object of a pipeline, or an answer was no
	Misused = 2 // the line could not be understood; nothing was done
)

// Screen is where a shell reads and writes.
type Screen struct {
	Out, Err io.Writer
	// Terminal: Out is a terminal, so there is colour, and texts fit Width.
	Terminal bool
	Width    int
	// ErrTerminal: Err is a terminal, so a line there may change, of ErrWidth columns.
	ErrTerminal bool
	ErrWidth    int
	// Ask asks a question and gives the line that was typed; nil when nobody can
	// be asked.
	Ask func(question string) (string, error)
	// AskSecret does the same without showing what is typed.
	AskSecret func(question string) (string, error)
	// ReadSecret reads a secret that was named without a value where nobody can be
	// asked: a script's line on standard input, which no list of processes shows.
	// nil when there is none.
	ReadSecret func() (string, error)
	Catalogue  Catalogue
}

// Stdio gives the process's own screen. Questions are asked when both standard
// input and standard error are a terminal; NO_COLOR (no-color.org) is obeyed.
func Stdio() *Screen {
	s := &Screen{Out: os.Stdout, Err: os.Stderr, Width: 80}
	out, in := int(os.Stdout.Fd()), int(os.Stdin.Fd())
	if term.IsTerminal(out) {
		s.Terminal = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if width, _, err := term.GetSize(out); err == nil && width > 0 {
			s.Width = width
		}
	}
	if fd := int(os.Stderr.Fd()); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		s.ErrTerminal, s.ErrWidth = true, 80
		if width, _, err := term.GetSize(fd); err == nil && width > 0 {
			s.ErrWidth = width
		}
	}
	if !term.IsTerminal(in) {
		s.ReadSecret = func() (string, error) { return readLine(os.Stdin) }
		return s
	}
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return s
	}
	s.Ask = func(question string) (string, error) {
		fmt.Fprint(os.Stderr, question)
		return readLine(os.Stdin)
	}
	s.AskSecret = func(question string) (string, error) {
		fmt.Fprint(os.Stderr, question)
		secret, err := term.ReadPassword(in)
		fmt.Fprintln(os.Stderr)
		return string(secret), err
	}
	return s
}

// readLine reads one line byte by byte, so that nothing behind it is lost.
func readLine(r io.Reader) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < maxLine {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, one[:n]...)
		if err != nil {
			return string(line), err
		}
	}
	return "", mail.Errorf(mail.KindTooBig, "a line has at most %d bytes", maxLine)
}

// session runs lines for one person.
type session struct {
	*Screen
	client  *manage.Client
	cmdlets []*manage.Cmdlet // asked for once
	offline error            // why no server could be asked; cmdlets are this program's
}

// Run runs one line that comes as a process's arguments and gives its exit code.
func Run(ctx context.Context, client *manage.Client, args []string, screen *Screen) int {
	s := &session{Screen: screen, client: client}
	lines, err := parseArguments(args)
	if err != nil {
		s.fail(firstWord(args), err)
		return Misused
	}
	return s.runAll(ctx, lines)
}

// line runs one line as it is typed and gives what Run gives.
func (s *session) line(ctx context.Context, line string) int {
	lines, err := parse(line)
	if err != nil {
		s.fail("", err)
		return Misused
	}
	return s.runAll(ctx, lines)
}

func firstWord(args []string) string {
	if len(args) == 0 {
		return ""
	}
	word, _, _ := strings.Cut(args[0], " ")
	return word
}

// runAll runs pipelines one after another until one fails.
func (s *session) runAll(ctx context.Context, lines []pipeline) int {
	for _, p := range lines {
		if code := s.pipeline(ctx, p); code != Done {
			return code
		}
	}
	return Done
}

// table gives the server's cmdlets; this program's own when no server answers.
func (s *session) table(ctx context.Context) ([]*manage.Cmdlet, error) {
	if s.cmdlets == nil {
		list, err := s.client.Cmdlets(ctx)
		switch {
		case err == nil:
			s.cmdlets = list
		case unreachable(err):
			s.cmdlets, s.offline = manage.Cmdlets(), err
		default:
			return nil, err
		}
	}
	return s.cmdlets, nil
}

// run runs a cmdlet on the server. Help is there without one.
func (s *session) run(ctx context.Context, cmdlet *manage.Cmdlet, bound map[string]any) (*manage.Result, error) {
	sent, path, err := unsaved(cmdlet, bound)
	if err != nil {
		return nil, err
	}
	r, err := s.send(ctx, cmdlet, sent)
	if unreachable(err) {
		help, ok, helpErr := manage.Offline(ctx, cmdlet.Name, bound)
		if !ok {
			return nil, err
		}
		if helpErr == nil {
			help.Notes = append(help.Notes, s.Catalogue.say("No server answers, so this is the help of the program itself: %s.", mail.TextOf(err)))
		}
		return help, helpErr
	}
	if err == nil && r.File != nil && path != "" {
		if err := save(path, r.File.Content); err != nil {
			return nil, err
		}
		r.Notes = append(r.Notes, s.Catalogue.say("%s was written.", path))
		r.File = nil
	}
	return r, err
}

// send has the server run a cmdlet, and shows how far one is that takes long.
func (s *session) send(ctx context.Context, cmdlet *manage.Cmdlet, sent map[string]any) (*manage.Result, error) {
	if !cmdlet.Long {
		return s.client.Run(ctx, cmdlet.Name, sent)
	}
	bar := NewBar(s.Screen)
	r, err := s.client.RunLong(ctx, cmdlet.Name, sent, bar.Show)
	bar.End()
	if err != nil && ctx.Err() != nil && bar.Heard() != "" {
		err = &hint{err, s.endedAt(bar, cmdlet)}
	}
	return r, err
}

// endedAt says how far a cmdlet was that somebody ended.
func (s *session) endedAt(bar *Bar, cmdlet *manage.Cmdlet) string {
	text := s.Catalogue.say("The last that was heard of it: %s.", bar.Heard())
	if cmdlet.Changes {
		text += " " + s.Catalogue.say("What was done stays; Get-AuditLog has the record of it.")
	}
	return text
}

// unreachable tells whether err is that no server answered, and not its answer.
func unreachable(err error) bool {
	var refused *manage.CallError
	return err != nil && mail.KindOf(err) == mail.KindUnavailable && !errors.As(err, &refused)
}

// cmdlet finds a cmdlet by name or alias.
func (s *session) cmdlet(ctx context.Context, name string) (*manage.Cmdlet, error) {
	table, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range table {
		for _, n := range append([]string{c.Name}, c.Aliases...) {
			if strings.EqualFold(n, name) {
				return c, nil
			}
			names = append(names, n)
		}
	}
	text := nearest(name, names)
	if text == "" {
		text = s.Catalogue.say("Get-Command lists the cmdlets.")
	}
	return nil, &hint{mail.Errorf(mail.KindNotFound, "there is no cmdlet %q", name), text}
}

// askMissing asks for mandatory parameters that were not given, and for secrets
// that were named without a value. Behind a pipe an object may give what is
// missing.
func (s *session) askMissing(cmdlet *manage.Cmdlet, bound map[string]any, piped bool) error {
	for i := range cmdlet.Parameters {
		p := &cmdlet.Parameters[i]
		have, given := bound[p.Name]
		if _, ask := have.(asked); !ask && (given || !p.Mandatory || piped && p.Pipeline) {
			continue
		}
		missing := &hint{mail.Errorf(mail.KindBadArgument, "needs -%s", p.Name), p.Help}
		if p.Type != manage.TypeSecret {
			return missing
		}
		var secret string
		var err error
		switch _, named := have.(asked); {
		case s.AskSecret != nil:
			secret, err = s.secret(p.Name, cmdlet.Changes)
		case named && s.ReadSecret != nil:
			if secret, err = s.ReadSecret(); err != nil {
				err = mail.Errorf(mail.KindBadArgument, "-%s is read from standard input, and there is no line", p.Name)
			}
		default:
			return missing
		}
		if err != nil {
			return err
		}
		bound[p.Name] = secret
	}
	return nil
}

// secret asks, twice for a new secret.
func (s *session) secret(name string, again bool) (string, error) {
	first, err := s.AskSecret(s.Catalogue.say("%s: ", name))
	if err != nil {
		return "", mail.Wrap(mail.KindCannot, err)
	}
	if !again {
		return first, nil
	}
	second, err := s.AskSecret(s.Catalogue.say("%s again: ", name))
	if err != nil {
		return "", mail.Wrap(mail.KindCannot, err)
	}
	if first != second {
		return "", mail.Errorf(mail.KindBadArgument, "the two are not the same")
	}
	return first, nil
}

// remarks shows notes and warnings, which are no objects and so go to Err.
func (s *session) remarks(r *manage.Result) {
	for _, n := range r.Notes {
		fmt.Fprintln(s.Err, s.paint(faint, s.wrap(safe(n), 0)))
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(s.Err, s.paint(yellow, s.wrap(s.Catalogue.say("WARNING: ")+safe(w), 0)))
	}
}

// changes shows what was changed, or would be.
func (s *session) changes(r *manage.Result, w io.Writer) {
	if len(r.Changes) == 0 {
		if r.WhatIf {
			fmt.Fprintln(w, s.Catalogue.say("What if: nothing would be changed."))
		}
		return
	}
	head := ""
	if r.WhatIf {
		head = s.Catalogue.say("What if: ")
	}
	for _, c := range r.Changes {
		fmt.Fprintf(w, "%s%s %s: %s → %s\n", s.paint(bold, head), safe(c.Target), safe(c.Name), s.paint(faint, s.changed(c.Old, r.Units[c.Name])), s.paint(bold, s.changed(c.New, r.Units[c.Name])))
	}
}

// changed gives a changed value, where nothing has a word too.
func (s *session) changed(v any, unit string) string {
	if n, ok := v.(json.Number); ok {
		if whole, err := n.Int64(); err == nil {
			v = whole
		}
	}
	if list, ok := v.([]any); v == nil || v == "" || ok && len(list) == 0 {
		return s.Catalogue.say("(none)")
	}
	return show(v, unit)
}

// fail shows an error: the cmdlet, what is wrong, and what may help.
func (s *session) fail(name string, err error) {
	text, help := mail.TextOf(err), ""
	var h *hint
	if errors.As(err, &h) {
		help = h.text
	}
	var refused *manage.CallError
	if errors.As(err, &refused) {
		help = refused.Fault.Hint
	}
	cmdlet, _, _ := strings.Cut(name, " ")
	if rest, ok := strings.CutPrefix(text, cmdlet+" "); ok && name != "" {
		text = name + " " + rest
	} else if name != "" && !strings.HasPrefix(text, name) {
		text = name + ": " + text
	}
	fmt.Fprintln(s.Err, s.paint(red, s.wrap(safe(text), 0)))
	if help != "" {
		fmt.Fprintln(s.Err, s.wrap("  "+safe(help), 2))
	}
}
