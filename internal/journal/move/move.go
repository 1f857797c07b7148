package move

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

// Options of a move.
type Options struct {
	From  string // the source's name in the target's audit entry
	Actor string // of both audit entries
	// Now is the source's clock; nil is time.Now.
	Now func() time.Time
	// Progress is called from time to time and at the end of every table. It may be nil.
	Progress func(Progress)
}

// Progress of a move.
type Progress struct {
	Comparing bool // rows are being compared, else copied
	Table     string
	Rows      int64
	Done      bool // the table is complete
}

// A Report is the result of a move.
type Report struct {
	Identity uuid.UUID
	To       string // the target's place
	// Resumed: an earlier move was continued. Restarted: an earlier move could not be
	// continued, because the source was changed meanwhile or a clock was set.
	Resumed, Restarted bool
	// Tables in the order of copying; empty if only the last step was missing.
	Tables []TableReport
	// Waits: the last requests are unknown, so every ledger waits for one slack and one
	// window.
	Waits bool
}

// A TableReport counts the rows of a table.
type TableReport struct {
	Name   string
	Rows   int64 // all of them, compared
	Copied int64 // by this run
}

// Bounds of one transaction of the target.
const (
	batchRows  = 4000
	batchBytes = 4 << 20
)

// progressEvery is the interval between reports of one table's progress.
const progressEvery = 2 * time.Second

// clockTolerance is by how many microseconds the distance between two clocks may change
// between two measurements. A larger change means that one of them was set.
const clockTolerance = 100_000

// Run moves the journal, or continues a move. It can be killed at any moment and run
// again. Its errors wrap [journal.ErrMoved], [ErrNotEmpty], [journal.ErrHeld] or a
// [*DifferenceError], or describe what is wrong with a row or a database. After an error
// the source is still the journal, unless the error says that only the last step is
// missing.
func Run(ctx context.Context, from Source, to Target, o Options) (r Report, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	marks := from.Marks()
	m := &mover{from: from, to: to, o: o, report: &r, marks: marks}
	r.Identity, r.To = marks.Identity, to.Place()
	state, err := to.State(ctx)
	if err != nil {
		return r, err
	}
	if marks.Moved != nil {
		if state == nil || state.ID != marks.Moved.ID {
			return r, marks.Moved.Err()
		}
		r.Resumed = true
		return r, m.finish(ctx, "the rows were compared by an interrupted run")
	}
	if err := m.begin(ctx, state); err != nil {
		return r, err
	}
	for _, t := range Tables() {
		if err := m.copy(ctx, t); err != nil {
			return r, fmt.Errorf("journal: copy table %s: %w", t.Name, err)
		}
	}
	if err := m.settle(ctx); err != nil {
		return r, err
	}
	rows := int64(0)
	for i, t := range Tables() {
		n, err := m.compare(ctx, t)
		if err != nil {
			return r, err
		}
		r.Tables[i].Rows = n
		rows += n
	}
	return r, m.leave(ctx, fmt.Sprintf("%d rows copied and compared", rows))
}

// A mover is one run.
type mover struct {
	from   Source
	to     Target
	o      Options
	report *Report
	marks  Marks
	state  State
}

// begin decides whether a move can be continued, and marks and holds both sides. It marks
// the target first, because a mark that only the source has means nothing.
func (m *mover) begin(ctx context.Context, state *State) error {
	facts, err := m.from.Facts(ctx)
	if err != nil {
		return err
	}
	if err := checkFacts(facts); err != nil {
		return err
	}
	offset, err := m.offset(ctx)
	if err != nil {
		return err
	}
	switch {
	case state == nil:
	case state.Identity != m.marks.Identity:
		return fmt.Errorf("%w: it holds a part of another journal, whose copy has not ended", ErrNotEmpty)
	case state.ID == m.marks.Moving && max(state.Offset-offset, offset-state.Offset) <= clockTolerance:
		m.state, m.report.Resumed = *state, true
		return m.from.Begin(ctx, state.ID)
	default:
		m.report.Restarted = true
	}
	m.state = State{ID: uuid.New(), Identity: m.marks.Identity, Offset: offset}
	if err := m.to.Begin(ctx, m.state); err != nil {
		return err
	}
	return m.from.Begin(ctx, m.state.ID)
}

