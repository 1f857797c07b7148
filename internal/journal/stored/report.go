package stored

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

// PackReport writes a worker's report: its id, the microsecond at which it was
// made, the quoted owner, and the facts, with a blank between.
func PackReport(r journal.WorkerReport, now int64) []byte {
	return append(fmt.Appendf(nil, "%s %d %q ", r.Worker, now, r.Owner), r.Facts...)
}

// UnpackReport reads it; false for what another version wrote otherwise.
func UnpackReport(value []byte, now int64) (r journal.WorkerReport, ok bool) {
	id, rest, found := bytes.Cut(value, []byte{' '})
	if !found {
		return r, false
	}
	at, rest, found := bytes.Cut(rest, []byte{' '})
	if !found {
		return r, false
	}
	quoted, err := strconv.QuotedPrefix(string(rest))
	if err != nil {
		return r, false
	}
	facts, found := bytes.CutPrefix(rest[len(quoted):], []byte{' '})
	micros, err := strconv.ParseInt(string(at), 10, 64)
	if err != nil || !found {
		return r, false
	}
	if r.Owner, err = strconv.Unquote(quoted); err != nil {
		return r, false
	}
	if r.Worker, err = uuid.ParseBytes(id); err != nil {
		return r, false
	}
	r.Age, r.Facts = max(0, time.Duration(now-micros)*time.Microsecond), facts
	return r, true
}
