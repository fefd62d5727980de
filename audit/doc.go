// Package audit keeps the audit log: who changed what, from where and with which
// right. It is append-only: lines of JSON in files, each line chained to the one
// before by its hash, so that nobody changes, removes, inserts or reorders a record
// unnoticed. The head of the chain, which the server keeps elsewhere too, shows a
// tail that was cut off.
//
// A chain proves that what is there now is what was there when its head was
// written down. Whoever may write both the files and the store can forge both;
// against that, note the head elsewhere now and then and ask Verify for it.
package audit
