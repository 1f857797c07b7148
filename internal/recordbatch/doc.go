// Package recordbatch reads Kafka's record batches (message format 2) within limits that
// also bound what is decompressed.
//
// The client library decompresses a whole response at once, so a batch of some
// kilobytes can cost any amount of memory. This package decompresses a batch as a
// stream: only the decompressor's window and one record are in memory at a time.
//
// # Guarantees
//
//   - [Header.Parse] reads the fixed part alone. [Batch.Verify] compares the checksum
//     before anything is decompressed.
//   - [Limits] bound the decompressed bytes, the bytes that the decompressor holds, the
//     records of a batch, and the bytes and headers of a record. A length or count in a
//     batch is checked before memory is allocated for it.
//   - Errors distinguish three causes. [ErrDamaged]: the bytes are not those that were
//     written; another copy may be good. [ErrTooLarge]: a limit is exceeded.
//     [ErrMalformed]: the checksum is right and the content is not; the batch will never
//     be readable.
//   - A record that exceeds a limit of records is reported by its offset and skipped; the
//     records behind it are read. See [Record.TooLarge].
package recordbatch
