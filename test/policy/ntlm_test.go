package policy

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/ntlm"
)

// The test's own program stands for Samba's ntlm_auth when it is started with this word
// and the file into which it writes what it is asked.
const ntlmHelper = "NTLM-HELPER"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == ntlmHelper {
		answerNTLM(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

// answerNTLM takes everybody's word who says the password in clear where a proof would
// be.
func answerNTLM(path string) {
	log, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		word, text, _ := strings.Cut(lines.Text(), " ")
		log.WriteString(word + "\n")
		message, _ := base64.StdEncoding.DecodeString(text)
		if word == "YR" {
			fmt.Println("TT " + encode("NTLMSSP\x00\x02\x00\x00\x00"))
			continue
		}
		user, proof := ntlmField(message, 36), ntlmField(message, 20)
		if right := password; proof == right && !strings.HasPrefix(user, other+".") {
			fmt.Println(`AF EXAMPLE\` + user)
		} else {
			fmt.Println("NA NT_STATUS_LOGON_FAILURE")
		}
	}
}

func ntlmField(message []byte, at int) string {
	length, from := binary.LittleEndian.Uint16(message[at:]), binary.LittleEndian.Uint32(message[at+4:])
	return string(message[from : from+uint32(length)])
}

// The client's two messages ([MS-NLMP], 2.2.1.1 and 2.2.1.3).
var ntlmNegotiate = "NTLMSSP\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 20)

func ntlmAuthenticate(name, pass string) string {
	user, _, _ := strings.Cut(name, "@")
	m := append([]byte("NTLMSSP\x00\x03\x00\x00\x00"), make([]byte, 52)...)
	for at, text := range map[int]string{20: pass, 28: "EXAMPLE", 36: user} {
		binary.LittleEndian.PutUint16(m[at:], uint16(len(text)))
		binary.LittleEndian.PutUint32(m[at+4:], uint32(len(m)))
		m = append(m, text...)
	}
	return string(m)
}

// helperNTLM is the table [ntlm] of the settings file, and the file of what is asked.
func helperNTLM(t testing.TB, folder string) (*ntlm.Options, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "ntlm")
	return &ntlm.Options{Helper: self, Arguments: []string{ntlmHelper, path}, Domains: map[string]string{"EXAMPLE": "example.org"}}, path
}

// conversations is how many the helper was asked to begin.
func conversations(path string) int {
	text, _ := os.ReadFile(path) // not there when nobody asked
	return bytes.Count(text, []byte("YR\n"))
}
