// Package recordbatch reads Kafka's record batches (message format 2) as they
// lie on disk and come over the wire, within bounds that hold after unpacking.
//
// The client library unpacks a whole response at once, so that a batch of some
// kilobytes can cost any amount of memory. Here a batch is unpacked as a stream:
// only the decompressor's window and one record are held at a time.
//
// # What it guarantees
//
//   - [Header.Parse] reads the fixed part alone; [Batch.Verify] compares the
//     checksum before a byte is unpacked.
//   - [Limits] bound the unpacked bytes, the bytes that the decompressor holds,
//     the records of a batch, and the bytes and headers of a record. Lengths and
//     counts that the batch claims are never allocated before they are checked.
//   - Errors tell three causes apart. [ErrDamaged]: the bytes are not those that
//     were written, another copy may be good. [ErrTooLarge]: a limit is exceeded.
//     [ErrMalformed]: the checksum is right and the content is not; it will never
//     be readable.
//   - A record that exceeds a limit of records is reported by its offset and
//     skipped, the records behind it are read. See [Record.TooLarge].
package recordbatch
