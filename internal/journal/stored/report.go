package stored

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

// A report is the stored form of a worker's report.
type report struct {
	Worker uuid.UUID `json:"worker"`
	At     int64     `json:"at"` // when it was made, in microseconds since 1970
	Owner  string    `json:"owner"`
	Facts  []byte    `json:"facts"`
}

// PackReport encodes a worker's report, made at the microsecond now.
func PackReport(r journal.WorkerReport, now int64) ([]byte, error) {
	return json.Marshal(report{r.Worker, now, r.Owner, r.Facts}, jsontext.AllowInvalidUTF8(true)) // a host can have any name
}

// UnpackReport decodes a report; false if another version stored it in another form.
func UnpackReport(value []byte, now int64) (journal.WorkerReport, bool) {
	var r report
	if json.Unmarshal(value, &r) != nil || r.Worker == uuid.Nil || r.At == 0 {
		return journal.WorkerReport{}, false
	}
	age := max(0, time.Duration(now-r.At)*time.Microsecond)
	return journal.WorkerReport{Worker: r.Worker, Owner: r.Owner, Age: age, Facts: r.Facts}, true
}
