// Package secret holds texts that must not be printed by accident: tokens,
// activation codes, e-mail addresses, keys.
//
// A [String] is printed as "[secret]" under every verb of fmt and in slog, also inside
// structs, slices and pointers. It cannot be marshalled. Only [String.Reveal] returns the
// text.
//
// It does not wipe memory, and a core dump contains the text.
package secret
