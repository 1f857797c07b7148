package postgres

// Statements are prepared again after so many inserted rows, then after twice as many, and
// so on up to the last number.
const (
	firstReplan = 200
	lastReplan  = 50_000
)

// plansAreOld reports that the tables may have grown much since the writer's statements
// were planned. For small tables the cheapest plan reads a whole index. Such a plan stays
// until the server analyzes its tables again, minutes later, and the number of rows that
// are read grows with the square of the inserted ones.
func (j *Journal) plansAreOld() bool {
	n := j.inserted.Load()
	if n < max(j.replanAt, firstReplan) {
		return false
	}
	j.replanAt = n + min(n, lastReplan)
	return true
}
