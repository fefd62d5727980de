// Package backup keeps the files of a data folder as they were at several moments, its
// points, in a folder of its own:
//
//	lock                    held by who makes a point, and shared by who reads
//	objects/ab/abcdef…      a part of a file, named by its SHA-256
//	points/TIME.point       what there was at one moment
//
// A point is lines of JSON: a head, a line for each file with the parts that it is made
// of, and at the end the SHA-256 of all the lines before. A part that several files or
// points have is kept once, so a point costs what is new since the last one. An object
// and a point are written under another name, synced and then renamed: whatever ends a
// backup half way, the points that were there are as whole as before, and what it had
// copied is used by the next one, or removed by it.
//
// Nothing is encrypted or compressed: who may read the folder may read the mail, and has
// the keys. Folders are 0700, files 0600.
package backup
