package onboarding

import "testing"

func TestLateRules(t *testing.T) {
	for _, v := range []LateVerdict{LateNoToken, LateSameToken, LateOtherToken} {
		n := 0
		for _, row := range lateRules {
			if row.Verdict == v {
				n++
			}
			if row.Attention != (row.Verdict == LateOtherToken) || row.Note == "" {
				t.Errorf("row %+v", row)
			}
		}
		if n != 1 {
			t.Errorf("verdict %d has %d rows", v, n)
		}
	}
}
