// Package rows has the tables of a journal as Go structs: what a column holds and
// means, whichever database keeps it.
//
// What holds for all of them:
//   - Times are whole microseconds since 1970 in UTC.
//   - In a column marked null, the zero value stands for NULL.
//   - Flags are stored as 0 and 1.
//   - Enumerations are small numbers that never get another meaning.
//   - A sealed column x has a column x_key with the id of the key that sealed it.
//
// A tag db names the column and says: key (part of the primary key), fixed (never
// changed once written), null, auto (given by the database).
package rows
