// Package policy tests the login policy on a running server, cell by cell, against
// tables in testdata that were written from the requirements, so that they do not agree
// with the code by descent.
//
// TestMatrix is the whole policy: every protocol, state of the connection, source,
// LoginType, mechanism and kind of credentials; matrix.csv says what is accepted,
// answers.csv what is answered then, how often the directory is asked and what is
// recorded, offers.csv which capabilities are shown. TestCells makes the attempts in
// every form and spelling, with credentials that are malformed in many ways. protection.csv
// is of ExtendedProtectionPolicy.
package policy
