package message

// What the tests ask in one word.

func filterFields(header []byte, names []string, not bool) []byte {
	return AppendFields(nil, header, names, not)
}

func keptFields() []string {
	var names []string
	for _, f := range knownFields {
		if f.kept {
			names = append(names, f.name)
		}
	}
	return names
}

func decodeWords(s string) string { return string(appendWords(nil, []byte(s))) }

func baseSubject(s string) string {
	return string(appendBaseSubject(nil, cutUTF8([]byte(s), maxSubject)))
}
