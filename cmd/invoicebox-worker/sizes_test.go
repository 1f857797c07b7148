package main

import "testing"

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1048576": 1 << 20, "3KiB": 3 << 10, "512MiB": 512 << 20, "20GiB": 20 << 30, "8388607TiB": 8388607 << 40,
	} {
		if got, ok := parseSize(text); !ok || got != want || checkSize(text) != "" {
			t.Errorf("%s: %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "x", "-1", "+1", "1.5GiB", "20G", "20 GiB", "GiB", "1kib", "8388608TiB", "9223372036854775808", "1e3"} {
		if got, ok := parseSize(text); ok || checkSize(text) == "" {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}
