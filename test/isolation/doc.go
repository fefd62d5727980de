// Package isolation proves that one person never sees, finds or changes what is
// another's: everything that belongs to an account carries a word of its own, a
// canary, and no other account may ever hear it.
package isolation
