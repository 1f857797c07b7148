package stored

import (
	"fmt"
	"strconv"
)

// PackNumber encodes the value of a fact that is a number or a time.
func PackNumber(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// UnpackNumber decodes the value of a fact that is a number or a time, 0 if it is absent.
func UnpackNumber(name string, value []byte) (int64, error) {
	if value == nil {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("journal: fact %q is damaged", name)
	}
	return n, nil
}

// NotNull returns an empty value instead of nil, which a database would store as NULL.
func NotNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
