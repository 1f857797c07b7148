// Package stored says what the two databases of the journal keep in the same
// form: the numbers of lanes, exits and circuit breakers, and headers as bytes. A journal
// that moves from one to the other takes its rows along as they are, so they
// must never differ, and a number that was given out is never given another
// meaning.
package stored
