// Package secretfile reads secrets from files, the only place from which this service
// reads them.
//
// A [File] is read when it is opened, and again when it has changed. A caller that needs
// the secret checks the file at most once a second. So a secret is rotated by replacing
// its file, without a restart. A [Watched] does the same for certificates and keysets.
//
// # Guarantees
//
//   - A file that group or world can read is refused ([Private] has the one exception,
//     for Secrets that Kubernetes mounts), and so are a folder, a
//     device, an empty file, one that is too large, and one with control
//     characters after the one trailing line break that is removed.
//   - A secret that begins or ends with white space or a byte order mark, and a
//     token with "Bearer" before it, are refused: see [Key] and [Token].
//   - A changed file passes the same checks as at the start. One that does not
//     (half written, removed, opened to the world, of another form) is logged
//     once, with its setting and the reason, and the secret that was read last
//     remains in use. [Watched.Look] returns the reason until the file is valid again.
//   - No error and no log line holds a byte of the file.
//
// # Limits
//
// It does not watch the folder: until the next check an old secret is still used.
package secretfile
