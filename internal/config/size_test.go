package config

import "testing"

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "1048576": 1 << 20, "3KiB": 3 << 10, "512MiB": 512 << 20, "20GiB": 20 << 30, "8388607TiB": 8388607 << 40,
	} {
		if got, ok := ParseSize(text); !ok || got != want {
			t.Errorf("%s: %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "x", "-1", "+1", "1.5GiB", "20G", "20 GiB", "GiB", "1kib", "8388608TiB", "9223372036854775808", "1e3"} {
		if got, ok := ParseSize(text); ok {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}
