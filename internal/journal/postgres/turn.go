package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
)

const (
	// turnLasts is after what time, by the database's clock, a turn to publish that
	// was not kept is free.
	turnLasts = 5 * time.Second
	// turnMargin is how much earlier its holder takes it as over: the two clocks
	// need not run equally fast.
	turnMargin = 500 * time.Millisecond
	// turnWithin bounds one question for the turn.
	turnWithin = 3 * time.Second
)

// The database's clock, read when the row is held. One statement and no
// transaction around it: a process that is stopped holds the row for nobody.
const (
	// A turn's number is no other's, also where a standby that took over lacks one
	// that was taken: by chance, as nobody there knows it.
	presentTurn = "coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)"
	takeTurn    = "UPDATE relay_lease SET expires = " + presentTurn + ` + $2, term = CASE WHEN term = $3 AND expires > 0 THEN term ELSE term + 1 + floor(random() * 1000000000)::bigint END
		WHERE (term = $3 AND expires > 0 OR expires <= ` + presentTurn + ") AND $4 >= (SELECT max(readable_by) FROM schema_version) RETURNING term"
	// No turn lasts longer than it is given for: one that seems to was given
	// before the clock was set back, and is over one whole turn from now.
	boundTurn = "UPDATE relay_lease SET expires = " + presentTurn + " + $2 WHERE expires > " + presentTurn + " + $2"
	newerTurn = "SELECT max(readable_by) > $1 FROM schema_version"
	giveTurn  = "WITH g AS (UPDATE relay_lease SET expires = 0, term = term + 1 WHERE term = $1 RETURNING term) SELECT pg_notify($2, '0 t') FROM g"
)

// TakeTurn takes the turn to publish, or keeps it. It does not wait behind the
// writer's transactions.
func (j *Journal) TakeTurn(ctx context.Context) (journal.RelayTurn, error) {
	if j.beside {
		return journal.RelayTurn{}, journal.ErrReadOnly
	}
	if j.closed.Load() {
		return journal.RelayTurn{}, journal.ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, turnWithin)
	defer cancel()
	asked := j.clock.now() // the database looks at its clock later
	t := journal.RelayTurn{Until: asked.Add(turnLasts - turnMargin)}
	err := j.readers.QueryRow(ctx, takeTurn, j.clock.given(), turnLasts.Microseconds(), j.turn.Load(), j.knows).Scan(&t.Number)
	if errors.Is(err, pgx.ErrNoRows) {
		return journal.RelayTurn{}, j.refuseTurn(ctx)
	}
	if err != nil {
		return journal.RelayTurn{}, fmt.Errorf("journal: the turn to publish: %w", readable(err))
	}
	j.turn.Store(t.Number)
	return t, nil
}

// refuseTurn says why there is none.
func (j *Journal) refuseTurn(ctx context.Context) error {
	newer := false
	_, err := j.readers.Exec(ctx, boundTurn, j.clock.given(), turnLasts.Microseconds())
	if err == nil {
		err = j.readers.QueryRow(ctx, newerTurn, j.knows).Scan(&newer)
	}
	switch {
	case err != nil:
		return fmt.Errorf("journal: the turn to publish: %w", readable(err))
	case newer:
		return journal.ErrNewer
	}
	return journal.ErrTurnTaken
}

// GiveTurn gives the turn back and tells the others.
func (j *Journal) GiveTurn(ctx context.Context) error {
	if j.beside {
		return journal.ErrReadOnly
	}
	if j.closed.Load() {
		return journal.ErrClosed
	}
	number := j.turn.Load()
	if number == 0 {
		return nil
	}
	if _, err := j.readers.Exec(ctx, giveTurn, number, j.channel); err != nil {
		return fmt.Errorf("journal: the turn to publish: %w", readable(err))
	}
	return nil
}

// TurnFreed is signalled when another replica gave the turn back, and when what
// was told may have been missed.
func (j *Journal) TurnFreed() <-chan struct{} { return j.freed }
