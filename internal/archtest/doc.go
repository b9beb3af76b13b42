// Package archtest reads the rules of the tree from ARCHITECTURE.md and reports what breaks them.
// A rule that the document does not state is not checked, and a statement that cannot be parsed is
// an error: the document and the tree cannot drift apart unseen.
// It knows nothing about what the packages do; their own tests do.
package archtest
