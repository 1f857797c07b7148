package steps

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"invoicebox-worker/internal/journal/stored"

	"github.com/google/uuid"
)

// A Fact is a property of the journal itself, a row of table meta. The schema
// describes each.
type Fact uint8

// The facts.
const (
	Identity Fact = iota + 1
	Origin
	Created
	KeysetCheck
	History
	Floor
	Pruning
	PruningAt
	Place
	Worker
	Copied
	Recovering
	Recoveries
	MachineClock
	Commits
	Moving
	Moved
	TookOver
	Copying
)

// A FactRow describes a fact.
type FactRow struct {
	Name  string
	Value FactValue
	On    FactDatabase
}

// A FactValue is the encoding of a fact.
type FactValue uint8

// The kinds of values.
const (
	FactBytes  FactValue = iota
	FactNumber           // a decimal number
	FactTime             // microseconds since 1970 by the database's clock, in decimal
	FactText
)

// A FactDatabase names the databases that have a fact.
type FactDatabase uint8

// The databases.
const (
	OnBoth FactDatabase = iota
	OnSQLite
	OnPostgreSQL
)

var facts = [...]FactRow{
	Identity:     {"identity", FactBytes, OnBoth},
	Origin:       {"origin", FactBytes, OnBoth},
	Created:      {"created", FactTime, OnBoth},
	KeysetCheck:  {"keyset_check", FactBytes, OnBoth},
	History:      {"history", FactTime, OnBoth},
	Floor:        {"floor", FactNumber, OnBoth},
	Pruning:      {"pruning", FactTime, OnBoth},
	PruningAt:    {"pruning_at", FactTime, OnBoth},
	Place:        {"place", FactText, OnBoth},
	Worker:       {"worker", FactText, OnBoth},
	Copied:       {"copied", FactTime, OnBoth},
	Recovering:   {"recovering", FactTime, OnBoth},
	Recoveries:   {"recoveries", FactNumber, OnBoth},
	MachineClock: {"clock", FactText, OnSQLite},
	Commits:      {"commits", FactNumber, OnSQLite},
	Moving:       {"moving", FactText, OnSQLite},
	Moved:        {"moved_to", FactText, OnSQLite},
	TookOver:     {"took_over", FactTime, OnPostgreSQL},
	Copying:      {"copying", FactText, OnPostgreSQL},
}

// String returns the name in table meta. Each worker has a fact of its own; "/" and
// the worker's id follow the name.
func (f Fact) String() string {
	if f == 0 || int(f) >= len(facts) {
		return ""
	}
	return facts[f].Name
}

// Facts lists all facts.
func Facts() []FactRow { return facts[1:] }

const (
	factRead  Query = "SELECT value FROM meta WHERE name = $1"
	factsRead Query = "SELECT name, value FROM meta WHERE name = ANY($1)"
	factSet   Query = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
	// factKept writes the present value again, so that the caller learns whether the
	// journal can be written.
	factKept  Query = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = meta.value"
	factsDrop Query = "DELETE FROM meta WHERE name = ANY($1)"
)

// SetFact replaces a row of table meta, for the drivers.
const SetFact = string(factSet)

type factRow struct {
	Name  string `db:"name"`
	Value []byte `db:"value"`
}

// fact reads a fact, nil if it is absent.
func (u *Unit) fact(f Fact) []byte {
	if r := first[factRow](u, factRead, f.String()); r != nil {
		return r.Value
	}
	return nil
}

// numberFact reads a fact that is a number or a time, 0 if it is absent.
func (u *Unit) numberFact(f Fact) int64 {
	n, err := stored.UnpackNumber(f.String(), u.fact(f))
	u.check(err)
	return n
}

// setFact replaces a fact.
func (u *Unit) setFact(f Fact, value []byte) {
	u.exec(factSet, f.String(), value)
}

// setNumber replaces a fact that is a number or a time.
func (u *Unit) setNumber(f Fact, n int64) {
	u.setFact(f, stored.PackNumber(n))
}

// dropFacts deletes facts.
func (u *Unit) dropFacts(names []string) {
	u.exec(factsDrop, names)
}

// Fact reads a fact without the writer, nil if it is absent.
func (j *Journal) Fact(ctx context.Context, f Fact) (value []byte, err error) {
	err = read(ctx, j, factRead, []any{f.String()}, func(r *factRow) error {
		value = r.Value
		return nil
	})
	return value, err
}

// Identities reads the journal's identity, and the one with which it began.
func (j *Journal) Identities(ctx context.Context) (identity, origin uuid.UUID, err error) {
	for f, id := range map[Fact]*uuid.UUID{Identity: &identity, Origin: &origin} {
		value, err := j.Fact(ctx, f)
		if err != nil {
			return identity, origin, err
		}
		if *id, err = uuid.FromBytes(value); err != nil && (value != nil || f == Identity) {
			return identity, origin, fmt.Errorf("journal: the journal's %s is damaged", f)
		}
	}
	return identity, cmp.Or(origin, identity), nil
}

// KeysetCheck returns the value of SetKeysetCheck, nil before the first. The caller
// uses the bytes to check whether its keyset is the journal's.
func (j *Journal) KeysetCheck(ctx context.Context) ([]byte, error) { return j.Fact(ctx, KeysetCheck) }

// SetKeysetCheck stores the first check. A later call writes the first one again.
func (j *Journal) SetKeysetCheck(ctx context.Context, check []byte) error {
	return j.db.Write(ctx, &Request{Do: func(u *Unit) error {
		u.exec(factKept, KeysetCheck.String(), check)
		return nil
	}})
}

// UnknownSince reads the instant before which the history is unknown.
func (j *Journal) UnknownSince(ctx context.Context) (time.Time, error) {
	value, err := j.Fact(ctx, History)
	if err != nil {
		return time.Time{}, err
	}
	at, err := stored.UnpackNumber(History.String(), value)
	if err != nil || at == 0 {
		return time.Time{}, err
	}
	return j.db.Clock().Instant(at), nil
}
