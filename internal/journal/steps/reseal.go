package steps

import (
	"context"
	"fmt"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

// A sealedColumn is one whose values can be sealed again. Read selects at most $3 rows
// above $1, by id, that are sealed with another key than $2; of credentials $4 is the
// version. Replace stores value $1 with key $2 in row $3 if its value is $4; of
// credentials $5 is the version.
type sealedColumn struct {
	read, replace Query
	place         func(*sealedRow) string
}

const (
	sealedSubjects Query = `SELECT e.id, e.subject AS sealed, e.kind, e.mac, s.name AS shop, a.name AS account
		FROM event e CROSS JOIN shop s CROSS JOIN account a
		WHERE e.id > $1 AND e.subject_key <> $2 AND s.id = e.shop AND a.id = s.account ORDER BY e.id LIMIT $3`
	sealedAnswers Query = `SELECT r.id, r.answer AS sealed, r.sealed_for, e.uuid, s.name AS shop, a.name AS account
		FROM attempt r CROSS JOIN event e CROSS JOIN shop s CROSS JOIN account a
		WHERE r.id > $1 AND r.answer_key <> $2 AND e.id = r.operation AND s.id = e.shop AND a.id = s.account ORDER BY r.id LIMIT $3`
	sealedCredentials Query = `SELECT c.shop AS id, c.version, c.secret AS sealed, s.name AS shop, a.name AS account
		FROM (SELECT shop, version, secret FROM credential WHERE (shop, version) > ($1, $4) AND secret_key <> $2 ORDER BY shop, version LIMIT $3) c
		CROSS JOIN shop s CROSS JOIN account a WHERE s.id = c.shop AND a.id = s.account ORDER BY c.shop, c.version`
	sealedLetters Query = `SELECT l.id, l.record AS sealed, t.name AS topic, l.part, l.record_offset, o.event AS uuid
		FROM dead_letter l CROSS JOIN topic t CROSS JOIN outbox o
		WHERE l.id > $1 AND l.record_key <> $2 AND t.id = l.topic AND o.id = l.outbox ORDER BY l.id LIMIT $3`
	sealedCheck Query = "SELECT c.value AS sealed, i.value AS uuid FROM meta c CROSS JOIN meta i WHERE c.name = 'keyset_check' AND i.name = 'identity'"

	replaceSubject    Query = "UPDATE event SET subject = $1, subject_key = $2 WHERE id = $3 AND subject = $4"
	replaceAnswer     Query = "UPDATE attempt SET answer = $1, answer_key = $2 WHERE id = $3 AND answer = $4"
	replaceCredential Query = "UPDATE credential SET secret = $1, secret_key = $2 WHERE shop = $3 AND secret = $4 AND version = $5"
	replaceLetter     Query = "UPDATE dead_letter SET record = $1, record_key = $2 WHERE id = $3 AND record = $4"
	replaceCheck      Query = "UPDATE meta SET value = $1 WHERE name = 'keyset_check' AND value = $2"
)

func sealedColumnOf(c journal.SealedColumn) (sealedColumn, bool) {
	column, ok := map[journal.SealedColumn]sealedColumn{
		journal.SealedSubjects: {sealedSubjects, replaceSubject, func(r *sealedRow) string {
			return keyset.SubjectAAD(r.Kind.String(), r.Account, r.Shop, r.MAC)
		}},
		journal.SealedResponses: {sealedAnswers, replaceAnswer, func(r *sealedRow) string {
			return keyset.ResponseAAD(r.Account, r.Shop, asUUID(r.UUID).String(), r.SealedFor)
		}},
		journal.SealedCredentials: {sealedCredentials, replaceCredential, func(r *sealedRow) string {
			return keyset.CredentialAAD(r.Account, r.Shop, r.Version)
		}},
		journal.SealedDeadLetters: {sealedLetters, replaceLetter, func(r *sealedRow) string {
			return keyset.DeadLetterAAD(r.Topic, r.Part, r.RecordOffset, asUUID(r.UUID).String())
		}},
		journal.SealedCheck: {sealedCheck, replaceCheck, func(r *sealedRow) string {
			return keyset.CheckAAD(asUUID(r.UUID).String())
		}},
	}[c]
	return column, ok
}

// A sealedRow has a sealed value and what it is bound to.
type sealedRow struct {
	ID           int64        `db:"id"`
	Version      int64        `db:"version"` // of a credential
	Sealed       []byte       `db:"sealed"`
	Kind         journal.Kind `db:"kind"`
	MAC          []byte       `db:"mac"`
	UUID         []byte       `db:"uuid"` // of the operation, of the event that reports a dead letter, or of the journal
	SealedFor    string       `db:"sealed_for"`
	Account      string       `db:"account"`
	Shop         string       `db:"shop"`
	Topic        string       `db:"topic"`
	Part         int          `db:"part"`
	RecordOffset int64        `db:"record_offset"`

	again []byte // sealed with another key
}

// Reseal reads values, has them sealed outside of the transaction, and replaces those
// that are still the same.
func (j *Journal) Reseal(ctx context.Context, r journal.Reseal, seal journal.Sealer) (got journal.Resealed, err error) {
	column, ok := sealedColumnOf(r.Column)
	if !ok {
		return got, fmt.Errorf("%w: sealed column %d", journal.ErrNotFound, r.Column)
	}
	limit, key := bounded(r.Limit), int64(r.Key)
	var args []any
	switch r.Column {
	case journal.SealedCheck:
	case journal.SealedCredentials:
		args = []any{r.After.ID, key, limit, r.After.Version}
	default:
		args = []any{r.After.ID, key, limit}
	}
	var values []*sealedRow
	seen := 0
	if err := read(ctx, j, column.read, args, func(v *sealedRow) error {
		seen++
		got.Next = journal.SealedID{ID: v.ID, Version: v.Version}
		if has, err := keyset.SealingKey(v.Sealed); err == nil && uint32(has) == r.Key {
			return nil
		}
		var err error
		if v.again, err = seal(column.place(v), v.Sealed); err != nil {
			got.Unreadable++
			return nil //nolint:nilerr // another value may be readable
		}
		if has, err := keyset.SealingKey(v.again); err != nil || uint32(has) != r.Key {
			return fmt.Errorf("journal: a value was sealed with key %08x instead of %08x", has, r.Key)
		}
		values = append(values, v)
		return nil
	}); err != nil {
		return journal.Resealed{}, err
	}
	if seen < limit {
		got.Next = journal.SealedID{}
	}
	if len(values) == 0 {
		return got, nil
	}
	current, replaced := int64(0), int64(0)
	err = j.db.Write(ctx, &Request{
		Records: len(values),
		Load:    func(l *Loader) { l.Ask(askingInts(leaseTerm, func(term int64) { current = term })) },
		Do: func(u *Unit) error {
			replaced = 0
			if term, held := j.db.LeaseTerm(); !held || !j.db.Exclusive() && term == 0 || term != 0 && term != current {
				return journal.ErrStale
			}
			for _, v := range values {
				args := []any{v.again, key, v.ID, v.Sealed}
				switch r.Column {
				case journal.SealedCheck:
					args = []any{v.again, v.Sealed}
				case journal.SealedCredentials:
					args = append(args, v.Version)
				}
				n := u.exec(column.replace, args...)
				replaced += n
			}
			return nil
		},
	})
	if err != nil {
		return journal.Resealed{}, err
	}
	got.Rows = int(replaced)
	return got, nil
}
