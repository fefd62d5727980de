package main

import (
	"context"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/postern-mail/postern/shell"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (c completionCommand) Run(s *streams) error {
	script, err := shell.CompletionScript(c.Shell)
	if err == nil {
		_, err = s.out.Write(script)
	}
	return err
}

// completeCommand is called by the scripts.
type completeCommand struct {
	From  string   `arg:"" enum:"bash,words" help:"bash: a line up to the cursor follows; words: its words."`
	Words []string `arg:"" optional:"" passthrough:""`
}

// completionTime is how long a server may take: somebody waits at a Tab key.
const completionTime = 3 * time.Second

func (c completeCommand) Run(s *streams, k *kong.Context) error {
	words := c.Words
	if c.From == "bash" {
		words = shell.BashWords(strings.Join(words, " "))[1:]
	}
	for len(words) > 2 && words[0] == "--socket" {
		s.socket, words = words[1], words[2:]
	}
	if len(words) == 0 {
		return nil
	}
	var list []shell.Candidate
	word := words[len(words)-1]
	add := func(value, help string) {
		if strings.HasPrefix(value, word) {
			list = append(list, shell.Candidate{Value: value, Help: help})
		}
	}
	flags := func(n *kong.Node) {
		for _, f := range n.Flags {
			if !f.Hidden {
				add("--"+f.Name, f.Help)
			}
		}
	}
	if len(words) == 1 {
		for _, n := range k.Model.Children {
			if !n.Hidden && n.Name != "cmdlet" {
				add(n.Name, n.Help)
			}
		}
		if strings.HasPrefix(word, "-") {
			flags(k.Model.Node)
		}
	} else {
		for _, n := range k.Model.Children {
			if n.Name != words[0] || n.Name == "cmdlet" {
				continue
			}
			for _, p := range n.Positional {
				for _, v := range p.EnumSlice() {
					add(v, "")
				}
			}
			flags(n)
			return shell.WriteCandidates(s.out, list)
		}
	}
	ctx, cancel := context.WithTimeout(s.ctx, completionTime)
	defer cancel()
	client := s.dial()
	defer client.Close()
	return shell.WriteCandidates(s.out, append(list, shell.Complete(ctx, client, words)...))
}
