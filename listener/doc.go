// Package listener accepts the connections of a protocol service: bindings, TLS,
// limits, time-outs and drain. A protocol gets a *Conn, says which Phase of the
// conversation it is in, and reads and writes; every deadline, count and
// certificate is kept here, once for all protocols and all states.
package listener
