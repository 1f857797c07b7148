package config

import (
	"math"
	"strconv"
	"strings"
)

// A Size is a number of bytes.
type Size int64

// ParseSize reads a number of bytes such as 1048576, 512MiB or 20GiB.
func ParseSize(text string) (Size, bool) {
	unit := int64(1)
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}} {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = number, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit || strings.HasPrefix(text, "+") {
		return 0, false
	}
	return Size(n * unit), true
}
