package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/reeflective/readline"
	"github.com/reeflective/readline/inputrc"
	"golang.org/x/term"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// Interactive talks with the person at the terminal until exit or Ctrl-D, with
// history kept in the file (none when it is ""), and Tab completion. When
// standard input is no terminal its lines are run as Script does. It gives an
// exit code.
func Interactive(ctx context.Context, client *manage.Client, screen *Screen, historyFile string) int {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return Script(ctx, client, os.Stdin, screen)
	}
	// Ctrl-C ends the line that is under way, such as one that follows a log, and not
	// the shell.
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGTERM)
	defer stop()
	s := &session{Screen: screen, client: client}
	_, err := s.table(ctx)
	if err == nil {
		err = s.offline
	}
	if err != nil {
		s.fail("", err)
		return Failed
	}
	say := s.Catalogue.say
	fmt.Fprintln(s.Out, say("Postern shell. Get-Command lists, Get-Help explains, Tab completes, exit leaves."))
	h := openHistory(historyFile, s.holdsSecret)
	editor := readline.NewShell()
	editor.History.Delete()
	editor.History.Add("postern", h)
	editor.Prompt.Primary(func() string { return s.paint(bold, "postern") + "> " })
	editor.Prompt.Secondary(func() string { return ">> " })
	editor.AcceptMultiline = func(line []rune) bool {
		_, err := parse(string(line))
		return !errors.Is(err, errIncomplete)
	}
	editor.Completer = func(line []rune, cursor int) readline.Completions { return s.completions(ctx, string(line[:cursor])) }
	// Names are written in any case, and a list with explanations beats a grid. What
	// is typed while the terminal is asked for its cursor would be lost: it is not
	// asked.
	for name, value := range map[string]any{"cursor-position-probe": false, "completion-ignore-case": true, "history-autosuggest": false, "menu-complete-display-prefix": true} {
		if err := editor.Config.Set(name, value); err != nil {
			s.fail("", mail.Wrap(mail.KindServerBug, err))
		}
	}
	if err := editor.Config.Bind("emacs", inputrc.Unescape(`\C-i`), "menu-complete", false); err != nil {
		s.fail("", mail.Wrap(mail.KindServerBug, err))
	}
	for ctx.Err() == nil {
		line, err := editor.Readline()
		if errors.Is(err, readline.ErrInterrupt) {
			continue
		}
		if err != nil {
			break
		}
		if leaves(line) {
			break
		}
		under, done := signal.NotifyContext(ctx, os.Interrupt)
		s.line(under, line)
		done()
	}
	if err := h.save(); err != nil {
		fmt.Fprintln(s.Err, say("The history could not be kept: %s", err))
	}
	return Done
}

func (s *session) completions(ctx context.Context, text string) readline.Completions {
	candidates, partial := s.complete(ctx, text)
	described := make([]string, 0, 2*len(candidates))
	for _, c := range candidates {
		described = append(described, c.Value, firstSentence(c.Help))
	}
	c := readline.CompleteValuesDescribed(described...).NoSort()
	c.PREFIX = partial
	return c
}

// firstSentence keeps the list of completions narrow.
func firstSentence(text string) string {
	if i := strings.Index(text, ". "); i >= 0 {
		text = text[:i+1]
	}
	return safe(text)
}

// leaves tells whether a line ends the shell.
func leaves(line string) bool {
	line = strings.TrimSpace(strings.ToLower(line))
	return line == "exit" || line == "quit"
}

// Script runs the lines of r until one fails, and gives its exit code. A line
// goes on in the next while a quote or bracket is open or it ends in | or `.
func Script(ctx context.Context, client *manage.Client, r io.Reader, screen *Screen) int {
	// Whoever pipes lines in cannot be asked: the answer would be the next line.
	quiet := *screen
	quiet.Ask, quiet.AskSecret, quiet.ReadSecret = nil, nil, nil
	s := &session{Screen: &quiet, client: client}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var text string
	for ctx.Err() == nil && lines.Scan() {
		text += lines.Text()
		if _, err := parse(text); errors.Is(err, errIncomplete) && len(text) < maxLine {
			text += "\n"
			continue
		}
		if leaves(text) {
			return Done
		}
		if code := s.line(ctx, text); code != Done {
			return code
		}
		text = ""
	}
	if err := lines.Err(); err != nil {
		s.fail("", mail.Errorf(mail.KindTooBig, "a line cannot be read: %s", err))
		return Misused
	}
	if text != "" {
		return s.line(ctx, text)
	}
	return Done
}