// offset measures by how much the target's clock is ahead. The result is never too low,
// because the local clock is read first.
func (m *mover) offset(ctx context.Context) (least int64, err error) {
	for i := range 5 {
		before := m.o.Now()
		at, err := m.to.Present(ctx)
		if err != nil {
			return 0, err
		}
		if d := at - before.UnixMicro(); i == 0 || d < least {
			least = d
		}
	}
	return least, nil
}

// checkFacts refuses a journal with a fact that would not be moved, and a copy.
func checkFacts(facts map[string][]byte) error {
	for name := range facts {
		switch fate, ok := fateOf(name); {
		case !ok:
			return fmt.Errorf("journal: this version cannot move the fact %q", name)
		case fate == Refused:
			return journal.ErrCopy
		}
	}
	return nil
}

func (m *mover) copy(ctx context.Context, t Table) error {
	last, err := m.to.Last(ctx, t)
	if err != nil {
		return err
	}
	f := newFeed(ctx, m.from, t, last, m.state.Offset)
	defer f.stop()
	reported := m.o.Now()
	for more := true; more; {
		if more, err = f.begin(); err != nil {
			return err
		}
		if more {
			if err := m.to.Append(ctx, t, f.next); err != nil {
				return err
			}
		}
		if now := m.o.Now(); more && now.Sub(reported) > progressEvery {
			reported = now
			m.o.Progress(Progress{Table: t.Name, Rows: f.total})
		}
	}
	m.o.Progress(Progress{Table: t.Name, Rows: f.total, Done: true})
	m.report.Tables = append(m.report.Tables, TableReport{Name: t.Name, Copied: f.total})
	return nil
}

// settle writes the facts, and everything that follows from the rows.
func (m *mover) settle(ctx context.Context) error {
	facts, err := m.from.Facts(ctx)
	if err != nil {
		return err
	}
	there, err := m.to.Facts(ctx)
	if err != nil {
		return err
	}
	carried := make(map[string][]byte)
	for name, value := range facts {
		switch fate, _ := fateOf(name); fate {
		case Carried:
			carried[name] = value
		case Counted: // except history, see below
			at, err := stored.UnpackNumber(name, value)
			if err != nil {
				return err
			}
			if at != 0 {
				carried[name] = stored.PackNumber(at + m.state.Offset)
			}
		}
	}
	// The doubt remains when the move is run again.
	history, err := stored.UnpackNumber("history", there["history"])
	if err != nil {
		return err
	}
	at, err := stored.UnpackNumber("history", facts["history"])
	if err != nil {
		return err
	}
	if at != 0 {
		history = max(history, at+m.state.Offset)
	}
	if m.marks.Doubt {
		if history, err = m.to.Present(ctx); err != nil {
			return err
		}
		m.report.Waits = true
	}
	if history != 0 {
		carried["history"] = stored.PackNumber(history)
	}
	if err := m.to.Settle(ctx, carried); err != nil {
		return fmt.Errorf("journal: settle the copy: %w", err)
	}
	if there, err = m.to.Facts(ctx); err != nil {
		return err
	}
	for name, value := range carried {
		if string(there[name]) != string(value) {
			return &DifferenceError{Table: "meta", Key: name, What: "its value differs"}
		}
	}
	return nil
}

// leave marks the source as moved and then makes the target usable. A context that ends
// between these two steps does not interrupt them.
func (m *mover) leave(ctx context.Context, detail string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	mark := MovedMark{ID: m.state.ID, At: m.o.Now(), To: m.to.Place()}
	if err := m.from.Leave(ctx, mark, journal.AuditEntry{
		Actor: m.o.Actor, Act: "journal_copy", Subject: mark.To, Detail: detail + "; the journal was moved to that database, and no worker opens this one",
	}); err != nil {
		return fmt.Errorf("journal: leave the source: %w", err)
	}
	return m.finish(ctx, detail)
}

// finish is the last step.
func (m *mover) finish(ctx context.Context, detail string) error {
	err := m.to.Finish(ctx, journal.AuditEntry{Actor: m.o.Actor, Act: "journal_copy", Subject: m.o.From, Detail: detail + "; this is the journal from now on"})
	if err != nil {
		return errors.Join(fmt.Errorf("journal: make the target usable: %w", err),
			errors.New("all rows were copied and compared, and the source is marked as moved; only the last step is missing: run the same command again"))
	}
	return nil
}
