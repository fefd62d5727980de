package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// What a command line ends with.
const (
	Done    = 0 // all went well
	Failed  = 1 // a cmdlet failed
	Misused = 2 // the line could not be understood; nothing was done
)

// Screen is where a shell reads and writes.
type Screen struct {
	Out, Err io.Writer
	// Terminal: Out is a terminal, so there is colour, and texts fit Width.
	Terminal bool
	Width    int
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

// table gives the server's cmdlets.
func (s *session) table(ctx context.Context) ([]*manage.Cmdlet, error) {
	if s.cmdlets == nil {
		list, err := s.client.Cmdlets(ctx)
		if err != nil {
			return nil, err
		}
		s.cmdlets = list
	}
	return s.cmdlets, nil
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

// pipeline runs a cmdlet and sends its objects through the filters behind it.
// The whole pipeline is read before anything is done.
func (s *session) pipeline(ctx context.Context, p pipeline) int {
	cmdlet, err := s.cmdlet(ctx, p[0].name)
	if err != nil {
		if f := filterNamed(p[0].name); f != nil {
			err = &hint{mail.Errorf(mail.KindBadArgument, "%s stands behind a pipe", f.name), s.Catalogue.say("Such as Get-Mailbox | %s.", f.name)}
		}
		s.fail(p[0].name, err)
		if mail.KindOf(err) == mail.KindUnavailable {
			return Failed
		}
		return Misused
	}
	bound, err := bind(cmdlet.Name, cmdlet.Parameters, p[0].args)
	if err != nil {
		s.fail(cmdlet.Name, err)
		return Misused
	}
	type stage struct {
		*filter
		bound map[string]any
		args  []token
	}
	var stages []stage
	for _, c := range p[1:] {
		f := filterNamed(c.name)
		if f == nil {
			s.fail(c.name, &hint{mail.Errorf(mail.KindBadArgument, "cannot stand behind a pipe"), s.Catalogue.say("Behind a pipe stand %s.", filterNames())})
			return Misused
		}
		st := stage{filter: f, args: c.args}
		if !f.own {
			if st.bound, err = bind(f.name, f.parameters, c.args); err != nil {
				s.fail(f.name, err)
				return Misused
			}
		}
		stages = append(stages, st)
	}
	result, code := s.call(ctx, cmdlet, bound)
	if result == nil {
		return code
	}
	st := &stream{result: result}
	for _, f := range stages {
		if err := f.run(st, f.bound, f.args); err != nil {
			s.fail(f.name, err)
			return Misused
		}
	}
	if err := s.print(st); err != nil {
		s.fail(cmdlet.Name, err)
		return Failed
	}
	s.remarks(result)
	return Done
}

func filterNames() string {
	var names []string
	for _, f := range filters() {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

// call runs a cmdlet, asks for what is missing and for confirmation. Without a
// result it gives the exit code.
func (s *session) call(ctx context.Context, cmdlet *manage.Cmdlet, bound map[string]any) (*manage.Result, int) {
	if err := s.askMissing(cmdlet, bound); err != nil {
		s.fail(cmdlet.Name, err)
		return nil, Misused
	}
	if err := readFiles(cmdlet, bound); err != nil {
		s.fail(cmdlet.Name, err)
		return nil, Misused
	}
	result, err := s.client.Run(ctx, cmdlet.Name, bound)
	if err == nil && result.Confirm != "" {
		if s.Ask == nil {
			s.fail(cmdlet.Name, &hint{mail.Errorf(mail.KindCannot, "it asks before it acts, and nobody can be asked here"), s.Catalogue.say("-Confirm:$false acts without the question.")})
			return nil, Failed
		}
		s.changes(result, s.Err)
		answer, askErr := s.Ask(safe(result.Confirm) + " " + s.Catalogue.say("[y/N] "))
		if askErr != nil && askErr != io.EOF || !s.yes(answer) {
			fmt.Fprintln(s.Err, s.Catalogue.say("Nothing was changed."))
			return nil, Failed
		}
		bound["Confirm"] = false
		result, err = s.client.Run(ctx, cmdlet.Name, bound)
	}
	if err != nil {
		s.fail(cmdlet.Name, err)
		return nil, Failed
	}
	return result, Done
}

// readFiles replaces the paths of files by their content: it is this side that
// reads them, with the caller's own rights.
func readFiles(cmdlet *manage.Cmdlet, bound map[string]any) error {
	for i := range cmdlet.Parameters {
		p := &cmdlet.Parameters[i]
		path, ok := bound[p.Name].(string)
		if p.Type != manage.TypeFile || !ok {
			continue
		}
		content, err := readFile(path)
		if err != nil {
			return mail.Errorf(mail.KindBadArgument, "-%s: %s", p.Name, mail.TextOf(err))
		}
		bound[p.Name] = manage.FileContent{Base64: content}
	}
	return nil
}

// readFile reads a file of at most manage.MaxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, mail.Errorf(mail.KindNotFound, "there is no file %q", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, mail.Errorf(mail.KindNoPermission, "you may not read the file %q", path)
	case err != nil:
		return nil, mail.Errorf(mail.KindBadArgument, "the file %q cannot be opened", path)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, manage.MaxFile+1))
	if err != nil {
		return nil, mail.Errorf(mail.KindBadArgument, "the file %q cannot be read", path)
	}
	if len(content) > manage.MaxFile {
		return nil, mail.Errorf(mail.KindTooBig, "the file %q has more than %d bytes", path, manage.MaxFile)
	}
	return content, nil
}

func (s *session) yes(answer string) bool {
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer != "" && (strings.HasPrefix("yes", answer) || strings.HasPrefix(strings.ToLower(s.Catalogue.say("yes")), answer))
}

// askMissing asks for mandatory parameters that were not given, and for secrets
// that were named without a value.
func (s *session) askMissing(cmdlet *manage.Cmdlet, bound map[string]any) error {
	for i := range cmdlet.Parameters {
		p := &cmdlet.Parameters[i]
		have, given := bound[p.Name]
		if _, ask := have.(asked); !ask && (given || !p.Mandatory) {
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
			secret, err = s.secret(p.Name)
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

// secret asks twice.
func (s *session) secret(name string) (string, error) {
	first, err := s.AskSecret(s.Catalogue.say("%s: ", name))
	if err != nil {
		return "", mail.Wrap(mail.KindCannot, err)
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

// remarks shows changes, notes and warnings, which are no objects and so go to
// Err.
func (s *session) remarks(r *manage.Result) {
	// A cmdlet that shows what it made need not tell it again.
	if len(r.Objects) == 0 || r.WhatIf {
		s.changes(r, s.Err)
	}
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
	if name != "" && !strings.HasPrefix(text, name) {
		text = name + ": " + text
	}
	fmt.Fprintln(s.Err, s.paint(red, s.wrap(safe(text), 0)))
	if help != "" {
		fmt.Fprintln(s.Err, s.wrap("  "+safe(help), 2))
	}
}
