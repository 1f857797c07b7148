package onboarding

import (
	"testing"

	"invoicebox-worker/internal/journal"
)

// Each detail that is missing must be named by an erasure after it.
func TestErasedDetails(t *testing.T) {
	const lacks = true
	type entry struct {
		act    string
		detail string
		lacks  bool
	}
	written, removed := entry{"retry.asked", "why", false}, entry{"retry.asked", "", lacks}
	asked, ended := entry{"erase.asked", "request 1", false}, entry{"erase.performed", "erased", false}
	names := func(numbers string) entry { return entry{"erase.details", numbers, false} }
	for name, c := range map[string]struct {
		entries []entry
		want    int64
	}{
		"nothing":                 {nil, 0},
		"whole":                   {[]entry{written, asked, ended}, 0},
		"erased":                  {[]entry{removed, asked, names("1"), ended}, 0},
		"several":                 {[]entry{removed, removed, written, removed, asked, removed, names("1-2 4 6"), ended}, 0},
		"in two parts":            {[]entry{removed, removed, asked, names("1"), names("2"), ended}, 0},
		"erasure without its end": {[]entry{removed, asked, names("1")}, 0},
		"after a second one":      {[]entry{removed, asked, names("1"), ended, removed, asked, names("5"), ended}, 0},

		"without an erasure":                           {[]entry{removed, written}, 1},
		"with an erasure that named nothing":           {[]entry{removed, asked, ended}, 1},
		"of another shop than the erased one":          {[]entry{removed, removed, asked, names("2"), ended}, 1},
		"between the request and the end":              {[]entry{asked, removed, ended}, 2},
		"after the erasure":                            {[]entry{removed, asked, names("1"), ended, removed}, 5},
		"named before it was written":                  {[]entry{asked, names("3"), removed, ended}, 3},
		"an erasure that was refused":                  {[]entry{removed, asked, {"erase.refused", "in_flight", false}}, 1},
		"the numbers":                                  {[]entry{removed, asked, {"erase.details", "", lacks}, ended}, 1},
		"the numbers, and named by a later erasure":    {[]entry{removed, asked, {"erase.details", "", lacks}, ended, names("1 3")}, 3},
		"the reason of an erasure":                     {[]entry{{"erase.asked", "", lacks}, ended}, 1},
		"a read":                                       {[]entry{{"credentials.read", "", lacks}, asked, names("1"), ended}, 1},
		"numbers that are none":                        {[]entry{removed, asked, names("1 x"), ended}, 1},
		"more numbers than an erasure names at a time": {[]entry{removed, asked, names("1-9223372036854775807"), ended}, 1},
		"numbers in an entry of another act":           {[]entry{removed, {"retry.asked", "1", false}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var d ErasedDetails
			erased := int64(0)
			for i, x := range c.entries {
				e := journal.AuditEntry{ID: int64(i) + 1, Act: x.act, Detail: x.detail, Digest: []byte{1}}
				if x.lacks {
					erased++
				}
				d.Add(e)
			}
			if got := d.Unexplained(); got != c.want || d.Count != erased {
				t.Errorf("entry %d of %d, want %d of %d", got, d.Count, c.want, erased)
			}
		})
	}
}
