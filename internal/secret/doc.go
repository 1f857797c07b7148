// Package secret holds texts that must not be printed by accident: tokens,
// activation codes, e-mail addresses, keys.
//
// A [String] shows itself as "[secret]" under every verb of fmt and in slog,
// also inside structs, slices and pointers, and refuses to be marshalled. The
// text comes out through [String.Reveal] only.
//
// What it does not do: it does not wipe memory, and a core dump shows it.
package secret
