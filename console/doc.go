// Package console is the web console, a face of manage: pages rendered on the
// server, forms that run cmdlets, and for every action the line that does the same
// in the shell. Rights, checks and audit are manage's; there are none here.
//
// A page is a row in pages.go, a template in pages/ and a file with its Show. The
// pages need no script; console.js adds comfort. Everything that a person reads is
// English in the sources and in German in words/de.json.
package console
