// Package doctable holds the tables that are drawn in documentation against the
// data that they draw: a test renders the data, and fails where the comment
// says something else. It is for tests only.
//
// A drawing is the block of lines, each behind "//" and a tab, under a heading
// of a comment. With INVOICEBOX_DRAW=1 the block is written anew instead of
// being compared.
package doctable
