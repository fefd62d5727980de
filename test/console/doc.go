// Package console drives the console's pages in Debian's Chromium, against a server
// that runs.
package console
