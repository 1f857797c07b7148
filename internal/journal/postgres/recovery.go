package postgres

import (
	"strconv"
)

const setMeta = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

func decimal(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// number parses a fact that is a number, 0 if it is absent.
func number(value []byte) int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// floorRead is below the first sequence and the first version of a new shop.
const floorRead = "coalesce((SELECT convert_from(value, 'UTF8')::bigint FROM meta WHERE name = 'floor'), 0)"
