package main

import (
	"math"
	"strconv"
	"strings"

	"invoicebox-worker/consumer"
)

// sizeUnits are what a size may end with; a bare number is bytes.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}

// parseSize reads a number of bytes such as 512MiB.
func parseSize(text string) (int64, bool) {
	unit := int64(1)
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = number, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit || strings.HasPrefix(text, "+") {
		return 0, false
	}
	return n * unit, true
}

func checkSize(text string) string {
	if _, ok := parseSize(text); !ok {
		return "must be a size such as 1048576, 512MiB or 20GiB, or 0"
	}
	return ""
}

// checkMemory checks the memory for fetched records; see consumer.Config.
func checkMemory(text string) string {
	if n, ok := parseSize(text); !ok || n < consumer.MinFetchMemory || n > consumer.MaxFetchMemory {
		return "must be a size from 24MiB to 1GiB"
	}
	return ""
}
