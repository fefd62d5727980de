// Package deflate compresses connections (RFC 1951, as RFC 4978 wants it): the Reader
// gives what has arrived as soon as it has, the Writer flushes at every Write, and
// neither holds much while the connection is silent.
package deflate
