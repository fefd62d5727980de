// Package api tests the management API of the whole binary over HTTPS.
package api
