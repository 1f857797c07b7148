// Package rows describes the tables of a journal as Go structs, the same for every
// database. Package schema has the SQL.
//
// Conventions:
//   - Times are whole microseconds since 1970 in UTC.
//   - In a column marked null, the zero value stands for NULL.
//   - Flags are stored as 0 and 1.
//   - Enumerations are small numbers whose meaning never changes.
//   - A sealed column x has a column x_key with the id of the key that sealed it.
//
// The tag db names the column and its properties: key (part of the primary key),
// fixed (never changed after the insert), null, auto (assigned by the database), wide
// (a value may be large, so that a row with one is not cached).
package rows
