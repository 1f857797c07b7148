package onboarding

import (
	"strings"

	"invoicebox-worker/internal/journal"
)

// ErasedDetails tells whether the details that an audit trail lacks were erased with the
// data of a shop. [ErasedDetails.Note] takes the entries in their order. The zero value is
// ready.
type ErasedDetails struct {
	Count     int64 // of the entries without their detail
	last      int64 // the last of them
	kept      int64 // the last of them whose detail no erasure erases
	performed int64 // the last erasure that was performed
	pending   int   // erasures that were asked for and have not ended
}

// Note notes an entry.
func (d *ErasedDetails) Note(e journal.AuditEntry) {
	switch {
	case e.Act == EraseAsked:
		d.pending++
	case strings.HasPrefix(e.Act, string(ActionErase)+"."): // its end
		d.pending = max(0, d.pending-1)
		if e.Act == erasePerformed {
			d.performed = e.ID
		}
	}
	if !e.Erased() {
		return
	}
	d.Count++
	d.last = e.ID
	for _, begin := range KeptDetails() {
		if strings.HasPrefix(e.Act, begin) {
			d.kept = e.ID
		}
	}
}

// Unexplained returns an entry whose detail no erasure has erased; 0 if there is none. An
// erasure erases what is older than its end, and only details of the acts that
// [KeptDetails] does not name.
func (d *ErasedDetails) Unexplained() int64 {
	if d.kept > 0 || d.pending > 0 {
		return d.kept
	}
	if d.last > d.performed {
		return d.last
	}
	return 0
}
