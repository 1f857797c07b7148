package onboarding

import (
	"cmp"
	"slices"
	"strings"

	"invoicebox-worker/internal/journal"
)

// ErasedDetails checks whether the missing details of an audit trail were erased with the
// data of a shop. [ErasedDetails.Add] takes the entries in their order. The zero value is
// ready.
type ErasedDetails struct {
	Count   int64          // of the entries without their detail
	missing map[int64]bool // those that no erasure has named so far
	kept    int64          // the first entry without its detail whose act an erasure never erases
}

// Add records an entry.
func (d *ErasedDetails) Add(e journal.AuditEntry) {
	if e.Act == DetailsErased {
		for _, number := range journal.ParseNumbers(e.Detail) {
			delete(d.missing, number)
		}
	}
	if !e.Erased() {
		return
	}
	d.Count++
	if slices.ContainsFunc(KeptDetails(), func(begin string) bool { return strings.HasPrefix(e.Act, begin) }) {
		d.kept = cmp.Or(d.kept, e.ID)
		return
	}
	if d.missing == nil {
		d.missing = map[int64]bool{}
	}
	d.missing[e.ID] = true
}

// Unexplained returns the number of the first entry whose detail is missing although no
// erasure names it; 0 if there is none. An erasure names only entries before its own.
func (d *ErasedDetails) Unexplained() int64 {
	first := d.kept
	for id := range d.missing {
		if first == 0 || id < first {
			first = id
		}
	}
	return first
}
