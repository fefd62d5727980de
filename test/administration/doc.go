// Package administration tests a whole server as its administrators see it: in the
// shell, over the API and in the console.
package administration
