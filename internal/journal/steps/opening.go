package steps

// The statements of a process that opens a journal, and of one that finds that another
// is gone. $1 is the present time.
const (
	// claimedOfDead, sendingOfDead and leasesOfDead end the leases of the replicas $2. An
	// operation that waits, and was not leased, stays due when it was.
	claimedOfDead Query = `UPDATE operation /*+ INDEXED BY operation_due */ SET state = 2, stage = 1, due_at = $1, changed = $1
		WHERE stage = 3 AND state = 4 AND replica = ANY($2) AND due_at IS NOT NULL`
	sendingOfDead Query = `UPDATE operation /*+ INDEXED BY operation_due */ SET state = 8, stage = 2, due_at = $1, changed = $1, doubt = 1, unknowns = unknowns + 1, leased = 0
		WHERE stage = 3 AND state = 5 AND replica = ANY($2) AND due_at IS NOT NULL`
	leasesOfDead Query = `UPDATE operation /*+ INDEXED BY operation_due */ SET due_at = least(due_at, $1), leased = 0
		WHERE stage = 2 AND leased = 1 AND replica = ANY($2) AND due_at IS NOT NULL`

	// The others apply if the clock was set back while no process ran. No wait is longer
	// than at its beginning, counted from now. The times for which credentials were
	// checked or refused, or a circuit breaker was not active, are counted from now too.
	openBound  Query = "UPDATE account SET open_since = $1 WHERE open_since > $1"
	waitsBound Query = `UPDATE operation SET due_at = least(due_at, $1 + greatest(0, due_at - changed)) WHERE changed > $1 AND due_at > $1 AND ` + dueAnywhere + `
-- sqlite:
UPDATE operation INDEXED BY operation_due SET due_at = min(due_at, $1 + max(0, due_at - changed)) WHERE changed > $1 AND due_at > $1 AND stage IN (1, 2)`
	unknownBound Query = "UPDATE operation SET changed = least(changed, $1) WHERE state = 8 AND due_at IS NOT NULL AND " + dueAnywhere + `
-- sqlite:
UPDATE operation INDEXED BY operation_due SET changed = min(changed, $1) WHERE state = 8 AND stage = 2 AND due_at IS NOT NULL`
	storedBound Query = "UPDATE operation SET stored_at = $1 WHERE state = 7 AND due_at IS NOT NULL AND " + dueAnywhere + `
-- sqlite:
UPDATE operation INDEXED BY operation_due SET stored_at = $1 WHERE state = 7 AND stage = 2 AND due_at IS NOT NULL`
	refusedBound Query = "UPDATE shop /*+ INDEXED BY shop_refused */ SET review_refused = $1 WHERE review_refused IS NOT NULL"
	reviewsBound Query = `UPDATE shop SET review_due = $1 WHERE account = ANY(ARRAY(SELECT id FROM account)) AND review_routine = 0 AND review_due > $1
-- sqlite:
UPDATE shop SET review_due = $1 WHERE id IN (SELECT s.id FROM account a CROSS JOIN shop s INDEXED BY shop_review ON s.account = a.id AND s.review_routine = 0 AND s.review_due > $1)`

	// dueAnywhere lets PostgreSQL use the index operation_due, which begins with these columns.
	dueAnywhere = "account = ANY(ARRAY(SELECT id FROM account)) AND kind IN (1, 2) AND stage IN (1, 2)"
)

// EndLeases are the statements that end the leases of replicas that are gone: $1 is the
// present time, $2 the list of their numbers.
func EndLeases() []Query { return []Query{claimedOfDead, sendingOfDead, leasesOfDead} }

// BoundTimes are the statements that a process runs when it opens a journal that no other
// has open: $1 is the present time.
func BoundTimes() []Query {
	return []Query{openBound, waitsBound, unknownBound, storedBound, refusedBound, reviewsBound}
}
