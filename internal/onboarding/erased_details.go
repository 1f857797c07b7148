package onboarding

import (
	"cmp"
	"slices"
	"strings"

	"invoicebox-worker/internal/journal"
)

// ErasedDetails tells whether the details that an audit trail lacks were erased with the
// data of a shop. [ErasedDetails.Note] takes the entries in their order. The zero value is
// ready.
type ErasedDetails struct {
	Count   int64          // of the entries without their detail
	missing map[int64]bool // those that no erasure has named so far
	kept    int64          // one of them whose detail no erasure erases
}

// Note notes an entry.
func (d *ErasedDetails) Note(e journal.AuditEntry) {
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

// Unexplained returns an entry whose detail no erasure has erased; 0 if there is none.
// Each erasure names the entries, which come before.
func (d *ErasedDetails) Unexplained() int64 {
	first := d.kept
	for id := range d.missing {
		if first == 0 || id < first {
			first = id
		}
	}
	return first
}
