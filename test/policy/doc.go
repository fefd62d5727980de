// Package policy tests the login policy on a running server, cell by cell: every
// protocol, LoginType, state of the connection, method, form of writing it, kind of
// credentials. What is expected stands in testdata, written from the requirements, so
// that it does not agree with the code by descent.
package policy
