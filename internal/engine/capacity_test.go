package engine

import "testing"

// Operations are claimed together: while fewer than an eighth of an account's own places
// are free, nothing is claimed for it.
func TestWorthClaim(t *testing.T) {
	for _, c := range []struct {
		name           string
		room           slotQuota
		account, taken int // operations in flight: of the account, and in shared places
		want           bool
	}{
		{"all places are free", slotQuota{reserved: 24}, 0, 0, true},
		{"an eighth is free", slotQuota{reserved: 24}, 21, 0, true},
		{"less than an eighth is free", slotQuota{reserved: 24}, 22, 0, false},
		{"none is free", slotQuota{reserved: 24}, 24, 0, false},
		{"one of few is free", slotQuota{reserved: 3}, 2, 0, true},
		{"none of few is free", slotQuota{reserved: 3}, 3, 0, false},
		{"shared places are free", slotQuota{reserved: 16, shared: 8}, 17, 6, true},
		{"too few shared places are free", slotQuota{reserved: 16, shared: 8}, 17, 7, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &Engine{capacity: c.room, inFlight: c.taken}
			if got := e.worthClaim(&account{inFlight: c.account}); got != c.want {
				t.Errorf("there is room: %t, want %t", got, c.want)
			}
		})
	}
}
