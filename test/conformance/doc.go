// Package conformance holds what the runners of conformance scripts share
// (test/imapscript, test/popscript): the command line, the connection to whatever
// server is to be tried, the $variables of the scripts, and the report.
package conformance
