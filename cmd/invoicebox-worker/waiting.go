package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// obstacleJSON is one reason why an operation does not run.
type obstacleJSON struct {
	Cause     string     `json:"cause"` // closed set
	Until     *time.Time `json:"until,omitzero"`
	Operation string     `json:"operation,omitzero"`
	Detail    string     `json:"detail"`
	Command   string     `json:"command,omitzero"` // of this program
}

func obstacleViews(list []onboarding.Obstacle) []obstacleJSON {
	var views []obstacleJSON
	for _, o := range list {
		views = append(views, obstacleJSON{
			Cause: string(o.Cause), Until: timeJSON(o.Until), Operation: idText(o.Operation), Detail: o.Text, Command: o.Command,
		})
	}
	return views
}

// notes are the obstacles of the rows of a table. Each is printed once, below the table.
type notes struct {
	numbers map[string]int
	texts   []string
}

// mark returns the references of a row, " [1][2]" and so on, empty if the row itself
// shows everything. A cause of the operation alone is referenced only if there is no
// other.
func (n *notes) mark(list []onboarding.Obstacle) string {
	signs := ""
	for _, o := range list {
		text := noteOf(o)
		if text == "" || signs != "" && ofOperation(o.Cause) {
			continue
		}
		if n.numbers == nil {
			n.numbers = map[string]int{}
		}
		if n.numbers[text] == 0 {
			n.texts = append(n.texts, text)
			n.numbers[text] = len(n.texts)
		}
		signs += fmt.Sprintf("[%d]", n.numbers[text])
	}
	if signs == "" {
		return ""
	}
	return " " + signs
}

// ofOperation reports whether a cause is about one operation, and not about its account
// or the worker.
func ofOperation(c onboarding.Cause) bool {
	switch c {
	case onboarding.CauseLane, onboarding.CauseQuiet, onboarding.CauseStore, onboarding.CauseVerification, onboarding.CauseBackOff, onboarding.CauseOperator:
		return true
	}
	return false
}

// print writes the notes.
func (n *notes) print(w io.Writer) {
	for i, text := range n.texts {
		_, _ = fmt.Fprintf(w, "[%d] %s\n", i+1, text)
	}
}

// noteOf returns the text without the parts that the rows show themselves.
func noteOf(o onboarding.Obstacle) string {
	switch o.Cause {
	case onboarding.CauseOperator, onboarding.CauseBackOff:
		return ""
	case onboarding.CauseLane:
		return "another operation of the same shop is first: `operations show` names it"
	case onboarding.CauseQuiet:
		return "an earlier request may still be on its way: quiet period until the time shown"
	case onboarding.CauseStore:
		return "the credential store is not ready: next attempt at the time shown"
	case onboarding.CauseVerification:
		return "the new token is being checked, next at the time shown"
	}
	return app.WhyWaits([]onboarding.Obstacle{o})
}

// outcomeEvery is the interval at which the state of an operation is read.
const outcomeEvery = 200 * time.Millisecond

// awaitOutcome waits until an operation that was planned again has ended, waits
// for an operator, or cannot go on before somebody does something. It returns the
// operation as it then is, with what keeps it from running.
func awaitOutcome(ctx context.Context, j journal.Journal, start journal.OperationRecord, until time.Time) (journal.OperationRecord, []onboarding.Obstacle, error) {
	tick := time.NewTicker(outcomeEvery)
	defer tick.Stop()
	for o := start; ; {
		d, err := j.Operation(ctx, start.UUID)
		if err != nil {
			return o, nil, err
		}
		o = d.OperationRecord
		situation, err := app.ReadSituation(ctx, j)
		if err != nil {
			return o, nil, err
		}
		list, err := situation.Obstacles(ctx, o)
		if err != nil {
			return o, nil, err
		}
		over := !o.State.Open() || !time.Now().Before(until)
		for _, x := range list {
			over = over || x.Lasts()
		}
		if over {
			return o, list, nil
		}
		select {
		case <-ctx.Done():
			return o, list, ctx.Err()
		case <-tick.C:
		}
	}
}

// describeOutcome describes the state of an operation after an action.
func describeOutcome(o journal.OperationRecord, list []onboarding.Obstacle) string {
	state := o.State.String()
	if o.Reason != "" {
		state += " (" + o.Reason + ")"
	}
	switch why := app.WhyWaits(list); {
	case o.State == journal.Attention:
		return "outcome: it waits for an operator again: " + o.Reason
	case !o.State.Open():
		return "outcome: " + state
	case why != "":
		return "now " + state + "; it does not run yet: " + why
	default:
		return "now " + state
	}
}
