package onboarding

import (
	"testing"

	"invoicebox-worker/internal/journal"
)

func TestErasedDetails(t *testing.T) {
	const lacks = true
	type entry struct {
		act   string
		lacks bool
	}
	for name, c := range map[string]struct {
		entries []entry
		want    int64
	}{
		"nothing":                                 {nil, 0},
		"without an erasure":                      {[]entry{{"retry.asked", lacks}, {"retry.performed", false}}, 1},
		"before it was asked for":                 {[]entry{{"retry.asked", lacks}, {"erase.asked", false}, {"erase.performed", false}}, 0},
		"between the request and the end":         {[]entry{{"erase.asked", false}, {"retry.asked", lacks}, {"erase.performed", false}}, 0},
		"while it goes on":                        {[]entry{{"erase.asked", false}, {"retry.asked", lacks}}, 0},
		"after it":                                {[]entry{{"erase.asked", false}, {"erase.performed", false}, {"retry.asked", lacks}}, 3},
		"it was refused":                          {[]entry{{"retry.asked", lacks}, {"erase.asked", false}, {"erase.refused", false}}, 1},
		"one was refused while another goes on":   {[]entry{{"retry.asked", lacks}, {"erase.asked", false}, {"erase.asked", false}, {"erase.refused", false}}, 0},
		"the detail of an erasure":                {[]entry{{"erase.asked", lacks}, {"erase.performed", false}}, 1},
		"the detail of a read":                    {[]entry{{"credentials.read", lacks}, {"erase.asked", false}, {"erase.performed", false}}, 1},
		"after one that was performed, a refused": {[]entry{{"erase.asked", false}, {"erase.performed", false}, {"retry.asked", lacks}, {"erase.asked", false}, {"erase.refused", false}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			var d ErasedDetails
			erased := int64(0)
			for i, x := range c.entries {
				e := journal.AuditEntry{ID: int64(i) + 1, Act: x.act, Detail: "why"}
				if x.lacks {
					e.Detail, e.Digest = "", []byte{1}
					erased++
				}
				d.Note(e)
			}
			if got := d.Unexplained(); got != c.want || d.Count != erased {
				t.Errorf("entry %d of %d, want %d of %d", got, d.Count, c.want, erased)
			}
		})
	}
}
