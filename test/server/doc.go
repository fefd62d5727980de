// Package server starts the real binary for tests: it builds Postern once a test
// run, starts `postern demo` or `postern serve` as a process on loopback, waits
// until it serves, and ends it.
//
//	func TestMain(m *testing.M) { server.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		s := server.Demo(t)                     // ends with the test
//		s.MustShell("Set-ImapSettings", "-LoginType", "PlainTextLogin")
//		c, err := net.Dial("tcp", s.IMAP)
//		…
//	}
//
// A server that Serve started keeps its data folder and its addresses over
// Restart, after a clean Stop and after Kill alike.
package server
