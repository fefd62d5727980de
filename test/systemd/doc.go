// Package systemd tests the whole program as systemd runs it: told of what happens,
// with sockets that are open already, watched, and scraped by Prometheus.
package systemd
