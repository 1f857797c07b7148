// Package secretfile reads secrets from files: the only place from which this
// service takes them.
//
// A [File] is read when it is opened and again whenever it has changed; who
// asks for the secret pays for a look at the file at most once a second. A
// rotation is therefore a file that is replaced, without a restart.
//
// # What it guarantees
//
//   - A file that group or world can read is refused, and so are a folder, a
//     device, an empty file, one that is too large, and one with control
//     characters after the one trailing line break that is taken away.
//   - A change that leaves no usable file behind (half written, removed, opened
//     to the world) is logged once, and the secret that was read last stays in
//     force: a slip of the hand does not stop the service.
//   - No error and no log line holds a byte of the file.
//
// # What it does not
//
// It does not watch the folder: between two looks an old secret is still used.
package secretfile
