package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestNoCoreDumps(t *testing.T) {
	for _, args := range [][]string{{"resolve", "ref+sealed://journal/invoicebox/default/s?version=1"}, {"run"}} {
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
		execute(t.Context(), args...) // fails later, for lack of settings
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		var limit unix.Rlimit
		if errLimit := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || errLimit != nil || dumpable != 0 || limit.Cur != 0 {
			t.Errorf("%v: dumpable %d, core limit %d, %v, %v", args, dumpable, limit.Cur, err, errLimit)
		}
	}
}
