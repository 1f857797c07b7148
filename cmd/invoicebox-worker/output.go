package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"golang.org/x/term"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/visible"
	"invoicebox-worker/invoicebox"
)

// outputFlag chooses between a table and JSON.
type outputFlag struct {
	Output string `name:"output" short:"o" enum:"table,json" default:"table" group:"command" help:"table for people, json for programs (default ${default})."`
}

// write prints value as JSON, or calls people to print it for people. A failed write is an
// error.
func (o outputFlag) write(w io.Writer, value any, people func(io.Writer)) error {
	var out []byte
	if o.Output == "json" {
		doc, err := json.Marshal(value, jsontext.WithIndent("  "), json.FormatNilSliceAsNull(false))
		if err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		out = append(visible.JSON(doc), '\n')
	} else {
		text := &page{width: widthOf(w)}
		people(text)
		out = []byte(visible.Text(text.String()))
	}
	_, err := w.Write(out)
	return err
}

// An outputError says that the output was not written, or only a part of it.
type outputError struct{ cause error }

func (e *outputError) Error() string {
	return "cannot write to standard output: " + config.ErrorText(e.cause)
}
func (e *outputError) Unwrap() error { return e.cause }

// A checkedOutput returns a failed write as an error that names the output. It stores the
// error for writers that ignore it, such as the printer of the help.
type checkedOutput struct {
	io.Writer
	err error
}

func (o *checkedOutput) Write(text []byte) (int, error) {
	n, err := o.Writer.Write(text)
	if err != nil {
		o.err = &outputError{err}
		return n, o.err
	}
	return n, nil
}

// A page is text for people, with the maximum width of its tables; 0 is no maximum.
type page struct {
	bytes.Buffer
	width int
}

// widthOf is the width of a terminal, else 0. Output to a file or to another program is not
// cut, because it is searched and copied.
func widthOf(w io.Writer) int {
	if checked, ok := w.(*checkedOutput); ok {
		w = checked.Writer
	}
	if file, ok := w.(*os.File); ok && isTerminal(file) {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 { // #nosec G115 -- a file descriptor
			return max(width, 80)
		}
		return gridWidth
	}
	return 0
}

// printFields prints names and values under each other; empty values are left out.
func printFields(w io.Writer, pairs ...string) {
	widest := 0
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			widest = max(widest, len(pairs[i]))
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			_, _ = fmt.Fprintf(w, "%-*s  %s\n", widest, pairs[i], visible.Text(pairs[i+1]))
		}
	}
}

// formatTimeMillis shows an instant to people.
func formatTimeMillis(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}

