package manage

import (
	"slices"
	"strings"
	"unicode"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/strength"
)

// leastScore is the least that is no weak password, of strength's 0 to 4: it withstands
// who guesses offline at 10,000 a second for some days.
const leastScore = 3

// leastPart is how long a part of a name is that a password may not hold.
const leastPart = 4

// The reasons why a password is weak.
const (
	weakName   = "it holds a part of the mailbox's name or addresses"
	weakGuess  = "a program guesses it soon: it is made of common words, names, dates or patterns"
	weakShort  = "it has fewer than 8 characters"
	leastRunes = 8
)

// MaxStrength is the best that Strength gives.
const MaxStrength = strength.Most

// Strength judges a password of an entry, by zxcvbn's score of its beginning, 0 to MaxStrength, and says
// why it is weak, "" when it is not. It says nothing of what the password is.
func Strength(password string, e directory.Entry) (score int, weak string) {
	parts := nameParts(e)
	score = strength.Score(password, parts)
	lower := strings.ToLower(password)
	switch {
	case slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(lower, p) }):
		weak = weakName
	case len([]rune(password)) < leastRunes:
		weak = weakShort
	case score < leastScore:
		weak = weakGuess
	}
	if weak != "" {
		score = min(score, leastScore-1)
	}
	return score, weak
}

// weakness is what Strength says.
func weakness(password string, e directory.Entry) string {
	_, weak := Strength(password, e)
	return weak
}

// nameParts gives the words of an entry's names and addresses, in lower case.
func nameParts(e directory.Entry) []string {
	var parts []string
	for _, text := range append([]string{e.Name, e.DisplayName}, e.Aliases...) {
		words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		for _, w := range words {
			if len(w) >= leastPart {
				parts = append(parts, w)
			}
		}
	}
	return parts
}

// judge warns of a weak -Password, or refuses it, as WeakPasswordPolicy says.
func (c *Call) judge(e directory.Entry) error {
	policy := settings.WeakPasswordPolicy.Of(c.Settings.Current(settings.Console))
	if !c.Given("Password") || policy == settings.AcceptWeak {
		return nil
	}
	why := weakness(string(c.Secret("Password")), e)
	switch {
	case why == "":
	case policy == settings.RefuseWeak:
		return about("Password", hinted(mail.Errorf(mail.KindBadArgument, "the password is weak: %s", why), "Take a longer one, such as four words that have nothing to do with each other."))
	default:
		c.Warn("The password is weak: " + why + ".")
	}
	return nil
}
