package move

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

// A Row holds the columns of a table, in its order: int64, string, []byte or nil. The
// receiver owns it.
type Row []any

// A Source is the journal that is moved. It is held from its opening to Close, so that no
// worker can open it.
type Source interface {
	// Marks returns the marks of moves that were begun.
	Marks() Marks
	// Facts are the rows of table meta.
	Facts(ctx context.Context) (map[string][]byte, error)
	// Begin stores the id of the move. From then to Close no other process can write,
	// commands beside the worker included. A source that was moved is only held.
	Begin(ctx context.Context, id uuid.UUID) error
	// Rows reads a table by rising key, above the given one if it is not nil.
	Rows(ctx context.Context, t Table, after Row) iter.Seq2[Row, error]
	// Leave marks the source as moved: from then on no worker opens it. The audit
	// entry is written with it.
	Leave(ctx context.Context, m MovedMark, audit journal.AuditEntry) error
}

// Marks are a source's record of moves.
type Marks struct {
	Identity uuid.UUID
	Moving   uuid.UUID  // of a move that did not end; uuid.Nil for none
	Moved    *MovedMark // nil unless it was moved
	// Doubt: the file may lack the last requests, or its times may be wrong. The ledgers
	// have to wait.
	Doubt bool
}

// A Target is the destination of a move. From its opening to its closing no other move can
// open it; from Begin to Finish no worker can.
type Target interface {
	// Place names it for operators and contains no secret.
	Place() string
	// Present returns the time of its clock, in microseconds.
	Present(ctx context.Context) (int64, error)
	// State is nil if no move was begun.
	State(ctx context.Context) (*State, error)
	// Begin begins a move. If one was begun before, it empties the target first. Otherwise
	// it refuses a target that is not empty with [ErrNotEmpty], and one that a worker has
	// open with [journal.ErrHeld].
	Begin(ctx context.Context, s State) error
	// Last is the highest key of a table, nil if it is empty.
	Last(ctx context.Context, t Table) (Row, error)
	// Append adds rows above the last, in one transaction, until next returns nil.
	Append(ctx context.Context, t Table, next func() (Row, error)) error
	// Settle writes facts and derives what follows from the rows: the next numbers, the
	// statistics. It can be repeated.
	Settle(ctx context.Context, facts map[string][]byte) error
	Facts(ctx context.Context) (map[string][]byte, error)
	Rows(ctx context.Context, t Table, after Row) iter.Seq2[Row, error]
	// Finish makes it a journal that a worker can open, with the audit entry.
	Finish(ctx context.Context, audit journal.AuditEntry) error
}

// A State is what the target records of a move until its end.
type State struct {
	ID       uuid.UUID
	Identity uuid.UUID // of the journal
	// Offset is by how many microseconds the target's clock is ahead of the source's.
	Offset int64
}

// String returns the form in which it is stored.
func (s State) String() string { return fmt.Sprintf("%s %s %d", s.ID, s.Identity, s.Offset) }

// ParseState parses the result of String.
func ParseState(text string) (State, error) {
	parts := strings.Fields(text)
	if len(parts) != 3 {
		return State{}, errDamaged
	}
	id, err := uuid.Parse(parts[0])
	identity, err2 := uuid.Parse(parts[1])
	offset, err3 := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || err2 != nil || err3 != nil {
		return State{}, errDamaged
	}
	return State{ID: id, Identity: identity, Offset: offset}, nil
}

// A MovedMark is what a source records when it was moved.
type MovedMark struct {
	ID uuid.UUID
	At time.Time
	To string // the target's Place
}

// String returns the form in which it is stored.
func (m MovedMark) String() string {
	return fmt.Sprintf("%s %d %s", m.ID, m.At.UnixMicro(), m.To)
}

// ParseMoved parses the result of String.
func ParseMoved(text string) (MovedMark, error) {
	parts := strings.SplitN(text, " ", 3)
	if len(parts) != 3 {
		return MovedMark{}, errDamaged
	}
	id, err := uuid.Parse(parts[0])
	at, err2 := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || err2 != nil {
		return MovedMark{}, errDamaged
	}
	return MovedMark{ID: id, At: time.UnixMicro(at).UTC(), To: parts[2]}, nil
}

// Err returns an error that names the new place and what the operator has to do.
func (m MovedMark) Err() error {
	return fmt.Errorf("%w: on %s to %s; use the URL of that database from now on, and keep this journal only until you have checked the other",
		journal.ErrMoved, m.At.Format(time.RFC3339), m.To)
}

var errDamaged = errors.New("journal: its record of a move is damaged")

// ErrNotEmpty reports that the target contains rows of its own.
var ErrNotEmpty = errors.New("journal: the database is not empty")

// A DifferenceError names the first row that is not the same on both sides.
type DifferenceError struct {
	Table, Key string
	What       string // which column differs, or which side lacks the row
}

func (e *DifferenceError) Error() string {
	return fmt.Sprintf("journal: the copy differs from the source: table %s, key %s: %s; the source is unchanged and still the journal", e.Table, e.Key, e.What)
}