// timeJSON is a time for programs: RFC 3339 in UTC, absent where there is none.
func timeJSON(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func idText(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

func ifTrue(b bool, word string) string {
	if b {
		return word
	}
	return ""
}

// The JSON output. Its names are stable; members are only added.
type (
	operationJSON struct {
		ID          string        `json:"id"`
		Kind        string        `json:"kind"`
		Account     string        `json:"account"`
		Shop        string        `json:"shop"`
		State       string        `json:"state"`
		Reason      string        `json:"reason,omitzero"`
		Run         int           `json:"run"`
		Generation  int           `json:"generation"`
		Attempts    int           `json:"attempts"`
		Doubt       bool          `json:"doubt"`
		CreatedAt   *time.Time    `json:"createdAt,omitzero"`
		ChangedAt   *time.Time    `json:"changedAt,omitzero"`
		DueAt       *time.Time    `json:"dueAt,omitzero"`
		Owner       string        `json:"owner,omitzero"`
		EventID     string        `json:"eventId,omitzero"`
		AttemptList []attemptJSON `json:"attemptList,omitzero"`
		Events      []eventJSON   `json:"events,omitzero"`
		Published   []outputJSON  `json:"published,omitzero"`

		Attention *attentionJSON `json:"attention,omitzero"`
		WaitsFor  []obstacleJSON `json:"waitsFor,omitzero"` // what keeps it from running
		Actions   []actionJSON   `json:"actions,omitzero"`
	}
	attemptJSON struct {
		Number      int        `json:"number"`
		Flagged     bool       `json:"flagged"`
		Probe       bool       `json:"probe"`
		StartedAt   *time.Time `json:"startedAt,omitzero"`
		EndedAt     *time.Time `json:"endedAt,omitzero"`
		Outcome     string     `json:"outcome,omitzero"`
		Status      int        `json:"status,omitzero"`
		Code        string     `json:"code,omitzero"`
		RequestID   string     `json:"requestId,omitzero"`
		Reason      string     `json:"reason,omitzero"`
		HasResponse bool       `json:"hasResponse"`
	}
	eventJSON struct {
		Type       string     `json:"type"`
		Source     string     `json:"source,omitzero"`
		ID         string     `json:"id"`
		Time       *time.Time `json:"time,omitzero"`
		ReceivedAt *time.Time `json:"receivedAt,omitzero"`
		Topic      string     `json:"topic"`
		Partition  int        `json:"partition"`
		Offset     int64      `json:"offset"`
		Operation  string     `json:"operation,omitzero"`
		Exit       string     `json:"exit"`
	}
	outputJSON struct {
		ID        string         `json:"id"`
		Type      string         `json:"type"`
		Sequence  int64          `json:"sequence"`
		CreatedAt *time.Time     `json:"createdAt,omitzero"`
		Published bool           `json:"published"`
		Partition *int           `json:"partition,omitzero"`
		Offset    *int64         `json:"offset,omitzero"`
		Value     jsontext.Value `json:"value,omitzero"`
	}
)

func operationView(r journal.OperationRecord) operationJSON {
	return operationJSON{
		ID: r.UUID.String(), Kind: r.Kind.String(), Account: r.Shop.Account, Shop: r.Shop.Shop, State: r.State.String(),
		Reason: r.Reason, Run: r.Run, Generation: r.Generation, Attempts: r.Attempts, Doubt: r.Doubt,
		CreatedAt: timeJSON(r.Created), ChangedAt: timeJSON(r.Changed), DueAt: timeJSON(r.Due), Owner: r.Owner, EventID: r.Event,
		Attention: attentionView(r),
	}
}

func detailView(d journal.OperationDetail) operationJSON {
	o := operationView(d.OperationRecord)
	for i, a := range d.Tries {
		one := attemptJSON{Number: a.Number, Flagged: a.Flagged, Probe: a.Probe, StartedAt: timeJSON(a.Started), HasResponse: a.HasReceipt}
		if a.End != nil {
			one.EndedAt, one.Outcome, one.Status = timeJSON(a.End.At), outcomeOf(d, i), a.End.Status
			one.Code, one.RequestID, one.Reason = a.End.Code, a.End.RequestID, reasonOf(d, i)
		}
		o.AttemptList = append(o.AttemptList, one)
	}
	if o.Attention != nil {
		o.Attention.Cause = causeOf(d)
		if advice, ok := onboarding.AdviceFor(invoicebox.Reason(o.Attention.Cause)); ok {
			o.Attention.Meaning, o.Attention.Advice = advice.Means, advice.Do
			row, _ := onboarding.AttentionOf(onboarding.Reason(d.Reason))
			o.Attention.Uncertain = row.UncertainOf(d.Doubt, true)
		}
	}
	o.Events, o.Published = eventViews(d.Events), outputViews(d.Output)
	return o
}

// outcomeOf returns the outcome of an attempt that has ended. The response of an activation
// is saved before it is parsed, so the journal says done; if the response could not be parsed,
// the outcome of its attempt says so.
func outcomeOf(d journal.OperationDetail, attempt int) string {
	last := len(d.Tries) - 1
	for last >= 0 && !d.Tries[last].HasReceipt {
		last--
	}
	if d.Kind == journal.Activate && d.Reason == string(onboarding.ReasonAnswerUnreadable) && attempt == last {
		return invoicebox.Unreadable.String()
	}
	return d.Tries[attempt].End.Outcome
}

func eventViews(records []journal.EventRecord) []eventJSON {
	var out []eventJSON
	for _, e := range records {
		out = append(out, eventJSON{
			Type: e.Type, Source: e.Source, ID: e.ID, Time: timeJSON(e.Time), ReceivedAt: timeJSON(e.Received),
			Topic: e.Topic, Partition: e.Partition, Offset: e.Offset, Operation: idText(e.Operation), Exit: e.Exit,
		})
	}
	return out
}

func outputViews(records []journal.OutputRecord) []outputJSON {
	var out []outputJSON
	for _, o := range records {
		one := outputJSON{ID: o.Event.String(), Type: o.Type, Sequence: o.Sequence, CreatedAt: timeJSON(o.Created), Published: o.Published}
		if o.Published {
			one.Partition, one.Offset = &o.Partition, &o.Offset
		}
		if v := jsontext.Value(o.Value); v.IsValid() {
			one.Value = v
		}
		out = append(out, one)
	}
	return out
}

func topicPartitionOffset(topic string, partition int, offset int64) string {
	return topic + "/" + partitionOffset(partition, offset)
}

// partitionOffset is a place within a topic.
func partitionOffset(partition int, offset int64) string {
	return strconv.Itoa(partition) + "/" + strconv.FormatInt(offset, 10)
}
