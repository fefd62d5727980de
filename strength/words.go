package strength

import (
	_ "embed"
	"strconv"
	"strings"
)

// words are the frequent passwords, words of English, and names of zxcvbn's lists, in
// lower case, each with its rank in the list in which it stands highest; in the order of
// their bytes. Copyright (c) 2012-2016 Dan Wheeler and Dropbox, Inc., under the MIT licence.
//
//go:embed words.txt
var words string

// longestWord is how many characters the longest has.
const longestWord = 22

// rank gives a word's rank, from 1; 0 when it is not there.
func rank(word string) int {
	low, high := 0, len(words) // the line begins in [low, high)
	for low < high {
		begin := low + strings.LastIndexByte(words[low:(low+high)/2], '\n') + 1
		line, _, _ := strings.Cut(words[begin:], "\n")
		found, number, _ := strings.Cut(line, " ")
		switch {
		case found == word:
			n, _ := strconv.Atoi(number)
			return n
		case found < word:
			low = begin + len(line) + 1
		default:
			high = begin
		}
	}
	return 0
}
