package message

import "bytes"

// maxSubject bounds what is looked at of a subject, in bytes.
const maxSubject = 4096

// appendBaseSubject appends the base subject of a Subject field's value v
// (RFC 5256, 2.1), in UTF-8 and in its own case.
func appendBaseSubject(dst, v []byte) []byte {
	base, _ := splitSubject(decodedValue(v))
	return append(dst, base...)
}

// splitSubject gives the base subject of a subject that is decoded and unfolded, in
// memory of its own, and whether it is that of a reply or of a forwarded message:
// whether more than blobs and white space was taken away (RFC 5256, 3).
func splitSubject(decoded []byte) (base []byte, reply bool) {
	// (1) Each run of white space one space.
	s := oneSpace(decoded)
	for {
		// (2) Trailers.
		for {
			t := bytes.TrimRight(s, " ")
			if hasFoldSuffix(t, "(fwd)") {
				t, reply = t[:len(t)-5], true
			}
			if len(t) == len(s) {
				break
			}
			s = t
		}
		// (3) to (5) Leaders, and blobs as long as something remains. Blobs alone
		// make no leader, so once there is none they go without looking again.
		for n := leader(s); n > 0; n = leader(s) {
			reply = reply || s[0] != ' '
			s = s[n:]
		}
		for n := blob(s); n > 0 && n < len(s); n = blob(s) {
			s = s[n:]
		}
		// (6) [fwd: …]
		if len(s) < 6 || !equalFold(s[:5], "[fwd:") || s[len(s)-1] != ']' {
			return s, reply
		}
		s, reply = s[5:len(s)-1], true
	}
}

// oneSpace gives a copy of s in which each run of white space is one space. Only
// what RFC 5322 calls white space counts, not the spaces of other scripts.
func oneSpace(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for _, c := range s {
		if isSpace(c) {
			if n := len(out); n > 0 && out[n-1] == ' ' {
				continue
			}
			c = ' '
		}
		out = append(out, c)
	}
	return out
}

func hasFoldSuffix(s []byte, suffix string) bool {
	return len(s) >= len(suffix) && equalFold(s[len(s)-len(suffix):], suffix)
}

// leader gives the length of the subj-leader that s begins with:
//
//	subj-leader = (*subj-blob subj-refwd) / WSP
//	subj-refwd  = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"
func leader(s []byte) int {
	if len(s) > 0 && s[0] == ' ' {
		return 1
	}
	i := 0
	for {
		n := blob(s[i:])
		if n == 0 {
			break
		}
		i += n
	}
	rest := s[i:]
	switch {
	case len(rest) >= 3 && equalFold(rest[:3], "fwd"):
		i += 3
	case len(rest) >= 2 && (equalFold(rest[:2], "re") || equalFold(rest[:2], "fw")):
		i += 2
	default:
		return 0
	}
	for i < len(s) && s[i] == ' ' {
		i++
	}
	i += blob(s[i:])
	if i < len(s) && s[i] == ':' {
		return i + 1
	}
	return 0
}

// blob gives the length of the subj-blob that s begins with:
//
//	subj-blob = "[" *BLOBCHAR "]" *WSP
func blob(s []byte) int {
	if len(s) == 0 || s[0] != '[' {
		return 0
	}
	i := 1 + bytes.IndexAny(s[1:], "[]")
	if i == 0 || s[i] != ']' {
		return 0
	}
	for i++; i < len(s) && s[i] == ' '; i++ {
	}
	return i
}
