// Package certificate keeps the server's certificates: pairs of a chain and its key
// in a folder, with what is known of them, and requests that wait for their answer.
// It makes keys, requests and self-signed certificates, and reads what
// administrators bring (PEM, DER, PKCS#12). What it keeps it gives to package
// listener, which shows it to clients.
package certificate
