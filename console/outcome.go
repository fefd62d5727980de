package console

import (
	"crypto/rand"
	"slices"
	"sync"

	"github.com/postern-mail/postern/manage"
)

// Outcome is what an action has done, to be told on the page that follows.
type Outcome struct {
	Title    string // English
	Line     string // that does the same in the shell
	Changes  []manage.Change
	Units    map[string]string // of Changes
	Warnings []string
	Notes    []string
	// Secret is shown once: whoever asks for the outcome first has it.
	Secret     string
	SecretName string // in the visitor's language

	id, who string
}

// Bounds of how many are remembered, and of one visitor: nobody pushes out others' before
// they are shown.
const (
	maxOutcomes = 200
	ownOutcomes = 10
)

// outcomes are the latest ones.
type outcomes struct {
	mu   sync.Mutex
	list []*Outcome // the oldest first
}

// add keeps an outcome for the one who acted and gives its id.
func (o *outcomes) add(done *Outcome, who string) string {
	done.id, done.who = rand.Text(), who
	o.mu.Lock()
	defer o.mu.Unlock()
	oldest, own := 0, 0
	for i := range slices.Backward(o.list) {
		if o.list[i].who == who {
			if own++; own == ownOutcomes {
				oldest = i
			}
		}
	}
	if own >= ownOutcomes || len(o.list) >= maxOutcomes {
		o.list = slices.Delete(o.list, oldest, oldest+1)
	}
	o.list = append(o.list, done)
	return done.id
}

// of gives who's own outcome, or nil.
func (o *outcomes) of(id, who string) *Outcome {
	if id == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, done := range o.list {
		if done.id == id && done.who == who {
			shown := *done
			done.Secret = ""
			return &shown
		}
	}
	return nil
}
